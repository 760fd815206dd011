//! A window of the store as remote-write requests: read, relabelled, cut, encoded.

use std::collections::BTreeMap;

use super::late::{self, Count, Counts};
use crate::model::{Labels, RelabelRule, Timestamp, relabel};
use crate::storage::tsdb::{self, Db};
use crate::wire::remote_write::Encoder;

/// Samples of one window when it cannot be narrower: bounds memory where a store has very many series with
/// samples in the same millisecond.
const SAMPLES_MAX_IN_ONE_MS: usize = 2_000_000;

/// What a window of the store holds for one destination.
#[derive(Debug)]
pub(super) enum Window {
    /// More samples than were asked for; nothing was kept.
    TooMany,
    /// Everything, cut into requests; empty if there is nothing to send.
    Read {
        /// In the order to be sent.
        requests: Vec<Request>,
        /// Samples that the window held.
        samples: usize,
        /// Samples of series that relabelling dropped.
        dropped: usize,
        /// How many samples of each series the window held, by minute.
        counted: BTreeMap<i64, Counts>,
    },
}

/// What is to be read.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// First moment.
    pub(super) start: Timestamp,
    /// First moment after the last.
    pub(super) end: Timestamp,
    /// Samples of a request, at most.
    pub(super) request_samples_max: usize,
    /// Samples of the window, at most.
    pub(super) samples_max: usize,
    /// What was sent before: only what came since is read.
    pub(super) sent: Option<Counts>,
}

/// How series change on their way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape<'a> {
    /// Put on each series that does not have them.
    pub(super) external_labels: &'a Labels,
    /// Then applied.
    pub(super) relabel: &'a [RelabelRule],
}

impl Shape<'_> {
    /// Returns the labels under which central gets a series; `None` if it does not.
    fn apply(&self, labels: &Labels) -> Option<Labels> {
        relabel(&labels.or(self.external_labels), self.relabel).filter(|l| !l.is_empty())
    }
}

/// Reads a window and cuts it into requests. Blocking: reads the store.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn read(db: &Db, wanted: &Wanted, shape: Shape<'_>) -> tsdb::Result<Window> {
    let last = Timestamp::from_millis(wanted.end.as_millis() - 1);
    let budget = if wanted.start == last { SAMPLES_MAX_IN_ONE_MS } else { wanted.samples_max };
    let series = match db.final_querier().select(&[], wanted.start, last, budget) {
        Ok(series) => series,
        Err(tsdb::Error::TooManySamples { .. }) => return Ok(Window::TooMany),
        Err(error) => return Err(error),
    };
    let mut cut = Cut::new(wanted.request_samples_max);
    let (mut samples, mut dropped, mut counted) = (0, 0, BTreeMap::<i64, Counts>::new());
    for one in series {
        let one = match one {
            Ok(one) => one,
            Err(tsdb::Error::TooManySamples { .. }) => return Ok(Window::TooMany),
            Err(error) => return Err(error),
        };
        let hash = one.labels.stable_hash();
        for t in &one.timestamps {
            let known = counted.entry(late::minute(*t)).or_default().entry(hash).or_insert(Count::NONE);
            *known = known.with(Count { samples: 1, newest_ms: *t });
        }
        let sent = wanted.sent.as_ref().and_then(|sent| sent.get(&hash)).copied().unwrap_or(Count::NONE);
        let first = first_unsent(&one.timestamps, sent);
        let count = one.timestamps.len() - first;
        if count == 0 {
            continue;
        }
        samples += count;
        match shape.apply(&one.labels) {
            Some(labels) => {
                cut.push(Part { labels, samples: one.timestamps.into_iter().zip(one.values).skip(first).collect() })
            }
            None => dropped += count,
        }
    }
    Ok(Window::Read { requests: cut.finish(), samples, dropped, counted })
}

/// Returns the place from which on samples are to be sent. If all that is new lies behind what was sent, that is
/// where it begins: a central that takes samples only in order takes these. Else it is not known which are new.
fn first_unsent(times: &[i64], sent: Count) -> usize {
    let sent_samples = sent.samples as usize;
    if sent_samples >= times.len() {
        return times.len();
    }
    let behind = times.partition_point(|t| *t <= sent.newest_ms);
    if behind == sent_samples { behind } else { 0 }
}

/// Some samples of one series, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    /// What names the series at central.
    pub(super) labels: Labels,
    /// Times in milliseconds and values.
    pub(super) samples: Vec<(i64, f64)>,
}

/// What is sent at once.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    parts: Vec<Part>,
}

impl Request {
    /// Returns how many samples it has.
    pub(super) fn samples(&self) -> usize {
        self.parts.iter().map(|p| p.samples.len()).sum()
    }

    /// Returns the body: protobuf, packed with snappy.
    pub(super) fn body(&self) -> crate::wire::Result<Vec<u8>> {
        let mut encoder = Encoder::new();
        for part in &self.parts {
            encoder.push(&part.labels, part.samples.iter().copied());
        }
        encoder.finish()
    }

    /// Cuts it into two of about the same size, the first to be sent first; `None` if it is a single sample.
    pub(super) fn split(mut self) -> Option<(Request, Request)> {
        if self.parts.len() > 1 {
            let second = self.parts.split_off(self.parts.len() / 2);
            return Some((self, Request { parts: second }));
        }
        let part = self.parts.pop().filter(|p| p.samples.len() > 1)?;
        let (first, second) = part.samples.split_at(part.samples.len() / 2);
        let half = |samples: &[(i64, f64)]| Request {
            parts: vec![Part { labels: part.labels.clone(), samples: samples.to_vec() }],
        };
        Some((half(first), half(second)))
    }
}

/// Cuts a run of series into requests of at most so many samples.
struct Cut {
    samples_max: usize,
    requests: Vec<Request>,
    open: Vec<Part>,
    open_samples: usize,
}

impl Cut {
    fn new(samples_max: usize) -> Self {
        Cut { samples_max: samples_max.max(1), requests: Vec::new(), open: Vec::new(), open_samples: 0 }
    }

    fn push(&mut self, mut part: Part) {
        while self.open_samples + part.samples.len() > self.samples_max {
            let rest = part.samples.split_off(self.samples_max - self.open_samples);
            let labels = part.labels.clone();
            self.add(part);
            self.close();
            part = Part { labels, samples: rest };
        }
        self.add(part);
    }

    fn add(&mut self, part: Part) {
        if !part.samples.is_empty() {
            self.open_samples += part.samples.len();
            self.open.push(part);
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.requests.push(Request { parts: std::mem::take(&mut self.open) });
            self.open_samples = 0;
        }
    }

    fn finish(mut self) -> Vec<Request> {
        self.close();
        self.requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::tsdb::Batch;

    fn store(series: &[(&str, &[i64])]) -> Db {
        let db = Db::in_memory();
        let mut batch = Batch::default();
        for (name, times) in series {
            for t in *times {
                batch.push(&Labels::from_pairs([("__name__", *name)]), Timestamp::from_millis(*t), *t as f64);
            }
        }
        db.append(&batch).unwrap();
        db
    }

    /// Reads `[start, end)` and writes the requests as `name@times name@times | ...`.
    #[track_caller]
    fn check(db: &Db, start: i64, end: i64, samples_max: usize, expected: &str) {
        let shape = Shape { external_labels: &Labels::empty(), relabel: &[] };
        let (start, end) = (Timestamp::from_millis(start), Timestamp::from_millis(end));
        let wanted = Wanted { start, end, request_samples_max: samples_max, samples_max, sent: None };
        let text = match read(db, &wanted, shape).unwrap() {
            Window::TooMany => "too many".to_owned(),
            Window::Read { requests, .. } => {
                let part = |p: &Part| {
                    let times: Vec<String> = p.samples.iter().map(|(t, _)| t.to_string()).collect();
                    format!("{}@{}", p.labels.metric_name(), times.join(","))
                };
                let request = |r: &Request| r.parts.iter().map(part).collect::<Vec<_>>().join(" ");
                requests.iter().map(request).collect::<Vec<_>>().join(" | ")
            }
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn a_window_holds_its_start_and_not_its_end() {
        let base = 1_700_000_000_000;
        let db = store(&[("a", &[base, base + 1, base + 2]), ("b", &[base + 1])]);
        check(&db, base, base + 2, 10, &format!("a@{},{} b@{}", base, base + 1, base + 1));
        check(&db, base + 3, base + 9, 10, "");
    }

    #[test]
    fn a_window_with_too_much_is_not_read_unless_it_cannot_be_narrower() {
        let base = 1_700_000_000_000;
        let db = store(&[("a", &[base]), ("b", &[base]), ("c", &[base])]);
        check(&db, base, base + 2, 2, "too many");
        check(&db, base, base + 1, 2, &format!("a@{base} b@{base} | c@{base}"));
    }

    #[test]
    fn series_that_have_no_more_than_was_sent_are_left_out() {
        let base = 1_700_000_000_000;
        let db = store(&[("a", &[base, base + 1]), ("b", &[base])]);
        let (start, end) = (Timestamp::from_millis(base), Timestamp::from_millis(base + 10));
        let mut wanted = Wanted { start, end, request_samples_max: 10, samples_max: 10, sent: None };
        let shape = Shape { external_labels: &Labels::empty(), relabel: &[] };
        let Window::Read { counted, samples: 3, .. } = read(&db, &wanted, shape).unwrap() else { panic!() };
        let mut sent = counted[&late::minute(base)].clone();
        sent.get_mut(&Labels::from_pairs([("__name__", "a")]).stable_hash()).unwrap().samples -= 1;
        wanted.sent = Some(sent);
        let Window::Read { requests, samples: 2, .. } = read(&db, &wanted, shape).unwrap() else { panic!() };
        assert_eq!((requests.len(), requests[0].samples()), (1, 2));
    }

    #[test]
    fn what_lies_behind_what_was_sent_is_sent_alone() {
        let sent = |samples, newest_ms| Count { samples, newest_ms };
        assert_eq!(first_unsent(&[1, 2, 3, 4], Count::NONE), 0);
        assert_eq!(first_unsent(&[1, 2, 3, 4], sent(2, 2)), 2);
        assert_eq!(first_unsent(&[1, 2, 3, 4], sent(2, 4)), 0);
        assert_eq!(first_unsent(&[1, 2, 3, 4], sent(4, 4)), 4);
        assert_eq!(first_unsent(&[], sent(0, 9)), 0);
    }

    #[test]
    fn a_request_is_halved_down_to_single_samples() {
        let part = |name: &str, times: &[i64]| Part {
            labels: Labels::from_pairs([("__name__", name)]),
            samples: times.iter().map(|t| (*t, 0.0)).collect(),
        };
        let whole = Request { parts: vec![part("a", &[1, 2, 3]), part("b", &[1])] };
        let (first, second) = whole.split().unwrap();
        assert_eq!(first, Request { parts: vec![part("a", &[1, 2, 3])] });
        assert_eq!(second.split(), None);
        let (first, second) = first.split().unwrap();
        assert_eq!(first, Request { parts: vec![part("a", &[1])] });
        assert_eq!(second, Request { parts: vec![part("a", &[2, 3])] });
    }

    #[test]
    fn external_labels_do_not_override_those_of_the_series() {
        let external = Labels::from_pairs([("site", "north"), ("line", "9")]);
        let shape = Shape { external_labels: &external, relabel: &[] };
        let sent = shape.apply(&Labels::from_pairs([("__name__", "up"), ("line", "1")])).unwrap();
        assert_eq!(sent, Labels::from_pairs([("__name__", "up"), ("line", "1"), ("site", "north")]));
    }
}
