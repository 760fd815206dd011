//! What is known of each device: what it published, what it says of itself, how many series it has.

use std::collections::BTreeMap;

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

/// Subjects of one device that are told apart; the others count as `other`.
const SUBJECTS_MAX: usize = 64;

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
            })
            .collect()
    }

    /// Returns the `device_*` families: connection from the registry, the rest from messages and reports.
    pub(in crate::collect) fn families(&self, presence: &[DevicePresence]) -> Vec<MetricFamily> {
        let mut out = Families::default();
        for device in presence {
            let labels = [("device_id", device.device_id.as_str()), ("device_type", device.device_type.as_str())];
            let is_connected = f64::from(u8::from(device.is_connected));
            out.gauge("device_connection_state", "Whether the device is connected: 0 or 1.", &labels, is_connected);
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
