//! Forwarding through its front door, against a central that misbehaves.

use std::time::Duration;

use andon::clock::{Clock, Trust};
use andon::forward::{Config, Deps, Destination, Forwarder, Snapshot, Stage};
use andon::instrument::Registry;
use andon::model::{AnchoredRegex, HttpClient, Labels, RelabelAction, RelabelRule, Timestamp, stale_nan};
use andon::storage::state::State;
use andon::storage::tsdb::{self, Batch, Db};
use andon::storage::{self, Storage, logs};
use andon::task::{Phase, Tasks};

use crate::support::central::{Central, Mode};

const READER: &str = "forward:central";

/// A store, its cursors and a central; forwarders come and go.
struct Rig {
    db: Db,
    state: State,
    clock: Clock,
    central: Central,
    config: Config,
    start: i64,
}

impl Rig {
    async fn new() -> Self {
        let clock = Clock::system();
        let central = Central::start().await;
        // On a minute, because lateness is noted in whole minutes.
        let start = (clock.now().as_millis() - 600_000) / 60_000 * 60_000;
        let state = State::in_memory();
        state.cursors().save(READER, start).unwrap();
        let destination = Destination {
            name: "central".to_owned(),
            url: central.url(),
            headers: vec![("X-Scope-OrgID".to_owned(), "north".to_owned())],
            http: HttpClient::plain(),
            timeout: Duration::from_secs(5),
            write_relabel: Vec::new(),
            samples_per_request_max: 50,
            send_interval: Duration::from_millis(50),
            settle: Duration::from_secs(60),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(100),
        };
        let config = Config { external_labels: Labels::empty(), destinations: vec![destination] };
        Rig { db: Db::in_memory(), state, clock, central, config, start }
    }

    /// Adds samples of a series: `count`, one each second, the first `from` seconds after the start.
    fn add(&self, name: &str, from: i64, count: i64) {
        let mut batch = Batch::default();
        let labels = Labels::from_pairs([("__name__", name)]);
        for i in from..from + count {
            batch.push(&labels, Timestamp::from_millis(self.start + i * 1000), i as f64);
        }
        self.db.append(&batch).unwrap();
    }

    fn forward(&self) -> Running {
        let tasks = Tasks::new(2);
        let deps = Deps {
            db: self.db.clone(),
            state: self.state.clone(),
            clock: self.clock.clone(),
            tasks: tasks.clone(),
            registry: Registry::default(),
        };
        Running { forwarder: Forwarder::start(self.config.clone(), deps), tasks }
    }

    fn cursor(&self) -> i64 {
        self.state.cursors().get(READER).unwrap().unwrap().position - self.start
    }
}

struct Running {
    forwarder: Forwarder,
    tasks: Tasks,
}

impl Running {
    /// Waits until the snapshot passes.
    async fn until(&self, what: &str, passes: impl Fn(&Snapshot) -> bool) {
        for _ in 0..1000 {
            if passes(&self.forwarder.snapshot()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never {what}: {:?}", self.forwarder.snapshot());
    }

    async fn live(&self) {
        self.until("live", |s| s.destinations[0].stage == Stage::Live).await;
    }

    async fn stop(self) {
        self.tasks.token(Phase::Intake).cancel();
        assert!(self.tasks.ended(Duration::from_secs(5), |_| true).await.is_empty());
    }
}

#[tokio::test]
async fn everything_old_enough_arrives_once_and_in_order() {
    let rig = Rig::new().await;
    rig.add("a", 0, 300);
    rig.add("b", 100, 50);
    rig.add("too_new", 660, 5);
    let running = rig.forward();
    running.live().await;
    assert_eq!((rig.central.points(), rig.central.twice(), rig.central.backwards()), (350, 0, 0));
    let seen = running.forwarder.snapshot().destinations[0].clone();
    assert_eq!((seen.samples_sent, seen.samples_refused, seen.retries), (350, 0, 0));
    assert!(seen.requests >= 7 && seen.lag_s >= 59.0 && seen.lag_s < 70.0, "{seen:?}");
    assert_eq!(rig.central.header("content-encoding"), "snappy");
    assert_eq!(rig.central.header("x-scope-orgid"), "north");
    assert_eq!(rig.central.header("x-prometheus-remote-write-version"), "0.1.0");
    running.stop().await;
    assert!(rig.cursor() >= 539_000, "the cursor is saved at the end");
}

#[tokio::test]
async fn an_outage_is_made_up_for_and_a_restart_in_it_loses_nothing() {
    for mode in [Mode::Answer(500), Mode::Answer(429), Mode::Answer(401)] {
        let rig = Rig::new().await;
        rig.add("a", 0, 200);
        rig.central.set(mode.clone());
        let running = rig.forward();
        running.until("retrying", |s| s.destinations[0].retries >= 3).await;
        let seen = running.forwarder.snapshot().destinations[0].clone();
        assert_eq!(seen.stage, Stage::Waiting);
        assert!(seen.last_error.contains("not now") && seen.next_attempt.is_some(), "{seen:?}");
        running.stop().await;
        assert_eq!(rig.cursor(), 0, "{mode:?}");

        rig.add("a", 200, 200);
        let running = rig.forward();
        running.until("retrying", |s| s.destinations[0].retries >= 3).await;
        rig.central.set(Mode::Take);
        running.live().await;
        assert_eq!((rig.central.points(), rig.central.twice(), rig.central.backwards()), (400, 0, 0), "{mode:?}");
        running.stop().await;
    }
}

#[tokio::test]
async fn a_restart_after_a_stop_sends_nothing_twice() {
    let rig = Rig::new().await;
    rig.add("a", 0, 400);
    let running = rig.forward();
    running.until("half sent", |s| s.destinations[0].samples_sent >= 100).await;
    running.stop().await;
    let running = rig.forward();
    running.live().await;
    running.stop().await;
    assert_eq!((rig.central.points(), rig.central.twice()), (400, 0));
}

#[tokio::test]
async fn what_central_refuses_for_good_is_counted_and_the_rest_arrives() {
    let rig = Rig::new().await;
    rig.add("a", 0, 100);
    rig.add("bad", 20, 30);
    rig.add("z", 0, 100);
    rig.central.set(Mode::RefuseMetric("bad"));
    let running = rig.forward();
    running.live().await;
    let seen = running.forwarder.snapshot().destinations[0].clone();
    assert_eq!(rig.central.points(), 200);
    assert_eq!((seen.samples_refused, seen.retries), (30, 0), "{seen:?}");
    assert!(seen.last_error.contains("samples refused"), "{seen:?}");
    assert!(rig.central.requests() < 200, "{}", rig.central.requests());
    running.stop().await;
}

#[tokio::test]
async fn labels_are_added_and_series_dropped_on_the_way() {
    let mut rig = Rig::new().await;
    rig.config.external_labels = Labels::from_pairs([("site", "north")]);
    rig.config.destinations[0].write_relabel = vec![RelabelRule {
        source_labels: vec!["__name__".to_owned()],
        separator: ";".to_owned(),
        regex: AnchoredRegex::new("noise.*").unwrap(),
        modulus: 0,
        target_label: String::new(),
        replacement: "$1".to_owned(),
        action: RelabelAction::Drop,
    }];
    rig.add("a", 0, 2);
    rig.add("noise_x", 0, 3);
    let mut batch = Batch::default();
    let gone = Labels::from_pairs([("__name__", "gone"), ("site", "own")]);
    batch.push(&gone, Timestamp::from_millis(rig.start), stale_nan());
    rig.db.append(&batch).unwrap();
    let running = rig.forward();
    running.live().await;
    let t = rig.start;
    assert_eq!(rig.central.text(), format!("a{{site=\"north\"}} {t} {}\ngone{{site=\"own\"}} {t}", t + 1000));
    assert_eq!(running.forwarder.snapshot().destinations[0].samples_dropped, 3);
    running.stop().await;
}

#[tokio::test]
async fn a_reload_keeps_the_place_of_a_destination_that_keeps_its_name() {
    let mut rig = Rig::new().await;
    rig.add("a", 0, 100);
    let running = rig.forward();
    running.live().await;
    rig.config.destinations[0].samples_per_request_max = 7;
    running.forwarder.reload(rig.config.clone());
    running.live().await;
    assert_eq!((rig.central.points(), rig.central.twice()), (100, 0));
    running.forwarder.reload(Config { destinations: Vec::new(), ..rig.config.clone() });
    assert!(running.tasks.ended(Duration::from_secs(5), |_| true).await.is_empty());
    assert!(running.forwarder.snapshot().destinations.is_empty());
}

#[tokio::test]
async fn after_a_crash_only_the_last_second_is_sent_twice() {
    let rig = Rig::new().await;
    rig.add("a", 0, 400);
    // A runtime of its own that stops where it stands, as kill -9 does.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let running = {
        let _inside = runtime.enter();
        rig.forward()
    };
    running.until("some sent", |s| s.destinations[0].samples_sent >= 100).await;
    runtime.shutdown_background();
    let running = rig.forward();
    running.live().await;
    assert_eq!(rig.central.points(), 400);
    running.stop().await;
}

#[tokio::test]
async fn a_device_that_was_away_is_sent_in_order() {
    let rig = Rig::new().await;
    rig.add("a", 0, 540);
    rig.add("device", 0, 440);
    let running = rig.forward();
    running.live().await;
    // What it kept, up to now, behind the cursor and before it.
    rig.add("device", 440, 150);
    running.until("sent late", |s| s.destinations[0].samples_sent >= 980 + 110).await;
    assert_eq!((rig.central.backwards(), rig.central.twice()), (0, 0), "{}", rig.central.text());
    running.stop().await;
}

#[tokio::test]
async fn what_comes_late_is_sent_once_if_that_is_known() {
    let rig = Rig::new().await;
    rig.add("a", 0, 540);
    rig.add("b", 0, 540);
    let running = rig.forward();
    running.live().await;
    assert_eq!((rig.central.points(), rig.central.twice()), (1080, 0));
    // Of the last minutes it is known what was sent: nothing else is sent again.
    rig.add("b", 400, 140);
    rig.add("late", 470, 5);
    running.until("sent late", |s| s.destinations[0].samples_sent >= 1085).await;
    running.live().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((rig.central.points(), rig.central.twice()), (1085, 0), "{}", rig.central.text());
    // Of older ones all is sent again.
    rig.add("very_late", 65, 5);
    running.until("sent late", |s| s.destinations[0].samples_sent >= 1210).await;
    assert_eq!((rig.central.points(), rig.central.twice()), (1090, 120));
    running.stop().await;
    // It is over: nothing is left for the next start.
    let running = rig.forward();
    running.live().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((rig.central.points(), rig.central.twice()), (1090, 120));
    running.stop().await;
}

#[tokio::test]
async fn while_the_time_is_not_known_nothing_is_sent_and_then_all_of_it_once_at_its_true_time() {
    const DAY_MS: i64 = 24 * 3600 * 1000;
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new().await;
    // The machine's clock is a day behind, and nobody has confirmed it.
    rig.clock = Clock::hand_set(Timestamp::from_millis(rig.start));
    let config = storage::Config {
        folder: folder.path().to_owned(),
        size_limit: None,
        reserve_bytes: 0,
        tsdb: tsdb::Config {
            retention: tsdb::RETENTION_DEFAULT,
            wal_sync: tsdb::WalSync::Never,
            series_max: 1000,
            ahead_max: tsdb::AHEAD_MAX_DEFAULT,
        },
        clock_trust: Trust::Synchronized,
        logs: logs::Config::usual(),
    };
    let storage = Storage::open(config, rig.clock.clone(), &Registry::default()).unwrap();
    (rig.db, rig.state) = (storage.db.clone(), storage.state.clone());
    rig.state.cursors().save(READER, rig.start).unwrap();
    let labels = Labels::from_pairs([("__name__", "a")]);
    let mut batch = Batch::stamped(rig.clock.moved_ms());
    (0..100).for_each(|i| batch.push(&labels, Timestamp::from_millis(rig.start + i * 1000), i as f64));
    assert_eq!(rig.db.append(&batch).unwrap().appended, 100);
    rig.clock.advance(Duration::from_secs(600));
    assert!(rig.db.has_provisional() && !rig.clock.is_trusted());

    let running = rig.forward();
    running.until("unsure", |s| s.destinations[0].stage == Stage::Unsure).await;
    // Looked at three more times, each after it has waited.
    for _ in 0..3 {
        rig.clock.advance(Duration::from_secs(1));
        let behind = (rig.clock.now().as_millis() - rig.start) as f64 / 1000.0;
        running.until("looked again", |s| s.destinations[0].lag_s >= behind).await;
    }
    assert_eq!((rig.central.requests(), rig.cursor()), (0, 0));

    // A time server sets the clock; the store's own thread moves the samples.
    rig.clock.set_wall(rig.clock.now() + Duration::from_millis(DAY_MS.unsigned_abs()), true);
    storage.keep_time();
    assert!(rig.clock.is_trusted());
    running.live().await;
    assert_eq!((rig.central.points(), rig.central.twice(), rig.central.backwards()), (100, 0, 0));
    let times: Vec<String> = (0..100).map(|i| (rig.start + DAY_MS + i * 1000).to_string()).collect();
    assert_eq!(rig.central.text(), format!("a{{}} {}", times.join(" ")));
    running.stop().await;
}
