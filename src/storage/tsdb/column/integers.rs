//! # Format
//!
//! A column of 64-bit integers. Version 1 (of the file it stands in), little-endian; the number of integers
//! is known from outside.
//!
//! | field     | bytes           | meaning                                                              |
//! |-----------|-----------------|----------------------------------------------------------------------|
//! | scheme    | 1               | bits 0-1: order 0, 1 or 2; bit 2: zigzag; bit 3: zstd                |
//! | heads     | order × varint  | first integer, then (order 2) first difference; zigzag               |
//! | reference | varint          | only without zigzag and zstd: the smallest residual; zigzag          |
//!
//! Residuals are the integers (order 0), their differences (1) or the differences of those (2), modulo 2^64;
//! there are as many as integers less the order. Each becomes unsigned: by zigzag, or by taking the
//! reference off. Then, packed:
//!
//! | field   | bytes                    | meaning                                                       |
//! |---------|--------------------------|---------------------------------------------------------------|
//! | width   | 1                        | bits of each residual that are packed, 0 to 64                |
//! | patches | varint                   | how many residuals are wider                                  |
//! | patch   | 2 varints each           | residuals since the patch before; what to put above the width |
//! | packed  | residuals × width / 8    | lowest bits first, rounded up to a byte                       |
//!
//! or, with zstd (always zigzag):
//!
//! | field    | bytes    | meaning                                                                         |
//! |----------|----------|---------------------------------------------------------------------------------|
//! | plain    | varint   | length of the varints, at most ten times the number of residuals                |
//! | packed   | rest     | zstd frame of the residuals as varints                                          |
//!
//! Damage: found by the checksum of the file; what does not decode all the same is an error, never a panic,
//! and asks for no more memory than the number of integers justifies.
//! Growth: the other bits of the scheme are refused.

use super::COLUMN_SAMPLES_MAX;
use crate::storage::disk::{ByteReader, ByteWriter, Malformed, low_byte, unzigzag, zigzag};

const ORDER_MASK: u8 = 0b0011;
const ZIGZAG: u8 = 0b0100;
const ZSTD: u8 = 0b1000;

/// A column smaller than this does not repay an entropy stage.
const ZSTD_BYTES_MIN: usize = 96;

/// Level 6 is where the size of our columns stops falling; see docs/decisions/0010.
const ZSTD_LEVEL: i32 = 6;

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Bit-packing: for what will be written again.
    Fast,
    /// Also an entropy stage where it pays: for what stays.
    Small,
}

/// Appends a column of integers.
pub(super) fn encode(integers: &[i64], effort: Effort, out: &mut ByteWriter) {
    let plan = [0, 1, 2].into_iter().filter_map(|order| Plan::of(integers, order)).min_by_key(|p| p.cost_bits);
    let Some(plan) = plan else { return out.u8(ZIGZAG) };
    if effort == Effort::Small && plan.cost_bits / 8 > ZSTD_BYTES_MIN {
        let packed = encode_zstd(integers, plan.order);
        if packed.len() * 8 + 16 < plan.cost_bits {
            return out.raw(&packed);
        }
    }
    plan.encode(out);
}

/// Reads a column of so many integers.
pub(super) fn decode(r: &mut ByteReader<'_>, count: usize) -> Result<Vec<i64>, Malformed> {
    let scheme = r.u8()?;
    let order = usize::from(scheme & ORDER_MASK);
    if count == 0 {
        return Ok(Vec::new());
    }
    if scheme & !(ORDER_MASK | ZIGZAG | ZSTD) != 0 || order > 2 || order > count || count > COLUMN_SAMPLES_MAX {
        return Err(r.malformed("unknown scheme of a column"));
    }
    let heads = (0..order).map(|_| r.signed_varint()).collect::<Result<Vec<_>, _>>()?;
    let residuals = if scheme & ZSTD != 0 {
        decode_zstd(r, count - order)?
    } else {
        let reference = if scheme & ZIGZAG != 0 { None } else { Some(r.signed_varint()?) };
        decode_packed(r, count - order, reference)?
    };
    Ok(integrate(&heads, residuals))
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

/// One way to write a column, and what it costs.
struct Plan {
    order: usize,
    heads: Vec<i64>,
    residuals: Vec<u64>,
    reference: Option<i64>,
    width: u32,
    cost_bits: usize,
}

impl Plan {
    /// Returns the cheaper of zigzag and reference for this order; `None` if there are too few integers.
    fn of(integers: &[i64], order: usize) -> Option<Plan> {
        if integers.len() < order || integers.is_empty() {
            return None;
        }
        let (heads, residuals) = differentiate(integers, order);
        let lowest = residuals.iter().copied().min().unwrap_or(0);
        let signed = best_width(residuals.iter().map(|r| zigzag(*r)));
        let above = best_width(residuals.iter().map(|r| r.wrapping_sub(lowest).cast_unsigned()));
        let reference_bits = 8 * varint_bytes(zigzag(lowest));
        let by_reference = above.1 + reference_bits < signed.1;
        let heads_bits: usize = heads.iter().map(|h| 8 * varint_bytes(zigzag(*h))).sum();
        let ((width, body_bits), reference) =
            if by_reference { ((above.0, above.1 + reference_bits), Some(lowest)) } else { (signed, None) };
        let residuals = residuals
            .into_iter()
            .map(|r| reference.map_or_else(|| zigzag(r), |low| r.wrapping_sub(low).cast_unsigned()))
            .collect();
        Some(Plan { order, heads, residuals, reference, width, cost_bits: 24 + heads_bits + body_bits })
    }

    fn encode(&self, out: &mut ByteWriter) {
        let zigzag_bit = if self.reference.is_none() { ZIGZAG } else { 0 };
        out.u8(low_byte(self.order as u64) | zigzag_bit);
        self.heads.iter().for_each(|h| out.signed_varint(*h));
        if let Some(reference) = self.reference {
            out.signed_varint(reference);
        }
        out.u8(low_byte(u64::from(self.width)));
        let above = |r: u64| r.checked_shr(self.width).unwrap_or(0);
        let patches: Vec<(usize, u64)> =
            self.residuals.iter().map(|r| above(*r)).enumerate().filter(|(_, high)| *high > 0).collect();
        out.varint(patches.len() as u64);
        let mut next = 0;
        for (at, high) in patches {
            out.varint((at - next) as u64);
            out.varint(high);
            next = at + 1;
        }
        pack(&self.residuals, self.width, out);
    }
}

/// Returns the first integers and the differences of the rest.
fn differentiate(integers: &[i64], order: usize) -> (Vec<i64>, Vec<i64>) {
    let mut heads = Vec::with_capacity(order);
    let mut residuals = integers.to_vec();
    for _ in 0..order {
        heads.extend(residuals.first());
        residuals = residuals.iter().zip(residuals.iter().skip(1)).map(|(a, b)| b.wrapping_sub(*a)).collect();
    }
    (heads, residuals)
}

/// Undoes [`differentiate`].
fn integrate(heads: &[i64], residuals: Vec<i64>) -> Vec<i64> {
    let mut integers = residuals;
    for head in heads.iter().rev() {
        let mut sum = *head;
        let mut whole = Vec::with_capacity(integers.len() + 1);
        whole.push(sum);
        for difference in integers {
            sum = sum.wrapping_add(difference);
            whole.push(sum);
        }
        integers = whole;
    }
    integers
}

/// Returns the width that makes packed residuals and patches smallest, and their bits.
fn best_width(residuals: impl Iterator<Item = u64>) -> (u32, usize) {
    let mut by_width = [0_usize; 65];
    let mut count = 0;
    for residual in residuals {
        if let Some(n) = by_width.get_mut((64 - residual.leading_zeros()) as usize) {
            *n += 1;
        }
        count += 1;
    }
    let mut best = (64, count * 64);
    // Walks down from the widest: `wider` is how many residuals need more, `high_bits` what their patches take.
    let (mut wider, mut patch_bits) = (0, 0);
    for (width, n) in (0_u8..65).map(u32::from).zip(by_width).rev() {
        let bits = count * width as usize + patch_bits;
        if bits <= best.1 {
            best = (width, bits);
        }
        wider += n;
        // A patch is a gap and at least one byte of high bits; each further seven bits a byte more, on average.
        patch_bits += n * 16 + wider;
    }
    best
}

fn varint_bytes(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn pack(residuals: &[u64], width: u32, out: &mut ByteWriter) {
    if width == 0 {
        return;
    }
    let mask = u64::MAX >> (64 - width);
    let (mut pending, mut bits) = (0_u128, 0);
    for residual in residuals {
        pending |= u128::from(residual & mask) << bits;
        bits += width;
        if bits >= 64 {
            #[expect(clippy::cast_possible_truncation, reason = "the lowest 64 bits are what is wanted")]
            out.u64(pending as u64);
            pending >>= 64;
            bits -= 64;
        }
    }
    let rest = pending.to_le_bytes();
    out.raw(rest.get(..bits.div_ceil(8) as usize).unwrap_or_default());
}

fn decode_packed(r: &mut ByteReader<'_>, count: usize, reference: Option<i64>) -> Result<Vec<i64>, Malformed> {
    let width = u32::from(r.u8()?);
    if width > 64 {
        return Err(r.malformed("width over 64 bits"));
    }
    let patch_count = r.count(2)?;
    let mut patches = Vec::with_capacity(patch_count);
    let mut next = 0;
    for _ in 0..patch_count {
        let at = usize::try_from(r.varint()?).ok().and_then(|gap| gap.checked_add(next)).filter(|at| *at < count);
        let at = at.ok_or_else(|| r.malformed("patch behind the column"))?;
        patches.push((at, r.varint()?));
        next = at + 1;
    }
    let packed = r.raw((count * width as usize).div_ceil(8))?;
    let mut residuals = unpack(packed, count, width);
    for (at, high) in patches {
        if let Some(residual) = residuals.get_mut(at) {
            *residual |= high.checked_shl(width).unwrap_or(0);
        }
    }
    Ok(match reference {
        None => residuals.into_iter().map(unzigzag).collect(),
        Some(low) => residuals.into_iter().map(|u| u.cast_signed().wrapping_add(low)).collect(),
    })
}

fn unpack(packed: &[u8], count: usize, width: u32) -> Vec<u64> {
    if width == 0 {
        return vec![0; count];
    }
    let mask = u64::MAX >> (64 - width);
    let mut words = packed.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        u64::from_le_bytes(word)
    });
    let (mut pending, mut bits) = (0_u128, 0);
    let mut residuals = Vec::with_capacity(count);
    for _ in 0..count {
        if bits < width {
            pending |= u128::from(words.next().unwrap_or(0)) << bits;
            bits += 64;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the lowest 64 bits are what is wanted")]
        residuals.push(pending as u64 & mask);
        pending >>= width;
        bits -= width;
    }
    residuals
}

fn encode_zstd(integers: &[i64], order: usize) -> Vec<u8> {
    let (heads, residuals) = differentiate(integers, order);
    let mut plain = ByteWriter::default();
    residuals.iter().for_each(|r| plain.signed_varint(*r));
    let mut out = ByteWriter::default();
    out.u8(low_byte(order as u64) | ZIGZAG | ZSTD);
    heads.iter().for_each(|h| out.signed_varint(*h));
    out.varint(plain.len() as u64);
    // Compression fails only for lack of memory; then packing is taken.
    match zstd::bulk::compress(plain.as_slice(), ZSTD_LEVEL) {
        Ok(packed) => out.raw(&packed),
        Err(_) => return vec![0; integers.len() * 10],
    }
    out.into_bytes()
}

fn decode_zstd(r: &mut ByteReader<'_>, count: usize) -> Result<Vec<i64>, Malformed> {
    let length = usize::try_from(r.varint()?).ok().filter(|n| *n <= count * 10);
    let length = length.ok_or_else(|| r.malformed("varints longer than they can be"))?;
    let packed = r.raw(r.rest().len())?;
    let plain = zstd::bulk::decompress(packed, length).map_err(|_| r.malformed("not a zstd frame"))?;
    let mut plain = ByteReader::new(&plain);
    let residuals = (0..count).map(|_| plain.signed_varint()).collect::<Result<Vec<_>, _>>()?;
    plain.end()?;
    Ok(residuals)
}
