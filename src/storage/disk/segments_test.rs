//! Segments against crashes, full disks and damage, beside a plain list of what was appended.

use std::path::Path;
use std::sync::Arc;

use super::faulty::{Fault, FaultyDisk};
use super::{Disk, Found, Segments, SegmentsOptions};

const FOLDER: &str = "/wal";

fn options() -> SegmentsOptions {
    SegmentsOptions { segment_bytes_max: 200, is_synced: true }
}

fn open(disk: &FaultyDisk) -> (Segments, Found, Vec<(u64, Vec<u8>)>) {
    let mut read = Vec::new();
    let (log, found) = Segments::open(disk.shared(), Path::new(FOLDER), options(), &mut |r| {
        read.push((r.sequence, r.payload.to_vec()));
        Ok(())
    })
    .unwrap();
    (log, found, read)
}

fn payload(i: u64) -> Vec<u8> {
    vec![u8::try_from(i % 251).unwrap(); usize::try_from(i % 40).unwrap()]
}

#[test]
fn what_is_appended_is_read_back() {
    let disk = FaultyDisk::new(1);
    let (log, _, _) = open(&disk);
    for i in 1..=50 {
        assert_eq!(log.append(1, &payload(i)).unwrap(), i);
    }
    let (log, found, read) = open(&disk);
    assert_eq!(read, (1..=50).map(|i| (i, payload(i))).collect::<Vec<_>>());
    assert_eq!((found.records, found.truncated_bytes, found.damages), (50, 0, vec![]));
    assert_eq!(log.append(1, b"").unwrap(), 51);
}

#[test]
fn the_front_is_dropped_whole() {
    let disk = FaultyDisk::new(1);
    let (log, _, _) = open(&disk);
    for i in 1..=30 {
        log.append(1, &payload(i)).unwrap();
    }
    let next = log.rotate();
    log.append(1, b"kept").unwrap();
    assert!(log.remove_before(next).unwrap() > 1);
    let (_, found, read) = open(&disk);
    assert_eq!(read, [(31, b"kept".to_vec())]);
    assert_eq!(found.damages, []);
}

#[test]
fn a_torn_last_record_is_cut_off() {
    let disk = FaultyDisk::new(1);
    let (log, _, _) = open(&disk);
    log.append(1, b"one").unwrap();
    log.append(1, b"two").unwrap();
    let file = disk.open(Path::new("/wal/00000001")).unwrap();
    file.set_size(file.size().unwrap() - 1).unwrap();
    let (log, found, read) = open(&disk);
    assert_eq!(read, [(1, b"one".to_vec())]);
    assert_eq!((found.truncated_bytes, found.damages), (23, vec![]));
    log.append(1, b"three").unwrap();
    let (_, found, read) = open(&disk);
    assert_eq!(read, [(1, b"one".to_vec()), (2, b"three".to_vec())]);
    assert_eq!(found.truncated_bytes, 0);
}

#[test]
fn a_flipped_bit_costs_one_record_and_is_reported() {
    let disk = FaultyDisk::new(1);
    let (log, _, _) = open(&disk);
    for text in [b"one", b"two", b"six"] {
        log.append(1, text).unwrap();
    }
    let size = usize::try_from(log.bytes()).unwrap();
    for offset in 0..size {
        disk.flip(Path::new("/wal/00000001"), offset, 0x10);
        let (_, found, read) = open(&disk);
        assert!(read.len() >= 2, "at {offset}: {read:?}");
        let is_reported = !found.damages.is_empty() || found.truncated_bytes > 0;
        assert!(is_reported, "at {offset}");
        if found.truncated_bytes > 0 {
            break; // In the last record: it has been cut off.
        }
        disk.flip(Path::new("/wal/00000001"), offset, 0x10);
    }
}

#[test]
fn a_lost_segment_is_reported() {
    let disk = FaultyDisk::new(1);
    let (log, _, _) = open(&disk);
    for i in 1..=50 {
        log.append(1, &payload(i)).unwrap();
    }
    disk.open(Path::new("/wal/00000002")).unwrap().set_size(0).unwrap();
    let (_, found, _) = open(&disk);
    assert!(found.damages.iter().any(|d| d.file.ends_with("00000002")), "{:?}", found.damages);
    disk.remove_file(Path::new("/wal/00000002")).unwrap();
    let (_, found, _) = open(&disk);
    assert!(found.damages.iter().any(|d| d.reason.contains("missing")), "{:?}", found.damages);
}

/// Appends and syncs with a fault at each call in turn, crashes, and compares with what was promised.
#[test]
fn nothing_that_was_synced_is_lost_whatever_call_fails() {
    for fault in [Fault::Eio, Fault::Enospc, Fault::PowerCut] {
        for call in 1..120 {
            for seed in 0..4 {
                check_fault(fault, call, seed);
            }
        }
    }
}

fn check_fault(fault: Fault, call: u64, seed: u64) {
    let disk = FaultyDisk::new(seed);
    let (log, _, _) = open(&disk);
    disk.fail_call(call, fault);
    let (mut accepted, mut synced) = (Vec::new(), 0);
    for i in 0..40 {
        if let Ok(sequence) = log.append(1, &payload(i)) {
            accepted.push((sequence, payload(i)));
        }
        if i % 5 == 4 && log.sync().is_ok() {
            synced = accepted.len();
        }
    }
    let what = format!("{fault:?} at call {call}, seed {seed}");
    disk.mend();
    if fault != Fault::PowerCut {
        // As after kill -9: everything accepted is there.
        let (_, _, read) = open(&disk);
        assert!(read == accepted, "{what}: {} of {} records", read.len(), accepted.len());
    }
    disk.crash();
    let (_, _, read) = open(&disk);
    assert!(read.len() >= synced, "{what}: {} of {synced} synced records", read.len());
    assert!(read[..synced] == accepted[..synced], "{what}");
    let known = |r: &(u64, Vec<u8>)| accepted.contains(r) || fault == Fault::PowerCut;
    assert!(read.iter().all(known), "{what}: a record that was refused came back");
}

#[test]
fn appends_from_many_threads_all_arrive() {
    let disk = FaultyDisk::new(1);
    let log = Arc::new(open(&disk).0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let log = log.clone();
            scope.spawn(move || {
                for i in 0..50 {
                    log.append(1, &payload(i)).unwrap();
                    if i % 7 == 0 {
                        log.sync().unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(open(&disk).2.len(), 200);
}
