//! Remote read: what others ask of our samples, and both forms of the answer.
//!
//! ```text
//! ReadRequest  { repeated Query queries = 1; repeated enum accepted_response_types = 2; }
//! Query        { int64 start_timestamp_ms = 1; int64 end_timestamp_ms = 2; repeated LabelMatcher matchers = 3; }
//! LabelMatcher { enum type = 1; string name = 2; string value = 3; }
//!
//! ReadResponse { repeated QueryResult results = 1; }
//! QueryResult  { repeated TimeSeries timeseries = 1; }
//!
//! ChunkedReadResponse { repeated ChunkedSeries chunked_series = 1; int64 query_index = 2; }
//! ChunkedSeries { repeated Label labels = 1; repeated Chunk chunks = 2; }
//! Chunk         { int64 min_time_ms = 1; int64 max_time_ms = 2; enum type = 3; bytes data = 4; }
//! ```
//!
//! Requests and the whole answer ([`Samples`]) are packed with snappy. The streamed answer is frame after frame
//! ([`frames`]): length as a varint, CRC-32C with the highest byte first, a `ChunkedReadResponse`.
//! Source: Prometheus 3, `prompb/remote.proto`, `storage/remote/chunked.go`.

use super::protobuf::{BYTES, Fields, Value, put_bytes, put_label, put_number, put_tag, put_varint};
use super::remote_write::put_sample;
use super::{Error, Result, xor_chunk};
use crate::model::{Labels, MatchOp, Matcher};

/// Most queries of one request.
pub const QUERIES_MAX: usize = 100;

/// Most matchers of one query.
pub const MATCHERS_MAX: usize = 100;

/// Largest whole answer before packing; about 1.6 million samples. Who wants more takes the streamed one.
pub const ANSWER_BYTES_MAX: usize = 32 << 20;

/// A frame ends behind the chunk with which it reaches this size, as upstream has it.
const FRAME_BYTES: usize = 1 << 20;

/// Number of packed floats among the kinds of chunks.
const XOR: u64 = 1;

/// One question: all samples of some series in a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// First millisecond.
    pub start_ms: i64,
    /// Last millisecond.
    pub end_ms: i64,
    /// Which series.
    pub matchers: Vec<Matcher>,
}

/// How the asker wants to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One message.
    Samples,
    /// Frames with packed samples.
    Chunks,
}

/// Reads an unpacked request.
///
/// # Errors
/// [`Error::Protobuf`], [`Error::TooMany`], [`Error::Matcher`].
pub fn decode(bytes: &[u8]) -> Result<(Vec<Query>, Form)> {
    let mut queries = Vec::new();
    let mut form = None;
    let mut fields = Fields::new(bytes, 0);
    while let Some(field) = fields.next()? {
        match (field.number, field.value) {
            (1, Value::Bytes(query, at)) => {
                if queries.len() == QUERIES_MAX {
                    return Err(Error::TooMany { what: "queries", limit: QUERIES_MAX });
                }
                queries.push(read_query(query, at)?);
            }
            // The first that we know is what is liked best.
            (2, Value::Number(number, _)) => form = form.or(form_of(number)),
            (2, Value::Bytes(packed, at)) => {
                let mut numbers = Fields::new(packed, at);
                while let Some(number) = numbers.next_varint()? {
                    form = form.or(form_of(number));
                }
            }
            _ => {}
        }
    }
    Ok((queries, form.unwrap_or(Form::Samples)))
}

fn form_of(number: u64) -> Option<Form> {
    match number {
        0 => Some(Form::Samples),
        1 => Some(Form::Chunks),
        _ => None,
    }
}

fn read_query(bytes: &[u8], at: usize) -> Result<Query> {
    let mut query = Query { start_ms: 0, end_ms: 0, matchers: Vec::new() };
    let mut fields = Fields::new(bytes, at);
    while let Some(field) = fields.next()? {
        match (field.number, field.value) {
            (1, Value::Number(bits, _)) => query.start_ms = bits.cast_signed(),
            (2, Value::Number(bits, _)) => query.end_ms = bits.cast_signed(),
            (3, Value::Bytes(matcher, at)) => {
                if query.matchers.len() == MATCHERS_MAX {
                    return Err(Error::TooMany { what: "matchers", limit: MATCHERS_MAX });
                }
                query.matchers.push(read_matcher(matcher, at)?);
            }
            _ => {}
        }
    }
    Ok(query)
}

fn read_matcher(bytes: &[u8], at: usize) -> Result<Matcher> {
    let (mut op, mut name, mut value) = (MatchOp::Equal, "", "");
    let mut fields = Fields::new(bytes, at);
    let text = |bytes, offset| {
        std::str::from_utf8(bytes).map_err(|_| Error::Protobuf { what: "a matcher that is not UTF-8", offset })
    };
    while let Some(field) = fields.next()? {
        match (field.number, field.value) {
            (1, Value::Number(number, _)) => {
                op = match number {
                    0 => MatchOp::Equal,
                    1 => MatchOp::NotEqual,
                    2 => MatchOp::Regex,
                    3 => MatchOp::NotRegex,
                    _ => return fields.fail("an unknown kind of matcher"),
                };
            }
            (2, Value::Bytes(bytes, at)) => name = text(bytes, at)?,
            (3, Value::Bytes(bytes, at)) => value = text(bytes, at)?,
            _ => {}
        }
    }
    Matcher::new(name, op, value).map_err(|e| Error::Matcher(e.to_string()))
}

/// Builds a whole answer.
#[derive(Debug)]
pub struct Samples {
    /// What was found for each query so far.
    results: Vec<Vec<u8>>,
    bytes: usize,
}

impl Samples {
    /// Returns the answer to so many queries, empty.
    #[must_use]
    pub fn new(queries: usize) -> Self {
        Samples { results: vec![Vec::new(); queries], bytes: 0 }
    }

    /// Adds a series to what was found for a query, which is named by its place.
    ///
    /// # Errors
    /// [`Error::TooLarge`] over [`ANSWER_BYTES_MAX`].
    pub fn push(&mut self, query: usize, labels: &Labels, times: &[i64], values: &[f64]) -> Result<()> {
        let mut series = Vec::new();
        for (name, value) in labels.iter() {
            put_label(&mut series, 1, name.as_bytes(), value.as_bytes());
        }
        for (time, value) in times.iter().zip(values) {
            put_sample(&mut series, *time, *value);
        }
        self.bytes += series.len();
        if self.bytes > ANSWER_BYTES_MAX {
            let (claimed_bytes, limit_bytes) = (self.bytes as u64, ANSWER_BYTES_MAX as u64);
            return Err(Error::TooLarge { claimed_bytes, limit_bytes });
        }
        if let Some(result) = self.results.get_mut(query) {
            put_bytes(result, 1, &series);
        }
        Ok(())
    }

    /// Returns the packed answer.
    ///
    /// # Errors
    /// [`Error::Snappy`].
    pub fn finish(self) -> Result<Vec<u8>> {
        let mut message = Vec::with_capacity(self.bytes + 64);
        for result in self.results {
            put_bytes(&mut message, 1, &result);
        }
        snap::raw::Encoder::new().compress_vec(&message).map_err(|e| Error::Snappy(e.to_string()))
    }
}

/// Returns a series as frames of about a megabyte at most, made one by one; none if there are no samples.
pub fn frames<'a>(
    query: usize,
    labels: &'a Labels,
    times: &'a [i64],
    values: &'a [f64],
) -> impl Iterator<Item = Vec<u8>> + 'a {
    let mut chunks = times.chunks(xor_chunk::SAMPLES_MAX).zip(values.chunks(xor_chunk::SAMPLES_MAX)).peekable();
    std::iter::from_fn(move || {
        chunks.peek()?;
        let mut series = Vec::new();
        for (name, value) in labels.iter() {
            put_label(&mut series, 1, name.as_bytes(), value.as_bytes());
        }
        while series.len() < FRAME_BYTES
            && let Some((times, values)) = chunks.next()
        {
            put_chunk(&mut series, times, values);
        }
        let mut message = Vec::with_capacity(series.len() + 16);
        put_bytes(&mut message, 1, &series);
        put_number(&mut message, 2, query as u64);
        let mut frame = Vec::with_capacity(message.len() + 16);
        put_varint(&mut frame, message.len() as u64);
        frame.extend_from_slice(&crc32c::crc32c(&message).to_be_bytes());
        frame.extend_from_slice(&message);
        Some(frame)
    })
}

fn put_chunk(series: &mut Vec<u8>, times: &[i64], values: &[f64]) {
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return };
    let mut chunk = Vec::new();
    put_number(&mut chunk, 1, first.cast_unsigned());
    put_number(&mut chunk, 2, last.cast_unsigned());
    put_number(&mut chunk, 3, XOR);
    put_bytes(&mut chunk, 4, &xor_chunk::encode(times, values));
    put_tag(series, 2, BYTES);
    put_varint(series, chunk.len() as u64);
    series.extend_from_slice(&chunk);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(number: u8, parts: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes(&mut out, number, &parts.concat());
        out
    }

    #[test]
    fn a_request_is_read() {
        let matcher = message(3, &[&[0x08, 2], &message(2, &[b"job"]), &message(3, &[b"a.*"])]);
        let query = message(1, &[&[0x08, 0x85, 0x01, 0x10], &[0xff; 9], &[1], &matcher, &message(4, &[b""])]);
        let (queries, form) = decode(&[&query[..], &message(2, &[&[7, 1, 0]])].concat()).unwrap();
        let matchers = vec![Matcher::new("job", MatchOp::Regex, "a.*").unwrap()];
        assert_eq!((queries, form), (vec![Query { start_ms: 133, end_ms: -1, matchers }], Form::Chunks));
        assert_eq!(decode(&[]), Ok((Vec::new(), Form::Samples)));
        assert_eq!(decode(&[0x10, 1, 0x10, 0]), Ok((Vec::new(), Form::Chunks)));
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        let check = |matcher: &[&[u8]], what: &str| {
            let error = decode(&message(1, &[&message(3, matcher)])).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        check(&[&[0x08, 9]], "unknown kind of matcher");
        check(&[&message(2, &[b"\xff"])], "not UTF-8 at byte");
        check(&[&[0x08, 2], &message(3, &[b"("])], "bad matcher");
        assert!(decode(&message(1, &[]).repeat(QUERIES_MAX)).is_ok());
        assert!(matches!(decode(&message(1, &[]).repeat(QUERIES_MAX + 1)), Err(Error::TooMany { .. })));
        let many = |count| message(1, &[&message(3, &[]).repeat(count)]);
        assert!(decode(&many(MATCHERS_MAX)).is_ok());
        assert!(matches!(decode(&many(MATCHERS_MAX + 1)), Err(Error::TooMany { .. })));
    }

    #[test]
    fn a_whole_answer_is_bounded() {
        let labels = Labels::from_pairs([("__name__", "m")]);
        let (times, values) = (vec![1_790_000_000_000; 100_000], vec![1.5; 100_000]);
        let mut samples = Samples::new(1);
        let pushed = (0..100).take_while(|_| samples.push(0, &labels, &times, &values).is_ok()).count();
        assert_eq!(pushed, ANSWER_BYTES_MAX / (100_000 * 18));
    }

    #[test]
    fn a_long_series_is_cut_into_frames() {
        let labels = Labels::from_pairs([("__name__", "m")]);
        let times: Vec<i64> = (0..200_000).map(|i| i * 977 * (i % 7)).collect();
        let mut state = 1u64;
        let values: Vec<f64> = (0..200_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                f64::from_bits(state >> 2)
            })
            .collect();
        let frames: Vec<Vec<u8>> = frames(3, &labels, &times, &values).collect();
        assert!(frames.len() > 1 && frames.iter().all(|f| f.len() < FRAME_BYTES + 4096), "{}", frames.len());
        for frame in &frames {
            let mut fields = Fields::new(frame, 0);
            let length = usize::try_from(fields.next_varint().unwrap().unwrap()).unwrap();
            let message = &frame[fields.at + 4..];
            assert_eq!(length, message.len());
            assert_eq!(frame[fields.at..fields.at + 4], crc32c::crc32c(message).to_be_bytes());
            assert!(message.ends_with(&[0x10, 3]));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
