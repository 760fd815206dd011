//! The slow work on blocks that nobody waits for: merging, and a look at indexes after the start.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{info, warn};

use super::block::BlockMeta;
use super::compact::{DAY_MS, plan};
use super::db::Shared;
use super::due::SETTLE_MS;
use super::maintenance::PAUSE;
use super::{Result, repair};
use crate::storage::disk;

/// A day is merged so long after its end: later than its last window is cut.
const DAY_SETTLE_MS: i64 = 3 * SETTLE_MS;

/// What is remembered from one pass to the next.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// No writing before this, in time since start.
    paused_until: Duration,
    /// Blocks whose index has been checked up to this number.
    checked_until: u64,
    /// Whether this thread has been told to stand back.
    has_yielded: bool,
}

impl Shared {
    /// Lets this thread stand back for all others of the machine, from its first pass on.
    pub(super) fn yield_to_others(&self) {
        let Ok(mut memory) = self.tidying.try_lock() else { return };
        if !std::mem::replace(&mut memory.has_yielded, true)
            && let Err(error) = disk::lowest_priority()
        {
            info!(%error, "blocks are merged at normal priority");
        }
    }

    /// One pass over all that may be due.
    pub(super) fn tidy(&self) {
        self.for_lane(Shared::tidy);
        let Ok(mut memory) = self.tidying.try_lock() else { return };
        if self.stored.is_none() || self.is_closed.load(Ordering::Relaxed) {
            return;
        }
        let now = self.clock.now().as_millis();
        if self.clock.elapsed() >= memory.paused_until
            && let Err(error) = self.merge_if_due(now)
        {
            memory.paused_until = self.clock.elapsed() + PAUSE;
            warn!(%error, "cannot merge blocks; tried again in a while");
        }
        if let Ok(_one) = self.deleting.try_lock()
            && let Err(error) = self.drop_tombstones()
        {
            warn!(%error, "cannot drop tombstones; tried again");
        }
        self.check_indexes(&mut memory);
    }

    fn merge_if_due(&self, now: i64) -> Result<()> {
        while !self.stop.is_set() {
            let (metas, filling): (Vec<BlockMeta>, BTreeSet<i64>) = {
                let state = self.read();
                let (windows, _) = state.head.arrivals.windows();
                let filling = windows.into_iter().map(|(start, _)| start.div_euclid(DAY_MS)).collect();
                (state.blocks.iter().map(|b| b.meta.clone()).collect(), filling)
            };
            let Some(plan) = plan(&metas, now, DAY_SETTLE_MS, &filling) else { break };
            self.merge(&plan)?;
        }
        Ok(())
    }

    /// Reads the index of one block that has not been checked since the start; damage shows before somebody
    /// asks for it.
    fn check_indexes(&self, memory: &mut Memory) {
        let blocks = self.read().blocks.clone();
        let next = blocks.iter().filter(|b| b.meta.number > memory.checked_until).min_by_key(|b| b.meta.number);
        let Some(block) = next else { return };
        memory.checked_until = block.meta.number;
        repair::check_index(self, block);
    }
}
