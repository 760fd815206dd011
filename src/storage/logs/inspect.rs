//! Looking into a store's folder without opening it, also while a box works in it.

use std::path::Path;
use std::sync::Arc;

use super::files;
use super::part::Part;
use super::wal;
use crate::storage::disk::{Disk, LogFiles, Result, Segments, SegmentsOptions};

/// A part as it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartAbout {
    /// Its day, as `2026-08-21`.
    pub day: String,
    /// Its file's name.
    pub name: String,
    /// Bytes of it.
    pub bytes: u64,
    /// Streams in it.
    pub streams: u64,
    /// Lines in it.
    pub lines: u64,
}

/// What a store's folder holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// By day and number.
    pub parts: Vec<PartAbout>,
    /// The WAL.
    pub wal: LogFiles,
    /// What does not check out.
    pub damages: Vec<String>,
}

/// Looks into a store's folder; with `is_verified` at every block and record of it.
///
/// # Errors
/// When the folder cannot be listed.
pub fn inspect(disk: &Arc<dyn Disk>, folder: &Path, is_verified: bool) -> Result<Inspection> {
    let wal = files::wal(folder);
    let mut found = Inspection {
        wal: if is_verified { verify_wal(disk, &wal)? } else { LogFiles::list(&**disk, &wal)? },
        ..Inspection::default()
    };
    found.damages.append(&mut found.wal.damages);
    let days = files::days(folder);
    if !disk.exists(&days) {
        return Ok(found);
    }
    for day in disk.list(&days)?.into_iter().filter(|e| e.is_folder && files::parse_day(&e.name).is_some()) {
        for file in disk.list(&days.join(&day.name))? {
            if files::parse_part(&file.name).is_none() {
                continue;
            }
            let path = days.join(&day.name).join(&file.name);
            match about(&**disk, &path, &day.name, is_verified, &mut found.damages) {
                Ok(Some(part)) => found.parts.push(part),
                Ok(None) => found.damages.push(format!("{}: part of a newer version", path.display())),
                // Deleted meanwhile by the box that works here.
                Err(error) if error.is_not_found() => {}
                Err(error) => found.damages.push(error.to_string()),
            }
        }
    }
    Ok(found)
}

fn about(
    disk: &dyn Disk,
    path: &Path,
    day: &str,
    is_verified: bool,
    damages: &mut Vec<String>,
) -> Result<Option<PartAbout>> {
    let Some(part) = Part::open(disk, path)? else { return Ok(None) };
    let file = disk.open(path)?;
    let streams = part.index(&*file)?;
    for place in streams.iter().flat_map(|stream| &stream.blocks).filter(|_| is_verified) {
        if let Err(error) = part.block(&*file, place) {
            damages.push(error.to_string());
        }
        if !part.has_good_filter(&*file, place) {
            damages.push(format!(
                "{}: the filter of a block at byte {} does not check out",
                path.display(),
                place.offset
            ));
        }
    }
    Ok(Some(PartAbout {
        day: day.to_owned(),
        name: path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
        bytes: part.bytes,
        streams: streams.len() as u64,
        lines: streams.iter().flat_map(|stream| &stream.blocks).map(|block| block.lines).sum(),
    }))
}

fn verify_wal(disk: &Arc<dyn Disk>, folder: &Path) -> Result<LogFiles> {
    let options = SegmentsOptions { segment_bytes_max: u64::MAX, is_synced: true, has_parity: true };
    LogFiles::verify_with(disk, folder, |disk| {
        let mut visit = |record: crate::storage::disk::Record<'_>| wal::decode(&record, &mut |_| ());
        Segments::open(disk, folder, options, &mut visit).map(|(_, found)| found)
    })
}
