//! Network interfaces and sockets.

use super::{Part, Roots, names_in, read_file, read_number};
use crate::collect::HostConfig;
use crate::collect::families::Families;

/// Columns of `/proc/net/dev`: eight for receiving, eight for sending.
const COLUMNS: [(&str, &str); 16] = [
    ("receive", "bytes"),
    ("receive", "packets"),
    ("receive", "errs"),
    ("receive", "drop"),
    ("receive", "fifo"),
    ("receive", "frame"),
    ("receive", "compressed"),
    ("receive", "multicast"),
    ("transmit", "bytes"),
    ("transmit", "packets"),
    ("transmit", "errs"),
    ("transmit", "drop"),
    ("transmit", "fifo"),
    ("transmit", "colls"),
    ("transmit", "carrier"),
    ("transmit", "compressed"),
];

/// Bits per second in a megabit per second, as bytes.
const MEGABIT_BYTES: f64 = 125_000.0;

pub(super) fn traffic(roots: &Roots, config: &HostConfig, out: &mut Families) -> Part {
    for line in roots.proc("net/dev")?.lines() {
        let Some((device, columns)) = line.split_once(':') else { continue };
        let device = device.trim();
        if config.networks_exclude.is_match(device) {
            continue;
        }
        let counts = columns.split_whitespace().map_while(|word| word.parse::<f64>().ok());
        for ((direction, what), count) in COLUMNS.iter().zip(counts) {
            let help = format!("Network device statistic {direction}_{what}.");
            out.counter(&format!("node_network_{direction}_{what}_total"), &help, &[("device", device)], count);
        }
    }
    for device in names_in(&roots.sys.join("class/net")) {
        if !config.networks_exclude.is_match(&device) {
            state(roots, &device, out);
        }
    }
    Ok(())
}

/// Reads what `/sys/class/net` says. What an interface does not have is not there or cannot be read.
fn state(roots: &Roots, device: &str, out: &mut Families) {
    let folder = roots.sys.join("class/net").join(device);
    let labels = [("device", device)];
    if let Ok(state) = read_file(&folder.join("operstate")) {
        let is_up = f64::from(u8::from(state.trim() == "up"));
        out.gauge("node_network_up", "Value is 1 if operstate is 'up', 0 otherwise.", &labels, is_up);
    }
    for (file, name, factor) in [
        ("carrier", "node_network_carrier", 1.0),
        ("mtu", "node_network_mtu_bytes", 1.0),
        ("speed", "node_network_speed_bytes", MEGABIT_BYTES),
    ] {
        if let Some(value) = read_number(&folder.join(file)) {
            let help = format!("Network device property: {name}");
            out.gauge(name, &help, &labels, value * factor);
        }
    }
    if let Some(changes) = read_number(&folder.join("carrier_changes")) {
        let help = "Network device property: carrier_changes_total";
        out.counter("node_network_carrier_changes_total", help, &labels, changes);
    }
}

/// Lines like `TCP: inuse 5 orphan 0 tw 2 alloc 7 mem 1`; memory counts pages.
pub(super) fn sockets(roots: &Roots, out: &mut Families) -> Part {
    let sockstat = roots.proc("net/sockstat")?;
    // Without IPv6 the second file is not there.
    let sockstat6 = roots.proc("net/sockstat6").unwrap_or_default();
    for line in sockstat.lines().chain(sockstat6.lines()) {
        let Some((protocol, rest)) = line.split_once(':') else { continue };
        let words: Vec<&str> = rest.split_whitespace().collect();
        for pair in words.chunks_exact(2) {
            let [what, count] = *pair else { continue };
            let Ok(count) = count.parse::<f64>() else { continue };
            let name = format!("node_sockstat_{protocol}_{what}");
            let help = format!("Number of {protocol} sockets in state {what}.");
            out.gauge(&name, &help, &[], count);
        }
    }
    Ok(())
}
