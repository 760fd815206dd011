//! # Format
//!
//! A column of doubles, exact to the bit. Version 1 (of the file it stands in), little-endian.
//!
//! | field      | bytes                  | meaning                                                         |
//! |------------|------------------------|-----------------------------------------------------------------|
//! | count      | varint                 | how many values, at most 65 536                                 |
//! | kind       | 1                      | 0: the doubles' bits as integers; 1 + e: decimals, e = 0 to 15  |
//! | divisor    | varint                 | only decimals: what all integers were divided by, at least 1    |
//! | exceptions | varint                 | only decimals: how many values stand for themselves             |
//! | exception  | varint + 8 each        | values since the exception before; the double's bits            |
//! | integers   | rest                   | a column of integers (`integers.rs`)                            |
//!
//! A decimal is `integer × divisor / 10^e`, correctly rounded. NaNs with whatever payload (the staleness
//! marker is one), infinities and -0.0 are exceptions; in their place the integer before is repeated.
//!
//! Damage: found by the checksum of the file; what does not decode all the same is an error, never a panic.
//! Growth: kinds above 16 are refused.

use super::COLUMN_SAMPLES_MAX;
use super::decimal::{EXPONENT_MAX, exponent, scale, unscale};
use super::integers::{self, Effort};
use crate::storage::disk::{ByteReader, ByteWriter, Malformed};

const KIND_BITS: u8 = 0;
const KIND_DECIMAL: u8 = 1;

/// Appends a column of values.
pub(crate) fn encode_values(values: &[f64], effort: Effort, out: &mut ByteWriter) {
    assert!(values.len() <= COLUMN_SAMPLES_MAX, "bug: column of {} values", values.len());
    out.varint(values.len() as u64);
    let Some((exponent, mut scaled)) = to_decimals(values) else {
        out.u8(KIND_BITS);
        let bits: Vec<i64> = values.iter().map(|v| v.to_bits().cast_signed()).collect();
        return integers::encode(&bits, effort, out);
    };
    let divisor = scaled.iter().fold(0, |d, i| if d == 1 { 1 } else { gcd(d, i.unsigned_abs()) }).max(1);
    if divisor > 1 {
        scaled.iter_mut().for_each(|i| *i /= divisor.cast_signed());
    }
    out.u8(KIND_DECIMAL + exponent);
    out.varint(divisor);
    let exceptions: Vec<(usize, f64)> = values.iter().copied().enumerate().filter(|(_, v)| is_special(*v)).collect();
    out.varint(exceptions.len() as u64);
    let mut next = 0;
    for (at, value) in exceptions {
        out.varint((at - next) as u64);
        out.u64(value.to_bits());
        next = at + 1;
    }
    integers::encode(&scaled, effort, out);
}

/// Reads a column of values.
pub(crate) fn decode_values(bytes: &[u8]) -> Result<Vec<f64>, Malformed> {
    let mut r = ByteReader::new(bytes);
    let count = r.count(0)?;
    if count > COLUMN_SAMPLES_MAX {
        return Err(r.malformed("column too long"));
    }
    let kind = r.u8()?;
    if kind == KIND_BITS {
        let bits = integers::decode(&mut r, count)?;
        r.end()?;
        return Ok(bits.into_iter().map(|b| f64::from_bits(b.cast_unsigned())).collect());
    }
    let exponent = kind - KIND_DECIMAL;
    if exponent > EXPONENT_MAX {
        return Err(r.malformed("unknown kind of a column"));
    }
    let divisor = r.varint()?.cast_signed();
    let exception_count = r.count(9)?;
    let mut exceptions = Vec::with_capacity(exception_count);
    let mut next = 0;
    for _ in 0..exception_count {
        let at = usize::try_from(r.varint()?).ok().and_then(|gap| gap.checked_add(next)).filter(|at| *at < count);
        let at = at.ok_or_else(|| r.malformed("exception behind the column"))?;
        exceptions.push((at, f64::from_bits(r.u64()?)));
        next = at + 1;
    }
    let scaled = integers::decode(&mut r, count)?;
    r.end()?;
    let mut values: Vec<f64> = scaled.into_iter().map(|i| unscale(i.wrapping_mul(divisor), exponent)).collect();
    for (at, value) in exceptions {
        if let Some(place) = values.get_mut(at) {
            *place = value;
        }
    }
    Ok(values)
}

/// Returns the values as integers under one exponent, exceptions filled; `None` if a value does not scale.
fn to_decimals(values: &[f64]) -> Option<(u8, Vec<i64>)> {
    let mut shared = 0;
    for value in values.iter().filter(|v| !is_special(**v)) {
        if scale(*value, shared).is_none() {
            shared = exponent(*value, shared)?;
        }
    }
    let mut last = 0;
    let scaled = values.iter().map(|value| {
        if !is_special(*value) {
            last = scale(*value, shared)?;
        }
        Some(last)
    });
    scaled.collect::<Option<Vec<i64>>>().map(|integers| (shared, integers))
}

fn is_special(value: f64) -> bool {
    !value.is_finite() || (value == 0.0 && value.is_sign_negative())
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
