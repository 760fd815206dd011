//! What is known of each device: what it published, what it says of itself, how many series it has.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde_json::Value;

use crate::collect::families::Families;
use crate::collect::snapshot::DeviceSnapshot;
use crate::model::{DevicePresence, MetricFamily, Timestamp};

/// A member of a device's own report (`devices.{device}.stats`) and what it becomes: member, metric, factor,
/// help. The words are those of the Rust SDK and, where they differ, of the C++ SDK.
type OwnFigure = (&'static str, &'static str, f64, &'static str);

const OWN_FIGURES: [OwnFigure; 16] = [
    ("reconnectAttempts", "device_reconnect_attempts_total", 1.0, "Attempts to connect again."),
    ("reconnectCount", "device_reconnect_attempts_total", 1.0, "Attempts to connect again."),
    ("received", "device_messages_received_total", 1.0, "Messages that the device received, by subject."),
    ("messagesReceived", "device_messages_received_total", 1.0, "Messages that the device received, by subject."),
    ("bufferSize", "device_buffer_size", 1.0, "Messages waiting in the device."),
    ("currentBufferSize", "device_buffer_size", 1.0, "Messages waiting in the device."),
    ("bufferOverflows", "device_buffer_overflows_total", 1.0, "Messages lost because too many waited."),
    ("latencySeconds", "device_latency_seconds", 1.0, "Time until the gateway answers, as the device measures."),
    ("avgPublishLatencyMs", "device_latency_seconds", 0.001, "Time until the gateway answers, as the device measures."),
    ("connections", "device_connections_total", 1.0, "Times that the device was let in."),
    ("disconnections", "device_disconnections_total", 1.0, "Times that a connection of the device ended."),
    ("errors", "device_errors_total", 1.0, "Errors that the gateway told the device."),
    ("errorCount", "device_errors_total", 1.0, "Errors that the gateway told the device."),
    ("bytesPublished", "device_bytes_published_total", 1.0, "Bytes that the device sent."),
    ("bytesSent", "device_bytes_published_total", 1.0, "Bytes that the device sent."),
    ("bytesReceived", "device_bytes_received_total", 1.0, "Bytes that the device received."),
];

/// How long a heartbeat says that a device is there.
const HEARTBEAT_HOLDS: Duration = Duration::from_secs(90);

/// A device's word on how it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Heartbeat {
    /// 1 if all is well, 0.5 if it works all the same, 0 if it does not.
    pub(super) health: f64,
    pub(super) at: Timestamp,
}

impl Heartbeat {
    /// Reads the body of a heartbeat: an object with `status` or `health` says how the device is, everything else that it
    /// is there.
    pub(super) fn read(body: Option<&Value>, at: Timestamp) -> Self {
        let word = body.and_then(|body| body.get("status").or_else(|| body.get("health"))).and_then(Value::as_str);
        let health = match word.map(str::to_ascii_lowercase).as_deref() {
            Some("degraded" | "warning") => 0.5,
            Some("unhealthy" | "fault" | "error" | "disconnecting") => 0.0,
            _ => 1.0,
        };
        Heartbeat { health, at }
    }
}

/// Subjects of one device that are told apart; the others count as `other`.
const SUBJECTS_MAX: usize = 64;

impl Device {
    /// Returns what the device last said of itself, as a whole.
    fn figure(&self, metric: &'static str) -> Option<f64> {
        self.own.get(&(metric, String::new())).map(|(value, _)| *value)
    }
}

/// All devices heard of since start; bounded.
#[derive(Debug)]
pub(in crate::collect) struct Devices {
    by_id: BTreeMap<String, Device>,
    devices_max: usize,
}

#[derive(Debug, Default)]
struct Device {
    /// Messages that reached this box, by subject.
    messages: BTreeMap<String, u64>,
    refused: u64,
    last_message: Option<Timestamp>,
    heartbeat: Option<Heartbeat>,
    /// What the device said of itself, by metric and subject (empty: all).
    own: BTreeMap<(&'static str, String), (f64, &'static str)>,
}

impl Devices {
    pub(in crate::collect) fn new(devices_max: usize) -> Self {
        Devices { by_id: BTreeMap::new(), devices_max }
    }

    /// Takes another limit; what is known stays.
    pub(super) fn limit(&mut self, devices_max: usize) {
        self.devices_max = devices_max;
    }

    /// Notes a message.
    pub(super) fn heard(&mut self, device_id: &str, subject: &str, at: Timestamp) {
        let Some(device) = self.device(device_id) else { return };
        device.last_message = Some(at);
        if let Some(count) = device.messages.get_mut(subject) {
            *count += 1;
            return;
        }
        let name = if device.messages.len() < SUBJECTS_MAX { subject } else { "other" };
        *device.messages.entry(name.to_owned()).or_default() += 1;
    }

    /// Notes what a device says of itself.
    pub(super) fn reported(&mut self, device_id: &str, stats: &Value) {
        let Some(device) = self.device(device_id) else { return };
        for (member, metric, scale, help) in OWN_FIGURES {
            let whole = stats.get(member).map(|value| (String::new(), value));
            let by_subject = stats.get(member).and_then(Value::as_object).into_iter().flatten();
            let by_subject = by_subject.take(SUBJECTS_MAX + 1).map(|(subject, value)| (subject.clone(), value));
            for (subject, value) in whole.into_iter().chain(by_subject) {
                if let Some(value) = value.as_f64() {
                    device.own.insert((metric, subject), (value * scale, help));
                }
            }
        }
        while device.own.len() > OWN_FIGURES.len() + 2 * SUBJECTS_MAX {
            device.own.pop_last();
        }
    }

    /// Notes a heartbeat.
    pub(super) fn beat(&mut self, device_id: &str, heartbeat: Heartbeat) {
        if let Some(device) = self.device(device_id) {
            device.heartbeat = Some(heartbeat);
        }
    }

    /// Tells whether a device is known, or has room to be.
    pub(super) fn admits(&mut self, device_id: &str) -> bool {
        self.device(device_id).is_some()
    }

    /// Tells the same, without making the device known.
    pub(super) fn has_room_for(&self, device_id: &str) -> bool {
        self.by_id.contains_key(device_id) || self.by_id.len() < self.devices_max
    }

    /// Notes that a sample of a device was refused.
    pub(super) fn refused(&mut self, device_id: &str) {
        if let Some(device) = self.device(device_id) {
            device.refused += 1;
        }
    }

    /// Returns the device, or nothing if it is new and there are too many. Messages of nobody in particular
    /// are kept under the empty name.
    fn device(&mut self, device_id: &str) -> Option<&mut Device> {
        if !self.by_id.contains_key(device_id) {
            if self.by_id.len() >= self.devices_max {
                return None;
            }
            self.by_id.insert(device_id.to_owned(), Device::default());
        }
        self.by_id.get_mut(device_id)
    }

    /// Returns the devices for pages; `series` tells how many series one has.
    pub(in crate::collect) fn snapshot(&self, series: impl Fn(&str) -> usize) -> Vec<DeviceSnapshot> {
        let devices = self.by_id.iter().filter(|(id, _)| !id.is_empty());
        devices
            .map(|(id, device)| DeviceSnapshot {
                device_id: id.clone(),
                messages: device.messages.values().sum(),
                series: series(id),
                refused: device.refused,
                last_message: device.last_message,
                last_heartbeat: device.heartbeat.map(|beat| beat.at),
                health: device.heartbeat.map(|beat| beat.health),
                latency_s: device.figure("device_latency_seconds"),
                waiting: device.figure("device_buffer_size"),
                lost: device.figure("device_buffer_overflows_total"),
                reconnects: device.figure("device_reconnect_attempts_total"),
            })
            .collect()
    }

    /// Returns the `device_*` families: connection from the registry, the rest from messages and reports. A device that
    /// is connected elsewhere on NATS is there while its heartbeats come.
    pub(in crate::collect) fn families(&self, presence: &[DevicePresence], now: Timestamp) -> Vec<MetricFamily> {
        let mut out = Families::default();
        let mut state = |id: &str, device_type: &str, is_there: bool| {
            let labels = [("device_id", id), ("device_type", device_type)];
            let value = f64::from(u8::from(is_there));
            out.gauge("device_connection_state", "Whether the device is connected: 0 or 1.", &labels, value);
        };
        let beats = |device: &Device| device.heartbeat.map(|beat| now.since(beat.at) <= HEARTBEAT_HOLDS);
        for device in presence {
            let beats = self.by_id.get(&device.device_id).and_then(beats).unwrap_or(false);
            state(&device.device_id, &device.device_type, device.is_connected || beats);
        }
        let registered: HashSet<&str> = presence.iter().map(|p| p.device_id.as_str()).collect();
        for (id, device) in self.by_id.iter().filter(|(id, _)| !registered.contains(id.as_str())) {
            if let Some(is_there) = beats(device) {
                state(id, "", is_there);
            }
        }
        for (id, device) in self.by_id.iter().filter(|(id, _)| !id.is_empty()) {
            let labels = [("device_id", id.as_str())];
            for (subject, count) in &device.messages {
                #[expect(clippy::cast_precision_loss, reason = "metrics are 64-bit floats; exact up to 2^53")]
                let count = *count as f64;
                let labels = [("device_id", id.as_str()), ("subject", subject.as_str())];
                let help = "Messages of the device that reached this box, by subject.";
                out.counter("device_messages_published_total", help, &labels, count);
            }
            if let Some(at) = device.last_message {
                let help = "When the last message of the device came, in seconds since the epoch.";
                out.gauge("device_last_message_timestamp", help, &labels, at.as_seconds());
            }
            if let Some(beat) = device.heartbeat {
                let help = "How the device says it is: 1 well, 0.5 degraded, 0 not working.";
                out.gauge("device_health", help, &labels, beat.health);
                let help = "When the last heartbeat of the device came, in seconds since the epoch.";
                out.gauge("device_last_heartbeat_timestamp", help, &labels, beat.at.as_seconds());
            }
            for ((metric, subject), (value, help)) in &device.own {
                let labels = [("device_id", id.as_str()), ("subject", subject.as_str())];
                if metric.ends_with("_total") {
                    out.counter(metric, help, &labels, *value);
                } else {
                    out.gauge(metric, help, &labels, *value);
                }
            }
        }
        out.finish()
    }
}
