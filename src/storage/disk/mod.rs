//! The one seam to the file system for everything that must last.
//!
//! Stores are handed an `Arc<dyn` [`Disk`]`>` and a folder and never touch `std::fs`. There are two disks:
//! [`OsDisk`] is the real one, [`FaultyDisk`] keeps files in memory, loses what was not synced when it
//! "crashes", and fails or fills up on request, from a seed. So each store can be run through power cuts and
//! full disks in a plain unit test.
//!
//! Above the seam stand the parts that all stores share: records in numbered segments ([`Segments`]), whole
//! files replaced in one step ([`replace`]), the lock on a folder ([`lock()`]), free space ([`SpaceWatch`]),
//! and the byte coding of formats ([`ByteReader`], [`ByteWriter`]).
//!
//! What lasts when: bytes of a file after [`DiskFile::sync`]; a file's name after [`Disk::sync_folder`] of the
//! folder it stands in. Nothing else may be relied on.
#![deny(clippy::indexing_slicing)]
#![warn(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod atomic;
mod checksum;
mod coding;
mod damages;
#[cfg(test)]
pub(crate) mod dump;
mod error;
mod faulty;
#[cfg(test)]
mod faulty_test;
#[cfg(test)]
mod format_test;
mod lock;
mod log_files;
mod metered;
mod os;
mod parity;
mod priority;
mod quarantine;
mod record;
mod segments;
mod segments_reader;
#[cfg(test)]
mod segments_test;
mod space;
mod untouched;

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

pub use atomic::{RESTORED_MARK, TEMPORARY_SUFFIX, replace};
pub use checksum::{Checked, crc32c, crc32c_append, crc32c_of};
pub use coding::{ByteReader, ByteWriter};
pub(crate) use coding::{low_byte, unzigzag, zigzag};
pub use damages::Damages;
pub use error::{Corruption, Error, Malformed, Result};
pub use faulty::{Fault, FaultyDisk};
pub use lock::{Lock, lock};
pub use log_files::LogFiles;
pub use metered::{WRITTEN_CAUSES, WrittenByThreads, metered, thread_written_bytes, written_bytes};
pub use os::OsDisk;
pub(crate) use priority::lowest_priority;
pub use quarantine::{note, set_aside};
pub use record::{RECORD_PAYLOAD_BYTES_MAX, Record};
pub use segments::{Closed, Found, Groups, Segments, SegmentsOptions};
pub use space::{READ_ONLY_BELOW_BYTES, SpaceWatch, WRITABLE_FROM_BYTES};
pub use untouched::untouched;

/// A file system, as far as the stores need one. Paths are absolute or relative to the process.
pub trait Disk: Send + Sync + Debug {
    /// Opens a file to read and write; it must exist.
    ///
    /// # Errors
    /// When it does not exist or may not be opened.
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>>;

    /// Makes an empty file, or empties the one that is there, to read and write.
    ///
    /// # Errors
    /// When the folder does not exist or the disk refuses.
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>>;

    /// Moves a file or folder; a file at `target` is replaced. Lasts after `sync_folder` of the target's folder.
    ///
    /// # Errors
    /// When `source` does not exist or the disk refuses.
    fn rename(&self, source: &Path, target: &Path) -> Result<()>;

    /// Gives a file a second name, in the same file system; both are the same file from then on. Lasts after
    /// `sync_folder` of the target's folder.
    ///
    /// # Errors
    /// When `source` does not exist, `target` does, or the disk refuses.
    fn link(&self, source: &Path, target: &Path) -> Result<()>;

    /// Removes a file; open files of it stay readable.
    ///
    /// # Errors
    /// When it does not exist or the disk refuses.
    fn remove_file(&self, path: &Path) -> Result<()>;

    /// Removes a folder with all that is in it.
    ///
    /// # Errors
    /// When it does not exist or the disk refuses.
    fn remove_folder(&self, path: &Path) -> Result<()>;

    /// Makes a folder and those above it that are missing, and syncs the ones it made.
    ///
    /// # Errors
    /// When the disk refuses.
    fn create_folder(&self, path: &Path) -> Result<()>;

    /// Returns what stands in a folder, sorted by name.
    ///
    /// # Errors
    /// When it does not exist or cannot be read.
    fn list(&self, folder: &Path) -> Result<Vec<Entry>>;

    /// Tells whether there is a file or folder of this name.
    fn exists(&self, path: &Path) -> bool;

    /// Makes names in a folder last: files made, renamed or removed in it.
    ///
    /// # Errors
    /// When the disk refuses.
    fn sync_folder(&self, folder: &Path) -> Result<()>;

    /// Returns the free and total bytes of the file system that holds `path`.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn space(&self, path: &Path) -> Result<Space>;

    /// Opens or makes the file and locks it for this process; the lock ends when the value is dropped.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process has it.
    fn lock_file(&self, path: &Path) -> Result<Box<dyn Debug + Send + Sync>>;
}

/// An open file. All calls may come from several threads at once.
pub trait DiskFile: Send + Sync + Debug {
    /// Returns the path it was opened by.
    fn path(&self) -> &Path;

    /// Returns its length in bytes.
    ///
    /// # Errors
    /// When the disk refuses.
    fn size(&self) -> Result<u64>;

    /// Fills `buffer` from `offset` on; returns how many bytes there were, fewer only at the end of the file.
    ///
    /// # Errors
    /// When the disk cannot read them.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// Writes all bytes at `offset`. After an error any part of them may have been written.
    ///
    /// # Errors
    /// When the disk is full or fails.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Cuts or extends (with zeros) the file.
    ///
    /// # Errors
    /// When the disk refuses.
    fn set_size(&self, bytes: u64) -> Result<()>;

    /// Makes what was written last. After an error nothing that was written since the last good sync may be
    /// relied on, also not if a later sync succeeds.
    ///
    /// # Errors
    /// When the disk fails.
    fn sync(&self) -> Result<()>;
}

impl dyn DiskFile + '_ {
    /// Reads exactly `length` bytes at `offset`.
    ///
    /// # Errors
    /// [`Error::Corruption`] if the file is too short; checked before memory is taken.
    pub fn read_exact_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let available = self.size()?.saturating_sub(offset);
        let short = || {
            let reason = format!("expected {length} bytes, found {available}");
            Corruption { file: self.path().to_owned(), offset, bytes: length as u64, reason }
        };
        if available < length as u64 {
            return Err(short().into());
        }
        let mut bytes = vec![0; length];
        if self.read_at(offset, &mut bytes)? < length {
            return Err(short().into());
        }
        Ok(bytes)
    }
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name; names that are not UTF-8 are left out of lists.
    pub name: String,
    /// Its length; zero for folders.
    pub bytes: u64,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// Bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// That we may still write.
    pub free_bytes: u64,
    /// In all.
    pub total_bytes: u64,
}

/// Returns the bytes of all files below a folder; what cannot be read counts nothing.
#[must_use]
pub fn folder_bytes(disk: &dyn Disk, folder: &Path) -> u64 {
    let Ok(entries) = disk.list(folder) else { return 0 };
    let sizes = entries.iter().map(|e| if e.is_folder { folder_bytes(disk, &folder.join(&e.name)) } else { e.bytes });
    sizes.sum()
}
