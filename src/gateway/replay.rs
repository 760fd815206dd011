//! Subscriptions to a stream from a place on: what a device missed comes first.
//!
//! A subscribe frame with `replay` reads the stream that keeps its subject. A message counts as delivered when it is
//! written to the socket; the place is kept while the device is away, and forgotten when it unsubscribes.

use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message as SocketMessage;

use super::answers::send;
use super::blackbox::Direction;
use super::connection::Connection;
use super::protocol::{self, ClientFrame, Code, FrameType, Refusal, ServerFrame};
use super::session::{Effect, Now};
use super::validate;
use crate::bus::{self, Replayed, Start, SubjectPattern};
use crate::model::Timestamp;

/// Messages that may wait between the bus and one connection.
const WAITING_MAX: usize = 16;

/// A subscription that a device asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) pattern: SubjectPattern,
    pub(super) start: Start,
    pub(super) correlation_id: Option<String>,
}

impl Wanted {
    /// Returns what a frame with `replay` asks for.
    pub(super) fn by(frame: &ClientFrame<'_>, pattern: SubjectPattern, start: Start) -> Wanted {
        Wanted { pattern, start, correlation_id: frame.correlation_id.as_deref().map(str::to_owned) }
    }

    /// Returns the answer when that cannot be had.
    pub(super) fn refusal(&self, error: &bus::Error) -> Refusal {
        Refusal::new(Code::InvalidSubject, error.to_string())
    }
}

/// Reads `replay`: `"new"`, `"all"`, `"last"`, `{"sequence":17}` or `{"time":"2026-11-21T12:00:00Z"}`.
pub(super) fn start(raw: &RawValue) -> Result<Start, Refusal> {
    const EXPECTED: &str = r#"replay is "new", "all", "last", {"sequence":1} or {"time":"2026-01-31T12:00:00Z"}"#;
    let refusal = || Refusal::new(Code::InvalidMessage, EXPECTED);
    match serde_json::from_str::<serde_json::Value>(raw.get()).map_err(|_| refusal())? {
        serde_json::Value::String(word) => match word.as_str() {
            "new" => Ok(Start::New),
            "all" => Ok(Start::All),
            "last" => Ok(Start::Last),
            _ => Err(refusal()),
        },
        serde_json::Value::Object(members) if members.len() == 1 => {
            let sequence = members.get("sequence").and_then(serde_json::Value::as_u64).filter(|n| *n > 0);
            let time = members.get("time").and_then(|time| Timestamp::parse(time.as_str()?).ok());
            sequence.map(Start::Sequence).or(time.map(Start::Time)).ok_or_else(refusal)
        }
        _ => Err(refusal()),
    }
}

impl<S> Connection<S> {
    /// Begins to read a stream for the device; the answer to the frame comes back.
    pub(super) fn replay(&mut self, wanted: &Wanted, now: Now) -> Vec<Effect> {
        let device_id = self.session.identity().map(|identity| identity.device_id.clone()).unwrap_or_default();
        // Full: the reader of the stream waits.
        let into = self.replayed.get_or_insert_with(|| mpsc::channel(WAITING_MAX)).0.clone();
        let begun = self.shared.bus.replay(&device_id, &wanted.pattern, wanted.start, into);
        match begun {
            Ok(replay) => {
                self.replays.push((wanted.pattern.clone(), replay));
                self.traffic.note_subscribed(wanted.pattern.to_string());
                self.shared.instruments.nats_subscribe.inc();
                vec![send(&ServerFrame {
                    subject: wanted.pattern.as_str(),
                    correlation_id: wanted.correlation_id.as_deref(),
                    payload: protocol::payload(&json!({ "success": true, "message": "Subscribed" })),
                    ..ServerFrame::new(FrameType::Ack, now.wall)
                })]
            }
            Err(error) => self.session.on_no_replay(wanted, &error, now),
        }
    }

    /// Sends a message of a stream; it is through when it is written.
    pub(super) fn hand_on(&mut self, replayed: Replayed, now: Now) {
        let message = &replayed.message;
        if validate::is_reserved(message.subject.as_str()) {
            return replayed.through.done();
        }
        let frame = ServerFrame {
            subject: message.subject.as_str(),
            payload: protocol::payload_of(&message.payload),
            correlation_id: message.correlation_id.as_deref(),
            device_id: message.device_id.as_deref(),
            sequence: Some(replayed.sequence),
            ..ServerFrame::new(FrameType::Message, now.wall)
        };
        let json = frame.to_json();
        if let Some(recorder) = &self.recorder {
            recorder.frame(&json, Direction::Out, now.wall);
        }
        self.outbox.push_for(FrameType::Message, SocketMessage::text(json), replayed.through);
    }

    /// Ends the reading of a pattern and forgets the place, if it is one that is read.
    pub(super) fn end_replay(&mut self, pattern: &SubjectPattern) {
        if let Some(at) = self.replays.iter().position(|(read, _)| read == pattern) {
            self.replays.swap_remove(at).1.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_to_begin_is_read() {
        let read = |json: &str| start(&RawValue::from_string(json.to_owned()).unwrap()).ok();
        assert_eq!(read(r#""new""#), Some(Start::New));
        assert_eq!(read(r#""all""#), Some(Start::All));
        assert_eq!(read(r#""last""#), Some(Start::Last));
        assert_eq!(read(r#"{"sequence":17}"#), Some(Start::Sequence(17)));
        assert_eq!(read(r#"{"time":"1970-01-01T00:00:05Z"}"#), Some(Start::Time(Timestamp::from_millis(5000))));
        for bad in
            [r#""old""#, "1", "null", "{}", r#"{"sequence":0}"#, r#"{"time":"noon"}"#, r#"{"time":1,"sequence":1}"#]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
