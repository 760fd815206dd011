//! Reading: a view over head and blocks.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::block::{Block, Page};
use super::chunk::Window;
use super::db::{Db, bounds};
use super::head::{Head, Parts, View};
use super::merge::{BlockSource, Merged, Source};
use super::provisional::LaneSet;
use super::select::Selection;
use super::{Error, Result, repair};
use crate::model::{Labels, Matcher, Timestamp};
use crate::storage::disk::{self, Corruption};

/// One series with its samples in a window.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeriesSamples {
    /// What names it.
    pub labels: Labels,
    /// Times in milliseconds, rising, unique.
    pub timestamps: Vec<i64>,
    /// Values; as many as timestamps. Staleness markers are among them.
    pub values: Vec<f64>,
}

/// The series of a selection, sorted by labels, read one by one. What it reads stays on disk until it is
/// dropped. A chunk that does not check out is left out, counted and logged.
#[derive(Debug)]
pub struct SeriesSet {
    db: Db,
    merged: Merged,
    limit: usize,
    left: usize,
    has_failed: bool,
    /// Provisional samples of the selection.
    lane: Option<Box<LaneSet>>,
}

impl Iterator for SeriesSet {
    type Item = Result<SeriesSamples>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(mut lane) = self.lane.take() else { return self.next_stored() };
        let next = lane.next_beside(|| self.next_stored());
        self.lane = Some(lane);
        next
    }
}

impl SeriesSet {
    /// Returns how many series come at most, before the first was read; 0 if they can only be read one after the other.
    #[must_use]
    pub fn series_max(&self) -> usize {
        if self.lane.is_some() { 0 } else { self.merged.series_max() }
    }

    /// Cuts the set into so many, to be read at the same time: about as many series each, those of the first before
    /// those of the second and so on. Fewer if there are not so many series. To be called before the first is read.
    #[must_use]
    pub fn split(mut self, parts: usize) -> Vec<SeriesSet> {
        if parts < 2 || self.lane.is_some() {
            return vec![self];
        }
        let merged = std::mem::replace(&mut self.merged, Merged::new(Vec::new(), 0, 0));
        let (limit, left) = (self.limit, self.left);
        let set = |merged| SeriesSet { db: self.db.clone(), merged, limit, left, has_failed: false, lane: None };
        merged.split(parts).into_iter().map(set).collect()
    }

    /// Reads the next series in place of the one that is there, whose memory is used again; returns whether there was
    /// one more.
    ///
    /// # Errors
    /// [`Error::TooManySamples`], once.
    pub fn next_into(&mut self, series: &mut SeriesSamples) -> Result<bool> {
        if self.lane.is_some() {
            let next = self.next().transpose()?;
            return Ok(next.map(|next| *series = next).is_some());
        }
        let SeriesSamples { labels, timestamps, values } = series;
        let mut window = Window { times: std::mem::take(timestamps), values: std::mem::take(values) };
        let is_there = loop {
            match (!self.has_failed).then(|| self.merged.next_into(&mut window)).flatten() {
                None => break false,
                Some(_) if window.is_empty() => {}
                Some(next) => {
                    *labels = next;
                    break true;
                }
            }
        };
        if is_there {
            self.has_failed = window.len() > self.left;
            self.left = self.left.saturating_sub(window.len());
        }
        (*timestamps, *values) = (window.times, window.values);
        if is_there && self.has_failed { Err(Error::TooManySamples { limit: self.limit }) } else { Ok(is_there) }
    }

    /// Returns the next series of the store; called without a lane.
    fn next_stored(&mut self) -> Option<Result<SeriesSamples>> {
        let mut series = SeriesSamples::default();
        self.next_into(&mut series).map(|is_there| is_there.then_some(series)).transpose()
    }
}

impl Drop for SeriesSet {
    fn drop(&mut self) {
        self.merged.blocks().for_each(|block| repair::report_findings(&self.db.0, block));
    }
}

/// A view to read from. Each call sees the store at one moment, batches whole.
#[derive(Debug)]
pub struct Querier {
    db: Db,
    /// Provisional samples, and by how many milliseconds they are to be read later than they say.
    lane: Option<(Box<Querier>, i64)>,
}

impl Querier {
    pub(super) fn new(db: Db, lane: Option<(Db, i64)>) -> Self {
        Querier { db, lane: lane.map(|(db, shift_ms)| (Box::new(Querier { db, lane: None }), shift_ms)) }
    }

    /// Returns the series that pass all matchers, each with its samples in `[min, max]`, both ends
    /// included; series without a sample there are left out. Sorted by labels. `samples_max` bounds what
    /// may be decoded in all; going over it ends the iteration with an error.
    ///
    /// # Errors
    /// When a block cannot be read; one that does not check out is put aside and left out.
    pub fn select(
        &self,
        matchers: &[Matcher],
        min: Timestamp,
        max: Timestamp,
        samples_max: usize,
    ) -> Result<SeriesSet> {
        let lane = match &self.lane {
            Some((lane, shift_ms)) => {
                let earlier = |t: Timestamp| Timestamp::from_millis(t.as_millis().saturating_sub(*shift_ms));
                let set = lane.select(matchers, earlier(min), earlier(max), samples_max)?;
                Some(Box::new(LaneSet::new(set, *shift_ms)))
            }
            None => None,
        };
        let (min, max) = bounds(min, max);
        let selection = Selection::new(matchers);
        let (head, blocks) = self.snapshot(&selection, min, max);
        let mut sources = Vec::with_capacity(blocks.len() + 1);
        for block in blocks {
            let mut pages = Vec::new();
            self.each_page(&block, Some(&selection), min, max, |number, page| {
                let ids = selection.select(page);
                if !ids.is_empty() {
                    pages.push((number, ids));
                }
            })?;
            if !pages.is_empty() {
                let cache = self.db.0.cache.clone();
                sources.push(Source::Block(Box::new(BlockSource::new(block, cache, pages, min, max))));
            }
        }
        sources.push(Source::head(head));
        let merged = Merged::new(sources, min, max);
        Ok(SeriesSet { db: self.db.clone(), merged, limit: samples_max, left: samples_max, has_failed: false, lane })
    }

    /// Returns the label sets of the series that pass all matchers and have a sample, or may have one, in
    /// `[min, max]`; sorted.
    ///
    /// # Errors
    /// As [`Querier::select`].
    pub fn series(&self, matchers: &[Matcher], min: Timestamp, max: Timestamp) -> Result<Vec<Labels>> {
        let mut found = self.in_lane(min, max, |lane, min, max| lane.series(matchers, min, max))?;
        let (min, max) = bounds(min, max);
        let selection = Selection::new(matchers);
        self.db.0.rank_series();
        let state = self.db.0.read();
        let mut slots = selection.select(&state.head);
        state.head.sort(&mut slots);
        let names = state.head.names(&slots, min, max);
        let blocks = self.blocks(&state.blocks, min, max);
        drop(state);
        found.extend(names.map(|(labels, ())| labels));
        let mut text = String::new();
        for block in &blocks {
            self.each_page(block, Some(&selection), min, max, |_, page| {
                let ids = selection.select(page);
                let Some(chunks) = Some(ids.is_empty()).filter(|none| !none).and_then(|_| page.chunks().ok()) else {
                    return;
                };
                let mask = block.deleted.mask(page);
                let is_there =
                    |id: u32, first: i64, last: i64| first <= max && last >= min && !mask.covers(id, first, last);
                let reaching = |id: &u32| chunks.of(*id).any(|c| is_there(*id, c.times.min, c.times.max));
                found.extend(ids.into_iter().filter(reaching).map(|id| page.labels(id, &mut text)));
            })?;
        }
        // Of runs in order this is a merge.
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// Returns the label names of such series; sorted, unique.
    ///
    /// # Errors
    /// As [`Querier::select`].
    pub fn label_names(&self, matchers: &[Matcher], min: Timestamp, max: Timestamp) -> Result<Vec<String>> {
        if !matchers.is_empty() {
            let series = self.series(matchers, min, max)?;
            let names: BTreeSet<&str> = series.iter().flat_map(|l| l.iter().map(|(n, _)| n)).collect();
            return Ok(names.into_iter().map(str::to_owned).collect());
        }
        let provisional = self.in_lane(min, max, |lane, min, max| lane.label_names(&[], min, max))?;
        let mut names: BTreeSet<String> = provisional.into_iter().collect();
        let (min, max) = bounds(min, max);
        let state = self.db.0.read();
        if reaches(&state.head, min, max) {
            names.extend(state.head.index().names().map(str::to_owned));
        }
        let blocks = self.blocks(&state.blocks, min, max);
        drop(state);
        for block in &blocks {
            self.each_page(block, None, min, max, |_, page| names.extend(page.names().map(str::to_owned)))?;
        }
        Ok(names.into_iter().collect())
    }

    /// Returns the values of one label among such series; sorted, unique.
    ///
    /// # Errors
    /// As [`Querier::select`].
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        min: Timestamp,
        max: Timestamp,
    ) -> Result<Vec<String>> {
        if !matchers.is_empty() {
            let series = self.series(matchers, min, max)?;
            let values: BTreeSet<&str> = series.iter().filter_map(|l| l.get(name)).collect();
            return Ok(values.into_iter().map(str::to_owned).collect());
        }
        let provisional = self.in_lane(min, max, |lane, min, max| lane.label_values(name, &[], min, max))?;
        let mut values: BTreeSet<String> = provisional.into_iter().collect();
        let (min, max) = bounds(min, max);
        let state = self.db.0.read();
        if reaches(&state.head, min, max) {
            values.extend(state.head.index().values(name, "").map(|(v, _)| v.to_owned()));
        }
        let blocks = self.blocks(&state.blocks, min, max);
        drop(state);
        for block in &blocks {
            self.each_page(block, None, min, max, |_, page| values.extend(page.values(name).map(str::to_owned)))?;
        }
        Ok(values.into_iter().collect())
    }

    /// Asks for provisional samples too, in their own time; empty if there are none.
    fn in_lane<T>(
        &self,
        min: Timestamp,
        max: Timestamp,
        ask: impl FnOnce(&Querier, Timestamp, Timestamp) -> Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        let Some((lane, shift_ms)) = &self.lane else { return Ok(Vec::new()) };
        let earlier = |t: Timestamp| Timestamp::from_millis(t.as_millis().saturating_sub(*shift_ms));
        ask(lane, earlier(min), earlier(max))
    }

    /// Copies what the head has of the selection, by labels, and the list of blocks, at one moment.
    fn snapshot(&self, selection: &Selection<'_>, min: i64, max: i64) -> (View<Parts>, Vec<Arc<Block>>) {
        self.db.0.rank_series();
        let state = self.db.0.read();
        let mut slots = selection.select(&state.head);
        state.head.sort(&mut slots);
        (state.head.view(&slots, min, max), self.blocks(&state.blocks, min, max))
    }

    fn blocks(&self, blocks: &[Arc<Block>], min: i64, max: i64) -> Vec<Arc<Block>> {
        blocks.iter().filter(|b| b.meta.overlaps(min, max)).cloned().collect()
    }

    /// Calls `visit` with number and content of each page of a block that may have something of the selection
    /// in `[min, max]`. One that does not check out is left out and reported.
    fn each_page(
        &self,
        block: &Arc<Block>,
        selection: Option<&Selection<'_>>,
        min: i64,
        max: i64,
        mut visit: impl FnMut(usize, &Page),
    ) -> Result<()> {
        let contents = match block.contents() {
            Ok(contents) => contents,
            Err(error) => return self.put_aside(block, error),
        };
        for (number, place) in contents.pages.iter().enumerate() {
            let is_wanted = selection.is_none_or(|s| s.reaches(&place.first_name, &place.last_name));
            if is_wanted && place.overlaps(min, max) {
                match self.db.0.cache.get(block, number) {
                    Ok(Some(page)) => visit(number, &page),
                    Ok(None) => {}
                    Err(error) => block.found("index", &unreadable(block, place.offset, error)),
                }
            }
        }
        repair::report_findings(&self.db.0, block);
        Ok(())
    }

    /// Goes on without a damaged block, and without one that cannot be read now, which stays where it is.
    fn put_aside(&self, block: &Arc<Block>, error: disk::Error) -> Result<()> {
        match error {
            disk::Error::Corruption(damage) => {
                repair::put_aside(&self.db.0, block, &damage);
                Ok(())
            }
            other => {
                block.found("index", &unreadable(block, 0, other));
                repair::report_findings(&self.db.0, block);
                Ok(())
            }
        }
    }
}

/// Says what could not be read of a block, and why.
fn unreadable(block: &Block, offset: u64, error: disk::Error) -> Corruption {
    match error {
        disk::Error::Corruption(damage) => damage,
        other => Corruption { file: block.folder.clone(), offset, bytes: 0, reason: other.to_string() },
    }
}

/// Tells whether the head has something between these times.
fn reaches(head: &Head, min: i64, max: i64) -> bool {
    head.range().is_some_and(|(first, last)| first <= max && last >= min)
}
