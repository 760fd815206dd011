//! What was deleted by somebody's wish and still lies in blocks.
//!
//! A tombstone names series by matchers, a stretch of time, and the blocks it is meant for: those numbered
//! below it. What comes later into the same stretch is not deleted. Readers pass over what it covers; a merge
//! leaves it out; when no block needs it any more it is dropped.
//!
//! # Format
//!
//! `tombstones` holds all tombstones of a store. It is replaced whole. Version 1, little-endian; there is no
//! file while there are none.
//!
//! | field    | bytes  | meaning                                                      |
//! |----------|--------|--------------------------------------------------------------|
//! | magic    | 8      | `ANDTMB1\n`                                                  |
//! | count    | varint | tombstones, up to 1000                                       |
//! | each     |        |                                                              |
//! | before   | varint | blocks with a lower number are concerned                     |
//! | first    | varint | first millisecond, zigzag                                    |
//! | last     | varint | last millisecond, zigzag                                     |
//! | matchers | varint | how many; a series passes all                                |
//! | each     |        | 1 byte: 0 `=`, 1 `!=`, 2 `=~`, 3 `!~`; name and value as text |
//! | checksum | 4      | CRC-32C of all before                                        |
//!
//! Damage: the file is put aside and reported; what it covered is read again until it is deleted again.
//! Growth: another version has another magic.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::block::BlockMeta;
use super::postings::Postings;
use super::select::Selection;
use crate::model::{MatchOp, Matcher};
use crate::storage::disk::{ByteReader, ByteWriter, Malformed, crc32c};

const MAGIC: &[u8] = b"ANDTMB1\n";

/// So many there are at most; then [`super::Db::clean_tombstones`] makes room.
pub(super) const TOMBSTONES_MAX: usize = 1000;

/// The least bytes that a tombstone, and a matcher, take in the file.
const TOMBSTONE_BYTES_MIN: usize = 4;
const MATCHER_BYTES_MIN: usize = 3;

/// Series and a stretch of time that were deleted.
#[derive(Debug, Clone)]
pub(crate) struct Tombstone {
    /// Blocks with a lower number are concerned.
    pub(crate) before: u64,
    /// First and last millisecond.
    pub(crate) min: i64,
    pub(crate) max: i64,
    /// A series passes all.
    pub(crate) matchers: Vec<Matcher>,
}

impl Tombstone {
    /// Tells whether a block may hold something of it.
    pub(super) fn concerns(&self, meta: &BlockMeta) -> bool {
        meta.number < self.before && meta.overlaps(self.min, self.max)
    }
}

/// The tombstones that concern a block.
#[derive(Debug, Default)]
pub(crate) struct Deleted(RwLock<Vec<Arc<Tombstone>>>);

impl Deleted {
    pub(super) fn add(&self, tombstone: &Arc<Tombstone>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(tombstone.clone());
    }

    /// Takes out tombstones that turned out to cover nothing of the block.
    pub(super) fn remove(&self, tombstones: &[Arc<Tombstone>]) {
        let is_one = |t: &Arc<Tombstone>| tombstones.iter().any(|one| Arc::ptr_eq(one, t));
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|t| !is_one(t));
    }

    pub(super) fn list(&self) -> Vec<Arc<Tombstone>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn has(&self, tombstone: &Arc<Tombstone>) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).iter().any(|t| Arc::ptr_eq(t, tombstone))
    }

    /// Returns what of the block is deleted. Cost: selects series for each tombstone; none if there are none.
    pub(crate) fn mask(&self, index: &impl Postings) -> Mask {
        mask_of(&self.list(), index)
    }
}

/// Returns what tombstones cover of a block.
pub(super) fn mask_of(tombstones: &[Arc<Tombstone>], index: &impl Postings) -> Mask {
    let mut mask = Mask::default();
    for tombstone in tombstones {
        for series in Selection::new(&tombstone.matchers).select(index) {
            mask.0.entry(series).or_default().push((tombstone.min, tombstone.max));
        }
    }
    mask
}

/// Stretches of time, both ends included, that are deleted, by series of one block.
#[derive(Debug, Default)]
pub(crate) struct Mask(HashMap<u32, Vec<(i64, i64)>>);

impl Mask {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether all of `[min, max]` of a series is deleted by one tombstone.
    pub(crate) fn covers(&self, series: u32, min: i64, max: i64) -> bool {
        self.of(series).iter().any(|(first, last)| *first <= min && max <= *last)
    }

    /// Tells whether something in `[min, max]` of a series is deleted.
    pub(crate) fn touches(&self, series: u32, min: i64, max: i64) -> bool {
        self.of(series).iter().any(|(first, last)| *first <= max && min <= *last)
    }

    /// Returns what is deleted of a series.
    pub(crate) fn of(&self, series: u32) -> &[(i64, i64)] {
        self.0.get(&series).map_or(&[], Vec::as_slice)
    }
}

/// Returns the content of the file.
pub(super) fn encode(tombstones: &[Arc<Tombstone>]) -> Vec<u8> {
    let mut out = ByteWriter::default();
    out.raw(MAGIC);
    out.varint(tombstones.len() as u64);
    for tombstone in tombstones {
        out.varint(tombstone.before);
        out.signed_varint(tombstone.min);
        out.signed_varint(tombstone.max);
        out.varint(tombstone.matchers.len() as u64);
        for matcher in &tombstone.matchers {
            out.u8(match matcher.op() {
                MatchOp::Equal => 0,
                MatchOp::NotEqual => 1,
                MatchOp::Regex => 2,
                MatchOp::NotRegex => 3,
            });
            out.text(matcher.name());
            out.text(matcher.value());
        }
    }
    let sum = crc32c(out.as_slice());
    out.u32(sum);
    out.into_bytes()
}

/// Reads the content of the file.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Arc<Tombstone>>, Malformed> {
    let bad = |reason| Malformed { offset: 0, reason };
    let body = bytes.len().checked_sub(4).and_then(|at| bytes.split_at_checked(at));
    let (body, sum) = body.ok_or_else(|| bad("too short for tombstones"))?;
    if crc32c(body).to_le_bytes() != *sum {
        return Err(bad("tombstones do not check out"));
    }
    let mut r = ByteReader::new(body);
    if r.raw(MAGIC.len())? != MAGIC {
        return Err(bad("not a file of tombstones"));
    }
    let count = r.count(TOMBSTONE_BYTES_MIN)?;
    if count > TOMBSTONES_MAX {
        return Err(r.malformed("too many tombstones"));
    }
    let mut tombstones = Vec::with_capacity(count);
    for _ in 0..count {
        let (before, min, max) = (r.varint()?, r.signed_varint()?, r.signed_varint()?);
        let matchers = (0..r.count(MATCHER_BYTES_MIN)?).map(|_| {
            let op = match r.u8()? {
                0 => MatchOp::Equal,
                1 => MatchOp::NotEqual,
                2 => MatchOp::Regex,
                3 => MatchOp::NotRegex,
                _ => return Err(r.malformed("unknown kind of matcher")),
            };
            let (name, value) = (r.text()?, r.text()?);
            Matcher::new(name, op, value).map_err(|_| r.malformed("expression does not compile"))
        });
        let matchers = matchers.collect::<Result<_, _>>()?;
        tombstones.push(Arc::new(Tombstone { before, min, max, matchers }));
    }
    r.end()?;
    Ok(tombstones)
}
