//! A box whose clock is wrong: no sample is lost, none ends up at a wrong time, whatever happens on the way.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::disk::{Fault, FaultyDisk};
use super::timekeeping::Timekeeper;
use super::tsdb::{AppendOutcome, Batch, Config, Db, Querier, WalSync};
use crate::clock::{Clock, Trust};
use crate::instrument::Registry;
use crate::model::{Labels, Timestamp};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
const YEAR_MS: i64 = 365 * DAY_MS;

/// True time at the beginning: June 2026.
const TRUE_MS: i64 = 1_780_300_000_000;

type Samples = BTreeMap<i64, f64>;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn labels(metric: &str) -> Labels {
    Labels::from_pairs([("__name__", metric)])
}

/// A box with what it should have.
struct Scene {
    disk: FaultyDisk,
    machine: Clock,
    running: Option<Running>,
    true_ms: i64,
    /// What this box has stamped, at true time.
    ours: Samples,
    /// What others have stamped.
    theirs: Samples,
}

struct Running {
    clock: Clock,
    keeper: Timekeeper,
    db: Db,
}

impl Running {
    fn start(disk: &FaultyDisk, machine: &Clock) -> Self {
        let clock = machine.again();
        let registry = Registry::default();
        let keeper = Timekeeper::open(Trust::Plausible, clock.clone(), disk.shared(), Path::new("/data"), &registry);
        let config = Config {
            retention: Duration::from_secs(15 * 24 * 3600),
            wal_sync: WalSync::Always,
            series_max: 1000,
            ahead_max: Duration::from_secs(600),
        };
        let folder = Path::new("/data/tsdb");
        let db = Db::open_without_threads(config, disk.shared(), folder, clock.clone(), &registry).unwrap();
        db.resume_provisional(keeper.shift_ms()).unwrap();
        Running { clock, keeper, db }
    }

    fn look(&self) {
        self.keeper.look(&self.db);
        self.db.maintain();
        self.keeper.look(&self.db);
    }
}

fn read(querier: &Querier, metric: &str) -> Samples {
    let all = querier.select(&[], Timestamp::MIN, Timestamp::MAX, usize::MAX).unwrap().map(|s| s.unwrap());
    all.filter(|s| s.labels == labels(metric)).flat_map(|s| s.timestamps.into_iter().zip(s.values)).collect()
}

impl Scene {
    /// A box that has run for ten days, and has been switched off since yesterday.
    fn new() -> Self {
        let (disk, machine) = (FaultyDisk::new(1), Clock::hand_set(at(TRUE_MS - 11 * DAY_MS)));
        let mut scene = Scene {
            disk,
            machine,
            running: None,
            true_ms: TRUE_MS - 11 * DAY_MS,
            ours: Samples::new(),
            theirs: Samples::new(),
        };
        scene.start();
        for _ in 0..10 {
            scene.run(1, || ());
            scene.machine.advance(Duration::from_secs(24 * 3600));
            scene.true_ms += DAY_MS;
        }
        scene.stop();
        scene.true_ms = TRUE_MS;
        scene
    }

    fn start(&mut self) {
        self.running = Some(Running::start(&self.disk, &self.machine));
    }

    fn stop(&mut self) {
        self.running = None;
    }

    /// Ends the process at once and starts another.
    fn kill(&mut self) {
        self.stop();
        self.start();
    }

    fn boot(&mut self, wall_ms: i64) {
        self.stop();
        self.disk.crash();
        self.machine.boot(at(wall_ms));
        self.start();
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn set_wall(&self, wall_ms: i64, is_synchronized: bool) {
        self.machine.set_wall(at(wall_ms), is_synchronized);
    }

    /// Takes a sample of our own and one of somebody else, which must not be refused. Every sample, provisional
    /// or not, can be read at once.
    fn sample(&mut self) {
        let Running { clock, db, .. } = self.running();
        let stamp = clock.stamp();
        let value = self.ours.len() as f64;
        let mut batch = Batch::stamped(stamp.moved_ms);
        batch.push(&labels("ours"), stamp.at, value);
        assert_eq!(db.append(&batch).unwrap(), AppendOutcome { appended: 1, ..AppendOutcome::default() });
        let mut batch = Batch::default();
        batch.push(&labels("theirs"), at(self.true_ms), value);
        assert_eq!(db.append(&batch).unwrap().appended, 1, "theirs at {}", self.true_ms);
        let seen: Vec<f64> = read(&db.querier(), "ours").into_values().collect();
        self.ours.insert(self.true_ms, value);
        self.theirs.insert(self.true_ms, value);
        let expected: Vec<f64> = self.ours.values().copied().collect();
        assert_eq!(seen, expected, "in the order in which they were taken");
    }

    /// Runs for so many minutes with a sample each; `between` happens between them.
    fn run(&mut self, minutes: u32, mut between: impl FnMut()) {
        for _ in 0..minutes {
            self.running().look();
            self.sample();
            between();
            self.machine.advance(Duration::from_secs(60));
            self.true_ms += MINUTE_MS;
        }
        self.running().look();
    }

    /// What is final is at its true time; nothing of it lies in the future.
    fn check_final(&self) -> usize {
        let found = read(&self.running().db.final_querier(), "ours");
        for (time, value) in &found {
            assert_eq!(self.ours.get(time), Some(value), "at {time}");
            assert!(*time <= self.true_ms, "in the future");
        }
        found.len()
    }

    fn check_all(&self) {
        let db = &self.running().db;
        assert!(self.running().clock.is_trusted() && !db.has_provisional());
        assert_eq!(read(&db.final_querier(), "ours"), self.ours);
        assert_eq!(read(&db.querier(), "theirs"), self.theirs);
    }
}

/// Boot in 1970, run, sync, a year back, a day forward, three hours back, sync.
fn gauntlet(mut each: impl FnMut(&mut Scene)) {
    let mut scene = Scene::new();
    let before = scene.ours.len();
    scene.boot(1000);
    each(&mut scene);
    scene.run(30, || ());
    each(&mut scene);
    scene.run(30, || ());
    assert!(!scene.running().clock.is_trusted());
    assert_eq!(scene.check_final(), before, "what is provisional is kept back");

    scene.set_wall(scene.true_ms, true);
    each(&mut scene);
    scene.run(10, || ());
    each(&mut scene);
    scene.check_all();
    for step_ms in [-YEAR_MS, DAY_MS, -3 * HOUR_MS] {
        scene.set_wall(scene.true_ms + step_ms, false);
        each(&mut scene);
        scene.run(10, || ());
        each(&mut scene);
        scene.run(10, || ());
        scene.check_all();
    }
    scene.set_wall(scene.true_ms, true);
    each(&mut scene);
    scene.run(10, || ());
    scene.check_all();
}

#[test]
fn the_gauntlet_loses_nothing_and_leaves_nothing_in_the_future() {
    gauntlet(|_| ());
}

#[test]
fn the_gauntlet_with_a_kill_in_every_phase() {
    gauntlet(Scene::kill);
}

#[test]
fn a_clock_set_by_hand_is_waited_for() {
    let mut scene = Scene::new();
    scene.boot(TRUE_MS);
    scene.run(5, || ());
    scene.check_all();
    // A day forward, and nobody says why.
    scene.set_wall(scene.true_ms + DAY_MS, false);
    scene.run(30, || ());
    scene.kill();
    scene.run(30, || ());
    assert_eq!(scene.check_final(), scene.ours.len() - 60);
    // Three hours back, and an operator says that it was wrong all day.
    scene.set_wall(scene.true_ms, false);
    assert!(scene.running().keeper.confirm(&scene.running().db));
    scene.run(1, || ());
    scene.check_all();
}

#[test]
fn an_operator_says_that_it_was_later_than_the_box_thought() {
    let mut scene = Scene::new();
    scene.boot(TRUE_MS - 10 * HOUR_MS);
    assert!(scene.running().clock.is_trusted(), "behind, but after the last stamp: that cannot be known");
    scene.ours.clear();
    let before = read(&scene.running().db.querier(), "ours").len();
    scene.set_wall(TRUE_MS, false);
    scene.running().look();
    assert!(!scene.running().clock.is_trusted());
    let stamp = scene.running().clock.stamp();
    assert!(scene.running().keeper.confirm(&scene.running().db));
    // It was stamped before and comes after.
    let mut batch = Batch::stamped(stamp.moved_ms);
    batch.push(&labels("ours"), stamp.at, 1.0);
    scene.running().db.append(&batch).unwrap();
    scene.running().look();
    let after = read(&scene.running().db.final_querier(), "ours");
    assert_eq!((after.len(), after.last_key_value()), (before + 1, Some((&TRUE_MS, &1.0))));
}

#[test]
fn a_power_cut_at_every_write_of_the_move_loses_nothing() {
    let mut whole_calls = 0;
    for n in 0.. {
        let mut scene = Scene::new();
        scene.boot(1000);
        scene.run(20, || ());
        let calls = scene.disk.calls();
        if n > 0 {
            scene.disk.fail_call(n, Fault::PowerCut);
        }
        scene.set_wall(scene.true_ms, true);
        scene.running().look();
        if n == 0 {
            whole_calls = scene.disk.calls() - calls;
            assert!(whole_calls > 5);
            scene.check_all();
            continue;
        }
        scene.stop();
        scene.disk.crash();
        scene.start();
        scene.running().look();
        scene.check_all();
        if n > whole_calls {
            return;
        }
    }
}

#[test]
fn power_cuts_without_a_clock_keep_everything_in_order() {
    let mut scene = Scene::new();
    let before = scene.ours.len();
    for _ in 0..3 {
        scene.boot(1000);
        scene.run(20, || ());
        assert_eq!(scene.check_final(), before);
    }
    scene.set_wall(scene.true_ms, true);
    scene.run(5, || ());
    let found = read(&scene.running().db.final_querier(), "ours");
    assert!(found.values().eq(scene.ours.values()), "all, in the order in which they were taken");
    assert!(*found.last_key_value().unwrap().0 < scene.true_ms);
    // Those of the last start are where they belong.
    let last: Vec<_> = scene.ours.iter().rev().take(25).collect();
    assert!(last.iter().all(|(time, value)| found.get(time) == Some(value)));
    // A start with a believable clock takes the samples of the one before as they are.
    scene.boot(1000);
    scene.run(5, || ());
    scene.boot(TRUE_MS + DAY_MS);
    scene.true_ms = TRUE_MS + DAY_MS;
    scene.run(5, || ());
    assert!(!scene.running().db.has_provisional());
    let found = read(&scene.running().db.final_querier(), "ours");
    assert!(found.values().eq(scene.ours.values()));
}

#[test]
fn a_disk_that_takes_nothing_delays_the_move_and_loses_nothing() {
    let mut scene = Scene::new();
    scene.boot(1000);
    scene.run(20, || ());
    scene.set_wall(scene.true_ms, true);
    scene.disk.fail_call(1, Fault::PowerCut);
    scene.running().look();
    assert!(!scene.running().clock.is_trusted(), "the shift must be on disk before anything is shifted");
    scene.stop();
    scene.disk.crash();
    scene.start();
    scene.run(1, || ());
    scene.check_all();
}

#[test]
fn a_wrong_clock_deletes_nothing() {
    let mut scene = Scene::new();
    let before = scene.ours.len();
    // Four weeks ahead at the start, which nothing contradicts: retention is fifteen days.
    scene.boot(TRUE_MS + 28 * DAY_MS);
    assert!(scene.running().clock.is_trusted());
    scene.running().db.flush().unwrap();
    for _ in 0..10 {
        scene.running().look();
        scene.machine.advance(Duration::from_secs(60));
    }
    assert_eq!(read(&scene.running().db.querier(), "ours").len(), before);
    // And those that were stamped in the future do not keep out what comes after it was set right.
    let mut batch = Batch::stamped(0);
    batch.push(&labels("ours"), scene.running().clock.now(), 99.0);
    scene.running().db.append(&batch).unwrap();
    scene.set_wall(TRUE_MS, true);
    scene.running().look();
    scene.ours = read(&scene.running().db.querier(), "ours");
    let future = scene.ours.pop_last().unwrap();
    let stamp = scene.running().clock.stamp();
    assert_eq!(stamp.at, at(TRUE_MS));
    let mut batch = Batch::stamped(stamp.moved_ms);
    batch.push(&labels("ours"), stamp.at, 1.0);
    let outcome = scene.running().db.append(&batch).unwrap();
    assert_eq!(outcome, AppendOutcome { appended: 1, out_of_order: 1, ..AppendOutcome::default() });
    assert_eq!(future.1, 99.0);
}
