//! Reads all that parts hold, some blocks at a time, and reports what does not check out as when a scan meets it.
//! When and how fast is the caller's: `storage/scrub.rs`.

use std::path::Path;
use std::sync::Arc;

use tracing::warn;

use super::part::{BlockPlace, Part};
use super::store::{LogStore, Shared};
use super::{files, shelf};
use crate::storage::disk::{self, Checked};

/// Blocks are read until they are so many bytes, or until the part ends.
const STRETCH_BYTES: u64 = 256 << 10;

/// How far a reading of all parts has come.
#[derive(Debug, Default)]
pub struct ScrubPlace {
    /// Parts up to this day and number are done or under way.
    until: Option<(i64, u64)>,
    /// The part under way and its blocks that are still to be read, the next one last.
    part: Option<(Arc<Part>, Vec<BlockPlace>)>,
}

impl LogStore {
    /// Reads the blocks at `place`, or the index of the next part, and moves `place` behind them; `None` if there is
    /// nothing left. Cost: about a quarter of a megabyte of reads.
    pub fn scrub(&self, place: &mut ScrubPlace) -> Option<Checked> {
        let shared = self.shared();
        match place.part.take() {
            Some((part, mut blocks)) => {
                let checked = shared.scrub_blocks(&part, &mut blocks);
                place.part = (!blocks.is_empty()).then_some((part, blocks));
                Some(checked)
            }
            None => shared.scrub_index(place),
        }
    }

    /// Returns how much there is for [`LogStore::scrub`] to read.
    #[must_use]
    pub fn scrub_bytes(&self) -> u64 {
        self.shared().read().shelf.bytes()
    }
}

impl Shared {
    /// Reads both ends and the index of the next part.
    fn scrub_index(&self, place: &mut ScrubPlace) -> Option<Checked> {
        let (key, part) = {
            let state = self.read();
            let parts = state.shelf.days.iter().flat_map(|(day, parts)| parts.iter().map(|part| (*day, part)));
            let keyed = parts.map(|(day, part)| ((day, number(&part.path)), part));
            let (key, part) =
                keyed.filter(|(key, _)| place.until.is_none_or(|until| *key > until)).min_by_key(|p| p.0)?;
            (key, part.clone())
        };
        place.until = Some(key);
        let read = Part::open(&*self.disk, &part.path).and_then(|_| part.index(&*self.disk.open(&part.path)?));
        match read {
            Ok(streams) => {
                let mut blocks: Vec<BlockPlace> = streams.into_iter().flat_map(|stream| stream.blocks).collect();
                blocks.sort_unstable_by_key(|block| std::cmp::Reverse(block.offset));
                let bytes = part.bytes.saturating_sub(blocks.iter().map(BlockPlace::bytes).sum());
                place.part = Some((part, blocks));
                Some(Checked { bytes, findings: 0 })
            }
            Err(error) => Some(Checked { bytes: 0, findings: u64::from(self.lose_part(key.0, &part, &error)) }),
        }
    }

    /// Reads some blocks of a part, the last of `blocks` first.
    fn scrub_blocks(&self, part: &Part, blocks: &mut Vec<BlockPlace>) -> Checked {
        let mut checked = Checked::default();
        let file = match self.disk.open(&part.path) {
            Ok(file) => file,
            Err(error) => {
                blocks.clear();
                // Not there any more: its day was deleted meanwhile.
                if !error.is_not_found() {
                    warn!(%error, "cannot read a part of the logs to check it");
                    checked.findings += 1;
                }
                return checked;
            }
        };
        while checked.bytes < STRETCH_BYTES
            && let Some(block) = blocks.pop()
        {
            checked.bytes += block.bytes();
            if !part.has_good_filter(&*file, &block) {
                let damage = format!("{}: the filter of the block at byte {}", part.path.display(), block.offset);
                self.instruments.damages.report("logs_filter", &damage);
                checked.findings += 1;
            }
            match part.frame(&*file, &block) {
                Ok(_) => {}
                Err(error @ disk::Error::Corruption(_)) => {
                    if part.mark_bad(&block) {
                        self.instruments.damages.report("logs_block", &format!("{error}; {} lines", block.lines));
                        checked.findings += 1;
                    }
                }
                Err(error) => {
                    warn!(%error, "cannot read a part of the logs to check it");
                    checked.findings += 1;
                }
            }
        }
        checked
    }

    /// Takes a part that cannot be read out of the store, and puts it aside if it is damaged. Returns whether that
    /// was news.
    fn lose_part(&self, day: i64, part: &Arc<Part>, error: &disk::Error) -> bool {
        let _one = self.upkeep_lock();
        let mut state = self.write();
        let parts = state.shelf.days.get_mut(&day);
        let Some((parts, at)) = parts.and_then(|p| p.iter().position(|one| Arc::ptr_eq(one, part)).map(|at| (p, at)))
        else {
            // Its day was deleted meanwhile.
            return false;
        };
        if !matches!(error, disk::Error::Corruption(_)) {
            warn!(%error, "cannot read a part of the logs to check it");
            return true;
        }
        parts.remove(at);
        drop(state);
        shelf::put_aside(&*self.disk, &self.folder, &part.path, error, self.clock.now(), &self.instruments);
        true
    }
}

fn number(path: &Path) -> u64 {
    path.file_name().and_then(|name| files::parse_part(name.to_str()?)).unwrap_or(0)
}
