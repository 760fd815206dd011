//! Notices that a store's WAL keeps the box from starting, and puts it aside.
//!
//! While a store is opened a file says when that began; it goes when the store is open. Where it is found, a
//! start was cut off: by a kill, a power cut, or because the WAL asks for more memory than there is. Three of
//! those within five minutes are taken to be the WAL's doing. It goes to `quarantine/`, nothing of it is
//! deleted, and the box is up without it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, warn};

use super::disk::{Corruption, Disk, replace, set_aside};
use super::files;
use crate::clock::Clock;
use crate::model::Timestamp;

/// So many starts in a row that were cut off.
const FAILED_MAX: usize = 3;

/// Within so long.
const FAILED_WITHIN: Duration = Duration::from_secs(300);

/// What of the file is read: some dozen times.
const FILE_BYTES_MAX: usize = 512;

/// The starts of one store.
#[derive(Debug)]
pub(super) struct Starts {
    disk: Arc<dyn Disk>,
    /// The data folder.
    folder: PathBuf,
    store: &'static str,
}

impl Starts {
    pub(super) fn new(disk: Arc<dyn Disk>, folder: &Path, store: &'static str) -> Self {
        Starts { disk, folder: folder.to_owned(), store }
    }

    /// Opens the store; before that, puts its WAL aside if it has kept it from starting. `is_wal` tells by
    /// their names in the store's folder what belongs to the WAL. Also returns whether it was put aside.
    pub(super) fn guard<T>(&self, clock: &Clock, is_wal: fn(&str) -> bool, open: impl FnOnce() -> T) -> (T, bool) {
        let now = clock.now();
        let mut failed = self.failed(now);
        let is_safe_mode = failed.len() >= FAILED_MAX;
        if is_safe_mode {
            self.put_aside(is_wal, now);
            failed.clear();
        }
        failed.push(now);
        let lines: String = failed.iter().map(|at| format!("{}\n", at.as_millis())).collect();
        if let Err(error) = replace(&*self.disk, &self.path(), lines.as_bytes()) {
            // A full disk must not keep the box from starting.
            warn!(%error, "cannot note that a start begins");
        }
        let opened = open();
        // An error was told, and had its reason; only what ends without a word counts.
        if let Err(error) = self.disk.remove_file(&self.path()) {
            warn!(%error, "cannot note that a start has come to its end");
        }
        (opened, is_safe_mode)
    }

    /// Returns when starts began that did not come to an end, of late.
    fn failed(&self, now: Timestamp) -> Vec<Timestamp> {
        let Ok(file) = self.disk.open(&self.path()) else { return Vec::new() };
        let mut bytes = vec![0; FILE_BYTES_MAX];
        let length = file.read_at(0, &mut bytes).unwrap_or(0);
        let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned();
        let times = text.lines().filter_map(|line| line.parse().ok()).map(Timestamp::from_millis);
        let within_ms = u64::try_from(FAILED_WITHIN.as_millis()).unwrap_or(u64::MAX);
        times.filter(|at| at.as_millis().abs_diff(now.as_millis()) <= within_ms).collect()
    }

    fn put_aside(&self, is_wal: fn(&str) -> bool, now: Timestamp) {
        let store = self.folder.join(self.store);
        let quarantine = self.folder.join(files::QUARANTINE);
        error!(
            store = self.store,
            "three starts within five minutes were cut off: safe mode, its WAL is put into quarantine and what \
             only that had is missing"
        );
        for entry in self.disk.list(&store).unwrap_or_default().into_iter().filter(|e| is_wal(&e.name)) {
            let what = store.join(&entry.name);
            let reason = "three starts within five minutes were cut off while it was read".to_owned();
            let damage = Corruption { file: what.clone(), offset: 0, bytes: entry.bytes, reason };
            if let Err(error) = set_aside(&*self.disk, &quarantine, &what, &damage, now) {
                error!(%error, what = %what.display(), "cannot put the WAL into quarantine");
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(format!("{}.starting", self.store))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::FaultyDisk;

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    /// Begins a start and is cut off; returns whether it was in safe mode.
    fn cut_off(disk: &FaultyDisk, clock: &Clock) -> bool {
        let starts = Starts::new(disk.shared(), Path::new("/data"), "tsdb");
        let marked = disk.clone();
        let (bytes, is_safe_mode) = starts.guard(
            clock,
            |name| name == "wal",
            || {
                let file = marked.open(&starts.path()).unwrap();
                file.read_exact_at(0, usize::try_from(file.size().unwrap()).unwrap()).unwrap()
            },
        );
        // As if it had ended before: the file is there.
        replace(disk, &starts.path(), &bytes).unwrap();
        is_safe_mode
    }

    fn disk() -> FaultyDisk {
        let disk = FaultyDisk::new(1);
        disk.create_folder(Path::new("/data/tsdb/wal")).unwrap();
        disk.create_folder(Path::new("/data/tsdb/blocks")).unwrap();
        disk
    }

    fn names(disk: &FaultyDisk, folder: &str) -> Vec<String> {
        disk.list(Path::new(folder)).unwrap_or_default().into_iter().map(|e| e.name).collect()
    }

    #[test]
    fn after_three_starts_that_were_cut_off_the_wal_is_put_aside() {
        let (disk, clock) = (disk(), Clock::hand_set(NOW));
        assert_eq!([cut_off(&disk, &clock), cut_off(&disk, &clock), cut_off(&disk, &clock)], [false; 3]);
        assert_eq!(names(&disk, "/data/tsdb"), ["blocks", "wal"]);
        assert!(cut_off(&disk, &clock));
        assert_eq!(names(&disk, "/data/tsdb"), ["blocks"]);
        assert_eq!(names(&disk, "/data/quarantine").len(), 1);
        assert!(!cut_off(&disk, &clock), "it begins to count again");
    }

    #[test]
    fn starts_that_come_to_an_end_or_are_long_ago_do_not_count() {
        let (disk, clock) = (disk(), Clock::hand_set(NOW));
        let starts = Starts::new(disk.shared(), Path::new("/data"), "tsdb");
        for _ in 0..2 {
            cut_off(&disk, &clock);
            cut_off(&disk, &clock);
            assert!(!starts.guard(&clock, |_| true, || ()).1);
            assert!(!disk.exists(&starts.path()));
        }
        for _ in 0..9 {
            assert!(!cut_off(&disk, &clock));
            clock.advance(Duration::from_secs(101));
        }
    }
}
