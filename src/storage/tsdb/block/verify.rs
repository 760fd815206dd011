//! Checks every column of a block, a page at a time: for the scrub and for `andon inspect`.

use std::collections::BTreeSet;

use super::{Block, checked_column};
use crate::storage::disk::{Error, Malformed, Result};

/// Columns are read in stretches of about this size.
const STRETCH_BYTES: u64 = 256 << 10;

/// What one page was made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Verified {
    /// Bytes read: the page, its columns of values and of times.
    pub(crate) bytes: u64,
    pub(crate) samples: u64,
    /// Samples that cannot be read, as far as their number is known.
    pub(crate) samples_lost: u64,
}

impl Block {
    /// Reads a page and all columns that it names, and checks them. What does not check out is noted, see
    /// [`Block::take_findings`]. Cost: about half a megabyte of reads for a two-hour block.
    ///
    /// # Errors
    /// When the disk cannot be read for another reason than damage.
    pub(crate) fn verify_page(&self, number: usize) -> Result<Verified> {
        let mut found = Verified::default();
        let length = self.contents()?.pages.get(number).map_or(0, |p| u64::from(p.length));
        found.bytes += length;
        let Some(page) = self.read_page(number)? else { return Ok(found) };
        let Ok(chunks) = page.chunks() else { return Ok(found) };
        let mut places: Vec<_> = (0..page.series_count()).flat_map(|series| chunks.of(series)).collect();
        places.sort_unstable_by_key(|c| c.values.offset);
        let mut times = BTreeSet::new();
        let (mut stretch, mut start) = (Vec::new(), 0);
        for chunk in &places {
            let (offset, end, count) = (chunk.values.offset, chunk.values.end(), u64::from(chunk.times.count));
            if times.insert(chunk.times.column.offset) {
                found.bytes += u64::from(chunk.times.column.length);
                if let Err(error) = self.read_times(chunk.times) {
                    self.note("chunk", error)?;
                }
            }
            if offset < start || end > start + stretch.len() as u64 {
                let length = (end - offset).max(STRETCH_BYTES);
                stretch = self.read_chunks(offset, usize::try_from(length).unwrap_or(usize::MAX))?;
                start = offset;
            }
            let within = |at: u64| usize::try_from(at - start).unwrap_or(usize::MAX);
            found.bytes += end - offset;
            found.samples += count;
            if stretch.get(within(offset)..within(end)).and_then(checked_column).is_none() {
                found.samples_lost += count;
                let e = Malformed { offset: 0, reason: "does not check out" };
                self.found("chunk", &self.damage(chunk.values, &e));
            }
        }
        Ok(found)
    }

    /// Notes damage; any other failure of the disk is the caller's.
    pub(crate) fn note(&self, what: &'static str, error: Error) -> Result<()> {
        match error {
            Error::Corruption(damage) => {
                self.found(what, &damage);
                Ok(())
            }
            other => Err(other),
        }
    }
}
