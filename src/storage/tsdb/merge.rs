//! Series of several sources as one: by labels, samples in order, each once.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::block::{Block, ChunkPlace, Page, TimesPlace, checked_column};
use super::cache::PageCache;
use super::chunk::Window;
use super::column::decode_bare_values;
use super::head::{Decoded, Parts, View};
use crate::model::Labels;
use crate::storage::disk::{Error, Malformed};

/// So many times are kept unpacked per block while it is read, 4 MiB: series of one scrape share them.
const TIMES_KEPT_MAX: usize = 512 << 10;

/// Neighbouring columns are read in stretches of up to this size,
const STRETCH_BYTES: u64 = 256 << 10;

/// unless so many bytes between two of them are not wanted.
const GAP_BYTES: u64 = 8 << 10;

/// Series of one place, sorted by labels.
#[derive(Debug)]
pub(crate) enum Source {
    /// A copy of what the head had.
    Head(Box<HeadSource>),
    /// A block.
    Block(Box<BlockSource>),
}

/// Series of the head.
#[derive(Debug)]
pub(crate) struct HeadSource {
    series: View<Parts>,
    /// The series that comes next, if it was looked at.
    next: Option<(Labels, Parts)>,
    decoded: Decoded,
}

/// Series of a block, read one by one.
#[derive(Debug)]
pub(crate) struct BlockSource {
    block: Arc<Block>,
    cache: Arc<PageCache>,
    min: i64,
    max: i64,
    /// Pages that come, with the series wanted of each.
    pages: std::vec::IntoIter<(usize, Vec<u32>)>,
    page: Option<OpenPage>,
    has_begun: bool,
    /// The series that comes next, and where its chunks end in the page's list.
    next: Option<(Labels, usize)>,
    times: HashMap<u64, Arc<Vec<i64>>, FixedState>,
    times_kept: usize,
    /// What was read last of the file of chunks, and where it begins.
    stretch: (u64, Vec<u8>),
    text: String,
    /// A failure of the disk that is no damage: what should have been read may still be there.
    failure: Option<Error>,
}

/// A page that is being read.
#[derive(Debug)]
struct OpenPage {
    page: Arc<Page>,
    /// Series and the ends of their chunks in `chunks`.
    series: std::vec::IntoIter<(u32, usize)>,
    /// All chunks wanted of the page, series by series.
    chunks: Vec<ChunkPlace>,
    /// What is deleted of chunks, by their places in the list.
    deleted: HashMap<usize, Vec<(i64, i64)>, FixedState>,
    /// Where the chunks of the next series begin.
    start: usize,
}

/// Samples of one series that lie together.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) min: i64,
    pub(crate) max: i64,
    /// Whether some of the samples do not count: they were deleted.
    pub(crate) is_masked: bool,
    /// Number of the source.
    source: usize,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Window(Window),
    /// A chunk, and its place in the list of the page.
    Chunk(ChunkPlace, usize),
}

impl Piece {
    /// Returns how many samples there are.
    pub(crate) fn len(&self) -> usize {
        match &self.held {
            Held::Window(window) => window.len(),
            Held::Chunk(chunk, _) => chunk.times.count as usize,
        }
    }
}

impl BlockSource {
    /// Reads these series of these pages, as far as they have samples in `[min, max]`.
    pub(crate) fn new(
        block: Arc<Block>,
        cache: Arc<PageCache>,
        pages: Vec<(usize, Vec<u32>)>,
        min: i64,
        max: i64,
    ) -> Self {
        BlockSource {
            block,
            cache,
            min,
            max,
            pages: pages.into_iter(),
            page: None,
            has_begun: false,
            next: None,
            times: HashMap::default(),
            times_kept: 0,
            stretch: (0, Vec::new()),
            text: String::new(),
            failure: None,
        }
    }

    /// Returns the labels of the series that comes next.
    fn peek(&mut self) -> Option<&Labels> {
        if !self.has_begun {
            self.has_begun = true;
            self.advance();
        }
        self.next.as_ref().map(|(labels, _)| labels)
    }

    /// Returns how many series come at most, of pages that are not open yet.
    fn series_max(&self) -> usize {
        self.pages.as_slice().iter().map(|(_, ids)| ids.len()).sum()
    }

    /// Returns the labels of one of the series of pages that are not open yet.
    fn labels_at(&self, mut at: usize) -> Option<Labels> {
        let found = self.pages.as_slice().iter().find(|(_, ids)| {
            let is_there = at < ids.len();
            at -= if is_there { 0 } else { ids.len() };
            is_there
        });
        let (number, ids) = found?;
        self.labels_of(*number, *ids.get(at)?)
    }

    fn labels_of(&self, page: usize, series: u32) -> Option<Labels> {
        Some(self.cache.get(&self.block, page).ok()??.labels(series, &mut String::new()))
    }

    /// Takes the series from these labels on away, of pages that are not open yet, and returns them. Of a page that
    /// does not check out all stay.
    fn split_off(&mut self, border: &Labels) -> BlockSource {
        let mut pages: Vec<(usize, Vec<u32>)> = std::mem::take(&mut self.pages).collect();
        let is_before = |page: usize, id: u32| self.labels_of(page, id).is_none_or(|labels| labels < *border);
        let at = pages.partition_point(|(page, ids)| ids.first().is_none_or(|id| is_before(*page, *id)));
        let mut behind = pages.split_off(at);
        if let Some((page, ids)) = pages.last_mut() {
            let of_page = ids.split_off(ids.partition_point(|id| is_before(*page, *id)));
            if !of_page.is_empty() {
                behind.insert(0, (*page, of_page));
            }
        }
        self.pages = pages.into_iter();
        BlockSource::new(self.block.clone(), self.cache.clone(), behind, self.min, self.max)
    }

    pub(crate) fn block(&self) -> &Block {
        &self.block
    }

    fn advance(&mut self) {
        self.next = loop {
            if let Some(open) = &mut self.page {
                open.start = self.next.as_ref().map_or(open.start, |(_, end)| *end);
                if let Some((series, end)) = open.series.next() {
                    break Some((open.page.labels(series, &mut self.text), end));
                }
            }
            self.next = None;
            let Some((number, ids)) = self.pages.next() else { break None };
            self.page = self.open_page(number, ids);
        };
    }

    fn open_page(&mut self, number: usize, ids: Vec<u32>) -> Option<OpenPage> {
        let page = self.cache.get(&self.block, number);
        let page = page.unwrap_or_else(|error| {
            self.lost("index", 0, error);
            None
        })?;
        let places = page.chunks().ok()?;
        let mask = self.block.deleted.mask(&*page);
        let (mut chunks, mut series) = (Vec::new(), Vec::with_capacity(ids.len()));
        let mut deleted = HashMap::default();
        for id in ids {
            let before = chunks.len();
            for chunk in places.of(id).filter(|c| c.times.min <= self.max && c.times.max >= self.min) {
                let (min, max) = (chunk.times.min, chunk.times.max);
                if mask.covers(id, min, max) {
                    continue;
                }
                if mask.touches(id, min, max) {
                    deleted.insert(chunks.len(), mask.of(id).to_vec());
                }
                chunks.push(chunk);
            }
            if chunks.len() > before {
                series.push((id, chunks.len()));
            }
        }
        Some(OpenPage { page, series: series.into_iter(), chunks, deleted, start: 0 })
    }

    /// Appends the chunks of the series that comes next; goes on to the one behind only with
    /// [`BlockSource::advance`], when they have been read.
    fn pieces(&self, source: usize, pieces: &mut Vec<Piece>) {
        let (Some(open), Some((_, end))) = (&self.page, &self.next) else { return };
        let chunks = open.chunks.get(open.start..*end).unwrap_or_default();
        pieces.extend(chunks.iter().zip(open.start..).map(|(chunk, at)| Piece {
            min: chunk.times.min,
            max: chunk.times.max,
            is_masked: open.deleted.contains_key(&at),
            source,
            held: Held::Chunk(*chunk, at),
        }));
    }

    /// Returns times and column of values of a chunk; `None` if they do not check out, which is noted.
    fn read(&mut self, chunk: ChunkPlace, at: usize) -> Option<(Arc<Vec<i64>>, &[u8])> {
        let times = match self.read_times(chunk.times) {
            Ok(times) => times,
            Err(error) => {
                self.lost("chunk", chunk.times.column.offset, error);
                return None;
            }
        };
        let (offset, end) = (chunk.values.offset, chunk.values.end());
        if offset < self.stretch.0 || end > self.stretch.0 + self.stretch.1.len() as u64 {
            match self.block.read_chunks(offset, usize::try_from(self.stretch_end(at) - offset).unwrap_or(0)) {
                Ok(bytes) => self.stretch = (offset, bytes),
                Err(error) => {
                    self.lost("chunk", offset, error);
                    return None;
                }
            }
        }
        let within = |at: u64| usize::try_from(at - self.stretch.0).unwrap_or(usize::MAX);
        let column = self.stretch.1.get(within(offset)..within(end)).and_then(checked_column);
        if column.is_none() {
            let (count, first, last) = (chunk.times.count, chunk.times.min, chunk.times.max);
            let mut damage = self.block.damage(chunk.values, &Malformed { offset: 0, reason: "does not check out" });
            damage.reason = format!("column of {count} samples from {first} to {last} does not check out");
            self.block.found("chunk", &damage);
        }
        column.map(|column| (times, column))
    }

    /// Returns how far to read from a chunk on: over those behind it that are wanted and near.
    fn stretch_end(&self, at: usize) -> u64 {
        let chunks = self.page.as_ref().and_then(|open| open.chunks.get(at..)).unwrap_or_default();
        let Some(first) = chunks.first() else { return 0 };
        let mut end = first.values.end();
        for chunk in chunks.iter().skip(1) {
            let (offset, next) = (chunk.values.offset, chunk.values.end());
            if offset < end || offset - end > GAP_BYTES || next - first.values.offset > STRETCH_BYTES {
                break;
            }
            end = next;
        }
        end
    }

    fn read_times(&mut self, place: TimesPlace) -> Result<Arc<Vec<i64>>, Error> {
        if let Some(times) = self.times.get(&place.column.offset) {
            return Ok(times.clone());
        }
        let times = Arc::new(self.block.read_times(place)?);
        if self.times_kept + times.len() > TIMES_KEPT_MAX {
            self.times.clear();
            self.times_kept = 0;
        }
        self.times_kept += times.len();
        self.times.insert(place.column.offset, times.clone());
        Ok(times)
    }

    fn lost(&mut self, what: &'static str, offset: u64, error: Error) {
        match error {
            Error::Corruption(damage) => self.block.found(what, &damage),
            other => {
                let damage = Malformed { offset: 0, reason: "cannot be read" };
                let mut damage = damage.in_file(&self.block.folder, offset, 0);
                damage.reason = other.to_string();
                self.block.found(what, &damage);
                self.failure.get_or_insert(other);
            }
        }
    }

    /// Appends the samples of a chunk in `[min, max]` that are not deleted.
    fn read_into(&mut self, chunk: ChunkPlace, at: usize, out: &mut Window) {
        let before = out.len();
        self.read_all_into(chunk, at, out);
        if let Some(deleted) = self.page.as_ref().and_then(|open| open.deleted.get(&at)) {
            let mut read = Window { times: out.times.split_off(before), values: out.values.split_off(before) };
            for (min, max) in deleted {
                read = read.without(*min, *max);
            }
            out.times.append(&mut read.times);
            out.values.append(&mut read.values);
        }
    }

    /// Appends the samples of a chunk in `[min, max]`.
    fn read_all_into(&mut self, chunk: ChunkPlace, at: usize, out: &mut Window) {
        let (min, max) = (self.min, self.max);
        let Some((times, column)) = self.read(chunk, at) else { return };
        let start = out.values.len();
        if let Err(e) = decode_bare_values(column, times.len(), &mut out.values) {
            self.block.found("chunk", &self.block.damage(chunk.values, &e));
            return;
        }
        if min <= chunk.times.min && chunk.times.max <= max {
            out.times.extend_from_slice(&times);
            return;
        }
        let from = times.partition_point(|t| *t < min);
        let to = times.partition_point(|t| *t <= max).max(from);
        out.times.extend_from_slice(times.get(from..to).unwrap_or_default());
        out.values.truncate(start + to);
        out.values.drain(start..start + from);
    }
}

impl HeadSource {
    fn peek(&mut self) -> Option<&Labels> {
        if self.next.is_none() {
            self.next = self.series.next();
        }
        self.next.as_ref().map(|(labels, _)| labels)
    }

    fn split_off(&mut self, border: &Labels) -> View<Parts> {
        let (mut low, mut high) = (0, self.series.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.series.labels_at(middle).is_some_and(|labels| labels < *border) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.series.split_off(low)
    }
}

impl Source {
    /// Returns a copy of the head, by labels, as source.
    pub(crate) fn head(series: View<Parts>) -> Source {
        Source::Head(Box::new(HeadSource { series, next: None, decoded: Decoded::default() }))
    }

    fn peek(&mut self) -> Option<&Labels> {
        match self {
            Source::Head(head) => head.peek(),
            Source::Block(block) => block.peek(),
        }
    }

    fn series_max(&self) -> usize {
        match self {
            Source::Head(head) => head.series.len(),
            Source::Block(block) => block.series_max(),
        }
    }

    fn labels_at(&self, at: usize) -> Option<Labels> {
        match self {
            Source::Head(head) => head.series.labels_at(at),
            Source::Block(block) => block.labels_at(at),
        }
    }

    /// Takes the series from these labels on away and returns them. To be called before the first is looked at.
    fn split_off(&mut self, border: &Labels) -> Source {
        match self {
            Source::Head(head) => Source::head(head.split_off(border)),
            Source::Block(block) => Source::Block(Box::new(block.split_off(border))),
        }
    }
}

/// Several sources as one. Where two have a sample at the same time, the one further in front counts.
#[derive(Debug)]
pub(crate) struct Merged {
    sources: Vec<Source>,
    min: i64,
    max: i64,
    /// Sources whose series `pieces` are of: they have not gone on yet.
    behind: Vec<usize>,
    /// Room for the pieces of a series.
    pieces: Vec<Piece>,
}

impl Merged {
    pub(crate) fn new(sources: Vec<Source>, min: i64, max: i64) -> Self {
        Merged { sources, min, max, behind: Vec::new(), pieces: Vec::new() }
    }

    /// Returns how many series come at most, before the first was looked at.
    pub(crate) fn series_max(&self) -> usize {
        self.sources.iter().map(Source::series_max).max().unwrap_or(0)
    }

    /// Cuts it into so many, of about as many series each, one behind the other; fewer if there are not so many series.
    /// To be called before the first is looked at.
    pub(crate) fn split(mut self, parts: usize) -> Vec<Merged> {
        let widest = self.sources.iter().max_by_key(|source| source.series_max());
        let mut borders: Vec<Labels> = widest.map_or_else(Vec::new, |widest| {
            let count = widest.series_max();
            (1..parts).filter_map(|part| widest.labels_at(count * part / parts)).collect()
        });
        borders.dedup();
        let mut split = Vec::with_capacity(parts);
        for border in borders.iter().rev() {
            let behind = self.sources.iter_mut().map(|source| source.split_off(border)).collect();
            split.push(Merged::new(behind, self.min, self.max));
        }
        split.push(self);
        split.reverse();
        split
    }

    /// Returns the blocks it reads.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.sources.iter().filter_map(|s| match s {
            Source::Block(source) => Some(source.block()),
            Source::Head(..) => None,
        })
    }

    /// Returns a failure of the disk that is no damage.
    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        self.sources.iter_mut().find_map(|s| match s {
            Source::Block(source) => source.failure.take(),
            Source::Head(..) => None,
        })
    }

    /// Returns the series that comes next and its pieces, sorted by where they begin.
    pub(crate) fn next_pieces(&mut self) -> Option<(Labels, Vec<Piece>)> {
        let mut pieces = Vec::new();
        let labels = self.next_pieces_into(&mut pieces)?;
        Some((labels, pieces))
    }

    /// As [`Merged::next_pieces`], with a list that is empty.
    fn next_pieces_into(&mut self, pieces: &mut Vec<Piece>) -> Option<Labels> {
        for behind in self.behind.drain(..) {
            if let Some(Source::Block(source)) = self.sources.get_mut(behind) {
                source.advance();
            }
        }
        let labels = self.sources.iter_mut().filter_map(Source::peek).min()?.clone();
        for (number, source) in self.sources.iter_mut().enumerate() {
            if source.peek() != Some(&labels) {
                continue;
            }
            match source {
                Source::Head(head) => {
                    let window = head.next.take().map(|(_, parts)| parts.read(self.min, self.max, &mut head.decoded));
                    pieces.extend(window.and_then(|window| {
                        let (min, max) = window.range()?;
                        Some(Piece { min, max, is_masked: false, source: number, held: Held::Window(window) })
                    }));
                }
                Source::Block(source) => {
                    source.pieces(number, pieces);
                    self.behind.push(number);
                }
            }
        }
        pieces.sort_by_key(|p| p.min);
        Some(labels)
    }

    /// Reads the next series: returns its labels and puts its samples, of which there may be none, in place of what is in
    /// `whole`, whose memory is used again.
    pub(crate) fn next_into(&mut self, whole: &mut Window) -> Option<Labels> {
        let mut pieces = std::mem::take(&mut self.pieces);
        let labels = self.next_pieces_into(&mut pieces);
        whole.times.clear();
        whole.values.clear();
        let count = pieces.iter().map(Piece::len).sum();
        whole.times.reserve(count);
        whole.values.reserve(count);
        for group in groups(&mut pieces) {
            self.read_group(group, whole);
        }
        pieces.clear();
        self.pieces = pieces;
        labels
    }

    /// Appends the samples of pieces that overlap each other, but nothing that `out` has.
    pub(crate) fn read_group(&mut self, group: &mut [Piece], out: &mut Window) {
        if let [piece] = group {
            return self.read_piece(piece, out);
        }
        group.sort_by_key(|p| (p.source, p.min));
        let mut whole = Window::default();
        for of_source in group.chunk_by_mut(|a, b| a.source == b.source) {
            let mut window = Window::default();
            for overlapping in of_source.chunk_by_mut(|a, b| a.max >= b.min) {
                for piece in overlapping {
                    let mut next = Window::default();
                    self.read_piece(piece, &mut next);
                    window.merge(next);
                }
            }
            whole.merge(window);
        }
        out.times.append(&mut whole.times);
        out.values.append(&mut whole.values);
    }

    fn read_piece(&mut self, piece: &mut Piece, out: &mut Window) {
        match &mut piece.held {
            Held::Window(window) if out.is_empty() => *out = std::mem::take(window),
            Held::Window(window) => {
                out.times.append(&mut window.times);
                out.values.append(&mut window.values);
            }
            Held::Chunk(chunk, at) => {
                if let Some(Source::Block(source)) = self.sources.get_mut(piece.source) {
                    source.read_into(*chunk, *at, out);
                }
            }
        }
    }

    /// Returns a chunk as it stands in its block; `None` if it is not one, or cannot be read.
    pub(crate) fn read_packed(&mut self, piece: &Piece) -> Option<(Arc<Vec<i64>>, &[u8])> {
        match (&piece.held, self.sources.get_mut(piece.source)) {
            (Held::Chunk(chunk, at), Some(Source::Block(source))) => source.read(*chunk, *at),
            _ => None,
        }
    }
}

impl Iterator for Merged {
    type Item = (Labels, Window);

    /// Returns the next series with its samples, of which there may be none.
    fn next(&mut self) -> Option<(Labels, Window)> {
        let mut whole = Window::default();
        let labels = self.next_into(&mut whole)?;
        Some((labels, whole))
    }
}

/// Returns the pieces, which are sorted, in groups that do not overlap.
pub(crate) fn groups(mut pieces: &mut [Piece]) -> impl Iterator<Item = &mut [Piece]> {
    std::iter::from_fn(move || {
        let mut max = pieces.first()?.max;
        let within = pieces.iter().skip(1).take_while(|p| {
            let overlaps = p.min <= max;
            max = max.max(p.max);
            overlaps
        });
        let count = 1 + within.count();
        let (group, rest) = std::mem::take(&mut pieces).split_at_mut(count);
        pieces = rest;
        Some(group)
    })
}
