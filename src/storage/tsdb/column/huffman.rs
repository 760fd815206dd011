//! # Format
//!
//! Symbols by how often they occur: a canonical Huffman code. Version 2 (of the file it stands in).
//!
//! | field   | bytes        | meaning                                                                        |
//! |---------|--------------|--------------------------------------------------------------------------------|
//! | symbols | 1            | size of the alphabet, 2 to 64; symbols are 0 to that                           |
//! | lengths | symbols / 2  | four bits each, the lower half first: length of the code, 0 for none, up to 11 |
//! | codes   |              | one behind the other, lowest bits first, rounded up to a byte                  |
//!
//! Codes of one length follow each other in order of the symbols, shorter ones before longer; each is written
//! with its highest bit first. How many symbols there are is known from outside.
//!
//! Damage: found by the checksum of the file; lengths that leave a code without a meaning, or give it two, are
//! an error, and so are codes that end early. Growth: other sizes of the alphabet are refused.

use super::bits::{BitWriter, word};
use crate::storage::disk::{ByteReader, ByteWriter, Malformed, low_byte};

/// More symbols would make the lengths larger than what they save on a column of some hundred values.
pub(super) const SYMBOLS_MAX: usize = 64;

/// Bounds the table that a reader builds.
const LENGTH_MAX: u32 = 11;

const TABLE_ENTRIES: usize = 1 << LENGTH_MAX;

/// So many codes fit into what one refill brings.
const CODES_PER_REFILL: usize = 5;

/// A code: for each symbol its length, 0 for one that does not occur.
#[derive(Debug, Clone, Copy)]
pub(super) struct Code {
    lengths: [u8; SYMBOLS_MAX],
    symbols: usize,
    /// What the whole takes, in bits.
    pub(super) cost_bits: usize,
}

impl Code {
    /// Returns the best code for symbols that occur so often; `None` if fewer than two do.
    pub(super) fn of(counts: &[u32]) -> Option<Code> {
        let mut leaves: [(u32, u8); SYMBOLS_MAX] = [(0, 0); SYMBOLS_MAX];
        let mut used = 0;
        for ((count, symbol), leaf) in counts.iter().zip(0..).filter(|(count, _)| **count > 0).zip(&mut leaves) {
            *leaf = (*count, symbol);
            used += 1;
        }
        let leaves = leaves.get_mut(..used).filter(|l| l.len() > 1)?;
        leaves.sort_unstable();
        let mut lengths = [0; SYMBOLS_MAX];
        while !limited_lengths(leaves, &mut lengths) {
            // Rarely needed: flattens the distribution until the longest code is short enough.
            leaves.iter_mut().for_each(|(count, _)| *count = count.div_ceil(2));
        }
        let body: usize = counts.iter().zip(&lengths).map(|(c, l)| *c as usize * usize::from(*l)).sum();
        let symbols = counts.len();
        Some(Code { lengths, symbols, cost_bits: 8 + symbols.div_ceil(2) * 8 + body })
    }

    /// Appends the code and then the symbols.
    pub(super) fn encode(&self, symbols: impl Iterator<Item = u64>, out: &mut ByteWriter) {
        out.u8(low_byte(self.symbols as u64));
        let lengths = self.lengths.get(..self.symbols).unwrap_or_default();
        for pair in lengths.chunks(2) {
            out.u8(pair.iter().rev().fold(0, |byte, length| byte << 4 | length));
        }
        let mut codes = [(0_u16, 0_u8); SYMBOLS_MAX];
        each_code(lengths, |symbol, code, length| {
            if let Some(entry) = codes.get_mut(symbol) {
                *entry = (code, length);
            }
        });
        let mut bits = BitWriter::new(out);
        for symbol in symbols {
            let (code, length) = usize::try_from(symbol).ok().and_then(|s| codes.get(s)).copied().unwrap_or_default();
            bits.put(u64::from(code), u32::from(length));
        }
        bits.end();
    }

    /// Returns a symbol with the shortest code.
    pub(super) fn cheapest(&self) -> u64 {
        let used = self.lengths.iter().zip(0..).filter(|(length, _)| **length > 0);
        used.min_by_key(|(length, _)| **length).map_or(0, |(_, symbol)| symbol)
    }
}

/// Reads as many symbols as there are targets; `visit` gets each of them with its target.
pub(super) fn decode<T>(
    r: &mut ByteReader<'_>,
    into: &mut [T],
    mut visit: impl FnMut(&mut T, u64),
) -> Result<(), Malformed> {
    let symbols = usize::from(r.u8()?);
    if !(2..=SYMBOLS_MAX).contains(&symbols) {
        return Err(r.malformed("alphabet of an impossible size"));
    }
    let mut lengths = [0; SYMBOLS_MAX];
    for (pair, byte) in lengths.chunks_mut(2).zip(r.raw(symbols.div_ceil(2))?) {
        pair.iter_mut().zip([byte & 15, byte >> 4]).for_each(|(to, length)| *to = length);
    }
    let lengths = lengths.get(..symbols).unwrap_or_default();
    let longest = lengths.iter().copied().max().map_or(0, u32::from);
    let room = 1_u32 << LENGTH_MAX;
    let taken: u32 = lengths.iter().filter(|l| **l > 0).map(|l| room.checked_shr(u32::from(*l)).unwrap_or(0)).sum();
    if longest > LENGTH_MAX || taken != room {
        return Err(r.malformed("not a prefix code"));
    }
    let mut table = [(0_u8, 0_u8); TABLE_ENTRIES];
    each_code(lengths, |symbol, code, length| {
        let entries = table.iter_mut().take(1 << longest).skip(usize::from(code)).step_by(1 << length);
        entries.for_each(|entry| *entry = (low_byte(symbol as u64), length));
    });
    let mask = (1_usize << longest) - 1;
    let bytes = r.rest();
    let (mut pending, mut bits, mut at) = (0_u64, 0_usize, 0_usize);
    for targets in into.chunks_mut(CODES_PER_REFILL) {
        pending |= word(bytes, at) << bits;
        at += (63 - bits) / 8;
        bits |= 56;
        for target in targets {
            #[expect(clippy::cast_possible_truncation, reason = "masked")]
            let entry = table.get(pending as usize & mask & (TABLE_ENTRIES - 1)).copied().unwrap_or_default();
            visit(target, u64::from(entry.0));
            pending >>= entry.1;
            bits -= usize::from(entry.1);
        }
    }
    r.raw((at * 8 - bits).div_ceil(8)).map(|_| ())
}

/// Calls `visit` with each symbol that has a code, the code with its first bit lowest, and its length.
fn each_code(lengths: &[u8], mut visit: impl FnMut(usize, u16, u8)) {
    let mut code = 0_u16;
    for length in 1..=low_byte(u64::from(LENGTH_MAX)) {
        for (symbol, _) in lengths.iter().enumerate().filter(|(_, l)| **l == length) {
            visit(symbol, code.reverse_bits() >> (16 - length), length);
            code += 1;
        }
        code <<= 1;
    }
}

/// Works out Huffman's lengths for leaves sorted by count, with two queues; tells whether none is too long.
fn limited_lengths(leaves: &[(u32, u8)], lengths: &mut [u8; SYMBOLS_MAX]) -> bool {
    let mut joined = [0_u32; SYMBOLS_MAX];
    let mut parents = [0_usize; 2 * SYMBOLS_MAX];
    // Nodes are numbered: leaves first, then those joined, in order of their weights.
    let (mut leaf, mut next, mut count) = (0, 0, 0);
    let total = leaves.len();
    while count + 1 < total {
        let mut weight = 0;
        for _ in 0..2 {
            let lightest_leaf = leaves.get(leaf).map_or(u32::MAX, |l| l.0);
            let lightest_joined = joined.get(next).copied().filter(|_| next < count).unwrap_or(u32::MAX);
            let node = if lightest_leaf <= lightest_joined {
                leaf += 1;
                leaf - 1
            } else {
                next += 1;
                total + next - 1
            };
            weight += lightest_leaf.min(lightest_joined);
            if let Some(parent) = parents.get_mut(node) {
                *parent = total + count;
            }
        }
        if let Some(to) = joined.get_mut(count) {
            *to = weight;
        }
        count += 1;
    }
    let mut depths = [0_u8; 2 * SYMBOLS_MAX];
    for node in (0..total + count).rev().skip(1) {
        let above = parents.get(node).and_then(|p| depths.get(*p)).copied().unwrap_or(0);
        if let Some(depth) = depths.get_mut(node) {
            *depth = above + 1;
        }
    }
    let mut is_short = true;
    for ((_, symbol), depth) in leaves.iter().zip(depths) {
        is_short &= u32::from(depth) <= LENGTH_MAX;
        if let Some(length) = lengths.get_mut(usize::from(*symbol)) {
            *length = depth;
        }
    }
    is_short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::storage::disk::dump::bytes;

    #[track_caller]
    fn check(symbols: &[u64], bytes_max: usize) {
        let mut counts = vec![0; symbols.iter().max().map_or(0, |m| usize::from(low_byte(*m)) + 1)];
        symbols.iter().for_each(|s| counts[usize::from(low_byte(*s))] += 1);
        let Some(code) = Code::of(&counts) else { panic!("no code for {symbols:?}") };
        let mut out = ByteWriter::default();
        code.encode(symbols.iter().copied(), &mut out);
        assert_eq!(out.len(), code.cost_bits.div_ceil(8));
        assert!(out.len() <= bytes_max, "{} bytes", out.len());
        let mut back = vec![0; symbols.len()];
        let mut r = ByteReader::new(out.as_slice());
        decode(&mut r, &mut back, |to, symbol| *to = symbol).unwrap();
        r.end().unwrap();
        assert_eq!(back, symbols);
    }

    #[test]
    fn the_dump_of_version_2_reads_and_writes_the_same() {
        let dump = bytes(include_str!("../../../../tests/formats/tsdb_column_huffman_2.hex"));
        let symbols = [0, 0, 0, 1, 0, 2, 0, 1].repeat(5);
        let mut out = ByteWriter::default();
        Code::of(&[25, 10, 5]).unwrap().encode(symbols.iter().copied(), &mut out);
        assert_eq!(out.as_slice(), dump);
        let mut back = vec![0; 40];
        decode(&mut ByteReader::new(&dump), &mut back, |to, symbol| *to = symbol).unwrap();
        assert_eq!(back, symbols);
    }

    #[test]
    fn what_is_frequent_is_short() {
        check(&[[0; 90], [1; 90]].concat(), 2 + 23);
        check(&[vec![7; 900], vec![3; 50], vec![0; 50]].concat(), 5 + 138);
        // Weights as Fibonacci's numbers make the deepest tree.
        let deep: Vec<u64> = (0..20)
            .scan((1, 1), |w, s| Some((s, std::mem::replace(w, (w.1, w.0 + w.1)).0)))
            .flat_map(|(s, n)| vec![s; n])
            .collect();
        check(&deep, 6000);
        assert!(Code::of(&[0, 9]).is_none());
    }

    proptest! {
        #[test]
        fn any_symbols_come_back(symbols in prop::collection::vec(0..64_u64, 2..400)) {
            prop_assume!(symbols.iter().any(|s| *s != symbols[0]));
            check(&symbols, 1000);
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut back = vec![0; 100];
            let _ = decode(&mut ByteReader::new(&bytes), &mut back, |to, symbol| *to = symbol);
        }
    }
}
