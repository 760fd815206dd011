//! The days on disk and their parts.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{error, warn};

use super::files;
use super::instruments::Instruments;
use super::part::Part;
use crate::model::{Labels, Timestamp};
use crate::storage::disk::{self, Disk, TEMPORARY_SUFFIX};

/// The parts of each day, oldest first.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    pub(super) days: BTreeMap<i64, Vec<Arc<Part>>>,
    next_number: u64,
}

/// What opening the shelf met.
#[derive(Debug, Default)]
pub(super) struct Opened {
    pub(super) shelf: Shelf,
    /// Label sets by hash, to name streams whose definition the WAL has lost.
    pub(super) labels: HashMap<u64, Labels>,
}

/// Opens all parts. One that does not check out is put into quarantine; what is no part of ours is left alone.
///
/// # Errors
/// When the folder cannot be made or listed.
pub(super) fn open(disk: &dyn Disk, folder: &Path, now: Timestamp, instruments: &Instruments) -> disk::Result<Opened> {
    let days = files::days(folder);
    disk.create_folder(&days)?;
    let mut opened = Opened { shelf: Shelf { days: BTreeMap::new(), next_number: 1 }, ..Opened::default() };
    for entry in disk.list(&days)?.iter().filter(|e| e.is_folder) {
        let Some(day) = files::parse_day(&entry.name) else { continue };
        let day_folder = days.join(&entry.name);
        // Also a day of which nothing can be used is deleted in time.
        opened.shelf.days.entry(day).or_default();
        for file in disk.list(&day_folder)?.iter().filter(|e| !e.is_folder) {
            let path = day_folder.join(&file.name);
            if file.name.ends_with(TEMPORARY_SUFFIX) {
                // A part whose writing was cut off; its lines are still in the WAL.
                if let Err(error) = disk.remove_file(&path) {
                    warn!(file = %path.display(), %error, "cannot remove");
                }
                continue;
            }
            let Some(number) = files::parse_part(&file.name) else { continue };
            opened.shelf.next_number = opened.shelf.next_number.max(number + 1);
            if let Some(part) = open_part(disk, folder, &path, now, instruments) {
                remember_labels(disk, &part, &mut opened.labels);
                opened.shelf.days.entry(day).or_default().push(Arc::new(part));
            }
        }
    }
    Ok(opened)
}

fn open_part(disk: &dyn Disk, folder: &Path, path: &Path, now: Timestamp, instruments: &Instruments) -> Option<Part> {
    let error = match Part::open(disk, path) {
        Ok(Some(part)) => return Some(part),
        Ok(None) => {
            warn!(file = %path.display(), "part of a newer version; left alone");
            return None;
        }
        Err(error) => error,
    };
    put_aside(disk, folder, path, &error, now, instruments);
    None
}

/// Reports that a part does not check out, and puts it into quarantine.
pub(super) fn put_aside(
    disk: &dyn Disk,
    folder: &Path,
    path: &Path,
    error: &disk::Error,
    now: Timestamp,
    instruments: &Instruments,
) {
    instruments.damages.report("logs_part", &error.to_string());
    if let Err(failure) = disk::set_aside(disk, &files::quarantine(folder), path, &Part::damage(path, error), now) {
        error!(%failure, "cannot put a damaged part of the logs into quarantine; it stays where it is");
    }
}

fn remember_labels(disk: &dyn Disk, part: &Part, labels: &mut HashMap<u64, Labels>) {
    let Ok(streams) = disk.open(&part.path).and_then(|file| part.index(&*file)) else { return };
    for stream in streams {
        labels.entry(stream.labels.stable_hash()).or_insert(stream.labels);
    }
}

impl Shelf {
    /// Returns where the next part of a day is to stand.
    pub(super) fn next_path(&mut self, folder: &Path, day: i64) -> PathBuf {
        let number = self.next_number;
        self.next_number += 1;
        files::days(folder).join(files::day_name(day)).join(files::part_name(number))
    }

    pub(super) fn add(&mut self, day: i64, part: Part) {
        self.days.entry(day).or_default().push(Arc::new(part));
    }

    /// Returns the parts of a day that may have lines in `[start_ns, end_ns)`.
    pub(super) fn parts(&self, day: i64, start_ns: i64, end_ns: i64) -> Vec<Arc<Part>> {
        let parts = self.days.get(&day).into_iter().flatten();
        parts.filter(|part| part.first_ns < end_ns && start_ns <= part.last_ns).cloned().collect()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.days.values().flatten().map(|part| part.bytes).sum()
    }
}
