//! Reads everything that blocks hold once a week, slowly, so that rot shows before somebody asks.
//!
//! Cost: a megabyte a second of reads while a round lasts, at the lowest priority; fifteen days of 50 000
//! series are an hour or so. What does not check out is reported as when a query meets it.

use std::time::Duration;

use tracing::{info, warn};

use super::db::Shared;
use super::repair;
use crate::storage::disk;

/// So much is read in a second on average.
const BYTES_PER_SECOND: u64 = 1_000_000;

/// From the beginning of a round to that of the next.
const ROUND_EVERY: Duration = Duration::from_secs(7 * 24 * 3600);

/// The first round begins so long after the start: a box that starts has other things to do.
const FIRST_AFTER: Duration = Duration::from_secs(3600);

/// Time that was not used for reading is made up for no further back than this.
const CREDIT_MAX: Duration = Duration::from_secs(10);

/// How far the reading has come.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    /// When the round under way began, or the last one.
    begun: Option<Duration>,
    /// When it was last read on, in time since start.
    last: Duration,
    /// Where the round stands; `None` between rounds.
    at: Option<Place>,
    /// Bytes read more than the time allowed so far.
    ahead_bytes: u64,
}

/// The next page to read.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// Blocks with lower numbers are done.
    block: u64,
    page: usize,
    /// Bytes read in this round, and places that did not check out.
    bytes: u64,
    findings: u64,
}

impl Shared {
    /// Reads on as far as the time since the last call allows.
    pub(super) fn scrub(&self, scrub: &mut Scrub) {
        let now = self.clock.elapsed();
        let since = now.saturating_sub(std::mem::replace(&mut scrub.last, now)).min(CREDIT_MAX);
        let allowed = u64::try_from(since.as_millis()).unwrap_or(0) * BYTES_PER_SECOND / 1000;
        if scrub.at.is_none() {
            if now < scrub.begun.map_or(FIRST_AFTER, |begun| begun + ROUND_EVERY) {
                return;
            }
            scrub.begun = Some(now);
            scrub.at = Some(Place::default());
        }
        if scrub.ahead_bytes >= allowed {
            scrub.ahead_bytes -= allowed;
            return;
        }
        let mut left = allowed - scrub.ahead_bytes;
        scrub.ahead_bytes = 0;
        while let Some(place) = scrub.at.filter(|_| left > 0 && !self.stop.is_set()) {
            let (next, bytes) = self.scrub_page(place);
            self.instruments.scrub_bytes.add(bytes);
            scrub.at = next;
            scrub.ahead_bytes = bytes.saturating_sub(left);
            left = left.saturating_sub(bytes);
        }
        self.show_scrub(scrub);
    }

    /// Reads one page of a block and what it names; returns the place behind it, if there is one, and the bytes
    /// read.
    fn scrub_page(&self, mut place: Place) -> (Option<Place>, u64) {
        let blocks = self.read().blocks.clone();
        let next = blocks.iter().filter(|b| b.meta.number >= place.block).min_by_key(|b| b.meta.number);
        let Some(block) = next else {
            self.instruments.scrub_rounds.inc();
            info!(bytes = place.bytes, findings = place.findings, "all blocks have been read and checked");
            return (None, 0);
        };
        if block.meta.number > place.block {
            place = Place { block: block.meta.number, page: 0, ..place };
        }
        let read = block.contents().map(|c| c.pages.len()).and_then(|pages| {
            let verified = block.verify_page(place.page)?;
            Ok((verified.bytes, place.page + 1 < pages))
        });
        let found = repair::count_findings(self, block);
        let (bytes, goes_on) = match read {
            Ok((bytes, goes_on)) => (bytes, goes_on),
            Err(disk::Error::Corruption(damage)) => {
                repair::put_aside(self, block, &damage);
                self.instruments.scrub_findings.inc();
                place.findings += 1;
                (0, false)
            }
            Err(error) => {
                warn!(%error, block = %block.name(), "cannot read a block to check it");
                self.instruments.scrub_findings.inc();
                place.findings += 1;
                (0, false)
            }
        };
        self.instruments.scrub_findings.add(found);
        let (block, page) = if goes_on { (place.block, place.page + 1) } else { (place.block + 1, 0) };
        (Some(Place { block, page, bytes: place.bytes + bytes, findings: place.findings + found }), bytes)
    }

    #[expect(clippy::cast_precision_loss, reason = "metrics are 64-bit floats; exact up to 2^53")]
    fn show_scrub(&self, scrub: &Scrub) {
        let ratio = scrub.at.map_or(1.0, |place| {
            let all: u64 = self.read().blocks.iter().map(|b| b.meta.bytes).sum();
            if all == 0 { 1.0 } else { (place.bytes as f64 / all as f64).min(1.0) }
        });
        self.instruments.scrub_progress.set(ratio);
        if scrub.at.is_none() {
            self.instruments.scrub_finished.set(self.clock.now().as_millis() as f64 / 1e3);
        }
    }
}
