//! The log store's handle: open, append, scan, upkeep, close.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::broadcast;
use tracing::{info, warn};

use super::head::{Head, HeadDay};
use super::instruments::Instruments;
use super::part::Part;
use super::scan::{Direction, Scan, ScanDay, ScanRequest, pick};
use super::shelf::{self, Shelf};
use super::tail::Tail;
use super::{Config, Result, files, threads, wal};
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Labels, LogEntry, Matcher};
use crate::storage::disk::{Disk, FaultyDisk, Segments, SegmentsOptions, SpaceWatch};

/// The last six hours of lines are kept, however short the space.
const FLOOR_NS: i64 = 6 * 3600 * 1_000_000_000;

/// A WAL file is closed at this size.
const SEGMENT_BYTES_MAX: u64 = 32 << 20;

/// What became of a batch of lines.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct AppendOutcome {
    /// Taken.
    pub appended: u64,
    /// Older than retention.
    pub too_old: u64,
    /// More than ten minutes ahead of the clock.
    pub too_new: u64,
    /// Longer than a line may be: cut and taken.
    pub truncated: u64,
    /// Of new streams beyond the limit.
    pub over_stream_limit: u64,
    /// Of streams whose labels are longer than 4 KiB together.
    pub over_label_limit: u64,
}

/// What the store holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of all parts and of the WAL.
    pub disk_bytes: u64,
    /// Of these, bytes of the WAL.
    pub wal_bytes: u64,
    /// Memory of lines not yet in a part.
    pub head_bytes: usize,
    /// Lines not yet in a part.
    pub head_lines: u64,
    /// Streams with lines not yet in a part.
    pub active_streams: usize,
    /// Days with lines on disk, oldest first, as `2026-08-21`, with their bytes.
    pub days: Vec<(String, u64)>,
    /// Whether appends are refused because the disk is full.
    pub is_read_only: bool,
    /// What was found damaged since the start, in words, oldest first; at most 100.
    pub damages: Vec<String>,
}

/// The log store: a cheap handle over shared state.
#[derive(Debug, Clone)]
pub struct LogStore(Arc<Handle>);

/// Ends the threads with the last handle.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) wal: Segments,
    pub(super) state: RwLock<State>,
    /// Held while parts are written or days deleted.
    pub(super) upkeep: Mutex<()>,
    pub(super) space: Mutex<SpaceWatch>,
    pub(super) tail: Tail,
    pub(super) instruments: Arc<Instruments>,
    pub(super) signals: Mutex<Signals>,
    pub(super) wake: Condvar,
}

/// What the threads wait for.
#[derive(Debug, Default)]
pub(super) struct Signals {
    pub(super) is_stopping: bool,
    pub(super) is_part_due: bool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) head: Head,
    /// When the head got its first line, by the clock's `elapsed`.
    pub(super) head_since: Option<Duration>,
    pub(super) frozen: Option<Frozen>,
    pub(super) shelf: Shelf,
}

/// A head whose parts are being written.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) days: BTreeMap<i64, Arc<HeadDay>>,
    pub(super) bytes: usize,
    pub(super) lines: u64,
    /// WAL segments below this number hold nothing but these lines and older ones.
    pub(super) wal_number: u64,
}

impl LogStore {
    /// Opens the store in a folder: reads the WAL back and looks through the parts. What does not check out is
    /// put into `quarantine/` beside the folder, counted and reported; it never stops the start.
    ///
    /// # Errors
    /// When the folder cannot be made or listed.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path, config: Config, clock: Clock, registry: &Registry) -> Result<Self> {
        let instruments = Arc::new(Instruments::new(registry));
        let opened = shelf::open(&*disk, folder, clock.now(), &instruments)?;
        let mut head = Head::default();
        let options = SegmentsOptions { segment_bytes_max: SEGMENT_BYTES_MAX, is_synced: true, has_parity: true };
        let (wal, found) = Segments::open(disk.clone(), &files::wal(folder), options, &mut |record| {
            wal::decode(&record, &mut |item| replay(&mut head, item, &opened.labels))
        })?;
        for damage in &found.damages {
            instruments.damages.report("logs_wal", &damage.to_string());
        }
        if found.truncated_bytes > 0 {
            instruments.wal_truncated_bytes.add(found.truncated_bytes);
            warn!(bytes = found.truncated_bytes, "torn write at the end of the WAL of the logs cut off");
        }
        info!(lines = head.lines, wal_bytes = found.bytes, days = opened.shelf.days.len(), "log store is open");
        let head_since = (!head.is_empty()).then(|| clock.elapsed());
        let shared = Arc::new(Shared {
            disk,
            folder: folder.to_owned(),
            config,
            clock,
            wal,
            state: RwLock::new(State { head, head_since, frozen: None, shelf: opened.shelf }),
            upkeep: Mutex::default(),
            space: Mutex::default(),
            tail: Tail::new(),
            instruments,
            signals: Mutex::default(),
            wake: Condvar::new(),
        });
        shared.measure_space();
        shared.show();
        let has_threads = !shared.config.sync_interval.is_zero();
        let threads = if has_threads { threads::start(&shared) } else { Vec::new() };
        Ok(LogStore(Arc::new(Handle { shared, threads: Mutex::new(threads) })))
    }

    /// Returns a store that takes lines of any time and forgets everything at the end, for tests and trials.
    ///
    /// # Panics
    /// If a disk in memory fails, which it does not.
    #[must_use]
    pub fn in_memory() -> Self {
        let forever = Duration::from_nanos(i64::MAX.unsigned_abs());
        let config =
            Config { retention: forever, ahead_max: forever, sync_interval: Duration::ZERO, ..Config::usual() };
        let disk = FaultyDisk::new(0).shared();
        match Self::open(disk, Path::new("/logs"), config, Clock::system(), &Registry::default()) {
            Ok(store) => store,
            Err(error) => panic!("bug: a store in memory does not open: {error}"),
        }
    }

    /// Appends lines; they may come in any order. A batch over 1 MiB is taken in pieces.
    ///
    /// Cost: one write to the WAL per piece, under the store's lock. The lines survive the end of the process
    /// when the call returns, and a power cut after the next sync.
    ///
    /// # Errors
    /// [`super::Error::ReadOnly`] while the disk is full, [`super::Error::Overfull`] while parts cannot be written, or
    /// [`super::Error::Disk`]; nothing of the piece is kept then. Sending the whole batch again is harmless.
    pub fn append(&self, batch: Vec<LogEntry>) -> Result<AppendOutcome> {
        self.0.shared.append(batch)
    }

    /// Begins to read lines: a snapshot, read from disk as it is walked.
    ///
    /// # Errors
    /// None for now.
    pub fn scan(&self, request: &ScanRequest) -> Result<Scan> {
        let shared = &self.0.shared;
        let state = shared.read();
        let mut days = Vec::new();
        for day in shared.days_with_lines(&state, request.start_ns, request.end_ns) {
            let frozen = state.frozen.as_ref().and_then(|frozen| frozen.days.get(&day));
            let heads = frozen.map(|day| &**day).into_iter().chain(state.head.days.get(&day));
            let heads = heads.map(|day| pick(day, request)).collect();
            let parts = state.shelf.parts(day, request.start_ns, request.end_ns);
            days.push(ScanDay { day, heads, parts });
        }
        drop(state);
        Ok(Scan::new(shared.disk.clone(), shared.instruments.clone(), request.clone(), days))
    }

    /// Returns the label sets of the streams with lines, or possible lines, in `[start_ns, end_ns)`; sorted.
    /// Reads the index of each part in the range.
    ///
    /// # Errors
    /// None for now: a part that cannot be read is reported and passed over.
    pub fn streams(&self, matchers: &[Matcher], start_ns: i64, end_ns: i64) -> Result<Vec<Labels>> {
        let request = ScanRequest {
            matchers: matchers.to_vec(),
            start_ns,
            end_ns,
            direction: Direction::Forward,
            needles: Vec::new(),
        };
        let shared = &self.0.shared;
        let (mut found, mut parts) = (BTreeSet::new(), Vec::new());
        let overlaps = |first: i64, last: i64| first < end_ns && start_ns <= last;
        let state = shared.read();
        for day in shared.days_with_lines(&state, start_ns, end_ns) {
            let frozen = state.frozen.as_ref().and_then(|frozen| frozen.days.get(&day));
            for day in frozen.map(|day| &**day).into_iter().chain(state.head.days.get(&day)) {
                let picked = pick(day, &request).into_iter();
                let in_range = picked.filter(|(_, lines)| lines.bounds().is_some_and(|(f, l)| overlaps(f, l)));
                found.extend(in_range.map(|(labels, _)| labels));
            }
            parts.extend(state.shelf.parts(day, start_ns, end_ns));
        }
        drop(state);
        for part in parts {
            let streams = match shared.disk.open(&part.path).and_then(|file| part.index(&*file)) {
                Ok(streams) => streams,
                Err(error) => {
                    if !error.is_not_found() {
                        warn!(%error, "a part of the logs cannot be read");
                    }
                    continue;
                }
            };
            let matching = streams.into_iter().filter(|s| {
                s.blocks.iter().any(|b| overlaps(b.first_ns, b.last_ns))
                    && matchers.iter().all(|m| m.matches_labels(&s.labels))
            });
            found.extend(matching.map(|s| s.labels));
        }
        Ok(found.into_iter().collect())
    }

    /// Returns the names of labels that streams with possible lines in `[start_ns, end_ns)` have; sorted.
    ///
    /// # Errors
    /// As [`LogStore::streams`].
    pub fn label_names(&self, matchers: &[Matcher], start_ns: i64, end_ns: i64) -> Result<Vec<String>> {
        let streams = self.streams(matchers, start_ns, end_ns)?;
        let names: BTreeSet<&str> = streams.iter().flat_map(|s| s.iter().map(|(name, _)| name)).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    /// Returns the values that a label has in streams with possible lines in `[start_ns, end_ns)`; sorted.
    ///
    /// # Errors
    /// As [`LogStore::streams`].
    pub fn label_values(&self, name: &str, matchers: &[Matcher], start_ns: i64, end_ns: i64) -> Result<Vec<String>> {
        let streams = self.streams(matchers, start_ns, end_ns)?;
        let values: BTreeSet<&str> = streams.iter().filter_map(|s| s.get(name)).collect();
        Ok(values.into_iter().map(str::to_owned).collect())
    }

    /// Returns a receiver of every line appended from now on; a slow reader misses lines and is told how many.
    #[must_use]
    pub fn tail(&self) -> broadcast::Receiver<Arc<LogEntry>> {
        self.0.shared.tail.subscribe()
    }

    /// Returns what the store holds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let shared = &self.0.shared;
        let state = shared.read();
        let wal_bytes = shared.wal.bytes();
        let day = |(day, parts): (&i64, &Vec<Arc<Part>>)| (files::day_name(*day), parts.iter().map(|p| p.bytes).sum());
        let (frozen_bytes, frozen_lines) = state.frozen.as_ref().map_or((0, 0), |f| (f.bytes, f.lines));
        Stats {
            disk_bytes: state.shelf.bytes() + wal_bytes,
            wal_bytes,
            head_bytes: state.head.bytes + frozen_bytes,
            head_lines: state.head.lines + frozen_lines,
            active_streams: state.head.stream_count(),
            days: state.shelf.days.iter().map(day).collect(),
            is_read_only: shared.space().is_read_only(),
            damages: shared.instruments.damages.list(),
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// Returns how long lines are kept.
    #[must_use]
    pub fn retention(&self) -> Duration {
        self.0.shared.config.retention
    }

    /// Makes everything appended before the call last through a power cut.
    ///
    /// # Errors
    /// When the disk refuses; what was appended is still there for the next try.
    pub fn sync(&self) -> Result<()> {
        self.0.shared.sync()
    }

    /// Writes what is in memory into parts and drops it from the WAL.
    ///
    /// # Errors
    /// When the disk refuses; nothing is lost, the rest is tried again by the next call.
    pub fn flush(&self) -> Result<()> {
        self.0.shared.flush()
    }

    /// Deletes the oldest day on disk before its time, to make room; returns the bytes freed. `None` if there
    /// is none, or only the newest and those that reach into the last six hours are left.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn delete_oldest_day(&self) -> Result<Option<u64>> {
        let shared = &self.0.shared;
        let _one = shared.upkeep_lock();
        let state = shared.read();
        let floor_ns = shared.clock.now_ns().saturating_sub(FLOOR_NS);
        let is_old = |day: &i64| state.shelf.days.len() > 1 && (day + 1).saturating_mul(files::DAY_NS) <= floor_ns;
        let oldest = state.shelf.days.keys().next().copied().filter(is_old);
        drop(state);
        oldest.map(|day| shared.delete_day(day)).transpose()
    }

    /// Makes `target` a folder of this store as it is now, by hard links: nothing is copied, so it must be in
    /// the same file system. Lines that come meanwhile may be in it. The last segment of the WAL goes on
    /// growing under both names; whoever copies it takes what is there.
    ///
    /// # Errors
    /// When the disk refuses; what was made of `target` stays for the caller to remove.
    pub fn snapshot(&self, target: &Path) -> Result<()> {
        self.0.shared.snapshot(target)
    }

    /// Deletes days that are older than retention.
    pub fn retain(&self) {
        self.0.shared.retain();
    }

    /// Stops the threads and syncs. Later appends still work but are synced only on request.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn close(&self) -> Result<()> {
        self.0.stop();
        self.0.shared.sync()
    }
}

/// Puts what stood in the WAL back into the head.
fn replay(head: &mut Head, item: wal::Item<'_>, known: &HashMap<u64, Labels>) {
    match item {
        wal::Item::Stream(id, labels) => head.define(id, labels),
        wal::Item::Line(id, time, line) => {
            if !head.is_defined(id) {
                let lost = || Labels::from_pairs([("stream_id", format!("{id:016x}"))]);
                head.define(id, known.get(&id).cloned().unwrap_or_else(lost));
            }
            head.push(id, time, line);
        }
    }
}

impl Handle {
    fn stop(&self) {
        self.shared.signal(|signals| signals.is_stopping = true);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A panic was already reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
        // A failure is counted and logged inside; there is nobody left to tell.
        let _ = self.shared.sync();
    }
}
