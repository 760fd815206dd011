//! The spool's file: batches appended and synced, read again when their turn comes, removed from the front.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Entry;
use super::format::{self, BatchHead, Mark, Span};
use crate::model::Timestamp;
use crate::storage::disk::{self, ByteReader, Disk, Segments, SegmentsOptions};

/// A segment is closed at this size.
const SEGMENT_BYTES_MAX: u64 = 1 << 20;
/// The newest segment is closed for removal only when it is as large.
const WORTH_REMOVING_BYTES: u64 = 64 << 10;
/// Marks of one stream that are remembered from before a start: so many seconds of traffic.
const MARKS_MAX: usize = 600;

#[derive(Debug)]
pub(super) struct Files {
    segments: Segments,
    contents: Mutex<BTreeMap<u64, Content>>,
    /// What was appended since the last good sync.
    unsynced: Mutex<Vec<BatchHead>>,
}

/// What a segment holds.
#[derive(Debug, Clone)]
struct Content {
    newest: Timestamp,
    spans: Vec<Span>,
}

/// What was found at the start.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Of each stream, oldest first.
    pub(super) marks: BTreeMap<Arc<str>, Vec<Mark>>,
    /// The last number there is.
    pub(super) last: u64,
    /// Places that did not check out.
    pub(super) damages: Vec<String>,
}

/// The oldest segment, for who decides whether it goes.
#[derive(Debug)]
pub(super) struct Oldest {
    pub(super) number: u64,
    pub(super) newest: Timestamp,
    pub(super) spans: Vec<Span>,
    is_newest: bool,
}

impl Files {
    /// Opens the spool. Reads all segments, unpacks nothing.
    pub(super) fn open(disk: Arc<dyn Disk>, folder: &Path) -> disk::Result<(Files, Found)> {
        let options = SegmentsOptions { segment_bytes_max: SEGMENT_BYTES_MAX, is_synced: true, has_parity: false };
        let mut contents = BTreeMap::new();
        let mut found = Found::default();
        let (segments, read) = Segments::open(disk, folder, options, &mut |record| {
            match record.kind {
                format::BATCH => {
                    let head = format::decode_head(&mut ByteReader::new(record.payload))?;
                    found.last = head.spans.iter().map(|span| span.last).max().unwrap_or(0).max(found.last);
                    note(&mut contents, record.segment, head);
                }
                format::MARKS => {
                    for mark in format::decode_marks(record.payload)? {
                        found.last = found.last.max(mark.done).max(mark.sent);
                        let marks: &mut Vec<Mark> = found.marks.entry(mark.stream.clone()).or_default();
                        if marks.len() >= MARKS_MAX {
                            marks.remove(0);
                        }
                        marks.push(mark);
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        found.damages = read.damages.iter().map(ToString::to_string).collect();
        Ok((Files { segments, contents: Mutex::new(contents), unsynced: Mutex::default() }, found))
    }

    /// Appends messages, then how far the streams have come; [`Files::sync`] makes them last. After an error nothing
    /// of the messages is kept.
    pub(super) fn append(&self, entries: &[Arc<Entry>], marks: &[Mark]) -> disk::Result<()> {
        if !entries.is_empty() {
            let packed = format::encode_batch(entries);
            let (head, batch) = packed.map_err(disk::Error::io("pack messages for", Path::new("bus/spool")))?;
            self.segments.append(format::BATCH, &batch)?;
            let segment = self.segments.numbers().map_or(0, |(_, newest)| newest);
            note(&mut self.contents(), segment, head.clone());
            self.unsynced().push(head);
        }
        if !marks.is_empty() {
            self.segments.append(format::MARKS, &format::encode_marks(marks))?;
        }
        Ok(())
    }

    /// Makes what was appended last. After an error it is in memory and written anew by the next call.
    pub(super) fn sync(&self) -> disk::Result<()> {
        let before = self.segments.numbers();
        self.segments.sync()?;
        let heads = std::mem::take(&mut *self.unsynced());
        if let Some((_, newest)) = self.segments.numbers().filter(|_| before != self.segments.numbers()) {
            // An earlier sync failed: they stand in a new segment, and where they stood before nothing is sure.
            for mut head in heads {
                head.spans.iter_mut().for_each(|span| span.count = 0);
                note(&mut self.contents(), newest, head);
            }
        }
        Ok(())
    }

    /// Reads messages from a number on, whole batches, until they are so many bytes. Returns them with the number
    /// up to which all are read.
    pub(super) fn read_from(&self, number: u64, bytes_max: usize) -> disk::Result<(Vec<Entry>, u64)> {
        let first_of = |spans: &[Span]| spans.iter().map(|span| span.first).min().unwrap_or(u64::MAX);
        let last_of = |spans: &[Span]| spans.iter().map(|span| span.last).max().unwrap_or(0);
        let all: Vec<(u64, u64, u64)> =
            self.contents().iter().map(|(n, c)| (*n, first_of(&c.spans), last_of(&c.spans))).collect();
        let (mut entries, mut through, mut bytes) = (Vec::new(), number.saturating_sub(1), 0);
        for (at, (segment, _, _)) in all.iter().enumerate().filter(|(_, (_, _, last))| *last >= number) {
            // After a failed sync a later segment begins again, and its copies count.
            let later = all.iter().skip(at + 1).map(|(_, first, _)| *first).min().unwrap_or(u64::MAX);
            self.segments.read(*segment, &mut |record| {
                if record.kind != format::BATCH || bytes >= bytes_max {
                    return;
                }
                let Ok(head) = format::decode_head(&mut ByteReader::new(record.payload)) else { return };
                if last_of(&head.spans) <= through || first_of(&head.spans) >= later {
                    return;
                }
                through = last_of(&head.spans);
                let read = format::decode_batch(record.payload).unwrap_or_default();
                bytes += read.iter().map(Entry::size_bytes).sum::<usize>();
                entries.extend(read.into_iter().filter(|entry| entry.number >= number));
            })?;
            if bytes >= bytes_max {
                return Ok((entries, through));
            }
        }
        let last = all.iter().map(|(_, _, last)| *last).max().unwrap_or(0);
        Ok((entries, through.max(last)))
    }

    /// Returns how many messages of a stream stand behind a number, in one segment or in all.
    pub(super) fn count_behind(&self, stream: &str, number: u64, segment: Option<u64>) -> u64 {
        let contents = self.contents().clone();
        let wanted = contents.iter().filter(|(n, _)| segment.is_none_or(|s| s == **n));
        let spans = wanted.flat_map(|(n, content)| content.spans.iter().map(move |span| (*n, span)));
        spans
            .filter(|(_, span)| *span.stream == *stream && span.last > number)
            .map(|(n, span)| if span.first > number { span.count } else { self.count_exactly(n, stream, number) })
            .sum()
    }

    fn count_exactly(&self, segment: u64, stream: &str, number: u64) -> u64 {
        let mut count = 0;
        let read = self.segments.read(segment, &mut |record| {
            if record.kind == format::BATCH {
                let entries = format::decode_batch(record.payload).unwrap_or_default();
                count += entries.iter().filter(|e| *e.stream == *stream && e.number > number).count() as u64;
            }
        });
        read.map_or(0, |_| count)
    }

    /// Returns the streams that messages of are there.
    pub(super) fn streams(&self) -> Vec<Arc<str>> {
        let contents = self.contents();
        let all = contents.values().flat_map(|content| content.spans.iter().map(|span| span.stream.clone()));
        all.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// Returns the oldest segment; nothing if there is none.
    pub(super) fn oldest(&self) -> Option<Oldest> {
        let (number, newest) = self.segments.numbers()?;
        let content = self.contents().get(&number).cloned();
        let (stamp, spans) = content.map_or((Timestamp::MIN, Vec::new()), |content| (content.newest, content.spans));
        Some(Oldest { number, newest: stamp, spans, is_newest: number == newest })
    }

    /// Tells whether removing a segment that nobody needs is worth a new file.
    pub(super) fn is_worth_removing(&self, oldest: &Oldest) -> bool {
        !oldest.is_newest || self.segments.bytes() >= WORTH_REMOVING_BYTES
    }

    /// Removes the oldest segment. How far the streams have come is written anew, in case it stood only there.
    pub(super) fn remove(&self, oldest: &Oldest, marks: &[Mark]) -> disk::Result<()> {
        if oldest.is_newest {
            let _ = self.segments.rotate();
        }
        if oldest.is_newest || self.segments.numbers().is_some_and(|(first, last)| last - first <= 1) {
            self.segments.append(format::MARKS, &format::encode_marks(marks))?;
            self.segments.sync()?;
        }
        self.segments.remove_before(oldest.number + 1)?;
        self.contents().remove(&oldest.number);
        Ok(())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.bytes()
    }

    fn unsynced(&self) -> MutexGuard<'_, Vec<BatchHead>> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contents(&self) -> MutexGuard<'_, BTreeMap<u64, Content>> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(contents: &mut BTreeMap<u64, Content>, segment: u64, head: BatchHead) {
    let content = contents.entry(segment).or_insert(Content { newest: Timestamp::MIN, spans: Vec::new() });
    content.newest = content.newest.max(head.newest);
    for span in head.spans {
        match content.spans.iter_mut().find(|known| known.stream == span.stream) {
            Some(known) => (known.count, known.last) = (known.count + span.count, known.last.max(span.last)),
            None => content.spans.push(span),
        }
    }
}
