//! The store's own threads: one syncs the WAL, one cuts and retires blocks, one merges and checks them
//! (`tidy.rs`).
//!
//! Cutting and merging read and write series by series: memory is bounded by the longest series of a block
//! and the block's index, and appends wait only while a few hundred series are looked at. Cutting runs at the
//! same priority as everybody: it holds the lock for moments that appends wait for, and bounds the head.
//! Merging is never waited for and stands back for all other programs.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use tracing::{error, info, warn};

use super::block::BlockMeta;
use super::config::WalSync;
use super::db::{Db, Shared, millis};
use super::due::{Cut, Facts, due, wal_bytes_max};
use super::retention::expired;
use super::{Error, Result};
use crate::model::{TimeRange, Timestamp};
use crate::storage::disk;

/// How often the thread looks whether there is something to do.
const TICK: Duration = Duration::from_secs(1);

/// How often it is looked whether blocks are to be merged.
const TIDY_TICK: Duration = Duration::from_secs(5);

/// How often gauges are worked out: that touches every series.
const SHOW_EVERY: Duration = Duration::from_secs(5);

/// So many series are looked at under one lock for that.
const SHOWN_AT_ONCE: u32 = 4096;

/// So many cuts are made in one pass at most, then others have their turn.
const CUTS_MAX: usize = 8;

/// After a failure the disk is left alone so long.
pub(super) const PAUSE: Duration = Duration::from_secs(120);

/// Tells threads to stop.
#[derive(Debug, Default)]
pub(super) struct Stop {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Tells them now.
    pub(super) fn now(&self) {
        *self.is_set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits so long or until told to stop; returns whether to stop.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let guard = self.is_set.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(guard, time, |is_set| !*is_set);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Tells whether to stop.
    pub(super) fn is_set(&self) -> bool {
        *self.is_set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What maintenance remembers from one pass to the next.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// When the last cut but slices ended, in milliseconds since start.
    last_cut_ms: Option<u64>,
    /// When gauges were last worked out, in time since start.
    shown_at: Option<Duration>,
    /// No writing before this, in time since start.
    paused_until: Duration,
}

/// Starts the threads.
pub(super) fn start(shared: &Arc<Shared>, sync: WalSync) -> Result<()> {
    if let WalSync::Interval(interval) = sync {
        run(shared, "andon-wal-sync", interval, |shared| shared.sync())?;
    } else {
        run(shared, "andon-wal-sync", Duration::from_secs(1), |shared| {
            shared.measure_space();
        })?;
    }
    run(shared, "andon-tsdb", TICK, |shared| shared.pass())?;
    run(shared, "andon-tsdb-tidy", TIDY_TICK, |shared| {
        shared.yield_to_others();
        shared.tidy();
    })
}

/// Runs `work` again and again on a thread of its own, until the store is closed or dropped.
fn run(shared: &Arc<Shared>, name: &str, every: Duration, work: fn(&Shared)) -> Result<()> {
    let (weak, stop): (Weak<Shared>, _) = (Arc::downgrade(shared), shared.stop.clone());
    let body = move || {
        while !stop.wait(every) {
            let Some(shared) = weak.upgrade() else { return };
            work(&shared);
        }
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map(|_| ()).map_err(|source| {
        let path = shared.stored.as_ref().map(|s| s.folder.clone()).unwrap_or_default();
        Error::Disk(disk::Error::Io { operation: "start a thread for", path, source })
    })
}

impl Db {
    /// Does what is due: cuts, merges and retires blocks. The store's thread does so by itself; for tests and
    /// for a clock that is set by hand.
    pub fn maintain(&self) {
        self.0.pass();
        self.0.tidy();
    }

    /// Cuts all that is in the head into blocks, whatever its age.
    ///
    /// # Errors
    /// When the disk refuses; everything stays in the head then.
    pub fn flush(&self) -> Result<()> {
        let _alone = self.0.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.cut(Cut::Over(TimeRange::new(Timestamp::MIN, Timestamp::MAX)))
    }
}

impl Shared {
    /// Syncs the WAL and looks at the disk.
    fn sync(&self) {
        let Some(stored) = &self.stored else { return };
        self.for_lane(Shared::sync);
        let now_ms = u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX);
        if stored.wal.unsynced_records() == 0 {
            self.synced_at_ms.store(now_ms, Ordering::Relaxed);
        } else {
            let started = self.clock.elapsed();
            match stored.wal.sync() {
                Ok(()) => self.synced_at_ms.store(now_ms, Ordering::Relaxed),
                Err(error) => error!(%error, "cannot sync the WAL; its records are written anew"),
            }
            self.instruments.sync_seconds.observe_duration(self.clock.elapsed().saturating_sub(started));
        }
        self.measure_space();
        self.update_unsynced();
    }

    /// Shows how old the oldest sample is that a power cut would lose.
    fn update_unsynced(&self) {
        let now_ms = u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX);
        let age_ms = now_ms.saturating_sub(self.synced_at_ms.load(Ordering::Relaxed));
        self.instruments.unsynced_seconds.set(Duration::from_millis(age_ms).as_secs_f64());
    }

    /// One pass over all that may be due.
    fn pass(&self) {
        let Ok(mut memory) = self.maintenance.try_lock() else { return };
        if self.stored.is_none() || self.is_closed.load(Ordering::Relaxed) {
            return;
        }
        let now = self.clock.now().as_millis();
        self.for_lane(Shared::pass);
        self.move_on(&mut || {
            // Whatever fails here is tried again below.
            let _ = self.cut_if_due(&mut memory, now);
        });
        self.retire(now);
        if self.clock.elapsed() >= memory.paused_until
            && let Err(error) = self.cut_if_due(&mut memory, now)
        {
            memory.paused_until = self.clock.elapsed() + PAUSE;
            warn!(%error, "cannot cut blocks; tried again in a while");
        }
        let elapsed = self.clock.elapsed();
        if memory.shown_at.is_none_or(|shown| elapsed.saturating_sub(shown) >= SHOW_EVERY) {
            memory.shown_at = Some(elapsed);
            self.show();
        }
    }

    fn cut_if_due(&self, memory: &mut Memory, now: i64) -> Result<()> {
        for _ in 0..CUTS_MAX {
            let elapsed_ms = millis(self.clock.elapsed()).cast_unsigned();
            let (windows, total, late_samples, series) = {
                let state = self.read();
                let (windows, total) = state.head.arrivals.windows();
                (windows, total, state.head.late_samples, state.head.series_count() as u64)
            };
            let facts = Facts {
                windows: &windows,
                total,
                late_samples,
                series,
                wal_bytes: self.stored.as_ref().map_or(0, |s| s.wal.bytes()),
                wal_bytes_max: wal_bytes_max(self.bytes_max()),
                now,
                elapsed_ms,
                last_cut_ms: memory.last_cut_ms,
            };
            let Some(cut) = due(&facts).filter(|_| !self.stop.is_set()) else { break };
            self.cut(cut)?;
            if matches!(cut, Cut::Over(_)) {
                memory.last_cut_ms = Some(millis(self.clock.elapsed()).cast_unsigned());
            }
        }
        Ok(())
    }

    fn bytes_max(&self) -> Option<u64> {
        Some(self.bytes_max.load(Ordering::Relaxed)).filter(|bytes| *bytes != u64::MAX)
    }

    /// Removes blocks that are too old or too many.
    fn retire(&self, now: i64) {
        // The bound is for blocks and WAL; only blocks can go.
        let wal_bytes = self.stored.as_ref().map_or(0, |s| s.wal.bytes());
        let bytes_max = self.bytes_max().map(|bytes| bytes.saturating_sub(wal_bytes));
        let oldest = self.oldest_ms();
        let metas: Vec<BlockMeta> = self.read().blocks.iter().map(|b| b.meta.clone()).collect();
        // What lies in the future, from a clock that was wrong, does not leave the newest without its protection.
        let newest = metas.iter().map(|m| m.max_ms).max().map_or(now, |newest| newest.min(now));
        let floor = newest.saturating_sub(self.floor_ms.load(Ordering::Relaxed));
        let gone = expired(&metas, oldest, bytes_max, floor);
        if gone.is_empty() {
            return;
        }
        for meta in metas.iter().filter(|m| gone.contains(&m.number)) {
            let reason = if meta.max_ms < oldest { "age" } else { "size" };
            self.instruments.retired.with(&[reason]).inc();
            info!(number = meta.number, range = ?meta.range(), bytes = meta.bytes, reason, "block retired");
        }
        self.give_up(&gone);
    }

    /// Takes blocks out of the store; their folders go with their last reader.
    pub(super) fn give_up(&self, numbers: &[u64]) {
        let mut state = self.write();
        let (gone, kept): (Vec<_>, Vec<_>) =
            state.blocks.iter().cloned().partition(|b| numbers.contains(&b.meta.number));
        state.blocks = Arc::new(kept);
        drop(state);
        for block in gone {
            self.cache.forget(block.meta.number);
            block.give_up();
        }
    }

    /// Updates the gauges.
    fn show(&self) {
        // Some series at a time: appends do not wait for all of them.
        let slots_end = self.read().head.slots_end();
        let starts = (0..slots_end).step_by(SHOWN_AT_ONCE as usize);
        let of_series = starts.map(|start| self.read().head.series_bytes(start..start.saturating_add(SHOWN_AT_ONCE)));
        let of_series: usize = of_series.sum();
        let state = self.read();
        let i = &self.instruments;
        i.series_max.set(self.config.series_max as f64);
        i.head_series.set(state.head.series_count() as f64);
        i.head_samples.set(state.head.samples as f64);
        let head_bytes = (of_series + state.head.memory_bytes()) as u64;
        self.head_bytes.store(head_bytes, Ordering::Relaxed);
        i.head_bytes.set(head_bytes as f64);
        i.blocks.set(state.blocks.len() as f64);
        i.block_bytes.set(state.blocks.iter().map(|b| b.meta.bytes).sum::<u64>() as f64);
        drop(state);
        if let Some(stored) = &self.stored {
            i.wal_bytes.set(stored.wal.bytes() as f64);
        }
        if self.config.wal_sync == WalSync::Always {
            i.unsynced_seconds.set(0.0);
        } else if self.config.wal_sync == WalSync::Never {
            self.update_unsynced();
        }
    }
}
