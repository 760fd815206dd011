//! # Format
//!
//! A column of 64-bit integers. Version 2 (of the file it stands in), little-endian; the number of integers
//! is known from outside.
//!
//! | field     | bytes           | meaning                                                                   |
//! |-----------|-----------------|---------------------------------------------------------------------------|
//! | scheme    | 1               | bits 0-1: order 0, 1 or 2; bit 2: symbols                                 |
//! | heads     | order × varint  | first integer, then (order 2) first difference; zigzag                    |
//! | reference | varint          | what is added to each residual; zigzag                                    |
//! | width     | 1               | bits 0-6: bits of each residual that are packed, 0 to 64; bit 7: patches  |
//! | patches   | varint          | only with bit 7: how many residuals stand for themselves, at least 1      |
//! | patch     | 2 varints each  | residuals since the patch before; the residual less the reference, zigzag |
//! | packed    | residuals × width / 8 | lowest bits first, rounded up to a byte                             |
//! | symbols   |                 | only with bit 2: what stands above the width (`huffman.rs`)               |
//!
//! Residuals are the integers (order 0), their differences (1) or the differences of those (2), modulo 2^64;
//! there are as many as integers less the order. A column of no integers is the scheme alone.
//!
//! Damage: found by the checksum of the file; what does not decode all the same is an error, never a panic,
//! and asks for no more memory than the number of integers justifies.
//! Growth: the other bits of the scheme are refused.

use super::COLUMN_SAMPLES_MAX;
use super::bits::{BitWriter, packed_bytes, unpack};
use super::huffman::{self, Code, SYMBOLS_MAX};
use crate::storage::disk::{ByteReader, ByteWriter, Malformed, low_byte, zigzag};

pub(super) const ORDER_MASK: u8 = 0b011;
pub(super) const SYMBOLS: u8 = 0b100;
pub(super) const PATCHES: u8 = 0x80;

/// So many residuals, spread over the column, say where the middle is.
const PROBES: usize = 15;

/// Up to this part (one in so many) of the smallest and of the largest residuals may be taken as strays.
const STRAYS_PART: usize = 32;

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Bit-packing: for what will be written again.
    Fast,
    /// Also symbols by how often they occur, where it pays: for what stays.
    Small,
}

/// Appends a column of integers.
pub(crate) fn encode(integers: &[i64], effort: Effort, out: &mut ByteWriter) {
    let Some((order, residuals)) = best_order(integers) else { return out.u8(0) };
    let mut sorted = residuals.clone();
    sorted.sort_unstable();
    let ranges = ranges(&sorted);
    let mut best = ranges.iter().filter_map(|r| Plan::packed(&residuals, *r)).min_by_key(|p| p.cost_bits);
    if effort == Effort::Small {
        let symbols = ranges.iter().filter_map(|r| Plan::symbols(&sorted, *r));
        best = best.into_iter().chain(symbols).min_by_key(|p| p.cost_bits);
    }
    let Some(plan) = best else { return out.u8(0) };
    out.u8(low_byte(order as u64) | if plan.code.is_some() { SYMBOLS } else { 0 });
    if let (true, Some(first)) = (order > 0, integers.first()) {
        out.signed_varint(*first);
    }
    if let (2, [first, second, ..]) = (order, integers) {
        out.signed_varint(second.wrapping_sub(*first));
    }
    plan.encode(&residuals, out);
}

/// Reads a column of so many integers.
pub(crate) fn decode(r: &mut ByteReader<'_>, count: usize) -> Result<Vec<i64>, Malformed> {
    let scheme = r.u8()?;
    let order = usize::from(scheme & ORDER_MASK);
    if count == 0 {
        return Ok(Vec::new());
    }
    if scheme & !(ORDER_MASK | SYMBOLS) != 0 || order > 2 || order > count || count > COLUMN_SAMPLES_MAX {
        return Err(r.malformed("unknown scheme of a column"));
    }
    let mut integers = vec![0; count];
    let (heads, residuals) = integers.split_at_mut(order);
    for head in heads {
        *head = r.signed_varint()?;
    }
    decode_residuals(r, scheme & SYMBOLS != 0, residuals)?;
    for skipped in (0..order).rev() {
        let mut sum = 0_i64;
        for integer in integers.iter_mut().skip(skipped) {
            sum = sum.wrapping_add(*integer);
            *integer = sum;
        }
    }
    Ok(integers)
}

fn decode_residuals(r: &mut ByteReader<'_>, has_symbols: bool, residuals: &mut [i64]) -> Result<(), Malformed> {
    let reference = r.signed_varint()?;
    let byte = r.u8()?;
    let width = u32::from(byte & !PATCHES);
    if width > 64 {
        return Err(r.malformed("width over 64 bits"));
    }
    let mut patches = Vec::new();
    if byte & PATCHES != 0 {
        let count = r.count(2)?.min(residuals.len());
        patches.reserve(count);
        let mut next = 0_usize;
        for _ in 0..count {
            let at = usize::try_from(r.varint()?).ok().and_then(|gap| gap.checked_add(next));
            let at = at.filter(|at| *at < residuals.len()).ok_or_else(|| r.malformed("patch behind the column"))?;
            patches.push((at, r.signed_varint()?));
            next = at + 1;
        }
    }
    let packed = r.raw(packed_bytes(residuals.len(), width))?;
    if width > 0 || !has_symbols {
        unpack(packed, width, residuals, |residual, low| *residual = low.cast_signed().wrapping_add(reference));
    } else {
        residuals.fill(reference);
    }
    if has_symbols {
        huffman::decode(r, residuals, |residual, symbol| {
            let high = symbol.checked_shl(width).unwrap_or(0).cast_signed();
            *residual = residual.wrapping_add(high);
        })?;
    }
    for (at, value) in patches {
        if let Some(residual) = residuals.get_mut(at) {
            *residual = reference.wrapping_add(value);
        }
    }
    Ok(())
}

/// Appends timestamps: their number, then the column.
pub(crate) fn encode_times(times: &[i64], effort: Effort, out: &mut ByteWriter) {
    assert!(times.len() <= COLUMN_SAMPLES_MAX, "bug: column of {} times", times.len());
    out.varint(times.len() as u64);
    encode(times, effort, out);
}

/// Reads timestamps; checks that they rise.
pub(crate) fn decode_times(bytes: &[u8]) -> Result<Vec<i64>, Malformed> {
    let mut r = ByteReader::new(bytes);
    let count = r.count(0)?;
    let times = decode(&mut r, count)?;
    r.end()?;
    let rising = times.iter().zip(times.iter().skip(1)).all(|(a, b)| a < b);
    if rising { Ok(times) } else { Err(r.malformed("times do not rise")) }
}

/// Returns the order whose residuals lie closest together, and those; `None` if there are no integers.
fn best_order(integers: &[i64]) -> Option<(usize, Vec<i64>)> {
    let mut best = (spread(integers)?, 0, integers.to_vec());
    let mut residuals = differences(integers);
    for order in 1..=2 {
        let Some(spread) = spread(&residuals) else { break };
        let next = differences(&residuals);
        // A head costs about three bytes.
        let cost = spread + order * 24;
        if cost < best.0 {
            best = (cost, order, residuals);
        }
        residuals = next;
    }
    Some((best.1, best.2))
}

fn differences(integers: &[i64]) -> Vec<i64> {
    integers.iter().zip(integers.iter().skip(1)).map(|(a, b)| b.wrapping_sub(*a)).collect()
}

/// Estimates what residuals take in bits: how far each is from the middle. `None` if there are none.
fn spread(residuals: &[i64]) -> Option<usize> {
    let step = residuals.len().div_ceil(PROBES).max(1);
    let mut probes = [0; PROBES];
    let mut count = 0;
    for (probe, residual) in probes.iter_mut().zip(residuals.iter().step_by(step)) {
        *probe = *residual;
        count += 1;
    }
    let probes = probes.get_mut(..count)?;
    probes.sort_unstable();
    let middle = *probes.get(count / 2)?;
    Some(residuals.iter().map(|r| 64 - zigzag(r.wrapping_sub(middle)).leading_zeros() as usize).sum())
}

/// Where most residuals lie, both ends included; others become patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    low: i64,
    high: i64,
}

/// Returns the ranges worth a try: all residuals, all but strays, and the middle one alone.
fn ranges(sorted: &[i64]) -> Vec<Range> {
    let last = sorted.len().saturating_sub(1);
    let at = |i: usize| sorted.get(i).copied().unwrap_or(0);
    let whole = Range { low: at(0), high: at(last) };
    let strays = sorted.len() / STRAYS_PART;
    let (low, high) = (at(strays), at(last - strays));
    // What lies nearby is no stray.
    let near = high.saturating_sub(low) / 2;
    let most = Range {
        low: at(sorted.partition_point(|r| *r < low.saturating_sub(near))),
        high: at(sorted.partition_point(|r| *r <= high.saturating_add(near)) - usize::from(!sorted.is_empty())),
    };
    let middle = at(sorted.len() / 2);
    let mut ranges = vec![whole];
    if most != whole {
        ranges.push(most);
    }
    if middle != whole.low && middle != most.low {
        ranges.push(Range { low: middle, high: most.high });
    }
    ranges
}

/// One way to write residuals, and what it costs.
#[derive(Debug)]
struct Plan {
    range: Range,
    width: u32,
    code: Option<Code>,
    cost_bits: usize,
}

impl Plan {
    /// Packs what lies above the lower end of the range, with the best width; all else become patches.
    fn packed(residuals: &[i64], range: Range) -> Option<Plan> {
        let mut by_width = [0_usize; 65];
        // `wider` is how many residuals become patches, `patch_bits` what these take.
        let (mut wider, mut patch_bits) = (0, 0);
        for residual in residuals {
            let above = residual.wrapping_sub(range.low);
            if *residual < range.low {
                wider += 1;
                patch_bits += 8 + varint_bits(above);
            } else {
                *by_width.get_mut(64 - above.cast_unsigned().leading_zeros() as usize)? += 1;
            }
        }
        let count = residuals.len();
        let mut best = (64, count * 64);
        patch_bits += if wider > 0 { 8 } else { 0 };
        // Walks down from the widest.
        for (width, n) in (0_u32..65).zip(by_width).rev() {
            let bits = count * width as usize + patch_bits;
            if bits <= best.1 {
                best = (width, bits);
            }
            patch_bits += if wider == 0 && n > 0 { 8 } else { 0 };
            wider += n;
            // A gap of a byte, and a varint of a bit more than the width.
            patch_bits += n * 8 * (1 + (width as usize + 1).div_ceil(7));
        }
        Some(Plan { range, width: best.0, code: None, cost_bits: 8 + varint_bits(range.low) + best.1 })
    }

    /// Packs low bits and writes what is above them as symbols; what lies outside of the range becomes patches.
    fn symbols(sorted: &[i64], range: Range) -> Option<Plan> {
        let span = range.high.wrapping_sub(range.low).cast_unsigned();
        let start = sorted.partition_point(|r| *r < range.low);
        let end = sorted.partition_point(|r| *r <= range.high);
        let within = sorted.get(start..end)?;
        let first = (64 - span.leading_zeros()).saturating_sub(SYMBOLS_MAX.trailing_zeros());
        let mut counts = [0_u32; SYMBOLS_MAX];
        for residual in within {
            let symbol = residual.wrapping_sub(range.low).cast_unsigned() >> first;
            *usize::try_from(symbol).ok().and_then(|s| counts.get_mut(s))? += 1;
        }
        let mut used = usize::try_from(span >> first).ok()? + 1;
        let strays = sorted.len() - within.len();
        // Too rough for a bound, but strays are few: a gap and a varint of half the width of an integer.
        let fixed = 8 + varint_bits(range.low) + if strays > 0 { 8 + strays * 40 } else { 0 };
        let mut best: Option<Plan> = None;
        for width in first..64 {
            let Some(code) = counts.get(..used).and_then(Code::of) else { break };
            let cost_bits = fixed + code.cost_bits + sorted.len() * width as usize;
            if best.as_ref().is_some_and(|b| b.cost_bits <= cost_bits) {
                break;
            }
            best = Some(Plan { range, width, code: Some(code), cost_bits });
            // Half as many symbols, each twice as wide.
            used = used.div_ceil(2);
            for i in 0..SYMBOLS_MAX {
                let pair = counts.get(2 * i..2 * i + 2).map_or(0, |pair| pair.iter().sum());
                *counts.get_mut(i)? = pair;
            }
        }
        best
    }

    fn encode(&self, residuals: &[i64], out: &mut ByteWriter) {
        out.signed_varint(self.range.low);
        let above = |residual: i64| residual.wrapping_sub(self.range.low).cast_unsigned();
        let is_patch = |residual: i64| match self.code {
            None => above(residual).checked_shr(self.width).unwrap_or(0) > 0,
            Some(_) => residual < self.range.low || residual > self.range.high,
        };
        let patches = residuals.iter().filter(|r| is_patch(**r)).count();
        out.u8(low_byte(u64::from(self.width)) | if patches > 0 { PATCHES } else { 0 });
        if patches > 0 {
            out.varint(patches as u64);
            let mut next = 0;
            for (at, residual) in residuals.iter().enumerate().filter(|(_, r)| is_patch(**r)) {
                out.varint((at - next) as u64);
                out.signed_varint(residual.wrapping_sub(self.range.low));
                next = at + 1;
            }
        }
        if let Some(mask) = u64::MAX.checked_shr(64 - self.width) {
            let mut bits = BitWriter::new(out);
            residuals.iter().for_each(|r| bits.put(above(*r) & mask, self.width));
            bits.end();
        }
        if let Some(code) = &self.code {
            let cheapest = code.cheapest();
            let symbol = |r: &i64| if is_patch(*r) { cheapest } else { above(*r) >> self.width };
            code.encode(residuals.iter().map(symbol), out);
        }
    }
}

fn varint_bits(value: i64) -> usize {
    (64 - (zigzag(value) | 1).leading_zeros() as usize).div_ceil(7) * 8
}
