//! Series of several sources as one: by labels, samples in order, each once.

use std::collections::VecDeque;
use std::sync::Arc;

use tracing::warn;

use super::block::{Block, ChunkPlace, Columns, Index};
use super::chunk::Window;
use super::head::{Decoded, Parts};
use super::instruments::Instruments;
use crate::model::Labels;
use crate::storage::disk::{Malformed, Result};

/// So many columns of times are kept while a block is read: neighbours often share them.
const TIMES_KEPT_MAX: usize = 4;

/// Series of one place, sorted by labels.
#[derive(Debug)]
pub(crate) enum Source {
    /// A copy of what the head had.
    Head(std::iter::Peekable<std::vec::IntoIter<(Labels, Parts)>>, Decoded),
    /// A block.
    Block(Box<BlockSource>),
}

/// Series of a block, read one by one.
#[derive(Debug)]
pub(crate) struct BlockSource {
    block: Arc<Block>,
    index: Arc<Index>,
    columns: Columns,
    ids: std::vec::IntoIter<u32>,
    /// The series that comes next.
    next: Option<(Labels, u32)>,
    times: VecDeque<(u64, Vec<i64>)>,
    instruments: Instruments,
    /// How many chunks did not check out.
    damaged: u64,
}

impl BlockSource {
    /// Reads the series with these ids.
    pub(crate) fn new(block: Arc<Block>, index: Arc<Index>, ids: Vec<u32>, instruments: Instruments) -> Result<Self> {
        let columns = block.columns()?;
        let mut source = BlockSource {
            block,
            index,
            columns,
            ids: ids.into_iter(),
            next: None,
            times: VecDeque::new(),
            instruments,
            damaged: 0,
        };
        source.advance();
        Ok(source)
    }

    fn advance(&mut self) {
        self.next = self.ids.next().map(|id| (self.index.labels(id), id));
    }

    fn take(&mut self, min: i64, max: i64) -> Window {
        let Some((_, id)) = self.next else { return Window::default() };
        let mut whole = Window::default();
        for place in self.index.chunks(id).iter().filter(|c| c.min <= max && c.max >= min) {
            match self.read(place) {
                Ok(mut window) => {
                    window.restrict(min, max);
                    whole.merge(window);
                }
                Err(error) => {
                    self.damaged += 1;
                    self.instruments.damage.with(&["chunk"]).inc();
                    let (samples, block) = (place.count, self.block.name());
                    warn!(%error, %block, samples, first_ms = place.min, last_ms = place.max, "chunk cannot be read");
                }
            }
        }
        self.advance();
        whole
    }

    fn read(&mut self, place: &ChunkPlace) -> Result<Window> {
        let times = match self.times.iter().find(|(offset, _)| *offset == place.times.offset) {
            Some((_, times)) => times.clone(),
            None => {
                let times = self.columns.read_times(place.times)?;
                if self.times.len() == TIMES_KEPT_MAX {
                    self.times.pop_front();
                }
                self.times.push_back((place.times.offset, times.clone()));
                times
            }
        };
        let values = self.columns.read_values(place.values)?;
        if values.len() != times.len() {
            let e = Malformed { offset: 0, reason: "columns of unequal length" };
            return Err(self.columns.damage(place.values, &e).into());
        }
        Ok(Window { times, values })
    }
}

impl Source {
    /// Returns a copy of the head as source; sorts it.
    pub(crate) fn head(mut series: Vec<(Labels, Parts)>) -> Source {
        series.sort_by(|a, b| a.0.cmp(&b.0));
        Source::Head(series.into_iter().peekable(), Decoded::default())
    }

    fn peek(&mut self) -> Option<&Labels> {
        match self {
            Source::Head(series, _) => series.peek().map(|(labels, _)| labels),
            Source::Block(block) => block.next.as_ref().map(|(labels, _)| labels),
        }
    }

    /// Returns the samples of the series that comes next, in `[min, max]`.
    fn take(&mut self, min: i64, max: i64) -> Window {
        match self {
            Source::Head(series, decoded) => {
                series.next().map(|(_, parts)| parts.read(min, max, decoded)).unwrap_or_default()
            }
            Source::Block(block) => block.take(min, max),
        }
    }
}

/// Several sources as one. Where two have a sample at the same time, the one further in front counts.
#[derive(Debug)]
pub(crate) struct Merged {
    sources: Vec<Source>,
    min: i64,
    max: i64,
}

impl Merged {
    pub(crate) fn new(sources: Vec<Source>, min: i64, max: i64) -> Self {
        Merged { sources, min, max }
    }

    /// Returns names of the blocks in which chunks did not check out so far.
    pub(crate) fn damaged(&self) -> Vec<String> {
        let blocks = self.sources.iter().filter_map(|s| match s {
            Source::Block(b) if b.damaged > 0 => Some(b.block.name()),
            Source::Block(_) | Source::Head(..) => None,
        });
        blocks.collect()
    }
}

impl Iterator for Merged {
    type Item = (Labels, Window);

    /// Returns the next series with its samples, of which there may be none.
    fn next(&mut self) -> Option<(Labels, Window)> {
        let labels = self.sources.iter_mut().filter_map(Source::peek).min()?.clone();
        let mut whole = Window::default();
        for source in &mut self.sources {
            // The head may have a label set twice, see head/mod.rs.
            while source.peek() == Some(&labels) {
                whole.merge(source.take(self.min, self.max));
            }
        }
        Some((labels, whole))
    }
}
