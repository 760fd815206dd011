//! Every file and folder name of this store, in one place.

use std::path::{Path, PathBuf};

/// Folder of the WAL's segments.
pub(crate) const WAL: &str = "wal";

/// File that names the newest of the WAL's segments.
pub(crate) const NEWEST: &str = "newest";

/// Folder of the blocks.
pub(crate) const BLOCKS: &str = "blocks";

/// Folder of samples whose true time is not known, a store of its own.
pub(crate) const PROVISIONAL: &str = "provisional";

/// Folder beside the store's own where damaged files go.
pub(crate) const QUARANTINE: &str = "quarantine";

/// In a block's folder: what it holds, in words.
pub(crate) const META: &str = "meta.json";

/// In a block's folder: series, labels and where their chunks are.
pub(crate) const INDEX: &str = "index";

/// In a block's folder: the columns.
pub(crate) const CHUNKS: &str = "chunks";

/// Ends the name of a merged block in the making.
pub(crate) const MERGE_SUFFIX: &str = ".merge.tmp";

/// File of what was deleted and still lies in blocks.
pub(crate) const TOMBSTONES: &str = "tombstones";

const CHECKPOINT_PREFIX: &str = "checkpoint.";

/// Returns the folder of the checkpoint that stands for all WAL segments below `number`.
pub(crate) fn checkpoint(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{CHECKPOINT_PREFIX}{number:08}"))
}

/// Returns the number in a checkpoint's name; `None` for other names, also for one in the making.
pub(crate) fn checkpoint_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(CHECKPOINT_PREFIX)?;
    (digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Tells whether a name in the store's folder is that of what a start replays.
pub(crate) fn is_wal(name: &str) -> bool {
    name == WAL || name == NEWEST || name.starts_with(CHECKPOINT_PREFIX)
}

/// Tells whether a name is that of something in the making, left by a crash.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.ends_with(crate::storage::disk::TEMPORARY_SUFFIX)
}

/// Returns a block's name: its number, and for people the hour it begins.
pub(crate) fn block(number: u64, start_ms: i64) -> String {
    let start = crate::model::Timestamp::from_millis(start_ms).to_rfc3339();
    format!("{number:08}-{}h", start.get(..13).unwrap_or("0000-00-00T00"))
}

/// Returns the number in a block's name.
pub(crate) fn block_number(name: &str) -> Option<u64> {
    let digits = name.split('-').next()?;
    (digits.len() >= 8).then(|| digits.parse().ok())?
}
