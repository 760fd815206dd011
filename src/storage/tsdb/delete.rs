//! Deleting series by somebody's wish: at once for readers, on disk by and by.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use tracing::{error, info};

use super::block::Block;
use super::compact::Plan;
use super::db::{Db, Shared, State, Stored};
use super::due::Cut;
use super::select::Selection;
use super::tombstones::{TOMBSTONES_MAX, Tombstone, decode, encode, mask_of};
use super::{Error, Result, files, repair};
use crate::model::{Matcher, TimeRange, Timestamp};
use crate::storage::disk::{self, replace, set_aside};

impl Db {
    /// Deletes the samples in `[min, max]`, both ends included, of all series that pass all matchers. Readers
    /// do not see them any more when this returns, nor after a restart; their space is free after the next
    /// merge or [`Db::clean_tombstones`]. Samples of the same times that are appended later are kept. Provisional
    /// samples are deleted by the times that they are shown with now.
    ///
    /// Cost: reads the indexes of the blocks there; what the head holds of these times is cut into blocks
    /// first.
    ///
    /// # Errors
    /// When the disk refuses: nothing is deleted then. [`Error::TooManyTombstones`] before a clean-up. For a
    /// store in memory.
    pub fn delete_series(&self, matchers: &[Matcher], min: Timestamp, max: Timestamp) -> Result<()> {
        let shared = &*self.0;
        let Some(stored) = &shared.stored else { return Err(Error::InMemory) };
        if shared.is_closed.load(Ordering::Relaxed) {
            return Err(Error::Closed);
        }
        let _one = shared.deleting.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.read().tombstones.len() >= TOMBSTONES_MAX {
            return Err(Error::TooManyTombstones { limit: TOMBSTONES_MAX });
        }
        let (first, last) = (min.as_millis(), max.as_millis());
        // Nothing is cut meanwhile, and nothing comes over from the lane.
        let alone = shared.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((lane, shift_ms)) = self.lane_to_read() {
            let [min, max] = [first, last].map(|ms| Timestamp::from_millis(ms.saturating_sub(shift_ms)));
            lane.delete_series(matchers, min, max)?;
        }
        if shared.is_in_head(matchers, first, last) {
            shared.cut(Cut::Over(TimeRange::new(min, Timestamp::from_millis(last.saturating_add(1)))))?;
        }
        drop(alone);
        let tombstone =
            Arc::new(Tombstone { before: shared.next_number(), min: first, max: last, matchers: matchers.to_vec() });
        if !shared.covers_something(&tombstone)? {
            return Ok(());
        }
        let mut all = shared.read().tombstones.to_vec();
        all.push(tombstone.clone());
        write(stored, &all)?;
        let mut state = shared.write();
        state.blocks.iter().filter(|b| tombstone.concerns(&b.meta)).for_each(|b| b.deleted.add(&tombstone));
        state.tombstones = Arc::new(all);
        drop(state);
        info!(matchers = ?tombstone.matchers, from = %min, to = %max, "series deleted");
        Ok(())
    }

    /// Frees the space of what was deleted: writes the blocks concerned anew without it. Cost: as merging
    /// them; waits for a merge that is under way.
    ///
    /// # Errors
    /// When the disk refuses; what was deleted stays so.
    pub fn clean_tombstones(&self) -> Result<()> {
        let shared = &*self.0;
        if shared.stored.is_none() {
            return Err(Error::InMemory);
        }
        if let Some((lane, _)) = self.lane_to_read() {
            lane.clean_tombstones()?;
        }
        let _alone = shared.tidying.lock().unwrap_or_else(PoisonError::into_inner);
        let blocks = shared.read().blocks.clone();
        for block in blocks.iter() {
            let tombstones = block.deleted.list();
            if tombstones.is_empty() {
                continue;
            }
            match shared.holds_some(block, &tombstones) {
                Ok(false) => block.deleted.remove(&tombstones),
                Ok(true) => shared.merge(&Plan { inputs: vec![block.meta.number], window: block.meta.range() })?,
                Err(error) => shared.put_aside(block, error)?,
            }
        }
        let _one = shared.deleting.lock().unwrap_or_else(PoisonError::into_inner);
        shared.drop_tombstones()
    }
}

impl State {
    /// Says to a new block what of it is deleted: it may have been begun before the wish.
    pub(super) fn mark_deleted(&self, block: &Block) {
        self.tombstones.iter().filter(|t| t.concerns(&block.meta)).for_each(|t| block.deleted.add(t));
    }
}

impl Shared {
    /// Reads the tombstones of the store's folder, when it is opened.
    pub(super) fn load_tombstones(&self) {
        let Some(stored) = &self.stored else { return };
        let path = stored.folder.join(files::TOMBSTONES);
        let read = || -> disk::Result<Vec<Arc<Tombstone>>> {
            let file = stored.disk.open(&path)?;
            let size = file.size()?;
            let bytes = file.read_exact_at(0, usize::try_from(size).unwrap_or(usize::MAX))?;
            decode(&bytes).map_err(|e| e.in_file(&path, 0, size).into())
        };
        match read() {
            Ok(tombstones) => {
                let before = tombstones.iter().map(|t| t.before).max().unwrap_or(0);
                self.next_block.fetch_max(before + 1, Ordering::Relaxed);
                let mut state = self.write();
                state.tombstones = Arc::new(tombstones);
                state.blocks.iter().for_each(|b| state.mark_deleted(b));
            }
            Err(disk::Error::Corruption(damage)) => {
                self.report("tombstones", &format!("{damage}; what was deleted is read again"));
                let place = stored.folder.parent().unwrap_or(&stored.folder).join(files::QUARANTINE);
                if let Err(error) = set_aside(&*stored.disk, &place, &path, &damage, self.clock.now()) {
                    error!(%error, "cannot put damaged tombstones into quarantine");
                }
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => error!(%error, "cannot read tombstones: what was deleted is read again"),
        }
    }

    /// Drops tombstones that no block needs any more. The caller holds `deleting`.
    pub(super) fn drop_tombstones(&self) -> Result<()> {
        let Some(stored) = &self.stored else { return Ok(()) };
        let (all, blocks) = {
            let state = self.read();
            (state.tombstones.clone(), state.blocks.clone())
        };
        let needed: Vec<Arc<Tombstone>> =
            all.iter().filter(|t| blocks.iter().any(|b| b.deleted.has(t))).cloned().collect();
        if needed.len() < all.len() {
            write(stored, &needed)?;
            self.write().tombstones = Arc::new(needed);
        }
        Ok(())
    }

    fn is_in_head(&self, matchers: &[Matcher], min: i64, max: i64) -> bool {
        let state = self.read();
        let ids = Selection::new(matchers).select(&state.head);
        ids.into_iter().any(|id| state.head.overlaps(id, min, max))
    }

    /// Tells whether a tombstone covers a series of a block.
    fn covers_something(&self, tombstone: &Arc<Tombstone>) -> Result<bool> {
        let blocks = self.read().blocks.clone();
        for block in blocks.iter().filter(|b| tombstone.concerns(&b.meta)) {
            match self.holds_some(block, std::slice::from_ref(tombstone)) {
                Ok(false) => {}
                Ok(true) => return Ok(true),
                Err(error) => self.put_aside(block, error)?,
            }
        }
        Ok(false)
    }

    /// Tells whether a block has series that tombstones are about.
    fn holds_some(&self, block: &Arc<Block>, tombstones: &[Arc<Tombstone>]) -> disk::Result<bool> {
        for page in 0..block.contents()?.pages.len() {
            if let Some(page) = self.cache.get(block, page)?
                && !mask_of(tombstones, &*page).is_empty()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Goes on without a damaged block; any other failure of the disk is the caller's.
    fn put_aside(&self, block: &Arc<Block>, error: disk::Error) -> Result<()> {
        match error {
            disk::Error::Corruption(damage) => {
                repair::put_aside(self, block, &damage);
                Ok(())
            }
            other => Err(other.into()),
        }
    }
}

fn write(stored: &Stored, tombstones: &[Arc<Tombstone>]) -> Result<()> {
    let path = stored.folder.join(files::TOMBSTONES);
    if !tombstones.is_empty() {
        return Ok(replace(&*stored.disk, &path, &encode(tombstones))?);
    }
    match stored.disk.remove_file(&path) {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(stored.disk.sync_folder(&stored.folder)?),
    }
}
