//! Pages of indexes that were used lately, up to a bound of memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::FixedState;

use super::block::{Block, Page};
use crate::storage::disk::Result;

/// Upper bound of the memory that cached pages take: all pages of some four blocks of 50 000 series, or those
/// that dashboards ask for again and again. Reading one anew costs some 50 us.
const CACHE_BYTES_MAX: usize = 8 << 20;

#[derive(Debug, Default)]
pub(crate) struct PageCache {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By number of the block and of the page.
    pages: HashMap<(u64, usize), Entry, FixedState>,
    bytes: usize,
    /// Counts uses.
    now: u64,
}

#[derive(Debug)]
struct Entry {
    page: Arc<Page>,
    used: u64,
}

impl PageCache {
    /// Returns a page of a block's index, from memory or from the disk; `None` if it does not check out.
    pub(crate) fn get(&self, block: &Block, page: usize) -> Result<Option<Arc<Page>>> {
        let key = (block.meta.number, page);
        if let Some(page) = self.find(key) {
            return Ok(Some(page));
        }
        // Read without the lock: two readers may read the same, which only costs time.
        let Some(page) = block.read_page(page)?.map(Arc::new) else { return Ok(None) };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.now += 1;
        let entry = Entry { page: page.clone(), used: kept.now };
        kept.bytes += page.memory_bytes();
        if let Some(same) = kept.pages.insert(key, entry) {
            kept.bytes -= same.page.memory_bytes();
        }
        while kept.bytes > CACHE_BYTES_MAX && kept.pages.len() > 1 {
            let Some(oldest) = kept.pages.iter().min_by_key(|(_, e)| e.used).map(|(key, _)| *key) else { break };
            kept.remove(oldest);
        }
        Ok(Some(page))
    }

    /// Forgets the pages of a block that is gone.
    pub(crate) fn forget(&self, number: u64) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<(u64, usize)> = kept.pages.keys().filter(|(n, _)| *n == number).copied().collect();
        gone.into_iter().for_each(|key| kept.remove(key));
    }

    fn find(&self, key: (u64, usize)) -> Option<Arc<Page>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.now += 1;
        let now = kept.now;
        let entry = kept.pages.get_mut(&key)?;
        entry.used = now;
        Some(entry.page.clone())
    }
}

impl Kept {
    fn remove(&mut self, key: (u64, usize)) {
        if let Some(gone) = self.pages.remove(&key) {
            self.bytes -= gone.page.memory_bytes();
        }
    }
}
