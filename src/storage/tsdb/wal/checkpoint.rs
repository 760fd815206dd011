//! The live part of old segments, rewritten: one folder of segments, made visible by one rename. Parity makes a
//! flipped byte or a small hole good: one damaged record here would cost hours.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{KIND_GAP, Logged, LoggedChunk, NewSeries};
use super::{SEGMENT_BYTES_MAX, Step, Writer, encode, read};
use crate::storage::disk::{Corruption, Disk, Error, Found, Result, Segments, SegmentsOptions, TEMPORARY_SUFFIX};
use crate::storage::tsdb::files;

/// A record is written when it holds so many bytes.
const RECORD_BYTES: usize = 256 << 10;

/// What lies between the last records and their parity: longer than a hole that parity makes good.
const GAP: [u8; 4608] = [0; 4608];

/// Writes a checkpoint.
#[derive(Debug)]
pub(crate) struct CheckpointWriter {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    temporary: PathBuf,
    segments: Segments,
    writer: Writer,
    new: Vec<NewSeries>,
    chunks: Vec<LoggedChunk>,
    waiting_bytes: usize,
}

impl CheckpointWriter {
    /// Begins the checkpoint that is to stand for all segments below `number`.
    pub(crate) fn begin(disk: Arc<dyn Disk>, folder: &Path, number: u64) -> Result<Self> {
        let final_folder = files::checkpoint(folder, number);
        let mut temporary = final_folder.clone().into_os_string();
        temporary.push(TEMPORARY_SUFFIX);
        let temporary = PathBuf::from(temporary);
        remove_folder(&*disk, &temporary)?;
        let options = SegmentsOptions { segment_bytes_max: SEGMENT_BYTES_MAX, is_synced: false, has_parity: true };
        let (segments, _) = Segments::open(disk.clone(), &temporary, options, &mut |_| Ok(()))?;
        Ok(CheckpointWriter {
            disk,
            folder: final_folder,
            temporary,
            segments,
            writer: Writer::new(),
            new: Vec::new(),
            chunks: Vec::new(),
            waiting_bytes: 0,
        })
    }

    /// Adds a series and what of it is only in memory.
    pub(crate) fn add(&mut self, series: NewSeries, chunks: impl Iterator<Item = LoggedChunk>) -> Result<()> {
        self.waiting_bytes += series.1.memory_bytes();
        self.new.push(series);
        for chunk in chunks {
            self.waiting_bytes += chunk.times.len() + chunk.values.len();
            self.chunks.push(chunk);
        }
        if self.waiting_bytes >= RECORD_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes the series added so far: what else is added stands behind them.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.waiting_bytes = 0;
        let (new, chunks) = (std::mem::take(&mut self.new), std::mem::take(&mut self.chunks));
        self.add_logged(&Logged::Chunks { new, chunks })
    }

    /// Adds another record.
    pub(crate) fn add_logged(&mut self, logged: &Logged) -> Result<()> {
        self.writer.body.clear();
        let kind = encode(logged, &mut self.writer.body);
        let payload = self.writer.packer.pack(self.writer.body.as_slice());
        self.segments.append(kind, payload).map(|_| ())
    }

    /// Makes the checkpoint last and visible; returns its bytes.
    pub(crate) fn finish(mut self) -> Result<u64> {
        self.flush()?;
        self.segments.append(KIND_GAP, &GAP)?;
        // Ends the segment, so that parity covers all of it: here lies what is in no block.
        let _ = self.segments.rotate();
        let bytes = self.segments.bytes();
        self.segments.sync()?;
        remove_folder(&*self.disk, &self.folder)?;
        self.disk.rename(&self.temporary, &self.folder)?;
        self.disk.sync_folder(self.folder.parent().unwrap_or(Path::new(".")))?;
        Ok(bytes)
    }
}

fn remove_folder(disk: &dyn Disk, folder: &Path) -> Result<()> {
    match disk.remove_folder(folder) {
        Err(e) if !e.is_not_found() => Err(e),
        _ => Ok(()),
    }
}

/// Hands what the newest checkpoint holds to `visit`; returns the number of the first segment it does not
/// stand for, 0 without a checkpoint.
pub(crate) fn read_checkpoint(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    visit: &mut dyn FnMut(Step),
) -> std::result::Result<(u64, Found), Error> {
    let newest = disk.list(folder)?.iter().filter_map(|e| files::checkpoint_number(&e.name)).max();
    let Some(number) = newest else { return Ok((0, Found::default())) };
    let options = SegmentsOptions { segment_bytes_max: SEGMENT_BYTES_MAX, is_synced: false, has_parity: true };
    let path = files::checkpoint(folder, number);
    let (_, mut found) = read(disk, &path, options, visit)?;
    if found.segments == 0 {
        // One that was finished has records.
        found.damages.push(Corruption { file: path, offset: 0, bytes: 0, reason: "checkpoint is empty".to_owned() });
    }
    Ok((number, found))
}

/// Removes checkpoints but the one with this number, and what a crash left of others.
pub(crate) fn remove_old(disk: &dyn Disk, folder: &Path, kept: u64) -> Result<()> {
    for entry in disk.list(folder)? {
        let is_old = files::checkpoint_number(&entry.name).is_some_and(|n| n != kept);
        if is_old || (files::is_temporary(&entry.name) && entry.is_folder) {
            remove_folder(disk, &folder.join(&entry.name))?;
        }
    }
    Ok(())
}
