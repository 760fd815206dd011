//! Buffers that scrapes hand on to each other.
//!
//! A body and its samples are needed for some milliseconds; were they kept per target, a hundred of them would
//! lie in memory at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::storage::tsdb::Batch;

/// So many of each kind are kept.
const KEPT_MAX: usize = 2;

/// A larger body's buffer is not kept.
const BODY_BYTES_KEPT_MAX: usize = 4 << 20;

/// A larger batch is not kept.
const SAMPLES_KEPT_MAX: usize = 100_000;

/// Buffers that nobody uses just now; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Idle>>);

#[derive(Debug, Default)]
struct Idle {
    bytes: Vec<Vec<u8>>,
    batches: Vec<Batch>,
}

impl Buffers {
    /// Returns an empty buffer for a body.
    pub(super) fn take_bytes(&self) -> Vec<u8> {
        self.lock().bytes.pop().unwrap_or_default()
    }

    /// Returns an empty batch.
    pub(super) fn take_batch(&self) -> Batch {
        self.lock().batches.pop().unwrap_or_default()
    }

    /// Takes back a body's buffer.
    pub(super) fn give_bytes(&self, mut bytes: Vec<u8>) {
        let mut idle = self.lock();
        if idle.bytes.len() < KEPT_MAX && bytes.capacity() <= BODY_BYTES_KEPT_MAX {
            bytes.clear();
            idle.bytes.push(bytes);
        }
    }

    /// Takes back a batch.
    pub(super) fn give_batch(&self, mut batch: Batch) {
        let mut idle = self.lock();
        if idle.batches.len() < KEPT_MAX && batch.len() <= SAMPLES_KEPT_MAX {
            batch.clear();
            idle.batches.push(batch);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
