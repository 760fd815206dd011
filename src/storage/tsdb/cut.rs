//! Cutting blocks from the head, and the checkpoint that follows.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{info, warn};

use super::block::{Block, BlockWriter, Origin};
use super::chunk::Chunk;
use super::column::Effort;
use super::db::{Shared, Stored};
use super::due::{Cut, days_together, slice_of, window_of};
use super::head::{Arrived, Decoded, Head, Parts};
use super::wal::{CheckpointWriter, Logged, LoggedChunk, remove_old, runs};
use super::{Error, Result, files};
use crate::model::{Labels, TimeRange, Timestamp};

/// So many series are looked at under one lock: well under a millisecond.
const SLICE: usize = 256;

/// So many series that have ended are taken out of the index under one lock: some ten milliseconds if a million
/// have labels in common.
const UNLISTED_AT_ONCE: usize = 16 << 10;

/// Slots of the head's series by their labels, as a block has them.
pub(super) type SeriesList = Vec<u32>;

/// What a cut begins with.
#[derive(Debug)]
struct Begun {
    /// The first WAL segment that holds nothing of what is cut.
    wal_number: u64,
    series: SeriesList,
    /// The same, rising.
    slots: Vec<u32>,
    /// What the head held of the windows concerned.
    held: Vec<(i64, Arrived)>,
    /// Days that become one block at once.
    days: BTreeSet<i64>,
}

/// Says what of a series in the head goes into a block.
pub(super) type ReadParts = fn(&Head, u32, i64, i64) -> Parts;

impl Shared {
    /// Writes all samples of some times to blocks and drops them from head and WAL. Samples stay readable
    /// throughout. On failure all stays as it was. Cost: writes what it cuts, and what the head held beside it, once.
    pub(super) fn cut(&self, cut: Cut) -> Result<()> {
        let Some(stored) = &self.stored else { return Ok(()) };
        let begun = self.begin_cut(stored, cut);
        let cut = self.cut_begun(stored, &begun, cut.range());
        self.pace.end();
        cut
    }

    fn cut_begun(&self, stored: &Stored, begun: &Begun, range: TimeRange) -> Result<()> {
        let started = self.clock.elapsed();
        match self.move_to_blocks(stored, begun, range) {
            Ok((blocks, checkpoint)) => {
                self.instruments.cuts.with(&["ok"]).inc();
                let took = self.clock.elapsed().saturating_sub(started);
                self.instruments.cut_seconds.observe_duration(took);
                info!(blocks, ?took, "blocks cut from the head");
                self.finish_cut(stored, begun, checkpoint)
            }
            Err(error) => {
                self.write().head.abandon_cut();
                self.instruments.cuts.with(&["failed"]).inc();
                Err(error)
            }
        }
    }

    /// Rotates the WAL and lists what there is.
    fn begin_cut(&self, stored: &Stored, cut: Cut) -> Begun {
        let mut state = self.write();
        match cut {
            Cut::Over(_) => state.head.begin_epoch(),
            // More comes of its series: none has ended because it is empty now.
            Cut::Slice(_) => {}
        }
        self.pace.begin(state.head.samples, slice_of(state.head.series_count() as u64));
        let wal_number = stored.wal.rotate();
        let (mut held, _) = state.head.arrivals.windows();
        drop(state);
        // A window that is cut in part counts as whole until it is cut whole.
        held.retain(|(start, _)| cut.range().contains(Timestamp::from_millis(*start)));
        let days = days_together(&held, self.clock.now().as_millis());
        let series = self.series_list();
        let mut slots = series.clone();
        slots.sort_unstable();
        Begun { wal_number, series, slots, held, days }
    }

    /// Puts the samples in `range` into blocks; returns how many blocks, and the checkpoint with what the head held
    /// beside them.
    fn move_to_blocks(&self, stored: &Stored, begun: &Begun, range: TimeRange) -> Result<(usize, CheckpointWriter)> {
        let mut checkpoint = CheckpointWriter::begin(stored.disk.clone(), &stored.folder, begun.wal_number)?;
        let windows = self.detach(begun, range, &mut checkpoint)?;
        let blocks = self.write_blocks(stored, &stored.folder, &begun.series, &windows, Head::detached)?;
        let count = blocks.len();
        self.publish(blocks);
        self.forget(begun);
        Ok((count, checkpoint))
    }

    /// Lists the series of the head by labels.
    pub(super) fn series_list(&self) -> SeriesList {
        self.rank_series();
        self.read().head.sorted()
    }

    /// Works out the order of new series, some at a time: appends wait a few milliseconds at once.
    pub(super) fn rank_series(&self) {
        while !self.read().head.rank_some() {}
    }

    /// Puts samples in `range` aside; returns the windows that they lie in. All else goes to the checkpoint here and
    /// now: what comes from here on stands in segments that stay.
    fn detach(
        &self,
        begun: &Begun,
        range: TimeRange,
        checkpoint: &mut CheckpointWriter,
    ) -> Result<BTreeSet<(i64, i64)>> {
        let (min, max) = (range.start.as_millis(), range.end.as_millis().saturating_sub(1));
        let mut windows = BTreeSet::new();
        for slice in begun.slots.chunks(SLICE) {
            let mut state = self.write();
            for slot in slice {
                let Some((first, last)) = state.head.detach(*slot, min, max) else { continue };
                let one = window_of(first, &begun.days);
                if one.contains(Timestamp::from_millis(last)) {
                    windows.insert((one.start.as_millis(), one.end.as_millis()));
                    continue;
                }
                for time in state.head.detached(*slot, first, last).window(first, last).times {
                    let window = window_of(time, &begun.days);
                    windows.insert((window.start.as_millis(), window.end.as_millis()));
                }
            }
            drop(state);
            let kept: Vec<_> = {
                let state = self.read();
                slice.iter().map(|slot| (*slot, state.head.labels(*slot), state.head.kept(*slot))).collect()
            };
            for (series, labels, parts) in kept {
                let chunks = parts.to_chunks().into_iter();
                let logged = |c: Chunk| LoggedChunk { series, times: c.times.to_vec(), values: c.values.into_vec() };
                checkpoint.add((series, labels), chunks.map(logged))?;
            }
        }
        Ok(windows)
    }

    /// Writes a block for each window into `folder`; `read` says what of a series goes in.
    pub(super) fn write_blocks(
        &self,
        stored: &Stored,
        folder: &Path,
        series: &[u32],
        windows: &BTreeSet<(i64, i64)>,
        read: ReadParts,
    ) -> Result<Vec<Arc<Block>>> {
        let folder = folder.join(files::BLOCKS);
        let mut blocks: Vec<Arc<Block>> = Vec::new();
        for (start, end) in windows {
            let window = TimeRange::new(Timestamp::from_millis(*start), Timestamp::from_millis(*end));
            match self.write_block(stored, &folder, series, window, self.next_number(), read) {
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
        series: &[u32],
        window: TimeRange,
        number: u64,
        read: ReadParts,
    ) -> Result<Option<Arc<Block>>> {
        let (min, max) = (window.start.as_millis(), window.end.as_millis().saturating_sub(1));
        let mut writer = BlockWriter::begin(stored.disk.clone(), folder, number, Effort::Small)?;
        let mut written = || -> Result<()> {
            let mut decoded = Decoded::default();
            for slice in series.chunks(SLICE) {
                if self.is_closed.load(Ordering::Relaxed) {
                    return Err(Error::Closed);
                }
                let parts: Vec<(Labels, Parts)> = {
                    let state = self.read();
                    let parts = slice.iter().map(|slot| (*slot, read(&state.head, *slot, min, max)));
                    let parts = parts.filter(|(_, parts)| !parts.is_empty());
                    parts.map(|(slot, parts)| (state.head.labels(slot), parts)).collect()
                };
                for (labels, parts) in parts {
                    writer.add(&labels, &parts.read(min, max, &mut decoded))?;
                }
            }
            Ok(())
        };
        if let Err(error) = written() {
            writer.abandon();
            return Err(error);
        }
        finish_block(stored, writer, Origin { number, window, level: 1, rank: number, merged: Vec::new() })
    }

    /// Returns a number that no block has or had: one that was given up may still have readers, and its folder.
    pub(super) fn next_number(&self) -> u64 {
        self.next_block.fetch_add(1, Ordering::Relaxed)
    }

    /// Shows blocks to readers.
    fn publish(&self, blocks: Vec<Arc<Block>>) {
        let mut state = self.write();
        blocks.iter().for_each(|b| state.mark_deleted(b));
        let mut all: Vec<Arc<Block>> = state.blocks.iter().cloned().chain(blocks).collect();
        all.sort_by_key(|b| b.meta.rank);
        state.blocks = Arc::new(all);
    }

    /// Forgets what blocks have now. Readers who see a sample in both take it once.
    fn forget(&self, begun: &Begun) {
        let mut gone = Vec::new();
        for slice in begun.slots.chunks(SLICE) {
            self.write().head.forget_detached(slice, &mut gone);
            if gone.len() >= UNLISTED_AT_ONCE {
                self.write().head.unlist(&std::mem::take(&mut gone));
            }
        }
        self.write().head.unlist(&gone);
        let mut state = self.write();
        state.head.arrivals.forget(&begun.held);
        state.head.finish_cut();
    }

    /// Ends the checkpoint that stands for the segments from before the cut, and removes these.
    fn finish_cut(&self, stored: &Stored, begun: &Begun, mut checkpoint: CheckpointWriter) -> Result<()> {
        stored.wal.sync()?;
        let ended: Vec<u32> = {
            let state = self.read();
            begun.slots.iter().copied().filter(|slot| state.head.get(*slot).is_none()).collect()
        };
        // It names them: when it was begun nobody knew.
        checkpoint.flush()?;
        checkpoint.add_logged(&Logged::Ended(runs(&ended)))?;
        let bytes = self.finish_checkpoint(checkpoint)?;
        let removed = stored.wal.remove_before(begun.wal_number)?;
        self.write().head.forget_ended();
        info!(bytes, segments_removed = removed, "checkpoint written");
        if let Err(error) = remove_old(&*stored.disk, &stored.folder, begun.wal_number) {
            warn!(%error, "cannot remove an old checkpoint; tried again at the next start");
        }
        Ok(())
    }

    /// Adds what is known beside samples, and ends a checkpoint; returns its bytes.
    pub(super) fn finish_checkpoint(&self, mut writer: CheckpointWriter) -> Result<u64> {
        let (late, metadata, accounts) = {
            let state = self.read();
            let metadata = state.head.metadata.iter().map(|(n, m)| (n.clone(), m.clone())).collect();
            (state.head.late.to_log(), metadata, state.head.accounts.to_log(None))
        };
        writer.add_logged(&Logged::Late(late))?;
        writer.add_logged(&Logged::Metadata(metadata))?;
        writer.add_logged(&Logged::Accounts(accounts))?;
        Ok(writer.finish()?)
    }
}

/// Ends a block and opens it.
pub(super) fn finish_block(stored: &Stored, writer: BlockWriter, origin: Origin) -> Result<Option<Arc<Block>>> {
    let Some((_, folder)) = writer.finish(origin)? else { return Ok(None) };
    Ok(Some(Arc::new(Block::open(&stored.disk, &folder)?)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Batch, Config, Db, WalSync};
    use super::*;
    use crate::clock::Clock;
    use crate::instrument::Registry;
    use crate::storage::disk::{Disk, FaultyDisk};

    const NOW_MS: i64 = 1_790_000_000_000;
    const HOUR_MS: i64 = 3_600_000;

    fn open(disk: &FaultyDisk) -> Db {
        let config = Config {
            retention: Duration::from_secs(30 * 24 * 3600),
            wal_sync: WalSync::Never,
            series_max: 1000,
            ahead_max: Duration::from_secs(600),
        };
        let clock = Clock::hand_set(Timestamp::from_millis(NOW_MS));
        Db::open_without_threads(config, disk.shared(), Path::new("/tsdb"), clock, &Registry::default()).unwrap()
    }

    fn append(db: &Db, instance: &str, time: i64) {
        let mut batch = Batch::default();
        let labels = Labels::from_pairs([("__name__", "up"), ("instance", instance)]);
        batch.push(&labels, Timestamp::from_millis(time), 1.0);
        assert_eq!(db.append(&batch).unwrap().appended, 1);
    }

    fn samples(db: &Db) -> usize {
        let set = db.querier().select(&[], Timestamp::MIN, Timestamp::MAX, usize::MAX).unwrap();
        set.map(|series| series.unwrap().timestamps.len()).sum()
    }

    #[test]
    fn a_checkpoint_holds_what_was_kept_and_not_what_came_during_the_cut() {
        let disk = FaultyDisk::new(1);
        let db = open(&disk);
        append(&db, "ends", NOW_MS - 9 * HOUR_MS);
        append(&db, "stays", NOW_MS - 9 * HOUR_MS);
        append(&db, "stays", NOW_MS - 2);
        let stored = db.0.stored.as_ref().unwrap();
        let over = Cut::Over(TimeRange::new(Timestamp::MIN, Timestamp::from_millis(NOW_MS - HOUR_MS)));
        let begun = db.0.begin_cut(stored, over);
        let (blocks, checkpoint) = db.0.move_to_blocks(stored, &begun, over.range()).unwrap();
        append(&db, "stays", NOW_MS - 1);
        append(&db, "new", NOW_MS);
        db.0.finish_cut(stored, &begun, checkpoint).unwrap();
        assert_eq!((blocks, samples(&db), db.series_count()), (1, 5, 2));

        let db = open(&disk.fork());
        assert_eq!((samples(&db), db.series_count(), db.stats().damages.len()), (5, 2, 0));
        let without_log = disk.fork();
        without_log.remove_folder(Path::new("/tsdb/wal")).unwrap();
        let db = open(&without_log);
        assert_eq!((samples(&db), db.series_count()), (3, 1), "the block's two and what was kept");
    }
}
