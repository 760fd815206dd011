//! A box into a file and back, and every way in which that must be refused.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::manifest::{self, Manifest};
use super::*;
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Labels, LogEntry, Matcher, Timestamp};
use crate::storage::disk::{self, Disk, OsDisk};
use crate::storage::logs::{Direction, ScanRequest};
use crate::storage::{Config, Storage, logs, tsdb};

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn open(folder: &Path) -> crate::storage::Result<Storage> {
    let tsdb = tsdb::Config {
        retention: Duration::from_secs(15 * 24 * 3600),
        wal_sync: tsdb::WalSync::Interval(Duration::from_secs(1)),
        series_max: 1000,
        ahead_max: Duration::from_secs(600),
    };
    let logs = logs::Config::usual();
    let config = Config {
        folder: folder.to_owned(),
        size_limit: None,
        reserve_bytes: 0,
        tsdb,
        clock_trust: crate::clock::Trust::default(),
        logs,
    };
    Storage::open(config, Clock::hand_set(NOW), &Registry::default())
}

fn fill(storage: &Storage) {
    for hours in [50_u64, 30, 0] {
        let mut batch = tsdb::Batch::default();
        for machine in ["press", "oven"] {
            let labels = Labels::from_pairs([("__name__", "parts"), ("machine", machine)]);
            for minute in 0..60 {
                let at = NOW - Duration::from_secs(hours * 3600 + minute * 60);
                batch.push(&labels, at, f64::from(u32::try_from(minute).unwrap()) + 0.5);
            }
        }
        storage.db.append(&batch).unwrap();
        if hours > 0 {
            storage.db.flush().unwrap();
        }
        let stream = Labels::from_pairs([("device", "press")]);
        let timestamp_ns = (NOW - Duration::from_secs(hours * 3600)).as_millis() * 1_000_000;
        storage.logs.append(vec![LogEntry { stream, timestamp_ns, line: format!("{hours} h ago") }]).unwrap();
        if hours > 30 {
            storage.logs.flush().unwrap();
        }
    }
    storage.state.meta().set("box-id", &[7]).unwrap();
    let journal = storage.inner.folder.join("alarms/journal");
    storage.disk.create_folder(&journal).unwrap();
    disk::replace(&*storage.disk, &journal.join("00000001"), b"an alarm").unwrap();
}

/// Everything that questions can find.
fn all(storage: &Storage) -> (Vec<String>, Vec<String>, Option<Vec<u8>>) {
    let every = [Matcher::equal("__name__", "parts")];
    let series = storage.db.querier().select(&every, Timestamp::MIN, Timestamp::MAX, 10_000).unwrap();
    let series = series.map(|s| s.unwrap()).map(|s| format!("{:?} {:?} {:?}", s.labels, s.timestamps, s.values));
    let request = ScanRequest {
        matchers: vec![],
        start_ns: i64::MIN,
        end_ns: i64::MAX,
        direction: Direction::Forward,
        needles: vec![],
    };
    let lines = storage.logs.scan(&request).unwrap().map(|line| line.unwrap().line);
    (series.collect(), lines.collect(), storage.state.meta().get("box-id").unwrap())
}

fn archive_of(folder: &Path, sources: &[Source], name: &str) -> PathBuf {
    let archive = folder.join(name);
    let mut file = std::fs::File::create(&archive).unwrap();
    let about = About { box_name: "line-1".to_owned(), made_at: NOW };
    write_archive(&OsDisk, sources, &about, &mut file).unwrap();
    archive
}

fn shared() -> Arc<dyn Disk> {
    OsDisk::shared()
}

fn options(is_forced: bool) -> RestoreOptions {
    RestoreOptions { is_forced, now: NOW }
}

#[test]
fn a_running_box_goes_into_a_file_and_comes_back_equal() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(&folder.path().join("data")).unwrap();
    fill(&storage);
    let before = all(&storage);
    assert_eq!((before.0.len(), before.1.len()), (2, 3));
    let settings = folder.path().join("andon.yml");
    std::fs::write(&settings, "box_name: line-1\n").unwrap();

    let snapshot = Snapshot::make(&storage).unwrap();
    assert!(matches!(Snapshot::make(&storage), Err(Error::Busy)));
    let mut sources = sources(&OsDisk, snapshot.folder()).unwrap();
    sources.push(Source::of_settings(&settings));
    sources.push(Source::of_settings(&folder.path().join("gone.yml")));
    // The box goes on meanwhile.
    fill(&storage);
    storage.logs.flush().unwrap();
    let archive = archive_of(folder.path(), &sources, "backup.tar");
    drop(snapshot);
    assert!(!folder.path().join("data/backup.tmp").exists());
    drop(Snapshot::make(&storage).unwrap());

    let target = folder.path().join("restored");
    let restored = restore(&shared(), &archive, &target, options(false)).unwrap();
    assert_eq!(restored.manifest.box_name, "line-1");
    assert!(restored.moved_aside.is_none() && restored.unreadable.is_empty(), "{restored:?}");
    let kept = restored.settings.unwrap().join(settings.strip_prefix("/").unwrap());
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "box_name: line-1\n");
    let copy = open(&target).unwrap();
    assert_eq!(all(&copy), before);
    assert_eq!(std::fs::read(target.join("alarms/journal/00000001")).unwrap(), b"an alarm");
}

#[test]
fn a_stopped_box_is_taken_as_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let storage = open(&data).unwrap();
    fill(&storage);
    let before = all(&storage);
    storage.close();
    drop(storage);
    let archive = archive_of(folder.path(), &sources(&OsDisk, &data).unwrap(), "backup.tar");
    let target = folder.path().join("restored");
    restore(&shared(), &archive, &target, options(false)).unwrap();
    assert_eq!(all(&open(&target).unwrap()), before);
}

#[test]
fn what_is_there_stays_or_is_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let storage = open(&data).unwrap();
    fill(&storage);
    let archive = {
        let snapshot = Snapshot::make(&storage).unwrap();
        archive_of(folder.path(), &sources(&OsDisk, snapshot.folder()).unwrap(), "backup.tar")
    };
    assert!(matches!(restore(&shared(), &archive, &data, options(true)), Err(Error::InUse { .. })));
    storage.state.meta().set("box-id", &[8]).unwrap();
    storage.close();
    drop(storage);
    let refused = restore(&shared(), &archive, &data, options(false)).unwrap_err();
    assert!(matches!(&refused, Error::NotEmpty { .. }), "{refused}");
    assert_eq!(all(&open(&data).unwrap()).2, Some(vec![8]), "nothing has changed");
    let restored = restore(&shared(), &archive, &data, options(true)).unwrap();
    let aside = restored.moved_aside.unwrap();
    assert_eq!(all(&open(&data).unwrap()).2, Some(vec![7]));
    assert_eq!(all(&open(&aside).unwrap()).2, Some(vec![8]));
}

#[test]
fn a_restore_that_was_cut_off_keeps_a_box_from_starting_until_it_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(data.join("restore.tmp/tsdb")).unwrap();
    let refused = open(&data).unwrap_err();
    assert!(refused.to_string().contains("cut off"), "{refused}");
    let storage = open(&folder.path().join("other")).unwrap();
    fill(&storage);
    let snapshot = Snapshot::make(&storage).unwrap();
    let archive = archive_of(folder.path(), &sources(&OsDisk, snapshot.folder()).unwrap(), "backup.tar");
    restore(&shared(), &archive, &data, options(false)).unwrap();
    assert_eq!(all(&open(&data).unwrap()), all(&storage));
}

/// An archive of one small file, and a function that says what is wrong with bytes of one.
fn small(folder: &Path) -> (Vec<u8>, impl Fn(&[u8]) -> String) {
    let file = folder.join("x");
    std::fs::write(&file, vec![b'x'; 700]).unwrap();
    let source = Source { name: "tsdb/x".to_owned(), path: file };
    let archive = archive_of(folder, &[source], "small.tar");
    let bytes = std::fs::read(&archive).unwrap();
    let said = move |bytes: &[u8]| {
        std::fs::write(&archive, bytes).unwrap();
        check(&OsDisk, &archive).map_or_else(|e| e.to_string(), |_| "good".to_owned())
    };
    (bytes, said)
}

#[test]
fn a_cut_or_changed_archive_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (good, said) = small(folder.path());
    assert_eq!(said(&good), "good");
    // The two empty blocks at the end carry nothing.
    for length in (0..good.len() - 1024).step_by(256) {
        assert!(said(&good[..length]).contains("cannot be used"), "cut to {length}: {}", said(&good[..length]));
    }
    let json = Manifest::new(&About { box_name: "line-1".to_owned(), made_at: NOW }, vec![]).to_json().len();
    for at in (0..512 + 700).chain(2048..2048 + json) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        let answer = said(&bytes);
        // Zeros that fill a field of a head may be anything.
        assert!(answer.contains("cannot be used") || at < 512, "byte {at}: {answer}");
    }
    let mut bytes = good;
    bytes[600] ^= 1;
    assert!(said(&bytes).contains("tsdb/x is damaged"), "{}", said(&bytes));
}

#[test]
fn an_archive_of_a_stranger_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("strange.tar");
    let data = folder.path().join("a/b/data");
    let check_one = |name: &str, kind: tar::EntryType, expected: &str| {
        let mut header = tar::Header::new_ustar();
        header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(1);
        header.set_cksum();
        let mut file = std::fs::File::create(&path).unwrap();
        let mut builder = tar::Builder::new(&mut file);
        builder.append(&header, [0].as_slice()).unwrap();
        builder.into_inner().unwrap().flush().unwrap();
        let refused = restore(&shared(), &path, &data, options(true)).unwrap_err().to_string();
        assert!(refused.contains(expected), "{name}: {refused}");
    };
    for name in ["../../../evil", "/etc/passwd", "tsdb/../../x", "tsdb//x", "elsewhere/x", "tsdb/x.tmp", "LOCK"] {
        check_one(name, tar::EntryType::Regular, "not a file of a backup");
    }
    for kind in [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Fifo, tar::EntryType::GNULongName] {
        check_one("tsdb/x", kind, "not a file of a backup");
    }
    check_one("tsdb/x", tar::EntryType::Regular, "cut off");
    check_one("manifest.json", tar::EntryType::Regular, "manifest does not read");
    assert!(!folder.path().join("evil").exists());
    std::fs::write(&path, vec![7; 4096]).unwrap();
    let refused = check(&OsDisk, &path).unwrap_err().to_string();
    assert!(refused.contains("no archive of ours"), "{refused}");
}

#[test]
fn a_manifest_of_version_1() {
    let dump = include_str!("../../../tests/formats/backup_manifest_1.hex");
    let lines = dump.lines().map(|line| line.split('#').next().unwrap_or(""));
    let json: Vec<u8> =
        lines.flat_map(str::split_whitespace).map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    let manifest = Manifest::from_json(&json).unwrap();
    assert_eq!(manifest.to_json(), json);
    assert_eq!(manifest.members[1].crc32c, manifest::hex(disk::crc32c(b"123456789")));
    let newer = String::from_utf8(json).unwrap().replace("\"format\":1", "\"format\":2");
    let refused = Manifest::from_json(newer.as_bytes()).unwrap_err();
    assert!(refused.contains("format 2"), "{refused}");
}
