//! How much memory the process takes, beside what it may take.
//!
//! One number is measured, the resident set as the kernel counts it, because that is what a small box runs
//! out of: it covers the head, queries, connections, unpacked bodies, replay and what the allocator keeps.
//! From it follows a level. Who takes memory on behalf of others asks for the level first: the store before
//! it begins a series (`storage/tsdb/admit.rs`), a query before it reads. What is there already is never
//! touched: old series take samples at every level.
//!
//! A level is left later than it is entered, so that it does not flap: memory is short from 90 % of the limit
//! and ample again below 80 %.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What the process may take when nothing is said: this part of the machine's memory, and never less than
/// [`LIMIT_BYTES_MIN`].
const PART_OF_MACHINE: u64 = 4;

/// Less is not enough to work.
pub const LIMIT_BYTES_MIN: u64 = 192 << 20;

/// What a query may hold at most, as a part of the limit.
const PART_PER_QUERY: u64 = 4;

/// And while memory is short.
const PART_PER_QUERY_WHILE_SHORT: u64 = 64;

/// A sample in memory: time and value.
const SAMPLE_BYTES: u64 = 16;

/// How full it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything is taken.
    Ample,
    /// From 90 % of the limit until it is below 80 %: new series and big queries are refused.
    Short,
    /// Over the limit, until it is below 90 %.
    Over,
}

/// The measure; cheap to clone.
#[derive(Debug, Clone)]
pub struct Headroom(Arc<Shared>);

struct Shared {
    limit_bytes: u64,
    read: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    used_bytes: AtomicU64,
    level: AtomicU8,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Headroom")
            .field("limit_bytes", &self.limit_bytes)
            .field("used_bytes", &self.used_bytes)
            .finish()
    }
}

impl Default for Headroom {
    fn default() -> Self {
        Headroom::unlimited()
    }
}

impl Headroom {
    /// Without a limit.
    #[must_use]
    pub fn unlimited() -> Self {
        Headroom::new(u64::MAX, || None)
    }

    /// Over this process.
    #[must_use]
    pub fn of_process(limit_bytes: u64) -> Self {
        Headroom::new(limit_bytes, resident_bytes)
    }

    /// Over whatever `read` says; `None`: not known, the level stays.
    #[must_use]
    pub fn new(limit_bytes: u64, read: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        let (used_bytes, level) = (AtomicU64::new(0), AtomicU8::new(0));
        Headroom(Arc::new(Shared { limit_bytes: limit_bytes.max(1), read: Box::new(read), used_bytes, level }))
    }

    /// Measures; returns the level. Cost: reads a file of `/proc`, some ten microseconds.
    pub fn look(&self) -> Level {
        let Some(used) = (self.0.read)() else { return self.level() };
        self.0.used_bytes.store(used, Ordering::Relaxed);
        let level = next(self.level(), used, self.0.limit_bytes);
        self.0.level.store(level as u8, Ordering::Relaxed);
        level
    }

    /// Returns the level as last measured.
    #[must_use]
    pub fn level(&self) -> Level {
        match self.0.level.load(Ordering::Relaxed) {
            0 => Level::Ample,
            1 => Level::Short,
            _ => Level::Over,
        }
    }

    /// Returns what the process took when last measured.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.0.used_bytes.load(Ordering::Relaxed)
    }

    /// Returns what it may take; `None` without a limit.
    #[must_use]
    pub fn limit_bytes(&self) -> Option<u64> {
        Some(self.0.limit_bytes).filter(|bytes| *bytes != u64::MAX)
    }

    /// Returns how many samples one query may hold now.
    #[must_use]
    pub fn query_samples_max(&self) -> usize {
        let part = if self.level() == Level::Ample { PART_PER_QUERY } else { PART_PER_QUERY_WHILE_SHORT };
        usize::try_from(self.0.limit_bytes / part / SAMPLE_BYTES).unwrap_or(usize::MAX)
    }
}

/// Returns the level that follows.
fn next(now: Level, used: u64, limit: u64) -> Level {
    let is_from = |percent: u128| u128::from(used) * 100 >= u128::from(limit) * percent;
    if is_from(100) || (now == Level::Over && is_from(90)) {
        Level::Over
    } else if is_from(90) || (now != Level::Ample && is_from(80)) {
        Level::Short
    } else {
        Level::Ample
    }
}

/// Returns what this process has in memory.
fn resident_bytes() -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:").map(|kib| kib * 1024)
}

/// Returns the number of a line such as `VmRSS:  1234 kB`.
fn kibibytes(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
}

/// Returns what the process may take when nothing is said: a quarter of the machine's memory, or of what its
/// control group leaves it, and at least 192 MiB.
#[must_use]
pub fn limit_default() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let group = own_group(&read("/proc/self/cgroup")).map(|path| read(&format!("/sys/fs/cgroup{path}/memory.max")));
    limit_of(&read("/proc/meminfo"), &group.unwrap_or_default())
}

/// Returns the path of the control group in the one hierarchy of version 2.
fn own_group(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::")).map(|path| path.trim_end_matches('/'))
}

fn limit_of(meminfo: &str, group_max: &str) -> u64 {
    let machine = kibibytes(meminfo, "MemTotal:").map(|kib| kib * 1024);
    let group = group_max.trim().parse().ok();
    let all = [machine, group].into_iter().flatten().min().unwrap_or(0);
    (all / PART_OF_MACHINE).max(LIMIT_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(now: Level, percent: u64, expected: Level) {
        assert_eq!(next(now, percent * 10, 1000), expected, "{now:?} at {percent} %");
    }

    #[test]
    fn a_level_is_left_later_than_it_is_entered() {
        check(Level::Ample, 89, Level::Ample);
        check(Level::Ample, 90, Level::Short);
        check(Level::Short, 80, Level::Short);
        check(Level::Short, 79, Level::Ample);
        check(Level::Short, 100, Level::Over);
        check(Level::Ample, 100, Level::Over);
        check(Level::Over, 90, Level::Over);
        check(Level::Over, 89, Level::Short);
        check(Level::Over, 79, Level::Ample);
    }

    #[test]
    fn a_quarter_of_the_machine_or_of_the_group_and_at_least_192_mib() {
        let machine = "MemTotal:        8388608 kB\nMemFree: 1 kB\n";
        assert_eq!(limit_of(machine, "max\n"), 2 << 30);
        assert_eq!(limit_of(machine, "4294967296\n"), 1 << 30);
        assert_eq!(limit_of("MemTotal: 524288 kB\n", "max"), 192 << 20);
        assert_eq!(limit_of("", ""), 192 << 20);
        assert_eq!(own_group("0::/system.slice/andon.service\n"), Some("/system.slice/andon.service"));
        assert_eq!(own_group("1:memory:/x\n"), None);
    }

    #[test]
    fn this_process_is_measured_and_queries_get_less_while_memory_is_short() {
        let ample = Headroom::of_process(u64::MAX - 1);
        assert_eq!(ample.look(), Level::Ample);
        assert!(ample.used_bytes() > 1 << 20, "{}", ample.used_bytes());
        let short = Headroom::new(64 << 20, || Some(60 << 20));
        assert_eq!(short.query_samples_max(), 1 << 20);
        assert_eq!(short.look(), Level::Short);
        assert_eq!(short.query_samples_max(), 1 << 16);
        assert_eq!(Headroom::unlimited().look(), Level::Ample);
    }
}
