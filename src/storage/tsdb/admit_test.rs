//! Who is refused new series, and that a restart forgets nobody.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Account, Batch, Config, Db, Refusal, WalSync};
use crate::clock::Clock;
use crate::headroom::Headroom;
use crate::instrument::Registry;
use crate::model::{Labels, Timestamp};
use crate::storage::disk::{Disk, FaultyDisk};

const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

struct Box {
    disk: FaultyDisk,
    clock: Clock,
    series_max: usize,
}

impl Box {
    fn new(series_max: usize) -> Self {
        Box { disk: FaultyDisk::new(1), clock: Clock::hand_set(START), series_max }
    }

    fn open(&self) -> Db {
        let config = Config {
            retention: Duration::from_secs(30 * 24 * 3600),
            wal_sync: WalSync::Never,
            series_max: self.series_max,
            ahead_max: Duration::from_secs(600),
        };
        let (disk, clock) = (self.disk.shared(), self.clock.clone());
        Db::open_without_threads(config, disk, Path::new("/data/tsdb"), clock, &Registry::default()).unwrap()
    }

    /// Has a sender send one sample of each series; tells what became of each.
    fn send(&self, db: &Db, account: &Account, names: std::ops::Range<u32>) -> Vec<Result<(), Refusal>> {
        let mut batch = Batch::default();
        let told = names.map(|i| {
            let labels = Labels::from_pairs([("__name__", "m"), ("request_id", &i.to_string())]);
            db.admit(&labels, account).map(|found| batch.push_ref(found, self.clock.now(), f64::from(i)))
        });
        let told = told.collect();
        assert_eq!(db.append(&batch).unwrap().unknown_ref, 0);
        told
    }
}

fn refused(told: &[Result<(), Refusal>]) -> Vec<Refusal> {
    told.iter().filter_map(|t| t.err()).collect()
}

#[test]
fn a_full_account_is_refused_new_series_and_nobody_else_is() {
    let house = Box::new(100);
    let db = house.open();
    let (loud, quiet) = (Account::new("sender loud", 10), Account::new("sender quiet", 10));
    assert_eq!(refused(&house.send(&db, &loud, 0..12)), [Refusal::Account; 2]);
    assert_eq!(refused(&house.send(&db, &loud, 5..11)), [Refusal::Account], "old series are taken");
    assert_eq!(refused(&house.send(&db, &quiet, 100..105)), []);
    assert_eq!(db.accounts(9), [("sender loud".to_owned(), 10), ("sender quiet".to_owned(), 5)]);
    // A series stays with who began it.
    assert_eq!(refused(&house.send(&db, &quiet, 0..10)), []);
    assert_eq!((db.series_on("sender loud"), db.series_on("sender quiet")), (10, 5));
}

#[test]
fn a_full_store_refuses_all_but_the_box_itself() {
    let house = Box::new(32);
    let db = house.open();
    let sender = Account::new("sender a", usize::MAX);
    assert_eq!(refused(&house.send(&db, &sender, 0..33)), [Refusal::Store]);
    let own = |i: u32| Labels::from_pairs([("__name__", "up"), ("i", &i.to_string())]);
    assert!(db.series_ref(&own(0)).is_some() && db.series_ref(&own(1)).is_some());
    assert!(db.series_ref(&own(2)).is_none(), "a sixteenth more, and no further");
    assert_eq!(refused(&house.send(&db, &sender, 0..32)), []);
}

#[test]
fn a_restart_forgets_no_account_whether_from_the_log_or_from_a_checkpoint() {
    let house = Box::new(100);
    let account = Account::new("target node/10.0.0.5:9100", 10);
    let mut db = house.open();
    house.send(&db, &account, 0..10);
    for _ in 0..3 {
        drop(db);
        db = house.open();
        assert_eq!(db.series_on(account.name()), 10);
        assert_eq!(refused(&house.send(&db, &account, 0..12)), [Refusal::Account; 2]);
        // What is older than some hours goes to a block, the rest to a checkpoint.
        house.clock.advance(Duration::from_secs(4 * 3600));
        house.send(&db, &account, 0..10);
        db.maintain();
    }
    assert!(db.stats().blocks > 0, "{:?}", db.stats());
}

#[test]
fn series_that_have_ended_make_room() {
    let house = Box::new(100);
    let account = Account::new("device press-1", 10);
    let db = house.open();
    house.send(&db, &account, 0..10);
    db.flush().unwrap();
    house.send(&db, &account, 0..4);
    db.flush().unwrap();
    db.flush().unwrap();
    let left = db.series_on(account.name());
    assert!(left <= 4, "{left}");
    assert_eq!(refused(&house.send(&db, &account, 20..26)), []);
    assert_eq!(db.series_on(account.name()), left + 6);
}

#[test]
fn while_memory_is_short_only_new_series_are_refused() {
    let house = Box::new(10_000);
    let db = house.open();
    let used = Arc::new(AtomicU64::new(50));
    let read = used.clone();
    let headroom = Headroom::new(100, move || Some(read.load(Ordering::Relaxed)));
    db.watch_memory(headroom.clone());
    let account = Account::new("sender a", usize::MAX);
    assert_eq!(refused(&house.send(&db, &account, 0..1000)), []);
    used.store(95, Ordering::Relaxed);
    let told = refused(&house.send(&db, &account, 0..2000));
    assert!(told.len() > 700 && told.iter().all(|r| *r == Refusal::Memory), "noticed by counting: {}", told.len());
    assert_eq!(refused(&house.send(&db, &account, 0..1000)), [], "old series are taken");
    used.store(85, Ordering::Relaxed);
    headroom.look();
    assert_eq!(refused(&house.send(&db, &account, 5000..5001)), [Refusal::Memory], "not yet");
    used.store(79, Ordering::Relaxed);
    headroom.look();
    assert_eq!(refused(&house.send(&db, &account, 0..2000)), []);
}

#[test]
fn on_a_disk_with_little_room_what_is_known_is_taken_and_what_is_new_is_not() {
    let house = Box::new(1000);
    let db = house.open();
    let account = Account::new("sender a", usize::MAX);
    assert_eq!(refused(&house.send(&db, &account, 0..10)), []);
    let filler = house.disk.create(Path::new("/data/of-others")).unwrap();
    filler.write_at(0, &vec![1; 1 << 20]).unwrap();
    let used = (1 << 40) - house.disk.space(Path::new("/")).unwrap().free_bytes;
    // A fourteenth is free: more than the sixteenth at which nothing is taken, less than the twelfth that new series need.
    house.disk.set_capacity(Some(used + used / 13));
    assert!(db.0.measure_space(), "samples are taken");
    assert_eq!(refused(&house.send(&db, &account, 0..20)), [Refusal::Disk; 10]);
    assert_eq!(db.stats().head_series, 10);
    house.disk.set_capacity(None);
    assert!(db.0.measure_space());
    assert_eq!(refused(&house.send(&db, &account, 0..20)), []);
    // And on a full one, what is refused leaves nothing behind.
    house.disk.set_capacity(Some(used));
    assert!(!db.0.measure_space());
    let mut batch = Batch::default();
    batch.push(&Labels::from_pairs([("__name__", "new")]), house.clock.now(), 1.0);
    assert!(db.append(&batch).is_err());
    assert_eq!(db.stats().head_series, 20);
}
