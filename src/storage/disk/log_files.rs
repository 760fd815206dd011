//! A log of segments as it lies, for people who look.

use std::path::Path;
use std::sync::Arc;

use super::{Disk, Found, Record, Result, Segments, SegmentsOptions, untouched};

/// A log of segments as it lies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFiles {
    /// Names and bytes of the segments, oldest first.
    pub segments: Vec<(String, u64)>,
    /// Records that were read; `None` if nobody looked into the segments.
    pub records: Option<u64>,
    /// Bytes at the end that are no whole record: torn, or just being written by a running box.
    pub torn_bytes: u64,
    /// Places that do not check out.
    pub damages: Vec<String>,
}

impl LogFiles {
    /// Returns the segments in a folder; one that is not there has none.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn list(disk: &dyn Disk, folder: &Path) -> Result<LogFiles> {
        if !disk.exists(folder) {
            return Ok(LogFiles::default());
        }
        let is_segment = |name: &str| name.len() >= 8 && name.bytes().all(|b| b.is_ascii_digit());
        let entries = disk.list(folder)?.into_iter().filter(|entry| !entry.is_folder && is_segment(&entry.name));
        Ok(LogFiles { segments: entries.map(|entry| (entry.name, entry.bytes)).collect(), ..LogFiles::default() })
    }

    /// Lists and reads all records, without the tidying of a start; every checksum is compared.
    ///
    /// # Errors
    /// As [`LogFiles::list`].
    pub fn verify(disk: &Arc<dyn Disk>, folder: &Path) -> Result<LogFiles> {
        let options = SegmentsOptions { segment_bytes_max: u64::MAX, is_synced: true, has_parity: false };
        LogFiles::verify_with(disk, folder, |disk| {
            Segments::open(disk, folder, options, &mut |_: Record<'_>| Ok(())).map(|(_, found)| found)
        })
    }

    /// As [`LogFiles::verify`], for a log whose owner opens it, on a disk that nothing is changed on.
    ///
    /// # Errors
    /// As [`LogFiles::list`], and what `open` says.
    pub fn verify_with<E: From<super::Error>>(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        open: impl FnOnce(Arc<dyn Disk>) -> std::result::Result<Found, E>,
    ) -> std::result::Result<LogFiles, E> {
        let mut about = LogFiles::list(&**disk, folder)?;
        if !about.segments.is_empty() {
            let found = open(untouched(disk.clone()))?;
            about.records = Some(found.records);
            about.torn_bytes = found.truncated_bytes;
            about.damages = found.damages.iter().map(ToString::to_string).collect();
        }
        Ok(about)
    }

    /// Returns the bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|(_, bytes)| bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::FaultyDisk;

    #[test]
    fn a_log_is_read_and_left_as_it_is() {
        let faulty = FaultyDisk::new(1);
        let (disk, folder) = (faulty.shared(), Path::new("/log"));
        assert_eq!(LogFiles::verify(&disk, folder).unwrap(), LogFiles::default());
        let options = SegmentsOptions { segment_bytes_max: 100, is_synced: true, has_parity: false };
        let (log, _) = Segments::open(disk.clone(), folder, options, &mut |_| Ok(())).unwrap();
        for i in 0..20 {
            log.append(1, &[i; 30]).unwrap();
        }
        drop(log);
        let about = LogFiles::verify(&disk, folder).unwrap();
        assert_eq!((about.records, about.torn_bytes, about.damages.len()), (Some(20), 0, 0));
        let (name, bytes) = about.segments.last().unwrap().clone();
        disk.open(&folder.join(&name)).unwrap().set_size(bytes - 3).unwrap();
        let calls = faulty.calls();
        let about = LogFiles::verify(&disk, folder).unwrap();
        assert!(about.torn_bytes > 0 && about.records == Some(19), "{about:?}");
        assert_eq!(faulty.calls(), calls, "nothing was changed");
        assert_eq!(about.segments.last().unwrap().1, bytes - 3);
    }
}
