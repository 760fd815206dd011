//! The gateway's metrics, under the names that dashboards and rules of nats-websocket-bridge use.

use crate::instrument::{Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily, Registry};

use super::protocol::FrameType;

const DURATION_BOUNDS: [f64; 13] =
    [1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0];
const SIZE_BOUNDS: [f64; 8] = [64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0];

/// Names and labels of section 2.1 of the reference; label values are bounded: the eleven frame types,
/// registered devices and their types, and the closed sets below.
#[derive(Debug)]
pub(super) struct Instruments {
    pub(super) connections: CounterFamily,
    pub(super) active: GaugeFamily,
    pub(super) disconnections: CounterFamily,
    pub(super) connection_duration: HistogramFamily,
    /// `status`: success, success_header, failure, timeout, error.
    pub(super) auth_attempts: CounterFamily,
    pub(super) auth_duration: Histogram,
    pub(super) publish_allowed: Counter,
    pub(super) publish_denied: Counter,
    pub(super) subscribe_allowed: Counter,
    pub(super) subscribe_denied: Counter,
    received: [Counter; 11],
    sent: [Counter; 11],
    processing: [Histogram; 11],
    pub(super) size_received: Histogram,
    pub(super) size_sent: Histogram,
    pub(super) rate_limit_rejections: CounterFamily,
    pub(super) rate_limit_tokens: GaugeFamily,
    pub(super) nats_publish: CounterFamily,
    pub(super) nats_publish_errors: CounterFamily,
    pub(super) repeats: Counter,
    pub(super) nats_subscribe: Counter,
    pub(super) publish_latency: Histogram,
    pub(super) subscribe_latency: Histogram,
    /// Own: frames over a rate, by which: `frames`, `bytes` (of the device), `all` (of all devices).
    pub(super) rate_limited: CounterFamily,
    /// Own: frames refused, by code.
    pub(super) refused: CounterFamily,
    /// Own: messages that did not reach the collectors.
    pub(super) not_recorded: Counter,
    /// Own: sockets turned away before they could authenticate, by reason.
    pub(super) turned_away: CounterFamily,
    /// Own: bytes of the black box.
    pub(super) black_box: Gauge,
    /// Own: registered devices.
    pub(super) registered: Gauge,
    /// Own: 1 while a file with keys of JSON web tokens cannot be used and older keys stay; no sample without such files.
    pub(super) stale_keys: GaugeFamily,
}

/// Returns bounds that double.
fn doubling(first: f64, count: i32) -> Vec<f64> {
    (0..count).map(|n| first * 2_f64.powi(n)).collect()
}

/// Registers the sizes of frames, the time they take here and the time the bus takes.
fn histograms(r: &Registry) -> [HistogramFamily; 3] {
    let sizes =
        r.histograms("gateway_message_size_bytes", "Size of frames, by direction.", &["direction"], &SIZE_BOUNDS);
    let processing = r.histograms(
        "gateway_message_processing_duration_seconds",
        "Time to work off a device's frame, by type.",
        &["type"],
        &doubling(0.0001, 15),
    );
    let latency = r.histograms(
        "gateway_nats_latency_seconds",
        "Time that the bus took, by operation.",
        &["operation"],
        &doubling(0.00001, 20),
    );
    [sizes, processing, latency]
}

impl Instruments {
    pub(super) fn new(r: &Registry) -> Self {
        let by_type = |family: &CounterFamily| FrameType::ALL.map(|t| family.with(&[t.as_str()]));
        let checks = r.counters(
            "gateway_authorization_checks_total",
            "Permission checks, by operation and result.",
            &["operation", "result"],
        );
        let received = r.counters("gateway_messages_received_total", "Frames taken from devices, by type.", &["type"]);
        let sent = r.counters("gateway_messages_sent_total", "Frames written to devices, by type.", &["type"]);
        let [sizes, processing, latency] = histograms(r);
        Instruments {
            connections: r.counters("gateway_websocket_connections_total", "Devices let in.", &["device_type"]),
            active: r.gauges("gateway_websocket_connections_active", "Devices connected now.", &["device_type"]),
            disconnections: r.counters(
                "gateway_websocket_disconnections_total",
                "Devices gone, by reason.",
                &["device_type", "reason"],
            ),
            connection_duration: r.histograms(
                "gateway_websocket_connection_duration_seconds",
                "How long devices stayed connected.",
                &["device_type"],
                &DURATION_BOUNDS,
            ),
            auth_attempts: r.counters("gateway_auth_attempts_total", "Attempts to authenticate.", &["status"]),
            auth_duration: r.histogram(
                "gateway_auth_duration_seconds",
                "Time to check a device's claim.",
                &doubling(0.001, 10),
            ),
            publish_allowed: checks.with(&["publish", "allowed"]),
            publish_denied: checks.with(&["publish", "denied"]),
            subscribe_allowed: checks.with(&["subscribe", "allowed"]),
            subscribe_denied: checks.with(&["subscribe", "denied"]),
            received: by_type(&received),
            sent: by_type(&sent),
            processing: FrameType::ALL.map(|t| processing.with(&[t.as_str()])),
            size_received: sizes.with(&["received"]),
            size_sent: sizes.with(&["sent"]),
            rate_limit_rejections: r.counters(
                "gateway_rate_limit_rejections_total",
                "Frames over a device's rate.",
                &["device_id"],
            ),
            rate_limit_tokens: r.gauges(
                "gateway_rate_limit_tokens_remaining",
                "Frames a device may send at once.",
                &["device_id"],
            ),
            nats_publish: r.counters(
                "gateway_nats_publish_total",
                "Publishes taken by the bus, by stream.",
                &["stream"],
            ),
            nats_publish_errors: r.counters(
                "gateway_nats_publish_errors_total",
                "Publishes that NATS did not take, by stream.",
                &["stream"],
            ),
            repeats: r.counter("andon_gateway_repeats_total", "Publishes that a device sent again under the same id."),
            nats_subscribe: r.counter("gateway_nats_subscribe_total", "Subscriptions of devices on the bus."),
            publish_latency: latency.with(&["publish"]),
            subscribe_latency: latency.with(&["subscribe"]),
            rate_limited: r.counters("andon_gateway_rate_limited_total", "Frames over a rate, by which.", &["limit"]),
            refused: r.counters("andon_gateway_refused_total", "Frames of devices refused, by code.", &["code"]),
            not_recorded: r.counter("andon_gateway_not_recorded_total", "Publishes the collectors had no room for."),
            turned_away: r.counters(
                "andon_gateway_turned_away_total",
                "Sockets turned away before they could authenticate, by reason.",
                &["reason"],
            ),
            black_box: r.gauge("andon_gateway_black_box_bytes", "Memory that the last frames of devices take."),
            stale_keys: r.gauges(
                "andon_gateway_jwt_keys_stale",
                "1 while a file with keys of JSON web tokens cannot be used and the keys it had stay.",
                &[],
            ),
            registered: r.gauge("andon_gateway_registered_devices", "Devices in the registry."),
        }
    }

    pub(super) fn received(&self, kind: FrameType) -> Option<&Counter> {
        self.received.get(kind as usize)
    }

    pub(super) fn sent(&self, kind: FrameType) -> Option<&Counter> {
        self.sent.get(kind as usize)
    }

    pub(super) fn processing(&self, kind: FrameType) -> Option<&Histogram> {
        self.processing.get(kind as usize)
    }
}
