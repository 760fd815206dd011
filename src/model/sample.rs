//! Samples and the staleness marker.

use super::Timestamp;

/// The bit pattern of the staleness marker: a NaN that says "this series ended here".
///
/// Source: Prometheus, `model/value`.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// One value of a series at one time.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When.
    pub timestamp: Timestamp,
    /// How much. NaN is a value; the staleness marker is one particular NaN.
    pub value: f64,
}

impl Sample {
    /// Returns a sample.
    #[must_use]
    pub const fn new(timestamp: Timestamp, value: f64) -> Self {
        Sample { timestamp, value }
    }
}

impl PartialEq for Sample {
    /// Equal to the bit, so that NaN equals itself and the staleness marker equals only itself.
    fn eq(&self, other: &Self) -> bool {
        self.timestamp == other.timestamp && self.value.to_bits() == other.value.to_bits()
    }
}

/// Returns the staleness marker.
#[must_use]
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Tells whether a value is the staleness marker.
#[must_use]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}
