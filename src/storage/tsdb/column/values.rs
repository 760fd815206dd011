//! # Format
//!
//! A column of doubles, exact to the bit. Version 2 (of the file it stands in), little-endian. How many there
//! are is known from outside, or stands before it as a varint, at most 65 536.
//!
//! | field      | bytes           | meaning                                                                  |
//! |------------|-----------------|--------------------------------------------------------------------------|
//! | kind       | 1               | bits 0-4: 0: doubles as integers of the same order; 1 + e: decimals, e = 0 to 15; bit 5: divisor; bit 6: exceptions |
//! | divisor    | varint          | only with bit 5: what all integers were divided by                       |
//! | exceptions | varint          | only with bit 6: how many values stand for themselves                    |
//! | exception  | varint + 8 each | values since the exception before; the double's bits                     |
//! | integers   | rest            | a column of integers (`integers.rs`)                                     |
//!
//! A decimal is `integer × divisor / 10^e`, correctly rounded. What has no such form (NaNs with whatever
//! payload, of which the staleness marker is one, infinities, -0.0, a stray double) is an exception; in its
//! place the integer before is repeated. Doubles as integers are their bits, those below the sign turned
//! round for negative ones: so neighbours among doubles are neighbours among integers.
//!
//! Damage: found by the checksum of the file; what does not decode all the same is an error, never a panic.
//! Growth: other kinds are refused.

use super::COLUMN_SAMPLES_MAX;
use super::decimal::{EXPONENT_MAX, exponent, scale, unscale};
use super::integers::{self, Effort};
use crate::storage::disk::{ByteReader, ByteWriter, Malformed};

pub(super) const KIND_MASK: u8 = 0x1f;
pub(super) const KIND_DOUBLES: u8 = 0;
const KIND_DECIMALS: u8 = 1;
pub(super) const DIVISOR: u8 = 0x20;
pub(super) const EXCEPTIONS: u8 = 0x40;

/// With more than this part (one in so many) without a decimal form, all are written as doubles.
const EXCEPTIONS_PART: usize = 8;

/// Appends a column of values and before it their number.
pub(crate) fn encode_values(values: &[f64], effort: Effort, out: &mut ByteWriter) {
    out.varint(values.len() as u64);
    encode_bare_values(values, effort, out);
}

/// Reads what [`encode_values`] wrote.
pub(crate) fn decode_values(bytes: &[u8]) -> Result<Vec<f64>, Malformed> {
    let mut r = ByteReader::new(bytes);
    let count = r.count(0)?;
    let mut values = Vec::new();
    decode_bare_values(r.rest(), count, &mut values)?;
    Ok(values)
}

/// Appends a column of values, at most 65 536.
pub(crate) fn encode_bare_values(values: &[f64], effort: Effort, out: &mut ByteWriter) {
    assert!(values.len() <= COLUMN_SAMPLES_MAX, "bug: column of {} values", values.len());
    let Some(decimals) = Decimals::of(values) else {
        out.u8(KIND_DOUBLES);
        let ordered: Vec<i64> = values.iter().map(|v| ordered(v.to_bits().cast_signed())).collect();
        return integers::encode(&ordered, effort, out);
    };
    decimals.encode(effort, out);
}

/// Reads what [`encode_bare_values`] wrote, behind what `values` has already; on an error that stays as it was.
pub(crate) fn decode_bare_values(bytes: &[u8], count: usize, values: &mut Vec<f64>) -> Result<(), Malformed> {
    let mut r = ByteReader::new(bytes);
    if count > COLUMN_SAMPLES_MAX {
        return Err(r.malformed("column too long"));
    }
    let byte = r.u8()?;
    let kind = byte & KIND_MASK;
    if byte & !(KIND_MASK | DIVISOR | EXCEPTIONS) != 0 || kind > KIND_DECIMALS + EXPONENT_MAX {
        return Err(r.malformed("unknown kind of a column"));
    }
    let divisor = if byte & DIVISOR != 0 { r.varint()?.cast_signed() } else { 1 };
    let mut exceptions = Vec::new();
    if byte & EXCEPTIONS != 0 {
        let exception_count = r.count(9)?.min(count);
        exceptions.reserve(exception_count);
        let mut next = 0;
        for _ in 0..exception_count {
            let at = usize::try_from(r.varint()?).ok().and_then(|gap| gap.checked_add(next)).filter(|at| *at < count);
            let at = at.ok_or_else(|| r.malformed("exception behind the column"))?;
            exceptions.push((at, f64::from_bits(r.u64()?)));
            next = at + 1;
        }
    }
    let integers = integers::decode(&mut r, count)?;
    r.end()?;
    let start = values.len();
    if kind == KIND_DOUBLES {
        values.extend(integers.into_iter().map(|i| f64::from_bits(ordered(i).cast_unsigned())));
    } else {
        let exponent = kind - KIND_DECIMALS;
        match (divisor, exponent) {
            (1, 0) => values.extend(integers.into_iter().map(|i| i as f64)),
            _ => values.extend(integers.into_iter().map(|i| unscale(i.wrapping_mul(divisor), exponent))),
        }
    }
    for (at, value) in exceptions {
        if let Some(place) = values.get_mut(start + at) {
            *place = value;
        }
    }
    Ok(())
}

/// Values as integers under one exponent.
#[derive(Debug, Default)]
pub(crate) struct Decimals {
    pub(crate) exponent: u8,
    /// As many as values; in place of an exception stands the one before.
    pub(crate) integers: Vec<i64>,
    /// Places and bits of the values that have no decimal form.
    pub(crate) exceptions: Vec<(usize, u64)>,
}

impl Decimals {
    /// Appends a column of these values, at most 65 536.
    pub(crate) fn encode(mut self, effort: Effort, out: &mut ByteWriter) {
        let divisor = self.integers.iter().fold(0, |d, i| if d == 1 { 1 } else { gcd(d, i.unsigned_abs()) }).max(1);
        let has = |flag: u8, is_there: bool| if is_there { flag } else { 0 };
        let flags = has(DIVISOR, divisor > 1) | has(EXCEPTIONS, !self.exceptions.is_empty());
        out.u8((KIND_DECIMALS + self.exponent) | flags);
        if divisor > 1 {
            self.integers.iter_mut().for_each(|i| *i /= divisor.cast_signed());
            out.varint(divisor);
        }
        if !self.exceptions.is_empty() {
            out.varint(self.exceptions.len() as u64);
            let mut next = 0;
            for (at, bits) in self.exceptions {
                out.varint((at - next) as u64);
                out.u64(bits);
                next = at + 1;
            }
        }
        integers::encode(&self.integers, effort, out);
    }

    /// Returns `None` if too many values have no decimal form.
    fn of(values: &[f64]) -> Option<Decimals> {
        let odd_max = values.len() / EXCEPTIONS_PART;
        let (mut shared, mut odd) = (0, 0);
        for value in values.iter().filter(|v| !is_special(**v)) {
            if scale(*value, shared).is_some() {
                continue;
            }
            match exponent(*value, shared) {
                Some(larger) => shared = larger,
                None => odd += 1,
            }
            if odd > odd_max {
                return None;
            }
        }
        let (mut last, mut exceptions) = (0, Vec::new());
        let mut integers = Vec::with_capacity(values.len());
        for value in values {
            match scale(*value, shared) {
                Some(integer) => last = integer,
                None => exceptions.push((integers.len(), value.to_bits())),
            }
            integers.push(last);
        }
        let special = values.iter().filter(|v| is_special(**v)).count();
        (exceptions.len() <= special + odd_max).then_some(Decimals { exponent: shared, integers, exceptions })
    }
}

fn is_special(value: f64) -> bool {
    !value.is_finite() || (value == 0.0 && value.is_sign_negative())
}

/// Maps the bits of doubles to integers in the same order, and back.
fn ordered(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
