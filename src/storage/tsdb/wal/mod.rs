//! The write-ahead log: each batch as one compressed record before it is in memory, and the checkpoint that
//! lets old segments go.
//!
//! When blocks have been cut, most of what was logged before the cut began is in a synced block. What is not is
//! written once more, as sealed chunks, to `checkpoint.<number>`: it stands for all segments below that number,
//! which are then removed. A start reads the newest checkpoint, then the segments from its
//! number on. Samples that are read twice are duplicates and fall away.
//!
//! Within a segment values are differences to what the log has of their series already (`values.rs`), as far
//! as parity covers that: so a lost record costs no other.
//!
//! Costs: 0.96 bytes a sample of 50 000 series, parity included, 50 for a lonely sample; 25 ns to write a
//! sample, 12 to read one; 24 bytes of memory a series. The checkpoint adds about a tenth (a quarter of an hour out of each two hours, at a
//! byte a sample).

mod batch;
mod bits;
mod checkpoint;
mod gather;
mod newest;
mod record;
mod values;
#[cfg(test)]
mod wal_test;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use self::batch::{BatchWriter, Place};
pub(crate) use self::checkpoint::{CheckpointWriter, read_checkpoint, remove_old};
use self::gather::Gather;
pub(crate) use self::gather::{Gathered, Step};
use self::newest::{Marker, Newest, missing};
use self::record::{KIND_BATCH, Packer, encode};
pub(crate) use self::record::{LogReader, Logged, LoggedChunk, LoggedLate, LoggedSample, NewSeries, runs};
use self::values::Group;
use tracing::warn;

use super::config::WalSync;
use crate::storage::disk::{ByteWriter, Corruption, Disk, Error, Found, Result, Segments, SegmentsOptions};

/// Replay keeps one segment in memory; dropping goes by whole segments. Mostly a chain ends one before.
const SEGMENT_BYTES_MAX: u64 = CHAIN_BYTES_MAX + (4 << 20);

/// A chain of batches that has so many bytes ends with its segment: bounds what damage may cost.
const CHAIN_BYTES_MAX: u64 = 8 << 20;

/// The log. All calls are safe from several threads.
#[derive(Debug)]
pub(crate) struct Wal {
    segments: Segments,
    marker: Marker,
    writer: Mutex<Writer>,
}

#[derive(Debug)]
struct Writer {
    body: ByteWriter,
    packer: Packer,
    batches: BatchWriter,
    chain: Option<Chain>,
    /// The time of the first sample of the chain.
    since: Option<i64>,
}

/// Batches that build on each other.
#[derive(Debug, Clone, Copy)]
struct Chain {
    /// Sequence of the first.
    first: u64,
    /// Group of the first.
    group: u64,
    bytes: u64,
}

impl Writer {
    fn new() -> Self {
        Writer {
            body: ByteWriter::default(),
            packer: Packer::new(),
            batches: BatchWriter::default(),
            chain: None,
            since: None,
        }
    }
}

impl Wal {
    /// Opens the log in `folder` and hands what is in segments from `first` on to `visit`; segments below
    /// are removed, a checkpoint stands for them. The file `newest` says which segment there must be.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        newest: &Path,
        sync: WalSync,
        first: u64,
        visit: &mut dyn FnMut(Step),
    ) -> Result<(Wal, Found)> {
        remove_below(&*disk, folder, first)?;
        let options = SegmentsOptions {
            segment_bytes_max: SEGMENT_BYTES_MAX,
            is_synced: sync != WalSync::Never,
            has_parity: true,
        };
        let (segments, mut found) = read(&disk, folder, options, visit)?;
        let (marker, newest) = Marker::open(disk, newest.to_owned(), &mut found.damages);
        let reasons = newest.map(|newest| missing(newest, segments.numbers(), first)).unwrap_or_default();
        let told = |reason| Corruption { file: folder.to_owned(), offset: 0, bytes: 0, reason };
        found.damages.extend(reasons.into_iter().map(told));
        if let Some(newest) = newest {
            // The number is not given again: the next segment is not the one that is missed.
            segments.skip_to(newest.number + 1, 0);
        }
        Ok((Wal { segments, marker, writer: Mutex::new(Writer::new()) }, found))
    }

    /// Raises the number of the next segment and the sequence of the next record.
    pub(crate) fn skip_to(&self, number: u64, sequence: u64) {
        self.segments.skip_to(number, sequence);
    }

    /// Logs a batch; returns its sequence.
    pub(crate) fn append_batch(&self, new: &[NewSeries], samples: &[LoggedSample]) -> Result<u64> {
        let mut guard = self.lock();
        let Writer { body, batches, chain, since: chain_since, .. } = &mut *guard;
        if chain.is_some_and(|c| c.bytes >= CHAIN_BYTES_MAX) {
            let _ = self.segments.rotate();
            *chain = None;
        }
        let (sequence, groups) = (self.segments.next_sequence(), self.segments.groups());
        let Chain { first, group: begun, bytes } = chain.take().unwrap_or_else(|| {
            batches.clear();
            *chain_since = samples.first().map(|sample| sample.time);
            Chain { first: sequence, group: groups.current, bytes: 0 }
        });
        let since = |g: u64| u16::try_from(g.saturating_sub(begun)).unwrap_or(u16::MAX);
        let group = Group { current: since(groups.current), covered: since(groups.covered) };
        body.clear();
        batches.write(Place { number: sequence - first, group }, new, samples, body);
        // On failure there is no chain any more: what was remembered is not in the log.
        let logged = self.segments.append(KIND_BATCH, body.as_slice())?;
        *chain = Some(Chain { first, group: begun, bytes: bytes + body.len() as u64 });
        Ok(logged)
    }

    /// Logs something else; returns its sequence.
    pub(crate) fn append_logged(&self, logged: &Logged) -> Result<u64> {
        let mut guard = self.lock();
        let Writer { body, packer, .. } = &mut *guard;
        body.clear();
        let kind = encode(logged, body);
        let payload = packer.pack(body.as_slice());
        self.segments.append(kind, payload)
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes all that was logged last.
    pub(crate) fn sync(&self) -> Result<()> {
        self.segments.sync()?;
        self.mark();
        Ok(())
    }

    /// Makes what was logged up to this sequence last; does nothing if a sync since then has done so.
    pub(crate) fn sync_to(&self, sequence: u64) -> Result<()> {
        self.segments.sync_to(sequence)?;
        self.mark();
        Ok(())
    }

    /// Notes the newest segment once it has been made last. Without the note a loss of it would not be
    /// noticed, which is not worth refusing anything for.
    fn mark(&self) {
        let number = self.segments.newest_synced();
        if !self.marker.is_behind(number) {
            return;
        }
        let oldest = self.segments.numbers().map_or(number, |(oldest, _)| oldest);
        let since = self.lock().since;
        if let Err(error) = self.marker.write(Newest { number, oldest, since }) {
            warn!(%error, "cannot note the newest segment of the WAL; tried again with the next sync");
        }
    }

    /// Returns the sequence of the last record.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.segments.next_sequence() - 1
    }

    /// Ends the segment; returns the number of the next. What is logged from now on does not build on what
    /// was before.
    pub(crate) fn rotate(&self) -> u64 {
        let mut writer = self.lock();
        writer.chain = None;
        self.segments.rotate()
    }

    /// Ends the segment, so that parity covers all of it, and makes all that was logged last.
    pub(crate) fn close(&self) -> Result<()> {
        let _ = self.rotate();
        self.sync()
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

/// Steps that lie ready; one more waits to be handed over.
const READ_AHEAD: usize = 0;

/// Hands what the records of a folder hold to `visit`; a second thread reads, decodes and gathers meanwhile.
fn read(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    options: SegmentsOptions,
    visit: &mut dyn FnMut(Step),
) -> Result<(Segments, Found)> {
    std::thread::scope(|scope| {
        let (ready, steps) = mpsc::sync_channel(READ_AHEAD);
        let body = move || {
            let (mut reader, mut gather) = (LogReader::default(), Gather::default());
            // The other side goes on to the end, unless it panics; then nobody wants more.
            let mut hand_on = |step| drop(ready.send(step));
            let opened = Segments::open(disk.clone(), folder, options, &mut |record| {
                let logged = reader.read(record.sequence, record.kind, record.payload)?;
                gather.take(record.sequence, logged, &mut hand_on);
                Ok(())
            });
            gather.finish(&mut hand_on);
            (opened, reader.left_out)
        };
        let spawned = std::thread::Builder::new().name("tsdb-replay".to_owned()).spawn_scoped(scope, body);
        let reading = spawned.map_err(Error::io("start a thread for", folder))?;
        steps.into_iter().for_each(visit);
        let (opened, left_out) = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (segments, mut found) = opened?;
        if left_out > 0 {
            let reason = format!("{left_out} samples build on a record that was lost");
            found.damages.push(Corruption { file: folder.to_owned(), offset: 0, bytes: 0, reason });
        }
        Ok((segments, found))
    })
}

/// Removes segments that a checkpoint stands for; a crash may have left them.
fn remove_below(disk: &dyn Disk, folder: &Path, number: u64) -> Result<()> {
    disk.create_folder(folder)?;
    for entry in disk.list(folder)? {
        if !entry.is_folder && entry.name.len() >= 8 && entry.name.parse::<u64>().is_ok_and(|n| n < number) {
            disk.remove_file(&folder.join(&entry.name))?;
        }
    }
    Ok(())
}

/// Gathers records as a start does.
#[cfg(test)]
pub(crate) fn gathered(records: impl IntoIterator<Item = Logged>) -> Vec<Step> {
    let (mut gather, mut steps) = (Gather::default(), Vec::new());
    for (sequence, logged) in (1..).zip(records) {
        gather.take(sequence, logged, &mut |step| steps.push(step));
    }
    gather.finish(&mut |step| steps.push(step));
    steps
}
