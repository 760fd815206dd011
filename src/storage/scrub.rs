//! Reads everything that the stores keep once a week, slowly, so that rot shows before somebody asks.
//!
//! One thread for all of it, at the lowest priority: blocks of metrics first, then parts of logs. What does not check
//! out is reported, and put aside, as when somebody asks for it. The write-ahead logs are not read: they are read
//! at each start, and gone within hours.
//!
//! Cost: a megabyte a second of reads while a round lasts; fifteen days of 50 000 series are an hour or so. What the
//! last round came to outlives the process (in the state). A round that the end of the process cuts off begins anew.

use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{error, info, warn};

use super::disk::{self, ByteReader, Checked};
use super::state::State;
use super::{logs, tsdb};
use crate::clock::Clock;
use crate::instrument::{Counter, Gauge, Registry};
use crate::model::Timestamp;

/// So much is read in a second on average.
const BYTES_PER_SECOND: u64 = 1_000_000;

/// From the beginning of a round to that of the next.
const ROUND_EVERY: Duration = Duration::from_secs(7 * 24 * 3600);

/// No round begins before the process is so old: a box that starts has other things to do.
const FIRST_AFTER: Duration = Duration::from_secs(3600);

/// How often some is read.
const TICK: Duration = Duration::from_secs(5);

/// Time that was not used for reading is made up for no further back than this.
const CREDIT_MAX: Duration = Duration::from_secs(10);

/// Under this key the state has the last round: begun, ended (ms), bytes read, findings, 8 bytes each.
const LAST_KEY: &str = "last-scrub";

/// A round of reading everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrubRound {
    /// When it began.
    pub begun_at: Timestamp,
    /// When it ended, or was last read on.
    pub ended_at: Timestamp,
    /// Bytes read.
    pub bytes: u64,
    /// Places that did not check out and were not known before.
    pub findings: u64,
}

/// How the reading stands, for pages.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ScrubStats {
    /// The last round that came to its end.
    pub last: Option<ScrubRound>,
    /// The round under way.
    pub current: Option<ScrubRound>,
    /// How much of what there is has been read in the round under way.
    pub progress_ratio: f64,
    /// What there is to be read, bytes.
    pub all_bytes: u64,
}

/// The reading and its thread.
#[derive(Debug)]
pub(super) struct Scrub {
    work: Arc<Work>,
    /// Dropping the sender ends the thread.
    thread: Mutex<Option<(SyncSender<()>, JoinHandle<()>)>>,
}

#[derive(Debug)]
struct Work {
    db: tsdb::Db,
    logs: logs::LogStore,
    state: State,
    clock: Clock,
    instruments: Instruments,
    pace: Mutex<Pace>,
    shown: Mutex<ScrubStats>,
}

/// What is remembered from one pass to the next.
#[derive(Debug, Default)]
struct Pace {
    /// When it was last read on, in time since start.
    read_at: Duration,
    /// Bytes read more than the time allowed so far.
    ahead_bytes: u64,
    /// `None` between rounds.
    round: Option<(ScrubRound, Place)>,
}

/// The next to be read.
#[derive(Debug)]
enum Place {
    Metrics(tsdb::ScrubPlace),
    Logs(logs::ScrubPlace),
}

#[derive(Debug)]
struct Instruments {
    bytes: Counter,
    findings: Counter,
    rounds: Counter,
    progress: Gauge,
    finished: Gauge,
}

impl Instruments {
    fn new(registry: &Registry) -> Self {
        Instruments {
            bytes: registry.counter("andon_storage_scrub_bytes_total", "Bytes of blocks and parts read to check them."),
            findings: registry.counter(
                "andon_storage_scrub_findings_total",
                "Places that did not check out when blocks and parts were read to check them.",
            ),
            rounds: registry
                .counter("andon_storage_scrub_rounds_total", "Times that all blocks and parts were read and checked."),
            progress: registry.gauge(
                "andon_storage_scrub_progress_ratio",
                "How much of blocks and parts this round has read; 1 between rounds.",
            ),
            finished: registry.gauge(
                "andon_storage_scrub_finished_timestamp_seconds",
                "When all blocks and parts had last been read and checked; 0 before the first time.",
            ),
        }
    }
}

impl Scrub {
    /// Begins to look, now and then, whether something is to be read.
    pub(super) fn start(
        db: &tsdb::Db,
        logs: &logs::LogStore,
        state: &State,
        clock: &Clock,
        registry: &Registry,
    ) -> Self {
        let (db, logs, state, clock) = (db.clone(), logs.clone(), state.clone(), clock.clone());
        let (instruments, pace) = (Instruments::new(registry), Mutex::default());
        let shown = ScrubStats { last: load(&state), ..ScrubStats::default() };
        let work = Arc::new(Work { db, logs, state, clock, instruments, pace, shown: Mutex::new(shown) });
        work.show(shown);
        let (stop, stopped) = mpsc::sync_channel(0);
        let in_thread = work.clone();
        let body = move || {
            if let Err(error) = disk::lowest_priority() {
                info!(%error, "blocks and parts are checked at normal priority");
            }
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                in_thread.pass();
            }
        };
        let thread = std::thread::Builder::new().name("andon-scrub".to_owned()).spawn(body);
        let thread = thread.map_err(|error| error!(%error, "cannot start the thread that checks blocks and parts"));
        Scrub { work, thread: Mutex::new(thread.ok().map(|thread| (stop, thread))) }
    }

    /// Returns how the reading stands.
    pub(super) fn stats(&self) -> ScrubStats {
        *self.work.shown()
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, thread)) = thread {
            drop(stop);
            // A panic was already reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Scrub {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Work {
    /// Reads on as far as the time since the last call allows.
    fn pass(&self) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let up = self.clock.elapsed();
        let since = up.saturating_sub(std::mem::replace(&mut pace.read_at, up)).min(CREDIT_MAX);
        let allowed = u64::try_from(since.as_millis()).unwrap_or(0) * BYTES_PER_SECOND / 1000;
        let mut stats = *self.shown();
        if pace.round.is_none() {
            let now = self.clock.now();
            if !is_due(stats.last.as_ref(), now, up) {
                return;
            }
            let round = ScrubRound { begun_at: now, ended_at: now, bytes: 0, findings: 0 };
            pace.round = Some((round, Place::Metrics(tsdb::ScrubPlace::default())));
        }
        let mut left = allowed.saturating_sub(pace.ahead_bytes);
        pace.ahead_bytes = pace.ahead_bytes.saturating_sub(allowed);
        while left > 0
            && let Some((round, place)) = &mut pace.round
        {
            let checked = self.read(place);
            let Some(Checked { bytes, findings }) = checked else {
                round.ended_at = self.clock.now();
                stats.last = Some(*round);
                self.end(round);
                pace.round = None;
                break;
            };
            self.instruments.bytes.add(bytes);
            self.instruments.findings.add(findings);
            round.bytes += bytes;
            round.findings += findings;
            pace.ahead_bytes += bytes.saturating_sub(left);
            left = left.saturating_sub(bytes);
        }
        stats.current = pace.round.as_ref().map(|(round, _)| ScrubRound { ended_at: self.clock.now(), ..*round });
        self.show(stats);
    }

    /// Reads the next; goes over to the logs behind the last of the metrics.
    fn read(&self, place: &mut Place) -> Option<Checked> {
        if let Place::Metrics(at) = place {
            if let Some(checked) = self.db.scrub(at) {
                return Some(checked);
            }
            *place = Place::Logs(logs::ScrubPlace::default());
        }
        match place {
            Place::Logs(at) => self.logs.scrub(at),
            Place::Metrics(_) => None,
        }
    }

    fn end(&self, round: &ScrubRound) {
        self.instruments.rounds.inc();
        info!(bytes = round.bytes, findings = round.findings, "all blocks and parts have been read and checked");
        let numbers = [
            round.begun_at.as_millis().to_le_bytes(),
            round.ended_at.as_millis().to_le_bytes(),
            round.bytes.to_le_bytes(),
            round.findings.to_le_bytes(),
        ];
        if let Err(error) = self.state.meta().set(LAST_KEY, &numbers.concat()) {
            warn!(%error, "cannot note that blocks and parts have been checked");
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "metrics are 64-bit floats; exact up to 2^53")]
    fn show(&self, mut stats: ScrubStats) {
        let all = self.db.scrub_bytes() + self.logs.scrub_bytes();
        let read = stats.current.map_or(all, |round| round.bytes);
        stats.all_bytes = all;
        stats.progress_ratio = if all == 0 { 1.0 } else { (read as f64 / all as f64).min(1.0) };
        self.instruments.progress.set(stats.progress_ratio);
        self.instruments.finished.set(stats.last.map_or(0.0, |round| round.ended_at.as_millis() as f64 / 1e3));
        *self.shown() = stats;
    }

    fn shown(&self) -> MutexGuard<'_, ScrubStats> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells whether a round is to begin in a process that is `up` so long.
fn is_due(last: Option<&ScrubRound>, now: Timestamp, up: Duration) -> bool {
    // One that began in the future was begun by a clock that was wrong.
    up >= FIRST_AFTER && last.is_none_or(|last| now < last.begun_at || now.since(last.begun_at) >= ROUND_EVERY)
}

fn load(state: &State) -> Option<ScrubRound> {
    let note = state.meta().get(LAST_KEY).ok()??;
    let mut reader = ByteReader::new(&note);
    let mut time = || reader.i64().ok().map(Timestamp::from_millis);
    let (begun_at, ended_at) = (time()?, time()?);
    Some(ScrubRound { begun_at, ended_at, bytes: reader.u64().ok()?, findings: reader.u64().ok()? })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::{Labels, LogEntry};
    use crate::storage::disk::{Disk, FaultyDisk};

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    /// Two stores on one disk in memory, and a state.
    struct Stores {
        disk: FaultyDisk,
        clock: Clock,
        registry: Registry,
        work: Work,
        _folder: tempfile::TempDir,
    }

    impl Stores {
        fn new() -> Stores {
            let (disk, clock, registry) = (FaultyDisk::new(1), Clock::hand_set(START), Registry::default());
            let folder = tempfile::tempdir().unwrap();
            let state = State::open(&folder.path().join("state.db"), clock.clone(), &registry).unwrap();
            let config = tsdb::Config {
                retention: Duration::from_secs(15 * 24 * 3600),
                wal_sync: tsdb::WalSync::Never,
                series_max: 1000,
                ahead_max: Duration::from_secs(600),
            };
            let db = Path::new("/data/tsdb");
            let db = tsdb::Db::open_without_threads(config, disk.shared(), db, clock.clone(), &registry).unwrap();
            let config = logs::Config { sync_interval: Duration::ZERO, ..logs::Config::usual() };
            let logs = Path::new("/data/logs");
            let logs = logs::LogStore::open(disk.shared(), logs, config, clock.clone(), &registry).unwrap();
            let work = Stores::work(&db, &logs, &state, &clock, &registry);
            Stores { disk, clock, registry, work, _folder: folder }
        }

        fn work(db: &tsdb::Db, logs: &logs::LogStore, state: &State, clock: &Clock, registry: &Registry) -> Work {
            let shown = ScrubStats { last: load(state), ..ScrubStats::default() };
            Work {
                db: db.clone(),
                logs: logs.clone(),
                state: state.clone(),
                clock: clock.clone(),
                instruments: Instruments::new(registry),
                pace: Mutex::default(),
                shown: Mutex::new(shown),
            }
        }

        /// Puts a block of metrics and a part of logs on the disk; returns their files.
        fn fill(&self) -> [std::path::PathBuf; 2] {
            let mut batch = tsdb::Batch::default();
            let mut lines = Vec::new();
            for i in 0..50_u32 {
                let labels = Labels::from_pairs([("__name__", "up"), ("instance", &i.to_string())]);
                batch.push(&labels, START - Duration::from_secs(5 * 3600), f64::from(i) / 7.0);
            }
            for i in 0..1_000 {
                let stream = Labels::from_pairs([("job", "line")]);
                let timestamp_ns = START.as_millis() * 1_000_000 + i;
                lines.push(LogEntry { stream, timestamp_ns, line: format!("{:x} of a part", i * i * 7_919) });
            }
            self.work.db.append(&batch).unwrap();
            self.work.db.flush().unwrap();
            self.work.logs.append(lines).unwrap();
            self.work.logs.flush().unwrap();
            let only = |folder: &str| Path::new(folder).join(&self.disk.list(Path::new(folder)).unwrap()[0].name);
            let block = only("/data/tsdb/blocks");
            let day = only("/data/logs/days");
            [block.join("chunks"), only(day.to_str().unwrap())]
        }

        fn pass_after(&self, time: Duration) -> ScrubStats {
            self.clock.advance(time);
            self.work.pass();
            *self.work.shown()
        }

        fn value(&self, name: &str) -> f64 {
            let text = crate::wire::exposition::render(&self.registry.gather());
            let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("no {name}")).to_owned();
            line.split(' ').next_back().unwrap().parse().unwrap()
        }

        fn size(&self, file: &Path) -> usize {
            usize::try_from(self.disk.open(file).unwrap().size().unwrap()).unwrap()
        }
    }

    #[test]
    fn rot_in_blocks_and_parts_is_found_before_somebody_asks() {
        let stores = Stores::new();
        let [chunks, part] = stores.fill();
        (16..stores.size(&chunks) / 2).for_each(|at| stores.disk.flip(&chunks, at, 0xff));
        // The first bytes behind the head of a part are a filter, then comes a block.
        (12..stores.size(&part) / 2).for_each(|at| stores.disk.flip(&part, at, 0xff));
        assert_eq!(stores.pass_after(FIRST_AFTER - Duration::from_secs(1)).current, None);
        let stats = stores.pass_after(TICK);
        let last = stats.last.unwrap();
        assert!(last.findings >= 3, "{last:?}");
        assert_eq!((stats.current, stats.progress_ratio), (None, 1.0));
        let told = stores.work.logs.stats().damages;
        assert!(told.iter().any(|d| d.starts_with("logs_filter: /data/logs/days/")), "{told:?}");
        assert!(told.iter().any(|d| d.starts_with("logs_block: ") && d.contains("lines")), "{told:?}");
        assert!(!stores.work.db.stats().damages.is_empty());
        assert_eq!(stores.value("andon_storage_scrub_findings_total"), last.findings as f64);
        assert_eq!(stores.value("andon_storage_scrub_rounds_total"), 1.0);
        for what in ["chunk", "logs_filter", "logs_block"] {
            assert!(stores.value(&format!("andon_storage_damage_total{{what=\"{what}\"}}")) >= 1.0, "{what}");
        }
    }

    #[test]
    fn a_part_whose_index_rots_goes_into_quarantine() {
        let stores = Stores::new();
        let [_, part] = stores.fill();
        stores.disk.flip(&part, stores.size(&part) - 60, 0x10);
        let stats = stores.pass_after(FIRST_AFTER);
        assert_eq!(stats.last.unwrap().findings, 1);
        assert!(!stores.disk.exists(&part));
        assert_eq!(stores.disk.list(Path::new("/data/quarantine")).unwrap().len(), 1);
        assert_eq!(stores.work.logs.scrub_bytes(), 0);
        assert!(stores.work.logs.stats().damages[0].starts_with("logs_part: "));
    }

    #[test]
    fn everything_is_read_once_a_week_also_over_a_restart() {
        let stores = Stores::new();
        let [chunks, part] = stores.fill();
        let first = stores.pass_after(FIRST_AFTER).last.unwrap();
        assert!(first.bytes > (stores.size(&chunks) + stores.size(&part)) as u64 * 9 / 10, "{first:?}");
        assert_eq!(stores.pass_after(ROUND_EVERY - Duration::from_secs(1)).last, Some(first));
        assert_eq!(stores.value("andon_storage_scrub_bytes_total"), first.bytes as f64);
        let Work { db, logs, state, clock, .. } = &stores.work;
        // A new process: the round of before counts.
        let again = Stores::work(db, logs, state, &clock.again(), &stores.registry);
        assert_eq!(again.shown().last, Some(first));
        clock.advance(FIRST_AFTER);
        again.pass();
        let second = again.shown().last.unwrap();
        assert_eq!(
            (second.bytes, second.begun_at),
            (first.bytes, first.begun_at + ROUND_EVERY + FIRST_AFTER - Duration::from_secs(1))
        );
    }

    #[test]
    fn no_more_is_read_than_the_time_allows() {
        let stores = Stores::new();
        let mut seed = 1_u64;
        let mut noise = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{seed:016x}")
        };
        let line = |i: i64, line| LogEntry {
            stream: Labels::from_pairs([("job", "noise")]),
            timestamp_ns: START.as_millis() * 1_000_000 + i,
            line,
        };
        let lines = (0..20_000).map(|i| line(i, (0..12).map(|_| noise()).collect()));
        stores.work.logs.append(lines.collect()).unwrap();
        stores.work.logs.flush().unwrap();
        let all = stores.work.logs.scrub_bytes();
        assert!(all > 1_500_000, "{all}");
        stores.pass_after(FIRST_AFTER - Duration::from_millis(1));
        let mut passes = 0;
        loop {
            let stats = stores.pass_after(Duration::from_millis(100));
            passes += 1;
            let Some(round) = stats.current else { break };
            // What is read ahead, some blocks at once, is waited for later.
            assert!(round.bytes <= passes * 100_000 + 800_000, "{} of {all} bytes after {passes}", round.bytes);
        }
        assert!(passes >= all / 100_000, "{all} bytes in {passes} passes");
    }

    #[test]
    fn a_round_of_a_clock_that_was_ahead_does_not_count() {
        let round = |begun_at| ScrubRound { begun_at, ended_at: begun_at, bytes: 0, findings: 0 };
        assert!(is_due(Some(&round(START + Duration::from_secs(1))), START, FIRST_AFTER));
        assert!(!is_due(Some(&round(START)), START, FIRST_AFTER));
        assert!(is_due(Some(&round(START - ROUND_EVERY)), START, FIRST_AFTER));
        assert!(!is_due(None, START, FIRST_AFTER - Duration::from_millis(1)));
    }
}
