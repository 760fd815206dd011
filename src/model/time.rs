//! Time as the store keeps it: milliseconds since the epoch, UTC.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use super::{Error, Result};

/// A point in time: milliseconds since the epoch, UTC; may lie before the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest time there is.
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// The latest time there is.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// Returns the time `ms` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Timestamp(ms)
    }

    /// Returns the time `seconds` after the epoch, rounded to the nearest millisecond; saturates.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "a float cast to an integer saturates, which is meant")]
        Timestamp((seconds * 1000.0).round() as i64)
    }

    /// Returns milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns seconds since the epoch with the milliseconds as fraction.
    #[must_use]
    pub fn as_seconds(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "exact for all times within 285 000 years")]
        let ms = self.0 as f64;
        ms / 1000.0
    }

    /// Returns how long `self` lies after `earlier`; zero if it lies before.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Returns the time as RFC 3339 text in UTC with milliseconds.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => format!("{t:.3}"),
            Err(_) => format!("{}ms", self.0),
        }
    }

    /// Reads RFC 3339 text or seconds since the epoch (with a fraction), as the Prometheus API takes them.
    ///
    /// # Errors
    /// [`Error::Time`] if the text is neither.
    pub fn parse(text: &str) -> Result<Self> {
        if let Ok(seconds) = text.parse::<f64>() {
            if !seconds.is_finite() || seconds.abs() > 9.2e15 {
                return Err(Error::Time(text.to_owned()));
            }
            return Ok(Self::from_seconds(seconds));
        }
        text.parse::<jiff::Timestamp>().map(|t| Timestamp(t.as_millisecond())).map_err(|_| Error::Time(text.to_owned()))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, rhs: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, rhs: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// A stretch of time, `[start, end)`: the start belongs to it, the end does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// First moment that belongs to the range.
    pub start: Timestamp,
    /// First moment after it.
    pub end: Timestamp,
}

impl TimeRange {
    /// Returns `[start, end)`.
    #[must_use]
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        TimeRange { start, end }
    }

    /// Tells whether `t` lies in the range.
    #[must_use]
    pub fn contains(&self, t: Timestamp) -> bool {
        self.start <= t && t < self.end
    }

    /// Tells whether the two ranges share a moment.
    #[must_use]
    pub fn overlaps(&self, other: &TimeRange) -> bool {
        self.start < other.end && other.start < self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_the_api_writes_them() {
        assert_eq!(Timestamp::parse("1435781451.781").unwrap().as_millis(), 1_435_781_451_781);
        assert_eq!(Timestamp::parse("2015-07-01T20:10:51.781Z").unwrap().as_millis(), 1_435_781_451_781);
        assert_eq!(Timestamp::parse("-1").unwrap().as_millis(), -1000);
        assert!(Timestamp::parse("yesterday").is_err());
        assert!(Timestamp::parse("NaN").is_err());
    }

    #[test]
    fn rfc3339_has_milliseconds() {
        assert_eq!(Timestamp::from_millis(1_435_781_451_781).to_rfc3339(), "2015-07-01T20:10:51.781Z");
        assert_eq!(Timestamp::from_millis(0).to_rfc3339(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_range_excludes_its_end() {
        let r = TimeRange::new(Timestamp::from_millis(0), Timestamp::from_millis(10));
        assert!(r.contains(Timestamp::from_millis(0)));
        assert!(!r.contains(Timestamp::from_millis(10)));
        assert!(!r.overlaps(&TimeRange::new(Timestamp::from_millis(10), Timestamp::from_millis(20))));
    }
}
