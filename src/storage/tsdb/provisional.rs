//! Samples stamped while nobody knows what time it is.
//!
//! They go to a small store of their own beside the others, the *lane*, in the folder `provisional`. Its times
//! are wrong by one number, the same for all. Readers see the lane and the store as one; only forwarding does
//! not. When true time is found the lane is read out, each sample is appended to the store at its time plus
//! that number, and then the lane goes.
//!
//! Nothing is lost on the way: the lane is a store, so what was acknowledged survives as in any; the number is on
//! disk before the first sample moves (`storage/timekeeping.rs`); the lane goes only after the store has synced.
//! A crash in between moves samples a second time to where they are already, and the store takes each once.
//!
//! The lane has no threads: those of the store look after both.
//!
//! Costs: while the clock is doubted, series are held twice. Moving takes about a microsecond a sample, on the
//! store's own thread.

use std::cmp::Ordering;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard};

use tracing::{info, warn};

use super::batch::{AppendOutcome, Batch, Key};
use super::chunk::Window;
use super::db::{Db, Shared, Stored};
use super::{Config, Error, Result, SeriesSamples, SeriesSet, files};
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::Timestamp;
use crate::storage::disk::{TEMPORARY_SUFFIX, WRITABLE_FROM_BYTES};

/// So many samples are moved in one record of the WAL.
const MOVED_SAMPLES_MAX: usize = 20_000;

/// After so many moved samples maintenance has its turn: they may have to be cut.
const MOVED_BETWEEN_CUTS: u64 = 1_000_000;

/// Where provisional samples are.
#[derive(Debug, Default)]
pub(super) enum Lane {
    /// There are none.
    #[default]
    Empty,
    /// They are collected here.
    Filling(Db),
    /// They are moved to the store, by so many milliseconds.
    Moving(Db, i64),
    /// They are in the store; the lane goes when its last reader has gone.
    Leaving(Db),
}

/// Provisional series, to be read beside those of the store.
#[derive(Debug)]
pub(super) struct LaneSet {
    set: SeriesSet,
    shift_ms: i64,
    /// The next series of the store and of the lane, looked at and not handed out yet.
    stored: Option<SeriesSamples>,
    provisional: Option<SeriesSamples>,
}

impl LaneSet {
    pub(super) fn new(set: SeriesSet, shift_ms: i64) -> Self {
        LaneSet { set, shift_ms, stored: None, provisional: None }
    }

    /// Returns the next series of both. Where both have a sample at the same time, the store's counts.
    pub(super) fn next_beside(
        &mut self,
        next_stored: impl FnOnce() -> Option<Result<SeriesSamples>>,
    ) -> Option<Result<SeriesSamples>> {
        let shift_ms = self.shift_ms;
        if self.stored.is_none() {
            self.stored = match next_stored().transpose() {
                Ok(series) => series,
                Err(error) => return Some(Err(error)),
            };
        }
        if self.provisional.is_none() {
            self.provisional = match self.set.next().transpose() {
                Ok(series) => series,
                Err(error) => return Some(Err(error)),
            };
            let times = self.provisional.iter_mut().flat_map(|s| s.timestamps.iter_mut());
            times.for_each(|time| *time = time.saturating_add(shift_ms));
        }
        let order = match (&self.stored, &self.provisional) {
            (Some(stored), Some(provisional)) => stored.labels.cmp(&provisional.labels),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let next = match order {
            Ordering::Less => self.stored.take(),
            Ordering::Greater => self.provisional.take(),
            Ordering::Equal => self.stored.take().zip(self.provisional.take()).map(|(stored, provisional)| {
                let mut whole = Window { times: stored.timestamps, values: stored.values };
                whole.merge(Window { times: provisional.timestamps, values: provisional.values });
                SeriesSamples { labels: stored.labels, timestamps: whole.times, values: whole.values }
            }),
        };
        next.map(Ok)
    }
}

impl Db {
    /// Moves provisional samples to their true time, `shift_ms` later than they say, from now on. In the same
    /// step `commit` sets the clock right, so that no sample is stamped by one clock and taken by the other.
    /// The moving itself is maintenance.
    pub(crate) fn move_provisional(&self, shift_ms: i64, commit: impl FnOnce()) {
        let mut lane = self.0.write_lane();
        commit();
        *lane = match std::mem::take(&mut *lane) {
            Lane::Filling(db) => Lane::Moving(db, shift_ms),
            other => other,
        };
        drop(lane);
        if self.0.stored.is_none() {
            // A store in memory has no thread for it.
            self.0.move_on(&mut || ());
        }
    }

    /// Takes up provisional samples that an earlier process left. `shift_ms`: by how much it was moving them.
    ///
    /// # Errors
    /// When they cannot be opened.
    pub(crate) fn resume_provisional(&self, shift_ms: Option<i64>) -> Result<()> {
        let Some(stored) = &self.0.stored else { return Ok(()) };
        let left = temporary(&stored.folder.join(files::PROVISIONAL));
        if stored.disk.exists(&left) {
            stored.disk.remove_folder(&left)?;
        }
        if !stored.disk.exists(&stored.folder.join(files::PROVISIONAL)) {
            return Ok(());
        }
        let db = self.0.open_lane()?;
        let is_trusted = self.0.clock.is_trusted();
        let lane = match shift_ms {
            None if !is_trusted => Lane::Filling(db),
            // Nothing tells true time any more: the machine was started anew. They stay in their order.
            None => Lane::Moving(db, 0),
            Some(shift_ms) => Lane::Moving(db, shift_ms),
        };
        let is_in_the_way = matches!(lane, Lane::Moving(..)) && !is_trusted;
        *self.0.write_lane() = lane;
        if is_in_the_way {
            self.0.move_on(&mut || ());
        }
        Ok(())
    }

    /// Tells whether there are samples whose true time is not known, or that are not in their place yet.
    #[must_use]
    pub fn has_provisional(&self) -> bool {
        !matches!(*self.0.read_lane(), Lane::Empty)
    }

    /// Returns how many samples are provisional, about.
    #[must_use]
    pub fn provisional_samples(&self) -> u64 {
        match &*self.0.read_lane() {
            Lane::Filling(db) | Lane::Moving(db, _) => {
                let stats = db.stats();
                stats.head_samples + stats.block_samples
            }
            Lane::Empty | Lane::Leaving(_) => 0,
        }
    }

    /// Returns the lane to be read with the store, and by how much its times are to be moved for that.
    pub(super) fn lane_to_read(&self) -> Option<(Db, i64)> {
        match &*self.0.read_lane() {
            Lane::Filling(db) => Some((db.clone(), 0)),
            Lane::Moving(db, shift_ms) => Some((db.clone(), *shift_ms)),
            Lane::Empty | Lane::Leaving(_) => None,
        }
    }

    /// Appends samples that were stamped by this box's clock when that had been moved by `moved_ms`: to the
    /// store if the clock is believed, else to the lane.
    pub(super) fn append_stamped(&self, batch: &Batch, moved_ms: i64) -> Result<AppendOutcome> {
        loop {
            // Held while appending to the lane: what is read out later is whole.
            let lane = self.0.read_lane();
            let shift_ms = self.0.clock.moved_ms().saturating_sub(moved_ms);
            let shifted;
            let batch = if shift_ms == 0 {
                batch
            } else {
                shifted = batch.shifted(shift_ms);
                &shifted
            };
            if self.0.clock.is_trusted() {
                drop(lane);
                return self.0.append_within(batch, &self.0.limits());
            }
            match &*lane {
                Lane::Filling(db) => return self.append_to_lane(db, batch),
                Lane::Empty => {}
                // Those of the last time cannot be moved, as the disk takes nothing.
                Lane::Moving(..) | Lane::Leaving(_) => {
                    return Err(Error::ReadOnly { free_bytes: 0, needed_bytes: WRITABLE_FROM_BYTES });
                }
            }
            drop(lane);
            let mut lane = self.0.write_lane();
            if matches!(*lane, Lane::Empty) && !self.0.clock.is_trusted() {
                *lane = Lane::Filling(self.0.open_lane()?);
                info!("samples are provisional: kept apart until the time is known");
            }
        }
    }

    /// The lane knows no references of the store.
    fn append_to_lane(&self, lane: &Db, batch: &Batch) -> Result<AppendOutcome> {
        let mut by_labels = Batch::default();
        let mut unknown = Vec::new();
        {
            let state = self.0.read();
            for (i, (key, timestamp, value)) in batch.samples.iter().enumerate() {
                match key {
                    Key::Labels(labels) => by_labels.push(labels, *timestamp, *value),
                    Key::Ref(reference) => match state.head.resolve(*reference) {
                        Some((slot, _)) => by_labels.push(&state.head.labels(slot), *timestamp, *value),
                        None => unknown.push(i),
                    },
                }
            }
        }
        let mut outcome = lane.append(&by_labels)?;
        outcome.unknown_ref = unknown.len() as u64;
        outcome.unknown = unknown;
        Ok(outcome)
    }
}

impl Shared {
    /// Moves what is to be moved. `relieve` is called now and then, to cut what has become too much.
    pub(super) fn move_on(&self, relieve: &mut dyn FnMut()) {
        let moving = match &*self.read_lane() {
            Lane::Moving(db, shift_ms) => Some((db.clone(), *shift_ms)),
            Lane::Leaving(_) => None,
            Lane::Empty | Lane::Filling(_) => return,
        };
        if let Some((db, shift_ms)) = moving {
            match self.copy(&db, shift_ms, relieve) {
                Ok(samples) => info!(samples, shift_ms, "provisional samples moved to their true time"),
                Err(error) => {
                    warn!(%error, "cannot move provisional samples; tried again");
                    return;
                }
            }
            *self.write_lane() = Lane::Leaving(db);
        }
        let mut lane = self.write_lane();
        // A reader that began before reads on.
        if !matches!(&*lane, Lane::Leaving(db) if Arc::strong_count(&db.0) == 1) {
            return;
        }
        let Lane::Leaving(db) = std::mem::take(&mut *lane) else { return };
        db.close();
        if let Some(stored) = &self.stored
            && let Err(error) = remove(stored)
        {
            warn!(%error, "cannot remove provisional samples that have been moved; tried again");
            *lane = Lane::Leaving(db);
        }
    }

    /// Appends all samples of the lane to the store, and makes sure that they are safe.
    fn copy(&self, lane: &Db, shift_ms: i64, relieve: &mut dyn FnMut()) -> Result<u64> {
        let mut batch = Batch::default();
        let (mut samples, mut since_relief, mut refused) = (0, 0, 0);
        let mut append = |batch: &mut Batch| -> Result<u64> {
            let outcome = self.append_within(batch, &super::db::Limits::none())?;
            batch.clear();
            refused += outcome.conflicting;
            Ok(outcome.appended)
        };
        for series in lane.querier().select(&[], Timestamp::MIN, Timestamp::MAX, usize::MAX)? {
            let series = series?;
            for (time, value) in series.timestamps.iter().zip(&series.values) {
                batch.push(&series.labels, Timestamp::from_millis(time.saturating_add(shift_ms)), *value);
                if batch.len() >= MOVED_SAMPLES_MAX {
                    let moved = append(&mut batch)?;
                    samples += moved;
                    since_relief += moved;
                }
            }
            if since_relief >= MOVED_BETWEEN_CUTS {
                since_relief = 0;
                relieve();
            }
        }
        samples += append(&mut batch)?;
        if refused > 0 {
            warn!(refused, "provisional samples whose place was taken by others");
        }
        if let Some(stored) = &self.stored {
            stored.wal.sync()?;
        }
        Ok(samples)
    }

    /// Does for the lane what the store's threads do for the store.
    pub(super) fn for_lane(&self, work: fn(&Shared)) {
        let lane = match &*self.read_lane() {
            Lane::Filling(db) => db.clone(),
            Lane::Empty | Lane::Moving(..) | Lane::Leaving(_) => return,
        };
        work(&lane.0);
    }

    /// Closes the lane with the store; it is taken up at the next start.
    pub(super) fn close_lane(&self) {
        match &*self.read_lane() {
            Lane::Filling(db) | Lane::Moving(db, _) | Lane::Leaving(db) => db.close(),
            Lane::Empty => {}
        }
    }

    /// Returns the bytes of the lane on disk.
    pub(super) fn lane_bytes(&self) -> u64 {
        match &*self.read_lane() {
            Lane::Filling(db) | Lane::Moving(db, _) | Lane::Leaving(db) => db.disk_bytes(),
            Lane::Empty => 0,
        }
    }

    fn open_lane(&self) -> Result<Db> {
        // What the box itself stamps is not measured by the clock that stamped it.
        let config = Config { ahead_max: std::time::Duration::MAX, ..self.config.clone() };
        let clock: Clock = self.clock.clone();
        match &self.stored {
            Some(stored) => {
                let folder = stored.folder.join(files::PROVISIONAL);
                Db::open_without_threads(config, stored.disk.clone(), &folder, clock, &Registry::default())
            }
            None => Ok(Db::in_memory()),
        }
    }

    fn read_lane(&self) -> RwLockReadGuard<'_, Lane> {
        self.lane.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lane(&self) -> RwLockWriteGuard<'_, Lane> {
        self.lane.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the lane's folder; what a crash leaves of it is no lane any more.
fn remove(stored: &Stored) -> Result<()> {
    let folder = stored.folder.join(files::PROVISIONAL);
    let left = temporary(&folder);
    if stored.disk.exists(&folder) {
        stored.disk.rename(&folder, &left)?;
        stored.disk.sync_folder(&stored.folder)?;
    }
    if stored.disk.exists(&left) {
        stored.disk.remove_folder(&left)?;
    }
    Ok(())
}

fn temporary(folder: &Path) -> std::path::PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(TEMPORARY_SUFFIX);
    name.into()
}
