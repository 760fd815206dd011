//! Random appends, parts, restarts and questions beside a plain model.

use std::path::Path;
use std::time::Duration;

use super::files::DAY_NS;
use super::*;
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Labels, LogEntry, MatchOp, Matcher, Timestamp};
use crate::storage::disk::FaultyDisk;

const NOW_NS: i64 = 20_686 * DAY_NS + 3;

/// A small generator of numbers; the same for the same seed. Source: Vigna, splitmix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn line(random: &mut Random, n: u64) -> LogEntry {
    let devices = ["press-1", "press-2", "belt", "robot"];
    let device = devices[usize::try_from(random.below(4)).unwrap()];
    // Mostly now, sometimes days ago, seldom the very same moment.
    let back = match random.below(10) {
        0 => i64::try_from(random.below(5 * 86_400)).unwrap() * 1_000_000_000,
        1 => 7,
        _ => i64::try_from(random.below(1_000_000)).unwrap(),
    };
    let words = ["jam", "ok", "overload", "Überdruck", "start", "stop"];
    let word = words[usize::try_from(random.below(6)).unwrap()];
    let text = if random.below(20) == 0 { word.to_owned() } else { format!("{n} {word} in zone {}", random.below(5)) };
    LogEntry { stream: Labels::from_pairs([("device", device)]), timestamp_ns: NOW_NS - back, line: text }
}

/// Orders as a reader may expect: by time; what has the same time in any order.
fn plain(entries: impl Iterator<Item = LogEntry>) -> Vec<(i64, String, String)> {
    let mut all: Vec<_> = entries.map(|e| (e.timestamp_ns, e.stream.to_string(), e.line)).collect();
    all.sort();
    all.dedup();
    all
}

fn check(store: &LogStore, model: &[LogEntry], random: &mut Random, what: &str) {
    let span = i64::try_from(random.below(6 * 86_400)).unwrap() * 1_000_000_000;
    let end_ns = NOW_NS + 1 - i64::try_from(random.below(2_000_000)).unwrap();
    let matchers = match random.below(3) {
        0 => vec![],
        1 => vec![Matcher::equal("device", "belt")],
        _ => vec![Matcher::new("device", MatchOp::Regex, "press-.*").unwrap()],
    };
    let needles: Vec<String> = match random.below(3) {
        0 => vec![],
        1 => vec!["jam in zone 3".to_owned()],
        _ => vec!["overl".to_owned(), "zone".to_owned()],
    };
    let passes = |e: &LogEntry| {
        (end_ns - span..end_ns).contains(&e.timestamp_ns)
            && matchers.iter().all(|m| m.matches_labels(&e.stream))
            && needles.iter().all(|n| e.line.contains(n))
    };
    let expected = plain(model.iter().filter(|e| passes(e)).cloned());
    for direction in [Direction::Forward, Direction::Backward] {
        let (matchers, needles) = (matchers.clone(), needles.clone());
        let request = ScanRequest { matchers, start_ns: end_ns - span, end_ns, direction, needles };
        let found: Vec<LogEntry> = store.scan(&request).unwrap().map(|e| e.unwrap()).filter(passes).collect();
        let mut times: Vec<i64> = found.iter().map(|e| e.timestamp_ns).collect();
        if direction == Direction::Backward {
            times.reverse();
        }
        assert!(times.is_sorted(), "{what}: {direction:?}");
        let count = found.len();
        assert_eq!(plain(found.into_iter()), expected, "{what}: {request:?}");
        assert_eq!(count, expected.len(), "{what}: a line came twice");
    }
}

#[test]
fn the_store_answers_as_a_plain_list() {
    for seed in 0..30 {
        let mut random = Random(seed);
        let disk = FaultyDisk::new(seed);
        let clock = Clock::hand_set(Timestamp::from_millis(NOW_NS / 1_000_000));
        let head_bytes_max = 2000 + usize::try_from(random.below(20_000)).unwrap();
        let config = Config { sync_interval: Duration::ZERO, head_bytes_max, ..Config::usual() };
        let open = || {
            let registry = Registry::default();
            LogStore::open(disk.shared(), Path::new("/logs"), config.clone(), clock.clone(), &registry).unwrap()
        };
        let mut store = open();
        let mut model = Vec::new();
        for step in 0..60 {
            let what = format!("seed {seed}, step {step}");
            match random.below(10) {
                0 => store.flush().unwrap(),
                1 => {
                    drop(store);
                    store = open();
                }
                2 => store.sync().unwrap(),
                3..7 => {
                    let count = random.below(40);
                    let batch: Vec<LogEntry> = (0..count).map(|n| line(&mut random, step * 100 + n)).collect();
                    let outcome = store.append(batch.clone()).unwrap();
                    assert_eq!(outcome.appended, count, "{what}");
                    model.extend(batch);
                }
                _ => check(&store, &model, &mut random, &what),
            }
        }
        check(&store, &model, &mut random, &format!("seed {seed}, end"));
    }
}
