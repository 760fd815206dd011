//! Leaf nodes, routes and gateways of a server, and when its certificates end.
//!
//! Names as the official exporter has them. Connections are summed per leaf, server and gateway: a connection's own
//! number changes with each reconnect.

use std::collections::BTreeMap;

use serde_json::Value;

use super::answer::{Gateway, Gatewayz, Leafz, Route, Routez};
use crate::collect::families::Families;
use crate::model::Timestamp;

/// Leaves and gateways of one server that get series of their own; the others are left out.
const NEIGHBOURS_MAX: usize = 100;

/// Where `/varz` tells when a certificate ends (nats-server 2.12 and later), by listener.
const CERTIFICATES: [(&str, &str); 6] = [
    ("client", "/tls_cert_not_after"),
    ("cluster", "/cluster/tls_cert_not_after"),
    ("gateway", "/gateway/tls_cert_not_after"),
    ("leaf", "/leaf/tls_cert_not_after"),
    ("mqtt", "/mqtt/tls_cert_not_after"),
    ("websocket", "/websocket/tls_cert_not_after"),
];

pub(super) fn leafz(url: &str, leafz: &Leafz, out: &mut Families) {
    out.gauge("gnatsd_leafz_conn_nodes_total", "nodes_total", &[("server_id", url)], leafz.leafnodes);
    let mut by_leaf = BTreeMap::<_, (Option<f64>, [f64; 5])>::new();
    for leaf in &leafz.leafs {
        let figures = [leaf.in_msgs, leaf.out_msgs, leaf.in_bytes, leaf.out_bytes, leaf.subscriptions];
        let (rtt, sums) = by_leaf.entry((leaf.name.as_str(), leaf.account.as_str(), leaf.ip.as_str())).or_default();
        *rtt = (*rtt).into_iter().chain(seconds(&leaf.rtt)).reduce(f64::max);
        sums.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure);
    }
    for ((name, account, ip), (rtt, sums)) in by_leaf.into_iter().take(NEIGHBOURS_MAX) {
        let labels = [("server_id", url), ("name", name), ("account", account), ("ip", ip)];
        if let Some(rtt) = rtt {
            out.gauge("gnatsd_leafz_conn_rtt", "Round trip in seconds.", &labels, rtt);
        }
        for (name, value) in ["in_msgs", "out_msgs", "in_bytes", "out_bytes", "subscriptions_total"].iter().zip(sums) {
            out.gauge(&format!("gnatsd_leafz_conn_{name}"), name, &labels, value);
        }
    }
}

pub(super) fn routez(url: &str, routez: &Routez, out: &mut Families) {
    let labels = [("server_id", url)];
    out.gauge("gnatsd_routez_num_routes", "num_routes", &labels, routez.num_routes);
    connections("gnatsd_routez", &labels, routez.routes.iter(), out);
}

pub(super) fn gatewayz(url: &str, gatewayz: &Gatewayz, out: &mut Families) {
    let outbound = gatewayz.outbound_gateways.iter().map(|(name, gateway)| (name, std::slice::from_ref(gateway)));
    let inbound = gatewayz.inbound_gateways.iter().map(|(name, gateways)| (name, gateways.as_slice()));
    for (name, gateways) in outbound.take(NEIGHBOURS_MAX) {
        gateway("gnatsd_gatewayz_outbound_gateway", url, name, gateways, out);
    }
    for (name, gateways) in inbound.take(NEIGHBOURS_MAX) {
        gateway("gnatsd_gatewayz_inbound_gateway", url, name, gateways, out);
    }
}

fn gateway(prefix: &str, url: &str, name: &str, gateways: &[Gateway], out: &mut Families) {
    let labels = [("server_id", url), ("remote_gateway_name", name)];
    let is_configured = gateways.iter().any(|gateway| gateway.configured);
    out.gauge(&format!("{prefix}_configured"), "configured", &labels, f64::from(u8::from(is_configured)));
    connections(&format!("{prefix}_conn"), &labels, gateways.iter().map(|gateway| &gateway.connection), out);
}

/// Adds the sums over some connections; they fall when one leaves, so they are no counters.
fn connections<'a>(
    prefix: &str,
    labels: &[(&str, &str)],
    connections: impl Iterator<Item = &'a Route> + Clone,
    out: &mut Families,
) {
    let sum = |of: fn(&Route) -> f64| connections.clone().map(of).sum::<f64>();
    for (name, value) in [
        ("pending_bytes", sum(|c| c.pending_size + c.pending_bytes)),
        ("in_msgs", sum(|c| c.in_msgs)),
        ("out_msgs", sum(|c| c.out_msgs)),
        ("in_bytes", sum(|c| c.in_bytes)),
        ("out_bytes", sum(|c| c.out_bytes)),
        ("subscriptions", sum(|c| c.subscriptions)),
    ] {
        out.gauge(&format!("{prefix}_{name}"), name, labels, value);
    }
}

pub(super) fn certificates(url: &str, varz: &Value, out: &mut Families) {
    for (listener, place) in CERTIFICATES {
        let end = varz.pointer(place).and_then(Value::as_str).and_then(|end| Timestamp::parse(end).ok());
        let Some(end) = end.filter(|end| end.as_millis() > 0) else { continue };
        let help = "When a certificate of the server ends, as a Unix time.";
        let labels = [("server_id", url), ("listener", listener)];
        #[expect(clippy::cast_precision_loss, reason = "a time is below 2^53 ms")]
        let seconds = end.as_millis() as f64 / 1000.0;
        out.gauge("nats_tls_certificate_expires_seconds", help, &labels, seconds);
    }
}

/// Reads a span as Go and NATS write it: `1.5ms`, `250µs`, `1m2s`, `3d4h5m6s`.
pub(super) fn seconds(mut text: &str) -> Option<f64> {
    let mut sum = None;
    while !text.is_empty() {
        let unit_at = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, rest) = text.split_at(unit_at);
        let next_at = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(next_at);
        let scale = match unit {
            "y" => 365.0 * 86_400.0,
            "d" => 86_400.0,
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "µs" | "us" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        sum = Some(sum.unwrap_or(0.0) + number.parse::<f64>().ok()? * scale);
        text = rest;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_go_are_read() {
        assert_eq!(seconds("1.5ms"), Some(0.0015));
        assert_eq!(seconds("2s"), Some(2.0));
        assert_eq!((seconds("1m2s"), seconds("1d1h0m0s")), (Some(62.0), Some(90_000.0)));
        assert_eq!((seconds("5"), seconds("1x")), (None, None));
        assert_eq!(seconds(""), None);
    }
}
