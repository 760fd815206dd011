//! Doors for `benches/store.rs`: parts of the store that nobody outside needs otherwise.

use super::column;
use super::column::Effort;
use crate::storage::disk::ByteWriter;

/// Packs the values of a chunk as a two-hour block has them, or, if it is to `stay`, as a day block does.
#[must_use]
pub fn seal_values(values: &[f64], stay: bool) -> Vec<u8> {
    let mut out = ByteWriter::default();
    column::encode_values(values, if stay { Effort::Small } else { Effort::Fast }, &mut out);
    out.into_bytes()
}

/// Packs the times of a chunk.
#[must_use]
pub fn seal_times(times: &[i64]) -> Vec<u8> {
    let mut out = ByteWriter::default();
    column::encode_times(times, Effort::Fast, &mut out);
    out.into_bytes()
}

/// Unpacks what [`seal_values`] has packed; `None` if it does not check out.
#[must_use]
pub fn open_values(bytes: &[u8]) -> Option<Vec<f64>> {
    column::decode_values(bytes).ok()
}
