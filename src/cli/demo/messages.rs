//! What the devices of a line say: subjects and bodies as the devices of nats-websocket-bridge have them.

use serde_json::{Map, Value, json};

use super::plant::{BATCH_SIZE, DEFECTS, Kind, Line, Mode, Tick, Trouble};
use crate::model::Timestamp;

/// Packages that are to be made per shift.
const TARGET: u64 = 20_000;

/// When each regular message is due next, as seconds left.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    temperature: f64,
    conveyor: f64,
    production: f64,
    line: f64,
    safety: f64,
    presence: f64,
}

/// Counts down; returns whether it is time, and sets the clock again.
fn is_due(clock: &mut f64, period_s: f64, dt_s: f64) -> bool {
    *clock -= dt_s;
    let is_due = *clock <= 0.0;
    if is_due {
        *clock += period_s;
    }
    is_due
}

/// Adds what the devices say regularly.
pub(super) fn regular(line: &mut Line, now: Timestamp, dt_s: f64, tick: &mut Tick) {
    if is_due(&mut line.clocks().temperature, 1.0, dt_s) {
        temperature(line, now, tick);
    }
    if is_due(&mut line.clocks().conveyor, 2.0, dt_s) {
        let body = conveyor(line, now);
        say(line, tick, Kind::Conveyor, "conveyor.status", body);
    }
    if is_due(&mut line.clocks().production, 5.0, dt_s) {
        production(line, now, tick);
    }
    if is_due(&mut line.clocks().line, 5.0, dt_s) {
        let body = status(line);
        say(line, tick, Kind::Orchestrator, "status", body);
    }
    if is_due(&mut line.clocks().safety, 10.0, dt_s) {
        let body = emergency_stop(line, now);
        say(line, tick, Kind::EStop, "eStop", body);
    }
    if is_due(&mut line.clocks().presence, 15.0, dt_s) {
        for kind in Kind::ALL {
            let id = line.device_id(kind);
            let body = json!({ "online": true, "deviceId": id, "timestamp": now.to_rfc3339() });
            say(line, tick, kind, &format!("status.{id}"), body);
        }
    }
}

fn temperature(line: &mut Line, now: Timestamp, tick: &mut Tick) {
    let value = rounded(line.temperature + line.noise(0.08), 2);
    let status = match value {
        v if v >= super::plant::TEMPERATURE_CRITICAL => "critical",
        v if v >= super::plant::TEMPERATURE_WARNING => "warning",
        _ => "normal",
    };
    let body = json!({
        "value": value, "unit": "fahrenheit", "reading": line.uptime_s as u64, "timestamp": now.to_rfc3339(),
        "batch": batch(line), "lot": lot(line), "status": status,
    });
    say(line, tick, Kind::Temperature, "temp", body);
}

fn conveyor(line: &Line, now: Timestamp) -> Value {
    json!({
        "mode": mode(line.mode), "currentSpeed": rounded(line.speed, 1), "targetSpeed": rounded(line.target_speed, 1),
        "timestamp": now.to_rfc3339(), "online": true, "commandsReceived": line.commands_received,
    })
}

/// What counter and camera tell of the shift so far.
fn production(line: &Line, now: Timestamp, tick: &mut Tick) {
    let counts = &line.counts;
    let good = counts.total - counts.rejects;
    let yield_percent = percent(good, counts.total);
    let output = json!({
        "count": good, "total": counts.total, "rejects": counts.rejects, "target": TARGET,
        "completion": percent(good, TARGET), "yield": yield_percent, "rate": rounded(line.speed, 1),
        "runtimeSeconds": rounded(line.running_s, 0), "batch": batch(line), "lot": lot(line),
        "product": product(line), "timestamp": now.to_rfc3339(),
    });
    say(line, tick, Kind::Counter, "output", output);
    let oee = line.oee;
    let body = json!({
        "availability": rounded(oee.availability * 100.0, 1), "performance": rounded(oee.performance * 100.0, 1),
        "quality": rounded(oee.quality * 100.0, 1),
        "oee": rounded(oee.availability * oee.performance * oee.quality * 100.0, 1),
        "goodCount": good, "totalCount": counts.total, "downtime": rounded(line.down_s, 0),
        "runtime": rounded(line.running_s, 0), "timestamp": now.to_rfc3339(),
    });
    say(line, tick, Kind::Counter, "oee", body);
    let by_type: Map<String, Value> =
        DEFECTS.iter().zip(counts.by_defect).map(|(name, n)| ((*name).to_owned(), n.into())).collect();
    let stats = json!({
        "totalScans": counts.total, "passCount": good, "rejectCount": counts.rejects, "yield": yield_percent,
        "defectRate": percent(counts.rejects, counts.total), "defectsByType": by_type, "batch": batch(line),
        "timestamp": now.to_rfc3339(),
    });
    say(line, tick, Kind::Vision, "quality.stats", stats);
}

fn status(line: &Line) -> Value {
    let state = match line.mode {
        Mode::Running => "running",
        Mode::Stopped | Mode::EmergencyStop => "stopped",
        Mode::Fault => "fault",
    };
    let devices: Map<String, Value> = line
        .devices
        .iter()
        .map(|(kind, is_online)| {
            let state = if *is_online { device_state(line, *kind) } else { "offline" };
            (line.device_id(*kind), json!({ "online": is_online, "state": state }))
        })
        .collect();
    json!({
        "lineState": state, "deviceCount": line.devices.len(),
        "onlineCount": line.devices.iter().filter(|(_, is_online)| *is_online).count(),
        "devices": devices, "uptimeSeconds": rounded(line.uptime_s, 0),
    })
}

fn device_state(line: &Line, kind: Kind) -> &'static str {
    match kind {
        Kind::Conveyor => mode(line.mode),
        Kind::EStop if line.is_troubled(Trouble::EmergencyStop) => "triggered",
        _ => "ok",
    }
}

fn emergency_stop(line: &Line, now: Timestamp) -> Value {
    let is_triggered = line.is_troubled(Trouble::EmergencyStop);
    let reason = if is_triggered { "button pressed" } else { "" };
    json!({
        "triggered": is_triggered, "device": line.device_id(Kind::EStop), "reason": reason,
        "triggerCount": line.trigger_count, "timestamp": now.to_rfc3339(),
    })
}

/// Adds what is said at once when something goes wrong.
pub(super) fn troubled(line: &Line, trouble: Trouble, now: Timestamp, tick: &mut Tick) {
    match trouble {
        Trouble::Jam => {
            log(line, tick, Kind::Conveyor, "error", "infeed jammed: motor current 8.4 A, belt stopped", now);
            alert(line, tick, "critical", "conveyor_jam", (8.4, 6.0), Kind::Conveyor, "infeed jammed", now);
            say(line, tick, Kind::Conveyor, "conveyor.status", conveyor(line, now));
            say(line, tick, Kind::Orchestrator, "status", status(line));
        }
        Trouble::Heater => log(line, tick, Kind::Temperature, "warning", "seal heater does not switch off", now),
        Trouble::Labels => log(line, tick, Kind::Vision, "warning", "label position drifts: 1.8 mm off", now),
        Trouble::EmergencyStop => {
            say(line, tick, Kind::EStop, "eStop", emergency_stop(line, now));
            let id = line.device_id(Kind::EStop);
            let body =
                json!({ "type": "emergency_stop", "source": id, "action": "stop_all", "timestamp": now.to_rfc3339() });
            say(line, tick, Kind::EStop, "emergency", body);
            log(line, tick, Kind::EStop, "error", "emergency stop pressed at the infeed", now);
            alert(line, tick, "emergency", "emergency_stop", (1.0, 1.0), Kind::EStop, "emergency stop pressed", now);
            say(line, tick, Kind::Conveyor, "conveyor.status", conveyor(line, now));
            say(line, tick, Kind::Orchestrator, "status", status(line));
        }
        Trouble::Connection => {}
    }
}

/// Adds what is said when it is mended.
pub(super) fn mended(line: &Line, trouble: Trouble, now: Timestamp, tick: &mut Tick) {
    match trouble {
        Trouble::Jam => log(line, tick, Kind::Conveyor, "info", "infeed cleared by hand", now),
        Trouble::Heater => log(line, tick, Kind::Temperature, "info", "seal heater relay replaced", now),
        Trouble::Labels => log(line, tick, Kind::Vision, "info", "label roll adjusted", now),
        Trouble::EmergencyStop => {
            say(line, tick, Kind::EStop, "eStop", emergency_stop(line, now));
            let id = line.device_id(Kind::EStop);
            let body =
                json!({ "type": "emergency_clear", "source": id, "action": "resume", "timestamp": now.to_rfc3339() });
            say(line, tick, Kind::EStop, "emergency", body);
            log(line, tick, Kind::EStop, "info", "emergency stop released", now);
        }
        Trouble::Connection => {}
    }
}

/// Adds a rejected package.
pub(super) fn reject(line: &Line, defect: &str, confidence: f64, now: Timestamp, tick: &mut Tick) {
    let body = json!({
        "defect": defect, "confidence": rounded(confidence, 3), "scanNumber": line.counts.total,
        "timestamp": now.to_rfc3339(), "batch": batch(line), "lot": lot(line),
    });
    say(line, tick, Kind::Vision, "quality.rejects", body);
    let text = format!("reject scan {}: {defect} ({confidence:.2})", line.counts.total);
    log(line, tick, Kind::Vision, "info", &text, now);
}

/// Adds the alert after three rejects in a row.
pub(super) fn consecutive_rejects(line: &Line, now: Timestamp, tick: &mut Tick) {
    alert(line, tick, "warning", "consecutive_rejects", (3.0, 3.0), Kind::Vision, "3 rejects in a row", now);
}

/// Adds the alert for a temperature over a limit.
pub(super) fn hot(line: &Line, limit: f64, severity: &str, now: Timestamp, tick: &mut Tick) {
    let value = rounded(line.temperature, 1);
    let text = format!("temperature {value} F over {limit} F");
    alert(line, tick, severity, "high_temperature", (value, limit), Kind::Temperature, &text, now);
    let level = if severity == "critical" { "error" } else { "warning" };
    log(line, tick, Kind::Temperature, level, &text, now);
}

/// Adds an order of the orchestrator to the conveyor.
pub(super) fn order(line: &Line, action: &str, value: Option<f64>, now: Timestamp, tick: &mut Tick) {
    let body = match value {
        Some(value) => json!({ "action": action, "value": value }),
        None => json!({ "action": action }),
    };
    say(line, tick, Kind::Orchestrator, "conveyor.cmd", body);
    log(line, tick, Kind::Orchestrator, "info", &format!("conveyor: {action}"), now);
}

/// Adds a finished batch.
pub(super) fn batch_complete(line: &Line, now: Timestamp, tick: &mut Tick) {
    let body = json!({
        "batch": batch(line), "lot": lot(line), "count": BATCH_SIZE, "product": product(line), "timestamp": now.to_rfc3339(),
    });
    say(line, tick, Kind::Counter, "batch.complete", body);
    log(line, tick, Kind::Counter, "info", &format!("batch {} complete", batch(line)), now);
}

/// Adds a message below `factory.{line}.`.
fn say(line: &Line, tick: &mut Tick, kind: Kind, subject: &str, body: Value) {
    tick.messages.push((kind, format!("factory.{}.{subject}", line.name), body));
}

fn log(line: &Line, tick: &mut Tick, kind: Kind, level: &str, message: &str, now: Timestamp) {
    let body = json!({ "level": level, "message": message, "line": line.name, "timestamp": now.to_rfc3339() });
    tick.messages.push((kind, format!("logs.{}", line.device_id(kind)), body));
}

#[expect(clippy::too_many_arguments, reason = "the members of one body")]
fn alert(
    line: &Line,
    tick: &mut Tick,
    severity: &str,
    what: &str,
    (value, threshold): (f64, f64),
    kind: Kind,
    message: &str,
    now: Timestamp,
) {
    let body = json!({
        "severity": severity, "type": what, "value": value, "threshold": threshold, "device": line.device_id(kind),
        "message": message, "timestamp": now.to_rfc3339(),
    });
    say(line, tick, Kind::Orchestrator, &format!("alerts.{severity}"), body);
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Stopped => "stopped",
        Mode::Running => "running",
        Mode::Fault => "fault",
        Mode::EmergencyStop => "emergency_stop",
    }
}

fn batch(line: &Line) -> String {
    format!("B{:04}", line.batch)
}

fn lot(line: &Line) -> String {
    format!("L{:03}", line.batch.div_ceil(10))
}

/// Small and large boxes in turn.
fn product(line: &Line) -> &'static str {
    if line.batch.is_multiple_of(2) { "box-large" } else { "box-small" }
}

fn percent(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of packages are far below 2^53")]
    let ratio = if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    rounded(ratio * 100.0, 2)
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}
