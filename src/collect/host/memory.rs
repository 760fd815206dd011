//! `/proc/meminfo` and `/proc/vmstat`.

use super::{Part, Roots};
use crate::collect::families::Families;
use crate::model::MetricKind;

/// What node_exporter takes of `/proc/vmstat`: fields that begin so.
const VMSTAT_KEPT: [&str; 5] = ["oom_kill", "pgpg", "pswp", "pgfault", "pgmajfault"];

pub(super) fn meminfo(roots: &Roots, out: &mut Families) -> Part {
    for line in roots.proc("meminfo")?.lines() {
        let Some((key, rest)) = line.split_once(':') else { continue };
        let mut words = rest.split_whitespace();
        let Some(value) = words.next().and_then(|word| word.parse::<f64>().ok()) else { continue };
        // `Active(anon)` becomes `Active_anon`.
        let key = key.replace('(', "_").replace(')', "");
        let help = format!("Memory information field {key}.");
        match words.next() {
            Some("kB") => {
                let help = help.replace('.', "_bytes.");
                out.gauge(&format!("node_memory_{key}_bytes"), &help, &[], value * 1024.0);
            }
            Some(_) | None => out.gauge(&format!("node_memory_{key}"), &help, &[], value),
        }
    }
    Ok(())
}

pub(super) fn vmstat(roots: &Roots, out: &mut Families) -> Part {
    for line in roots.proc("vmstat")?.lines() {
        let Some((key, value)) = line.split_once(' ') else { continue };
        let is_kept = VMSTAT_KEPT.iter().any(|kept| key.starts_with(kept));
        if let (true, Ok(value)) = (is_kept, value.trim().parse()) {
            let help = format!("/proc/vmstat information field {key}.");
            out.push(MetricKind::Unknown, &format!("node_vmstat_{key}"), &help, &[], value);
        }
    }
    Ok(())
}
