//! The store's handle.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tracing::{info, warn};

use super::admit::Admission;
use super::batch::{AppendOutcome, Batch, Key, SeriesRef};
use super::block::Block;
use super::cache::PageCache;
use super::config::WalSync;
use super::head::{Added, Head};
use super::instruments::Instruments;
use super::maintenance::{self, Stop};
use super::pace::Pace;
use super::provisional::Lane;
use super::querier::Querier;
use super::tombstones::Tombstone;
use super::wal::{Logged, LoggedSample, NewSeries, Wal};
use super::{Config, Error, Result, repair, tidy};
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Labels, Metadata, TimeRange, Timestamp};
use crate::storage::disk::{self, Damages, Disk, SpaceWatch, WRITABLE_FROM_BYTES};

/// The store: a cheap handle over shared state. Its threads end when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct Db(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) retention_ms: AtomicI64,
    pub(super) clock: Clock,
    pub(super) state: RwLock<State>,
    /// `None` for a store in memory.
    pub(super) stored: Option<Stored>,
    pub(super) cache: Arc<PageCache>,
    pub(super) instruments: Instruments,
    pub(super) space: Mutex<SpaceWatch>,
    pub(super) is_closed: AtomicBool,
    pub(super) stop: Arc<Stop>,
    /// Held while blocks are cut and retired: passes do not overlap.
    pub(super) maintenance: Mutex<maintenance::Memory>,
    /// Held while blocks are merged and checked.
    pub(super) tidying: Mutex<tidy::Memory>,
    /// Held while somebody's deletion is written.
    pub(super) deleting: Mutex<()>,
    /// Samples whose true time is not known.
    pub(super) lane: RwLock<Lane>,
    /// Bytes that blocks may take; `u64::MAX`: no bound.
    pub(super) bytes_max: AtomicU64,
    /// So much of the newest is kept whatever the bound says.
    pub(super) floor_ms: AtomicI64,
    /// Whether the disk lacks room for what the WAL holds.
    pub(super) is_tight: AtomicBool,
    /// When the WAL was last synced, or had nothing to sync; milliseconds since the start.
    pub(super) synced_at_ms: AtomicU64,
    /// About how much memory the head takes, as last worked out.
    pub(super) head_bytes: AtomicU64,
    /// The number of the next block.
    pub(super) next_block: AtomicU64,
    pub(super) admission: Admission,
    pub(super) pace: Pace,
    pub(super) damages: Damages,
}

/// Where the store lies.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    pub(super) wal: Wal,
}

/// What is taken of a batch.
#[derive(Debug)]
pub(super) struct Limits {
    oldest_ms: i64,
    newest_ms: i64,
    series_max: usize,
}

impl Limits {
    /// Everything.
    pub(super) fn none() -> Self {
        Limits { oldest_ms: i64::MIN, newest_ms: i64::MAX, series_max: usize::MAX }
    }
}

/// What changes; behind one lock, so that a reader sees a sample in the head or in a block, never in neither.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) head: Head,
    /// By rank.
    pub(super) blocks: Arc<Vec<Arc<Block>>>,
    /// What was deleted and still lies in blocks; these know it too.
    pub(super) tombstones: Arc<Vec<Arc<Tombstone>>>,
    /// Batches so far, for a store in memory.
    sequence: u64,
}

/// What of a batch is to be logged and added.
struct Sorted {
    samples: Vec<LoggedSample>,
    /// Slots of series among them that the WAL does not know yet; may repeat.
    unlogged: Vec<u32>,
}

impl Default for Db {
    fn default() -> Self {
        Db::in_memory()
    }
}

impl Db {
    /// Returns a store that forgets everything at the end and takes samples of any time.
    #[must_use]
    pub fn in_memory() -> Self {
        let config = Config {
            retention: Duration::MAX,
            wal_sync: WalSync::Never,
            series_max: usize::MAX,
            ahead_max: Duration::MAX,
        };
        Db(Arc::new(Shared::new(config, Clock::system(), &Registry::default(), State::default(), None)))
    }

    /// Opens the store in `folder`, makes it if it is not there, and starts its three threads. Cost: reads the
    /// WAL since the last cut, mostly some four million samples.
    ///
    /// # Errors
    /// When the folder cannot be used. Damage is not an error: it is put aside in `quarantine` beside the
    /// folder, logged and counted.
    pub fn open(config: Config, disk: Arc<dyn Disk>, folder: &Path, clock: Clock, registry: &Registry) -> Result<Self> {
        let sync = config.wal_sync;
        let db = Self::open_without_threads(config, disk, folder, clock, registry)?;
        maintenance::start(&db.0, sync)?;
        Ok(db)
    }

    /// Opens the store; maintenance is done only by [`Db::maintain`], syncs only by policy `always`.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub(crate) fn open_without_threads(
        config: Config,
        disk: Arc<dyn Disk>,
        folder: &Path,
        clock: Clock,
        registry: &Registry,
    ) -> Result<Self> {
        let started = clock.elapsed();
        let instruments = Instruments::new(registry);
        let opened = repair::open(&disk, folder, config.wal_sync, &clock)?;
        let state = State { head: opened.head, blocks: Arc::new(opened.blocks), ..State::default() };
        let stored = Stored { disk, folder: folder.to_owned(), wal: opened.wal };
        let replayed = opened.replayed;
        let shared = Shared::new(config, clock, registry, state, Some(stored));
        shared.next_block.store(opened.next_block, Ordering::Relaxed);
        shared.load_tombstones();
        for (what, damage) in &opened.damages {
            shared.report(what, damage);
        }
        instruments.wal_truncated.add(opened.truncated_bytes);
        if opened.truncated_bytes > 0 {
            warn!(bytes = opened.truncated_bytes, "torn end of the WAL truncated");
        }
        let took = shared.clock.elapsed().saturating_sub(started);
        instruments.replay_seconds.set(took.as_secs_f64());
        instruments.replay_orphans.set(replayed.orphans as f64);
        let (series, samples) = (shared.read().head.series_count(), replayed.samples);
        info!(series, samples, orphans = replayed.orphans, ?took, "metric store opened");
        Ok(Db(Arc::new(shared)))
    }

    /// Syncs the WAL and ends the store's threads; later appends are refused. Waits for a pass of maintenance
    /// to come to a good end.
    pub fn close(&self) {
        self.0.is_closed.store(true, Ordering::SeqCst);
        self.0.stop.now();
        let _merge = self.0.tidying.lock().unwrap_or_else(PoisonError::into_inner);
        let _pass = self.0.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.close_lane();
        if let Some(stored) = &self.0.stored
            && let Err(error) = stored.wal.close()
        {
            warn!(%error, "cannot sync the WAL at the end");
        }
    }

    /// Changes how long samples are kept.
    pub fn set_retention(&self, retention: Duration) {
        self.0.retention_ms.store(millis(retention), Ordering::Relaxed);
    }

    /// Bounds the bytes that WAL and blocks may take; the oldest blocks go first, but none that reaches into the
    /// newest `floor` of what blocks hold.
    pub fn set_bytes_max(&self, bytes: Option<u64>, floor: Duration) {
        self.0.floor_ms.store(millis(floor), Ordering::Relaxed);
        self.0.bytes_max.store(bytes.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns the stretches of time, whole minutes, that received samples older than the clock or the newest
    /// data by more than [`super::LATE_AFTER`] since `sequence` was returned (0: since ever, as far as known), and the sequence to ask
    /// with next time. A reader that follows the newest data with a cursor reads these stretches again.
    ///
    /// Shape: sorted, not overlapping, at most some twenty thousand; when there were more, neighbours are
    /// joined, so the answer covers too much rather than too little. Survives a restart.
    #[must_use]
    pub fn late_since(&self, sequence: u64) -> (u64, Vec<TimeRange>) {
        self.0.read().head.late.since(sequence)
    }

    /// Returns the reference of a series of the box's own, making the series if it is new; `None` if the limit
    /// on series refuses it. Those of others go through [`Db::admit`].
    #[must_use]
    pub fn series_ref(&self, labels: &Labels) -> Option<SeriesRef> {
        let state = self.0.read();
        if let Some(slot) = state.head.find(labels) {
            return state.head.reference(slot);
        }
        drop(state);
        let mut state = self.0.write();
        let slot = state.head.slot(labels, self.0.own_series_max())?;
        state.head.reference(slot)
    }

    /// Appends a batch: one WAL record, then memory. Cost: under half a millisecond for a scrape; with
    /// `wal_sync: always` it waits for the disk.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] while the disk is full or fails; nothing of the batch is kept then (with `always`
    /// it may be kept, but is not safe). [`Error::Closed`] when the box is stopping.
    pub fn append(&self, batch: &Batch) -> Result<AppendOutcome> {
        match batch.moved_ms {
            None => self.0.append_within(batch, &self.0.limits()),
            Some(moved_ms) => self.append_stamped(batch, moved_ms),
        }
    }

    /// Returns a view to read from.
    #[must_use]
    pub fn querier(&self) -> Querier {
        Querier::new(self.clone(), self.lane_to_read())
    }

    /// Returns a view without provisional samples, for who must not see a time that will change.
    #[must_use]
    pub fn final_querier(&self) -> Querier {
        Querier::new(self.clone(), None)
    }

    /// Keeps what a sender said about a metric name.
    pub fn set_metadata(&self, metric: &str, metadata: Metadata) {
        if self.0.read().head.metadata.get(metric) == Some(&metadata) {
            return;
        }
        if self.0.write().head.set_metadata(metric, metadata.clone())
            && let Some(stored) = &self.0.stored
        {
            // Not worth refusing anything for: a sender says it again.
            let _ = stored.wal.append_logged(&Logged::Metadata(vec![(metric.to_owned(), metadata)]));
        }
    }

    /// Returns what is known about metric names, by name.
    #[must_use]
    pub fn metadata(&self) -> Vec<(String, Metadata)> {
        let mut known: Vec<(String, Metadata)> =
            self.0.read().head.metadata.iter().map(|(n, m)| (n.clone(), m.clone())).collect();
        known.sort_by(|a, b| a.0.cmp(&b.0));
        known
    }
}

impl Shared {
    fn new(config: Config, clock: Clock, registry: &Registry, state: State, stored: Option<Stored>) -> Self {
        Shared {
            retention_ms: AtomicI64::new(millis(config.retention)),
            config,
            state: RwLock::new(state),
            stored,
            cache: Arc::default(),
            instruments: Instruments::new(registry),
            space: Mutex::default(),
            is_closed: AtomicBool::new(false),
            stop: Arc::default(),
            maintenance: Mutex::default(),
            tidying: Mutex::default(),
            deleting: Mutex::default(),
            lane: RwLock::default(),
            clock,
            bytes_max: AtomicU64::new(u64::MAX),
            floor_ms: AtomicI64::new(0),
            is_tight: AtomicBool::new(false),
            synced_at_ms: AtomicU64::new(0),
            head_bytes: AtomicU64::new(0),
            next_block: AtomicU64::new(1),
            admission: Admission::default(),
            pace: Pace::default(),
            damages: Damages::new(registry),
        }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the oldest time that is taken and kept. A wrong clock deletes nothing: see
    /// `Clock::retention_now`.
    pub(super) fn oldest_ms(&self) -> i64 {
        self.clock.retention_now().as_millis().saturating_sub(self.retention_ms.load(Ordering::Relaxed))
    }

    /// Appends a batch to this store, whoever stamped it.
    pub(super) fn append_within(&self, batch: &Batch, limits: &Limits) -> Result<AppendOutcome> {
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(Error::Closed);
        }
        // Before new series are made of what cannot be kept.
        if self.lock_space().is_read_only() && !self.measure_space() {
            return Err(self.read_only());
        }
        let started = self.clock.elapsed();
        let mut outcome = AppendOutcome::default();
        let mut state = self.write();
        let mut sorted = self.sort_out(&mut state.head, batch, limits, &mut outcome);
        let mut sequence = state.sequence;
        if !sorted.samples.is_empty() {
            sequence = self.log(&mut state, &mut sorted)?;
            state.head.late.begin_at(self.clock.now().as_millis());
            state.head.arrivals.begin_batch(millis(started).cast_unsigned());
            for sample in sorted.samples {
                match state.head.add(sample, sequence) {
                    Some(Added::InOrder) => outcome.appended += 1,
                    Some(Added::OutOfOrder) => {
                        outcome.appended += 1;
                        outcome.out_of_order += 1;
                    }
                    Some(Added::Duplicate) => outcome.duplicate += 1,
                    Some(Added::Conflicting) => outcome.conflicting += 1,
                    None => outcome.unknown_ref += 1,
                }
            }
        }
        let wait = self.pace.wait(outcome.appended, state.head.samples);
        drop(state);
        if !wait.is_zero() {
            // Cut short when the store is closed.
            self.stop.wait(wait);
        }
        if self.config.wal_sync == WalSync::Always
            && let Some(stored) = &self.stored
        {
            // A batch that was there already is acknowledged too, and its first sync may have failed.
            let sequence = if sequence == 0 { stored.wal.last_sequence() } else { sequence };
            stored.wal.sync_to(sequence).map_err(|e| self.refuse(&e))?;
        }
        self.count(&outcome);
        self.instruments.append_seconds.observe_duration(self.clock.elapsed().saturating_sub(started));
        Ok(outcome)
    }

    /// Returns what is taken now.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            oldest_ms: self.oldest_ms(),
            newest_ms: self.clock.latest_taken(self.config.ahead_max).as_millis(),
            series_max: self.own_series_max(),
        }
    }

    /// Resolves series and leaves out what is refused or there already.
    fn sort_out(&self, head: &mut Head, batch: &Batch, limits: &Limits, outcome: &mut AppendOutcome) -> Sorted {
        let mut sorted = Sorted { samples: Vec::with_capacity(batch.samples.len()), unlogged: Vec::new() };
        for (i, (key, timestamp, value)) in batch.samples.iter().enumerate() {
            let time = timestamp.as_millis();
            if time < limits.oldest_ms {
                outcome.too_old += 1;
                continue;
            }
            if time > limits.newest_ms {
                outcome.too_new += 1;
                continue;
            }
            let found = match key {
                Key::Ref(reference) => head.resolve(*reference),
                Key::Labels(labels) => match head.slot(labels, limits.series_max) {
                    None => {
                        outcome.over_series_limit += 1;
                        continue;
                    }
                    Some(slot) => head.get(slot).map(|series| (slot, series)),
                },
            };
            let Some((slot, series)) = found else {
                outcome.unknown_ref += 1;
                outcome.unknown.push(i);
                continue;
            };
            match if series.is_in_order(time) { None } else { head.value_at(slot, time) } {
                Some(there) if there.to_bits() == value.to_bits() => outcome.duplicate += 1,
                Some(_) => outcome.conflicting += 1,
                None => {
                    if !series.is_logged {
                        sorted.unlogged.push(slot);
                    }
                    series.fetch();
                    sorted.samples.push(LoggedSample { series: slot, time, value: *value });
                }
            }
        }
        sorted
    }

    /// Writes a batch to the WAL; returns its sequence.
    fn log(&self, state: &mut State, sorted: &mut Sorted) -> Result<u64> {
        let Some(stored) = &self.stored else {
            state.sequence += 1;
            return Ok(state.sequence);
        };
        sorted.unlogged.sort_unstable();
        sorted.unlogged.dedup();
        let new: Vec<NewSeries> = sorted.unlogged.iter().map(|slot| (*slot, state.head.labels(*slot))).collect();
        let sequence = stored.wal.append_batch(&new, &sorted.samples).map_err(|error| self.refuse(&error))?;
        let accounts = state.head.accounts.to_log(Some(&sorted.unlogged));
        if !accounts.is_empty() {
            // Not worth refusing anything for: the next checkpoint tells it again.
            let _ = stored.wal.append_logged(&Logged::Accounts(accounts));
        }
        Ok(sequence)
    }

    /// Notes that the disk refused; returns what an appender is told.
    fn refuse(&self, error: &disk::Error) -> Error {
        let mut space = self.lock_space();
        if !space.is_read_only() {
            warn!(%error, "disk refuses writes: storage is read-only until it takes them again");
        }
        space.found_full();
        drop(space);
        self.instruments.read_only.set(1.0);
        self.read_only()
    }

    fn read_only(&self) -> Error {
        let space = self.stored.as_ref().and_then(|s| s.disk.space(&s.folder).ok());
        Error::ReadOnly { free_bytes: space.map_or(0, |s| s.free_bytes), needed_bytes: WRITABLE_FROM_BYTES }
    }

    /// Looks at the free space; returns whether appends may be taken.
    pub(super) fn measure_space(&self) -> bool {
        let Some(stored) = &self.stored else { return true };
        // A disk that cannot be asked is tried.
        let Ok(space) = stored.disk.space(&stored.folder) else { return true };
        self.is_tight.store(space.is_tight(stored.wal.bytes()), Ordering::Relaxed);
        let mut watch = self.lock_space();
        let was_read_only = watch.is_read_only();
        let is_writable = watch.measured(space);
        if was_read_only == is_writable {
            self.instruments.read_only.set(if is_writable { 0.0 } else { 1.0 });
            let free_bytes = space.free_bytes;
            if is_writable {
                info!(free_bytes, "disk has space again: storage takes samples");
            } else {
                warn!(free_bytes, "disk is nearly full: storage is read-only");
            }
        }
        is_writable
    }

    fn lock_space(&self) -> std::sync::MutexGuard<'_, SpaceWatch> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, outcome: &AppendOutcome) {
        self.instruments.appended.add(outcome.appended);
        if outcome.out_of_order > 0 {
            self.instruments.out_of_order.add(outcome.out_of_order);
        }
        let reasons = [
            ("duplicate", outcome.duplicate),
            ("conflicting", outcome.conflicting),
            ("too_old", outcome.too_old),
            ("too_new", outcome.too_new),
            ("over_series_limit", outcome.over_series_limit),
            ("unknown_ref", outcome.unknown_ref),
        ];
        for (reason, n) in reasons.into_iter().filter(|(_, n)| *n > 0) {
            self.instruments.refused.with(&[reason]).add(n);
        }
    }

    /// Counts, logs and keeps for pages that something on disk did not check out.
    pub(super) fn report(&self, what: &str, damage: &str) {
        self.damages.report(what, damage);
    }

    /// Tells whether the store takes samples now.
    pub(super) fn is_read_only(&self) -> bool {
        self.lock_space().is_read_only()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.now();
    }
}

/// Returns a duration as milliseconds, as far as they fit.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Returns a time range that covers `[min, max]` of the model's times.
pub(super) fn bounds(min: Timestamp, max: Timestamp) -> (i64, i64) {
    (min.as_millis(), max.as_millis())
}
