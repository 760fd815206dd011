//! Bytes that a fuzzer made up, as the spool's segment and as the payloads of its records.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::files::Files;
use super::format::{self, Mark};
use super::queue::Queue;
use super::{Entry, restore};
use crate::model::Timestamp;
use crate::storage::disk::{FaultyDisk, Segments, SegmentsOptions};

/// Decodes a payload, whose first byte is its kind, by itself and in a spool that holds good messages too. What decodes
/// encodes to what decodes to the same; the spool opens, is read to its end, takes a message and lets go of its oldest.
pub(crate) fn fuzz(data: &[u8]) {
    let Some((kind, payload)) = data.split_first() else { return };
    if let Ok(entries) = format::decode_batch(payload) {
        let entries: Vec<Arc<Entry>> = entries.into_iter().map(Arc::new).collect();
        let again = format::encode_batch(&entries).unwrap_or_else(|e| panic!("bug: {e}")).1;
        let decoded = format::decode_batch(&again).unwrap_or_else(|e| panic!("bug: {e}"));
        assert!(entries.iter().map(|entry| &**entry).eq(decoded.iter()), "bug: other messages");
    }
    if let Ok(marks) = format::decode_marks(payload) {
        assert_eq!(format::decode_marks(&format::encode_marks(&marks)).ok(), Some(marks), "bug: other marks");
    }
    let disk = FaultyDisk::new(0);
    put(&disk, *kind, payload);
    let (files, found) = Files::open(disk.shared(), Path::new("/spool")).unwrap_or_else(|e| panic!("bug: {e}"));
    let number = found.last + 1;
    let mut queue = Queue::new(number);
    restore(&mut queue, &files, found, Duration::ZERO);
    let _ = files.read_from(0, 1 << 20);
    let added = files.append(&[Arc::new(entry(number))], &queue.marks()).and_then(|()| files.sync());
    added.unwrap_or_else(|e| panic!("bug: {e}"));
    let (read, _) = files.read_from(number, 1 << 20).unwrap_or_else(|e| panic!("bug: {e}"));
    assert_eq!(read.iter().map(|entry| entry.number).collect::<Vec<_>>(), [number], "bug: it is not there");
    if let Some(oldest) = files.oldest() {
        files.remove(&oldest, &queue.marks()).unwrap_or_else(|e| panic!("bug: {e}"));
    }
}

fn put(disk: &FaultyDisk, kind: u8, payload: &[u8]) {
    let options = SegmentsOptions { segment_bytes_max: 1 << 30, is_synced: true, has_parity: false };
    let opened = Segments::open(disk.shared(), Path::new("/spool"), options, &mut |_| Ok(()));
    let (segments, _) = opened.unwrap_or_else(|e| panic!("bug: {e}"));
    let good = format::encode_batch(&[Arc::new(entry(5))]).unwrap_or_else(|e| panic!("bug: {e}")).1;
    // The log keeps one kind for itself.
    for (kind, payload) in [(format::BATCH, good.as_slice()), (kind.min(u8::MAX - 1), payload)] {
        segments.append(kind, payload).unwrap_or_else(|e| panic!("bug: {e}"));
    }
}

fn entry(number: u64) -> Entry {
    Entry {
        number,
        stream: if number.is_multiple_of(2) { "EVENTS" } else { "ALERTS" }.into(),
        id: format!("box.{number}").into(),
        at: Timestamp::from_millis(1_700_000_000_000),
        subject: "events.a".parse().unwrap_or_else(|e| panic!("bug: {e}")),
        device_id: Some("press".into()),
        correlation_id: None,
        payload: "{\"on\":true}".into(),
    }
}

/// Returns payloads that decode, each behind its kind.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let entries: Vec<_> = (6..9).map(|number| Arc::new(entry(number))).collect();
    let batch = format::encode_batch(&entries).map(|(_, batch)| batch).unwrap_or_default();
    let marks = [Mark { stream: "EVENTS".into(), done: 6, sequence: 300, sent: 7 }];
    vec![[vec![format::BATCH], batch].concat(), [vec![format::MARKS], format::encode_marks(&marks)].concat()]
}
