//! Loki's push: a snappy-packed protobuf message of streams with lines (`remote_write::unpack` unpacks it).
//!
//! ```text
//! PushRequest   { repeated StreamAdapter streams = 1; }
//! StreamAdapter { string labels = 1; repeated EntryAdapter entries = 2; }
//! EntryAdapter  { Timestamp timestamp = 1; string line = 2; structured metadata = 3; }
//! Timestamp     { int64 seconds = 1; int32 nanos = 2; }
//! ```
//!
//! Structured metadata is left out. Source: Loki 3, `pkg/push/push.proto`.

use std::borrow::Cow;

use super::protobuf::{Fields, Value};
use super::{Error, Result};

/// Most lines in one push.
pub const LINES_MAX: usize = 100_000;

/// The lines of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PushStream<'a> {
    /// The labels as text: `{job="x", level="warn"}`.
    pub labels: Cow<'a, str>,
    /// Time in nanoseconds since the epoch, and text; bytes that are not UTF-8 are replaced.
    pub lines: Vec<(i64, Cow<'a, str>)>,
}

/// Reads an unpacked push.
///
/// # Errors
/// [`Error::Protobuf`] at the first place that is not sound, [`Error::TooMany`] beyond [`LINES_MAX`].
pub fn decode(bytes: &[u8]) -> Result<Vec<PushStream<'_>>> {
    let mut streams = Vec::new();
    let mut lines = 0;
    let mut fields = Fields::new(bytes, 0);
    while let Some(field) = fields.next()? {
        if let (1, Value::Bytes(body, at)) = (field.number, field.value) {
            let stream = decode_stream(body, at, &mut lines)?;
            streams.push(stream);
        }
    }
    Ok(streams)
}

fn decode_stream<'a>(bytes: &'a [u8], base: usize, lines: &mut usize) -> Result<PushStream<'a>> {
    let mut stream = PushStream::default();
    let mut fields = Fields::new(bytes, base);
    while let Some(field) = fields.next()? {
        match (field.number, field.value) {
            (1, Value::Bytes(labels, _)) => stream.labels = String::from_utf8_lossy(labels),
            (2, Value::Bytes(entry, at)) => {
                *lines += 1;
                if *lines > LINES_MAX {
                    return Err(Error::TooMany { what: "lines", limit: LINES_MAX });
                }
                stream.lines.push(decode_entry(entry, at)?);
            }
            _ => (),
        }
    }
    Ok(stream)
}

fn decode_entry(bytes: &[u8], base: usize) -> Result<(i64, Cow<'_, str>)> {
    let (mut time_ns, mut line) = (0, Cow::Borrowed(""));
    let mut fields = Fields::new(bytes, base);
    while let Some(field) = fields.next()? {
        match (field.number, field.value) {
            (1, Value::Bytes(time, at)) => time_ns = decode_time(time, at)?,
            (2, Value::Bytes(text, _)) => line = String::from_utf8_lossy(text),
            _ => (),
        }
    }
    Ok((time_ns, line))
}

fn decode_time(bytes: &[u8], base: usize) -> Result<i64> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut fields = Fields::new(bytes, base);
    while let Some(field) = fields.next()? {
        match (field.number, field.value) {
            (1, Value::Number(bits, _)) => seconds = bits.cast_signed(),
            (2, Value::Number(bits, _)) => nanos = bits.cast_signed(),
            _ => (),
        }
    }
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two lines of one stream, as Loki's own encoder writes them (worked out by hand from the definition).
    const PUSH: &[u8] = b"\x0a\x29\
        \x0a\x09{job=\"a\"}\
        \x12\x0f\x0a\x08\x08\x80\xe2\xcf\xaa\x06\x10\x05\x12\x03one\
        \x12\x0b\x0a\x06\x08\x81\xe2\xcf\xaa\x06\x12\x01b";

    #[test]
    fn a_push_is_read() {
        let streams = decode(PUSH).unwrap();
        assert_eq!(streams.len(), 1);
        assert_eq!(streams[0].labels, "{job=\"a\"}");
        let lines = [(1_700_000_000_000_000_005, "one".into()), (1_700_000_001_000_000_000, "b".into())];
        assert_eq!(streams[0].lines, lines);
    }

    #[test]
    fn any_cut_inside_is_an_error() {
        for length in 1..PUSH.len() {
            assert!(decode(&PUSH[..length]).is_err(), "cut to {length}");
        }
        assert_eq!(decode(b""), Ok(vec![]));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(0_u8..=255, 0..100)) {
            let _ = decode(&bytes);
        }
    }
}
