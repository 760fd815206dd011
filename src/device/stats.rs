//! What a client counts, and the form in which it tells the box.
//!
//! The body published on `devices.{id}.stats` is one JSON object:
//!
//! | member | meaning | series |
//! |---|---|---|
//! | `reconnectAttempts` | attempts to connect after the first | `device_reconnect_attempts_total` |
//! | `messagesReceived` | messages taken from the gateway | `device_messages_received_total` |
//! | `bufferSize` | publishes waiting now | `device_buffer_size` |
//! | `latencySeconds` | how long the last ping took; missing before the first | `device_latency_seconds` |
//! | `messagesPublished` | publishes written to the gateway | |
//! | `published`, `received` | objects: subject to messages | |
//! | `bufferOverflows` | publishes lost because too many waited | |
//! | `connections`, `disconnections`, `errors` | counts | |
//! | `bytesPublished`, `bytesReceived` | bytes of frames | |
//!
//! The box itself counts what a device publishes (`device_messages_published_total`), so the members without a
//! series are for people and other programs on the bus.
//!
//! All counts begin with the client. At most 64 subjects are told apart; the others count as `other`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

/// Subjects that are counted apart.
const SUBJECTS_MAX: usize = 64;

/// Counts of one client since it began.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Times that the gateway let the device in.
    pub connections: u64,
    /// Times that a connection ended.
    pub disconnections: u64,
    /// Attempts to connect after the first.
    pub reconnect_attempts: u64,
    /// Frames with an error that the gateway sent.
    pub errors: u64,
    /// Messages written to the gateway, by subject.
    pub published: BTreeMap<String, u64>,
    /// Messages taken from it, by subject.
    pub received: BTreeMap<String, u64>,
    /// Bytes of frames written.
    pub bytes_published: u64,
    /// Bytes of frames taken.
    pub bytes_received: u64,
    /// Publishes waiting now.
    pub buffer_size: usize,
    /// Publishes lost because too many waited.
    pub buffer_overflows: u64,
    /// Messages lost because their reader was slow.
    pub incoming_overflows: u64,
    /// How long the last ping took to be answered.
    pub latency: Option<Duration>,
}

impl Stats {
    /// Returns the body to be published.
    pub(super) fn to_json(&self) -> Value {
        let mut body = json!({
            "connections": self.connections,
            "disconnections": self.disconnections,
            "reconnectAttempts": self.reconnect_attempts,
            "errors": self.errors,
            "messagesPublished": self.published.values().sum::<u64>(),
            "messagesReceived": self.received.values().sum::<u64>(),
            "published": self.published,
            "received": self.received,
            "bytesPublished": self.bytes_published,
            "bytesReceived": self.bytes_received,
            "bufferSize": self.buffer_size,
            "bufferOverflows": self.buffer_overflows,
        });
        if let (Some(latency), Some(members)) = (self.latency, body.as_object_mut()) {
            members.insert("latencySeconds".to_owned(), latency.as_secs_f64().into());
        }
        body
    }
}

/// Counts one message of a subject.
pub(super) fn count(by_subject: &mut BTreeMap<String, u64>, subject: &str) {
    if let Some(n) = by_subject.get_mut(subject) {
        *n += 1;
    } else {
        let name = if by_subject.len() < SUBJECTS_MAX { subject } else { "other" };
        *by_subject.entry(name.to_owned()).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_subjects_are_told_apart() {
        let mut counts = BTreeMap::new();
        for n in 0..100 {
            count(&mut counts, &format!("s.{n}"));
            count(&mut counts, "s.0");
        }
        assert_eq!((counts.len(), counts["s.0"], counts["other"]), (65, 101, 36));
    }

    #[test]
    fn the_body_has_no_latency_before_the_first_ping() {
        assert_eq!(Stats::default().to_json().get("latencySeconds"), None);
        let stats = Stats { latency: Some(Duration::from_millis(250)), ..Stats::default() };
        assert_eq!(stats.to_json()["latencySeconds"], 0.25);
    }
}
