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
//! there). Version 1, little-endian: a head, then records (`record.rs`).
//!
//! | field    | bytes | meaning                                          |
//! |----------|-------|--------------------------------------------------|
//! | magic    | 8     | `ANDONSEG`                                       |
//! | version  | 4     | 1                                                |
//! | first    | 8     | sequence of the first record                     |
//! | checksum | 4     | CRC-32C of magic, version and first              |
//!
//! Sequences rise by one through all segments; after a failed sync a later segment begins again with
//! sequences that stand in earlier ones, and its copies count; the earlier stand in where they are torn.
//!
//! Damage: bytes behind the last good record of the newest segment are a torn write: they are cut off and
//! counted. Damage anywhere else costs the records it lies in; it is reported, the rest is read on. A
//! damaged head costs nothing but the report. A sequence that is skipped without other damage is reported.
//! A segment of a newer version is reported and passed over.
//! Growth: a new version number; readers keep the old ones.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::record::{self, RECORD_HEAD_BYTES, Record};
use super::{ByteReader, ByteWriter, Corruption, Disk, DiskFile, Malformed, Result, crc32c};

const MAGIC: &[u8; 8] = b"ANDONSEG";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = MAGIC.len() + 4 + 8 + 4;

/// A file longer than this was not written by us; only so much of it is read.
const SEGMENT_BYTES_READ_MAX: u64 = 256 << 20;

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
    /// Places that did not check out.
    pub damages: Vec<Corruption>,
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
    /// Closed segments, oldest first: number and bytes.
    closed: VecDeque<(u64, u64)>,
    open: Option<Open>,
    next_number: u64,
    next_sequence: u64,
    /// The last sequence that a sync covered.
    synced_sequence: u64,
    /// Files with bytes that no sync has covered, but for the open one.
    unsynced_files: Vec<Arc<dyn DiskFile>>,
    /// Whether a file was made or removed since the folder was synced.
    is_folder_unsynced: bool,
    /// Records since the last good sync, as written.
    unsynced: Vec<u8>,
    /// After a failed sync: `unsynced` must be written to a new segment before anything else.
    must_rewrite: bool,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    number: u64,
    file: Arc<dyn DiskFile>,
    bytes: u64,
    is_unsynced: bool,
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
        disk.create_folder(folder)?;
        let mut numbers: Vec<(u64, u64)> = Vec::new();
        for entry in disk.list(folder)?.iter().filter(|e| !e.is_folder) {
            if let Some(number) = parse_name(&entry.name) {
                numbers.push((number, entry.bytes));
            }
        }
        numbers.sort_unstable();
        let mut reader = Reader {
            disk: &*disk,
            is_synced: options.is_synced,
            found: Found::default(),
            expected: None,
            is_explained: false,
            spare: BTreeMap::new(),
            visit,
        };
        let firsts: Vec<u64> = numbers.iter().map(|(n, _)| read_first(&*disk, &folder.join(name(*n)))).collect();
        let mut closed = VecDeque::new();
        for (i, (number, bytes)) in numbers.iter().enumerate() {
            let rewritten_from = firsts.iter().skip(i + 1).min().copied();
            let kept = reader.read_segment(&folder.join(name(*number)), *number, rewritten_from);
            closed.push_back((*number, kept.unwrap_or(*bytes)));
        }
        reader.take_spare(u64::MAX);
        let next_sequence = reader.expected.unwrap_or(1).max(1);
        let found = reader.found;
        let state = State {
            next_number: closed.back().map_or(1, |(n, _)| n + 1),
            is_folder_unsynced: !closed.is_empty(),
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
    /// When the payload is longer than [`super::RECORD_PAYLOAD_BYTES_MAX`].
    pub fn append(&self, kind: u8, payload: &[u8]) -> Result<u64> {
        let mut state = self.lock();
        if self.options.is_synced && state.unsynced.len() > UNSYNCED_BYTES_MAX {
            drop(state);
            self.sync()?;
            state = self.lock();
        }
        self.rewrite(&mut state)?;
        let size = (RECORD_HEAD_BYTES + payload.len()) as u64;
        if state.open.as_ref().is_some_and(|o| o.bytes + size > self.options.segment_bytes_max) {
            state.close();
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
        }
        state.scratch = bytes;
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
                Ok(covered)
            }
            Err(error) => {
                state.close();
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
            state.close();
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
        state.close();
        state.next_number
    }

    /// Removes closed segments with numbers below `number`; returns how many.
    ///
    /// # Errors
    /// When the disk refuses; the ones before are gone then.
    pub fn remove_before(&self, number: u64) -> Result<usize> {
        let mut removed = 0;
        loop {
            let mut state = self.lock();
            let Some((oldest, _)) = state.closed.front().copied().filter(|(n, _)| *n < number) else { break };
            match self.disk.remove_file(&self.folder.join(name(oldest))) {
                Err(e) if !e.is_not_found() => return Err(e),
                _ => {}
            }
            state.closed.pop_front();
            state.is_folder_unsynced = true;
            removed += 1;
        }
        Ok(removed)
    }

    /// Returns the bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let state = self.lock();
        state.closed.iter().map(|(_, bytes)| bytes).sum::<u64>() + state.open.as_ref().map_or(0, |o| o.bytes)
    }

    /// Returns the numbers of the oldest and the newest segment there are; `None` if there is none.
    #[must_use]
    pub fn numbers(&self) -> Option<(u64, u64)> {
        let state = self.lock();
        let newest = state.open.as_ref().map(|o| o.number).or(state.closed.back().map(|(n, _)| *n))?;
        Some((state.closed.front().map_or(newest, |(n, _)| *n), newest))
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
                state.next_number += 1;
                state.is_folder_unsynced = true;
                state.open = Some(Open { number, file, bytes: bytes.len() as u64, is_unsynced: true });
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

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.closed.push_back((open.number, open.bytes));
            if open.is_unsynced {
                self.unsynced_files.push(open.file);
            }
        }
    }
}

/// Reads segments one after the other.
struct Reader<'a> {
    disk: &'a dyn Disk,
    is_synced: bool,
    found: Found,
    /// The sequence that should come next, once one is known.
    expected: Option<u64>,
    /// Whether damage was reported since the last good record: then a skipped sequence is no news.
    is_explained: bool,
    /// Records of a segment that a later one repeats (after a failed sync): sequence to segment, kind, payload.
    /// They step in where the later copy is torn.
    spare: BTreeMap<u64, (u64, u8, Vec<u8>)>,
    visit: &'a mut dyn FnMut(Record<'_>) -> std::result::Result<(), Malformed>,
}

impl Reader<'_> {
    /// Reads one segment; returns how many bytes of it stay, `None` if it could not be read at all. Later
    /// segments, if there are any, begin with `rewritten_from` at the earliest.
    fn read_segment(&mut self, path: &Path, number: u64, rewritten_from: Option<u64>) -> Option<u64> {
        let is_newest = rewritten_from.is_none();
        let rewritten_from = rewritten_from.unwrap_or(u64::MAX);
        let file = match self.disk.open(path) {
            Ok(file) => file,
            Err(e) => {
                self.damage(path, 0, 0, &e.to_string());
                return None;
            }
        };
        let bytes = self.read_all(&*file);
        self.found.segments += 1;
        self.found.bytes += bytes.len() as u64;
        let mut at = match decode_head(&bytes) {
            Ok(Some(first)) => {
                if first < rewritten_from {
                    self.take_spare(first);
                    self.expect(path, first);
                }
                HEAD_BYTES
            }
            Ok(None) => {
                self.damage(path, 0, bytes.len() as u64, "segment of a newer version");
                return None;
            }
            // Torn at its beginning, or emptied by something else: cannot be told apart, so it is told.
            Err(_) if bytes.is_empty() => {
                self.damage(path, 0, 0, "segment is empty");
                let _ = self.disk.remove_file(path);
                0
            }
            Err(_) if is_newest && record::find(&bytes, 0).is_none() => 0,
            Err(e) => {
                let good = record::find(&bytes, 0).unwrap_or(bytes.len());
                self.damage(path, 0, good as u64, e.reason);
                good
            }
        };
        while at < bytes.len() {
            if let Some((record, length)) = bytes.get(at..).and_then(|b| record::decode(b, number)) {
                if record.sequence >= rewritten_from {
                    self.spare.insert(record.sequence, (number, record.kind, record.payload.to_vec()));
                } else {
                    self.take_spare(record.sequence);
                    self.take(path, at, record, length);
                }
                at += length;
                continue;
            }
            match record::find(&bytes, at + 1) {
                Some(next) => {
                    self.damage(path, at, (next - at) as u64, "record does not check out");
                    at = next;
                }
                None if is_newest => {
                    self.found.truncated_bytes += (bytes.len() - at) as u64;
                    self.is_explained = true;
                    // If the cut fails the tail is passed over again next time.
                    let _ = file.set_size(at as u64);
                    break;
                }
                None => {
                    self.damage(path, at, (bytes.len() - at) as u64, "segment ends within a record");
                    at = bytes.len();
                }
            }
        }
        // The process that wrote it may have ended before its sync; from now on a sync is to cover it too.
        if self.is_synced
            && let Err(e) = file.sync()
        {
            self.damage(path, 0, 0, &e.to_string());
        }
        Some(at as u64)
    }

    /// Reads a file in pieces; what the disk cannot read becomes zeros and is reported.
    fn read_all(&mut self, file: &dyn DiskFile) -> Vec<u8> {
        const PIECE: usize = 64 << 10;
        let size = file.size().unwrap_or(0).min(SEGMENT_BYTES_READ_MAX);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let mut at = 0;
        for piece in bytes.chunks_mut(PIECE) {
            if let Err(e) = file.read_at(at as u64, piece) {
                piece.fill(0);
                self.damage(file.path(), at, piece.len() as u64, &e.to_string());
            }
            at += piece.len();
        }
        bytes
    }

    /// Hands on what was set by and comes before `sequence`.
    fn take_spare(&mut self, sequence: u64) {
        while let Some(spare) = self.spare.first_entry().filter(|s| *s.key() < sequence) {
            let (sequence, (segment, kind, payload)) = spare.remove_entry();
            self.take(
                Path::new(&name(segment)),
                0,
                Record { segment, sequence, kind, payload: &payload },
                payload.len(),
            );
        }
    }

    /// Hands a good record on, unless it is a repetition.
    fn take(&mut self, path: &Path, at: usize, record: Record<'_>, length: usize) {
        if self.expected.is_some_and(|expected| record.sequence < expected) {
            return;
        }
        self.expect(path, record.sequence);
        self.is_explained = false;
        self.expected = Some(record.sequence + 1);
        match (self.visit)(record) {
            Ok(()) => self.found.records += 1,
            Err(e) => self.damage(path, at, length as u64, &format!("payload: {e}")),
        }
    }

    /// Reports records that are missing before `sequence`, unless that is known.
    fn expect(&mut self, path: &Path, sequence: u64) {
        let expected = *self.expected.get_or_insert(sequence);
        if sequence > expected {
            if !self.is_explained {
                self.damage(path, 0, 0, &format!("records {expected} to {} are missing", sequence - 1));
            }
            self.expected = Some(sequence);
        }
    }

    fn damage(&mut self, path: &Path, at: usize, bytes: u64, reason: &str) {
        self.is_explained = true;
        let damage = Corruption { file: path.to_owned(), offset: at as u64, bytes, reason: reason.to_owned() };
        self.found.damages.push(damage);
    }
}

fn name(number: u64) -> String {
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
fn decode_head(bytes: &[u8]) -> std::result::Result<Option<u64>, Malformed> {
    let mut r = ByteReader::new(bytes);
    let magic = r.raw(MAGIC.len())?;
    let (version, first, checksum) = (r.u32()?, r.u64()?, r.u32()?);
    let covered = bytes.get(..HEAD_BYTES - 4).unwrap_or_default();
    if magic != MAGIC || crc32c(covered) != checksum {
        return Err(Malformed { offset: 0, reason: "head of the segment does not check out" });
    }
    Ok((version == VERSION).then_some(first))
}
