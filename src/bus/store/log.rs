//! A stream's messages on disk: appended and synced by its keeper, read by whoever reads, removed from the front.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Stored;
use super::format::{self, PlacesRecord};
use super::index::{Index, Limits, Span};
use super::places::Places;
use crate::bus::SubjectPattern;
use crate::model::Timestamp;
use crate::storage::disk::{self, ByteReader, Disk, Segments, SegmentsOptions};

/// A segment is closed at this size, or at an eighth of what the stream may take.
const SEGMENT_BYTES_MAX: u64 = 1 << 20;
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// Messages that are read at once.
const READ_MAX: usize = 64;
const READ_BYTES_MAX: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    segments: Segments,
    index: Mutex<Index>,
    /// Size of the messages that were carried on, by the segment in which they stand now.
    carried_bytes: Mutex<BTreeMap<u64, u64>>,
}

/// What was found at the start.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) places: Places,
    /// Places that did not check out.
    pub(super) damages: Vec<String>,
}

/// Where a reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The next sequence.
    pub(super) next: u64,
    /// Up to this one only the last message of each subject is wanted.
    pub(super) lasts_until: u64,
}

/// What a reader wants.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) pattern: SubjectPattern,
    /// Messages from before are too old.
    pub(super) since: Timestamp,
}

impl Log {
    /// Opens a stream. Reads all segments, unpacks subjects only.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        limits: Limits,
        bytes_max: u64,
    ) -> disk::Result<(Log, Found)> {
        let segment_bytes_max = (bytes_max / 8).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let options = SegmentsOptions { segment_bytes_max, is_synced: true, has_parity: false };
        let (mut index, mut found) = (Index::new(limits), Found::default());
        let (mut next, mut carried_bytes) = (1, BTreeMap::new());
        let (segments, read) = Segments::open(disk, folder, options, &mut |record| {
            match record.kind {
                format::MESSAGES => {
                    let head = format::decode_head(&mut ByteReader::new(record.payload))?;
                    let span = Span { first: head.first, last: head.last, newest: head.newest };
                    if limits.per_subject_max.is_some_and(|max| max > 1) {
                        let messages = format::decode_messages(record.payload)?;
                        let all: Vec<_> = messages.into_iter().map(|m| (m.message.subject, m.sequence)).collect();
                        index.restore(record.segment, span, &all);
                    } else {
                        index.restore(record.segment, span, &head.subjects);
                    }
                }
                format::CARRIED => {
                    let messages = format::decode_messages(record.payload)?;
                    let bytes: u64 = messages.iter().map(|stored| stored.size_bytes() as u64).sum();
                    *carried_bytes.entry(record.segment).or_default() += bytes;
                    let messages = messages.into_iter().map(|m| (m.message.subject, m.sequence));
                    index.restore_carried(record.segment, messages);
                }
                format::PLACES => {
                    let record = format::decode_places(record.payload)?;
                    next = record.next_sequence.max(next);
                    found.places.restore(record);
                }
                _ => {}
            }
            Ok(())
        })?;
        index.restored(next);
        found.damages = read.damages.iter().map(ToString::to_string).collect();
        let carried_bytes = Mutex::new(carried_bytes);
        Ok((Log { folder: folder.to_owned(), segments, index: Mutex::new(index), carried_bytes }, found))
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.bytes()
    }

    /// Returns the number of the newest segment; 0 if there is none.
    pub(super) fn newest_segment(&self) -> u64 {
        self.segments.numbers().map_or(0, |(_, newest)| newest)
    }

    /// Appends messages; [`Log::sync`] makes them last. After an error nothing of them is kept.
    pub(super) fn append(&self, messages: &[Arc<Stored>]) -> disk::Result<()> {
        self.append_messages(format::MESSAGES, messages)
    }

    fn append_messages(&self, kind: u8, messages: &[Arc<Stored>]) -> disk::Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let packed = format::encode_messages(messages).map_err(disk::Error::io("pack messages for", &self.folder))?;
        self.segments.append(kind, &packed).map(drop)
    }

    /// Appends places; as [`Log::append`].
    pub(super) fn append_places(&self, record: &PlacesRecord) -> disk::Result<()> {
        let packed = format::encode_places(record).map_err(disk::Error::io("pack places for", &self.folder))?;
        self.segments.append(format::PLACES, &packed).map(drop)
    }

    /// Makes what was appended last. After an error it is in memory and written anew by the next call.
    pub(super) fn sync(&self) -> disk::Result<()> {
        self.segments.sync().map(drop)
    }

    /// Notes messages that were appended and synced; readers have them from now on.
    pub(super) fn added(&self, messages: &[Arc<Stored>]) {
        // After a failed sync everything unsynced stands in the newest segment, and else nothing stands elsewhere.
        self.index().add(self.newest_segment(), messages);
    }

    /// Returns the newest messages that bear an id, oldest first: those stored less than a time before the last.
    pub(super) fn ids(&self, within_ms: i64) -> Vec<Arc<str>> {
        let Some(newest) = self.index().newest() else { return Vec::new() };
        let since = Timestamp::from_millis(newest.as_millis().saturating_sub(within_ms));
        let segments = self.index().segments_since(since);
        let mut ids = Vec::new();
        for segment in segments {
            let _ = self.segments.read(segment, &mut |record| {
                let is_young = |head: format::Head| head.newest >= since;
                let head = format::decode_head(&mut ByteReader::new(record.payload));
                if record.kind == format::MESSAGES && head.is_ok_and(is_young) {
                    let messages = format::decode_messages(record.payload).unwrap_or_default();
                    ids.extend(messages.into_iter().filter(|stored| stored.at >= since).filter_map(|stored| stored.id));
                }
            });
        }
        ids
    }

    /// Returns the sequence of the first message that was stored at a time or later. Blocking.
    pub(super) fn sequence_at(&self, at: Timestamp) -> u64 {
        let (segments, last) = {
            let index = self.index();
            (index.segments_since(at), index.last())
        };
        for segment in segments {
            let Some(span) = self.index().span(segment) else { continue };
            let mut found = None;
            let _ = self.segments.read(segment, &mut |record| {
                if record.kind == format::MESSAGES && found.is_none() {
                    let messages = format::decode_messages(record.payload).unwrap_or_default();
                    found = messages.iter().find(|m| m.at >= at && m.sequence <= span.last).map(|m| m.sequence);
                }
            });
            if let Some(found) = found {
                return found;
            }
        }
        last + 1
    }

    /// Returns messages that are at hand, and where reading goes on; nothing if they are to be read from disk.
    pub(super) fn recent(&self, at: Position, wanted: &Wanted) -> Option<(Vec<Arc<Stored>>, u64)> {
        let index = self.index();
        if at.next <= at.lasts_until {
            return None;
        }
        if at.next > index.last() {
            return Some((Vec::new(), at.next));
        }
        let (mut taken, mut bytes, mut next) = (Vec::new(), 0, at.next);
        for stored in index.recent(at.next)? {
            if taken.len() >= READ_MAX || bytes >= READ_BYTES_MAX {
                break;
            }
            next = stored.sequence + 1;
            if wanted.wants(stored, &index) {
                bytes += stored.size_bytes();
                taken.push(stored.clone());
            }
        }
        Some((taken, next))
    }

    /// Reads messages from a position on, of one segment at most. Returns them and where reading goes on. Blocking.
    pub(super) fn read(&self, at: Position, wanted: &Wanted) -> (Vec<Arc<Stored>>, u64) {
        let (lasts, lasts_end, segment) = {
            let index = self.index();
            let end = (at.lasts_until + 1).max(index.first());
            let lasts = index.lasts(at.next, end - 1, &wanted.pattern, READ_MAX);
            (lasts, end, index.segment_from(at.next.max(end)))
        };
        if at.next < lasts_end {
            return match lasts.last() {
                Some((last, _)) => {
                    let taken = self.pick(&lasts, wanted);
                    let again = self.index().lasts(at.next, lasts_end - 1, &wanted.pattern, READ_MAX);
                    // Some were carried on meanwhile: they are looked for where they stand now.
                    if again == lasts { (taken, last + 1) } else { (Vec::new(), at.next) }
                }
                None => (Vec::new(), lasts_end),
            };
        }
        let Some((number, span)) = segment else { return (Vec::new(), self.index().last() + 1) };
        let (mut taken, mut bytes, mut next) = (Vec::new(), 0, at.next);
        let read = self.segments.read(number, &mut |record| {
            if record.kind != format::MESSAGES || taken.len() >= READ_MAX || bytes >= READ_BYTES_MAX {
                return;
            }
            let Ok(head) = format::decode_head(&mut ByteReader::new(record.payload)) else { return };
            // Of a segment that could not be synced only what no later one repeats counts.
            if head.last < next || head.last > span.last {
                return;
            }
            if !head.subjects.iter().any(|(subject, _)| wanted.pattern.matches(subject)) {
                next = head.last + 1;
                return;
            }
            let messages = format::decode_messages(record.payload).unwrap_or_default();
            let index = self.index();
            // A damaged record may tell sequences again that one before it has.
            let from = next;
            for stored in messages.into_iter().filter(|stored| stored.sequence >= from) {
                if taken.len() >= READ_MAX || bytes >= READ_BYTES_MAX {
                    return;
                }
                next = stored.sequence + 1;
                if wanted.wants(&stored, &index) {
                    bytes += stored.size_bytes();
                    taken.push(Arc::new(stored));
                }
            }
        });
        let is_full = taken.len() >= READ_MAX || bytes >= READ_BYTES_MAX;
        match read {
            Ok(()) if is_full => (taken, next),
            // All of it; or it was removed meanwhile, and what comes behind it is next.
            Ok(()) => (taken, next.max(span.last + 1)),
            Err(_) if self.index().span(number).is_none() => (taken, next),
            Err(failed) => {
                tracing::warn!(error = %failed, "a part of a stream cannot be read");
                (taken, next.max(span.last + 1))
            }
        }
    }

    /// Reads messages of which it is known where they stand.
    fn pick(&self, lasts: &[(u64, u64)], wanted: &Wanted) -> Vec<Arc<Stored>> {
        let mut segments: Vec<u64> = lasts.iter().map(|(_, segment)| *segment).collect();
        segments.sort_unstable();
        segments.dedup();
        let mut taken = Vec::new();
        for segment in segments {
            let here: Vec<u64> = lasts.iter().filter(|(_, at)| *at == segment).map(|(n, _)| *n).collect();
            taken.extend(self.messages_of(segment, &here));
        }
        taken.sort_by_key(|stored| stored.sequence);
        taken.dedup_by_key(|stored| stored.sequence);
        taken.retain(|stored| stored.at >= wanted.since);
        taken
    }

    fn messages_of(&self, segment: u64, sequences: &[u64]) -> Vec<Arc<Stored>> {
        let mut taken = Vec::new();
        let _ = self.segments.read(segment, &mut |record| {
            if ![format::MESSAGES, format::CARRIED].contains(&record.kind) {
                return;
            }
            let Ok(head) = format::decode_head(&mut ByteReader::new(record.payload)) else { return };
            if sequences.iter().any(|sequence| (head.first..=head.last).contains(sequence)) {
                let messages = format::decode_messages(record.payload).unwrap_or_default();
                let wanted = messages.into_iter().filter(|stored| sequences.contains(&stored.sequence));
                taken.extend(wanted.map(Arc::new));
            }
        });
        taken
    }

    /// Returns the oldest segment: its number, what it holds of its own, and whether it is the newest too.
    pub(super) fn oldest(&self) -> Option<(u64, Option<Span>, bool)> {
        let (oldest, newest) = self.segments.numbers()?;
        Some((oldest, self.index().span(oldest), oldest == newest))
    }

    /// Closes the newest segment.
    pub(super) fn rotate(&self) {
        let _ = self.segments.rotate();
    }

    /// Removes the oldest segment; the last messages of their subjects in it are carried on, the newest first, as
    /// long as all that is carried is no more than `carried_bytes_max`. `since`: what is older is not carried.
    pub(super) fn remove(&self, segment: u64, since: Timestamp, carried_bytes_max: u64) -> disk::Result<()> {
        let lasts = self.index().lasts_of(segment);
        let mut room = {
            let mut carried = self.carried_bytes.lock().unwrap_or_else(PoisonError::into_inner);
            carried.remove(&segment);
            carried_bytes_max.saturating_sub(carried.values().sum())
        };
        let mut messages = if lasts.is_empty() { Vec::new() } else { self.messages_of(segment, &lasts) };
        messages.sort_by_key(|stored| std::cmp::Reverse(stored.sequence));
        messages.dedup_by_key(|stored| stored.sequence);
        messages.retain(|stored| {
            let size = stored.size_bytes() as u64;
            let stays = stored.at >= since && size <= room;
            room -= if stays { size } else { 0 };
            stays
        });
        messages.reverse();
        let sequences: Vec<u64> = messages.iter().map(|stored| stored.sequence).collect();
        self.append_messages(format::CARRIED, &messages)?;
        self.segments.sync()?;
        let into = self.newest_segment();
        if !messages.is_empty() {
            let bytes: u64 = messages.iter().map(|stored| stored.size_bytes() as u64).sum();
            *self.carried_bytes.lock().unwrap_or_else(PoisonError::into_inner).entry(into).or_default() += bytes;
        }
        self.index().remove(segment, &sequences, into);
        self.segments.remove_before(segment + 1).map(drop)
    }
}

impl Wanted {
    fn wants(&self, stored: &Stored, index: &Index) -> bool {
        let subject = &stored.message.subject;
        self.pattern.matches(subject) && stored.at >= self.since && index.is_live(subject, stored.sequence)
    }
}
