//! What segment was the newest, so that it is missed when it is gone.
//!
//! Of segments in the middle the sequences of the others tell. Behind the last one nothing does, so its number
//! stands in a file beside the log, written when a sync has made the segment last.
//!
//! # Format
//!
//! `newest` in the store's folder. It is replaced whole, once per segment. Version 1, little-endian; there is
//! no file before the first sync.
//!
//! | field    | bytes | meaning                                                            |
//! |----------|-------|--------------------------------------------------------------------|
//! | magic    | 8     | `ANDNEW1\n`                                                        |
//! | number   | 8     | of the newest segment that a sync has made last                    |
//! | since    | 8     | time of its first sample, milliseconds; the lowest if not known    |
//! | checksum | 4     | CRC-32C of all before                                              |
//!
//! Damage: reported; it costs nothing but that a missing segment is not noticed. Growth: another magic.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::Timestamp;
use crate::storage::disk::{ByteReader, ByteWriter, Corruption, Disk, Malformed, Result, crc32c, replace};

const MAGIC: &[u8] = b"ANDNEW1\n";
const BYTES: usize = MAGIC.len() + 8 + 8 + 4;

/// The newest segment there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Newest {
    pub(super) number: u64,
    /// Time of its first sample.
    pub(super) since: Option<i64>,
}

/// The file, and what stands in it.
#[derive(Debug)]
pub(super) struct Marker {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Number of the segment that the file names; 0 without a file.
    number: AtomicU64,
}

impl Marker {
    /// Reads the file; returns what it names too. What is wrong with it goes to `damages`.
    pub(super) fn open(disk: Arc<dyn Disk>, path: PathBuf, damages: &mut Vec<Corruption>) -> (Self, Option<Newest>) {
        let newest = read(&*disk, &path, damages);
        let number = AtomicU64::new(newest.map_or(0, |n| n.number));
        (Marker { disk, path, number }, newest)
    }

    /// Tells whether the file names another segment than this.
    pub(super) fn is_behind(&self, number: u64) -> bool {
        number > self.number.load(Ordering::Relaxed)
    }

    /// Names a segment that has been made last.
    pub(super) fn write(&self, newest: Newest) -> Result<()> {
        replace(&*self.disk, &self.path, &encode(newest))?;
        self.number.store(newest.number, Ordering::Relaxed);
        Ok(())
    }
}

fn read(disk: &dyn Disk, path: &Path, damages: &mut Vec<Corruption>) -> Option<Newest> {
    if !disk.exists(path) {
        return None;
    }
    let bytes = disk.open(path).and_then(|file| file.read_exact_at(0, BYTES));
    let read = bytes.and_then(|bytes| decode(&bytes).map_err(|e| e.in_file(path, 0, BYTES as u64).into()));
    read.inspect_err(|error| {
        let (file, reason) = (path.to_owned(), error.to_string());
        damages.push(Corruption { file, offset: 0, bytes: BYTES as u64, reason });
    })
    .ok()
}

/// Says what is missing if `newest` is, but what a checkpoint stands for: segments below `first`.
pub(super) fn missing(newest: Newest, there: Option<u64>, first: u64) -> Option<String> {
    let from = there.map_or(0, |number| number + 1).max(first).max(1);
    if newest.number < from {
        return None;
    }
    let since = newest.since.map(|ms| format!(" that begins at {}", Timestamp::from_millis(ms).to_rfc3339()));
    let since = since.unwrap_or_default();
    Some(format!("segments {from} to {} are missing, with the newest samples; the last is one{since}", newest.number))
}

fn encode(newest: Newest) -> Vec<u8> {
    let mut out = ByteWriter::default();
    out.raw(MAGIC);
    out.u64(newest.number);
    out.u64(newest.since.unwrap_or(i64::MIN).cast_unsigned());
    out.u32(crc32c(out.as_slice()));
    out.into_bytes()
}

fn decode(bytes: &[u8]) -> std::result::Result<Newest, Malformed> {
    let mut r = ByteReader::new(bytes);
    let magic = r.raw(MAGIC.len())?;
    let (number, since, checksum) = (r.u64()?, r.u64()?.cast_signed(), r.u32()?);
    if magic != MAGIC || crc32c(bytes.get(..BYTES - 4).unwrap_or_default()) != checksum {
        return Err(r.malformed("does not check out"));
    }
    r.end()?;
    Ok(Newest { number, since: Some(since).filter(|since| *since != i64::MIN) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON_MS: i64 = 1_787_313_600_000;

    #[test]
    fn the_file_of_version_1() {
        let dump = include_str!("../../../../tests/formats/tsdb_wal_newest_1.hex");
        let digits = dump.lines().flat_map(|line| line.split('#').next().unwrap_or("").split_whitespace());
        let dump: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        let newest = Newest { number: 300, since: Some(NOON_MS) };
        assert_eq!(encode(newest), dump);
        assert_eq!(decode(&dump).unwrap(), newest);
        let unknown = Newest { number: 1, since: None };
        assert_eq!(decode(&encode(unknown)).unwrap(), unknown);
        for at in 0..dump.len() {
            assert!(decode(&dump[..at]).is_err(), "{at}");
            let mut damaged = dump.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err(), "{at}");
        }
    }

    #[test]
    fn only_what_no_checkpoint_stands_for_is_missed() {
        let newest = Newest { number: 7, since: None };
        let told = |there, first| missing(newest, there, first).map(|told| told[..13].to_owned());
        assert_eq!(told(None, 0).unwrap(), "segments 1 to");
        assert_eq!(told(None, 3).unwrap(), "segments 3 to");
        assert_eq!(told(Some(5), 3).unwrap(), "segments 6 to");
        assert_eq!((told(Some(7), 3), told(Some(9), 3), told(None, 8)), (None, None, None));
    }
}
