//! Remote write 2.0: the same series with their texts in a table, brought into the form of 1.0.
//!
//! A series names its labels by numbers of a table that each request brings anew, so its bytes say nothing about
//! it. Written out as 1.0 has them they do, and one reader, one cache of known series and one set of rules serve
//! both. The message, of which we read what is marked:
//!
//! ```text
//! Request    { repeated string symbols = 4; repeated TimeSeries timeseries = 5; }
//! TimeSeries { repeated uint32 labels_refs = 1; repeated Sample samples = 2; histograms = 3; exemplars = 4;
//!              Metadata metadata = 5; }
//! Sample     { double value = 1; int64 timestamp = 2; int64 start_timestamp = 3; }
//! Metadata   { enum type = 1; uint32 help_ref = 3; uint32 unit_ref = 4; }
//! ```
//!
//! Exemplars and the time at which a counter began are passed over; a native histogram stays one, without its
//! content, so that it is counted as refused. A request with a number that is not in its table is refused whole.
//! Cost: one pass for the table, one for the series; a text is copied as often as it is named, up to
//! [`UNPACKED_BYTES_MAX`] in all.
//! Source: Prometheus remote-write specification 2.0, `io/prometheus/write/v2/types.proto`.

use std::collections::HashSet;

use super::protobuf::{Fields, Value, put_bytes, put_label, put_number};
use super::remote_write::{SERIES_MAX, UNPACKED_BYTES_MAX, put_sample, read_sample};
use super::{Error, Result};
use crate::model::LABEL_NAME;

/// Most texts in the table of one request.
pub const SYMBOLS_MAX: usize = 1_000_000;

/// Most metric names whose metadata is taken over; 1.0 requests are bounded by who reads them.
const DESCRIPTIONS_MAX: usize = 10_000;

/// Writes an unpacked 2.0 request as one of 1.0 into `out`, whose old content is lost.
///
/// # Errors
/// [`Error::Protobuf`] with the place; [`Error::TooMany`]; [`Error::TooLarge`] if the 1.0 form would be.
pub fn rewrite(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    out.clear();
    let mut series_count = 0;
    let mut rewriter = Rewriter { table: read_table(bytes)?, series: Vec::new(), described: HashSet::new() };
    let mut fields = Fields::new(bytes, 0);
    while let Some(field) = fields.next()? {
        match (field.number, field.value) {
            (5, Value::Bytes(series, at)) => {
                series_count += 1;
                if series_count > SERIES_MAX {
                    return Err(Error::TooMany { what: "series", limit: SERIES_MAX });
                }
                rewriter.series(series, at, out)?;
            }
            // A 1.0 message here would otherwise pass as one that is empty.
            (1..=3, _) => return fields.fail("a field of version 1.0 in a request of 2.0"),
            _ => {}
        }
    }
    Ok(())
}

/// Returns the table of texts.
fn read_table(bytes: &[u8]) -> Result<Vec<&[u8]>> {
    let mut table = Vec::new();
    let mut fields = Fields::new(bytes, 0);
    while let Some(field) = fields.next()? {
        if let (4, Value::Bytes(text, _)) = (field.number, field.value) {
            if table.len() == SYMBOLS_MAX {
                return Err(Error::TooMany { what: "symbols", limit: SYMBOLS_MAX });
            }
            table.push(text);
        }
    }
    if table.first().is_some_and(|first| !first.is_empty()) {
        return Err(Error::Protobuf { what: "the first symbol is not empty", offset: 0 });
    }
    Ok(table)
}

/// What is said about a metric: its name, kind, and the numbers of help and unit.
type Said<'a> = (&'a [u8], u64, u64, u64);

#[derive(Debug)]
struct Rewriter<'a> {
    table: Vec<&'a [u8]>,
    /// The series at hand in the form of 1.0; used again.
    series: Vec<u8>,
    /// What was written about metrics: each series says it again.
    described: HashSet<Said<'a>>,
}

impl<'a> Rewriter<'a> {
    /// Appends a series, and what it says about its metric if that is new.
    fn series(&mut self, body: &'a [u8], at: usize, out: &mut Vec<u8>) -> Result<()> {
        self.series.clear();
        // Labels come first in the form of 1.0, wherever they stand here.
        let metric = self.labels(body, at, out.len())?;
        let mut fields = Fields::new(body, at);
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (2, Value::Bytes(sample, at)) => {
                    let (timestamp_ms, value) = read_sample(sample, at)?;
                    put_sample(&mut self.series, timestamp_ms, value);
                }
                (3, Value::Bytes(..)) => put_bytes(&mut self.series, 4, &[]),
                (5, Value::Bytes(metadata, at)) => self.metadata(metric, metadata, at, out)?,
                (2 | 3 | 5, Value::Number(..)) => return fields.fail("a part of a series that is no message"),
                _ => {}
            }
        }
        put_bytes(out, 1, &self.series);
        check_size(out.len())
    }

    /// Writes the labels of a series; returns the metric's name. `written` bytes are there already.
    fn labels(&mut self, body: &'a [u8], at: usize, written: usize) -> Result<&'a [u8]> {
        let mut metric: &[u8] = &[];
        let mut name = None;
        let mut fields = Fields::new(body, at);
        while let Some(field) = fields.next()? {
            let (1, value) = (field.number, field.value) else { continue };
            // Packed, as each encoder writes them, or one by one, as a decoder must take them too.
            let (mut packed, mut single) = match value {
                Value::Bytes(packed, at) => (Fields::new(packed, at), None),
                Value::Number(number, at) => (Fields::new(&[], at), Some(number)),
            };
            while let Some(number) = single.take().map_or_else(|| packed.next_varint(), |n| Ok(Some(n)))? {
                let text = self.text(number, &packed)?;
                match name.take() {
                    None => name = Some(text),
                    Some(name) => {
                        if name == LABEL_NAME.as_bytes() {
                            metric = text;
                        }
                        put_label(&mut self.series, 1, name, text);
                        check_size(written + self.series.len())?;
                    }
                }
            }
        }
        if name.is_some() {
            return fields.fail("a label without a value");
        }
        Ok(metric)
    }

    fn metadata(&mut self, metric: &'a [u8], body: &'a [u8], at: usize, out: &mut Vec<u8>) -> Result<()> {
        let (mut kind, mut help, mut unit) = (0, 0, 0);
        let mut fields = Fields::new(body, at);
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (1, Value::Number(number, _)) => kind = number,
                (3, Value::Number(number, _)) => help = number,
                (4, Value::Number(number, _)) => unit = number,
                _ => {}
            }
        }
        let is_silent = metric.is_empty() || (kind, help, unit) == (0, 0, 0);
        if is_silent || self.described.len() == DESCRIPTIONS_MAX {
            return Ok(());
        }
        if self.described.insert((metric, kind, help, unit)) {
            let mut description = Vec::new();
            put_number(&mut description, 1, kind);
            put_bytes(&mut description, 2, metric);
            put_bytes(&mut description, 4, self.text(help, &fields)?);
            put_bytes(&mut description, 5, self.text(unit, &fields)?);
            put_bytes(out, 3, &description);
        }
        check_size(out.len())
    }

    /// Returns a text of the table; `fields` knows the place.
    fn text(&self, number: u64, fields: &Fields<'_>) -> Result<&'a [u8]> {
        let text = usize::try_from(number).ok().and_then(|number| self.table.get(number));
        text.copied().map_or_else(|| fields.fail("a number that is not in the table of symbols"), Ok)
    }
}

fn check_size(bytes: usize) -> Result<()> {
    let claimed_bytes = bytes as u64;
    if claimed_bytes > UNPACKED_BYTES_MAX {
        return Err(Error::TooLarge { claimed_bytes, limit_bytes: UNPACKED_BYTES_MAX });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Labels, Metadata, MetricKind};
    use crate::wire::remote_write::Encoder;

    fn message(number: u8, parts: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes(&mut out, number, &parts.concat());
        out
    }

    fn symbols(texts: &[&str]) -> Vec<u8> {
        texts.iter().flat_map(|text| message(4, &[text.as_bytes()])).collect()
    }

    fn rewritten(parts: &[&[u8]]) -> Result<Vec<u8>> {
        let mut out = vec![1, 2, 3];
        rewrite(&parts.concat(), &mut out).map(|()| out)
    }

    /// Returns an unpacked 1.0 request.
    fn version_1(fill: impl FnOnce(&mut Encoder)) -> Vec<u8> {
        let mut encoder = Encoder::new();
        fill(&mut encoder);
        let mut unpacked = Vec::new();
        super::super::remote_write::unpack(&encoder.finish().unwrap(), &mut unpacked).unwrap();
        unpacked
    }

    const SAMPLE: [u8; 11] = [0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10, 7];

    #[test]
    fn series_and_metadata_become_those_of_version_1() {
        let table = symbols(&["", "__name__", "up", "job", "node", "Is it up?"]);
        let metadata = message(5, &[&[0x08, 2, 0x18, 5]]);
        let first = message(5, &[&message(1, &[&[1, 2, 3, 4]]), &message(2, &[&SAMPLE]), &metadata]);
        // Labels one by one and after the sample, which has a start time; metadata again.
        let second =
            message(5, &[&message(2, &[&SAMPLE, &[0x18, 9]]), &message(4, &[b"exemplar"]), &metadata, &[8, 1, 8, 2]]);
        // The table may come last.
        let found = rewritten(&[&first, &second, &table]).unwrap();
        let help = Metadata { kind: MetricKind::Gauge, help: "Is it up?".to_owned(), unit: String::new() };
        let expected = version_1(|encoder| {
            encoder.push_metadata("up", &help);
            encoder.push(&Labels::from_pairs([("__name__", "up"), ("job", "node")]), [(7, 1.0)]);
            encoder.push(&Labels::from_pairs([("__name__", "up")]), [(7, 1.0)]);
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn a_native_histogram_is_still_seen() {
        let table = symbols(&["", "__name__", "h"]);
        let series = message(5, &[&message(1, &[&[1, 2]]), &message(3, &[&[0x08, 1]])]);
        let found = rewritten(&[&table, &series]).unwrap();
        let mut expected = version_1(|encoder| encoder.push(&Labels::from_pairs([("__name__", "h")]), []));
        expected[1] += 2;
        expected.extend([0x22, 0]);
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_sound_is_refused_with_its_place() {
        let table = symbols(&["", "__name__", "h"]);
        let check = |parts: &[&[u8]], what: &str| {
            let error = rewritten(parts).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        check(&[&table, &message(5, &[&message(1, &[&[1, 3]])])], "not in the table of symbols at byte");
        check(&[&table, &message(5, &[&message(1, &[&[1, 2, 1]])])], "a label without a value");
        check(&[&table, &message(5, &[&message(1, &[&[1, 0x80]])])], "cut off");
        check(&[&table, &message(5, &[&[0x10, 1]])], "no message");
        check(&[&table, &message(5, &[&message(1, &[&[1, 2]]), &message(5, &[&[0x18, 9]])])], "not in the table");
        check(&[&symbols(&["a"])], "the first symbol is not empty");
        check(&[&version_1(|encoder| encoder.push(&Labels::empty(), []))], "version 1.0");
    }

    #[test]
    fn a_long_text_that_is_named_often_does_not_fill_the_memory() {
        let long = "x".repeat(1 << 20);
        let table = symbols(&["", "__name__", &long]);
        let series = message(5, &[&message(1, &[&[1, 2].repeat(60)])]);
        let mut out = Vec::new();
        let error = rewrite(&[table, series].concat(), &mut out).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
        assert!(out.capacity() < 40 << 20);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut out = Vec::new();
            let _ = rewrite(&bytes, &mut out);
        }
    }
}
