//! A stream's messages on disk: appended and synced by its keeper, read by whoever reads, removed from the front.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Stored;
use super::contents::{self, Contents, Gathering};
use super::format::{self, PlacesRecord};
use super::index::{Index, Limits, Span};
use super::places::Places;
use crate::bus::SubjectPattern;
use crate::model::Timestamp;
use crate::storage::disk::{
    self, ByteReader, Closed, Disk, Malformed, Record, Segments, SegmentsOptions, TEMPORARY_SUFFIX,
};

/// A segment is closed at this size, or at an eighth of what the stream may take.
const SEGMENT_BYTES_MAX: u64 = 1 << 20;
pub(super) const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// Messages that are read at once.
const READ_MAX: usize = 64;
const READ_BYTES_MAX: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Log {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    segments: Segments,
    /// How many of the newest messages of a subject count.
    per_subject: usize,
    index: Mutex<Index>,
    /// Size of the messages that were carried on, by the segment in which they stand now.
    carried_bytes: Mutex<BTreeMap<u64, u64>>,
    /// Segments whose contents are noted beside them, or cannot be.
    noted: Mutex<BTreeSet<u64>>,
    /// Segments that a reader found damaged, and whether that is news.
    damaged: Mutex<BTreeMap<u64, bool>>,
}

/// A start, half way.
struct Restoring {
    index: Index,
    per_subject: usize,
    carried_bytes: BTreeMap<u64, u64>,
    noted: BTreeSet<u64>,
    /// By segment, from the last on that holds all places.
    places: BTreeMap<u64, Vec<PlacesRecord>>,
    /// The segment that is being read.
    gathering: Option<(u64, Gathering)>,
}

/// Messages that were appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Appended {
    /// The sequence of their record.
    pub(super) record: u64,
    /// What they take on disk.
    pub(super) bytes: usize,
}

/// What was found at the start.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) places: Places,
    /// Places that did not check out.
    pub(super) damages: Vec<String>,
    /// Bytes of segments that were read, because what stands in them was not noted.
    pub(super) read_bytes: u64,
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
    /// Opens a stream. Of closed segments only the contents are read that are noted beside them; the newest is read, and
    /// others whose contents are missing.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        limits: Limits,
        bytes_max: u64,
    ) -> disk::Result<(Log, Found)> {
        let segment_bytes_max = (bytes_max / 8).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let options = SegmentsOptions { segment_bytes_max, is_synced: true, has_parity: false };
        let per_subject = limits.per_subject_max.unwrap_or(1);
        let restoring = RefCell::new(Restoring::new(limits));
        let mut noted = |number, bytes| {
            let (contents, records) = contents::read(&*disk, folder, (number, bytes), per_subject)?;
            restoring.borrow_mut().noted(number, &contents);
            Some(records)
        };
        let mut visit = |record: Record<'_>| restoring.borrow_mut().take(&record);
        let (segments, read) = Segments::open_noted(disk.clone(), folder, options, &mut noted, &mut visit)?;
        tidy(&*disk, folder, &segments);
        let Restoring { mut index, carried_bytes, noted, places, .. } = restoring.into_inner().finished();
        let damages = read.damages.iter().map(ToString::to_string).collect();
        let mut found = Found { damages, read_bytes: read.bytes, ..Found::default() };
        let mut next = 1;
        for record in newest_places(&segments, places) {
            next = record.next_sequence.max(next);
            found.places.restore(record);
        }
        index.restored(next);
        let log = Log {
            disk,
            folder: folder.to_owned(),
            segments,
            per_subject,
            index: Mutex::new(index),
            carried_bytes: Mutex::new(carried_bytes),
            noted: Mutex::new(noted),
            damaged: Mutex::default(),
        };
        Ok((log, found))
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

    /// Appends messages, some; [`Log::sync`] makes them last. After an error nothing of them is kept.
    pub(super) fn append(&self, messages: &[Arc<Stored>]) -> disk::Result<Appended> {
        self.append_messages(format::MESSAGES, messages)
    }

    fn append_messages(&self, kind: u8, messages: &[Arc<Stored>]) -> disk::Result<Appended> {
        let packed = format::encode_messages(messages).map_err(disk::Error::io("pack messages for", &self.folder))?;
        Ok(Appended { record: self.segments.append(kind, &packed)?, bytes: packed.len() })
    }

    /// Appends places; as [`Log::append`]. Returns the segment in which they stand.
    pub(super) fn append_places(&self, record: &PlacesRecord) -> disk::Result<u64> {
        let packed = format::encode_places(record).map_err(disk::Error::io("pack places for", &self.folder))?;
        Ok(self.segment_of(self.segments.append(format::PLACES, &packed)?))
    }

    fn segment_of(&self, record: u64) -> u64 {
        self.segments.segment_of(record).unwrap_or_else(|| self.newest_segment())
    }

    /// Makes what was appended last. After an error it is in memory and written anew by the next call.
    pub(super) fn sync(&self) -> disk::Result<()> {
        self.segments.sync().map(drop)
    }

    /// Notes messages that stand in a record that was appended and synced; readers have them from now on.
    pub(super) fn added(&self, record: u64, messages: &[Arc<Stored>]) {
        self.index().add(self.segment_of(record), messages);
    }

    /// Returns the newest messages' ids, oldest first: of those stored less than a time before the last, about as many
    /// as are wanted, or all.
    pub(super) fn ids(&self, within_ms: i64, wanted: usize) -> Vec<Arc<str>> {
        let Some(newest) = self.index().newest() else { return Vec::new() };
        let since = Timestamp::from_millis(newest.as_millis().saturating_sub(within_ms));
        let segments = self.index().segments_since(since);
        let (mut all, mut count) = (Vec::new(), 0);
        for segment in segments.into_iter().rev() {
            let mut ids = Vec::new();
            let _ = self.segments.read(segment, &mut |record| {
                let is_young = |head: format::Head| head.newest >= since;
                let head = format::decode_head(&mut ByteReader::new(record.payload));
                if record.kind == format::MESSAGES && head.is_ok_and(is_young) {
                    let messages = format::decode_messages(record.payload).unwrap_or_default();
                    ids.extend(messages.into_iter().filter(|stored| stored.at >= since).filter_map(|stored| stored.id));
                }
            });
            count += ids.len();
            all.push(ids);
            if count >= wanted {
                break;
            }
        }
        all.into_iter().rev().flatten().collect()
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
        if read.as_ref().is_ok_and(|damaged| *damaged > 0) {
            self.note_damage(number);
        }
        match read {
            Ok(_) if is_full => (taken, next),
            // All of it; or it was removed meanwhile, and what comes behind it is next.
            Ok(_) => (taken, next.max(span.last + 1)),
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

    /// Notes the contents of closed segments that have none yet, at most so many. Returns whether that were all.
    pub(super) fn note_contents(&self, max: usize) -> disk::Result<bool> {
        let mut room = max;
        for segment in self.segments.closed().into_iter().filter(|segment| segment.is_sound) {
            if self.noted().contains(&segment.number) {
                continue;
            }
            if room == 0 {
                return Ok(false);
            }
            room -= 1;
            let mut gathering = Gathering::new(self.per_subject);
            let mut is_whole = true;
            let read = self.segments.read(segment.number, &mut |record| is_whole &= gathering.take(&record).is_ok());
            // What is damaged is read, and told, at each start; what is gone needs nothing.
            if is_whole && read.is_ok_and(|damaged| damaged == 0) {
                let Closed { number, bytes, records, .. } = segment.clone();
                let about = contents::Segment { number, bytes, records, per_subject: self.per_subject as u64 };
                let packed = contents::encode(&about, &gathering.finish());
                let packed = packed.map_err(disk::Error::io("pack the contents of a part of", &self.folder))?;
                disk::replace(&*self.disk, &contents::path(&self.folder, number), &packed)?;
            }
            self.noted().insert(segment.number);
        }
        Ok(true)
    }

    /// Returns how many segments were found damaged by those who read, since this was asked last.
    pub(super) fn new_damages(&self) -> u64 {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        damaged.values_mut().map(std::mem::take).filter(|is_new| *is_new).count() as u64
    }

    fn note_damage(&self, segment: u64) {
        // In the newest it may be a record that is just being written.
        if segment == self.newest_segment() {
            return;
        }
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        damaged.entry(segment).or_insert_with(|| {
            tracing::warn!(folder = %self.folder.display(), segment, "a part of a stream does not check out");
            true
        });
    }

    fn noted(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
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
        let carried = match messages.is_empty() {
            true => None,
            false => Some(self.append_messages(format::CARRIED, &messages)?),
        };
        self.segments.sync()?;
        let into = carried.map_or(0, |carried| self.segment_of(carried.record));
        if !messages.is_empty() {
            let bytes: u64 = messages.iter().map(|stored| stored.size_bytes() as u64).sum();
            *self.carried_bytes.lock().unwrap_or_else(PoisonError::into_inner).entry(into).or_default() += bytes;
        }
        self.index().remove(segment, &sequences, into);
        // First, so that none is left without its segment.
        match self.disk.remove_file(&contents::path(&self.folder, segment)) {
            Err(failed) if !failed.is_not_found() => return Err(failed),
            _ => {}
        }
        self.noted().remove(&segment);
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).remove(&segment);
        self.segments.remove_before(segment + 1).map(drop)
    }
}

impl Restoring {
    fn new(limits: Limits) -> Self {
        let (index, per_subject) = (Index::new(limits), limits.per_subject_max.unwrap_or(1));
        let (carried_bytes, noted, places) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Restoring { index, per_subject, carried_bytes, noted, places, gathering: None }
    }

    /// Takes a segment whose contents are noted.
    fn noted(&mut self, number: u64, contents: &Contents) {
        self.finish_segment();
        self.noted.insert(number);
        self.restore(number, contents);
    }

    /// Takes a record of a segment that is read.
    fn take(&mut self, record: &Record<'_>) -> Result<(), Malformed> {
        if self.gathering.as_ref().is_none_or(|(number, _)| *number != record.segment) {
            self.finish_segment();
            self.gathering = Some((record.segment, Gathering::new(self.per_subject)));
        }
        if record.kind == format::PLACES {
            let places = format::decode_places(record.payload)?;
            if places.is_whole {
                self.places.clear();
            }
            self.places.entry(record.segment).or_default().push(places);
        }
        self.gathering.as_mut().map_or(Ok(()), |(_, gathering)| gathering.take(record))
    }

    fn finish_segment(&mut self) {
        if let Some((number, gathering)) = self.gathering.take() {
            self.restore(number, &gathering.finish());
        }
    }

    fn restore(&mut self, number: u64, contents: &Contents) {
        self.index.restore(number, contents);
        if contents.carried_bytes > 0 {
            *self.carried_bytes.entry(number).or_default() += contents.carried_bytes;
        }
    }

    fn finished(mut self) -> Self {
        self.finish_segment();
        self
    }
}

/// Returns the records of places from the last on that holds all of them, oldest first. `read` are those of segments
/// that were read: in others they are looked for, from the newest back.
fn newest_places(segments: &Segments, mut read: BTreeMap<u64, Vec<PlacesRecord>>) -> Vec<PlacesRecord> {
    let mut newest = Vec::new();
    for segment in segments.closed().iter().rev() {
        let mut here = read.remove(&segment.number).unwrap_or_default();
        if here.is_empty() {
            let _ = segments.read(segment.number, &mut |record| {
                if record.kind == format::PLACES {
                    here.extend(format::decode_places(record.payload));
                }
            });
        }
        let is_whole = here.iter().any(|record| record.is_whole);
        newest.push(here);
        if is_whole {
            break;
        }
    }
    newest.into_iter().rev().flatten().collect()
}

/// Removes what a crash has left: files in the making, contents whose segment is gone.
fn tidy(disk: &dyn Disk, folder: &Path, segments: &Segments) {
    let there: BTreeSet<PathBuf> = segments.closed().iter().map(|s| contents::path(folder, s.number)).collect();
    for entry in disk.list(folder).unwrap_or_default() {
        let path = folder.join(&entry.name);
        let is_left = entry.name.ends_with(contents::SUFFIX) && !there.contains(&path);
        if (is_left || entry.name.ends_with(TEMPORARY_SUFFIX))
            && let Err(failed) = disk.remove_file(&path)
        {
            tracing::warn!(error = %failed, "what a crash has left of a stream cannot be removed");
        }
    }
}

impl Wanted {
    fn wants(&self, stored: &Stored, index: &Index) -> bool {
        let subject = &stored.message.subject;
        self.pattern.matches(subject) && stored.at >= self.since && index.is_live(subject, stored.sequence)
    }
}
