//! Looking into a data folder without opening it: nothing is changed, and a box may work there meanwhile.

use std::path::Path;
use std::sync::Arc;

use super::disk::{self, Disk, LogFiles};
use super::{files, logs, state, tsdb};

/// Longest note that is read.
const WHY_BYTES_MAX: u64 = 4096;

/// What a data folder holds.
#[derive(Debug)]
pub struct Inspection {
    /// The metric store.
    pub metrics: tsdb::Inspection,
    /// The log store.
    pub logs: logs::Inspection,
    /// The alarm journal.
    pub alarms: LogFiles,
    /// The outbox.
    pub outbox: LogFiles,
    /// Bytes of the state.
    pub state_bytes: u64,
    /// What was put aside, oldest first.
    pub quarantine: Vec<Quarantined>,
    /// What does not check out, all of it in words.
    pub damages: Vec<String>,
}

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

/// Looks into a data folder.
///
/// # Errors
/// When it cannot be read for another reason than damage.
pub fn inspect(disk: &Arc<dyn Disk>, folder: &Path, depth: tsdb::Depth) -> disk::Result<Inspection> {
    let metrics = tsdb::inspect(disk, &folder.join(files::METRICS), depth)?;
    let logs = logs::inspect(disk, &folder.join(files::LOGS), depth.is_verified)?;
    let journal = |name: &str| {
        let folder = folder.join(name);
        if depth.is_verified { LogFiles::verify(disk, &folder) } else { LogFiles::list(&**disk, &folder) }
    };
    let (alarms, outbox) = (journal("alarms/journal")?, journal(files::NOTICES)?);
    let database = folder.join(files::STATE);
    let found = [&metrics.damages, &logs.damages, &alarms.damages, &outbox.damages];
    let mut damages: Vec<String> = found.into_iter().flatten().cloned().collect();
    if depth.is_verified
        && disk.exists(&database)
        && let Err(error) = state::verify(&database)
    {
        damages.push(format!("{}: {error}", database.display()));
    }
    let size = |name: &str| disk.open(&folder.join(name)).and_then(|file| file.size()).unwrap_or(0);
    Ok(Inspection {
        metrics,
        logs,
        alarms,
        outbox,
        state_bytes: size(files::STATE) + size(files::STATE_WAL),
        quarantine: quarantine(&**disk, folder),
        damages,
    })
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
