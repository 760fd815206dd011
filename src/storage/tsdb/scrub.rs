//! Reads all that blocks hold, a page at a time, and reports what does not check out as when a query meets it. When
//! and how fast is the caller's: `storage/scrub.rs`.

use tracing::warn;

use super::db::{Db, Shared};
use super::repair;
use crate::storage::disk::{self, Checked};

/// How far a reading of all blocks has come.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScrubPlace {
    /// Blocks with lower numbers are done.
    block: u64,
    page: usize,
}

impl Db {
    /// Reads the page at `place` and what it names, and moves `place` behind it; `None` if there is none left. Cost:
    /// about half a megabyte of reads.
    pub fn scrub(&self, place: &mut ScrubPlace) -> Option<Checked> {
        self.0.scrub_page(place)
    }

    /// Returns how much there is for [`Db::scrub`] to read.
    #[must_use]
    pub fn scrub_bytes(&self) -> u64 {
        self.0.read().blocks.iter().map(|b| b.meta.bytes).sum()
    }
}

impl Shared {
    fn scrub_page(&self, place: &mut ScrubPlace) -> Option<Checked> {
        let blocks = self.read().blocks.clone();
        let block = blocks.iter().filter(|b| b.meta.number >= place.block).min_by_key(|b| b.meta.number)?;
        let page = if block.meta.number == place.block { place.page } else { 0 };
        let read = block.contents().map(|c| c.pages.len()).and_then(|pages| {
            let verified = block.verify_page(page)?;
            Ok((verified.bytes, page + 1 < pages))
        });
        let findings = repair::count_findings(self, block);
        let (bytes, goes_on, is_unreadable) = match read {
            Ok((bytes, goes_on)) => (bytes, goes_on, false),
            Err(disk::Error::Corruption(damage)) => {
                repair::put_aside(self, block, &damage);
                (0, false, true)
            }
            Err(error) => {
                warn!(%error, block = %block.name(), "cannot read a block to check it");
                (0, false, true)
            }
        };
        *place = match goes_on {
            true => ScrubPlace { block: block.meta.number, page: page + 1 },
            false => ScrubPlace { block: block.meta.number + 1, page: 0 },
        };
        Some(Checked { bytes, findings: findings + u64::from(is_unreadable) })
    }
}
