//! The values of a series' newest samples, in bytes that grow at the end: a byte or two a value.
//!
//! Decimals of as many places as the longest needs, each as difference to the one before: a zigzag varint, one
//! added. A zero stands before eight bytes of what is no decimal (NaN, infinity, -0.0). When a value needs more
//! places all are written anew; when one has no decimal form at all, all become eight bytes.

use crate::storage::disk::{ByteWriter, low_byte, unzigzag, zigzag};
use crate::storage::tsdb::column::{Decimals, Effort, decimal_exponent, encode_values, scale, unscale};

/// Not decimals: eight bytes a value.
const DOUBLES: u8 = u8::MAX;

/// So many bytes are added when there is no room: little is left over, and growing is rare.
const GROWTH_BYTES: usize = 64;

/// The longest value.
const VALUE_BYTES_MAX: usize = 10;

/// Values, to the bit.
#[derive(Debug, Clone, Default)]
pub(super) struct Values {
    bytes: Vec<u8>,
    /// The last decimal, scaled.
    last: i64,
    /// Places of the decimals, or [`DOUBLES`].
    exponent: u8,
}

impl Values {
    pub(super) fn push(&mut self, value: f64) {
        if self.bytes.capacity() - self.bytes.len() < VALUE_BYTES_MAX {
            self.bytes.reserve_exact(GROWTH_BYTES);
        }
        if self.exponent == DOUBLES {
            return self.bytes.extend_from_slice(&value.to_le_bytes());
        }
        match scale(value, self.exponent) {
            Some(integer) => self.push_integer(integer),
            None if is_special(value) => {
                self.bytes.push(0);
                self.bytes.extend_from_slice(&value.to_le_bytes());
            }
            None => {
                let exponent = decimal_exponent(value, self.exponent + 1);
                self.rewrite(exponent.filter(|e| self.scales(*e)).unwrap_or(DOUBLES));
                self.push(value);
            }
        }
    }

    fn push_integer(&mut self, integer: i64) {
        // Scaled values stay below 2^52: nothing here can overflow.
        let mut rest = zigzag(integer - self.last) + 1;
        while rest >= 0x80 {
            self.bytes.push(low_byte(rest) | 0x80);
            rest >>= 7;
        }
        self.bytes.push(low_byte(rest));
        self.last = integer;
    }

    fn scales(&self, exponent: u8) -> bool {
        self.iter().all(|value| is_special(value) || scale(value, exponent).is_some())
    }

    #[cold]
    fn rewrite(&mut self, exponent: u8) {
        let values: Vec<f64> = self.iter().collect();
        *self = Values { bytes: Vec::new(), last: 0, exponent };
        values.into_iter().for_each(|value| self.push(value));
    }

    /// Reads the last byte, so that the next ones are written to the processor's cache.
    pub(super) fn fetch(&self) {
        std::hint::black_box(self.bytes.last().copied());
    }

    /// Forgets the values; keeps the memory, which the next ones need.
    pub(super) fn restart(&mut self) {
        self.bytes.clear();
        (self.last, self.exponent) = (0, 0);
    }

    /// Forgets the values and gives their memory back.
    pub(super) fn clear(&mut self) {
        *self = Values::default();
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        Iter { bytes: &self.bytes, last: 0, exponent: self.exponent }
    }

    /// Appends a column of the values, behind their number.
    pub(super) fn seal(&self, count: u8, out: &mut ByteWriter) {
        if self.exponent == DOUBLES {
            let values: Vec<f64> = self.iter().collect();
            return encode_values(&values, Effort::Fast, out);
        }
        let mut decimals = Decimals { exponent: self.exponent, ..Decimals::default() };
        decimals.integers.reserve_exact(usize::from(count));
        let mut values = self.iter();
        while let Some(written) = values.step() {
            if let Written::Double(value) = written {
                decimals.exceptions.push((decimals.integers.len(), value.to_bits()));
            }
            decimals.integers.push(values.last);
        }
        out.varint(u64::from(count));
        decimals.encode(Effort::Fast, out);
    }

    /// Returns a copy to read from.
    pub(super) fn copy(&self) -> Copied {
        Copied { bytes: self.bytes.as_slice().into(), exponent: self.exponent }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + 16
    }
}

/// A copy of values.
#[derive(Debug, Clone, Default)]
pub(super) struct Copied {
    bytes: Box<[u8]>,
    exponent: u8,
}

impl Copied {
    pub(super) fn iter(&self) -> Iter<'_> {
        Iter { bytes: &self.bytes, last: 0, exponent: self.exponent }
    }
}

/// Reads values.
#[derive(Debug)]
pub(super) struct Iter<'a> {
    bytes: &'a [u8],
    last: i64,
    exponent: u8,
}

/// A value as it is written.
enum Written {
    Decimal(i64),
    Double(f64),
}

impl Iterator for Iter<'_> {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        Some(match self.step()? {
            Written::Decimal(integer) => unscale(integer, self.exponent),
            Written::Double(value) => value,
        })
    }
}

impl Iter<'_> {
    fn step(&mut self) -> Option<Written> {
        if self.exponent == DOUBLES {
            return self.double();
        }
        let (first, mut rest) = self.bytes.split_first()?;
        if *first == 0 {
            self.bytes = rest;
            return self.double();
        }
        let (mut number, mut byte, mut shift) = (u64::from(first & 0x7f), *first, 7);
        while byte >= 0x80 {
            let (next, behind) = rest.split_first()?;
            number |= u64::from(next & 0x7f) << shift;
            (byte, rest, shift) = (*next, behind, shift + 7);
        }
        self.bytes = rest;
        self.last += unzigzag(number - 1);
        Some(Written::Decimal(self.last))
    }

    fn double(&mut self) -> Option<Written> {
        let (bytes, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(Written::Double(f64::from_le_bytes(*bytes)))
    }
}

/// Tells whether a value has no decimal form but may stand among decimals.
fn is_special(value: f64) -> bool {
    !value.is_finite() || (value == 0.0 && value.is_sign_negative())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::stale_nan;
    use crate::storage::tsdb::column::decode_values;

    fn bytes(values: &[f64]) -> usize {
        let mut written = Values::default();
        for (i, value) in values.iter().enumerate() {
            written.push(*value);
            let back: Vec<u64> = written.iter().map(f64::to_bits).collect();
            let there: Vec<u64> = values[..=i].iter().map(|v| v.to_bits()).collect();
            assert_eq!(back, there);
        }
        let mut column = ByteWriter::default();
        written.seal(u8::try_from(values.len()).unwrap(), &mut column);
        let back: Vec<u64> = decode_values(column.as_slice()).unwrap().iter().map(|v| v.to_bits()).collect();
        assert_eq!(back, values.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
        written.copy().bytes.len()
    }

    #[test]
    fn steady_decimals_take_a_byte_each() {
        assert_eq!(bytes(&[17.0; 100]), 100);
        assert_eq!(bytes(&(0..100).map(|i| f64::from(i % 7) / 10.0).collect::<Vec<_>>()), 100);
        assert_eq!(bytes(&[1.0, 1.5, 1.25, 1.0]), 5);
    }

    #[test]
    fn special_values_survive_to_the_bit() {
        let payload = f64::from_bits(0x7ff8_0000_dead_beef);
        let special = [stale_nan(), payload, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0];
        assert_eq!(bytes(&[&[21.5], &special[..], &[21.5]].concat()), 2 + 5 * 9 + 2 + 2);
        assert_eq!(bytes(&[&[0.1], &special[..], &[0.1 + 0.2, 1e300, 5e-324]].concat()), 10 * 8);
        assert_eq!(bytes(&[4_503_599_627_370_495.0, -4_503_599_627_370_495.0, 0.5]), 3 * 8);
    }

    proptest! {
        #[test]
        fn any_values_come_back(values in prop::collection::vec(prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-100_000_i32..100_000, 0..4_i32).prop_map(|(v, places)| f64::from(v) / 10_f64.powi(places)),
            any::<i64>().prop_map(|v| v as f64),
        ], 0..60)) {
            bytes(&values);
        }
    }
}
