//! # Format
//!
//! `meta.json` says what a block holds, for people and for planning. Version 2: a JSON object with the fields
//! of [`BlockMeta`], times in milliseconds since the epoch. It is written last; a folder without it is no
//! block. `checksum` is the CRC-32C of the same object with `checksum` 0, in eight hexadecimal digits: a
//! damaged file puts the block aside.
//!
//! Growth: unknown fields are passed over; another `version` is refused.

use serde::{Deserialize, Serialize};

use crate::model::{TimeRange, Timestamp};
use crate::storage::disk::{Malformed, crc32c};

const VERSION: u32 = 2;

/// What a block holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockMeta {
    pub(crate) version: u32,
    /// Unique in the store, rising.
    pub(crate) number: u64,
    /// The window it was cut for, `[start, end)`.
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// First and last sample.
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
    pub(crate) series: u64,
    pub(crate) samples: u64,
    pub(crate) chunks: u64,
    /// Bytes of index and chunks.
    pub(crate) bytes: u64,
    /// 1 for a block cut from the head, one more than the highest merged otherwise.
    pub(crate) level: u32,
    /// Where two blocks have a sample at the same time, the one with the lower rank counts: the lowest number
    /// of all blocks that went into it.
    pub(crate) rank: u64,
    /// Names of the blocks it was merged from; they are gone when it is there, or may go.
    #[serde(default)]
    pub(crate) merged: Vec<String>,
    #[serde(default)]
    pub(crate) checksum: String,
}

impl BlockMeta {
    /// Returns the window, end excluded.
    pub(crate) fn range(&self) -> TimeRange {
        TimeRange::new(Timestamp::from_millis(self.start_ms), Timestamp::from_millis(self.end_ms))
    }

    /// Tells whether a sample may lie in `[min, max]`.
    pub(crate) fn overlaps(&self, min: i64, max: i64) -> bool {
        self.min_ms <= max && self.max_ms >= min
    }

    /// Returns the file's content.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let sealed = BlockMeta { version: VERSION, checksum: self.seal(), ..self.clone() };
        serde_json::to_vec_pretty(&sealed).unwrap_or_default()
    }

    /// Reads the file's content.
    pub(crate) fn from_json(bytes: &[u8]) -> Result<BlockMeta, Malformed> {
        let bad = |reason| Malformed { offset: 0, reason };
        let meta: BlockMeta = serde_json::from_slice(bytes).map_err(|_| bad("not the json of a block"))?;
        if meta.version != VERSION {
            return Err(bad("block of another version"));
        }
        if meta.checksum != meta.seal() || meta.start_ms >= meta.end_ms || meta.min_ms > meta.max_ms {
            return Err(bad("meta does not check out"));
        }
        Ok(meta)
    }

    fn seal(&self) -> String {
        let bare = BlockMeta { version: VERSION, checksum: "0".to_owned(), ..self.clone() };
        format!("{:08x}", crc32c(&serde_json::to_vec(&bare).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_meta_is_refused() {
        let meta = BlockMeta {
            version: VERSION,
            number: 7,
            start_ms: 0,
            end_ms: 7_200_000,
            min_ms: 5,
            max_ms: 9,
            series: 1,
            samples: 2,
            chunks: 1,
            bytes: 300,
            level: 1,
            rank: 7,
            merged: vec![],
            checksum: String::new(),
        };
        let json = String::from_utf8(meta.to_json()).unwrap();
        let back = BlockMeta::from_json(json.as_bytes()).unwrap();
        assert_eq!(BlockMeta { checksum: String::new(), ..back }, meta);
        assert!(BlockMeta::from_json(json.replace("\"number\": 7", "\"number\": 8").as_bytes()).is_err());
        assert!(BlockMeta::from_json(b"{}").is_err());
    }
}
