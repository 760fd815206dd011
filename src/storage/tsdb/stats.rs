//! Figures about the store, for pages and the API.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::block::BlockMeta;
use super::config::WalSync;
use super::db::Db;
use super::head::Head;
use crate::model::{LABEL_NAME, TimeRange, Timestamp};

/// Figures about the store, for pages and `status/tsdb`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series in the head.
    pub head_series: u64,
    /// Samples in the head.
    pub head_samples: u64,
    /// About how many bytes of memory the head takes; worked out every few seconds.
    pub head_bytes: u64,
    /// Oldest sample there is, milliseconds; `None` when empty.
    pub min_time: Option<Timestamp>,
    /// Newest sample there is.
    pub max_time: Option<Timestamp>,
    /// Oldest sample in the head.
    pub head_min_time: Option<Timestamp>,
    /// Newest sample in the head.
    pub head_max_time: Option<Timestamp>,
    /// Immutable blocks.
    pub blocks: u64,
    /// Bytes of blocks on disk.
    pub block_bytes: u64,
    /// Samples in blocks; what stands in two counts twice.
    pub block_samples: u64,
    /// Chunks in blocks.
    pub block_chunks: u64,
    /// Bytes of the WAL on disk.
    pub wal_bytes: u64,
    /// Batches that a power cut would lose now.
    pub wal_unsynced: u64,
    /// Whether appends are refused because the disk is full or fails.
    pub is_read_only: bool,
    /// What was found damaged since the start, in words, oldest first; at most 100.
    pub damages: Vec<String>,
}

/// One block of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockInfo {
    /// The name of its folder.
    pub name: String,
    /// The window it was cut for.
    pub range: TimeRange,
    /// Samples in it.
    pub samples: u64,
    /// Series in it.
    pub series: u64,
    /// Chunks in it.
    pub chunks: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// 1 for one that was cut from the head, more for one that was merged.
    pub level: u32,
    /// Names of the blocks it was merged from.
    pub sources: Vec<String>,
    /// Version of its format.
    pub version: u32,
}

/// What the series of the head are made of: each list is sorted by count, largest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Series in the head.
    pub series: u64,
    /// Metric names there are.
    pub metrics: u64,
    /// Label names there are.
    pub label_names: u64,
    /// Label pairs there are.
    pub label_pairs: u64,
    /// Metric names by how many series they have.
    pub series_by_metric: Vec<(String, u64)>,
    /// Label names by how many values they have.
    pub values_by_label: Vec<(String, u64)>,
    /// Label pairs, `name=value`, by how many series have them.
    pub series_by_pair: Vec<(String, u64)>,
    /// Label names by the bytes of their values.
    pub bytes_by_label: Vec<(String, u64)>,
}

impl Db {
    /// Returns figures about the store. Cost: looks at the ends of every series of the head; a millisecond for
    /// fifty thousand.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let shared = &self.0;
        let state = shared.read();
        let head = &state.head;
        let head_range = head.range();
        let metas = state.blocks.iter().map(|b| &b.meta);
        let ranges = metas.clone().map(|m| (m.min_ms, m.max_ms)).chain(head_range);
        let range = ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let wal = shared.stored.as_ref().map(|s| &s.wal);
        Stats {
            head_series: head.series_count() as u64,
            head_samples: head.samples,
            head_bytes: shared.head_bytes.load(Ordering::Relaxed),
            min_time: range.map(|r| Timestamp::from_millis(r.0)),
            max_time: range.map(|r| Timestamp::from_millis(r.1)),
            head_min_time: head_range.map(|r| Timestamp::from_millis(r.0)),
            head_max_time: head_range.map(|r| Timestamp::from_millis(r.1)),
            blocks: state.blocks.len() as u64,
            block_bytes: metas.clone().map(|m| m.bytes).sum(),
            block_samples: metas.clone().map(|m| m.samples).sum(),
            block_chunks: metas.map(|m| m.chunks).sum(),
            wal_bytes: wal.map_or(0, |w| w.bytes()),
            wal_unsynced: wal.map_or(0, |w| w.unsynced_records()),
            is_read_only: shared.is_read_only(),
            damages: shared.damages.list(),
        }
    }

    /// Returns the bytes of blocks and WAL on disk. Cost: none.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let blocks: u64 = self.0.read().blocks.iter().map(|b| b.meta.bytes).sum();
        blocks + self.0.stored.as_ref().map_or(0, |s| s.wal.bytes()) + self.0.lane_bytes()
    }

    /// Returns what there is to tell of each block, oldest window first.
    #[must_use]
    pub fn blocks(&self) -> Vec<BlockInfo> {
        let told = |name: String, meta: &BlockMeta| BlockInfo {
            name,
            range: meta.range(),
            samples: meta.samples,
            series: meta.series,
            chunks: meta.chunks,
            bytes: meta.bytes,
            level: meta.level,
            sources: meta.merged.clone(),
            version: meta.version,
        };
        let mut all: Vec<BlockInfo> = self.0.read().blocks.iter().map(|b| told(b.name(), &b.meta)).collect();
        all.sort_by_key(|block| block.range.start);
        all
    }

    /// Returns the names of the blocks' folders.
    #[must_use]
    pub fn block_names(&self) -> BTreeSet<String> {
        self.0.read().blocks.iter().map(|b| b.name()).collect()
    }

    /// Returns what the series of the head are made of, the `top` of each list.
    #[must_use]
    pub fn cardinality(&self, top: usize) -> Cardinality {
        cardinality(&self.0.read().head, top)
    }

    /// Returns how long samples are kept.
    #[must_use]
    pub fn retention(&self) -> Duration {
        let ms = self.0.retention_ms.load(Ordering::Relaxed);
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }

    /// Returns when what was appended is made safe against a power cut.
    #[must_use]
    pub fn wal_sync(&self) -> WalSync {
        self.0.config.wal_sync
    }

    /// Returns the folder of the store; `None` for one in memory.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.0.stored.as_ref().map(|s| s.folder.as_path())
    }
}

/// Names are copied only where they stay: the lock is held meanwhile.
fn cardinality(head: &Head, top: usize) -> Cardinality {
    let index = head.index();
    let mut found = Cardinality { series: head.series_count() as u64, ..Cardinality::default() };
    let (mut metrics, mut pairs, mut labels, mut sizes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for name in index.names() {
        let (mut values, mut bytes) = (0, 0);
        for (value, references) in index.values(name, "") {
            let series = references.len() as u64;
            values += 1;
            bytes += value.len() as u64;
            if name == LABEL_NAME {
                metrics.push((value, series));
            }
            pairs.push(((name, value), series));
        }
        found.label_names += 1;
        found.label_pairs += values;
        labels.push((name, values));
        sizes.push((name, bytes));
    }
    found.metrics = metrics.len() as u64;
    found.series_by_metric = largest(metrics, top, str::to_owned);
    found.series_by_pair = largest(pairs, top, |(name, value)| format!("{name}={value}"));
    found.values_by_label = largest(labels, top, str::to_owned);
    found.bytes_by_label = largest(sizes, top, str::to_owned);
    found
}

/// Returns the `top` with the largest counts, largest first.
fn largest<N: Ord + Copy>(mut list: Vec<(N, u64)>, top: usize, write: impl Fn(N) -> String) -> Vec<(String, u64)> {
    list.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    list.into_iter().take(top).map(|(name, count)| (write(name), count)).collect()
}
