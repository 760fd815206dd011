//! What is on disk: two trees in sled.
//!
//! | tree       | key                      | value                                              |
//! |------------|--------------------------|----------------------------------------------------|
//! | `retained` | device, a 0 byte, subject | version 1 (1 byte), received at (8, ms, little-endian), body |
//! | `seen`     | device                   | version 1 (1 byte), last seen (8, ms, little-endian) |
//!
//! A value with another version or length is damage: the whole store is put aside, since nobody mourns it.
//! There is no fixture of it: it is rebuilt, not migrated.

use std::collections::HashMap;

use bytes::Bytes;

use super::retained::Retained;
use super::{Config, Error, Result, presence, retained};
use crate::model::Timestamp;
use crate::storage::disk::{WrittenByThreads, thread_written_bytes};

const VERSION: u8 = 1;

/// How sled names the threads that write.
const THREADS_PREFIX: &str = "sled-io-";

#[derive(Debug)]
pub(super) struct Kept {
    database: sled::Db,
    retained: sled::Tree,
    seen: sled::Tree,
    /// How many subjects each device has in `retained`.
    subjects: HashMap<String, u32>,
    threads: WrittenByThreads,
}

/// What became of a write.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) messages: u64,
    pub(super) over_limit: u64,
}

impl Kept {
    /// Opens the folder and reads all of it, so that what does not check out is found now.
    pub(super) fn open(config: &Config) -> Result<Self> {
        let database = sled::Config::new()
            .path(&config.path)
            .cache_capacity(config.cache_bytes)
            .flush_every_ms(None)
            .mode(sled::Mode::LowSpace)
            .open()?;
        let (retained, seen) = (database.open_tree("retained")?, database.open_tree("seen")?);
        let mut subjects: HashMap<String, u32> = HashMap::new();
        for entry in retained.iter() {
            let (key, value) = entry?;
            let (device_id, _) = split_key(&key)?;
            decode_stamped(&value)?;
            *subjects.entry(device_id.to_owned()).or_default() += 1;
        }
        for entry in seen.iter() {
            decode_seen(&entry?)?;
        }
        Ok(Kept { database, retained, seen, subjects, threads: WrittenByThreads::default() })
    }

    pub(super) fn get(&self, device_id: &str, subject: &str) -> Result<Option<Retained>> {
        let Some(value) = self.retained.get(key(device_id, subject))? else { return Ok(None) };
        decode_retained(subject, &value).map(Some)
    }

    pub(super) fn list(&self, device_id: &str) -> Result<Vec<Retained>> {
        self.retained
            .scan_prefix(key(device_id, ""))
            .map(|entry| {
                let (key, value) = entry?;
                decode_retained(split_key(&key)?.1, &value)
            })
            .collect()
    }

    pub(super) fn devices(&mut self) -> Result<Vec<(String, Timestamp)>> {
        self.seen.iter().map(|entry| decode_seen(&entry?)).collect()
    }

    pub(super) fn device(&self, device_id: &str) -> Result<Option<Timestamp>> {
        let Some(value) = self.seen.get(device_id)? else { return Ok(None) };
        decode_stamped(&value).map(|(at, _)| Some(at))
    }

    pub(super) fn forget(&mut self, device_id: &str) -> Result<()> {
        for entry in self.retained.scan_prefix(key(device_id, "")) {
            self.retained.remove(entry?.0)?;
        }
        self.seen.remove(device_id)?;
        self.subjects.remove(device_id);
        Ok(())
    }

    /// Writes what changed; it lasts after [`Kept::sync`].
    pub(super) fn write(
        &mut self,
        fresh: &retained::Fresh,
        seen: &presence::Fresh,
        config: &Config,
    ) -> Result<Written> {
        let mut written = Written::default();
        for (device_id, messages) in fresh.all() {
            let count = self.subjects.entry(device_id.to_owned()).or_default();
            for message in messages.values() {
                let key = key(device_id, &message.subject);
                if *count >= config.subjects_per_device_max && !self.retained.contains_key(&key)? {
                    written.over_limit += 1;
                    continue;
                }
                if self.retained.insert(key, encode(message.received_at, &message.payload))?.is_none() {
                    *count += 1;
                }
                written.messages += 1;
            }
        }
        for (device_id, at) in seen.all() {
            self.seen.insert(device_id.as_str(), encode(at, &[]))?;
        }
        Ok(written)
    }

    /// Makes what was written last; returns the bytes that sled wrote since the last call, as the kernel has
    /// counted them for its threads.
    pub(super) fn sync(&mut self) -> Result<u64> {
        let before = thread_written_bytes();
        // Whatever waited is handed to sled's threads, or written by this one, before this returns.
        self.database.flush()?;
        let own = thread_written_bytes().saturating_sub(before);
        Ok(own + self.threads.since_last(THREADS_PREFIX))
    }
}

fn key(device_id: &str, subject: &str) -> Vec<u8> {
    [device_id.as_bytes(), &[0], subject.as_bytes()].concat()
}

fn split_key(key: &[u8]) -> Result<(&str, &str)> {
    let fail = || Error::Entry("retained");
    std::str::from_utf8(key).ok().and_then(|text| text.split_once('\0')).ok_or_else(fail)
}

fn encode(at: Timestamp, body: &[u8]) -> Vec<u8> {
    [&[VERSION], at.as_millis().to_le_bytes().as_slice(), body].concat()
}

fn decode_stamped(value: &[u8]) -> Result<(Timestamp, &[u8])> {
    match value.split_first_chunk::<9>() {
        Some(([VERSION, at @ ..], body)) => Ok((Timestamp::from_millis(i64::from_le_bytes(*at)), body)),
        _ => Err(Error::Entry("stamped")),
    }
}

fn decode_retained(subject: &str, value: &[u8]) -> Result<Retained> {
    let (received_at, body) = decode_stamped(value)?;
    Ok(Retained { subject: subject.to_owned(), payload: Bytes::copy_from_slice(body), received_at })
}

fn decode_seen((key, value): &(sled::IVec, sled::IVec)) -> Result<(String, Timestamp)> {
    let device_id = std::str::from_utf8(key).map_err(|_| Error::Entry("seen"))?;
    match decode_stamped(value)? {
        (at, []) => Ok((device_id.to_owned(), at)),
        _ => Err(Error::Entry("seen")),
    }
}

#[cfg(fuzzing)]
pub(super) fn fuzz(data: &[u8]) {
    let _ = split_key(data);
    let _ = decode_stamped(data);
    let _ = decode_retained("a.b", data);
}
