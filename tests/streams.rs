//! What a stream does for those who publish and read, in one table: each behaviour holds where the box keeps the
//! stream itself and where NATS does.

use std::time::Duration;

use andon::bus::{self, Bus, Config, Error, Message, NatsConfig, Replay, Replayed, Start, StreamConfig};
use andon::clock::Clock;
use andon::instrument::Registry;
use andon::model::Timestamp;
use andon::storage::disk::FaultyDisk;
use andon::task::{Phase, Tasks};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::bus::{Server, connected, free_port, message, pattern};

const SOON: Duration = Duration::from_secs(20);

/// A box with declared streams, and the NATS server that keeps them, if one does.
struct Bench {
    server: Option<(Server, TempDir)>,
    streams: Vec<StreamConfig>,
    disk: FaultyDisk,
    running: Option<(Bus, Tasks)>,
}

impl Bench {
    fn new(with_nats: bool, streams: Vec<StreamConfig>) -> Bench {
        let server = with_nats.then(|| {
            let folder = tempfile::tempdir().unwrap();
            (Server::with_streams(free_port(), folder.path()), folder)
        });
        let mut bench = Bench { server, streams, disk: FaultyDisk::new(1), running: None };
        bench.start();
        bench
    }

    fn start(&mut self) {
        let servers = |server: &Server| vec![format!("nats://127.0.0.1:{}", server.port)];
        let nats = self.server.as_ref().map(|(server, _)| NatsConfig::new(servers(server)));
        let config = Config { nats, streams: self.streams.clone(), ..Config::embedded("box") };
        let (tasks, clock, disk) = (Tasks::new(2), Clock::system(), self.disk.shared());
        let deps = bus::Deps { tasks: tasks.clone(), registry: Registry::default(), clock, disk };
        self.running = Some((Bus::start(config, deps), tasks));
    }

    fn bus(&self) -> &Bus {
        &self.running.as_ref().unwrap().0
    }

    /// Ends the process as SIGKILL does and starts it again.
    fn kill(&mut self) {
        self.disk.kill();
        let (bus, tasks) = self.running.take().unwrap();
        // The dead process's tasks get nothing more done: their disk is gone.
        tasks.token(Phase::Intake).cancel();
        tasks.token(Phase::Work).cancel();
        drop(bus);
        self.start();
    }

    /// Stops the box in order and starts it again.
    async fn restart(&mut self) {
        let (bus, tasks) = self.running.take().unwrap();
        tasks.token(Phase::Work).cancel();
        let left = tasks.ended(SOON, |_| true).await;
        assert!(left.is_empty(), "{left:?}");
        drop(bus);
        self.start();
    }

    /// Publishes messages and waits until their stream has them.
    async fn keep(&self, messages: &[(&str, &str)]) {
        for (subject, body) in messages {
            let receipt = self.bus().publish_kept(message(subject, body), None).await.unwrap();
            tokio::time::timeout(SOON, receipt.expect("a stream keeps it").kept()).await.expect("no ack").unwrap();
        }
        self.settle().await;
    }

    /// Waits until NATS has what was published.
    async fn settle(&self) {
        if self.server.is_some() {
            connected(self.bus()).await;
        }
        let wait = async {
            while self.bus().spool().is_some_and(|spool| spool.waiting > 0) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(SOON, wait).await.expect("NATS does not take them");
    }

    fn read(&self, reader: &str, subjects: &str, start: Start) -> Ear {
        let (into, messages) = mpsc::channel(16);
        let replay = self.bus().replay(reader, &pattern(subjects), start, into).unwrap();
        Ear { replay, messages }
    }

    /// Reads so many messages at a place, which moves on; returns sequences and bodies.
    async fn hear(&self, reader: &str, subjects: &str, start: Start, count: usize) -> Vec<(u64, String)> {
        self.read(reader, subjects, start).hear(count).await
    }
}

/// Somebody who reads.
struct Ear {
    replay: Replay,
    messages: mpsc::Receiver<Replayed>,
}

impl Ear {
    async fn next(&mut self) -> Replayed {
        tokio::time::timeout(SOON, self.messages.recv()).await.expect("nothing comes").unwrap()
    }

    async fn hear(&mut self, count: usize) -> Vec<(u64, String)> {
        let mut heard = Vec::new();
        while heard.len() < count {
            let replayed = self.next().await;
            heard.push((replayed.sequence, String::from_utf8(replayed.message.payload.to_vec()).unwrap()));
            replayed.through.done();
        }
        heard
    }

    /// Fails if anything comes before a message that is published now.
    async fn hears_nothing_but(&mut self, bench: &Bench, subject: &str) {
        bench.keep(&[(subject, "the end")]).await;
        assert_eq!(self.hear(1).await.remove(0).1, "the end");
    }
}

fn events() -> StreamConfig {
    StreamConfig::new("EVENTS", vec![pattern("events.>")])
}

fn bodies(heard: Vec<(u64, String)>) -> Vec<String> {
    heard.into_iter().map(|(_, body)| body).collect()
}

/// Runs one behaviour on both.
async fn on_both(streams: Vec<StreamConfig>, behaviour: impl AsyncFn(&mut Bench)) {
    for with_nats in [false, true] {
        let mut bench = Bench::new(with_nats, streams.clone());
        behaviour(&mut bench).await;
        assert_eq!(bench.bus().streams().is_empty(), with_nats, "who keeps them");
    }
}

const FIVE: [(&str, &str); 5] =
    [("events.a", "1"), ("events.b", "2"), ("events.a", "3"), ("events.c.d", "4"), ("events.b", "5")];

#[tokio::test]
async fn reading_begins_where_the_reader_asks() {
    on_both(vec![events()], async |bench| {
        bench.keep(&FIVE[..3]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let between = Timestamp::from_millis(Clock::system().now().as_millis());
        bench.keep(&FIVE[3..]).await;
        let from = async |name: &str, start, count| bench.hear(name, "events.>", start, count).await;
        assert_eq!(bodies(from("all", Start::All, 5).await), ["1", "2", "3", "4", "5"]);
        let heard = from("sequence", Start::Sequence(3), 3).await;
        assert_eq!(heard, [(3, "3".to_owned()), (4, "4".to_owned()), (5, "5".to_owned())]);
        assert_eq!(bodies(from("time", Start::Time(between), 2).await), ["4", "5"]);
        assert_eq!(bodies(from("last", Start::Last, 3).await), ["3", "4", "5"], "the last of each subject");
        assert_eq!(bodies(bench.hear("b", "events.b", Start::Last, 1).await), ["5"]);
        assert_eq!(bodies(bench.hear("star", "events.*", Start::All, 4).await), ["1", "2", "3", "5"]);
        let mut new = bench.read("new", "events.>", Start::New);
        let mut ahead = bench.read("ahead", "events.>", Start::Sequence(100));
        // Its place is made when it has been heard of.
        tokio::time::sleep(Duration::from_millis(300)).await;
        new.hears_nothing_but(bench, "events.a").await;
        assert_eq!(bodies(ahead.hear(1).await), ["the end"]);
        // Who asked for the last hears all that comes later.
        assert_eq!(bodies(from("last", Start::Last, 1).await), ["the end"]);
    })
    .await;
}

#[tokio::test]
async fn reading_goes_on_at_the_readers_place() {
    on_both(vec![events()], async |bench| {
        bench.keep(&FIVE).await;
        assert_eq!(bodies(bench.hear("press", "events.>", Start::All, 2).await), ["1", "2"]);
        assert_eq!(bodies(bench.hear("press", "events.>", Start::All, 1).await), ["3"], "the place counts");
        assert_eq!(bodies(bench.hear("press", "events.b", Start::All, 1).await), ["2"], "a place for each subject");
        assert_eq!(bodies(bench.hear("lamp", "events.>", Start::All, 1).await), ["1"], "and for each reader");
        let mut ear = bench.read("press", "events.>", Start::New);
        let first = ear.next().await;
        assert_eq!(first.sequence, 4);
        // Handed out, and never through.
        drop((first, ear));
        assert_eq!(bodies(bench.hear("press", "events.>", Start::New, 2).await), ["4", "5"], "it comes again");
        let ear = bench.read("press", "events.>", Start::New);
        tokio::time::sleep(Duration::from_millis(300)).await;
        ear.replay.forget();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(bodies(bench.hear("press", "events.>", Start::All, 1).await), ["1"], "the place was forgotten");
    })
    .await;
}

#[tokio::test]
async fn what_was_acknowledged_and_places_outlive_the_box() {
    on_both(vec![events()], async |bench| {
        bench.keep(&FIVE[..3]).await;
        assert_eq!(bodies(bench.hear("press", "events.>", Start::All, 2).await), ["1", "2"]);
        bench.restart().await;
        assert_eq!(bodies(bench.hear("press", "events.>", Start::All, 1).await), ["3"]);
        bench.keep(&FIVE[3..]).await;
        bench.kill();
        bench.settle().await;
        assert_eq!(bodies(bench.hear("other", "events.>", Start::All, 5).await), ["1", "2", "3", "4", "5"]);
        bench.keep(&[("events.a", "6")]).await;
        assert_eq!(bench.hear("third", "events.>", Start::Sequence(6), 1).await, [(6, "6".to_owned())]);
    })
    .await;
}

#[tokio::test]
async fn a_repeat_is_acknowledged_and_stored_once_also_after_a_kill() {
    on_both(vec![events()], async |bench| {
        let publish = async |bench: &Bench, body: &str, id: &str| {
            let receipt = bench.bus().publish_kept(message("events.a", body), Some(id)).await.unwrap().unwrap();
            tokio::time::timeout(SOON, receipt.kept()).await.expect("no ack").unwrap();
        };
        publish(bench, "1", "press 1").await;
        publish(bench, "1", "press 1").await;
        let again = bench.bus().publish_again(&message("events.a", "1"), "press 1").unwrap().unwrap();
        again.kept().await.unwrap();
        publish(bench, "2", "press 2").await;
        bench.kill();
        publish(bench, "2", "press 2").await;
        publish(bench, "3", "press 3").await;
        bench.settle().await;
        assert_eq!(bodies(bench.hear("all", "events.>", Start::All, 3).await), ["1", "2", "3"]);
    })
    .await;
}

#[tokio::test]
async fn a_stream_keeps_what_its_limits_say() {
    let newest = StreamConfig { messages_max: Some(3), ..StreamConfig::new("NEWEST", vec![pattern("newest.>")]) };
    let last = StreamConfig { messages_per_subject_max: Some(1), ..StreamConfig::new("LAST", vec![pattern("last.>")]) };
    let two = StreamConfig { messages_per_subject_max: Some(2), ..StreamConfig::new("TWO", vec![pattern("two.>")]) };
    let small = StreamConfig { message_bytes_max: Some(200), ..StreamConfig::new("SMALL", vec![pattern("small.>")]) };
    on_both(vec![newest, last, two, small], async |bench| {
        for stream in ["newest", "last", "two"] {
            let subjects: Vec<String> = ["a", "b", "a", "b", "a"].iter().map(|s| format!("{stream}.{s}")).collect();
            let messages: Vec<_> = subjects.iter().map(String::as_str).zip(["1", "2", "3", "4", "5"]).collect();
            bench.keep(&messages).await;
        }
        for round in 0..2 {
            let reader = format!("reader-{round}");
            assert_eq!(bodies(bench.hear(&reader, "newest.>", Start::All, 3).await), ["3", "4", "5"]);
            assert_eq!(bodies(bench.hear(&reader, "last.>", Start::All, 2).await), ["4", "5"]);
            assert_eq!(bodies(bench.hear(&reader, "two.>", Start::All, 4).await), ["2", "3", "4", "5"]);
            bench.restart().await;
        }
        let large = bench.bus().publish_kept(message("small.a", &"x".repeat(300)), None).await;
        let refused = match large {
            Ok(receipt) => tokio::time::timeout(SOON, receipt.unwrap().kept()).await.unwrap(),
            Err(error) => Err(error),
        };
        // NATS refuses when the disk has it already, so that the box has told that it is kept.
        assert!(matches!(refused, Err(Error::NotKept(_))) || bench.server.is_some(), "{refused:?}");
        bench.keep(&[("small.a", "small")]).await;
        assert_eq!(bodies(bench.hear("small", "small.>", Start::All, 1).await), ["small"]);
    })
    .await;
}

#[tokio::test]
async fn what_passes_is_heard_at_once_and_requests_are_answered() {
    on_both(vec![events()], async |bench| {
        let ear = bench.bus().subscribe(&pattern("events.*"));
        let others = bench.bus().subscribe(&pattern("other.>"));
        bench.keep(&FIVE).await;
        bench.bus().publish_kept(message("other.a", "x"), None).await.unwrap();
        let here: Vec<_> = std::iter::from_fn(|| ear.try_recv()).map(|message| message.payload).collect();
        assert_eq!(here, ["1", "2", "3", "5"]);
        assert_eq!(others.try_recv().unwrap().payload, "x");
        let asked = bench.bus().subscribe(&pattern("events.ask"));
        let answering = async {
            let question = tokio::time::timeout(SOON, asked.recv()).await.unwrap().unwrap();
            bench.bus().publish(Message::new(question.reply.unwrap(), "yes")).await.unwrap();
        };
        let (answer, ()) = tokio::join!(bench.bus().request(message("events.ask", "?"), SOON), answering);
        assert_eq!(answer.unwrap().payload, "yes");
        assert_eq!(bodies(bench.hear("all", "events.>", Start::All, 5).await).len(), 5, "a question is not kept");
        let refused = bench.bus().replay("press", &pattern("other.>"), Start::All, mpsc::channel(1).0);
        assert!(matches!(refused, Err(Error::NoStream(_))), "no stream keeps it");
        let wider = bench.bus().replay("press", &pattern(">"), Start::All, mpsc::channel(1).0);
        assert!(matches!(wider, Err(Error::NoStream(_))), "no stream keeps all of it");
    })
    .await;
}

#[tokio::test]
async fn a_slow_reader_holds_up_nobody_and_misses_nothing() {
    on_both(vec![events()], async |bench| {
        let mut slow = bench.read("slow", "events.>", Start::All);
        let mut quick = bench.read("quick", "events.>", Start::All);
        let mut receipts = Vec::new();
        for n in 0..2000 {
            let kept = bench.bus().publish_kept(message("events.a", &n.to_string()), None).await.unwrap();
            receipts.push(kept.unwrap());
        }
        let expected: Vec<String> = (0..2000).map(|n| n.to_string()).collect();
        assert_eq!(bodies(quick.hear(2000).await), expected);
        for receipt in receipts {
            receipt.kept().await.unwrap();
        }
        assert_eq!(bodies(slow.hear(2000).await), expected);
    })
    .await;
}
