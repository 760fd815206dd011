//! Columns: many timestamps or many values in few bytes.
//!
//! A chunk of a series is two columns. Values are scaled to integers where that is exact to the bit; integers
//! are stored as themselves, as differences or as differences of differences, bit-packed with exceptions or,
//! for what stays, as symbols of a Huffman code above bits in the clear: whatever is smallest on that column.
//! Cost: about 30 ns to write a value and 4 ns to read one; a slow gauge takes four tenths of a byte, a
//! constant nothing. What was measured: docs/decisions/0110.

mod bits;
#[cfg(test)]
mod column_test;
mod decimal;
mod describe;
mod huffman;
mod integers;
mod values;

pub(crate) use describe::describe;
pub(crate) use integers::{Effort, decode as decode_integers, decode_times, encode as encode_integers, encode_times};
pub(crate) use values::{Decimals, decode_bare_values, decode_values, encode_bare_values, encode_values};

pub(crate) use decimal::{exponent as decimal_exponent, scale, unscale};

/// Upper bound of a column: what a damaged count may ask for.
pub(crate) const COLUMN_SAMPLES_MAX: usize = 1 << 16;
