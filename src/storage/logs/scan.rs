//! Streams, time and needles to lines, newest or oldest first.
//!
//! Days do not overlap, so a scan works through them one after the other. Within a day each batch of the head
//! and each block is a source; a heap gives the source with the next line, and a block is unpacked when its
//! turn comes. Parts of a day seldom overlap, so a few blocks per stream are unpacked at once; if there are
//! more than [`UNPACKED_BYTES_MAX`] bytes of them, those with the farthest next lines are given up and unpacked
//! again later.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use tracing::error;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::files::{DAY_NS, day_of};
use super::head::HeadDay;
use super::instruments::Instruments;
use super::lines::Lines;
use super::part::{BlockPlace, Part};
use super::{Result, filter};
use crate::model::{Labels, LogEntry, Matcher};
use crate::storage::disk::{Disk, DiskFile};

/// How many bytes of unpacked blocks a scan holds before it gives some up.
const UNPACKED_BYTES_MAX: usize = 32 << 20;

/// How many parts a scan keeps open.
const FILES_MAX: usize = 64;

/// In which order a scan gives lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Newest first.
    Backward,
    /// Oldest first.
    Forward,
}

/// What to read.
#[derive(Debug, Clone)]
pub struct ScanRequest {
    /// Conditions on the stream's labels.
    pub matchers: Vec<Matcher>,
    /// First moment, nanoseconds since the epoch, included.
    pub start_ns: i64,
    /// Moment after the last, excluded.
    pub end_ns: i64,
    /// In which order.
    pub direction: Direction,
    /// Texts that each line must hold, as they stand: blocks that cannot hold them are skipped. The caller
    /// still has to check each line.
    pub needles: Vec<String>,
}

/// One line of a scan, as long as the scan is not moved on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// The labels of its stream.
    pub stream: &'a Labels,
    /// When.
    pub timestamp_ns: i64,
    /// The text.
    pub text: &'a str,
}

/// What a scan has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScanStats {
    /// Blocks unpacked.
    pub blocks_read: u64,
    /// Blocks passed over because a needle cannot stand in them.
    pub blocks_passed: u64,
    /// Blocks that did not check out: their lines are missing from the answer.
    pub blocks_damaged: u64,
}

/// One day of a scan: what the store held of it when the scan began.
#[derive(Debug)]
pub(super) struct ScanDay {
    pub(super) day: i64,
    /// The head's lines; those of a part being written first.
    pub(super) heads: Vec<Vec<(Labels, Arc<Lines>)>>,
    pub(super) parts: Vec<Arc<Part>>,
}

/// Lines in the order asked for across all streams; of lines with the same time, streams stay together and the
/// later to come counts as the newer. Iterate over it for [`LogEntry`]s, or call [`Scan::next_line`].
#[derive(Debug)]
pub struct Scan {
    disk: Arc<dyn Disk>,
    instruments: Arc<Instruments>,
    request: ScanRequest,
    /// Days still to come, the next one last.
    days: Vec<ScanDay>,
    sources: Vec<Source>,
    /// The next line of each source that has one, the next of all on top.
    heap: BinaryHeap<Next>,
    files: HashMap<std::path::PathBuf, Arc<dyn DiskFile>>,
    unpacked_bytes: usize,
    /// Lines given with the current time, by hash, so that none is given twice.
    given: HashSet<u128>,
    given_time: i64,
    /// The source and lines of the line given last.
    current: Option<(usize, Arc<Lines>, usize)>,
    stats: ScanStats,
}

/// The next line of a source: its time's rank, then the source's; the highest comes first.
type Next = (i64, usize);

#[derive(Debug)]
struct Source {
    labels: Labels,
    labels_hash: u64,
    place: Place,
    /// The lines, when unpacked.
    lines: Option<Arc<Lines>>,
    /// How many lines were given.
    given: usize,
}

#[derive(Debug)]
enum Place {
    Head(Arc<Lines>),
    Block(Arc<Part>, BlockPlace),
}

impl Place {
    fn bounds(&self) -> Option<(i64, i64)> {
        match self {
            Place::Head(lines) => lines.bounds(),
            Place::Block(_, place) => Some((place.first_ns, place.last_ns)),
        }
    }
}

/// Picks what a scan needs of a day in the head.
pub(super) fn pick(day: &HeadDay, request: &ScanRequest) -> Vec<(Labels, Arc<Lines>)> {
    day.values()
        .filter(|stream| request.matchers.iter().all(|m| m.matches_labels(&stream.labels)))
        .flat_map(|stream| stream.batches.iter().map(|batch| (stream.labels.clone(), batch.clone())))
        .collect()
}

impl Scan {
    /// Begins a scan of these days, in any order.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        instruments: Arc<Instruments>,
        request: ScanRequest,
        mut days: Vec<ScanDay>,
    ) -> Self {
        days.sort_by_key(|day| day.day);
        if request.direction == Direction::Forward {
            days.reverse();
        }
        Scan {
            disk,
            instruments,
            request,
            days,
            sources: Vec::new(),
            heap: BinaryHeap::new(),
            files: HashMap::new(),
            unpacked_bytes: 0,
            given: HashSet::new(),
            given_time: 0,
            current: None,
            stats: ScanStats::default(),
        }
    }

    /// Returns what was read and passed over so far.
    #[must_use]
    pub fn stats(&self) -> ScanStats {
        self.stats
    }

    /// Returns the next line; `None` at the end.
    ///
    /// # Errors
    /// None for now: what cannot be read is reported, counted in [`ScanStats::blocks_damaged`] and passed over.
    pub fn next_line(&mut self) -> Option<Result<Line<'_>>> {
        while !self.step() {
            if self.heap.is_empty() && !self.begin_day() {
                return None;
            }
        }
        let (source, lines, at) = self.current.as_ref()?;
        let stream = &self.sources.get(*source)?.labels;
        Some(Ok(Line { stream, timestamp_ns: lines.time(*at), text: lines.text(*at) }))
    }

    /// Takes the source on top: unpacks it, or makes its next line the current one. Tells whether there is one.
    fn step(&mut self) -> bool {
        let Some(next) = self.heap.pop() else { return false };
        let at = self.source_of(next);
        let Some(lines) = self.sources.get(at).and_then(|s| s.lines.clone()) else {
            self.unpack(at);
            return false;
        };
        let Some((line, has_more)) = self.take(at, &lines) else { return false };
        if !has_more {
            self.give_up(at);
        }
        let time = lines.time(line);
        if time != self.given_time {
            self.given.clear();
            self.given_time = time;
        }
        let seed = self.sources.get(at).map_or(0, |s| s.labels_hash);
        let is_new = self.given.insert(xxh3_128_with_seed(lines.text(line).as_bytes(), seed));
        if is_new {
            self.current = Some((at, lines, line));
        }
        is_new
    }

    /// Counts a source's next line as given and puts the source back if it has another.
    fn take(&mut self, at: usize, lines: &Lines) -> Option<(usize, bool)> {
        let range = lines.range(self.request.start_ns, self.request.end_ns);
        let source = self.sources.get_mut(at)?;
        let line = line_at(&range, source.given, self.request.direction)?;
        source.given += 1;
        let next = line_at(&range, source.given, self.request.direction);
        if let Some(next) = next {
            self.heap.push(self.rank(lines.time(next), at));
        }
        Some((line, next.is_some()))
    }

    /// Unpacks a source whose turn has come and puts it back at its next line.
    fn unpack(&mut self, at: usize) {
        let lines = match self.sources.get(at).map(|s| &s.place) {
            Some(Place::Head(lines)) if lines.is_sorted() => Some(lines.clone()),
            Some(Place::Head(lines)) => Some(Arc::new(lines.sorted())),
            Some(Place::Block(part, place)) => {
                let (part, place) = (part.clone(), *place);
                self.read_block(&part, &place).map(Arc::new)
            }
            None => None,
        };
        let Some(lines) = lines else { return };
        let range = lines.range(self.request.start_ns, self.request.end_ns);
        let Some(source) = self.sources.get_mut(at) else { return };
        let Some(next) = line_at(&range, source.given, self.request.direction) else { return };
        self.unpacked_bytes += lines.bytes();
        let next = lines.time(next);
        source.lines = Some(lines);
        self.heap.push(self.rank(next, at));
        if self.unpacked_bytes > UNPACKED_BYTES_MAX {
            self.give_up_farthest();
        }
    }

    fn read_block(&mut self, part: &Arc<Part>, place: &BlockPlace) -> Option<Lines> {
        if part.is_bad(place) {
            self.stats.blocks_damaged += 1;
            return None;
        }
        let file = self.file(part)?;
        if !self.request.needles.is_empty() {
            let filter = part.filter(&*file, place);
            if !self.request.needles.iter().all(|needle| filter::may_hold(&filter, needle)) {
                self.stats.blocks_passed += 1;
                self.instruments.blocks_passed.with(&["filter"]).inc();
                return None;
            }
        }
        match part.block(&*file, place) {
            Ok(lines) => {
                self.stats.blocks_read += 1;
                self.instruments.blocks_read.inc();
                Some(lines)
            }
            Err(error) => {
                self.stats.blocks_damaged += 1;
                if part.mark_bad(place) {
                    self.instruments.damages.report("logs_block", &format!("{error}; {} lines", place.lines));
                }
                None
            }
        }
    }

    /// Opens a part's file; `None` if it is gone, as when its day was deleted meanwhile.
    fn file(&mut self, part: &Part) -> Option<Arc<dyn DiskFile>> {
        if let Some(file) = self.files.get(&part.path) {
            return Some(file.clone());
        }
        match self.disk.open(&part.path) {
            Ok(file) => {
                if self.files.len() >= FILES_MAX {
                    self.files.clear();
                }
                self.files.insert(part.path.clone(), file.clone());
                Some(file)
            }
            Err(error) => {
                if !error.is_not_found() {
                    error!(%error, "a part of the logs cannot be read");
                    self.stats.blocks_damaged += 1;
                }
                None
            }
        }
    }

    /// Makes sources of the next day's head and blocks. `false` if there is no day left.
    fn begin_day(&mut self) -> bool {
        let Some(day) = self.days.pop() else { return false };
        self.sources.clear();
        self.files.clear();
        self.current = None;
        self.unpacked_bytes = 0;
        for part in &day.parts {
            let Some(file) = self.file(part) else { continue };
            let streams = match part.index(&*file) {
                Ok(streams) => streams,
                Err(error) => {
                    error!(%error, "a part of the logs cannot be read");
                    self.stats.blocks_damaged += 1;
                    continue;
                }
            };
            for stream in streams {
                if !self.request.matchers.iter().all(|m| m.matches_labels(&stream.labels)) {
                    continue;
                }
                for place in stream.blocks {
                    self.add_source(stream.labels.clone(), Place::Block(part.clone(), place));
                }
            }
        }
        for (labels, lines) in day.heads.into_iter().flatten() {
            self.add_source(labels, Place::Head(lines));
        }
        true
    }

    fn add_source(&mut self, labels: Labels, place: Place) {
        let Some((first, last)) = place.bounds() else { return };
        let (start, end) = (self.request.start_ns, self.request.end_ns);
        if first >= end || last < start {
            if let Place::Block(..) = place {
                self.instruments.blocks_passed.with(&["time"]).inc();
            }
            return;
        }
        // Until it is unpacked, the source stands where its next line could be at the earliest.
        let time = match self.request.direction {
            Direction::Forward => first.max(start),
            Direction::Backward => last.min(end - 1),
        };
        self.heap.push(self.rank(time, self.sources.len()));
        let labels_hash = labels.stable_hash();
        self.sources.push(Source { labels, labels_hash, place, lines: None, given: 0 });
    }

    fn rank(&self, time: i64, source: usize) -> Next {
        match self.request.direction {
            Direction::Backward => (time, source),
            Direction::Forward => (!time, !source),
        }
    }

    /// Forgets a source's unpacked lines; if it is still on the heap, they are unpacked again in time.
    fn give_up(&mut self, at: usize) {
        if let Some(lines) = self.sources.get_mut(at).and_then(|s| s.lines.take()) {
            self.unpacked_bytes = self.unpacked_bytes.saturating_sub(lines.bytes());
        }
    }

    /// Gives up the unpacked blocks of the half of the sources whose next lines are farthest.
    fn give_up_farthest(&mut self) {
        let mut waiting: Vec<Next> = self.heap.iter().copied().collect();
        waiting.retain(|next| self.sources.get(self.source_of(*next)).is_some_and(|s| s.lines.is_some()));
        waiting.sort_unstable();
        let farthest = waiting.len() / 2;
        for next in waiting.into_iter().take(farthest) {
            self.give_up(self.source_of(next));
        }
    }

    /// Returns the source of an entry of the heap.
    fn source_of(&self, next: Next) -> usize {
        match self.request.direction {
            Direction::Backward => next.1,
            Direction::Forward => !next.1,
        }
    }
}

impl Iterator for Scan {
    type Item = Result<LogEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = match self.next_line()? {
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        let (stream, line_text) = (line.stream.clone(), line.text.to_owned());
        Some(Ok(LogEntry { stream, timestamp_ns: line.timestamp_ns, line: line_text }))
    }
}

/// Returns which line comes after `given` lines of a range were given.
fn line_at(range: &std::ops::Range<usize>, given: usize, direction: Direction) -> Option<usize> {
    if given >= range.len() {
        return None;
    }
    match direction {
        Direction::Forward => Some(range.start + given),
        Direction::Backward => Some(range.end - 1 - given),
    }
}

/// Returns the days of a time range, first and last; `None` if it is empty.
pub(super) fn days_of(start_ns: i64, end_ns: i64) -> Option<(i64, i64)> {
    (start_ns < end_ns).then(|| (day_of(start_ns), (end_ns - 1).div_euclid(DAY_NS)))
}
