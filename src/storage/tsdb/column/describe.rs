//! How a column of values is written, in words: for people who wonder where bytes are.

use super::integers::{ORDER_MASK, PATCHES, SYMBOLS};
use super::values::{DIVISOR, EXCEPTIONS, KIND_DOUBLES, KIND_MASK};
use crate::storage::disk::{ByteReader, Malformed};

/// Says how a column of values is written, from its first bytes; what cannot be told from them is left out.
pub(crate) fn describe(column: &[u8]) -> String {
    let mut reader = ByteReader::new(column);
    let Ok(kind) = reader.u8() else { return "empty".to_owned() };
    let numbers = if kind & KIND_MASK == KIND_DOUBLES { "doubles" } else { "decimals" };
    let strays = if kind & EXCEPTIONS == 0 { "" } else { " with exceptions" };
    let scheme = scheme(&mut reader, kind).unwrap_or("of an unknown scheme");
    format!("{numbers}{strays}, {scheme}")
}

fn scheme(reader: &mut ByteReader<'_>, kind: u8) -> Result<&'static str, Malformed> {
    if kind & DIVISOR != 0 {
        reader.varint()?;
    }
    if kind & EXCEPTIONS != 0 {
        for _ in 0..reader.varint()? {
            reader.varint()?;
            reader.u64()?;
        }
    }
    let scheme = reader.u8()?;
    let (order, has_symbols) = (scheme & ORDER_MASK, scheme & SYMBOLS != 0);
    for _ in 0..order {
        reader.varint()?;
    }
    reader.varint()?;
    let width = reader.u8()?;
    if width == 0 && !has_symbols {
        return Ok("constant");
    }
    Ok(match (order, has_symbols, width & PATCHES != 0) {
        (0, true, _) => "as they are, Huffman",
        (1, true, _) => "differences, Huffman",
        (_, true, _) => "second differences, Huffman",
        (0, false, false) => "as they are, packed",
        (1, false, false) => "differences, packed",
        (_, false, false) => "second differences, packed",
        (0, false, true) => "as they are, packed with patches",
        (1, false, true) => "differences, packed with patches",
        (_, false, true) => "second differences, packed with patches",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::ByteWriter;
    use crate::storage::tsdb::column::{Effort, encode_bare_values};

    #[track_caller]
    fn check(value: impl Fn(u32) -> f64, effort: Effort, expected: &str) {
        let values: Vec<f64> = (0..480).map(value).collect();
        let mut column = ByteWriter::default();
        encode_bare_values(&values, effort, &mut column);
        let said = describe(column.as_slice().get(..64).unwrap_or(column.as_slice()));
        assert!(said.starts_with(expected), "{said}, expected {expected}");
    }

    #[test]
    fn a_column_is_described() {
        // Source: Steele et al., SplitMix64.
        let noise = |i: u32| {
            let z = u64::from(i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            f64::from(u32::try_from(z >> 56).unwrap())
        };
        check(|_| 20.5, Effort::Fast, "decimals, constant");
        check(noise, Effort::Fast, "decimals, as they are, packed");
        check(|i| f64::from(i) * 1000.0 + noise(i), Effort::Fast, "decimals, differences, packed");
        check(|i| f64::from(i).sqrt().sin(), Effort::Fast, "doubles, ");
        check(|i| if i == 7 { f64::NAN } else { 20.5 }, Effort::Fast, "decimals with exceptions, constant");
        assert_eq!(describe(&[]), "empty");
        assert_eq!(describe(&[3]), "decimals, of an unknown scheme");
    }
}
