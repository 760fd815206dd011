//! Snapshots of metrics that somebody has asked for by the API, in `snapshots/` of the data folder.
//!
//! They stay until they are removed by hand, or until space is short: then they are the first to go, the oldest
//! first. A snapshot costs nothing while the store has its blocks too, as these are links; it is what retention and
//! merges take away from the store that only a snapshot holds, and that counts into the size limit.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tracing::warn;

use super::disk;
use super::{Storage, files, tsdb};

/// A snapshot that somebody has asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its folder's name, which begins with the time it was made: sorted by it, the oldest is the first.
    pub name: String,
    /// Bytes in it.
    pub bytes: u64,
    /// Of these, bytes that neither the store nor a younger snapshot has.
    pub own_bytes: u64,
}

impl Storage {
    /// Makes a snapshot of metrics under a name that is not taken; `skips_head` leaves out what is only in the head.
    ///
    /// # Errors
    /// As [`tsdb::Db::snapshot`].
    pub fn keep_snapshot(&self, name: &str, skips_head: bool) -> tsdb::Result<tsdb::SnapshotInfo> {
        let into = self.snapshots_folder().join(name);
        if skips_head { self.db.snapshot_of_blocks(&into) } else { self.db.snapshot(&into) }
    }

    /// Returns the snapshots that there are, the oldest first. Cost: lists their folders.
    #[must_use]
    pub fn kept_snapshots(&self) -> Vec<Kept> {
        let folder = self.snapshots_folder();
        let entries = self.disk.list(&folder).unwrap_or_default();
        let mut names: Vec<String> = entries.into_iter().filter(|e| e.is_folder).map(|e| e.name).collect();
        names.sort_by(|a, b| b.cmp(a));
        // A number of a block is never given twice: what has the same name is the same, by links.
        let mut elsewhere: BTreeSet<String> = self.db.block_names();
        let mut kept: Vec<Kept> = Vec::with_capacity(names.len());
        for name in names {
            let place = folder.join(&name);
            let bytes = disk::folder_bytes(&*self.disk, &place);
            let mut own_bytes = bytes;
            for block in self.disk.list(&place.join("blocks")).unwrap_or_default() {
                let shared = disk::folder_bytes(&*self.disk, &place.join("blocks").join(&block.name));
                if !elsewhere.insert(block.name) {
                    own_bytes = own_bytes.saturating_sub(shared);
                }
            }
            kept.push(Kept { name, bytes, own_bytes });
        }
        kept.reverse();
        kept
    }

    /// Removes the oldest snapshots until so many bytes are free, or until those that are left hold nothing of their
    /// own. Returns the bytes freed.
    pub(super) fn remove_snapshots(&self, needed_bytes: u64) -> u64 {
        let mut freed = 0;
        while freed < needed_bytes {
            // What the oldest one shares with the next is that one's own when it is gone.
            let kept = self.kept_snapshots();
            let Some(oldest) = kept.first().filter(|_| kept.iter().any(|k| k.own_bytes > 0)) else { break };
            if let Err(error) = self.disk.remove_folder(&self.snapshots_folder().join(&oldest.name)) {
                warn!(%error, "cannot remove a snapshot");
                break;
            }
            freed += oldest.own_bytes;
            warn!(name = oldest.name, bytes = oldest.own_bytes, "snapshot removed: space is short");
        }
        freed
    }

    fn snapshots_folder(&self) -> PathBuf {
        self.inner.folder.join(files::SNAPSHOTS)
    }
}
