//! Merges the planned blocks into one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::info;

use super::plan::Plan;
use crate::storage::disk::{self, Corruption};
use crate::storage::tsdb::block::{Block, BlockWriter, Origin};
use crate::storage::tsdb::chunk::Window;
use crate::storage::tsdb::cut::finish_block;
use crate::storage::tsdb::db::{Shared, Stored};
use crate::storage::tsdb::merge::{BlockSource, Merged, Piece, Source, groups};
use crate::storage::tsdb::{Error, Result, files, repair};

/// A chunk of so many samples is not packed again.
const FINAL_FROM_SAMPLES: usize = 240;

/// Smaller chunks are joined until they have so many samples.
const JOINED_SAMPLES: usize = 480;

/// What came of a merge.
#[derive(Debug)]
struct Outcome {
    /// `None` if no sample was left.
    block: Option<Arc<Block>>,
    /// Names of the sources in which chunks did not check out.
    damaged: Vec<String>,
}

impl Shared {
    /// Merges blocks into one and gives them up. Damaged ones are put aside instead. On failure all stays as
    /// it was.
    pub(in crate::storage::tsdb) fn merge(&self, plan: &Plan) -> Result<()> {
        let Some(stored) = &self.stored else { return Ok(()) };
        let started = self.clock.elapsed();
        let blocks = self.read().blocks.clone();
        let inputs: Vec<Arc<Block>> = blocks.iter().filter(|b| plan.inputs.contains(&b.meta.number)).cloned().collect();
        let merged = self.write_merged(stored, plan, &inputs);
        self.instruments.compactions.with(&[if merged.is_ok() { "ok" } else { "failed" }]).inc();
        // A source that did not check out has been put aside: planned anew without it.
        let Some(Outcome { block, damaged }) = merged? else { return Ok(()) };
        let bytes_before: u64 = inputs.iter().map(|b| b.meta.bytes).sum();
        let bytes = block.as_ref().map_or(0, |b| b.meta.bytes);
        if !self.replace(&inputs, block, &damaged) {
            info!(window = ?plan.window, "a block was retired while it was merged; the merged one is dropped");
            return Ok(());
        }
        let took = self.clock.elapsed().saturating_sub(started);
        self.instruments.compaction_seconds.observe_duration(took);
        info!(blocks = inputs.len(), window = ?plan.window, bytes_before, bytes, ?took, "blocks merged");
        Ok(())
    }

    /// Writes the merged block. Returns nothing if a source had to be put aside.
    fn write_merged(&self, stored: &Stored, plan: &Plan, inputs: &[Arc<Block>]) -> Result<Option<Outcome>> {
        let mut sources = Vec::with_capacity(inputs.len());
        for block in inputs {
            let contents = match block.contents() {
                Ok(contents) => contents,
                Err(disk::Error::Corruption(damage)) => {
                    repair::put_aside(self, block, &damage);
                    return Ok(None);
                }
                Err(other) => return Err(other.into()),
            };
            let pages = contents.pages.iter().enumerate().map(|(n, page)| (n, (0..page.series).collect())).collect();
            // Pages of its own: merging must not drive those of queries out.
            let source = BlockSource::new(block.clone(), Arc::default(), pages, i64::MIN, i64::MAX);
            sources.push(Source::Block(Box::new(source)));
        }
        let number = self.next_number();
        let mut writer = BlockWriter::begin_merge(stored.disk.clone(), &stored.folder.join(files::BLOCKS), number)?;
        let mut merged = Merged::new(sources, i64::MIN, i64::MAX);
        if let Err(error) = self.copy_series(&mut merged, &mut writer) {
            writer.abandon();
            return Err(error);
        }
        inputs.iter().for_each(|input| repair::report_findings(self, input));
        let damaged = inputs.iter().filter(|b| b.is_damaged()).map(|b| b.name()).collect();
        let origin = Origin {
            number,
            window: plan.window,
            level: inputs.iter().map(|b| b.meta.level).max().unwrap_or(0) + 1,
            rank: inputs.iter().map(|b| b.meta.rank).min().unwrap_or(number),
            merged: inputs.iter().map(|b| b.name()).collect(),
        };
        let block = finish_block(stored, writer, origin)?;
        Ok(Some(Outcome { block, damaged }))
    }

    /// Writes all series of the sources.
    fn copy_series(&self, merged: &mut Merged, writer: &mut BlockWriter) -> Result<()> {
        while let Some((labels, mut pieces)) = merged.next_pieces() {
            if self.is_closed.load(Ordering::Relaxed) {
                return Err(Error::Closed);
            }
            copy_pieces(merged, &mut pieces, writer)?;
            if let Some(failure) = merged.take_failure() {
                // No damage: what could not be read may be there the next time.
                return Err(failure.into());
            }
            writer.end_series(&labels)?;
        }
        Ok(())
    }

    /// Shows the merged block instead of its sources, in one step. If a source has gone meanwhile, the merged
    /// block is given up; returns whether it is shown.
    fn replace(&self, inputs: &[Arc<Block>], block: Option<Arc<Block>>, damaged: &[String]) -> bool {
        let is_input = |b: &Arc<Block>| inputs.iter().any(|i| i.meta.number == b.meta.number);
        let mut state = self.write();
        if state.blocks.iter().filter(|b| is_input(b)).count() < inputs.len() {
            drop(state);
            block.iter().for_each(|b| b.give_up());
            return false;
        }
        block.iter().for_each(|b| state.mark_deleted(b));
        let mut all: Vec<Arc<Block>> = state.blocks.iter().filter(|b| !is_input(b)).cloned().chain(block).collect();
        all.sort_by_key(|b| b.meta.rank);
        state.blocks = Arc::new(all);
        drop(state);
        for input in inputs {
            self.cache.forget(input.meta.number);
            if damaged.contains(&input.name()) {
                let reason = "chunks did not check out while merging; the rest has been merged".to_owned();
                let damage = Corruption { file: input.folder.clone(), offset: 0, bytes: 0, reason };
                repair::keep_damaged(self, input, &damage);
            } else {
                input.give_up();
            }
        }
        true
    }
}

/// Writes the samples of a series. A chunk that is large enough and overlaps no other is passed on as it
/// stands; all else is unpacked and joined.
fn copy_pieces(merged: &mut Merged, pieces: &mut [Piece], writer: &mut BlockWriter) -> disk::Result<()> {
    let mut pending = Window::default();
    for group in groups(pieces) {
        if let [piece] = group
            && piece.len() >= FINAL_FROM_SAMPLES
            && !piece.is_masked
        {
            writer.put_window(&std::mem::take(&mut pending))?;
            if let Some((times, column)) = merged.read_packed(piece) {
                writer.put_chunk(&times, column)?;
            }
        } else {
            merged.read_group(group, &mut pending);
            if pending.len() >= JOINED_SAMPLES {
                writer.put_window(&std::mem::take(&mut pending))?;
            }
        }
    }
    writer.put_window(&pending)
}
