//! What is known of each device: what it published, what it says of itself, how many series it has.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use crate::collect::families::Families;
use crate::collect::snapshot::DeviceSnapshot;
use crate::model::{DevicePresence, Labels, MetricFamily, Timestamp};

/// Members of a device's own report (`devices.{device}.stats`) in the words of the C++ and Rust SDKs, the
/// metric each becomes, its help, and what it is multiplied with.
const OWN_FIGURES: [(&str, &str, &str, f64); 8] = [
    ("reconnectAttempts", "device_reconnect_attempts_total", "Attempts to connect again, as the device counts.", 1.0),
    ("reconnectCount", "device_reconnect_attempts_total", "Attempts to connect again, as the device counts.", 1.0),
    ("messagesReceived", "device_messages_received_total", "Messages received, as the device counts.", 1.0),
    ("currentBufferSize", "device_buffer_size", "Messages waiting in the device.", 1.0),
    ("bufferSize", "device_buffer_size", "Messages waiting in the device.", 1.0),
    (
        "avgPublishLatencyMs",
        "device_latency_seconds",
        "Time until a publish is acknowledged, as the device measures.",
        0.001,
    ),
    ("latencyMs", "device_latency_seconds", "Time until a publish is acknowledged, as the device measures.", 0.001),
    ("latencySeconds", "device_latency_seconds", "Time until a publish is acknowledged, as the device measures.", 1.0),
];

/// All devices heard of since start; bounded.
#[derive(Debug)]
pub(in crate::collect) struct Devices {
    by_id: BTreeMap<String, Device>,
    devices_max: usize,
    series_max: usize,
}

#[derive(Debug, Default)]
struct Device {
    messages: u64,
    series: HashSet<u64>,
    refused: u64,
    last_message: Option<Timestamp>,
    /// What the device said of itself, by metric.
    own: BTreeMap<&'static str, (f64, &'static str)>,
}

impl Devices {
    pub(in crate::collect) fn new(devices_max: usize, series_max: usize) -> Self {
        Devices { by_id: BTreeMap::new(), devices_max, series_max }
    }

    /// Takes other limits; what is known stays.
    pub(super) fn limit(&mut self, devices_max: usize, series_max: usize) {
        (self.devices_max, self.series_max) = (devices_max, series_max);
    }

    /// Notes a message.
    pub(super) fn heard(&mut self, device_id: &str, at: Timestamp) {
        if let Some(device) = self.device(device_id) {
            device.messages += 1;
            device.last_message = Some(at);
        }
    }

    /// Notes what a device says of itself.
    pub(super) fn reported(&mut self, device_id: &str, stats: &Value) {
        let Some(device) = self.device(device_id) else { return };
        for (member, metric, help, scale) in OWN_FIGURES {
            if let Some(value) = stats.get(member).and_then(Value::as_f64).filter(|value| value.is_finite()) {
                device.own.insert(metric, (value * scale, help));
            }
        }
    }

    /// Tells whether a device may have this series: it has it, or has room for it.
    pub(super) fn admits(&mut self, device_id: &str, labels: &Labels) -> bool {
        let series_max = self.series_max;
        let Some(device) = self.device(device_id) else { return false };
        let hash = labels.stable_hash();
        let is_admitted = device.series.contains(&hash) || device.series.len() < series_max;
        if is_admitted {
            device.series.insert(hash);
        } else {
            device.refused += 1;
        }
        is_admitted
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

    /// Returns the devices for pages.
    pub(in crate::collect) fn snapshot(&self) -> Vec<DeviceSnapshot> {
        let devices = self.by_id.iter().filter(|(id, _)| !id.is_empty());
        devices
            .map(|(id, device)| DeviceSnapshot {
                device_id: id.clone(),
                messages: device.messages,
                series: device.series.len(),
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
            #[expect(clippy::cast_precision_loss, reason = "metrics are 64-bit floats; exact up to 2^53")]
            let messages = device.messages as f64;
            let help = "Messages of the device that reached this box.";
            out.counter("device_messages_published_total", help, &labels, messages);
            if let Some(at) = device.last_message {
                let help = "When the last message of the device came, in seconds since the epoch.";
                out.gauge("device_last_message_timestamp", help, &labels, at.as_seconds());
            }
            for (metric, (value, help)) in &device.own {
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
