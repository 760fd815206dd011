//! Remote write 1.0: a snappy-packed protobuf message of series with samples.
//!
//! Both directions are written by hand, because this is the busiest way in: the reader walks the unpacked
//! bytes without building a tree, so that a receiver can find a known series by the bytes of its labels and
//! never look into them; the writer appends to one buffer. The message, of which we read what is marked:
//!
//! ```text
//! WriteRequest { repeated TimeSeries timeseries = 1; repeated MetricMetadata metadata = 3; }
//! TimeSeries   { repeated Label labels = 1; repeated Sample samples = 2; exemplars = 3; histograms = 4; }
//! Label        { string name = 1; string value = 2; }
//! Sample       { double value = 1; int64 timestamp = 2; }
//! MetricMetadata { enum type = 1; string metric_family_name = 2; string help = 4; string unit = 5; }
//! ```
//!
//! Cost: one pass over the frames, no allocation per series or sample; labels are looked into only when asked.
//! A request of version 2.0 is brought into this form first (`remote_write_2.rs`).
//! Source: Prometheus remote-write specification 1.0, `prompb/remote.proto`, `prompb/types.proto`.

use super::protobuf::{
    BYTES, FIXED64, Fields, VARINT, Value, put_bytes, put_label, put_number, put_tag, put_varint, sound_fields,
    varint_len, whole_varint,
};
use super::{Error, Result};
use crate::model::{Labels, Metadata, MetricKind};

/// Largest body that is unpacked. Prometheus sends about 100 kB; 32 MiB is a spool being emptied.
pub const UNPACKED_BYTES_MAX: u64 = 32 << 20;

/// Most series in one request.
pub const SERIES_MAX: usize = 100_000;

/// Most samples in one request.
pub const SAMPLES_MAX: usize = 1_000_000;

/// Unpacks a body into `buffer`, whose old content is lost; a buffer that is used again is not cleared first.
///
/// # Errors
/// [`Error::TooLarge`] from the preamble alone, before any memory is taken; [`Error::Snappy`].
pub fn unpack(body: &[u8], buffer: &mut Vec<u8>) -> Result<()> {
    let claimed = snap::raw::decompress_len(body).map_err(|e| Error::Snappy(e.to_string()))?;
    let claimed_bytes = claimed as u64;
    if claimed_bytes > UNPACKED_BYTES_MAX {
        return Err(Error::TooLarge { claimed_bytes, limit_bytes: UNPACKED_BYTES_MAX });
    }
    // Snappy cannot pack better than 64 bytes into 3, so a short body with a long claim is a lie.
    if claimed_bytes > (body.len() as u64).saturating_mul(22).saturating_add(64) {
        return Err(Error::Snappy("claims more than its bytes can hold".to_owned()));
    }
    buffer.resize(claimed, 0);
    let written = snap::raw::Decoder::new().decompress(body, buffer).map_err(|e| Error::Snappy(e.to_string()))?;
    buffer.truncate(written);
    Ok(())
}

/// What a request holds.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// A series with its samples.
    Series(TimeSeries<'a>),
    /// What the sender says about a metric name.
    Description(Description<'a>),
}

/// Reads an unpacked request entry by entry, in the order sent, in one pass.
///
/// An error is about the whole request: whoever meets one keeps nothing of it. Errors: [`Error::Protobuf`]
/// where a field does not fit its frame; [`Error::TooMany`] over [`SERIES_MAX`]. [`SAMPLES_MAX`] is held by who
/// reads the samples.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    fields: Fields<'a>,
    series: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first entry.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { fields: Fields::new(bytes, 0), series: 0 }
    }

    fn next_entry(&mut self) -> Result<Option<Entry<'a>>> {
        while let Some(field) = self.fields.next()? {
            match (field.number, field.value) {
                (1, Value::Bytes(body, at)) => {
                    self.series += 1;
                    if self.series > SERIES_MAX {
                        return Err(Error::TooMany { what: "series", limit: SERIES_MAX });
                    }
                    return TimeSeries::new(body, at).map(|series| Some(Entry::Series(series)));
                }
                (3, Value::Bytes(body, _)) => return Ok(Some(Entry::Description(Description(body)))),
                _ => {}
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Entry<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}

/// What a sender says about one metric name, over its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Description<'a>(&'a [u8]);

impl<'a> Description<'a> {
    /// Reads name, kind, help and unit; `None` if there is no name or a text is not UTF-8.
    #[must_use]
    pub fn read(&self) -> Option<(&'a str, Metadata)> {
        read_metadata(self.0)
    }
}

/// One series of a request, over its bytes. Labels stand before everything else, as each sender writes them.
#[derive(Debug, Clone, Copy)]
pub struct TimeSeries<'a> {
    labels: &'a [u8],
    labels_at: usize,
    /// Samples and what else follows the labels.
    rest: &'a [u8],
    rest_at: usize,
}

/// What follows the labels of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Part {
    /// Milliseconds since the epoch, value.
    Sample(i64, f64),
    /// A native histogram; we do not keep them.
    NativeHistogram,
}

/// Tag of a label in a series.
const LABEL: u8 = 1 << 3 | BYTES;
/// Tag of a sample in a series.
const SAMPLE: u8 = 2 << 3 | BYTES;
/// Tag of a sample's value.
const SAMPLE_VALUE: u8 = 1 << 3 | FIXED64;
/// Tag of a sample's time.
const SAMPLE_TIME: u8 = 2 << 3 | VARINT;

impl<'a> TimeSeries<'a> {
    /// Finds where the labels end; does not look into them.
    fn new(body: &'a [u8], at: usize) -> Result<Self> {
        let mut end = 0;
        loop {
            let rest = body.get(end..).unwrap_or_default();
            match rest {
                // Nearly all labels are short.
                [LABEL, len @ 0..0x80, label @ ..] if label.len() >= usize::from(*len) => end += 2 + usize::from(*len),
                [LABEL, ..] => {
                    let mut label = Fields::new(rest, at + end);
                    label.next()?;
                    end += label.at;
                }
                _ => {
                    let labels = body.get(..end).unwrap_or_default();
                    return Ok(TimeSeries { labels, labels_at: at, rest, rest_at: at + end });
                }
            }
        }
    }

    /// Returns the bytes that name the series: the same for each request of the same sender, so that a
    /// receiver may keep what it found for them.
    #[must_use]
    pub fn label_bytes(&self) -> &'a [u8] {
        self.labels
    }

    /// Checks that the labels are sound messages; of bytes that have passed it once, nobody needs to ask again.
    ///
    /// # Errors
    /// [`Error::Protobuf`], with the place.
    pub fn check_labels(&self) -> Result<()> {
        let mut labels = Fields::new(self.labels, self.labels_at);
        while let Some(label) = labels.next()? {
            let Value::Bytes(label, at) = label.value else { continue };
            let mut parts = Fields::new(label, at);
            while let Some(part) = parts.next()? {
                if let (1 | 2, Value::Number(_, offset)) = (part.number, part.value) {
                    return Err(Error::Protobuf { what: "a label's name or value that is no text", offset });
                }
            }
        }
        Ok(())
    }

    /// Returns names and values of the labels in the order sent; `None` for one that is not UTF-8.
    pub fn labels(&self) -> impl Iterator<Item = Option<(&'a str, &'a str)>> {
        sound_fields(self.labels).filter_map(|field| match field.value {
            Value::Bytes(label, _) => Some(read_label(label)),
            Value::Number(..) => None,
        })
    }

    /// Returns samples and histograms in the order sent. An error is about the whole request.
    #[must_use]
    pub fn parts(&self) -> Parts<'a> {
        Parts { fields: Fields::new(self.rest, self.rest_at) }
    }
}

/// Reads what follows the labels of a series.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    fields: Fields<'a>,
}

impl Parts<'_> {
    fn next_part(&mut self) -> Result<Option<Part>> {
        // What nearly all parts are.
        if let Some((sample, at)) = self.fields.short_message(SAMPLE) {
            let (time, value) = read_plain_sample(sample).map_or_else(|| read_sample(sample, at), Ok)?;
            return Ok(Some(Part::Sample(time, value)));
        }
        while let Some(field) = self.fields.next()? {
            match (field.number, field.value) {
                (1, Value::Bytes(_, offset)) => {
                    return Err(Error::Protobuf { what: "a label that does not stand before the samples", offset });
                }
                (1 | 2, Value::Number(_, offset)) => {
                    return Err(Error::Protobuf { what: "a label or sample that is no message", offset });
                }
                (2, Value::Bytes(sample, at)) => {
                    return read_sample(sample, at).map(|(time, value)| Some(Part::Sample(time, value)));
                }
                (4, _) => return Ok(Some(Part::NativeHistogram)),
                _ => {}
            }
        }
        Ok(None)
    }
}

impl Iterator for Parts<'_> {
    type Item = Result<Part>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_part().transpose()
    }
}

/// Builds a request: series after series into one buffer.
#[derive(Debug, Default)]
pub struct Encoder {
    message: Vec<u8>,
    part: Vec<u8>,
    series: usize,
    samples: usize,
}

impl Encoder {
    /// Returns an empty request.
    #[must_use]
    pub fn new() -> Self {
        Encoder::default()
    }

    /// Adds a series with its samples (milliseconds since the epoch, value; oldest first).
    pub fn push(&mut self, labels: &Labels, samples: impl IntoIterator<Item = (i64, f64)>) {
        self.part.clear();
        for (name, value) in labels.iter() {
            put_label(&mut self.part, 1, name.as_bytes(), value.as_bytes());
        }
        for (timestamp_ms, value) in samples {
            put_sample(&mut self.part, timestamp_ms, value);
            self.samples += 1;
        }
        put_bytes(&mut self.message, 1, &self.part);
        self.series += 1;
    }

    /// Adds what is known about a metric name.
    pub fn push_metadata(&mut self, metric: &str, metadata: &Metadata) {
        self.part.clear();
        put_number(&mut self.part, 1, kind_number(metadata.kind));
        put_bytes(&mut self.part, 2, metric.as_bytes());
        put_bytes(&mut self.part, 4, metadata.help.as_bytes());
        put_bytes(&mut self.part, 5, metadata.unit.as_bytes());
        put_bytes(&mut self.message, 3, &self.part);
    }

    /// Returns how many series were added.
    #[must_use]
    pub fn series(&self) -> usize {
        self.series
    }

    /// Returns how many samples were added.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Returns how long the message is before packing.
    #[must_use]
    pub fn unpacked_bytes(&self) -> usize {
        self.message.len()
    }

    /// Returns the packed body and starts anew, keeping the buffers.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the message is over [`UNPACKED_BYTES_MAX`]; the buffers are empty then too.
    pub fn finish(&mut self) -> Result<Vec<u8>> {
        let claimed_bytes = self.message.len() as u64;
        let packed = if claimed_bytes > UNPACKED_BYTES_MAX {
            Err(Error::TooLarge { claimed_bytes, limit_bytes: UNPACKED_BYTES_MAX })
        } else {
            snap::raw::Encoder::new().compress_vec(&self.message).map_err(|e| Error::Snappy(e.to_string()))
        };
        self.message.clear();
        (self.series, self.samples) = (0, 0);
        packed
    }
}

/// Appends a sample to a series.
pub(super) fn put_sample(out: &mut Vec<u8>, timestamp_ms: i64, value: f64) {
    let timestamp_bits = timestamp_ms.cast_unsigned();
    put_tag(out, 2, BYTES);
    put_varint(out, (9 + 1 + varint_len(timestamp_bits)) as u64);
    put_tag(out, 1, FIXED64);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
    put_number(out, 2, timestamp_bits);
}

fn read_label(bytes: &[u8]) -> Option<(&str, &str)> {
    let (mut name, mut value) = (&[][..], &[][..]);
    for field in sound_fields(bytes) {
        match (field.number, field.value) {
            (1, Value::Bytes(text, _)) => name = text,
            (2, Value::Bytes(text, _)) => value = text,
            _ => {}
        }
    }
    Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
}

/// Reads a sample that is its value, unless that is 0, and then its time; `None` for any other shape.
fn read_plain_sample(bytes: &[u8]) -> Option<(i64, f64)> {
    let (value, rest) = match bytes.split_first_chunk::<9>() {
        Some(([SAMPLE_VALUE, value @ ..], rest)) => (f64::from_le_bytes(*value), rest),
        _ => (0.0, bytes),
    };
    let (&SAMPLE_TIME, time) = rest.split_first()? else { return None };
    Some((whole_varint(time)?.cast_signed(), value))
}

pub(super) fn read_sample(bytes: &[u8], at: usize) -> Result<(i64, f64)> {
    let (mut timestamp_ms, mut value) = (0, 0.0);
    let mut fields = Fields::new(bytes, at);
    while let Some(field) = fields.next()? {
        match (field.number, field.value) {
            (1, Value::Number(bits, _)) => value = f64::from_bits(bits),
            (2, Value::Number(bits, _)) => timestamp_ms = bits.cast_signed(),
            (1 | 2, Value::Bytes(_, offset)) => {
                return Err(Error::Protobuf { what: "a sample's value or time that is no number", offset });
            }
            _ => {}
        }
    }
    Ok((timestamp_ms, value))
}

fn read_metadata(bytes: &[u8]) -> Option<(&str, Metadata)> {
    let mut name = "";
    let mut metadata = Metadata::default();
    for field in sound_fields(bytes) {
        match (field.number, field.value) {
            (1, Value::Number(kind, _)) => metadata.kind = kind_of(kind),
            (2, Value::Bytes(text, _)) => name = std::str::from_utf8(text).ok()?,
            (4, Value::Bytes(text, _)) => std::str::from_utf8(text).ok()?.clone_into(&mut metadata.help),
            (5, Value::Bytes(text, _)) => std::str::from_utf8(text).ok()?.clone_into(&mut metadata.unit),
            _ => {}
        }
    }
    (!name.is_empty()).then_some((name, metadata))
}

/// Numbers of `MetricMetadata.MetricType`; 4, 6 and 7 (gauge histogram, info, state set) have no word here.
fn kind_of(number: u64) -> MetricKind {
    match number {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        5 => MetricKind::Summary,
        _ => MetricKind::Unknown,
    }
}

fn kind_number(kind: MetricKind) -> u64 {
    match kind {
        MetricKind::Unknown => 0,
        MetricKind::Counter => 1,
        MetricKind::Gauge => 2,
        MetricKind::Histogram => 3,
        MetricKind::Summary => 5,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unpacked(body: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        unpack(body, &mut buffer).unwrap();
        buffer
    }

    /// Returns the first series.
    fn series(bytes: &[u8]) -> TimeSeries<'_> {
        match Reader::new(bytes).next() {
            Some(Ok(Entry::Series(series))) => series,
            other => panic!("{other:?}"),
        }
    }

    /// Reads everything.
    fn read(bytes: &[u8]) -> Result<()> {
        for entry in Reader::new(bytes) {
            match entry? {
                Entry::Series(series) => {
                    series.check_labels()?;
                    let _ = series.labels().count();
                    series.parts().try_for_each(|part| part.map(|_| ()))?;
                }
                Entry::Description(description) => {
                    let _ = description.read();
                }
            }
        }
        Ok(())
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "node")]);
        let samples = [(1_700_000_000_000, 1.0), (-5, f64::NEG_INFINITY), (i64::MAX, -0.0)];
        let mut encoder = Encoder::new();
        encoder.push(&labels, samples);
        encoder.push(&Labels::empty(), []);
        let help = Metadata { kind: MetricKind::Gauge, help: "Is it up?".to_owned(), unit: String::new() };
        encoder.push_metadata("up", &help);
        assert_eq!((encoder.series(), encoder.samples()), (2, 3));

        let bytes = unpacked(&encoder.finish().unwrap());
        let entries: Vec<Entry<'_>> = Reader::new(&bytes).collect::<Result<_>>().unwrap();
        let [Entry::Series(series), Entry::Series(empty), Entry::Description(description)] = entries[..] else {
            panic!("{entries:?}")
        };
        series.check_labels().unwrap();
        assert_eq!(series.labels().collect::<Vec<_>>(), [Some(("__name__", "up")), Some(("job", "node"))]);
        let parts = samples.map(|(time, value)| Part::Sample(time, value));
        assert_eq!(series.parts().collect::<Result<Vec<_>>>().unwrap(), parts);
        assert_eq!((empty.label_bytes(), empty.parts().count()), (&[][..], 0));
        assert_eq!(description.read(), Some(("up", help)));
        assert_eq!(encoder.unpacked_bytes(), 0);
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let mut encoder = Encoder::new();
        encoder.push(&Labels::from_pairs([("a", "b")]), [(1, 1.0)]);
        let sample = [0x12, 11, 0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10, 1];
        let mut expected = vec![0x0a, 21, 0x0a, 6, 0x0a, 1, b'a', 0x12, 1, b'b'];
        expected.extend(sample);
        assert_eq!(unpacked(&encoder.finish().unwrap()), expected);
    }

    #[test]
    fn label_bytes_do_not_depend_on_samples() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "node")]);
        let key = |samples: &[(i64, f64)]| {
            let mut encoder = Encoder::new();
            encoder.push(&labels, samples.iter().copied());
            let bytes = unpacked(&encoder.finish().unwrap());
            series(&bytes).label_bytes().to_vec()
        };
        assert_eq!(key(&[(1, 1.0)]), key(&[(2, 5.0), (3, 7.0)]));
    }

    #[test]
    fn every_shape_of_a_sample_is_read() {
        let check = |sample: &[u8], time: i64, value: f64| {
            let mut body =
                vec![0x0a, u8::try_from(sample.len()).unwrap() + 2, 0x12, u8::try_from(sample.len()).unwrap()];
            body.extend(sample);
            let parts = series(&body).parts().collect::<Result<Vec<_>>>();
            assert_eq!(parts, Ok(vec![Part::Sample(time, value)]), "{sample:x?}");
        };
        let one = [0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f];
        check(&[], 0, 0.0);
        check(&one, 0, 1.0);
        check(&[0x10, 0x85, 0x01], 133, 0.0);
        check(&[&one[..], &[0x10, 7]].concat(), 7, 1.0);
        check(&[&[0x10, 7], &one[..]].concat(), 7, 1.0);
        check(&[&one[..], &[0x10, 7, 0x18, 1]].concat(), 7, 1.0);
        check(&[&[0x10][..], &[0xff; 9], &[1]].concat(), -1, 0.0);
    }

    #[test]
    fn a_long_label_is_passed_over() {
        let labels =
            Labels::from_pairs([("__name__", "up"), ("long", &"x".repeat(300)), ("longest", &"y".repeat(40_000))]);
        let mut encoder = Encoder::new();
        encoder.push(&labels, [(1, 1.0)]);
        let bytes = unpacked(&encoder.finish().unwrap());
        let series = series(&bytes);
        assert_eq!(series.labels().flatten().collect::<Labels>(), labels);
        assert_eq!(series.parts().count(), 1);
    }

    #[test]
    fn a_large_claim_is_refused_from_the_preamble() {
        let claim_2_gib = [0xff, 0xff, 0xff, 0xff, 0x07, 0, 0, 0];
        let error = unpack(&claim_2_gib, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, Error::TooLarge { claimed_bytes: 0x7fff_ffff, .. }), "{error}");
        let claim_30_mib = [0x80, 0x80, 0x80, 0x0f, 0, 0];
        let mut buffer = Vec::new();
        assert!(matches!(unpack(&claim_30_mib, &mut buffer), Err(Error::Snappy(_))));
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn long_runs_are_unpacked() {
        let zeros = vec![0u8; 1 << 20];
        let packed = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
        assert_eq!(unpacked(&packed), zeros);
    }

    #[test]
    fn damage_is_named_with_its_place() {
        let check = |bytes: &[u8], what: &str| {
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        check(&[0x0a, 5, 0], "longer than its frame at byte 2");
        check(&[0x0a], "cut off");
        check(&[0x0a, 2, 0x0a, 9], "longer than its frame at byte 4");
        check(&[0x0a, 2, 0x08, 0x80], "cut off");
        check(&[0x0a, 2, 0x08, 1], "no message");
        check(&[0x0a, 4, 0x0a, 2, 0x08, 1], "no text at byte 5");
        check(&[0x0a, 6, 0x12, 2, 0x10, 1, 0x0a, 0], "before the samples at byte 8");
        check(&[0x0b], "unknown wire type");
        check(&[0x02, 0], "field number 0");
        check(&[0x80; 11], "over 64 bits");
        check(&[0x0a, 4, 0x12, 2, 0x0a, 0], "no number");
    }

    #[test]
    fn counts_have_limits() {
        let body = |series: usize| [0x0a, 0].repeat(series);
        assert_eq!(read(&body(SERIES_MAX)), Ok(()));
        assert!(matches!(read(&body(SERIES_MAX + 1)), Err(Error::TooMany { what: "series", .. })));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = unpack(&bytes, &mut Vec::new());
            let _ = read(&bytes);
        }
    }
}
