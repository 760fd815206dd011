//! How long the flash will last: what it says of its life, remembered over months, and what is written to it.
//!
//! A device tells its wear in steps of a tenth, and a step takes months; so each step is remembered with the day
//! it was first seen, in the state. From them, or from what the maker promises and the disk has been written,
//! follows a projection. Pure, but for [`Storage::note_flash`] and [`Storage::flash_steps`].

use std::time::Duration;

use tracing::warn;

use super::Storage;
use super::disk::{ByteReader, ByteWriter};
use crate::model::Timestamp;

/// Before the device's id in the keys of the state.
const KEY_PREFIX: &str = "flash-life/";

const YEAR: Duration = Duration::from_secs(31_556_952);

/// Nobody plans for longer.
const YEARS_MAX: f64 = 100.0;

/// A step of a device's life and when it was first seen. Format in the state: when (8 bytes, ms, little-endian)
/// and step (1 byte), one entry behind the other, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlashStep {
    /// When it was first seen.
    pub seen_at: Timestamp,
    /// Tenths of the life that are used or begun, 1 to 11.
    pub step: u8,
}

/// What is known for a projection.
#[derive(Debug, Clone, Copy)]
pub struct Wear<'a> {
    /// Steps of the device's life, oldest first; may be empty.
    pub steps: &'a [FlashStep],
    /// Bytes that the maker promises can be written, if the settings say so.
    pub endurance_bytes: Option<u64>,
    /// Bytes written to the device a day, by all programs.
    pub bytes_a_day: Option<f64>,
    /// Now.
    pub now: Timestamp,
}

/// How long the flash will last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Projection {
    /// Years left, at most a hundred.
    pub years: f64,
    /// What it is worked out from.
    pub basis: Basis,
}

/// What a projection is worked out from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Basis {
    /// So many steps in so much time; the device was worn by at most so much.
    Steps {
        /// Steps seen to begin.
        count: u8,
        /// From when the first was seen to when the last began.
        within: Duration,
    },
    /// No step has begun for so long: it lasts at least as long as said.
    NoStep {
        /// How long.
        since: Duration,
    },
    /// What the maker promises, less what is used, over what is written a day.
    Endurance {
        /// The share of the life that is used; `None` if the device does not tell: then it is taken for new.
        used: Option<f64>,
    },
}

impl Wear<'_> {
    /// Projects how long the flash will last: from the maker's promise if there is one, else from the steps.
    /// `None` if nothing is known.
    #[must_use]
    pub fn projection(&self) -> Option<Projection> {
        self.by_endurance().or_else(|| self.by_steps())
    }

    #[expect(clippy::cast_precision_loss, reason = "a projection")]
    fn by_endurance(&self) -> Option<Projection> {
        let (endurance, bytes_a_day) = (self.endurance_bytes? as f64, self.bytes_a_day.filter(|bytes| *bytes > 0.0)?);
        let used = self.steps.last().map(|last| f64::from(last.step) / 10.0);
        let left = endurance * (1.0 - used.unwrap_or(0.0)).max(0.0);
        let years = left / bytes_a_day / (YEAR.as_secs_f64() / 86_400.0);
        Some(Projection { years: years.min(YEARS_MAX), basis: Basis::Endurance { used } })
    }

    fn by_steps(&self) -> Option<Projection> {
        let (first, last) = (self.steps.first()?, self.steps.last()?);
        let tenths = |step: u8| f64::from(step) / 10.0;
        let since = |at: Timestamp| self.now.since(at).as_secs_f64() / YEAR.as_secs_f64();
        if last.step == first.step {
            let since = self.now.since(first.seen_at);
            // Less than one step in all that time.
            let years = (1.0 - tenths(last.step)).max(0.0) / 0.1 * (since.as_secs_f64() / YEAR.as_secs_f64());
            return Some(Projection { years: years.min(YEARS_MAX), basis: Basis::NoStep { since } });
        }
        // When the last step began the step before was used up; at the first, at least what lies before it was.
        let count = last.step - first.step;
        let within = last.seen_at.since(first.seen_at);
        let a_year = tenths(count) / (within.as_secs_f64() / YEAR.as_secs_f64()).max(1e-6);
        let left = 1.0 - tenths(last.step - 1) - a_year * since(last.seen_at);
        Some(Projection { years: (left.max(0.0) / a_year).min(YEARS_MAX), basis: Basis::Steps { count, within } })
    }
}

impl Storage {
    /// Remembers how far the life of a flash device has come, if that is new.
    pub fn note_flash(&self, id: &str, step: u8, now: Timestamp) {
        let mut steps = self.flash_steps(id);
        // A clock that was wrong, or a device that went back, would make nonsense of all that comes later.
        steps.retain(|known| known.seen_at <= now && known.step <= step);
        if steps.last().is_some_and(|last| last.step == step) {
            return;
        }
        steps.push(FlashStep { seen_at: now, step });
        let mut value = ByteWriter::default();
        for FlashStep { seen_at, step } in steps {
            value.i64(seen_at.as_millis());
            value.u8(step);
        }
        if let Err(error) = self.state.meta().set(&format!("{KEY_PREFIX}{id}"), value.as_slice()) {
            warn!(%error, "cannot note the wear of the flash");
        }
    }

    /// Returns the steps of a device's life that were seen, oldest first.
    #[must_use]
    pub fn flash_steps(&self, id: &str) -> Vec<FlashStep> {
        let Ok(Some(value)) = self.state.meta().get(&format!("{KEY_PREFIX}{id}")) else { return Vec::new() };
        let mut reader = ByteReader::new(&value);
        let mut next =
            || Some(FlashStep { seen_at: Timestamp::from_millis(reader.i64().ok()?), step: reader.u8().ok()? });
        std::iter::from_fn(&mut next).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps by day.
    fn steps(list: &[(u64, u8)]) -> Vec<FlashStep> {
        list.iter().map(|(day, step)| FlashStep { seen_at: day_of(*day), step: *step }).collect()
    }

    fn day_of(day: u64) -> Timestamp {
        Timestamp::from_millis(0) + Duration::from_secs(day * 86_400)
    }

    #[track_caller]
    fn check(list: &[(u64, u8)], endurance_tb: Option<u64>, gb_a_day: Option<f64>, day: u64, expected: Option<f64>) {
        let steps = steps(list);
        let wear = Wear {
            steps: &steps,
            endurance_bytes: endurance_tb.map(|tb| tb * 1_000_000_000_000),
            bytes_a_day: gb_a_day.map(|gb| gb * 1e9),
            now: day_of(day),
        };
        let years = wear.projection().map(|p| (p.years * 100.0).round() / 100.0);
        assert_eq!(years, expected, "{list:?} {endurance_tb:?} {gb_a_day:?} {day}");
    }

    #[test]
    fn life_is_projected_from_what_is_known() {
        check(&[], None, None, 100, None);
        check(&[], Some(36), None, 100, None);
        // 73 TB at 20 GB a day are ten years of 365 days.
        check(&[], Some(73), Some(20.0), 100, Some(9.99));
        // Half of it is used.
        check(&[(0, 5)], Some(73), Some(20.0), 100, Some(5.0));
        check(&[(0, 11)], Some(73), Some(20.0), 100, Some(0.0));
        // Nothing in a year: nine tenths take nine years at least.
        check(&[(0, 1)], None, None, 365, Some(8.99));
        check(&[(0, 11)], None, None, 365, Some(0.0));
        // Two tenths at most in two years, the third begins now: eight tenths are left.
        check(&[(0, 1), (365, 2), (730, 3)], None, None, 730, Some(7.99));
        // A year on in the third.
        check(&[(0, 1), (365, 2), (730, 3)], None, None, 1095, Some(7.0));
        check(&[(0, 1), (1, 11)], None, None, 400, Some(0.0));
        check(&[(0, 1)], Some(1_000_000), Some(0.001), 1, Some(100.0));
    }
}
