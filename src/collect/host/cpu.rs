//! `/proc/stat`: processors, context switches, interrupts, processes, boot time.

use super::{Part, Roots};
use crate::collect::families::Families;

/// Ticks per second of the kernel's counters; Linux has shown 100 to programs for ever.
const TICKS_PER_SECOND: f64 = 100.0;

/// Columns of a processor's line. What guests take is in `user` and `nice` too.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

pub(super) fn read(roots: &Roots, out: &mut Families) -> Part {
    for line in roots.proc("stat")?.lines() {
        let mut words = line.split_whitespace();
        let (Some(key), rest) = (words.next(), words) else { continue };
        let numbers: Vec<f64> = rest.map_while(|word| word.parse().ok()).collect();
        if let Some(cpu) = key.strip_prefix("cpu").filter(|cpu| !cpu.is_empty()) {
            processor(cpu, &numbers, out);
        } else if let Some(first) = numbers.first() {
            single(key, *first, out);
        }
    }
    Ok(())
}

fn processor(cpu: &str, ticks: &[f64], out: &mut Families) {
    let help = "Seconds the CPUs spent in each mode.";
    for (mode, ticks) in MODES.iter().zip(ticks) {
        out.counter("node_cpu_seconds_total", help, &[("cpu", cpu), ("mode", mode)], ticks / TICKS_PER_SECOND);
    }
    let help = "Seconds the CPUs spent in guests (VMs) for each mode.";
    for (mode, ticks) in ["user", "nice"].iter().zip(ticks.iter().skip(MODES.len())) {
        out.counter("node_cpu_guest_seconds_total", help, &[("cpu", cpu), ("mode", mode)], ticks / TICKS_PER_SECOND);
    }
}

fn single(key: &str, value: f64, out: &mut Families) {
    match key {
        "intr" => out.counter("node_intr_total", "Total number of interrupts serviced.", &[], value),
        "ctxt" => out.counter("node_context_switches_total", "Total number of context switches.", &[], value),
        "processes" => out.counter("node_forks_total", "Total number of forks.", &[], value),
        "btime" => out.gauge("node_boot_time_seconds", "Node boot time, in unixtime.", &[], value),
        "procs_running" => {
            out.gauge("node_procs_running", "Number of processes in runnable state.", &[], value);
        }
        "procs_blocked" => {
            out.gauge("node_procs_blocked", "Number of processes blocked waiting for I/O to complete.", &[], value);
        }
        _ => {}
    }
}
