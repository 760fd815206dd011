//! Indexes of blocks that were used lately, up to a bound of memory.

use std::sync::{Arc, Mutex, PoisonError};

use super::block::{Block, Index};
use crate::storage::disk::Result;

/// Upper bound of the memory that cached indexes take.
const CACHE_BYTES_MAX: usize = 24 << 20;

#[derive(Debug, Default)]
pub(crate) struct IndexCache {
    /// Block number and index, the last used at the end.
    kept: Mutex<Vec<(u64, Arc<Index>)>>,
}

impl IndexCache {
    /// Returns the index of a block, from memory or from the disk.
    pub(crate) fn get(&self, block: &Block) -> Result<Arc<Index>> {
        let number = block.meta.number;
        if let Some(index) = self.find(number) {
            return Ok(index);
        }
        // Read without the lock: two readers may read the same, which only costs time.
        let index = Arc::new(block.load_index()?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push((number, index.clone()));
        let mut bytes: usize = kept.iter().map(|(_, i)| i.memory_bytes()).sum();
        while bytes > CACHE_BYTES_MAX && kept.len() > 1 {
            bytes -= kept.remove(0).1.memory_bytes();
        }
        Ok(index)
    }

    /// Forgets the index of a block that is gone.
    pub(crate) fn forget(&self, number: u64) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).retain(|(n, _)| *n != number);
    }

    fn find(&self, number: u64) -> Option<Arc<Index>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(n, _)| *n == number)?;
        let entry = kept.remove(at);
        let index = entry.1.clone();
        kept.push(entry);
        Some(index)
    }
}
