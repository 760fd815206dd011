//! The listener's own metrics; see `docs/operations.md`.

use crate::instrument::{Counter, CounterFamily, GaugeFamily, Registry};

/// What the listener counts.
#[derive(Debug, Clone)]
pub(super) struct Instruments {
    /// Handshakes that failed, by reason.
    pub(super) handshake_failures: CounterFamily,
    /// Connections without a device that ended because their certificate is not accepted any more.
    pub(super) cut_off: Counter,
    /// When the box's certificate ends; no sample without TLS.
    pub(super) expiry: GaugeFamily,
    /// 1 while the files of TLS cannot be used and older certificates stay; no sample without TLS.
    pub(super) stale: GaugeFamily,
}

impl Instruments {
    pub(super) fn new(registry: &Registry) -> Self {
        Instruments {
            handshake_failures: registry.counters(
                "andon_http_tls_handshake_failures_total",
                "TLS handshakes that failed, by reason: plain_http, timeout, crowded, certificate, protocol, closed.",
                &["reason"],
            ),
            cut_off: registry.counter(
                "andon_http_tls_connections_cut_off_total",
                "Connections of pages and APIs that ended because their certificate is not accepted any more.",
            ),
            expiry: registry.gauges(
                "andon_http_tls_certificate_expiry_timestamp_seconds",
                "When the certificate that this box shows ends.",
                &[],
            ),
            stale: registry.gauges(
                "andon_http_tls_certificate_stale",
                "1 while the files of the certificate cannot be used and the one in force stays.",
                &[],
            ),
        }
    }

    /// Has nothing more to say of a certificate.
    pub(super) fn forget(&self) {
        self.expiry.remove(&[]);
        self.stale.remove(&[]);
    }
}
