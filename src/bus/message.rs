//! What travels on the bus.

use std::sync::Arc;

use bytes::Bytes;

use super::Subject;

/// One message; cheap to clone, the body is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub subject: Subject,
    /// The body, JSON as a rule.
    pub payload: Bytes,
    /// Where an answer is awaited, if one is.
    pub reply: Option<Subject>,
    /// The device that published it, as a gateway authenticated it; never what the device claims.
    pub device_id: Option<Arc<str>>,
    /// The sender's own mark, handed through.
    pub correlation_id: Option<Arc<str>>,
    /// Whether it was published on this box (as opposed to having come over NATS).
    pub is_local: bool,
}

impl Message {
    /// Returns a message of this box without sender, mark or reply subject.
    #[must_use]
    pub fn new(subject: Subject, payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        Message { subject, payload, reply: None, device_id: None, correlation_id: None, is_local: true }
    }

    /// Returns about how many bytes the message holds on to.
    pub(super) fn size_bytes(&self) -> usize {
        self.payload.len() + self.subject.as_str().len() + 64
    }
}
