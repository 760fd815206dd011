//! A write request into samples.
//!
//! Bad series are refused alone: the rest of the request is kept, and the answer names the first offender.
//! A sender sends the same series again and again, so the hash of the bytes of their labels leads to them
//! (`known.rs`): of a known series no label is read. One pass over the unpacked bytes, with buffers that are
//! used again; series that are not known yet are looked up after it, when the whole request has shown to be
//! sound.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::instruments::{Instruments, Way};
use super::intake::{Guest, Intake, Turned};
use super::known::{Key, Known};
use super::refusals::Supplier;
use crate::clock::Clock;
use crate::model::{LABEL_NAME, Labels, Timestamp};
use crate::storage::tsdb::{self, Batch, Refusal, SeriesRef};
use crate::wire;
use crate::wire::remote_write::{Description, Entry, Part, Reader, SAMPLES_MAX, TimeSeries, unpack};
use crate::wire::remote_write_2::rewrite;

/// How far ahead of our clock a sample may lie: one bad clock must not shut out everybody else.
const AHEAD_MAX: Duration = Duration::from_secs(600);
/// Most labels of a series that are looked at to name it.
const LABELS_NAMED_MAX: usize = 64;
/// Most metric names whose metadata one request may bring.
const METADATA_MAX: usize = 10_000;
/// Sets of buffers that are kept for the next requests: as many as are worked on at once.
const BUFFERS_MAX: usize = 2;
/// So many unknown series of a request are looked up at once.
const LOOKED_UP_AT_ONCE: usize = 512;
/// A buffer that has grown larger for an unusual request is not kept.
const BUFFER_BYTES_MAX: usize = 2 << 20;

/// Takes write requests; cheap to clone.
#[derive(Debug, Clone)]
pub struct RemoteWrite {
    db: tsdb::Db,
    clock: Clock,
    instruments: Instruments,
    intake: Intake,
    known: Arc<RwLock<Known<SeriesRef>>>,
    buffers: Arc<Mutex<Vec<Buffers>>>,
}

/// What a request is unpacked and sorted into.
#[derive(Debug, Default)]
struct Buffers {
    unpacked: Vec<u8>,
    /// A request of version 2.0 in the form of 1.0.
    rewritten: Vec<u8>,
    batch: Batch,
}

/// The form of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteVersion {
    /// `prometheus.WriteRequest`
    One,
    /// `io.prometheus.write.v2.Request`
    Two,
}

/// What became of a request whose frame was sound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOutcome {
    /// Samples in the request.
    pub samples: u64,
    /// Samples kept, those that were already there included.
    pub accepted: u64,
    /// Samples refused.
    pub refused: u64,
    /// What is wrong with the first series that was refused; the answer is then 400, and the sender must
    /// not send again.
    pub first_offender: Option<String>,
    /// Which limit new series were refused for, and whose they are; the answer is then 429, if nothing is wrong
    /// besides. Series that are known were taken.
    pub over_limit: Option<String>,
}

/// Why a whole request was refused.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Not a write request, or over a limit: 413 for [`wire::Error::TooLarge`], else 400. Do not send again.
    #[error(transparent)]
    Wire(#[from] wire::Error),
    /// The store takes nothing now: 503, send again later.
    #[error(transparent)]
    Store(#[from] tsdb::Error),
}

/// Refusals of one request.
#[derive(Debug, Default)]
struct Refusals {
    samples: u64,
    first: Option<String>,
    /// Why there was no room for the first series of which that is so, and its name.
    no_room: Option<(Refusal, String)>,
}

impl Refusals {
    fn add(&mut self, samples: usize, sentence: impl FnOnce() -> String) {
        self.samples += samples as u64;
        self.first.get_or_insert_with(sentence);
    }

    fn turn(&mut self, samples: usize, turned: Turned, series: &TimeSeries<'_>) {
        match turned {
            Turned::Labels(problem) => self.add(samples, || format!("series {}: {problem}", name_of(series))),
            Turned::NoRoom(refusal) => {
                self.samples += samples as u64;
                self.no_room.get_or_insert_with(|| (refusal, name_of(series)));
            }
        }
    }
}

/// What a request holds, sorted out.
#[derive(Debug, Default)]
struct Sorted<'a> {
    /// Samples, those refused included.
    samples: usize,
    refusals: Refusals,
    /// Series that are not known yet.
    strangers: Vec<(Key, TimeSeries<'a>)>,
    descriptions: Vec<Description<'a>>,
}

impl RemoteWrite {
    pub(super) fn new(db: tsdb::Db, clock: Clock, instruments: Instruments, intake: Intake) -> Self {
        let known = Arc::new(RwLock::new(Known::new(rand::random())));
        RemoteWrite { db, clock, instruments, intake, known, buffers: Arc::default() }
    }

    /// Keeps the samples of a snappy-packed request body. Cost: up to tens of milliseconds for a large
    /// request; call it from the blocking pool.
    ///
    /// # Errors
    /// [`WriteError`]; nothing of the request is kept then.
    pub fn write(&self, body: &[u8], version: WriteVersion, sender: IpAddr) -> Result<WriteOutcome, WriteError> {
        let mut buffers = self.lock_buffers().pop().unwrap_or_default();
        let guest = self.intake.guest(Supplier::Sender(sender.to_canonical()));
        let outcome = self.write_with(body, version, &guest, &mut buffers);
        buffers.batch.clear();
        let mut kept = self.lock_buffers();
        let bytes = buffers.unpacked.capacity() + buffers.rewritten.capacity();
        if kept.len() < BUFFERS_MAX && bytes <= BUFFER_BYTES_MAX {
            kept.push(buffers);
        }
        outcome
    }

    fn lock_buffers(&self) -> std::sync::MutexGuard<'_, Vec<Buffers>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_with(
        &self,
        body: &[u8],
        version: WriteVersion,
        guest: &Guest,
        buffers: &mut Buffers,
    ) -> Result<WriteOutcome, WriteError> {
        let Buffers { unpacked, rewritten, batch } = buffers;
        unpack(body, unpacked)?;
        let unpacked: &[u8] = match version {
            WriteVersion::One => unpacked,
            WriteVersion::Two => {
                rewrite(unpacked, rewritten)?;
                rewritten
            }
        };
        let newest = self.clock.latest_taken(AHEAD_MAX);
        let mut sorted = self.sort(unpacked, newest, guest, batch)?;
        let mut outcome = self.db.append(batch)?;
        if outcome.unknown_ref > 0 {
            // The store has dropped series from its head that we still knew: look them up again.
            self.forget(batch, &outcome.unknown);
            batch.clear();
            sorted = self.sort(unpacked, newest, guest, batch)?;
            outcome = self.db.append(batch)?;
        }
        self.instruments.appended(Way::RemoteWrite, &outcome);
        for (metric, metadata) in sorted.descriptions.iter().filter_map(Description::read) {
            self.db.set_metadata(metric, metadata);
        }

        let accepted = outcome.appended + outcome.duplicate;
        let by_store = batch.len() as u64 - accepted;
        let mut refusals = sorted.refusals;
        if by_store > 0 {
            refusals.first.get_or_insert_with(|| refused_by_store(&outcome));
        }
        let refused = refusals.samples + by_store;
        let over_limit = refusals.no_room.map(|(refusal, series)| {
            format!("series {series} is new, and {why}", why = self.intake.explain(guest, refusal))
        });
        let (samples, first_offender) = (accepted + refused, refusals.first);
        Ok(WriteOutcome { samples, accepted, refused, first_offender, over_limit })
    }

    /// Sorts a request out into a batch that is empty; what is wrong by itself is left out.
    fn sort<'a>(
        &self,
        unpacked: &'a [u8],
        newest: Timestamp,
        guest: &Guest,
        batch: &mut Batch,
    ) -> Result<Sorted<'a>, wire::Error> {
        let mut sorted = Sorted::default();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut next = 0;
        for entry in Reader::new(unpacked) {
            match entry? {
                Entry::Series(series) => {
                    let key = known.key(series.label_bytes());
                    match known.find(key, &mut next) {
                        Some(found) => self.take(*found, &series, newest, batch, &mut sorted)?,
                        None => {
                            series.check_labels()?;
                            sorted.strangers.push((key, series));
                        }
                    }
                }
                Entry::Description(description) if sorted.descriptions.len() < METADATA_MAX => {
                    sorted.descriptions.push(description);
                }
                Entry::Description(_) => {}
            }
        }
        drop(known);
        if !sorted.strangers.is_empty() {
            self.take_strangers(newest, guest, batch, &mut sorted)?;
        }
        Ok(sorted)
    }

    /// Looks up the series that are not known yet, and takes their samples.
    fn take_strangers(
        &self,
        newest: Timestamp,
        guest: &Guest,
        batch: &mut Batch,
        sorted: &mut Sorted<'_>,
    ) -> Result<(), wire::Error> {
        let strangers = std::mem::take(&mut sorted.strangers);
        // A mistake in the last one must not leave the others begun.
        for (_, series) in &strangers {
            series.parts().try_for_each(|part| part.map(|_| ()))?;
        }
        for some in strangers.chunks(LOOKED_UP_AT_ONCE) {
            let found = self.look_up(some, guest);
            // Not while the store is asked, which may take its time: what others send is looked up here too.
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            for ((key, _), found) in some.iter().zip(&found) {
                found.iter().for_each(|found| known.keep(*key, *found));
            }
            drop(known);
            for ((_, series), found) in some.iter().zip(found) {
                match found {
                    Ok(found) => self.take(found, series, newest, batch, sorted)?,
                    Err(turned) => {
                        let samples = series.parts().count();
                        self.instruments.refused(Way::RemoteWrite, turned.as_str(), samples as u64);
                        sorted.refusals.turn(samples, turned, series);
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts a series' samples into the batch.
    fn take(
        &self,
        found: SeriesRef,
        series: &TimeSeries<'_>,
        newest: Timestamp,
        batch: &mut Batch,
        sorted: &mut Sorted<'_>,
    ) -> Result<(), wire::Error> {
        let newest_ms = newest.as_millis();
        for part in series.parts() {
            sorted.samples += 1;
            if sorted.samples > SAMPLES_MAX {
                return Err(wire::Error::TooMany { what: "samples", limit: SAMPLES_MAX });
            }
            match part? {
                Part::Sample(timestamp_ms, value) if timestamp_ms <= newest_ms => {
                    batch.push_ref(found, Timestamp::from_millis(timestamp_ms), value);
                }
                Part::Sample(timestamp_ms, _) => {
                    self.instruments.refused(Way::RemoteWrite, "too_new", 1);
                    sorted.refusals.add(1, || {
                        let at = Timestamp::from_millis(timestamp_ms);
                        format!(
                            "series {}: sample at {at} is more than 10 min ahead of {now}",
                            name_of(series),
                            now = newest - AHEAD_MAX
                        )
                    });
                }
                Part::NativeHistogram => {
                    self.instruments.refused(Way::RemoteWrite, "native_histogram", 1);
                    let sentence = || format!("series {}: native histograms are not kept", name_of(series));
                    sorted.refusals.add(1, sentence);
                }
            }
        }
        Ok(())
    }

    /// Forgets what the store does not know any more.
    fn forget(&self, batch: &Batch, unknown: &[usize]) {
        let gone: HashSet<SeriesRef> = unknown.iter().filter_map(|i| batch.series_ref(*i)).collect();
        self.known.write().unwrap_or_else(PoisonError::into_inner).retain(|series| !gone.contains(series));
    }

    /// Checks labels and finds or begins their series.
    fn look_up(&self, strangers: &[(Key, TimeSeries<'_>)], guest: &Guest) -> Vec<Result<SeriesRef, Turned>> {
        let checked: Vec<Result<(Labels, u64), Turned>> = strangers
            .iter()
            .map(|(_, series)| Ok((check_labels(series).map_err(Turned::Labels)?, series.parts().count() as u64)))
            .collect();
        let good: Vec<(&Labels, u64)> = checked.iter().flatten().map(|(labels, samples)| (labels, *samples)).collect();
        let mut found = self.intake.admit_all(guest, &good).into_iter();
        let mut next = || found.next().unwrap_or(Err(Turned::NoRoom(Refusal::Store)));
        checked.iter().map(|checked| checked.as_ref().map_err(Clone::clone).and_then(|_| next())).collect()
    }
}

fn refused_by_store(outcome: &tsdb::AppendOutcome) -> String {
    let reasons = [
        (outcome.too_old, "older than retention"),
        (outcome.conflicting, "of a time that has another value"),
        (outcome.too_new, "too far ahead of the clock"),
        (outcome.over_series_limit, "of series over the limit"),
        (outcome.unknown_ref, "of series that ended just now"),
    ];
    let told: Vec<String> =
        reasons.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} samples {what}")).collect();
    told.join(", ")
}

fn check_labels(series: &TimeSeries<'_>) -> Result<Labels, String> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for pair in series.labels() {
        let Some((name, value)) = pair else { return Err("a label is not UTF-8".to_owned()) };
        if name.is_empty() {
            return Err("a label has no name".to_owned());
        }
        pairs.push((name, value));
    }
    // The specification has them in order; upstream takes them in any.
    pairs.sort_unstable();
    if let Some([(name, _), _]) = pairs.array_windows().find(|[(name, _), (next, _)]| name == next) {
        return Err(format!("label {name:?} stands twice"));
    }
    let labels = Labels::from_pairs(pairs);
    if labels.get(LABEL_NAME).is_none() {
        return Err("no metric name".to_owned());
    }
    Ok(labels)
}

/// Returns a series' labels for a message, cut to what fits one.
fn name_of(series: &TimeSeries<'_>) -> String {
    let labels: Labels = series.labels().take(LABELS_NAMED_MAX).flatten().collect();
    labels.to_string().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::config::Limits;
    use crate::instrument::Registry;
    use crate::model::Matcher;
    use crate::wire::remote_write::Encoder;

    const SENDER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const NOW_MS: i64 = 1_700_000_000_000;

    fn way_in() -> (RemoteWrite, tsdb::Db) {
        let db = tsdb::Db::in_memory();
        let clock = Clock::hand_set(Timestamp::from_millis(NOW_MS));
        let intake = Intake::new(db.clone(), clock.clone(), Limits::default(), &Registry::default());
        (RemoteWrite::new(db.clone(), clock, Instruments::new(&Registry::default()), intake), db)
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied())
    }

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn body(series: &[(Pairs<'_>, &[(i64, f64)])]) -> Vec<u8> {
        let mut encoder = Encoder::new();
        for (pairs, samples) in series {
            encoder.push(&labels(pairs), samples.iter().copied());
        }
        encoder.finish().unwrap()
    }

    fn stored(db: &tsdb::Db, name: &str) -> Vec<(i64, f64)> {
        let matchers = [Matcher::equal(LABEL_NAME, name)];
        let set = db.querier().select(&matchers, Timestamp::MIN, Timestamp::MAX, 1000).unwrap();
        set.flat_map(|s| s.map(|s| s.timestamps.into_iter().zip(s.values).collect::<Vec<_>>()).unwrap()).collect()
    }

    #[test]
    fn samples_are_kept_and_sending_twice_is_harmless() {
        let (way_in, db) = way_in();
        let body = body(&[(&[("__name__", "a"), ("x", "1")], &[(NOW_MS - 1000, 1.0), (NOW_MS, 2.0)])]);
        for _ in 0..2 {
            let outcome = way_in.write(&body, WriteVersion::One, SENDER).unwrap();
            assert_eq!((outcome.accepted, outcome.refused, outcome.first_offender), (2, 0, None));
        }
        assert_eq!(stored(&db, "a"), [(NOW_MS - 1000, 1.0), (NOW_MS, 2.0)]);
    }

    #[test]
    fn a_sample_ahead_of_time_is_refused_alone() {
        let (way_in, db) = way_in();
        let limit = NOW_MS + 600_000;
        let outcome = way_in
            .write(
                &body(&[(&[("__name__", "bad")], &[(limit + 1, 1.0)]), (&[("__name__", "good")], &[(limit, 2.0)])]),
                WriteVersion::One,
                SENDER,
            )
            .unwrap();
        assert_eq!((outcome.samples, outcome.accepted, outcome.refused), (2, 1, 1));
        let offender = outcome.first_offender.unwrap();
        assert!(offender.starts_with("series bad: sample at 2023-11-14T22:23:20.001Z"), "{offender}");
        assert_eq!(stored(&db, "good"), [(limit, 2.0)]);
    }

    /// A series by its raw labels, in any order and number.
    fn raw(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut series = Vec::new();
        for (name, value) in pairs {
            let (name_len, value_len) = (u8::try_from(name.len()).unwrap(), u8::try_from(value.len()).unwrap());
            series.extend([0x0a, name_len + value_len + 4, 0x0a, name_len]);
            series.extend(*name);
            series.extend([0x12, value_len]);
            series.extend(*value);
        }
        series.extend([0x12, 2, 0x10, 1]);
        let mut message = vec![0x0a, u8::try_from(series.len()).unwrap()];
        message.extend(series);
        message
    }

    fn pack(message: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(message).unwrap()
    }

    #[test]
    fn labels_may_come_in_any_order() {
        let (way_in, db) = way_in();
        let message = raw(&[(b"b", b"1"), (b"__name__", b"m"), (b"a", b"2")]);
        assert_eq!(way_in.write(&pack(&message), WriteVersion::One, SENDER).unwrap().accepted, 1);
        assert_eq!(stored(&db, "m"), [(1, 0.0)]);
    }

    #[test]
    fn both_versions_lead_to_the_same_series() {
        let (way_in, db) = way_in();
        way_in.write(&body(&[(&[("__name__", "m")], &[(NOW_MS, 1.0)])]), WriteVersion::One, SENDER).unwrap();
        let symbols = [&[0x22, 0, 0x22, 8][..], b"__name__", &[0x22, 1, b'm']].concat();
        // Labels 1 and 2; a sample at 1 s with the value 0, then a native histogram.
        let series = [0x2a, 11, 0x0a, 2, 1, 2, 0x12, 3, 0x10, 0xe8, 0x07, 0x1a, 0];
        let message = [&symbols[..], &series].concat();
        let outcome = way_in.write(&pack(&message), WriteVersion::Two, SENDER).unwrap();
        assert_eq!((outcome.accepted, outcome.refused), (1, 1));
        assert!(outcome.first_offender.unwrap().contains("series m: native histograms"));
        assert_eq!(stored(&db, "m"), [(1000, 0.0), (NOW_MS, 1.0)]);
        assert_eq!(way_in.known.read().unwrap().len(), 1);
    }

    #[test]
    fn bad_labels_are_refused_alone_and_named() {
        let name: &[u8] = b"__name__";
        for (bad, what) in [
            (raw(&[(name, b"m"), (b"a", b"1"), (b"a", b"2")]), "stands twice"),
            (raw(&[(b"a", b"1")]), "no metric name"),
            (raw(&[(name, b"m"), (b"a", b"\xff")]), "not UTF-8"),
            (raw(&[(b"", b"m")]), "no name"),
        ] {
            let (way_in, db) = way_in();
            let mut message = bad;
            message.extend(raw(&[(name, b"good")]));
            let outcome = way_in.write(&pack(&message), WriteVersion::One, SENDER).unwrap();
            assert_eq!((outcome.accepted, outcome.refused), (1, 1), "{what}");
            let offender = outcome.first_offender.unwrap();
            assert!(offender.contains(what), "{offender}");
            assert_eq!(stored(&db, "good"), [(1, 0.0)]);
        }
        let long = "x".repeat(4097);
        let outcome = way_in()
            .0
            .write(&body(&[(&[("__name__", "m"), ("l", &long)], &[(1, 1.0)])]), WriteVersion::One, SENDER)
            .unwrap();
        assert_eq!(outcome.refused, 1);
    }

    #[test]
    fn garbage_is_refused_whole() {
        let (way_in, _) = way_in();
        assert!(matches!(way_in.write(b"garbage", WriteVersion::One, SENDER), Err(WriteError::Wire(_))));
        assert!(matches!(
            way_in.write(&[0xff, 0xff, 0xff, 0xff, 7], WriteVersion::Two, SENDER),
            Err(WriteError::Wire(wire::Error::TooLarge { .. }))
        ));
    }
}
