//! Mounted file systems and block devices.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Part, Roots};
use crate::collect::HostConfig;
use crate::collect::families::Families;

/// Bytes of a sector in `/proc/diskstats`, whatever the device's own are.
const SECTOR_BYTES: f64 = 512.0;

pub(super) fn file_systems(roots: &Roots, config: &HostConfig, out: &mut Families) -> Part {
    // The first process sees the machine's mounts even if we are in a unit with some of our own.
    let mounts = roots.proc("1/mounts").or_else(|_| roots.proc("self/mounts"))?;
    let mut seen = BTreeSet::new();
    for line in mounts.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [device, mount_point, kind, options, ..] = words.as_slice() else { continue };
        let mount_point = unescape(mount_point);
        if config.mount_points_exclude.is_match(&mount_point) || config.file_systems_exclude.is_match(kind) {
            continue;
        }
        if seen.insert((device.to_owned(), mount_point.clone(), kind.to_owned())) {
            let is_read_only = options.split(',').any(|option| option == "ro");
            file_system(config, device, &mount_point, kind, is_read_only, out);
        }
    }
    Ok(())
}

fn file_system(
    config: &HostConfig,
    device: &str,
    mount_point: &str,
    kind: &str,
    is_read_only: bool,
    out: &mut Families,
) {
    let labels = [("device", device), ("fstype", kind), ("mountpoint", mount_point)];
    let path = config.file_system_root.join(mount_point.trim_start_matches('/'));
    let stat = rustix::fs::statvfs(path.as_path() as &Path);
    let help = "Whether an error occurred while getting statistics for the given device.";
    out.gauge("node_filesystem_device_error", help, &labels, f64::from(u8::from(stat.is_err())));
    let Ok(stat) = stat else { return };
    #[expect(clippy::cast_precision_loss, reason = "metrics are 64-bit floats; exact up to 8 PiB")]
    let figures = [
        ("size_bytes", "Filesystem size in bytes.", (stat.f_blocks * stat.f_frsize) as f64),
        ("free_bytes", "Filesystem free space in bytes.", (stat.f_bfree * stat.f_frsize) as f64),
        (
            "avail_bytes",
            "Filesystem space available to non-root users in bytes.",
            (stat.f_bavail * stat.f_frsize) as f64,
        ),
        ("files", "Filesystem total file nodes.", stat.f_files as f64),
        ("files_free", "Filesystem total free file nodes.", stat.f_ffree as f64),
        ("readonly", "Filesystem read-only status.", f64::from(u8::from(is_read_only))),
    ];
    for (name, help, value) in figures {
        out.gauge(&format!("node_filesystem_{name}"), help, &labels, value);
    }
}

/// Resolves `\040` and its like, by which mount points with spaces are written.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        match after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = after.get(3..).unwrap_or("");
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out + rest
}

/// What a column of `/proc/diskstats` becomes: name after `node_disk_`, factor, help.
const COLUMNS: [(&str, f64, &str); 17] = [
    ("reads_completed_total", 1.0, "The total number of reads completed successfully."),
    ("reads_merged_total", 1.0, "The total number of reads merged."),
    ("read_bytes_total", SECTOR_BYTES, "The total number of bytes read successfully."),
    ("read_time_seconds_total", 0.001, "The total number of seconds spent by all reads."),
    ("writes_completed_total", 1.0, "The total number of writes completed successfully."),
    ("writes_merged_total", 1.0, "The number of writes merged."),
    ("written_bytes_total", SECTOR_BYTES, "The total number of bytes written successfully."),
    ("write_time_seconds_total", 0.001, "This is the total number of seconds spent by all writes."),
    ("io_now", 1.0, "The number of I/Os currently in progress."),
    ("io_time_seconds_total", 0.001, "Total seconds spent doing I/Os."),
    ("io_time_weighted_seconds_total", 0.001, "The weighted # of seconds spent doing I/Os."),
    ("discards_completed_total", 1.0, "The total number of discards completed successfully."),
    ("discards_merged_total", 1.0, "The total number of discards merged."),
    ("discarded_sectors_total", 1.0, "The total number of sectors discarded successfully."),
    ("discard_time_seconds_total", 0.001, "This is the total number of seconds spent by all discards."),
    ("flush_requests_total", 1.0, "The total number of flush requests completed successfully"),
    ("flush_requests_time_seconds_total", 0.001, "This is the total number of seconds spent by all flush requests."),
];

pub(super) fn disks(roots: &Roots, config: &HostConfig, out: &mut Families) -> Part {
    for line in roots.proc("diskstats")?.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((device, columns)) = words.get(2).zip(words.get(3..)) else { continue };
        if config.disks_exclude.is_match(device) {
            continue;
        }
        for ((name, factor, help), column) in COLUMNS.iter().zip(columns) {
            let Ok(count) = column.parse::<f64>() else { continue };
            // Multiplied by 0.001 a count of milliseconds would not be the number nearest to it.
            let value = if *factor < 1.0 { count / 1000.0 } else { count * factor };
            let name = format!("node_disk_{name}");
            if name.ends_with("_total") {
                out.counter(&name, help, &[("device", device)], value);
            } else {
                out.gauge(&name, help, &[("device", device)], value);
            }
        }
    }
    Ok(())
}
