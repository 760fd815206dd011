//! Temperatures: thermal zones and hardware sensors.

use std::path::Path;

use super::{Part, Roots, names_in, read_file, read_number};
use crate::collect::families::Families;

pub(super) fn read(roots: &Roots, out: &mut Families) -> Part {
    let zones = roots.sys.join("class/thermal");
    for name in names_in(&zones) {
        let Some(zone) = name.strip_prefix("thermal_zone") else { continue };
        let folder = zones.join(&name);
        let (Some(millidegrees), Ok(kind)) = (read_number(&folder.join("temp")), read_file(&folder.join("type")))
        else {
            continue;
        };
        let labels = [("type", kind.trim()), ("zone", zone)];
        out.gauge("node_thermal_zone_temp", "Zone temperature in Celsius", &labels, millidegrees / 1000.0);
    }
    let monitors = roots.sys.join("class/hwmon");
    for name in names_in(&monitors) {
        chip(&monitors.join(&name), &name, out);
    }
    Ok(())
}

/// Reads the temperatures of one chip.
fn chip(folder: &Path, number: &str, out: &mut Families) {
    let chip = chip_label(folder, number);
    if let Ok(name) = read_file(&folder.join("name")) {
        let labels = [("chip", chip.as_str()), ("chip_name", name.trim())];
        out.gauge("node_hwmon_chip_names", "Annotation metric for human-readable chip names", &labels, 1.0);
    }
    for file in names_in(folder) {
        let Some((sensor, what)) = file.split_once('_').filter(|(sensor, _)| sensor.starts_with("temp")) else {
            continue;
        };
        let labels = [("chip", chip.as_str()), ("sensor", sensor)];
        let name = match what {
            "input" => "node_hwmon_temp_celsius",
            "max" => "node_hwmon_temp_max_celsius",
            "crit" => "node_hwmon_temp_crit_celsius",
            "label" => {
                let Ok(label) = read_file(&folder.join(&file)) else { continue };
                let labels = [("chip", chip.as_str()), ("label", label.trim()), ("sensor", sensor)];
                out.gauge("node_hwmon_sensor_label", "Label for given chip and sensor", &labels, 1.0);
                continue;
            }
            _ => continue,
        };
        if let Some(millidegrees) = read_number(&folder.join(&file)) {
            let help = format!("Hardware monitor for temperature ({what})");
            out.gauge(name, &help, &labels, millidegrees / 1000.0);
        }
    }
}

/// Returns the name that node_exporter gives a chip: kind and name of its device, else the chip's own name.
fn chip_label(folder: &Path, number: &str) -> String {
    if let Ok(device) = std::fs::canonicalize(folder.join("device")) {
        let name = |path: &Path| clean(path.file_name().and_then(|n| n.to_str()).unwrap_or(""));
        let (own, kind) = (name(&device), device.parent().map(name).unwrap_or_default());
        match (kind.is_empty(), own.is_empty()) {
            (false, false) => return format!("{kind}_{own}"),
            (true, false) => return own,
            (_, true) => {}
        }
    }
    read_file(&folder.join("name")).map(|name| clean(name.trim())).unwrap_or_else(|_| number.to_owned())
}

fn clean(name: &str) -> String {
    let lower = name.to_lowercase();
    let replaced =
        lower.replace(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == ':' || c == '_'), "_");
    replaced.trim_matches('_').to_owned()
}
