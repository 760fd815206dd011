//! Power cuts, failing and full disks at every call, beside a plain list of what was acknowledged.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::files::DAY_NS;
use super::*;
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Labels, LogEntry, Timestamp};
use crate::storage::disk::{Fault, FaultyDisk};

const NOW_NS: i64 = 20_686 * DAY_NS + DAY_NS / 2;

fn open(disk: &FaultyDisk) -> Result<LogStore> {
    let config = Config { sync_interval: Duration::ZERO, head_bytes_max: 1500, ..Config::usual() };
    let clock = Clock::hand_set(Timestamp::from_millis(NOW_NS / 1_000_000));
    LogStore::open(disk.shared(), Path::new("/data/logs"), config, clock, &Registry::default())
}

fn entry(n: i64) -> LogEntry {
    let device = if n % 3 == 0 { "a" } else { "b" };
    // Every fifth line belongs to the day before.
    let timestamp_ns = if n % 5 == 0 { NOW_NS - DAY_NS + n } else { NOW_NS + n };
    let line = format!("line {n} {}", "x".repeat(usize::try_from(n % 40).unwrap()));
    LogEntry { stream: Labels::from_pairs([("device", device)]), timestamp_ns, line }
}

fn numbers(store: &LogStore, what: &str) -> BTreeSet<i64> {
    let request = ScanRequest {
        matchers: vec![],
        start_ns: i64::MIN,
        end_ns: i64::MAX,
        direction: Direction::Forward,
        needles: vec![],
    };
    let mut scan = store.scan(&request).unwrap();
    let mut found = BTreeSet::new();
    for e in scan.by_ref() {
        let e = e.unwrap();
        let n: i64 = e.line.split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(e, entry(n), "{what}: a wrong line");
        assert!(found.insert(n), "{what}: line {n} came twice");
    }
    assert_eq!(scan.stats().blocks_damaged, 0, "{what}");
    found
}

#[derive(Default)]
struct Acknowledged {
    all: BTreeSet<i64>,
    synced: BTreeSet<i64>,
    tried: BTreeSet<i64>,
}

/// Appends 80 lines in batches, with syncs and parts in between, whatever fails.
fn work(store: &LogStore, acknowledged: &mut Acknowledged) {
    for batch in 0..20 {
        let range = batch * 4..batch * 4 + 4;
        acknowledged.tried.extend(range.clone());
        if store.append(range.clone().map(entry).collect()).is_ok() {
            acknowledged.all.extend(range);
        }
        if batch % 3 == 2 && store.sync().is_ok() {
            acknowledged.synced.clone_from(&acknowledged.all);
        }
        if batch % 7 == 6 {
            let _ = store.flush();
        }
    }
}

fn check(fault: Fault, call: u64, seed: u64) -> bool {
    let what = format!("{fault:?} at call {call}, seed {seed}");
    let disk = FaultyDisk::new(seed);
    let Ok(store) = open(&disk) else { panic!("{what}") };
    disk.fail_call(call, fault);
    let before = disk.calls();
    let mut acknowledged = Acknowledged::default();
    work(&store, &mut acknowledged);
    let has_happened = disk.calls() >= before + call;
    disk.mend();
    if fault != Fault::PowerCut {
        assert_eq!(numbers(&store, &what), acknowledged.all, "{what}: while running");
        drop(store);
        // As after kill -9: everything acknowledged is there.
        assert_eq!(numbers(&open(&disk).unwrap(), &what), acknowledged.all, "{what}: after a restart");
    } else {
        drop(store);
    }
    disk.crash();
    let store = open(&disk).unwrap_or_else(|e| panic!("{what}: {e}"));
    let found = numbers(&store, &what);
    assert!(found.is_superset(&acknowledged.synced), "{what}: synced lines are lost");
    assert!(found.is_subset(&acknowledged.tried), "{what}: lines that nobody sent");
    // And it goes on: everything sent again is there, once.
    let mut again = Acknowledged::default();
    work(&store, &mut again);
    let sent = if fault == Fault::PowerCut { again.tried } else { again.all };
    assert!(numbers(&store, &what).is_superset(&sent), "{what}: lines after the restart");
    has_happened
}

#[test]
fn nothing_acknowledged_is_lost_whatever_call_fails() {
    for fault in [Fault::Eio, Fault::Enospc, Fault::PowerCut] {
        for seed in 0..3 {
            let calls = (1..1000).find(|call| !check(fault, *call, seed)).unwrap();
            assert!(calls > 60, "only {calls} calls were tried");
        }
    }
}

#[test]
fn a_failing_start_is_an_error_and_not_a_loss() {
    for call in 1..40 {
        let disk = FaultyDisk::new(call);
        let store = open(&disk).unwrap();
        store.append((0..20).map(entry).collect()).unwrap();
        store.flush().unwrap();
        store.append((20..30).map(entry).collect()).unwrap();
        store.sync().unwrap();
        drop(store);
        disk.fail_call(call, Fault::Eio);
        drop(open(&disk));
        disk.mend();
        let found = numbers(&open(&disk).unwrap(), &format!("call {call}"));
        assert_eq!(found, (0..30).collect::<BTreeSet<_>>(), "call {call}");
    }
}
