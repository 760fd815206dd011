//! One frame as the black box keeps it: its head, in some 40 bytes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::gateway::protocol::{self, FrameType};
use crate::model::Timestamp;

/// Longest subject, mark and code that are kept.
const TEXT_BYTES_MAX: usize = 200;

/// Which way a frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the device.
    In,
    /// To the device.
    Out,
}

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A frame that could be read, of this type of the protocol.
    Frame(u8),
    /// A message that is no frame.
    Other,
    /// A connection that began.
    Begin,
    /// A connection that ended.
    End,
}

/// A frame, or the begin or end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameView {
    /// When.
    pub at: Timestamp,
    /// Which way.
    pub direction: Direction,
    /// What.
    pub seen: Seen,
    /// Bytes of the whole frame.
    pub size: u32,
    /// Its subject; may be empty.
    pub subject: String,
    /// Its message id, or else its correlation id; may be empty.
    pub mark: String,
    /// The code of an error, or why a connection ended; may be empty.
    pub code: String,
    /// The first bytes of its payload, if the settings want them kept; never of a frame that shows a token.
    pub payload: String,
}

impl FrameView {
    /// Returns the name of what was seen.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.seen {
            Seen::Frame(number) => FrameType::ALL.get(usize::from(number)).map_or("other", |kind| kind.as_str()),
            Seen::Other => "other",
            Seen::Begin => "begin",
            Seen::End => "end",
        }
    }

    /// Returns the direction's name.
    #[must_use]
    pub fn direction(&self) -> &'static str {
        match self.direction {
            Direction::In => "in",
            Direction::Out => "out",
        }
    }
}

/// The head of a frame, borrowed from its text.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) at: Timestamp,
    pub(super) direction: Direction,
    pub(super) seen: Seen,
    pub(super) size: u32,
    pub(super) subject: Cow<'a, str>,
    pub(super) mark: Cow<'a, str>,
    pub(super) code: Cow<'a, str>,
    pub(super) payload: &'a str,
}

/// What is read of an error's payload.
#[derive(Deserialize)]
struct Refused<'a> {
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
}

impl<'a> Head<'a> {
    /// Reads the head of a frame's text; `payload_max` is how much of the payload is kept.
    pub(super) fn of(text: &'a str, direction: Direction, at: Timestamp, payload_max: usize) -> Self {
        let size = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let none = Cow::Borrowed("");
        let (seen, subject, mark, payload) = match protocol::parse(text) {
            Ok(frame) => {
                let mark = frame.message_id.or(frame.correlation_id).unwrap_or(none.clone());
                (Seen::Frame(frame.kind as u8), frame.subject, mark, frame.payload.map_or("", RawValue::get))
            }
            Err(malformed) => {
                let mark = malformed.correlation_id.unwrap_or_default();
                (Seen::Other, Cow::Owned(malformed.subject), Cow::Owned(mark), "")
            }
        };
        let may_fail = [FrameType::Error as u8, FrameType::Auth as u8].map(Seen::Frame);
        let code = match direction {
            Direction::Out if may_fail.contains(&seen) => serde_json::from_str::<Refused<'_>>(payload).ok(),
            Direction::Out | Direction::In => None,
        };
        let code = code.and_then(|refused| refused.code).unwrap_or(none);
        // A token is nowhere but with its device.
        let payload = if seen == Seen::Frame(FrameType::Auth as u8) { "" } else { cut(payload, payload_max) };
        Head { at, direction, seen, size, subject, mark, code, payload }
    }

    /// Returns the begin or the end of a connection.
    pub(super) fn event(seen: Seen, at: Timestamp, code: &'a str) -> Self {
        let (direction, subject, mark) = (Direction::In, Cow::Borrowed(""), Cow::Borrowed(""));
        Head { at, direction, seen, size: 0, subject, mark, code: Cow::Borrowed(code), payload: "" }
    }

    /// Writes it behind `bytes`: length of the rest (4), time (8), direction and type (1), size (4), then each text with
    /// its length (2). Little-endian; lives in memory only.
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        let seen = match self.seen {
            Seen::Frame(number) => number & 0x0f,
            Seen::Other => 0x20,
            Seen::Begin => 0x30,
            Seen::End => 0x40,
        };
        let way = if self.direction == Direction::Out { 0x80 } else { 0 };
        let start = bytes.len();
        bytes.extend([0; 4]);
        bytes.extend(self.at.as_millis().to_le_bytes());
        bytes.push(seen | way);
        bytes.extend(self.size.to_le_bytes());
        let (subject, mark) = (cut(&self.subject, TEXT_BYTES_MAX), cut(&self.mark, TEXT_BYTES_MAX));
        for text in [subject, mark, cut(&self.code, TEXT_BYTES_MAX), cut(self.payload, usize::from(u16::MAX))] {
            bytes.extend(u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        let length = u32::try_from(bytes.len() - start - 4).unwrap_or(0).to_le_bytes();
        if let Some(place) = bytes.get_mut(start..start + 4) {
            place.copy_from_slice(&length);
        }
    }
}

impl FrameView {
    /// Reads what [`Head::encode`] wrote, without its length.
    pub(super) fn decode(bytes: &[u8]) -> Option<FrameView> {
        let (at, bytes) = bytes.split_first_chunk::<8>()?;
        let (&[flags], bytes) = bytes.split_first_chunk::<1>()?;
        let (size, mut bytes) = bytes.split_first_chunk::<4>()?;
        let mut text = || {
            let (length, rest) = bytes.split_first_chunk::<2>()?;
            let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
            bytes = rest;
            String::from_utf8(text.to_vec()).ok()
        };
        Some(FrameView {
            at: Timestamp::from_millis(i64::from_le_bytes(*at)),
            direction: if flags & 0x80 == 0 { Direction::In } else { Direction::Out },
            seen: match flags & 0x70 {
                0x20 => Seen::Other,
                0x30 => Seen::Begin,
                0x40 => Seen::End,
                _ => Seen::Frame(flags & 0x0f),
            },
            size: u32::from_le_bytes(*size),
            subject: text()?,
            mark: text()?,
            code: text()?,
            payload: text()?,
        })
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn read(text: &str, direction: Direction, payload_max: usize) -> FrameView {
        let mut bytes = Vec::new();
        Head::of(text, direction, Timestamp::from_millis(7), payload_max).encode(&mut bytes);
        FrameView::decode(&bytes[4..]).unwrap()
    }

    #[test]
    fn the_head_of_a_frame_is_kept_and_its_payload_only_where_it_is_wanted() {
        let text = r#"{"type":0,"subject":"lab.a","payload":{"value":"ä21"},"correlationId":"c","messageId":12}"#;
        let kept = read(text, Direction::In, 0);
        let size = u32::try_from(text.len()).unwrap();
        assert_eq!((kept.kind(), kept.direction(), kept.size), ("publish", "in", size));
        assert_eq!((kept.subject.as_str(), kept.mark.as_str(), kept.payload.as_str()), ("lab.a", "12", ""));
        assert_eq!(read(text, Direction::In, 1000).payload, r#"{"value":"ä21"}"#);
        assert_eq!(read(text, Direction::In, 11).payload, r#"{"value":""#, "never half a character");
    }

    #[test]
    fn a_token_is_never_kept() {
        let text = r#"{"type":8,"payload":{"deviceId":"d","token":"s3cret"}}"#;
        assert_eq!(read(text, Direction::In, 1000).payload, "");
    }

    #[test]
    fn a_refusal_has_its_code_and_what_is_no_frame_is_seen_too() {
        let text = r#"{"type":7,"subject":"x","payload":{"error":"no","code":"NOT_AUTHORIZED"},"timestamp":"t"}"#;
        assert_eq!(read(text, Direction::Out, 0).code, "NOT_AUTHORIZED");
        assert_eq!(read(text, Direction::In, 0).code, "", "what a device says of it is not believed");
        let kept = read("no frame", Direction::In, 0);
        assert_eq!((kept.kind(), kept.size), ("other", 8));
    }

    #[test]
    fn texts_are_cut_and_events_have_a_reason() {
        let long = format!(r#"{{"type":1,"subject":"{}"}}"#, "x".repeat(300));
        assert_eq!(read(&long, Direction::In, 0).subject.len(), TEXT_BYTES_MAX);
        let mut bytes = Vec::new();
        Head::event(Seen::End, Timestamp::from_millis(1), "slow_consumer").encode(&mut bytes);
        let end = FrameView::decode(&bytes[4..]).unwrap();
        assert_eq!((end.kind(), end.code.as_str(), end.seen), ("end", "slow_consumer", Seen::End));
    }
}
