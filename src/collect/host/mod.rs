//! This machine under node_exporter's names, so that rules and boards made for it work here.
//!
//! Each part reads a few files below `/proc` and `/sys`, whose places are arguments: a test writes a tree of
//! its own. A part that fails is named in `node_scrape_collector_success` and does not hinder the others.
//! Cost: about 60 small files, 2 ms, every 15 s.
//! Source: node_exporter 1.5 to 1.9, its default collectors cpu, stat, loadavg, meminfo, filesystem,
//! diskstats, netdev, netclass (up, carrier, speed, mtu), thermal_zone, hwmon (temperatures), pressure,
//! uname, time, filefd, sockstat, vmstat. The wear of flash (`flash.rs`) has no model there.

mod cpu;
mod disk;
mod flash;
mod kernel;
mod memory;
mod network;
mod pressure;
mod thermal;

#[cfg(test)]
mod host_test;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use flash::{FlashLife, disk_of, flash_lives};

use super::HostConfig;
use super::families::Families;
use super::source::Reading;
use crate::model::{MetricFamily, Timestamp};
use crate::task::BlockingPool;

/// Longest time one reading may take: a mount whose server is gone hangs for ever.
const READ_MAX: Duration = Duration::from_secs(10);

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Result of a part: what went wrong, in words.
type Part = Result<(), String>;

/// Reads this machine.
#[derive(Debug)]
pub(super) struct HostReader {
    config: HostConfig,
    /// A thread of its own: a hanging mount must hold up neither queries nor the runtime.
    pool: BlockingPool,
}

impl HostReader {
    pub(super) fn new(config: HostConfig) -> Self {
        HostReader { config, pool: BlockingPool::new(1) }
    }

    pub(super) async fn read(&mut self, now: Timestamp) -> Reading {
        let config = self.config.clone();
        let work = self.pool.run(move || read(&config, now));
        match tokio::time::timeout(READ_MAX, work).await {
            Ok(Ok((families, problems))) => Reading { families, is_up: true, problems },
            Ok(Err(panicked)) => failed(panicked.to_string()),
            Err(_) => failed(format!("reading takes longer than {READ_MAX:?}: does a file system hang?")),
        }
    }
}

fn failed(problem: String) -> Reading {
    Reading { families: Vec::new(), is_up: false, problems: vec![problem] }
}

/// Reads all parts once.
fn read(config: &HostConfig, now: Timestamp) -> (Vec<MetricFamily>, Vec<String>) {
    let mut families = Families::default();
    let roots = Roots { proc: config.proc_root.clone(), sys: config.sys_root.clone() };
    let out = &mut families;
    let parts: [(&str, Part); 13] = [
        ("cpu", cpu::read(&roots, out)),
        ("loadavg", kernel::load(&roots, out)),
        ("meminfo", memory::meminfo(&roots, out)),
        ("vmstat", memory::vmstat(&roots, out)),
        ("filesystem", disk::file_systems(&roots, config, out)),
        ("diskstats", disk::disks(&roots, config, out)),
        ("netdev", network::traffic(&roots, config, out)),
        ("sockstat", network::sockets(&roots, out)),
        ("flash", flash::read(&roots, out)),
        ("thermal", thermal::read(&roots, out)),
        ("pressure", pressure::read(&roots, out)),
        ("uname", kernel::uname(&roots, out)),
        ("filefd", kernel::files(&roots, out)),
    ];
    out.gauge("node_time_seconds", "System time in seconds since epoch (1970).", &[], now.as_seconds());
    let mut problems = Vec::new();
    for (name, result) in parts {
        let is_good = f64::from(u8::from(result.is_ok()));
        let help = "node_exporter: Whether a collector succeeded.";
        out.gauge("node_scrape_collector_success", help, &[("collector", name)], is_good);
        problems.extend(result.err().map(|problem| format!("{name}: {problem}")));
    }
    (families.finish(), problems)
}

/// Where the kernel's files are.
struct Roots {
    proc: PathBuf,
    sys: PathBuf,
}

impl Roots {
    /// Reads a file below `/proc`.
    fn proc(&self, name: &str) -> Result<String, String> {
        read_file(&self.proc.join(name))
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    use std::io::Read;

    let fail = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut text = String::new();
    fs::File::open(path).map_err(fail)?.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(fail)?;
    Ok(text)
}

/// Reads a file that holds one number; `None` if it is not there or holds something else.
fn read_number(path: &Path) -> Option<f64> {
    read_file(path).ok()?.trim().parse().ok()
}

/// Returns the names in a folder, sorted; none if it is not there.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}
