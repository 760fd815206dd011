//! Reading the segments of a log, whatever state they are in. What each kind of damage costs is told in
//! `segments.rs`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::parity::{self, Cover, KIND_PARITY};
use super::record::{self, Record};
use super::segments::Closed;
use super::segments::{HEAD_BYTES, decode_head, name};
use super::{Corruption, Disk, DiskFile, Found, Malformed, replace};

/// A file longer than this was not written by us; only so much of it is read.
const SEGMENT_BYTES_READ_MAX: u64 = 256 << 20;

/// Files are read in pieces of this size; what cannot be read is tried again page by page.
const PIECE_BYTES: usize = 64 << 10;
const PAGE_BYTES: usize = 4 << 10;
/// More records than a log holds.
const UNKNOWN_RECORDS: u64 = 1 << 40;

/// Hands the good records of a segment on, and changes nothing. Returns how many stretches do not check out.
pub(super) fn visit(
    disk: &dyn Disk,
    path: &Path,
    number: u64,
    visit: &mut dyn FnMut(Record<'_>),
) -> super::Result<usize> {
    let file = disk.open(path)?;
    let size = file.size()?.min(SEGMENT_BYTES_READ_MAX);
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    file.read_at(0, &mut bytes)?;
    let mut damaged = 0;
    for (_, piece) in pieces(&bytes, number) {
        match piece {
            Piece::Record(record) if record.kind != KIND_PARITY => visit(record),
            Piece::Record(_) | Piece::Head => {}
            Piece::Damaged => damaged += 1,
        }
    }
    Ok(damaged)
}

/// Reads segments one after the other.
pub(super) struct Reader<'a> {
    disk: &'a dyn Disk,
    is_synced: bool,
    found: Found,
    /// The sequence that should come next, once one is known.
    expected: Option<u64>,
    /// Bytes behind the last good record that could not be read, though a later start may read them.
    unread_bytes: u64,
    /// Whether damage was reported since the last good record: then a skipped sequence is no news.
    is_explained: bool,
    /// Records of a segment that a later one repeats (after a failed sync): sequence to segment, kind, payload.
    /// They step in where the later copy is torn.
    spare: BTreeMap<u64, (u64, u8, Vec<u8>)>,
    visit: &'a mut dyn FnMut(Record<'_>) -> std::result::Result<(), Malformed>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        disk: &'a dyn Disk,
        is_synced: bool,
        visit: &'a mut dyn FnMut(Record<'_>) -> std::result::Result<(), Malformed>,
    ) -> Self {
        Reader {
            disk,
            is_synced,
            found: Found::default(),
            expected: None,
            unread_bytes: 0,
            is_explained: false,
            spare: BTreeMap::new(),
            visit,
        }
    }

    /// Ends; returns what was met and the sequence of the next record.
    pub(super) fn finish(mut self) -> (Found, u64) {
        self.take_spare(u64::MAX);
        // New records must not take the sequences of records that another start may read again.
        let unread = match (self.unread_bytes, self.expected) {
            (0, _) => 0,
            (_, None) => UNKNOWN_RECORDS,
            (bytes, Some(_)) => bytes,
        };
        (self.found, self.expected.unwrap_or(1).max(1) + unread)
    }

    /// Passes over a segment whose records were sound and are known.
    pub(super) fn pass_over(&mut self, path: &Path, records: &Range<u64>) {
        self.take_spare(records.start);
        self.expect(path, records.start);
        self.is_explained = false;
        self.unread_bytes = 0;
        self.expected = Some(records.end);
    }

    /// Reads one segment of a length; returns what of it stays. Later segments, if there are any, begin with
    /// `rewritten_from` at the earliest.
    pub(super) fn read_segment(&mut self, path: &Path, number: u64, bytes: u64, rewritten_from: Option<u64>) -> Closed {
        let damages = self.found.damages.len();
        let read = self.read_records(path, number, bytes, rewritten_from);
        let (kept, records) = read.unwrap_or((bytes, 0..0));
        // What a later one repeats is not this one's.
        let is_sound = self.found.damages.len() == damages && rewritten_from.is_none_or(|from| from >= records.end);
        Closed { number, bytes: kept, is_sound, records }
    }

    /// Returns how many bytes stay, and sequences; nothing if it could not be read at all.
    fn read_records(
        &mut self,
        path: &Path,
        number: u64,
        bytes: u64,
        rewritten_from: Option<u64>,
    ) -> Option<(u64, Range<u64>)> {
        let is_newest = rewritten_from.is_none();
        let rewritten_from = rewritten_from.unwrap_or(u64::MAX);
        let opened = self.disk.open(path).and_then(|file| Ok((file.size()?.min(SEGMENT_BYTES_READ_MAX), file)));
        let (size, file) = match opened {
            Ok(opened) => opened,
            Err(e) => {
                self.unread_bytes += bytes;
                self.damage(path, 0, 0, &e.to_string());
                return None;
            }
        };
        let damages = self.found.damages.len();
        let mut bytes = self.read_all(&*file, size);
        let is_read_whole = self.found.damages.len() == damages;
        self.found.segments += 1;
        self.found.bytes += bytes.len() as u64;
        self.mend(&*file, &mut bytes);
        if bytes.is_empty() {
            // Torn at its beginning, or emptied by something else: cannot be told apart, so it is told.
            self.damage(path, 0, 0, "segment is empty");
            let _ = self.disk.remove_file(path);
        }
        let mut end = bytes.len();
        let mut records = 0..0;
        match decode_head(&bytes) {
            Ok(Some(first)) if first < rewritten_from => {
                self.take_spare(first);
                self.expect(path, first);
                records = first..first;
            }
            Ok(None) => {
                self.damage(path, 0, bytes.len() as u64, "segment of another version");
                return None;
            }
            _ => {}
        }
        for (place, piece) in pieces(&bytes, number) {
            match piece {
                Piece::Head => {}
                Piece::Record(record) if record.kind == KIND_PARITY => {}
                Piece::Record(record) if record.sequence >= rewritten_from => {
                    self.spare.insert(record.sequence, (number, record.kind, record.payload.to_vec()));
                }
                Piece::Record(record) => {
                    records.end = record.sequence + 1;
                    self.take_spare(record.sequence);
                    self.take(path, place.start, record, place.len());
                }
                // What could not be read may be sound: it is not cut off.
                Piece::Damaged if is_newest && is_read_whole && place.end == bytes.len() => {
                    end = place.start;
                    self.found.truncated_bytes += place.len() as u64;
                    self.is_explained = true;
                    // If the cut fails the tail is passed over again next time.
                    let _ = file.set_size(end as u64);
                }
                Piece::Damaged => {
                    let reason = match place.start {
                        0 => "head of the segment does not check out",
                        _ if place.end == bytes.len() => "segment ends within a record",
                        _ => "record does not check out",
                    };
                    self.damage(path, place.start, place.len() as u64, reason);
                    self.unread_bytes += if is_read_whole { 0 } else { place.len() as u64 };
                }
            }
        }
        // The process that wrote it may have ended before its sync; from now on a sync is to cover it too. What
        // a failed sync has left out no other makes good, so the file is written anew.
        if self.is_synced
            && file.sync().is_err()
            && let Err(e) = self.replace(path, bytes.get(..end).filter(|_| is_read_whole))
        {
            self.damage(path, 0, 0, &e);
        }
        Some((end as u64, records))
    }

    /// Writes a file anew, with what was read of it: all of it, or it stays as it is.
    fn replace(&self, path: &Path, content: Option<&[u8]>) -> Result<(), String> {
        let content = content.ok_or("it can neither be synced nor be read whole")?;
        replace(self.disk, path, content).map_err(|e| e.to_string())
    }

    /// Makes good what parity can, also in the file.
    fn mend(&mut self, file: &dyn DiskFile, bytes: &mut [u8]) {
        loop {
            let damaged: Vec<Range<usize>> =
                pieces(bytes, 0).filter(|(_, piece)| matches!(piece, Piece::Damaged)).map(|(place, _)| place).collect();
            if damaged.is_empty() {
                return;
            }
            let covers: Vec<Cover> = pieces(bytes, 0)
                .filter_map(|(_, piece)| match piece {
                    Piece::Record(record) if record.kind == KIND_PARITY => Cover::decode(record.payload),
                    _ => None,
                })
                .collect();
            let mut is_better = false;
            for place in damaged {
                if !parity::mend(bytes, &place, &covers, |b| is_good(b, &place)) {
                    continue;
                }
                is_better = true;
                self.found.mended += 1;
                self.damage(file.path(), place.start, place.len() as u64, "made good by parity, nothing is lost");
                // If the disk refuses it is made good again next time.
                let _ = file.write_at(place.start as u64, bytes.get(place).unwrap_or_default());
            }
            // Parity that was made good may help elsewhere.
            if !is_better {
                return;
            }
        }
    }

    /// Reads a file in pieces; what the disk cannot read becomes zeros and is reported.
    fn read_all(&mut self, file: &dyn DiskFile, size: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let mut at = 0;
        for piece in bytes.chunks_mut(PIECE_BYTES) {
            if file.read_at(at as u64, piece).is_err() {
                self.read_pages(file, at, piece);
            }
            at += piece.len();
        }
        bytes
    }

    fn read_pages(&mut self, file: &dyn DiskFile, mut at: usize, piece: &mut [u8]) {
        for page in piece.chunks_mut(PAGE_BYTES) {
            if let Err(e) = file.read_at(at as u64, page) {
                page.fill(0);
                self.damage(file.path(), at, page.len() as u64, &e.to_string());
            }
            at += page.len();
        }
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
        self.unread_bytes = 0;
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

/// A stretch of a segment.
enum Piece<'a> {
    Head,
    Record(Record<'a>),
    Damaged,
}

/// Returns all stretches of a segment, one behind the other without a gap.
fn pieces(bytes: &[u8], number: u64) -> impl Iterator<Item = (Range<usize>, Piece<'_>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let (length, piece) = if at == 0 && decode_head(bytes).is_ok() {
            (HEAD_BYTES, Piece::Head)
        } else if let Some((record, length)) = record::decode(rest, number) {
            (length, Piece::Record(record))
        } else {
            (record::find(rest, 1).unwrap_or(rest.len()), Piece::Damaged)
        };
        let start = at;
        at += length;
        Some((start..at, piece))
    })
}

/// Tells whether a stretch consists of records, and the head if it begins the segment.
fn is_good(bytes: &[u8], place: &Range<usize>) -> bool {
    let mut at = place.start;
    if at == 0 {
        if decode_head(bytes).is_err() {
            return false;
        }
        at = HEAD_BYTES;
    }
    while at < place.end {
        let Some((_, length)) = bytes.get(at..).and_then(|b| record::decode(b, 0)) else { return false };
        at += length;
    }
    at == place.end
}
