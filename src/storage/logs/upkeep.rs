//! What goes on beside reading and writing: sync, parts, retention, space.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tracing::{error, info, warn};

use super::append::ns_of;
use super::head::{self, HeadDay};
use super::part::{self, Part};
use super::scan::days_of;
use super::store::{Frozen, Shared, Signals, State};
use super::{Result, files, retention};
use crate::storage::disk::{Corruption, SpaceWatch, replace};

impl Shared {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn space(&self) -> MutexGuard<'_, SpaceWatch> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps others from writing parts and deleting days.
    pub(super) fn upkeep_lock(&self) -> MutexGuard<'_, ()> {
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has_threads(&self) -> bool {
        !self.config.sync_interval.is_zero()
    }

    pub(super) fn signal(&self, change: impl FnOnce(&mut Signals)) {
        change(&mut self.signals.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_all();
    }

    /// Waits so long, or until a signal is there. `false` when the store is stopping.
    pub(super) fn wait(&self, timeout: Duration, is_there: impl Fn(&Signals) -> bool) -> bool {
        let signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(signals, timeout, |signals| !is_there(signals));
        !waited.unwrap_or_else(PoisonError::into_inner).0.is_stopping
    }

    /// Looks how much space is free. Returns whether lines may be taken.
    pub(super) fn measure_space(&self) -> bool {
        match self.disk.space(&self.folder) {
            Ok(space) => self.space().measured(space),
            Err(error) => {
                warn!(%error, "cannot ask for free space");
                true
            }
        }
    }

    pub(super) fn sync(&self) -> Result<()> {
        self.measure_space();
        let started = self.clock.elapsed();
        let result = self.wal.sync();
        self.instruments.sync_seconds.observe_duration(self.clock.elapsed().saturating_sub(started));
        if let Err(error) = &result {
            self.instruments.sync_failures.inc();
            error!(%error, "cannot sync the WAL of the logs");
        }
        Ok(result.map(|_| ())?)
    }

    /// What the upkeep thread does each round.
    pub(super) fn upkeep(&self) {
        self.signal(|signals| signals.is_part_due = false);
        let state = self.read();
        let age = state.head_since.map(|since| self.clock.elapsed().saturating_sub(since));
        let is_due = state.frozen.is_some()
            || state.head.bytes >= self.config.head_bytes_max
            || age.is_some_and(|age| age >= self.config.head_age_max);
        drop(state);
        if is_due {
            // The failure is counted and logged inside; the next round tries again.
            let _ = self.flush();
        }
        self.retain();
        self.show();
    }

    pub(super) fn flush(&self) -> Result<()> {
        let _one = self.upkeep_lock();
        // What an earlier try left comes first.
        self.write_frozen()?;
        self.freeze();
        self.write_frozen()
    }

    /// Takes the head away to be written, and begins a new one with a new WAL segment.
    fn freeze(&self) {
        let mut state = self.write();
        if state.head.is_empty() {
            return;
        }
        let wal_number = self.wal.rotate();
        let head = std::mem::take(&mut state.head);
        state.head_since = None;
        let days = head.days.into_iter().map(|(day, lines)| (day, Arc::new(lines))).collect();
        state.frozen = Some(Frozen { days, bytes: head.bytes, lines: head.lines, wal_number });
    }

    /// Writes a part for each day of the frozen head, then drops its WAL segments. A crash in between leaves
    /// lines in a part and in the WAL; reading gives them once.
    fn write_frozen(&self) -> Result<()> {
        loop {
            let mut guard = self.write();
            let state = &mut *guard;
            let Some(frozen) = &mut state.frozen else { return Ok(()) };
            let Some((&day, lines)) = frozen.days.first_key_value() else {
                let wal_number = frozen.wal_number;
                state.frozen = None;
                drop(guard);
                self.drop_segments(wal_number);
                return Ok(());
            };
            let lines = lines.clone();
            let path = state.shelf.next_path(&self.folder, day);
            drop(guard);
            let started = self.clock.elapsed();
            let part = match self.write_part(&path, &lines) {
                Ok(part) => part,
                Err(error) => {
                    self.instruments.part_failures.inc();
                    error!(%error, "cannot write a part of the logs; its lines stay in the WAL");
                    return Err(error);
                }
            };
            self.instruments.part_seconds.observe_duration(self.clock.elapsed().saturating_sub(started));
            self.instruments.parts.inc();
            self.instruments.part_bytes.add(part.bytes);
            let mut state = self.write();
            if let Some(frozen) = &mut state.frozen {
                frozen.days.remove(&day);
            }
            state.shelf.add(day, part);
        }
    }

    fn write_part(&self, path: &Path, lines: &HeadDay) -> Result<Part> {
        if let Some(folder) = path.parent() {
            self.disk.create_folder(folder)?;
        }
        replace(&*self.disk, path, &part::encode(&head::packed(lines)))?;
        let unreadable = || Corruption {
            file: path.to_owned(),
            offset: 0,
            bytes: 0,
            reason: "a part just written does not read back".to_owned(),
        };
        let part = Part::open(&*self.disk, path)?;
        Ok(part.ok_or_else(|| crate::storage::disk::Error::from(unreadable()))?)
    }

    fn drop_segments(&self, wal_number: u64) {
        if let Err(error) = self.wal.remove_before(wal_number) {
            // They are read again at the next start and give no line twice.
            warn!(%error, "cannot remove WAL segments of the logs");
        }
    }

    /// Links all parts and the WAL into another folder. No part and no segment goes meanwhile.
    pub(super) fn snapshot(&self, target: &Path) -> Result<()> {
        let _one = self.upkeep_lock();
        let paths: Vec<(String, PathBuf)> = {
            let state = self.read();
            let parts = state.shelf.days.iter().flat_map(|(day, parts)| parts.iter().map(move |part| (day, part)));
            parts.map(|(day, part)| (files::day_name(*day), part.path.clone())).collect()
        };
        let days = files::days(target);
        self.disk.create_folder(&days)?;
        for (day, path) in &paths {
            self.disk.create_folder(&days.join(day))?;
            self.disk.link(path, &days.join(day).join(path.file_name().unwrap_or_default()))?;
        }
        let (source, wal) = (files::wal(&self.folder), files::wal(target));
        self.disk.create_folder(&wal)?;
        for segment in self.disk.list(&source)?.iter().filter(|entry| !entry.is_folder) {
            self.disk.link(&source.join(&segment.name), &wal.join(&segment.name))?;
        }
        Ok(())
    }

    pub(super) fn retain(&self) {
        let _one = self.upkeep_lock();
        let first = retention::first_day_kept(ns_of(self.clock.retention_now()), self.config.retention);
        let old: Vec<i64> = self.read().shelf.days.range(..first).map(|(day, _)| *day).collect();
        for day in old {
            if let Err(error) = self.delete_day(day) {
                error!(%error, day = files::day_name(day), "cannot delete a day of logs");
            }
        }
    }

    /// Deletes a day; returns the bytes freed. The caller holds `upkeep_lock`.
    pub(super) fn delete_day(&self, day: i64) -> Result<u64> {
        let parts = self.write().shelf.days.remove(&day).unwrap_or_default();
        let bytes = parts.iter().map(|part| part.bytes).sum();
        let days = files::days(&self.folder);
        let removed = self.disk.remove_folder(&days.join(files::day_name(day)));
        removed.or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) })?;
        self.disk.sync_folder(&days)?;
        self.instruments.days_deleted.inc();
        info!(day = files::day_name(day), bytes, "day of logs deleted");
        Ok(bytes)
    }

    /// Returns the days that have lines, or may have, in `[start_ns, end_ns)`.
    pub(super) fn days_with_lines(&self, state: &State, start_ns: i64, end_ns: i64) -> BTreeSet<i64> {
        let Some((first, last)) = days_of(start_ns, end_ns) else { return BTreeSet::new() };
        let stored = state.shelf.days.range(first..=last).map(|(day, _)| *day);
        let fresh = state.head.days.range(first..=last).map(|(day, _)| *day);
        let frozen = state.frozen.iter().flat_map(|f| f.days.range(first..=last)).map(|(day, _)| *day);
        stored.chain(fresh).chain(frozen).collect()
    }

    /// Sets the gauges.
    pub(super) fn show(&self) {
        let state = self.read();
        #[expect(clippy::cast_precision_loss, reason = "metrics are 64-bit floats; exact up to 2^53")]
        let set = |gauge: &crate::instrument::Gauge, value: u64| gauge.set(value as f64);
        let head_bytes = state.head.bytes + state.frozen.as_ref().map_or(0, |f| f.bytes);
        set(&self.instruments.head_bytes, head_bytes as u64);
        set(&self.instruments.streams, state.head.stream_count() as u64);
        set(&self.instruments.wal_bytes, self.wal.bytes());
        set(&self.instruments.stored_bytes, state.shelf.bytes());
        set(&self.instruments.days, state.shelf.days.len() as u64);
    }
}
