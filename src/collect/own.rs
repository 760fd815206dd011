//! Andon's own instruments, and the figures of its process, as readings.
//!
//! What the gateway counts goes under `job="gateway"`, because rules of nats-websocket-bridge ask there; so
//! does `up{job="gateway"}`. The rest goes under `job="andon"`.

use std::path::{Path, PathBuf};

use super::families::Families;
use super::source::Reading;
use crate::instrument::Registry;

/// Ticks per second in `/proc/self/stat`; Linux has shown 100 to programs for ever.
const TICKS_PER_SECOND: f64 = 100.0;

/// Which part of the instruments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// `gateway_*`.
    Gateway,
    /// All others, and the process.
    Rest,
}

/// Reads one part of the instruments.
#[derive(Debug)]
pub(super) struct OwnReader {
    registry: Registry,
    part: Part,
    proc_root: PathBuf,
}

impl OwnReader {
    pub(super) fn new(registry: Registry, part: Part) -> Self {
        OwnReader { registry, part, proc_root: PathBuf::from("/proc") }
    }

    pub(super) fn read(&self) -> Reading {
        let mut families = self.registry.gather();
        families.retain(|family| family.name.starts_with("gateway_") == (self.part == Part::Gateway));
        if self.part == Part::Rest {
            families.extend(process(&self.proc_root));
        }
        Reading { families, is_up: true, problems: Vec::new() }
    }
}

/// Returns the `process_*` families under the names that Prometheus's libraries use; those that cannot be
/// read are left out.
#[must_use]
pub(super) fn process(proc_root: &Path) -> Vec<crate::model::MetricFamily> {
    let mut families = Families::default();
    let read = |name: &str| std::fs::read_to_string(proc_root.join(name)).unwrap_or_default();
    // The program's name stands in brackets and may hold anything; numbers follow the last one.
    let stat = read("self/stat");
    let fields: Vec<f64> = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .map(|f| f.parse().unwrap_or(0.0))
        .collect();
    if let (Some(user), Some(system), Some(started)) = (fields.get(11), fields.get(12), fields.get(19)) {
        let cpu = (user + system) / TICKS_PER_SECOND;
        families.counter("process_cpu_seconds_total", "Time spent on processors.", &[], cpu);
        let boot = read("stat").lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
        if let Some(boot) = boot {
            let start = boot + started / TICKS_PER_SECOND;
            families.gauge("process_start_time_seconds", "When the process started.", &[], start);
        }
    }
    let status = read("self/status");
    for (key, name, help) in [
        ("VmRSS:", "process_resident_memory_bytes", "Memory in use."),
        ("VmSize:", "process_virtual_memory_bytes", "Address space in use."),
        ("Threads:", "process_threads", "Threads."),
    ] {
        let value =
            status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse::<f64>().ok());
        if let Some(value) = value {
            let unit = if key == "Threads:" { 1.0 } else { 1024.0 };
            families.gauge(name, help, &[], value * unit);
        }
    }
    let io = read("self/io");
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes:")?.trim().parse::<f64>().ok());
    if let Some(written) = written {
        let help = "Bytes that the kernel has sent to disks for the process, whole pages, what is synced or not.";
        families.counter("process_io_storage_written_bytes_total", help, &[], written);
    }
    if let Ok(entries) = std::fs::read_dir(proc_root.join("self/fd")) {
        #[expect(clippy::cast_precision_loss, reason = "a count of open files is far below 2^53")]
        families.gauge("process_open_fds", "Open files and sockets.", &[], entries.count() as f64);
    }
    let limits = read("self/limits");
    let files_max = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse::<f64>().ok());
    if let Some(max) = files_max {
        families.gauge("process_max_fds", "Open files and sockets that are allowed.", &[], max);
    }
    families.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_disjoint_and_the_process_is_read() {
        let registry = Registry::default();
        registry.counter("gateway_nats_subscribe_total", "S.").inc();
        registry.counter("andon_x_total", "X.").inc();
        let names = |part| -> Vec<String> {
            let reading = OwnReader::new(registry.clone(), part).read();
            reading.families.into_iter().map(|family| family.name).collect()
        };
        assert_eq!(names(Part::Gateway), ["gateway_nats_subscribe_total"]);
        let rest = names(Part::Rest);
        for name in [
            "andon_x_total",
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_start_time_seconds",
        ] {
            assert!(rest.iter().any(|n| n == name), "{name} in {rest:?}");
        }
    }
}
