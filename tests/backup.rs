//! A running box into a file, and another box out of it, with the commands as their user types them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use andon::bus::{self, Bus, NatsConfig, Start, StreamConfig};
use andon::clock::Clock;
use andon::instrument::Registry;
use andon::model::{Labels, Timestamp};
use andon::storage::backup::{self, About, RestoreOptions, Snapshot};
use andon::storage::{self, Storage, tsdb};
use andon::task::{Phase, Tasks};
use andon::wire::remote_write::Encoder;

use crate::bus::{Server, empty_spool, free_port, message, pattern, stored};
use crate::support::program::{Program, say};

const SOON: Duration = Duration::from_secs(20);
const SETTINGS: &str = "box_name: line-7\nhost: {enabled: false}\nrule_files: [own.yml]\n";
const RULES: &str = "groups: [{name: own, rules: [{record: parts:sum, expr: sum(parts)}]}]\n";

fn write(program: &Program, at: Timestamp, value: f64) {
    let mut encoder = Encoder::new();
    for machine in ["press", "oven"] {
        encoder.push(&Labels::from_pairs([("__name__", "parts"), ("machine", machine)]), [(at.as_millis(), value)]);
    }
    let message = encoder.finish().unwrap();
    let answer = program.request("POST", "/api/v1/write", "application/x-protobuf", &message).unwrap();
    assert!(matches!(answer.status, 200 | 204), "{}", answer.body);
}

/// What questions find: samples, lines, devices.
fn all(program: &Program, at: Timestamp) -> [String; 3] {
    let samples = format!("/api/v1/query?query=parts%5B7d%5D&time={}", at.as_seconds());
    let (start, end) = (at - Duration::from_secs(7 * 86_400), at + Duration::from_secs(60));
    let lines = format!(
        "/loki/api/v1/query_range?query=%7Bdevice%3D%22press%22%7D&start={}&end={}",
        start.as_millis() * 1_000_000,
        end.as_millis() * 1_000_000
    );
    let found = [samples.as_str(), &lines, "/api/v1/devices"].map(|path| {
        let answer = program.get(path).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let json = answer.body.find('{').unwrap()..=answer.body.rfind('}').unwrap();
        let json: serde_json::Value = serde_json::from_str(&answer.body[json]).unwrap();
        if path == lines { json["data"]["result"].to_string() } else { json["data"].to_string() }
    });
    assert!(found[0].contains("press") && found[1].contains("a line") && found[2].contains("press-1"), "{found:?}");
    found
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_running_box_is_backed_up_and_restored_equal() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(dir.path().join("own.yml"), RULES).unwrap();
    let program = Program::start(dir.path(), SETTINGS);
    let url = format!("http://{}", program.address);
    let now = andon::clock::Clock::system().now();
    for hours in [100, 30, 5, 0] {
        write(&program, now - Duration::from_secs(hours * 3600), 0.5);
    }
    let push = format!(
        r#"{{"streams": [{{"stream": {{"device": "press"}}, "values": [["{}", "a line"]]}}]}}"#,
        now.as_millis() * 1_000_000
    );
    let pushed = program.request("POST", "/loki/api/v1/push", "application/json", push.as_bytes()).unwrap();
    assert_eq!(pushed.status, 204, "{}", pushed.body);
    assert_eq!(say(&["device", "--url", &url, "add", "press-1"]).code, Some(0));
    let before = all(&program, now);

    let archive = dir.path().join("backup.tar");
    let said = say(&["backup", text(&archive), "--url", &url]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("of line-7") && said.out.contains("checked"), "{}", said.out);
    // The folder is in use, so the box is asked.
    let folder = dir.path().join("data");
    let said = say(&["backup", text(other.path()), "--data", text(&folder), "--url", &url]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let (status, _) = program.stop();
    assert!(status.success());

    let said = say(&["restore", text(&archive), "--check"]);
    assert!(said.code == Some(0) && said.out.contains("good: "), "{}{}", said.out, said.err);
    let target = other.path().join("data");
    let said = say(&["restore", text(&archive), "--data", text(&target)]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    for file in ["andon.yml", "own.yml"] {
        let kept = target.join("settings").join(dir.path().strip_prefix("/").unwrap()).join(file);
        assert!(kept.is_file(), "{} is in the backup", kept.display());
    }
    std::fs::write(other.path().join("own.yml"), RULES).unwrap();
    let copy = Program::start(other.path(), SETTINGS);
    assert_eq!(all(&copy, now), before);
    // A box runs there now.
    let said = say(&["restore", text(&archive), "--data", text(&target), "--force"]);
    assert!(said.code == Some(1) && said.err.contains("in use by a running box"), "{}", said.err);
    copy.stop();

    // The stopped box, from its folder alone.
    let direct = other.path().join("direct.tar");
    let said = say(&["backup", text(&direct), "--data", text(&target)]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let said = say(&["restore", text(&direct), "--data", text(&folder)]);
    assert!(said.code == Some(1) && said.err.contains("not empty") && said.err.contains("--force"), "{}", said.err);
    let said = say(&["restore", text(&direct), "--data", text(&folder), "--force"]);
    assert!(said.code == Some(0) && said.out.contains("before-restore-"), "{}{}", said.out, said.err);
    let program = Program::start(dir.path(), SETTINGS);
    assert_eq!(all(&program, now), before);
    program.stop();
}

#[test]
fn what_is_no_backup_is_refused_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.tar");
    let said = say(&["restore", text(&file), "--check"]);
    assert!(said.code == Some(1) && said.err.contains("x.tar"), "{}", said.err);
    std::fs::write(&file, "not an archive").unwrap();
    let target = dir.path().join("data");
    let said = say(&["restore", text(&file), "--data", text(&target)]);
    assert!(said.code == Some(1) && said.err.contains("cannot be used"), "{}", said.err);
    assert!(!target.exists(), "nothing is made before the backup has been checked");
    assert_eq!(say(&["restore", text(&file)]).code, Some(2), "a target or --check is needed");
    let said = say(&["backup", text(&file), "--data", text(&target)]);
    assert!(said.code == Some(1) && said.err.contains("no data folder"), "{}", said.err);
    let said = say(&["backup", text(&dir.path().join("out.tar")), "--url", "http://127.0.0.1:1"]);
    assert!(said.code == Some(1) && said.err.contains("no box answers"), "{}", said.err);
    assert!(!dir.path().join("out.tar.tmp").exists() && !dir.path().join("out.tar").exists());
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let said = say(&["backup", text(&dir.path().join("out.tar")), "--data", text(&empty)]);
    assert!(said.code == Some(1) && said.err.contains("holds nothing of a box"), "{}", said.err);
}

/// A box's stores and bus over one folder.
struct OneBox {
    storage: Storage,
    bus: Bus,
    tasks: Tasks,
}

impl OneBox {
    fn start(folder: &Path, nats: Option<NatsConfig>, clock: Clock) -> OneBox {
        let (registry, tasks) = (Registry::default(), Tasks::new(2));
        let tsdb = tsdb::Config {
            retention: Duration::from_secs(86_400),
            wal_sync: tsdb::WalSync::Interval(Duration::from_secs(1)),
            series_max: 1000,
            ahead_max: Duration::from_secs(600),
        };
        let config = storage::Config {
            folder: folder.to_owned(),
            size_limit: None,
            reserve_bytes: 0,
            tsdb,
            clock_trust: andon::clock::Trust::default(),
            logs: storage::logs::Config::usual(),
        };
        let storage = Storage::open(config, clock.clone(), &registry).unwrap();
        let stream = StreamConfig {
            // Small, so that segments come and go while they are copied.
            bytes_max: Some(1 << 20),
            // JetStream is to forget ids at once.
            duplicate_window: Duration::from_millis(100),
            ..StreamConfig::new("EVENTS", vec![pattern("events.>")])
        };
        let config =
            bus::Config { nats, streams: vec![stream], folder: folder.join("bus"), ..bus::Config::embedded("b") };
        let disk = storage.disk.clone();
        let bus = Bus::start(config, bus::Deps { tasks: tasks.clone(), registry, clock, disk });
        OneBox { storage, bus, tasks }
    }

    async fn stop(self) {
        self.tasks.token(Phase::Work).cancel();
        assert!(self.tasks.ended(SOON, |_| true).await.is_empty());
    }

    async fn keep(&self, body: &str) {
        let receipt = self.bus.publish_kept(message("events.a", body), None).await.unwrap().unwrap();
        tokio::time::timeout(SOON, receipt.kept()).await.expect("no ack").unwrap();
    }

    /// Reads messages at a place until one is the last; returns their sequences and bodies.
    async fn read(&self, reader: &str, start: Start, until: u64) -> Vec<(u64, String)> {
        let (into, mut messages) = tokio::sync::mpsc::channel(16);
        let _replay = self.bus.replay(reader, &pattern("events.>"), start, into).unwrap();
        let mut heard: Vec<(u64, String)> = Vec::new();
        while heard.last().is_none_or(|(sequence, _)| *sequence < until) {
            let next = tokio::time::timeout(SOON, messages.recv()).await.expect("nothing comes").unwrap();
            heard.push((next.sequence, String::from_utf8_lossy(&next.message.payload).into_owned()));
            next.through.done();
        }
        heard
    }

    fn back_up(&self, archive: &Path) {
        let disk = &*self.storage.disk;
        let snapshot = Snapshot::make(&self.storage).unwrap();
        let sources = backup::sources(disk, snapshot.folder()).unwrap();
        let about = About { box_name: "b".to_owned(), made_at: Clock::system().now() };
        backup::write_archive(disk, &sources, &about, &mut std::fs::File::create(archive).unwrap()).unwrap();
    }

    fn restore(&self, archive: &Path, target: &Path) {
        let options = RestoreOptions { is_forced: false, now: Clock::system().now() };
        let restored = backup::restore(&self.storage.disk, archive, target, options).unwrap();
        assert!(restored.unreadable.is_empty());
    }
}

/// Lets a hand-set clock run.
async fn tick(clock: Clock) {
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        clock.advance(Duration::from_millis(10));
    }
}

/// Returns a text that cannot be packed well.
fn noise(seed: u64) -> String {
    (0..60).map(|n| format!("{:016x}", (seed * 61 + n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_backed_up_while_they_are_published_to() {
    let dir = tempfile::tempdir().unwrap();
    let first = Arc::new(OneBox::start(&dir.path().join("data"), None, Clock::system()));
    // Acknowledged, and whether to go on.
    let (acknowledged, goes_on) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
    let publishing = {
        let (first, acknowledged, goes_on) = (first.clone(), acknowledged.clone(), goes_on.clone());
        tokio::spawn(async move {
            for n in 1.. {
                first.keep(&format!("{n} {}", noise(n))).await;
                acknowledged.store(n, Ordering::SeqCst);
                if !goes_on.load(Ordering::SeqCst) {
                    break;
                }
            }
        })
    };
    let count = |more: u64| {
        let acknowledged = acknowledged.clone();
        async move {
            let target = acknowledged.load(Ordering::SeqCst) + more;
            while acknowledged.load(Ordering::SeqCst) < target {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            target
        }
    };
    let mut archives = Vec::new();
    for round in 0..3 {
        // The oldest segments go from the second round on.
        let at_least = count(500).await;
        let heard = first.read("reader", Start::All, at_least - 400).await.last().unwrap().0;
        let before = acknowledged.load(Ordering::SeqCst);
        let archive = dir.path().join(format!("{round}.tar"));
        let (taker, file) = (first.clone(), archive.clone());
        tokio::task::spawn_blocking(move || taker.back_up(&file)).await.unwrap();
        archives.push((archive, heard, before, acknowledged.load(Ordering::SeqCst)));
    }
    goes_on.store(false, Ordering::SeqCst);
    publishing.await.unwrap();
    for (archive, read_before, before, after) in archives {
        let target = archive.with_extension("data");
        first.restore(&archive, &target);
        let copy = OneBox::start(&target, None, Clock::system());
        copy.keep("the next").await;
        let state = copy.bus.streams().remove(0);
        assert!(state.last > before, "{state:?}, {before} were acknowledged before");
        let heard = copy.read("newcomer", Start::All, state.last).await;
        let first_there = heard[0].0;
        assert!(first_there + 300 < before, "{first_there} is the first of {before}");
        for (at, (sequence, body)) in heard.iter().enumerate() {
            assert_eq!(*sequence, first_there + at as u64, "in order, none twice, none missing");
            let is_whole = *body == format!("{sequence} {}", noise(*sequence));
            assert!(is_whole || (*sequence == state.last && body == "the next"), "{sequence}: {body}");
        }
        // One more may have been written and not acknowledged yet when the copy ended.
        assert!(state.last <= after + 2, "{} and {after}", state.last);
        let place = copy.read("reader", Start::All, state.last).await;
        assert!(place[0].0 <= first_there.max(read_before + 1), "a reader misses nothing: {read_before}");
        copy.stop().await;
    }
}

#[tokio::test]
async fn what_waited_for_nats_in_a_backup_is_sent_unless_it_was_since() {
    let (dir, streams) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (port, archive) = (free_port(), dir.path().join("backup.tar"));
    let nats = || Some(NatsConfig::new(vec![format!("nats://127.0.0.1:{port}")]));
    let first = OneBox::start(&dir.path().join("data"), nats(), Clock::system());
    for n in 0..30 {
        first.keep(&n.to_string()).await;
    }
    first.back_up(&archive);
    // The second of two boxes with the same backup finds all of it in the stream.
    let targets = ["second", "third"].map(|name| dir.path().join(name));
    targets.iter().for_each(|target| first.restore(&archive, target));
    first.stop().await;
    let _server = Server::with_streams(port, streams.path());
    for (round, target) in targets.iter().enumerate() {
        // Restored two hours later.
        let clock = Clock::hand_set(Clock::system().now() + Duration::from_secs(7200));
        let ticking = tokio::spawn(tick(clock.clone()));
        let copy = OneBox::start(target, nats(), clock);
        let mark = target.join("bus/spool/restored");
        assert_eq!((copy.bus.spool().unwrap().waiting, mark.exists()), (30, false));
        empty_spool(&copy.bus).await;
        copy.keep(&format!("new {round}")).await;
        empty_spool(&copy.bus).await;
        let bodies: Vec<String> = stored(port, "EVENTS").await.into_iter().map(|(_, body, _)| body).collect();
        let new = ["new 0", "new 1"].map(str::to_owned);
        let expected: Vec<String> = (0..30).map(|n| n.to_string()).chain(new.into_iter().take(round + 1)).collect();
        assert_eq!(bodies, expected);
        copy.stop().await;
        ticking.abort();
    }
}
