//! Files that others write: when they are to be read again.
//!
//! A certificate and its key, or a set of keys, are written one after the other and not always by a rename. So files
//! are looked at every [`INTERVAL`], and read again when they have changed and then stayed as they were for a look.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often files are to be looked at.
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);

/// How a file was when it was looked at: number, size, time of change; nothing if it is not there.
type Stamp = Option<(u64, u64, i64, i64)>;

/// What is known of some files.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    read: Vec<Stamp>,
    seen: Vec<Stamp>,
}

impl Watched {
    /// Looks at files that have just been read.
    pub(crate) fn of(files: &[PathBuf]) -> Self {
        let read = stamps(files);
        Watched { seen: read.clone(), read }
    }

    /// Looks at the files; returns whether they are to be read now, and takes them as read then. Cost: a system call for
    /// each.
    pub(crate) fn look(&mut self, files: &[PathBuf]) -> bool {
        let now = stamps(files);
        let is_settled = now == std::mem::replace(&mut self.seen, now.clone());
        let is_due = is_settled && now != self.read;
        if is_due {
            self.read = now;
        }
        is_due
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().map(|file| stamp(file)).collect()
}

fn stamp(file: &Path) -> Stamp {
    let found = std::fs::metadata(file).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_again_once_they_have_changed_and_settled() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["a", "b"].map(|name| folder.path().join(name));
        std::fs::write(&files[0], "1").unwrap();
        let mut watched = Watched::of(&files);
        assert!(!watched.look(&files));
        std::fs::write(&files[0], "22").unwrap();
        assert!(!watched.look(&files), "somebody may be writing");
        std::fs::write(&files[1], "1").unwrap();
        assert!(!watched.look(&files));
        assert!(watched.look(&files) && !watched.look(&files));
        std::fs::remove_file(&files[1]).unwrap();
        assert!(!watched.look(&files));
        assert!(watched.look(&files) && !watched.look(&files));
    }
}
