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
    let mut lost = 0;
    for seed in 0..20 {
        let disk = FaultyDisk::new(seed);
        let file = disk.create(Path::new("/a")).unwrap();
        disk.sync_folder(Path::new("/")).unwrap();
        file.write_at(0, b"x").unwrap();
        disk.fail_call(1, Fault::Eio);
        assert!(file.sync().is_err());
        file.write_at(1, b"y").unwrap();
        file.sync().unwrap();
        assert_eq!(content(&disk, Path::new("/a")).unwrap(), b"xy", "readers see it meanwhile");
        disk.crash();
        let found = content(&disk, Path::new("/a")).unwrap();
        assert_eq!(found[1], b'y');
        lost += u32::from(found[0] != b'x');
    }
    assert!((1..20).contains(&lost), "{lost}");
}

#[test]
fn a_move_to_another_folder_lasts_on_both_sides_or_on_none() {
    let mut seen = BTreeSet::new();
    let (a, b) = (Path::new("/x/a"), Path::new("/y/b"));
    for seed in 0..50 {
        let disk = FaultyDisk::new(seed);
        disk.create_folder(Path::new("/x")).unwrap();
        disk.create_folder(Path::new("/y")).unwrap();
        disk.create(a).unwrap();
        disk.sync_folder(Path::new("/x")).unwrap();
        disk.rename(a, b).unwrap();
        if seed % 2 == 0 {
            disk.sync_folder(Path::new("/x")).unwrap();
        }
        disk.crash();
        assert!(disk.exists(a) != disk.exists(b));
        seen.insert((seed % 2 == 0, disk.exists(b)));
    }
    assert_eq!(seen, BTreeSet::from([(true, true), (false, true), (false, false)]));
}

#[test]
fn a_folder_that_was_being_removed_may_be_there_with_some_of_its_files() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let disk = FaultyDisk::new(seed);
        disk.create_folder(Path::new("/x")).unwrap();
        for name in ["/x/a", "/x/b"] {
            disk.create(Path::new(name)).unwrap();
        }
        disk.sync_folder(Path::new("/x")).unwrap();
        disk.remove_folder(Path::new("/x")).unwrap();
        disk.crash();
        seen.insert(disk.list(Path::new("/x")).map(|l| l.len()).ok());
    }
    assert_eq!(seen, BTreeSet::from([None, Some(0), Some(1), Some(2)]));
}

#[test]
fn what_a_dead_process_held_is_dead() {
    let disk = FaultyDisk::new(1);
    let process = disk.shared();
    let file = process.create(Path::new("/a")).unwrap();
    file.write_at(0, b"x").unwrap();
    disk.kill();
    assert!(file.write_at(1, b"y").is_err() && process.remove_file(Path::new("/a")).is_err());
    assert_eq!(content(&disk, Path::new("/a")).unwrap(), b"x");
}

#[test]
fn bytes_that_cannot_be_read_fail_alone() {
    let disk = FaultyDisk::new(1);
    let file = disk.create(Path::new("/a")).unwrap();
    file.write_at(0, &[1; 100]).unwrap();
    disk.make_unreadable(Path::new("/a"), 50..51);
    let fork = disk.fork();
    for disk in [disk, fork] {
        let file = disk.open(Path::new("/a")).unwrap();
        assert!(file.read_exact_at(0, 50).is_ok() && file.read_exact_at(51, 49).is_ok());
        assert!(file.read_exact_at(50, 1).is_err());
        disk.fail_read(2);
        assert!(file.read_exact_at(0, 1).is_err(), "measures, then reads");
        assert!(file.read_exact_at(0, 1).is_ok());
    }
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
