//! `/proc/pressure`: how long work waited for a resource.

use super::{Part, Roots};
use crate::collect::families::Families;

/// Resource and line (`some`, `full`) to metric name and help.
const FIGURES: [(&str, &str, &str, &str); 5] = [
    ("cpu", "some", "cpu_waiting", "Total time in seconds that processes have waited for CPU time"),
    ("io", "some", "io_waiting", "Total time in seconds that processes have waited due to IO congestion"),
    ("io", "full", "io_stalled", "Total time in seconds no process could make progress due to IO congestion"),
    ("memory", "some", "memory_waiting", "Total time in seconds that processes have waited for memory"),
    (
        "memory",
        "full",
        "memory_stalled",
        "Total time in seconds no process could make progress due to memory congestion",
    ),
];

/// Reads nothing, and that is fine, where the kernel does not keep these figures.
pub(super) fn read(roots: &Roots, out: &mut Families) -> Part {
    for (resource, line, name, help) in FIGURES {
        let Ok(text) = roots.proc(&format!("pressure/{resource}")) else { continue };
        let total_us =
            text.lines().find_map(|l| l.strip_prefix(line)?.split_once("total=")?.1.trim().parse::<f64>().ok());
        if let Some(total_us) = total_us {
            out.counter(&format!("node_pressure_{name}_seconds_total"), help, &[], total_us / 1_000_000.0);
        }
    }
    Ok(())
}
