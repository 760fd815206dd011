//! The write-ahead log: each batch as one compressed record before it is in memory, and the checkpoint that
//! lets old segments go.
//!
//! When blocks have been cut, everything older than the cut is in a synced block. What is still only in the
//! log is written once more, as sealed chunks, to `checkpoint.<number>`: it stands for all segments below
//! that number, which are then removed. A start reads the newest checkpoint, then the segments from its
//! number on. Samples that are read twice are duplicates and fall away.
//!
//! Costs: 2 to 4 bytes written per sample of a large batch, 30 for a lonely one; the checkpoint adds about a
//! tenth (a quarter of an hour out of each two hours, at a byte a sample).

mod checkpoint;
mod record;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use self::checkpoint::{CheckpointWriter, read_checkpoint, remove_old};
pub(crate) use self::record::{Logged, LoggedChunk, LoggedLate, LoggedSample, NewSeries};
use self::record::{Packer, encode_batch};
pub(crate) use self::record::{decode, encode};
use super::config::WalSync;
use crate::storage::disk::{ByteWriter, Disk, Found, Malformed, Record, Result, Segments, SegmentsOptions};

/// Replay keeps one segment in memory; dropping goes by whole segments.
const SEGMENT_BYTES_MAX: u64 = 8 << 20;

/// The log. All calls are safe from several threads.
#[derive(Debug)]
pub(crate) struct Wal {
    segments: Segments,
    writer: Mutex<Writer>,
}

#[derive(Debug)]
struct Writer {
    body: ByteWriter,
    packer: Packer,
}

impl Writer {
    fn new() -> Self {
        Writer { body: ByteWriter::default(), packer: Packer::new() }
    }
}

impl Wal {
    /// Opens the log in `folder` and hands what is in segments from `first` on to `visit`; segments below
    /// are removed, a checkpoint stands for them.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        sync: WalSync,
        first: u64,
        visit: &mut dyn FnMut(u64, Logged),
    ) -> Result<(Wal, Found)> {
        remove_below(&*disk, folder, first)?;
        let options = SegmentsOptions { segment_bytes_max: SEGMENT_BYTES_MAX, is_synced: sync != WalSync::Never };
        let (segments, found) = Segments::open(disk, folder, options, &mut read(visit))?;
        Ok((Wal { segments, writer: Mutex::new(Writer::new()) }, found))
    }

    /// Raises the number of the next segment and the sequence of the next record.
    pub(crate) fn skip_to(&self, number: u64, sequence: u64) {
        self.segments.skip_to(number, sequence);
    }

    /// Logs a batch; returns its sequence and the bytes written.
    pub(crate) fn append_batch(&self, new: &[NewSeries], samples: &[LoggedSample]) -> Result<(u64, usize)> {
        self.append(|body| encode_batch(new, samples, body))
    }

    /// Logs something else.
    pub(crate) fn append_logged(&self, logged: &Logged) -> Result<(u64, usize)> {
        self.append(|body| encode(logged, body))
    }

    fn append(&self, write: impl FnOnce(&mut ByteWriter) -> u8) -> Result<(u64, usize)> {
        let mut guard = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Writer { body, packer } = &mut *guard;
        body.clear();
        let kind = write(body);
        let payload = packer.pack(body.as_slice());
        self.segments.append(kind, payload).map(|sequence| (sequence, payload.len()))
    }

    /// Makes all that was logged last.
    pub(crate) fn sync(&self) -> Result<()> {
        self.segments.sync().map(|_| ())
    }

    /// Makes what was logged up to this sequence last; does nothing if a sync since then has done so.
    pub(crate) fn sync_to(&self, sequence: u64) -> Result<()> {
        self.segments.sync_to(sequence).map(|_| ())
    }

    pub(crate) fn rotate(&self) -> u64 {
        self.segments.rotate()
    }

    pub(crate) fn remove_before(&self, number: u64) -> Result<usize> {
        self.segments.remove_before(number)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.segments.bytes()
    }

    pub(crate) fn unsynced_records(&self) -> u64 {
        self.segments.unsynced_records()
    }
}

/// Decodes records for a visitor of segments.
fn read(visit: &mut dyn FnMut(u64, Logged)) -> impl FnMut(Record<'_>) -> std::result::Result<(), Malformed> {
    |record| {
        visit(record.sequence, decode(record.kind, record.payload)?);
        Ok(())
    }
}

/// Removes segments that a checkpoint stands for; a crash may have left them.
fn remove_below(disk: &dyn Disk, folder: &Path, number: u64) -> Result<()> {
    disk.create_folder(folder)?;
    for entry in disk.list(folder)? {
        if entry.name.len() >= 8 && entry.name.parse::<u64>().is_ok_and(|n| n < number) {
            disk.remove_file(&folder.join(&entry.name))?;
        }
    }
    Ok(())
}
