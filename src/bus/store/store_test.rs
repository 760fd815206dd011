use std::path::Path;

use super::format::*;
use super::index::Limits;
use super::log::{Found, Log, Position, Wanted};
use super::places::{Place, Places};
use super::*;
use crate::instrument::Registry;
use crate::storage::disk::{ByteReader, Fault, FaultyDisk};
use crate::task::{OnPanic, Phase, Tasks};

pub(super) fn stored(sequence: u64, subject: &str, body: &str) -> Arc<Stored> {
    let device_id = sequence.is_multiple_of(2).then(|| "press".into());
    let message = Message { device_id, ..Message::new(subject.parse().unwrap(), body.to_owned()) };
    let at = Timestamp::from_millis(1_700_000_000_000 + i64::try_from(sequence).unwrap());
    Arc::new(Stored {
        sequence,
        at,
        id: sequence.is_multiple_of(3).then(|| format!("press {sequence}").into()),
        message,
    })
}

pub(super) fn open(disk: &FaultyDisk, bytes_max: u64) -> (Log, Found) {
    Log::open(disk.shared(), Path::new("/stream"), Limits::default(), bytes_max).unwrap()
}

/// Reads a stream to its end; returns sequences.
pub(super) fn read(log: &Log, pattern: &str, lasts_until: u64) -> Vec<u64> {
    let wanted = Wanted { pattern: pattern.parse().unwrap(), since: Timestamp::MIN };
    let (mut position, mut sequences) = (Position { next: 1, lasts_until }, Vec::new());
    while position.next <= log.index().last() {
        let (messages, next) = log.read(position, &wanted);
        sequences.extend(messages.iter().map(|stored| stored.sequence));
        position.next = next;
    }
    sequences
}

pub(super) fn keep(log: &Log, messages: &[Arc<Stored>]) {
    let appended = log.append(messages).unwrap();
    log.sync().unwrap();
    log.added(appended.record, messages);
}

/// Returns a text that cannot be packed well.
pub(super) fn noise(seed: u64, length: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + u8::try_from(state % 90).unwrap())
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn a_stream_of_version_1() {
    let dump = include_str!("../../../tests/formats/bus_store_format_1.hex");
    let mut payloads: Vec<(u8, Vec<u8>)> = Vec::new();
    for line in dump.lines().map(|l| l.split('#').next().unwrap_or("").trim()).filter(|l| !l.is_empty()) {
        match line.strip_prefix("kind ") {
            Some(kind) => payloads.push((kind.parse().unwrap(), Vec::new())),
            None => {
                let bytes = line.split_whitespace().map(|b| u8::from_str_radix(b, 16).unwrap());
                payloads.last_mut().unwrap().1.extend(bytes);
            }
        }
    }
    assert_eq!(payloads.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [MESSAGES, CARRIED, PLACES]);
    let expected = [stored(6, "events.line1", "{\"on\":true}"), stored(7, "events.line2", "80")];
    let alone = [stored(3, "events.line3", &"0123456789".repeat(20))];
    for (payload, expected) in [(&payloads[0].1, &expected[..]), (&payloads[1].1, &alone[..])] {
        let found: Vec<_> = decode_messages(payload).unwrap().into_iter().map(Arc::new).collect();
        assert_eq!(found, expected);
        assert_eq!(encode_messages(expected).unwrap(), *payload);
    }
    let used = Timestamp::from_millis(1_700_000_000_000);
    let place = Place { through: 5, lasts_until: 300, used };
    let places = vec![("device-press-1".into(), Some(place)), ("device-lamp-2".into(), None)];
    let record = PlacesRecord { next_sequence: 8, is_whole: true, places };
    assert_eq!(decode_places(&payloads[2].1).unwrap(), record);
    assert_eq!(encode_places(&record).unwrap(), payloads[2].1);
}

#[test]
fn mangled_seeds_do_no_harm() {
    for seed in seeds() {
        fuzz(&seed);
        for length in 0..seed.len() {
            fuzz(&seed[..length]);
        }
        for at in 0..seed.len() {
            for bits in [0x01, 0x80, 0xff] {
                let mut mangled = seed.clone();
                mangled[at] ^= bits;
                fuzz(&mangled);
            }
        }
    }
}

#[test]
fn what_two_records_tell_is_read_once() {
    let disk = FaultyDisk::new(1);
    let (log, _) = open(&disk, 1 << 20);
    let record = |range: std::ops::Range<u64>| -> Vec<_> { range.map(|n| stored(n, "events.a", "on")).collect() };
    keep(&log, &record(4..7));
    log.append(&record(5..8)).unwrap();
    log.sync().unwrap();
    drop(log);
    let (log, _) = open(&disk, 1 << 20);
    assert_eq!(read(&log, ">", 0), [4, 5, 6, 7]);
}

#[test]
fn what_was_synced_survives_a_disk_that_fails_and_a_power_cut() {
    for call in 0..40 {
        let disk = FaultyDisk::new(call);
        let (log, _) = open(&disk, 1 << 20);
        disk.fail_call(disk.calls() + call, Fault::Eio);
        let (mut sequence, mut waiting, mut record) = (0, Vec::new(), 0);
        for _ in 1..=20 {
            // As the keeper: what was appended is not appended again.
            if waiting.is_empty() {
                let next = stored(sequence + 1, "events.a", "x");
                match log.append(std::slice::from_ref(&next)) {
                    Ok(appended) => (record, waiting) = (appended.record, vec![next]),
                    Err(_) => continue,
                }
            }
            if log.sync().is_ok() {
                sequence += 1;
                log.added(record, &waiting);
                waiting.clear();
                assert_eq!(read(&log, ">", 0), (1..=sequence).collect::<Vec<_>>(), "call {call}");
            }
        }
        drop(log);
        disk.crash();
        let (log, _) = open(&disk, 1 << 20);
        let found = read(&log, ">", 0);
        let wanted: Vec<u64> = (1..=sequence).collect();
        assert!(found.starts_with(&wanted) && found.len() as u64 <= sequence + 1, "call {call}: {found:?}, {sequence}");
    }
}

#[test]
fn the_last_message_of_a_subject_outlives_its_segment() {
    let disk = FaultyDisk::new(1);
    let (mut log, _) = open(&disk, 1 << 20);
    for n in 1..=600_u64 {
        let subject = if n == 5 { "quiet".to_owned() } else { format!("loud.{}", n % 3) };
        keep(&log, &[stored(n, &subject, &noise(n, 1000))]);
    }
    for round in 0..3 {
        let (oldest, span, is_newest) = log.oldest().unwrap();
        if is_newest {
            log.rotate();
        }
        log.remove(oldest, Timestamp::MIN, 1 << 16).unwrap();
        let first = log.index().first();
        assert!(span.is_none_or(|span| first > span.last));
        let expected: Vec<u64> = [5].into_iter().chain(first..=600).collect();
        let expected = if first > 600 { vec![5, 598, 599, 600] } else { expected };
        assert_eq!(read(&log, ">", 0), expected, "round {round}: all");
        assert_eq!(read(&log, ">", 600), [5, 598, 599, 600], "round {round}: the last of each");
        assert_eq!(read(&log, "quiet", 600), [5]);
        // A start finds the same.
        drop(log);
        log = open(&disk, 1 << 20).0;
        assert_eq!(read(&log, ">", 0), expected, "round {round}: after a start");
        assert_eq!(log.index().last(), 600);
    }
    keep(&log, &[stored(601, "quiet", "new")]);
    assert_eq!(read(&log, "quiet", 601), [601]);
    assert!(!read(&log, ">", 0).contains(&5), "what was carried is no longer the last");
    while let Some((oldest, Some(_), _)) = log.oldest() {
        log.rotate();
        log.remove(oldest, Timestamp::MAX, 1 << 16).unwrap();
    }
    assert_eq!(log.index().lasts(1, 601, &">".parse().unwrap(), 9).len(), 0, "too old to be carried");
}

#[test]
fn subjects_and_places_are_bounded() {
    let disk = FaultyDisk::new(1);
    let (log, _) = open(&disk, 1 << 20);
    for n in 0..20 {
        let messages: Vec<_> = (1..=600).map(|i| stored(n * 600 + i, &format!("a.{}", n * 600 + i), "")).collect();
        keep(&log, &messages);
    }
    assert_eq!(log.index().subjects(), 10_000);
    assert_eq!(log.index().forgotten(), 2_000);
    let mut places = Places::default();
    let place = |n| Place { through: 0, lasts_until: 0, used: Timestamp::from_millis(n) };
    for n in 0..10_000 {
        assert!(places.set(&format!("p{n}").into(), place(n), Duration::ZERO));
    }
    assert!(!places.set(&"one more".into(), place(0), Duration::ZERO), "all are read");
    places.leave(&"p7".into(), Timestamp::from_millis(7), Duration::ZERO);
    assert!(places.set(&"one more".into(), place(0), Duration::ZERO));
    assert_eq!((places.get("p7"), places.count()), (None, 10_000));
}

/// A stream with its keeper, on a disk.
struct Bench {
    disk: FaultyDisk,
    clock: Clock,
    config: StreamConfig,
    defaults: SpoolConfig,
}

impl Bench {
    fn new(config: StreamConfig) -> Bench {
        let clock = Clock::hand_set(Timestamp::from_millis(1_700_000_000_000));
        Bench { disk: FaultyDisk::new(1), clock, config, defaults: SpoolConfig::default() }
    }

    async fn start(&self) -> (Arc<Stream>, Tasks) {
        let (tasks, registry) = (Tasks::new(2), Registry::default());
        let house = House {
            defaults: self.defaults.clone(),
            place_kept_for: Duration::from_secs(3600),
            disk: self.disk.shared(),
            folder: "/bus".into(),
            instruments: StoreFamilies::new(&registry),
            clock: self.clock.clone(),
        };
        let stream = Stream::new(self.config.clone(), &house);
        tasks.spawn("bus stream", OnPanic::EndTask, stream.clone().keep(tasks.clone()));
        let mut log = stream.log.subscribe();
        log.wait_for(Option::is_some).await.unwrap();
        (stream, tasks)
    }
}

fn message(body: &str) -> Message {
    Message::new("events.a".parse().unwrap(), body.to_owned())
}

async fn kept(stream: &Stream, body: &str) -> Result<()> {
    stream.take(&message(body), None, true)?.unwrap().kept().await
}

fn events() -> StreamConfig {
    StreamConfig::new("EVENTS", vec!["events.>".parse().unwrap()])
}

#[tokio::test]
async fn while_the_disk_refuses_nothing_is_acknowledged_and_later_all_of_it() {
    let bench = Bench::new(events());
    let (stream, _tasks) = bench.start().await;
    kept(&stream, "1").await.unwrap();
    bench.disk.set_capacity(Some(0));
    let receipts: Vec<_> =
        ["2", "3"].iter().map(|body| stream.take(&message(body), None, true).unwrap().unwrap()).collect();
    while stream.state().problem.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(stream.state().messages, 1);
    bench.disk.set_capacity(None);
    for receipt in receipts {
        receipt.kept().await.unwrap();
    }
    assert_eq!((stream.state().messages, stream.state().problem), (3, None));
    // The power goes: what was acknowledged is there.
    drop(stream);
    bench.disk.crash();
    let (stream, _tasks) = bench.start().await;
    assert_eq!((stream.state().messages, stream.state().last), (3, 3));
}

#[tokio::test]
async fn a_stream_that_is_full_refuses_if_it_is_to() {
    let bench = Bench::new(StreamConfig { refuses_new: true, messages_max: Some(2), ..events() });
    let (stream, _tasks) = bench.start().await;
    kept(&stream, "1").await.unwrap();
    kept(&stream, "2").await.unwrap();
    assert_eq!(kept(&stream, "3").await, Err(Error::NotKept("its stream is full")));
    assert_eq!((stream.state().messages, stream.state().dropped), (2, 1));
}

#[tokio::test]
async fn what_is_too_old_goes_and_sequences_go_on() {
    let bench = Bench::new(StreamConfig { age_max: Some(Duration::from_secs(60)), ..events() });
    let (stream, tasks) = bench.start().await;
    kept(&stream, "1").await.unwrap();
    kept(&stream, "2").await.unwrap();
    bench.clock.advance(Duration::from_secs(61));
    while stream.state().messages > 0 {
        stream.due.notify_one();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((stream.state().last, stream.state().subjects), (2, 0), "its last message is too old as well");
    tasks.token(Phase::Work).cancel();
    tasks.ended(Duration::from_secs(10), |_| true).await;
    let (stream, _tasks) = bench.start().await;
    kept(&stream, "3").await.unwrap();
    assert_eq!((stream.state().messages, stream.state().last), (1, 3));
}

#[tokio::test]
async fn a_stream_keeps_to_its_bytes() {
    let bench = Bench::new(StreamConfig { bytes_max: Some(256 << 10), ..events() });
    let (stream, _tasks) = bench.start().await;
    for n in 0..400_u64 {
        kept(&stream, &noise(n + 1, 4000)).await.unwrap();
    }
    bench.clock.advance(Duration::from_secs(2));
    while stream.state().bytes > 256 << 10 {
        stream.due.notify_one();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let state = stream.state();
    assert!(state.messages < 400 && state.messages > 20, "{state:?}");
    assert_eq!(state.last, 400);
}

#[tokio::test]
async fn a_stream_in_memory_writes_nothing() {
    let bench = Bench::new(StreamConfig { is_in_memory: true, ..events() });
    let (stream, _tasks) = bench.start().await;
    kept(&stream, "1").await.unwrap();
    assert_eq!((stream.state().messages, bench.disk.calls()), (1, 0));
}

#[test]
fn bytes_that_are_no_head_are_refused() {
    let payload = encode_messages(&[stored(1, "a", "body"), stored(2, "b", "")]).unwrap();
    for length in 0..payload.len() {
        assert!(decode_messages(&payload[..length]).is_err(), "cut to {length}");
    }
    assert_eq!(decode_head(&mut ByteReader::new(&payload)).unwrap().subjects.len(), 2);
}

#[tokio::test]
async fn messages_are_found_when_the_places_beside_them_begin_a_segment() {
    let bench = Bench::new(StreamConfig { bytes_max: Some(64 << 10), ..events() });
    let (stream, _tasks) = bench.start().await;
    for round in 1..=12_u64 {
        for n in 0..400 {
            let place = Place { through: 0, lasts_until: 0, used: Timestamp::from_millis(0) };
            let _ = stream.places().set(&noise(round * 1000 + n, 90).into(), place, Duration::ZERO);
        }
        kept(&stream, &round.to_string()).await.unwrap();
        let log = stream.log.borrow().clone().unwrap();
        assert!(read(&log, ">", 0).contains(&round), "round {round}");
    }
}

#[tokio::test]
async fn a_place_goes_along_with_messages_when_it_costs_next_to_nothing() {
    // The clock stands: no place waits for long.
    let bench = Bench::new(events());
    let (stream, tasks) = bench.start().await;
    let name: Arc<str> = "device-a-1".into();
    let place = Place { through: 0, lasts_until: 0, used: Timestamp::from_millis(0) };
    assert!(stream.places().set(&name, place, Duration::ZERO));
    kept(&stream, "1").await.unwrap();
    stream.places().advance(&name, 1, Duration::ZERO);
    kept(&stream, "2").await.unwrap();
    let through = |bench: &Bench| {
        let (_, found) =
            Log::open(bench.disk.shared(), Path::new("/bus/streams/EVENTS"), Limits::default(), 1 << 20).unwrap();
        found.places.get(&name).unwrap().through
    };
    assert_eq!(through(&bench), 0, "a few bytes do not carry it");
    kept(&stream, &noise(1, 4000)).await.unwrap();
    kept(&stream, "4").await.unwrap();
    assert_eq!(through(&bench), 1);
    drop(tasks);
}
