//! Tells which texts cannot stand in a block.
//!
//! A text is cut into its overlapping pieces of four bytes; the filter has a bit for each piece that stands
//! in the block, by hash. A needle that stands in the block has all its pieces there, so a block without one
//! of them is passed over. Whole words would be fewer, but `|= "jam"` also means `jammed`, and only pieces
//! answer that. One hash and a filter less than half full are enough: a needle of eight bytes has five pieces,
//! each with a chance of less than a half to be there by accident.
//!
//! # Format
//!
//! The filter of a block, version 1 (that of the part it stands in): bits, the lowest of each byte first.
//!
//! | field  | bytes            | meaning                                                        |
//! |--------|------------------|----------------------------------------------------------------|
//! | bits   | 8 to 32768, 2^n  | bit `hash % bits` for each piece; `hash` is that of `piece_hash` |
//!
//! The checksum is in the part's index. Damage: the filter is taken for one that lets all pass.

/// Bytes of a piece.
const PIECE_BYTES: usize = 4;
/// Largest filter: half full with all the pieces that half a MiB of text can have.
const BITS_MAX: usize = 1 << 18;
/// Smallest filter.
const BITS_MIN: usize = 64;
/// A filter is folded in half while it stays emptier than this, in 1/16.
const FILL_MAX_16TH: usize = 7;

/// A filter in the making.
#[derive(Debug)]
pub(super) struct FilterBuilder {
    words: Vec<u64>,
}

impl FilterBuilder {
    pub(super) fn new() -> Self {
        FilterBuilder { words: vec![0; BITS_MAX / 64] }
    }

    /// Adds the pieces of a line.
    pub(super) fn add(&mut self, line: &str) {
        for hash in pieces(line.as_bytes()) {
            let bit = hash as usize % BITS_MAX;
            if let Some(word) = self.words.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
    }

    /// Returns the filter as bytes, as small as it may be, and begins anew.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let mut words = std::mem::replace(&mut self.words, vec![0; BITS_MAX / 64]);
        while words.len() * 64 > BITS_MIN {
            // The hash is taken modulo a power of two, so the halves laid over each other are the smaller filter.
            let (low, high) = words.split_at(words.len() / 2);
            let folded: Vec<u64> = low.iter().zip(high).map(|(low, high)| low | high).collect();
            let ones: usize = folded.iter().map(|word| word.count_ones() as usize).sum();
            if ones * 16 > folded.len() * 64 * FILL_MAX_16TH {
                break;
            }
            words = folded;
        }
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

/// Tells whether a block with this filter may hold a needle.
pub(super) fn may_hold(filter: &[u8], needle: &str) -> bool {
    let bits = filter.len() * 8;
    if !bits.is_power_of_two() {
        return true;
    }
    pieces(needle.as_bytes()).all(|hash| {
        let bit = hash as usize % bits;
        filter.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
    })
}

fn pieces(text: &[u8]) -> impl Iterator<Item = u32> {
    text.array_windows::<PIECE_BYTES>().map(|piece| piece_hash(*piece))
}

/// Spreads a piece over 32 bits. Source: the finaliser of MurmurHash3.
fn piece_hash(piece: [u8; PIECE_BYTES]) -> u32 {
    let mut h = u32::from_le_bytes(piece);
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(lines: &[&str]) -> Vec<u8> {
        let mut builder = FilterBuilder::new();
        lines.iter().for_each(|line| builder.add(line));
        builder.finish()
    }

    #[test]
    fn what_stands_in_a_block_may_stand_there() {
        let filter = filter(&["paper jam in zone 3", "Überdruck", ""]);
        for needle in ["paper jam in zone 3", "jam", "aper", "zone 3", "Überdruck", "", "berd"] {
            assert!(may_hold(&filter, needle), "{needle}");
        }
        for needle in ["paper jammed", "motor overload", "zone 4 halted"] {
            assert!(!may_hold(&filter, needle), "{needle}");
        }
    }

    #[test]
    fn a_filter_is_as_large_as_its_block_needs_and_mostly_right() {
        assert_eq!(filter(&["a"]).len(), 8);
        let lines: Vec<String> =
            (0..4000_u64).map(|n| format!("batch {n:06} trace {:016x}", n * 0x9e37_79b9_7f4a)).collect();
        let filter = filter(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(filter.len() <= BITS_MAX / 8);
        let wrong = (0..1000).filter(|n| may_hold(&filter, &format!("order-{n:05}-x"))).count();
        assert!(wrong < 10, "{wrong} of 1000 needles that are not there pass");
    }

    #[test]
    fn a_damaged_filter_lets_all_pass() {
        assert!(may_hold(&[], "anything"));
        assert!(may_hold(&[0; 7], "anything"));
    }

    proptest::proptest! {
        #[test]
        fn no_part_of_a_line_is_ever_missed(line in ".{0,80}", start in 0..80_usize, len in 0..40_usize) {
            let needle: String = line.chars().skip(start).take(len).collect();
            proptest::prop_assert!(may_hold(&filter(&[&line]), &needle));
        }
    }
}
