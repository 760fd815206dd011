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
//! Cost: two passes over the bytes, no allocation per series or sample.
//! Source: Prometheus remote-write specification 1.0, `prompb/remote.proto`, `prompb/types.proto`.

use super::protobuf::{BYTES, FIXED64, Field, Fields, VARINT, Value, sound_fields};
use super::{Error, Result};
use crate::model::{Labels, Metadata, MetricKind};

/// Largest body that is unpacked. Prometheus sends about 100 kB; 32 MiB is a spool being emptied.
pub const UNPACKED_BYTES_MAX: u64 = 32 << 20;

/// Most series in one request.
pub const SERIES_MAX: usize = 100_000;

/// Most samples in one request.
pub const SAMPLES_MAX: usize = 1_000_000;

/// Unpacks a body into `buffer`, whose old content is lost.
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
    buffer.clear();
    buffer.resize(claimed, 0);
    let written = snap::raw::Decoder::new().decompress(body, buffer).map_err(|e| Error::Snappy(e.to_string()))?;
    buffer.truncate(written);
    Ok(())
}

/// A write request over its unpacked bytes.
#[derive(Debug, Clone, Copy)]
pub struct WriteRequest<'a> {
    bytes: &'a [u8],
}

impl<'a> WriteRequest<'a> {
    /// Checks the message's frame and counts.
    ///
    /// # Errors
    /// [`Error::Protobuf`] where a field does not fit its frame; [`Error::TooMany`] over [`SERIES_MAX`] or
    /// [`SAMPLES_MAX`].
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        let request = WriteRequest { bytes };
        let (mut series, mut samples) = (0, 0);
        let mut fields = Fields::new(bytes, 0);
        while let Some(field) = fields.next()? {
            if let (1, Value::Bytes(body, offset)) = (field.number, field.value) {
                series += 1;
                samples += TimeSeries::check(body, offset)?;
            }
            if series > SERIES_MAX {
                return Err(Error::TooMany { what: "series", limit: SERIES_MAX });
            }
            if samples > SAMPLES_MAX {
                return Err(Error::TooMany { what: "samples", limit: SAMPLES_MAX });
            }
        }
        Ok(request)
    }

    /// Returns the series in the order sent.
    pub fn series(&self) -> impl Iterator<Item = TimeSeries<'a>> {
        sound_fields(self.bytes).filter_map(|field| match (field.number, field.value) {
            (1, Value::Bytes(body, _)) => Some(TimeSeries { body }),
            _ => None,
        })
    }

    /// Returns what the sender says about metric names. Entries that do not read as UTF-8 are left out.
    pub fn metadata(&self) -> impl Iterator<Item = (&'a str, Metadata)> {
        sound_fields(self.bytes).filter_map(|field| match (field.number, field.value) {
            (3, Value::Bytes(body, _)) => read_metadata(body),
            _ => None,
        })
    }
}

/// One series of a request, checked, over its bytes.
#[derive(Debug, Clone, Copy)]
pub struct TimeSeries<'a> {
    body: &'a [u8],
}

impl<'a> TimeSeries<'a> {
    /// Checks all frames and returns how many samples there are.
    fn check(body: &'a [u8], offset: usize) -> Result<usize> {
        let mut samples = 0;
        let mut fields = Fields::new(body, offset);
        while let Some(field) = fields.next()? {
            let expects_message = matches!(field.number, 1 | 2);
            match field.value {
                Value::Bytes(inner, at) if expects_message => {
                    samples += usize::from(field.number == 2);
                    let mut inner = Fields::new(inner, at);
                    while let Some(part) = inner.next()? {
                        check_part(field.number, &part)?;
                    }
                }
                Value::Bytes(_, at) | Value::Number(_, at) if expects_message => {
                    return Err(Error::Protobuf { what: "a label or sample that is no message", offset: at });
                }
                Value::Bytes(..) | Value::Number(..) => {}
            }
        }
        Ok(samples)
    }

    /// Returns the bytes that name the series: the same for each request of the same sender, so that a
    /// receiver may keep what it found for them. `None` if labels do not stand together at the start.
    #[must_use]
    pub fn label_bytes(&self) -> Option<&'a [u8]> {
        let mut fields = Fields::new(self.body, 0);
        let mut end = 0;
        let mut past_labels = false;
        while let Ok(Some(field)) = fields.next() {
            match (field.number == 1, past_labels) {
                (true, false) => end = fields.at,
                (true, true) => return None,
                (false, _) => past_labels = true,
            }
        }
        self.body.get(..end)
    }

    /// Returns names and values of the labels in the order sent; `None` for one that is not UTF-8.
    pub fn labels(&self) -> impl Iterator<Item = Option<(&'a str, &'a str)>> {
        sound_fields(self.body).filter_map(|field| match (field.number, field.value) {
            (1, Value::Bytes(label, _)) => Some(read_label(label)),
            _ => None,
        })
    }

    /// Returns the samples in the order sent: milliseconds since the epoch, value.
    pub fn samples(&self) -> impl Iterator<Item = (i64, f64)> {
        sound_fields(self.body).filter_map(|field| match (field.number, field.value) {
            (2, Value::Bytes(sample, _)) => Some(read_sample(sample)),
            _ => None,
        })
    }

    /// Returns how many native histograms the series carries; we do not keep them.
    #[must_use]
    pub fn native_histograms(&self) -> usize {
        sound_fields(self.body).filter(|field| field.number == 4).count()
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
            put_tag(&mut self.part, 1, BYTES);
            put_varint(&mut self.part, (bytes_field_len(name.len()) + bytes_field_len(value.len())) as u64);
            put_bytes(&mut self.part, 1, name.as_bytes());
            put_bytes(&mut self.part, 2, value.as_bytes());
        }
        for (timestamp_ms, value) in samples {
            let timestamp_bits = timestamp_ms.cast_unsigned();
            put_tag(&mut self.part, 2, BYTES);
            put_varint(&mut self.part, (9 + 1 + varint_len(timestamp_bits)) as u64);
            put_tag(&mut self.part, 1, FIXED64);
            self.part.extend_from_slice(&value.to_bits().to_le_bytes());
            put_tag(&mut self.part, 2, VARINT);
            put_varint(&mut self.part, timestamp_bits);
            self.samples += 1;
        }
        put_bytes(&mut self.message, 1, &self.part);
        self.series += 1;
    }

    /// Adds what is known about a metric name.
    pub fn push_metadata(&mut self, metric: &str, metadata: &Metadata) {
        self.part.clear();
        put_tag(&mut self.part, 1, VARINT);
        put_varint(&mut self.part, kind_number(metadata.kind));
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

/// Checks the kind of a label's or a sample's field.
fn check_part(parent: u64, part: &Field<'_>) -> Result<()> {
    match (parent, part.number, part.value) {
        (1, 1 | 2, Value::Number(_, offset)) => {
            Err(Error::Protobuf { what: "a label's name or value that is no text", offset })
        }
        (2, 1 | 2, Value::Bytes(_, offset)) => {
            Err(Error::Protobuf { what: "a sample's value or time that is no number", offset })
        }
        _ => Ok(()),
    }
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

fn read_sample(bytes: &[u8]) -> (i64, f64) {
    let (mut timestamp_ms, mut value) = (0, 0.0);
    for field in sound_fields(bytes) {
        match (field.number, field.value) {
            (1, Value::Number(bits, _)) => value = f64::from_bits(bits),
            (2, Value::Number(bits, _)) => timestamp_ms = bits.cast_signed(),
            _ => {}
        }
    }
    (timestamp_ms, value)
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

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_tag(out: &mut Vec<u8>, number: u8, wire: u8) {
    out.push(number << 3 | wire);
}

fn put_bytes(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    put_tag(out, number, BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Length of a length-delimited field with a one-byte tag.
fn bytes_field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
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
        let request = WriteRequest::new(&bytes).unwrap();
        let series: Vec<_> = request.series().collect();
        assert_eq!(series.len(), 2);
        assert_eq!(series[0].labels().collect::<Vec<_>>(), [Some(("__name__", "up")), Some(("job", "node"))]);
        assert_eq!(series[0].samples().collect::<Vec<_>>(), samples);
        assert_eq!(request.metadata().collect::<Vec<_>>(), [("up", help)]);
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
            let request = WriteRequest::new(&bytes).unwrap();
            request.series().next().unwrap().label_bytes().unwrap().to_vec()
        };
        assert_eq!(key(&[(1, 1.0)]), key(&[(2, 5.0), (3, 7.0)]));
        let late_label = [0x0a, 12, 0x12, 2, 0x10, 1, 0x0a, 6, 0x0a, 1, b'a', 0x12, 1, b'b'];
        let request = WriteRequest::new(&late_label).unwrap();
        let series = request.series().next().unwrap();
        assert_eq!(series.label_bytes(), None);
        assert_eq!(series.labels().collect::<Vec<_>>(), [Some(("a", "b"))]);
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
            let error = WriteRequest::new(bytes).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        check(&[0x0a, 5, 0], "longer than its frame at byte 2");
        check(&[0x0a], "cut off");
        check(&[0x0a, 2, 0x0a, 9], "longer than its frame at byte 4");
        check(&[0x0a, 2, 0x08, 0x80], "cut off");
        check(&[0x0a, 2, 0x08, 1], "no message");
        check(&[0x0b], "unknown wire type");
        check(&[0x02, 0], "field number 0");
        check(&[0x80; 11], "over 64 bits");
        check(&[0x0a, 4, 0x12, 2, 0x0a, 0], "no number");
    }

    #[test]
    fn counts_have_limits() {
        let body = |series: usize| [0x0a, 0].repeat(series);
        assert!(WriteRequest::new(&body(SERIES_MAX)).is_ok());
        assert!(matches!(WriteRequest::new(&body(SERIES_MAX + 1)), Err(Error::TooMany { what: "series", .. })));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = unpack(&bytes, &mut Vec::new());
            if let Ok(request) = WriteRequest::new(&bytes) {
                for series in request.series() {
                    let _ = (series.labels().count(), series.samples().count(), series.label_bytes());
                }
                let _ = request.metadata().count();
            }
        }
    }
}
