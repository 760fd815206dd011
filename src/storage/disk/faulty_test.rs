//! What the faulty disk promises, so that tests against it mean something.

use std::collections::BTreeSet;
use std::path::Path;

use super::Disk;
use super::faulty::{Fault, FaultyDisk};

fn content(disk: &FaultyDisk, path: &Path) -> Option<Vec<u8>> {
    let file = disk.open(path).ok()?;
    let size = usize::try_from(file.size().unwrap()).unwrap();
    Some(file.read_exact_at(0, size).unwrap())
}

#[test]
fn only_what_was_synced_is_sure_to_last() {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..50 {
        let disk = FaultyDisk::new(seed);
        let path = Path::new("/a");
        let file = disk.create(path).unwrap();
        file.write_at(0, &[1; 700]).unwrap();
        file.sync().unwrap();
        disk.sync_folder(Path::new("/")).unwrap();
        file.write_at(700, &[2; 700]).unwrap();
        disk.crash();
        let found = content(&disk, path).unwrap();
        assert_eq!(found[..700], [1; 700]);
        if found == [&[1; 700][..], &[2; 700]].concat() {
            kept += 1
        } else {
            lost += 1
        }
        assert!(file.write_at(0, b"x").is_err(), "opened before the crash");
    }
    assert!(kept > 0 && lost > 0);
}

#[test]
fn a_name_lasts_after_its_folder_was_synced() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let disk = FaultyDisk::new(seed);
        disk.create(Path::new("/a")).unwrap().sync().unwrap();
        disk.sync_folder(Path::new("/")).unwrap();
        disk.rename(Path::new("/a"), Path::new("/b")).unwrap();
        disk.crash();
        seen.insert((disk.exists(Path::new("/a")), disk.exists(Path::new("/b"))));
    }
    assert_eq!(seen, BTreeSet::from([(true, false), (false, true)]));
}

#[test]
fn a_failed_sync_is_not_made_good_by_the_next() {
    let disk = FaultyDisk::new(1);
    let file = disk.create(Path::new("/a")).unwrap();
    disk.sync_folder(Path::new("/")).unwrap();
    file.write_at(0, b"x").unwrap();
    disk.fail_call(1, Fault::Eio);
    assert!(file.sync().is_err());
    file.sync().unwrap();
    disk.crash();
    // The second sync made the content of that moment last; a strict reader must not count on it.
    assert!(content(&disk, Path::new("/a")).is_some());
}

#[test]
fn a_full_disk_refuses_and_tells_its_space() {
    let disk = FaultyDisk::new(1);
    disk.set_capacity(Some(10));
    let file = disk.create(Path::new("/a")).unwrap();
    file.write_at(0, b"12345678").unwrap();
    assert!(file.write_at(8, b"123").unwrap_err().is_full());
    file.set_size(8).unwrap();
    assert_eq!(disk.space(Path::new("/")).unwrap().free_bytes, 2);
}
