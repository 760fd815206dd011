//! A log of records in numbered files: append, sync, read back after a crash, drop from the front.
//!
//! What is appended survives the end of the process at once, and a power cut after [`Segments::sync`]. A
//! write that fails is cut off again and nothing of it is kept. A sync that fails makes the file suspect for
//! good: a new segment is begun with all records since the last good sync, which are kept in memory until
//! then, and nothing is taken before that worked.
//!
//! # Format
//!
//! A segment is a file named by its number (eight digits or more, rising, not reused while later ones are
//! there). Version 2, little-endian: a head, then records (`record.rs`), with the parity of stretches of the file
//! among them if the log has it (`parity.rs`).
//!
//! | field    | bytes | meaning                                          |
//! |----------|-------|--------------------------------------------------|
//! | magic    | 8     | `ANDONSEG`                                       |
//! | version  | 4     | 2                                                |
//! | first    | 8     | sequence of the first record                     |
//! | checksum | 4     | CRC-32C of magic, version and first              |
//!
//! Sequences rise by one through all segments; after a failed sync a later segment begins again with
//! sequences that stand in earlier ones, and its copies count; the earlier stand in where they are torn.
//!
//! Damage: what parity makes good is written back, reported, and costs nothing. Bytes behind the last good record of the
//! newest segment are a torn write: they are cut off and counted. Damage anywhere else costs the records it lies in; it is
//! reported, the rest is read on. A damaged head costs nothing but the report. A sequence that is skipped without other
//! damage is reported. What the disk does not give is reported and stays as it is; where it is the end of the log, new
//! records begin beyond any sequence that may stand there, so that a later start has both. A segment of another version
//! is reported and passed over.
//! Growth: a new version number; from the first release on readers keep the old ones.

use std::cell::LazyCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::parity::{KIND_PARITY, Parity};
use super::record::{self, RECORD_HEAD_BYTES, Record, SEQUENCE_MAX};
use super::segments_reader::{self, Reader};
use super::{ByteReader, ByteWriter, Corruption, Disk, DiskFile, Malformed, Result, crc32c};

const MAGIC: &[u8; 8] = b"ANDONSEG";
const VERSION: u32 = 2;
pub(super) const HEAD_BYTES: usize = MAGIC.len() + 4 + 8 + 4;

/// With so many bytes waiting for a sync, the next append syncs itself: bounds memory and loss.
const UNSYNCED_BYTES_MAX: usize = 8 << 20;

/// How a log of segments behaves.
#[derive(Debug, Clone, Copy)]
pub struct SegmentsOptions {
    /// A segment that would grow beyond this is closed and the next begun.
    pub segment_bytes_max: u64,
    /// Whether records are kept in memory until a sync, so that a failed one loses nothing. Without it a
    /// failed sync loses what was not synced; only for logs that are never synced.
    pub is_synced: bool,
    /// Whether parity is written, a sixteenth more: then a flipped byte or a hole of 4 KiB costs nothing, but
    /// for the newest 80 kB of a segment that was not ended.
    pub has_parity: bool,
}

/// What opening a log met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Records handed to the visitor and taken by it.
    pub records: u64,
    /// Segments read.
    pub segments: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes of torn writes that were cut off the newest segment.
    pub truncated_bytes: u64,
    /// Places that did not check out and were made good by parity; also among `damages`.
    pub mended: u64,
    /// Places that did not check out.
    pub damages: Vec<Corruption>,
}

/// Groups of records, see [`Segments::groups`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Groups {
    /// The group that the next record belongs to.
    pub current: u64,
    /// All groups below are covered by parity that stands in the log.
    pub covered: u64,
}

/// A closed segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Its number.
    pub number: u64,
    /// Its length.
    pub bytes: u64,
    /// Sequences of its records.
    pub records: Range<u64>,
    /// Whether a sync has covered all of it, or a start has read it, and nothing was wrong then.
    pub is_sound: bool,
}

/// A log of records in numbered segments; shared by reference, all calls are safe from several threads.
#[derive(Debug)]
pub struct Segments {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    options: SegmentsOptions,
    state: Mutex<State>,
    /// Held during a sync: they do not overlap.
    syncing: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Closed segments, oldest first.
    closed: VecDeque<Closed>,
    /// Numbers of those that wait for a sync to be sound.
    closing: Vec<u64>,
    open: Option<Open>,
    next_number: u64,
    next_sequence: u64,
    /// The last sequence that a sync covered.
    synced_sequence: u64,
    /// The newest segment, also of a process before, and the newest that a sync has made last; 0 if there is none.
    newest_begun: u64,
    newest_synced: u64,
    /// Files with bytes that no sync has covered, but for the open one.
    unsynced_files: Vec<Arc<dyn DiskFile>>,
    /// Whether a file was made or removed since the folder was synced.
    is_folder_unsynced: bool,
    /// Records since the last good sync, as written.
    unsynced: Vec<u8>,
    /// After a failed sync: `unsynced` must be written to a new segment before anything else.
    must_rewrite: bool,
    groups: Groups,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    number: u64,
    /// Sequence of its first record.
    first: u64,
    file: Arc<dyn DiskFile>,
    bytes: u64,
    is_unsynced: bool,
    parity: Option<Parity>,
}

impl Segments {
    /// Reads all records that are there, oldest first, and makes the log ready for more. The folder is made
    /// if it is missing. What `visit` refuses counts as damage. Cost: one segment in memory at a time.
    ///
    /// # Errors
    /// When the folder cannot be made or listed. Damage is not an error.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        options: SegmentsOptions,
        visit: &mut dyn FnMut(Record<'_>) -> std::result::Result<(), Malformed>,
    ) -> Result<(Self, Found)> {
        Segments::open_noted(disk, folder, options, &mut |_, _| None, visit)
    }

    /// As [`Segments::open`], but a segment that `noted` knows, by its number and length, is not read: it gives the
    /// sequences of its records, which were sound. It is asked in the order in which records are visited.
    ///
    /// # Errors
    /// As [`Segments::open`].
    pub fn open_noted(
        disk: Arc<dyn Disk>,
        folder: &Path,
        options: SegmentsOptions,
        noted: &mut dyn FnMut(u64, u64) -> Option<Range<u64>>,
        visit: &mut dyn FnMut(Record<'_>) -> std::result::Result<(), Malformed>,
    ) -> Result<(Self, Found)> {
        disk.create_folder(folder)?;
        let mut numbers: Vec<(u64, u64)> = Vec::new();
        for entry in disk.list(folder)?.iter().filter(|e| !e.is_folder) {
            if let Some(number) = parse_name(&entry.name) {
                numbers.push((number, entry.bytes));
            }
        }
        numbers.sort_unstable();
        let mut reader = Reader::new(&*disk, options.is_synced, visit);
        let read_firsts = || numbers.iter().map(|(n, _)| read_first(&*disk, &folder.join(name(*n)))).collect();
        // Of use only where a segment is read that is not the newest.
        let firsts: LazyCell<Vec<u64>, _> = LazyCell::new(read_firsts);
        let mut closed = VecDeque::new();
        for (i, &(number, bytes)) in numbers.iter().enumerate() {
            let path = folder.join(name(number));
            closed.push_back(match noted(number, bytes) {
                Some(records) => {
                    reader.pass_over(&path, &records);
                    Closed { number, bytes, records, is_sound: true }
                }
                None => {
                    let is_newest = i + 1 == numbers.len();
                    let rewritten_from = if is_newest { None } else { firsts.iter().skip(i + 1).min().copied() };
                    reader.read_segment(&path, number, bytes, rewritten_from)
                }
            });
        }
        let (found, next_sequence) = reader.finish();
        let state = State {
            next_number: closed.back().map_or(1, |segment| segment.number + 1),
            is_folder_unsynced: !closed.is_empty(),
            newest_begun: closed.iter().rev().find(|segment| segment.bytes > 0).map_or(0, |s| s.number),
            closed,
            next_sequence,
            synced_sequence: next_sequence - 1,
            ..State::default()
        };
        let log =
            Segments { disk, folder: folder.to_owned(), options, state: Mutex::new(state), syncing: Mutex::default() };
        Ok((log, found))
    }

    /// Appends a record; returns its sequence. It survives the end of the process from now on.
    ///
    /// # Errors
    /// When the disk refuses; then nothing of the record is kept.
    ///
    /// # Panics
    /// When the payload is longer than [`super::RECORD_PAYLOAD_BYTES_MAX`], or the kind is 255.
    pub fn append(&self, kind: u8, payload: &[u8]) -> Result<u64> {
        assert!(kind != KIND_PARITY, "bug: the kind of records of parity");
        let mut state = self.lock();
        if self.options.is_synced && state.unsynced.len() > UNSYNCED_BYTES_MAX {
            drop(state);
            self.sync()?;
            state = self.lock();
        }
        self.rewrite(&mut state)?;
        let size = (RECORD_HEAD_BYTES + payload.len()) as u64;
        if state.open.as_ref().is_some_and(|o| o.bytes + size > self.options.segment_bytes_max) {
            state.end();
        }
        let sequence = state.next_sequence;
        if state.open.is_none() {
            self.begin(&mut state, sequence, &[])?;
        }
        let mut bytes = std::mem::take(&mut state.scratch);
        bytes.clear();
        record::encode(&mut bytes, sequence, kind, payload);
        let written = state.write(&bytes);
        if written.is_ok() {
            state.next_sequence += 1;
            if self.options.is_synced {
                state.unsynced.extend_from_slice(&bytes);
            }
            state.scratch = bytes;
            state.cover();
        } else {
            state.scratch = bytes;
        }
        written.map(|()| sequence)
    }

    /// Makes all that was appended before the call last. Returns the last sequence that is covered.
    /// Appends go on meanwhile.
    ///
    /// # Errors
    /// When the disk fails; the records are kept in memory and written anew before the next append or sync.
    pub fn sync(&self) -> Result<u64> {
        let _alone = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        self.rewrite(&mut state)?;
        let covered = state.next_sequence - 1;
        let covered_bytes = state.unsynced.len();
        let mut files = std::mem::take(&mut state.unsynced_files);
        if let Some(open) = state.open.as_mut().filter(|o| o.is_unsynced) {
            open.is_unsynced = false;
            files.push(open.file.clone());
        }
        let with_folder = std::mem::take(&mut state.is_folder_unsynced);
        let (newest, closed) = (state.newest_begun, state.closed.back().map_or(0, |segment| segment.number));
        drop(state);
        let synced = files.iter().try_for_each(|f| f.sync()).and_then(|()| match with_folder {
            true => self.disk.sync_folder(&self.folder),
            false => Ok(()),
        });
        let mut state = self.lock();
        match synced {
            Ok(()) => {
                state.unsynced.drain(..covered_bytes);
                state.synced_sequence = covered;
                state.newest_synced = newest;
                state.settle(closed);
                Ok(covered)
            }
            Err(error) => {
                state.close();
                state.closing.clear();
                state.unsynced_files.clear();
                state.is_folder_unsynced = true;
                state.must_rewrite = true;
                Err(error)
            }
        }
    }

    /// Makes what was appended up to this sequence last; returns at once if a sync has covered it already, so
    /// that callers that waited for each other share one.
    ///
    /// # Errors
    /// As [`Segments::sync`].
    pub fn sync_to(&self, sequence: u64) -> Result<u64> {
        let alone = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let covered = self.lock().synced_sequence;
        if covered >= sequence {
            return Ok(covered);
        }
        drop(alone);
        self.sync()
    }

    /// Raises the number of the next segment and the sequence of the next record; never lowers them. For an
    /// owner that keeps either elsewhere and may have dropped all segments.
    pub fn skip_to(&self, number: u64, sequence: u64) {
        let mut state = self.lock();
        if sequence > state.next_sequence {
            state.end();
            state.next_sequence = sequence;
            state.synced_sequence = sequence - 1;
        }
        state.next_number = state.next_number.max(number);
    }

    /// Closes the open segment; returns the number of the next. All that was appended so far stands in
    /// segments with smaller numbers.
    #[must_use]
    pub fn rotate(&self) -> u64 {
        let mut state = self.lock();
        state.end();
        state.next_number
    }

    /// Removes closed segments with numbers below `number`; returns how many.
    ///
    /// # Errors
    /// When the disk refuses; the ones before are gone then.
    pub fn remove_before(&self, number: u64) -> Result<usize> {
        let mut removed = 0;
        loop {
            let oldest = self.lock().closed.front().map(|segment| segment.number).filter(|n| *n < number);
            let Some(oldest) = oldest else { break };
            // Without the lock: an append does not wait for it.
            match self.disk.remove_file(&self.folder.join(name(oldest))) {
                Err(e) if !e.is_not_found() => return Err(e),
                _ => {}
            }
            let mut state = self.lock();
            state.closed.retain(|segment| segment.number != oldest);
            state.is_folder_unsynced = true;
            removed += 1;
        }
        Ok(removed)
    }

    /// Returns the bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let state = self.lock();
        state.closed.iter().map(|segment| segment.bytes).sum::<u64>() + state.open.as_ref().map_or(0, |o| o.bytes)
    }

    /// Returns where the next record stands: with parity, records of groups below `covered` survive a flipped
    /// byte or a small hole. Without parity `current` and `covered` are the sequence: each record is alone.
    #[must_use]
    pub fn groups(&self) -> Groups {
        let state = self.lock();
        if self.options.has_parity {
            state.groups
        } else {
            Groups { current: state.next_sequence, covered: state.next_sequence }
        }
    }

    /// Returns the numbers of the oldest and the newest segment there are; `None` if there is none.
    #[must_use]
    pub fn numbers(&self) -> Option<(u64, u64)> {
        let state = self.lock();
        let newest = state.open.as_ref().map(|o| o.number).or(state.closed.back().map(|s| s.number))?;
        Some((state.closed.front().map_or(newest, |s| s.number), newest))
    }

    /// Returns the closed segments, oldest first.
    #[must_use]
    pub fn closed(&self) -> Vec<Closed> {
        self.lock().closed.iter().cloned().collect()
    }

    /// Returns the segment in which a record stands that was appended since the log was opened; after a failed sync it
    /// is another one.
    #[must_use]
    pub fn segment_of(&self, sequence: u64) -> Option<u64> {
        let state = self.lock();
        let open = state.open.as_ref().filter(|open| (open.first..state.next_sequence).contains(&sequence));
        let closed = || state.closed.iter().rev().find(|segment| segment.records.contains(&sequence));
        open.map(|open| open.number).or_else(|| closed().map(|segment| segment.number))
    }

    /// Hands the good records of one segment to `visit`, oldest first, while others append; changes nothing. Returns how
    /// many stretches were passed over because they do not check out; in the newest segment that may be a record that
    /// is just being written. After a failed sync a record may stand in two
    /// segments, with the same sequence. Cost: the segment in memory.
    ///
    /// # Errors
    /// When the file cannot be read; it may have been removed meanwhile.
    pub fn read(&self, number: u64, visit: &mut dyn FnMut(Record<'_>)) -> Result<usize> {
        segments_reader::visit(&*self.disk, &self.folder.join(name(number)), number, visit)
    }

    /// Returns the newest segment that a sync since the log was opened has made last; 0 if there is none.
    #[must_use]
    pub fn newest_synced(&self) -> u64 {
        self.lock().newest_synced
    }

    /// Returns how many records wait for a sync.
    #[must_use]
    pub fn unsynced_records(&self) -> u64 {
        let state = self.lock();
        state.next_sequence - 1 - state.synced_sequence
    }

    /// Returns the sequence that the next record gets.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.lock().next_sequence
    }

    /// Writes the records since the last good sync to a new segment, if a sync failed.
    fn rewrite(&self, state: &mut State) -> Result<()> {
        if !state.must_rewrite {
            return Ok(());
        }
        let first = state.synced_sequence + 1;
        let bytes = std::mem::take(&mut state.unsynced);
        let begun = if bytes.is_empty() { Ok(()) } else { self.begin(state, first, &bytes) };
        state.unsynced = bytes;
        state.must_rewrite = begun.is_err();
        begun
    }

    /// Makes the next segment, with these records in it.
    fn begin(&self, state: &mut State, first: u64, records: &[u8]) -> Result<()> {
        let number = state.next_number;
        let path = self.folder.join(name(number));
        let mut bytes = encode_head(first);
        bytes.extend_from_slice(records);
        let made = self.disk.create(&path).and_then(|file| file.write_at(0, &bytes).map(|()| file));
        match made {
            Ok(file) => {
                let mut parity = self.options.has_parity.then(Parity::new);
                parity.iter_mut().for_each(|p| p.add(&bytes));
                state.next_number += 1;
                state.newest_begun = number;
                state.groups.current += 1;
                state.is_folder_unsynced = true;
                state.open = Some(Open { number, first, file, bytes: bytes.len() as u64, is_unsynced: true, parity });
                Ok(())
            }
            Err(error) => {
                // The first error is the one to tell.
                let _ = self.disk.remove_file(&path);
                Err(error)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes behind the open segment's end; on failure cuts it back, or closes it if that fails too.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(open) = self.open.as_mut() else { return Ok(()) };
        match open.file.write_at(open.bytes, bytes) {
            Ok(()) => {
                open.bytes += bytes.len() as u64;
                open.is_unsynced = true;
                open.parity.iter_mut().for_each(|p| p.add(bytes));
                Ok(())
            }
            Err(error) => {
                if open.file.set_size(open.bytes).is_err() {
                    self.close();
                }
                Err(error)
            }
        }
    }

    /// Ends the group of records if it is large enough, and writes the parity that is due.
    fn cover(&mut self) {
        let Some(parity) = self.open.as_mut().and_then(|o| o.parity.as_mut()) else { return };
        if parity.end_if_full() {
            self.groups.current += 1;
        }
        if let Some(payload) = parity.due().map(<[u8]>::to_vec) {
            self.write_parity(&payload);
        }
    }

    /// Writes the parity of the group that ended last; if the disk refuses, that group goes without.
    fn write_parity(&mut self, payload: &[u8]) {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        record::encode(&mut bytes, self.next_sequence - 1, KIND_PARITY, payload);
        let written = self.write(&bytes);
        self.scratch = bytes;
        if written.is_ok() {
            // The current group is the one behind.
            self.groups.covered = self.groups.current;
        }
        self.open.iter_mut().filter_map(|o| o.parity.as_mut()).for_each(Parity::written);
    }

    /// Ends the open segment: writes the parity of all of it.
    fn end(&mut self) {
        for _ in 0..2 {
            let Some(parity) = self.open.as_mut().and_then(|o| o.parity.as_mut()) else { break };
            if let Some(payload) = parity.waiting().map(<[u8]>::to_vec) {
                self.write_parity(&payload);
            }
            // What is written next is the parity of the rest, and after that nothing is left.
            self.open.iter_mut().filter_map(|o| o.parity.as_mut()).for_each(Parity::end);
        }
        self.close();
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            let Open { number, first, bytes, .. } = open;
            self.closing.push(number);
            let records = first..self.next_sequence.max(first);
            self.closed.push_back(Closed { number, bytes, records, is_sound: false });
            if open.is_unsynced {
                self.unsynced_files.push(open.file);
            }
        }
    }

    /// Notes that all segments that were closed up to this number are on disk for good.
    fn settle(&mut self, number: u64) {
        for segment in self.closed.iter_mut().filter(|s| s.number <= number && self.closing.contains(&s.number)) {
            segment.is_sound = true;
        }
        self.closing.retain(|closing| *closing > number);
    }
}

pub(super) fn name(number: u64) -> String {
    format!("{number:08}")
}

/// Returns the first sequence that a segment's head names; the highest there is if it does not check out.
fn read_first(disk: &dyn Disk, path: &Path) -> u64 {
    let mut head = [0; HEAD_BYTES];
    let read = disk.open(path).and_then(|f| f.read_at(0, &mut head));
    read.ok().and_then(|_| decode_head(&head).ok().flatten()).unwrap_or(u64::MAX)
}

fn parse_name(name: &str) -> Option<u64> {
    (name.len() >= 8 && name.bytes().all(|b| b.is_ascii_digit())).then(|| name.parse().ok())?
}

fn encode_head(first: u64) -> Vec<u8> {
    let mut w = ByteWriter::default();
    w.raw(MAGIC);
    w.u32(VERSION);
    w.u64(first);
    w.u32(crc32c(w.as_slice()));
    w.into_bytes()
}

/// Returns the first sequence; `None` for a version we do not know.
pub(super) fn decode_head(bytes: &[u8]) -> std::result::Result<Option<u64>, Malformed> {
    let mut r = ByteReader::new(bytes);
    let magic = r.raw(MAGIC.len())?;
    let (version, first, checksum) = (r.u32()?, r.u64()?, r.u32()?);
    let covered = bytes.get(..HEAD_BYTES - 4).unwrap_or_default();
    if magic != MAGIC || crc32c(covered) != checksum || first > SEQUENCE_MAX {
        return Err(Malformed { offset: 0, reason: "head of the segment does not check out" });
    }
    Ok((version == VERSION).then_some(first))
}
