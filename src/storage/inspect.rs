//! Looking into a data folder without opening it: nothing is changed, and a box may work there meanwhile.

use std::path::Path;
use std::sync::Arc;

use super::disk::{self, Disk};
use super::{files, tsdb};

/// Longest note that is read.
const WHY_BYTES_MAX: u64 = 4096;

/// Something that did not check out and was put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Its folder's name: when, and what.
    pub name: String,
    /// Bytes of it.
    pub bytes: u64,
    /// Why, the first line of its note; empty if there is none.
    pub why: String,
}

/// Returns what lies in the quarantine of a data folder, oldest first.
#[must_use]
pub fn quarantine(disk: &dyn Disk, folder: &Path) -> Vec<Quarantined> {
    let folder = folder.join(files::QUARANTINE);
    let entries = disk.list(&folder).unwrap_or_default().into_iter().filter(|entry| entry.is_folder);
    let about = |name: String| {
        let place = folder.join(&name);
        Quarantined { bytes: disk::folder_bytes(disk, &place), why: why(disk, &place), name }
    };
    entries.map(|entry| about(entry.name)).collect()
}

fn why(disk: &dyn Disk, place: &Path) -> String {
    let note = disk.open(&place.join("why.txt")).and_then(|file| {
        let length = file.size()?.min(WHY_BYTES_MAX);
        file.read_exact_at(0, usize::try_from(length).unwrap_or(0))
    });
    String::from_utf8_lossy(&note.unwrap_or_default()).lines().next().unwrap_or("").to_owned()
}

/// Returns what is wrong with the blocks of a data folder that this version cannot open.
///
/// # Errors
/// When the folder cannot be listed.
pub(super) fn blocks_unreadable(disk: &Arc<dyn Disk>, folder: &Path) -> disk::Result<Vec<String>> {
    tsdb::blocks(disk, &folder.join(files::METRICS)).map(|(_, damages)| damages)
}
