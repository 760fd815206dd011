//! A packaging line that has worked for an hour: samples and lines as seven devices, the gateway and the machine
//! would have left them.

use andon::http::AppState;
use andon::model::{Labels, LogEntry, Metadata, MetricKind, Timestamp};
use andon::storage::tsdb::Batch;

/// The devices of the line: name and type.
pub(crate) const DEVICES: [(&str, &str); 7] = [
    ("sensor-temp-001", "sensor"),
    ("actuator-conveyor-001", "actuator"),
    ("sensor-vision-001", "sensor"),
    ("controller-estop-001", "controller"),
    ("counter-output-001", "counter"),
    ("controller-orchestrator-001", "controller"),
    ("panel-hmi-001", "panel"),
];

/// Defects and how often each is, in thousandths of the output.
const DEFECTS: [(&str, f64); 4] =
    [("label_misalignment", 6.0), ("missing_label", 3.0), ("damaged_package", 2.0), ("barcode_unreadable", 1.0)];

/// Fills the stores with the hour before `now`, a sample every five seconds.
pub(crate) fn fill(state: &AppState, now: Timestamp) {
    let steps = 720_u32;
    for step in 0..=steps {
        let at = Timestamp::from_millis(now.as_millis() - i64::from(steps - step) * 5000);
        let mut batch = Batch::default();
        let mut add = |labels: &[(&str, &str)], value: f64| {
            batch.push(&Labels::from_pairs(labels.iter().copied()), at, value);
        };
        line(&mut add, step);
        devices(&mut add, step);
        machine(&mut add, step);
        state.db.append(&batch).unwrap();
    }
    for (name, kind, help) in [
        ("factory_line_state", MetricKind::Gauge, "What the line does: 0 stopped, 1 running, 2 fault."),
        ("factory_production_count_total", MetricKind::Counter, "Pieces made."),
        ("node_memory_MemAvailable_bytes", MetricKind::Gauge, "Memory information field MemAvailable_bytes."),
    ] {
        state.db.set_metadata(name, Metadata { kind, help: help.to_owned(), unit: String::new() });
    }
    lines(state, now);
}

/// What the line does at a step: it runs but for a stop and two faults, the last of which goes on.
fn state_at(step: u32) -> f64 {
    match step {
        140..=165 => 0.0,
        400..=418 | 700.. => 2.0,
        _ => 1.0,
    }
}

fn line(add: &mut impl FnMut(&[(&str, &str)], f64), step: u32) {
    let name = |n| [("__name__", n), ("line_id", "line1"), ("job", "devices")];
    let running: u32 = (0..=step).map(|s| u32::from(state_at(s) == 1.0)).sum();
    let made = f64::from(running) * 3.7;
    let wave = wave(step);
    let availability = f64::from(running) / f64::from(step + 1);
    let performance = 0.93 + 0.03 * wave;
    let defects: f64 = DEFECTS.iter().map(|(_, per_mille)| made * per_mille / 1000.0).sum();
    let quality = 1.0 - defects / made.max(1.0);
    add(&name("factory_line_state"), state_at(step));
    add(&name("factory_oee_availability"), availability);
    add(&name("factory_oee_performance"), performance);
    add(&name("factory_oee_quality"), quality);
    add(&name("factory_oee_overall"), availability * performance * quality);
    add(
        &[("__name__", "factory_production_count_total"), ("line_id", "line1"), ("product", "blister-20")],
        made.floor(),
    );
    for (defect, per_mille) in DEFECTS {
        let count = (made * per_mille / 1000.0).floor();
        add(&[("__name__", "factory_defect_count_total"), ("line_id", "line1"), ("defect_type", defect)], count);
    }
    add(&name("factory_emergency_stop_total"), if step > 400 { 1.0 } else { 0.0 });
}

fn devices(add: &mut impl FnMut(&[(&str, &str)], f64), step: u32) {
    for (i, (id, kind)) in (0_u32..).zip(DEVICES) {
        let is_away = i == 2 && (300..330).contains(&step) || i == 6 && step > 640;
        let connected = if is_away { 0.0 } else { 1.0 };
        add(&[("__name__", "device_connection_state"), ("device_id", id), ("device_type", kind)], connected);
        let sent = f64::from(step * (i + 1) * 3);
        let subject = format!("telemetry.{id}.value");
        add(&[("__name__", "device_messages_published_total"), ("device_id", id), ("subject", &subject)], sent);
    }
    let temperature = 72.0 + 2.5 * wave(step) + if step > 690 { f64::from(step - 690) * 0.3 } else { 0.0 };
    add(&[("__name__", "factory_temperature"), ("device_id", "sensor-temp-001"), ("unit", "fahrenheit")], temperature);
    add(&[("__name__", "telemetry_humidity_percent"), ("device_id", "sensor-temp-001")], 41.0 - 4.0 * wave(step));
    let speed = if state_at(step) == 1.0 { 120.0 + 2.0 * wave(step * 3) } else { 0.0 };
    add(&[("__name__", "telemetry_conveyor_speed"), ("device_id", "actuator-conveyor-001")], speed);
    for (kind, per_step) in [("publish", 61.0), ("ping", 1.4), ("subscribe", 0.01)] {
        let count = (f64::from(step) * per_step + 30.0 * wave(step)).floor();
        add(&[("__name__", "gateway_messages_received_total"), ("type", kind), ("job", "andon")], count);
    }
}

fn machine(add: &mut impl FnMut(&[(&str, &str)], f64), step: u32) {
    let host = |n| [("__name__", n), ("job", "host"), ("instance", "box-7")];
    for cpu in ["0", "1"] {
        let labels = |mode| {
            [
                ("__name__", "node_cpu_seconds_total"),
                ("job", "host"),
                ("instance", "box-7"),
                ("cpu", cpu),
                ("mode", mode),
            ]
        };
        let busy: f64 = (0..step).map(|s| 1.1 + 0.8 * wave(s)).sum();
        add(&labels("idle"), f64::from(step) * 5.0 - busy);
        add(&labels("user"), busy);
    }
    add(&host("node_load1"), 0.6 + 0.2 * wave(step));
    add(&host("node_memory_MemTotal_bytes"), 4.0e9);
    add(&host("node_memory_MemAvailable_bytes"), 2.3e9 - 1.0e8 * wave(step));
    for (mount, size, free) in [("/", 3.0e10, 4.1e9), ("/boot/efi", 5.0e8, 4.9e8)] {
        let labels =
            |n| [("__name__", n), ("job", "host"), ("instance", "box-7"), ("mountpoint", mount), ("fstype", "ext4")];
        add(&labels("node_filesystem_size_bytes"), size);
        add(&labels("node_filesystem_avail_bytes"), free);
    }
    let labels = [("__name__", "node_thermal_zone_temp"), ("job", "host"), ("instance", "box-7"), ("zone", "0")];
    add(&labels, 52.0 + 4.0 * wave(step));
}

/// A slow swing between -1 and 1 with a ripple on it; the same at each call.
fn wave(step: u32) -> f64 {
    let t = f64::from(step);
    (0.7 * (t / 70.0).sin() + 0.3 * (t / 7.3).sin() + 0.1 * (t * 1.7).sin()).clamp(-1.0, 1.0)
}

fn lines(state: &AppState, now: Timestamp) {
    let texts = [
        ("info", "batch B-2041 running, 118 pieces per minute"),
        ("info", "reading 72.4 F within limits"),
        ("warning", "temperature 76.1 F above warning limit 75 F"),
        ("info", "vision: pass rate 98.8 % over the last 500"),
        ("error", "label feeder jammed, reject gate open"),
        ("info", "conveyor at 120 of 120"),
    ];
    let entries = (0_u32..300).map(|i| {
        let (level, line) = texts[(i as usize * 7 + i as usize / 5) % texts.len()];
        let (id, _) = DEVICES[i as usize % DEVICES.len()];
        let at = now.as_millis() - i64::from(300 - i) * 11_000;
        let stream = Labels::from_pairs([("job", "devices"), ("device_id", id), ("level", level)]);
        LogEntry { stream, timestamp_ns: at * 1_000_000, line: line.to_owned() }
    });
    state.logs.append(entries.collect()).unwrap();
}
