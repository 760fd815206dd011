//! Cutting blocks from the head, and the checkpoint that follows.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{info, warn};

use super::block::{Block, BlockWriter, Origin};
use super::chunk::{Chunk, Window};
use super::column::Effort;
use super::compact::window_of;
use super::db::{Shared, Stored};
use super::wal::{CheckpointWriter, Logged, LoggedChunk, remove_old};
use super::{Error, Result, files};
use crate::model::{Labels, TimeRange, Timestamp};

/// So many series are looked at under one lock.
const SLICE: usize = 256;

impl Shared {
    /// Writes all samples before `cutoff` to blocks and drops them from head and WAL. Samples stay readable
    /// throughout. On failure all stays as it was.
    pub(super) fn cut(&self, cutoff: i64) -> Result<()> {
        let Some(stored) = &self.stored else { return Ok(()) };
        let started = self.clock.elapsed();
        let (wal_number, series) = self.begin_cut(stored);
        let windows = self.detach(&series, cutoff);
        match self.write_blocks(stored, &series, &windows) {
            Ok(blocks) => {
                let count = blocks.len();
                self.publish(blocks);
                self.instruments.cuts.with(&["ok"]).inc();
                let took = self.clock.elapsed().saturating_sub(started);
                self.instruments.cut_seconds.observe_duration(took);
                info!(blocks = count, ?took, "blocks cut from the head");
            }
            Err(error) => {
                self.write().head.abandon_cut();
                self.instruments.cuts.with(&["failed"]).inc();
                return Err(error);
            }
        }
        self.checkpoint(stored, wal_number)
    }

    /// Rotates the WAL and lists the series that there are, sorted by labels.
    fn begin_cut(&self, stored: &Stored) -> (u64, Vec<(Labels, u32)>) {
        let mut state = self.write();
        state.head.begin_cut();
        let number = stored.wal.rotate();
        let mut series: Vec<(Labels, u32)> = state.head.iter().map(|(r, _)| (state.head.labels(r), r)).collect();
        drop(state);
        series.sort_unstable();
        (number, series)
    }

    /// Puts samples before `cutoff` aside; returns the windows that they lie in.
    fn detach(&self, series: &[(Labels, u32)], cutoff: i64) -> BTreeSet<(i64, i64)> {
        let now = self.clock.now().as_millis();
        let mut windows = BTreeSet::new();
        let mut add = |time: i64| {
            let window = window_of(time, now);
            windows.insert((window.start.as_millis(), window.end.as_millis()));
            window
        };
        for slice in series.chunks(SLICE) {
            let mut state = self.write();
            for (_, reference) in slice {
                let Some((min, max)) = state.head.detach(*reference, cutoff) else { continue };
                let detached = state.head.get(*reference).map(|s| s.detached(min, max)).unwrap_or_default();
                for chunk in detached {
                    // Mostly a chunk lies in one window, or in two neighbours.
                    let first = add(chunk.min);
                    if first.contains(Timestamp::from_millis(chunk.max)) {
                        continue;
                    }
                    chunk.window().unwrap_or_default().times.into_iter().for_each(|time| {
                        add(time);
                    });
                }
            }
        }
        windows
    }

    fn write_blocks(
        &self,
        stored: &Stored,
        series: &[(Labels, u32)],
        windows: &BTreeSet<(i64, i64)>,
    ) -> Result<Vec<Arc<Block>>> {
        let folder = stored.folder.join(files::BLOCKS);
        let mut blocks: Vec<Arc<Block>> = Vec::new();
        for (start, end) in windows {
            let window = TimeRange::new(Timestamp::from_millis(*start), Timestamp::from_millis(*end));
            match self.write_block(stored, &folder, series, window, self.next_number(&blocks)) {
                Ok(block) => blocks.extend(block),
                Err(error) => {
                    blocks.iter().for_each(|b| b.give_up());
                    return Err(error);
                }
            }
        }
        Ok(blocks)
    }

    fn write_block(
        &self,
        stored: &Stored,
        folder: &Path,
        series: &[(Labels, u32)],
        window: TimeRange,
        number: u64,
    ) -> Result<Option<Arc<Block>>> {
        let (min, max) = (window.start.as_millis(), window.end.as_millis().saturating_sub(1));
        let mut writer = BlockWriter::begin(stored.disk.clone(), folder, number, Effort::Small)?;
        let mut written = || -> Result<()> {
            // Two references for one label set stand side by side; a block has each set once.
            let mut pending: Option<(&Labels, Window)> = None;
            for slice in series.chunks(SLICE) {
                if self.is_closed.load(Ordering::Relaxed) {
                    return Err(Error::Closed);
                }
                let detached: Vec<Vec<Chunk>> = {
                    let state = self.read();
                    let chunks = |r: &u32| state.head.get(*r).map(|s| s.detached(min, max)).unwrap_or_default();
                    slice.iter().map(|(_, r)| chunks(r)).collect()
                };
                for ((labels, _), chunks) in slice.iter().zip(detached) {
                    let window = join(chunks, min, max);
                    match &mut pending {
                        Some((same, whole)) if *same == labels => whole.merge(window),
                        _ => {
                            if let Some((labels, window)) = pending.replace((labels, window)) {
                                writer.add(labels, &window)?;
                            }
                        }
                    }
                }
            }
            pending.map_or(Ok(()), |(labels, window)| writer.add(labels, &window).map_err(Error::from))
        };
        if let Err(error) = written() {
            writer.abandon();
            return Err(error);
        }
        self.finish_block(stored, writer, Origin { number, window, level: 1, rank: number, merged: Vec::new() }, "cut")
    }

    /// Ends a block and opens it.
    pub(super) fn finish_block(
        &self,
        stored: &Stored,
        writer: BlockWriter,
        origin: Origin,
        cause: &str,
    ) -> Result<Option<Arc<Block>>> {
        let Some((meta, folder)) = writer.finish(origin)? else { return Ok(None) };
        self.instruments.written.with(&[cause]).add(meta.bytes);
        Ok(Some(Arc::new(Block::open(&stored.disk, &folder)?)))
    }

    /// Returns a number that no block has.
    pub(super) fn next_number(&self, also: &[Arc<Block>]) -> u64 {
        let state = self.read();
        state.blocks.iter().chain(also).map(|b| b.meta.number).max().unwrap_or(0) + 1
    }

    /// Shows blocks to readers and forgets what they hold, in one step.
    fn publish(&self, blocks: Vec<Arc<Block>>) {
        let mut state = self.write();
        let mut all: Vec<Arc<Block>> = state.blocks.iter().cloned().chain(blocks).collect();
        all.sort_by_key(|b| b.meta.rank);
        state.blocks = Arc::new(all);
        state.head.finish_cut();
    }

    /// Writes what is only in the WAL's segments below `number` once more, and removes them.
    fn checkpoint(&self, stored: &Stored, number: u64) -> Result<()> {
        stored.wal.sync()?;
        let mut writer = CheckpointWriter::begin(stored.disk.clone(), &stored.folder, number)?;
        let references: Vec<u32> = self.read().head.iter().map(|(reference, _)| reference).collect();
        for slice in references.chunks(SLICE) {
            let live: Vec<_> = {
                let state = self.read();
                let series = slice.iter().filter_map(|r| Some((*r, state.head.get(*r)?)));
                series.map(|(r, s)| (r, state.head.labels(r), s.parts(i64::MIN, i64::MAX))).collect()
            };
            for (reference, labels, parts) in live {
                let loose = parts.loose.iter().filter_map(|w| Chunk::seal(w, Into::into));
                let chunks: Vec<Chunk> = parts.chunks.into_iter().chain(loose).collect();
                let logged = chunks.into_iter().map(|c| LoggedChunk {
                    series: reference,
                    times: c.times.to_vec(),
                    values: c.values.into_vec(),
                });
                writer.add((reference, labels), logged)?;
            }
        }
        let (late, metadata) = {
            let state = self.read();
            let metadata = state.head.metadata.iter().map(|(n, m)| (n.clone(), m.clone())).collect();
            (state.head.late.to_log(), metadata)
        };
        writer.add_logged(&Logged::Late(late))?;
        writer.add_logged(&Logged::Metadata(metadata))?;
        let bytes = writer.finish()?;
        self.instruments.written.with(&["checkpoint"]).add(bytes);
        let removed = stored.wal.remove_before(number)?;
        self.write().head.forget_ended();
        info!(bytes, segments_removed = removed, "checkpoint written");
        if let Err(error) = remove_old(&*stored.disk, &stored.folder, number) {
            warn!(%error, "cannot remove an old checkpoint; tried again at the next start");
        }
        Ok(())
    }
}

/// Returns the samples of chunks in `[min, max]`.
fn join(mut chunks: Vec<Chunk>, min: i64, max: i64) -> Window {
    chunks.sort_by_key(|c| c.min);
    let mut whole = Window::default();
    for chunk in chunks {
        let mut window = chunk.window().unwrap_or_default();
        window.restrict(min, max);
        whole.merge(window);
    }
    whole
}
