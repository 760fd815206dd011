//! A notice as a message on the bus: to NATS where one is configured, else to who listens on this box.

use std::time::Duration;

use super::{Failure, webhook};
use crate::bus::{self, Bus, Link, Subject};
use crate::notify::message::Message;
use crate::template::Template;

/// One entry of `nats_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct Nats {
    /// Where it is published.
    pub subject: Template,
    /// The body; `None`: the JSON of a webhook.
    pub payload: Option<Template>,
    /// Whether somebody must answer before it counts as taken: a stream of JetStream does, or a program.
    pub is_request: bool,
}

impl Nats {
    pub(super) fn message(&self, message: &Message<'_>) -> Result<bus::Message, String> {
        let text = message.render(&self.subject)?;
        let subject: Subject = text.parse().map_err(|e: bus::Error| e.to_string())?;
        let payload = match &self.payload {
            Some(payload) => message.words(payload, usize::MAX)?,
            None => webhook::body(message, 0),
        };
        Ok(bus::Message::new(subject, payload))
    }

    /// Publishes it. Without an answer it is taken when the connection to NATS has it.
    pub(super) async fn send(&self, message: bus::Message, bus: &Bus, timeout: Duration) -> Result<(), Failure> {
        // Known beforehand, so that who listens on this box does not get it with each attempt.
        if !matches!(bus.state().borrow().link, Link::Embedded | Link::Connected) {
            return Err(Failure::passing("not connected to NATS"));
        }
        let refused = |error: bus::Error| match error {
            bus::Error::TooLarge { .. } | bus::Error::Subject { .. } => Failure::refusal(error.to_string()),
            _ => Failure::passing(error.to_string()),
        };
        if self.is_request {
            let answer = bus.request(message, timeout).await.map_err(refused)?;
            let text: String = String::from_utf8_lossy(&answer.payload).chars().take(200).collect();
            // JetStream says what is wrong in its acknowledgement.
            return if text.contains("\"error\"") { Err(Failure::passing(format!("answered {text}"))) } else { Ok(()) };
        }
        bus.publish(message).await.map_err(refused)
    }
}
