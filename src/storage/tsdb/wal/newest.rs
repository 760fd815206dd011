//! What segment was the newest, and which the oldest then, so that they are missed when they are gone.
//!
//! Of segments in the middle the sequences of the others tell. Before the first one and behind the last nothing
//! does, so their numbers stand in a file beside the log, written when a sync has made the last one last.
//!
//! # Format
//!
//! `newest` in the store's folder. It is replaced whole, once per segment. Version 2, little-endian; there is
//! no file before the first sync.
//!
//! | field    | bytes | meaning                                                            |
//! |----------|-------|--------------------------------------------------------------------|
//! | magic    | 8     | `ANDNEW2\n`                                                        |
//! | number   | 8     | of the newest segment that a sync has made last                    |
//! | oldest   | 8     | of the oldest segment at that time                                 |
//! | since    | 8     | time of its first sample, milliseconds; the lowest if not known    |
//! | checksum | 4     | CRC-32C of all before                                              |
//!
//! Damage: reported; it costs nothing but that a missing segment is not noticed. Growth: another magic.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::Timestamp;
use crate::storage::disk::{ByteReader, ByteWriter, Corruption, Disk, Malformed, Result, crc32c, replace};

const MAGIC: &[u8] = b"ANDNEW2\n";
const BYTES: usize = MAGIC.len() + 8 + 8 + 8 + 4;

/// The newest segment there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Newest {
    pub(super) number: u64,
    /// The oldest segment when this one was noted.
    pub(super) oldest: u64,
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

/// Says what is missing at either end of the segments that are `there`, oldest and newest. What a checkpoint
/// stands for, segments below `first`, is not missed.
pub(super) fn missing(noted: Newest, there: Option<(u64, u64)>, first: u64) -> Vec<String> {
    let before = missing_before(noted, there, first);
    before.into_iter().chain(missing_behind(noted, there, first)).collect()
}

fn missing_before(noted: Newest, there: Option<(u64, u64)>, first: u64) -> Option<String> {
    let (oldest, _) = there?;
    let from = noted.oldest.max(first);
    let is_missed = from < oldest && from <= noted.number;
    is_missed.then(|| format!("segments {from} to {} are missing, with the oldest samples", oldest - 1))
}

fn missing_behind(newest: Newest, there: Option<(u64, u64)>, first: u64) -> Option<String> {
    let from = there.map_or(newest.oldest, |(_, newest)| newest + 1).max(first).max(1);
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
    out.u64(newest.oldest);
    out.u64(newest.since.unwrap_or(i64::MIN).cast_unsigned());
    out.u32(crc32c(out.as_slice()));
    out.into_bytes()
}

fn decode(bytes: &[u8]) -> std::result::Result<Newest, Malformed> {
    let mut r = ByteReader::new(bytes);
    let magic = r.raw(MAGIC.len())?;
    let (number, oldest, since, checksum) = (r.u64()?, r.u64()?, r.u64()?.cast_signed(), r.u32()?);
    if magic != MAGIC || crc32c(bytes.get(..BYTES - 4).unwrap_or_default()) != checksum {
        return Err(r.malformed("does not check out"));
    }
    r.end()?;
    Ok(Newest { number, oldest, since: Some(since).filter(|since| *since != i64::MIN) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::dump::bytes;

    const NOON_MS: i64 = 1_787_313_600_000;

    #[test]
    fn the_file_of_version_2() {
        let dump = bytes(include_str!("../../../../tests/formats/tsdb_wal_newest_2.hex"));
        let newest = Newest { number: 300, oldest: 298, since: Some(NOON_MS) };
        assert_eq!(encode(newest), dump);
        assert_eq!(decode(&dump).unwrap(), newest);
        let unknown = Newest { number: 1, oldest: 1, since: None };
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
        let noted = Newest { number: 7, oldest: 2, since: None };
        let told = |there, first| -> Vec<String> {
            missing(noted, there, first).iter().map(|told| told[..15].to_owned()).collect()
        };
        assert_eq!(told(None, 0), ["segments 2 to 7"]);
        assert_eq!(told(None, 3), ["segments 3 to 7"]);
        assert_eq!(told(Some((3, 5)), 3), ["segments 6 to 7"]);
        assert_eq!(told(Some((2, 5)), 0), ["segments 6 to 7"]);
        assert_eq!(told(Some((4, 9)), 3), ["segments 3 to 3"]);
        assert_eq!(told(Some((4, 5)), 0), ["segments 2 to 3", "segments 6 to 7"]);
        // All that was noted has gone into a checkpoint; what came since need not begin where it did.
        for (there, first) in [(Some((2, 7)), 0), (Some((3, 9)), 3), (None, 8), (Some((9, 9)), 8)] {
            assert_eq!(told(there, first), [""; 0], "{there:?} {first}");
        }
    }
}
