//! A disk that counts what is written to it, and what the kernel counted for a thread that writes past it.
//!
//! Every store stands on [`super::Disk`], so counting at that seam is complete for all that goes through it.
//! SQLite and sled write files of their own: theirs is the difference of what the kernel has counted for their
//! threads ([`thread_written_bytes`], [`WrittenByThreads`]).

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use super::{Disk, DiskFile, Entry, Result, Space};
use crate::instrument::{Counter, CounterFamily, Registry};

/// Every cause there is; each stands in the metric from the start, so that a sum over them is complete.
pub const WRITTEN_CAUSES: [&str; 16] = [
    "metrics_wal",
    "metrics_checkpoint",
    "metrics_blocks",
    "metrics_compaction",
    "logs_wal",
    "logs_parts",
    "state",
    "last",
    "alarm_journal",
    "outbox",
    "bus_spool",
    "bus_streams",
    "own_log",
    "snapshots",
    "reserve",
    "other",
];

/// Names the counter of a file.
type CounterOf = Box<dyn Fn(&Path) -> Counter + Send + Sync>;

/// A disk that counts; see [`metered`].
struct Metered {
    disk: Arc<dyn Disk>,
    counter_of: CounterOf,
}

/// Returns a disk that counts the bytes of every write with the counter that `counter_of` names for the file.
///
/// What the file system adds on its own (its journal, whole pages for a few bytes) is not in it.
pub fn metered(disk: Arc<dyn Disk>, counter_of: impl Fn(&Path) -> Counter + Send + Sync + 'static) -> Arc<dyn Disk> {
    Arc::new(Metered { disk, counter_of: Box::new(counter_of) })
}

impl Debug for Metered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metered").field("disk", &self.disk).finish_non_exhaustive()
    }
}

impl Metered {
    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(MeteredFile { file, written: (self.counter_of)(path) })
    }
}

impl Disk for Metered {
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, self.disk.open(path)?))
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, self.disk.create(path)?))
    }

    fn rename(&self, source: &Path, target: &Path) -> Result<()> {
        self.disk.rename(source, target)
    }

    fn link(&self, source: &Path, target: &Path) -> Result<()> {
        self.disk.link(source, target)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> Result<()> {
        self.disk.remove_folder(path)
    }

    fn create_folder(&self, path: &Path) -> Result<()> {
        self.disk.create_folder(path)
    }

    fn list(&self, folder: &Path) -> Result<Vec<Entry>> {
        self.disk.list(folder)
    }

    fn exists(&self, path: &Path) -> bool {
        self.disk.exists(path)
    }

    fn sync_folder(&self, folder: &Path) -> Result<()> {
        self.disk.sync_folder(folder)
    }

    fn space(&self, path: &Path) -> Result<Space> {
        self.disk.space(path)
    }

    fn lock_file(&self, path: &Path) -> Result<Box<dyn Debug + Send + Sync>> {
        self.disk.lock_file(path)
    }
}

#[derive(Debug)]
struct MeteredFile {
    file: Arc<dyn DiskFile>,
    written: Counter,
}

impl DiskFile for MeteredFile {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn size(&self) -> Result<u64> {
        self.file.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_at(offset, bytes)?;
        self.written.add(bytes.len() as u64);
        Ok(())
    }

    fn set_size(&self, bytes: u64) -> Result<()> {
        self.file.set_size(bytes)
    }

    fn sync(&self) -> Result<()> {
        self.file.sync()
    }
}

/// Returns the counters of bytes written, by cause.
#[must_use]
pub fn written_bytes(registry: &Registry) -> CounterFamily {
    let help = "Bytes written to disk, by cause; without what the file system adds.";
    let family = registry.counters("andon_storage_written_bytes_total", help, &["cause"]);
    for cause in WRITTEN_CAUSES {
        let _ = family.with(&[cause]);
    }
    family
}

/// Returns the bytes that the calling thread has handed to `write` and its kin since it began; 0 where the
/// kernel does not count them. Cost: some ten microseconds.
#[must_use]
pub fn thread_written_bytes() -> u64 {
    counted_by_kernel(Path::new("/proc/thread-self/io"))
}

/// Follows what threads of a name have written, also those that begin later.
#[derive(Debug, Default)]
pub struct WrittenByThreads {
    /// By thread, as last seen.
    seen: BTreeMap<String, u64>,
}

impl WrittenByThreads {
    /// Returns the bytes that threads whose name begins with `prefix` have written since the last call. What a
    /// thread wrote that ended in between is missed. Cost: reads two small files for each thread.
    pub fn since_last(&mut self, prefix: &str) -> u64 {
        let tasks = Path::new("/proc/self/task");
        let entries = std::fs::read_dir(tasks).into_iter().flatten().flatten();
        let mut now = BTreeMap::new();
        let mut bytes = 0;
        for thread in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
            let folder = tasks.join(&thread);
            if std::fs::read_to_string(folder.join("comm")).is_ok_and(|name| name.starts_with(prefix)) {
                let written = counted_by_kernel(&folder.join("io"));
                bytes += written.saturating_sub(self.seen.get(&thread).copied().unwrap_or(0));
                now.insert(thread, written);
            }
        }
        self.seen = now;
        bytes
    }
}

/// Reads what the kernel has counted for a process or a thread.
fn counted_by_kernel(file: &Path) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("wchar:")?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::FaultyDisk;

    #[test]
    fn writes_are_counted_by_file_and_only_when_they_worked() {
        let (odd, even) = (Counter::default(), Counter::default());
        let counters = (odd.clone(), even.clone());
        let faulty = FaultyDisk::new(1);
        let disk =
            metered(
                faulty.shared(),
                move |path| {
                    if path.ends_with("odd") { counters.0.clone() } else { counters.1.clone() }
                },
            );
        disk.create(Path::new("/odd")).unwrap().write_at(0, b"abc").unwrap();
        let file = disk.create(Path::new("/even")).unwrap();
        file.write_at(0, b"abcd").unwrap();
        disk.open(Path::new("/even")).unwrap().write_at(4, b"e").unwrap();
        assert_eq!((odd.get(), even.get()), (3, 5));
        faulty.set_capacity(Some(0));
        assert!(file.write_at(5, &[0; 4096]).is_err());
        assert_eq!(even.get(), 5);
    }

    #[test]
    fn the_kernel_counts_what_a_thread_writes() {
        let folder = tempfile::tempdir().unwrap();
        let before = thread_written_bytes();
        std::fs::write(folder.path().join("a"), [0; 10_000]).unwrap();
        let own = thread_written_bytes() - before;
        assert!((10_000..11_000).contains(&own), "{own}");

        let mut threads = WrittenByThreads::default();
        assert_eq!(threads.since_last("metered-x"), 0);
        let (wait, held) = std::sync::mpsc::sync_channel::<()>(0);
        let (tell, told) = std::sync::mpsc::sync_channel::<()>(0);
        let path = folder.path().join("b");
        let write = move || {
            std::fs::write(path, [0; 20_000]).unwrap();
            tell.send(()).unwrap();
            let _ = held.recv();
        };
        let thread = std::thread::Builder::new().name("metered-x1".to_owned()).spawn(write).unwrap();
        told.recv().unwrap();
        assert_eq!(threads.since_last("metered-x"), 20_000);
        assert_eq!(threads.since_last("metered-x"), 0);
        drop(wait);
        thread.join().unwrap();
    }
}
