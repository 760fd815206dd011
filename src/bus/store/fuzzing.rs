//! Bytes that a fuzzer made up, as a stream's segment and as the payloads of its records.

use std::path::Path;
use std::sync::Arc;

use super::Stored;
use super::contents;
use super::format::{self, PlacesRecord};
use super::index::Limits;
use super::log::{Log, Position, Wanted};
use super::places::Place;
use crate::bus::Message;
use crate::model::Timestamp;
use crate::storage::disk::{FaultyDisk, Record, Segments, SegmentsOptions};

/// Decodes a payload, whose first byte is its kind, by itself and in a stream that holds good messages too. What
/// decodes encodes to what decodes to the same; the stream opens, is read to its end, and takes a message.
pub(crate) fn fuzz(data: &[u8]) {
    let Some((kind, payload)) = data.split_first() else { return };
    if let Ok(messages) = format::decode_messages(payload) {
        let messages: Vec<Arc<Stored>> = messages.into_iter().map(Arc::new).collect();
        let again = format::encode_messages(&messages).unwrap_or_else(|e| panic!("bug: {e}"));
        let decoded = format::decode_messages(&again).unwrap_or_else(|e| panic!("bug: {e}"));
        assert!(messages.iter().map(|stored| &**stored).eq(decoded.iter()), "bug: other messages");
    }
    if let Ok(record) = format::decode_places(payload) {
        let again = format::encode_places(&record).unwrap_or_else(|e| panic!("bug: {e}"));
        assert_eq!(format::decode_places(&again).ok(), Some(record), "bug: other places");
    }
    if let Ok((segment, about)) = contents::decode(payload) {
        let again = contents::encode(&segment, &about).unwrap_or_else(|e| panic!("bug: {e}"));
        assert_eq!(contents::decode(&again).ok(), Some((segment, about)), "bug: other contents");
    }
    let disk = FaultyDisk::new(0);
    put(&disk, *kind, payload);
    for per_subject_max in [None, Some(2)] {
        let limits = Limits { messages_max: Some(1000), per_subject_max };
        let opened = Log::open(disk.shared(), Path::new("/stream"), limits, 1 << 20);
        let (log, _) = opened.unwrap_or_else(|e| panic!("bug: {e}"));
        read_all(&log);
        log.ids(600_000, 1000);
        log.sequence_at(Timestamp::from_millis(0));
        let sequence = log.index().last() + 1;
        let added = [Arc::new(stored(sequence, "events.next"))];
        let taken = log.append(&added).and_then(|appended| log.sync().map(|()| appended));
        log.added(taken.unwrap_or_else(|e| panic!("bug: {e}")).record, &added);
        assert_eq!(log.index().last(), sequence, "bug: sequences rise");
        if let Some((oldest, ..)) = log.oldest() {
            log.rotate();
            log.remove(oldest, Timestamp::MIN, 1 << 16).unwrap_or_else(|e| panic!("bug: {e}"));
        }
        read_all(&log);
        // A start that goes by contents finds what one without them did.
        log.rotate();
        log.note_contents(usize::MAX).unwrap_or_else(|e| panic!("bug: {e}"));
        let bounds = |log: &Log| {
            let index = log.index();
            (index.first(), index.last())
        };
        let before = bounds(&log);
        drop(log);
        let opened = Log::open(disk.shared(), Path::new("/stream"), limits, 1 << 20);
        let (log, _) = opened.unwrap_or_else(|e| panic!("bug: {e}"));
        assert_eq!(bounds(&log), before, "bug: contents that tell something else");
        read_all(&log);
    }
}

/// Reads a stream to its end, both ways; each sequence comes once and in order.
fn read_all(log: &Log) {
    let last = log.index().last();
    for lasts_until in [0, last] {
        let wanted = Wanted { pattern: ">".parse().unwrap_or_else(|e| panic!("bug: {e}")), since: Timestamp::MIN };
        let (mut position, mut before) = (Position { next: 1, lasts_until }, 0);
        while position.next <= last {
            let (messages, next) = log.read(position, &wanted);
            assert!(next > position.next, "bug: reading stands at {position:?}");
            for stored in messages {
                assert!(stored.sequence > before, "bug: {} comes again", stored.sequence);
                before = stored.sequence;
            }
            position.next = next;
        }
    }
}

fn put(disk: &FaultyDisk, kind: u8, payload: &[u8]) {
    let options = SegmentsOptions { segment_bytes_max: 1 << 30, is_synced: true, has_parity: false };
    let opened = Segments::open(disk.shared(), Path::new("/stream"), options, &mut |_| Ok(()));
    let (segments, _) = opened.unwrap_or_else(|e| panic!("bug: {e}"));
    let good = format::encode_messages(&[Arc::new(stored(5, "events.a"))]).unwrap_or_default();
    // The log keeps one kind for itself.
    for (kind, payload) in [(format::MESSAGES, good.as_slice()), (kind.min(u8::MAX - 1), payload)] {
        segments.append(kind, payload).unwrap_or_else(|e| panic!("bug: {e}"));
    }
}

fn stored(sequence: u64, subject: &str) -> Stored {
    let subject = subject.parse().unwrap_or_else(|e| panic!("bug: {e}"));
    let message = Message { device_id: Some("press".into()), ..Message::new(subject, "{\"on\":true}") };
    let at = Timestamp::from_millis(1_700_000_000_000 + i64::try_from(sequence).unwrap_or(0));
    Stored { sequence, at, id: Some(format!("press {sequence}").into()), message }
}

/// Returns payloads that decode, each behind its kind.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let messages: Vec<_> = (6..9).map(|n| Arc::new(stored(n, if n == 7 { "events.b" } else { "events.a" }))).collect();
    let place = Place { through: 7, lasts_until: 0, used: Timestamp::from_millis(1_700_000_000_000) };
    let places = vec![("device-press-1".into(), Some(place)), ("device-lamp-2".into(), None)];
    let record = PlacesRecord { next_sequence: 9, is_whole: true, places };
    let segment = contents::Segment { number: 3, bytes: 1 << 20, records: 17..40, per_subject: 1 };
    let mut gathering = contents::Gathering::new(1);
    for (kind, messages) in [(format::CARRIED, messages.get(..1)), (format::MESSAGES, messages.get(1..))] {
        let payload = format::encode_messages(messages.unwrap_or_default()).unwrap_or_default();
        let _ = gathering.take(&Record { segment: 3, sequence: 17, kind, payload: &payload });
    }
    let payloads = [
        (0, contents::encode(&segment, &gathering.finish())),
        (format::MESSAGES, format::encode_messages(&messages)),
        (format::CARRIED, format::encode_messages(messages.get(..1).unwrap_or_default())),
        (format::PLACES, format::encode_places(&record)),
    ];
    payloads.into_iter().map(|(kind, payload)| [vec![kind], payload.unwrap_or_default()].concat()).collect()
}
