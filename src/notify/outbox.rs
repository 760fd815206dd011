//! What is still to be told, on disk until the other side has taken it.
//!
//! # Format
//!
//! Records in segments (`storage/disk/segments.rs`) in `notify/outbox`. Version 3, little-endian; text is a
//! length as varint and UTF-8; a label set is a count as varint, then name and value as text.
//!
//! | kind | record | payload                                                                               |
//! |------|--------|---------------------------------------------------------------------------------------|
//! | 2    | done   | id (u64): taken, replaced or given up                                                 |
//! | 4    | notice | id (u64), made at, since (i64 ms), group key, receiver, integration (text), group labels, count of alarms (varint), alarms, count of folded groups (varint), their keys (text), alarms left out (varint) |
//!
//! An alarm is: fingerprint (u64), starts at (i64 ms), ends at (i64 ms; the smallest i64: it fires), labels,
//! annotations, expression, source (text: where another program shows it; empty if none).
//!
//! Secrets and addresses are not in it: a notice names its receiver. Damage: costs that record; a lost
//! `done` means that a notice is told twice. Growth: a new kind; kinds that are not known are
//! passed over; so are notices of versions 1 and 2, kinds 1 and 3, which no release ever wrote.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::notice::{Notice, NoticeAlarm};
use crate::model::{Labels, Timestamp};
use crate::storage::disk::{self, ByteReader, ByteWriter, Disk, Malformed, Segments, SegmentsOptions};

const DONE: u8 = 2;
const NOTICE: u8 = 4;

/// A segment is closed at this size.
const SEGMENT_BYTES_MAX: u64 = 1 << 20;

/// When the segments are larger, what still waits is written anew and the old ones go.
const REWRITE_BYTES: u64 = 4 << 20;

/// The outbox's file.
#[derive(Debug)]
pub(super) struct Outbox {
    segments: Segments,
}

impl Outbox {
    /// Opens the outbox; returns it with what waits, by id.
    pub(super) fn open(disk: Arc<dyn Disk>, folder: &Path) -> disk::Result<(Outbox, BTreeMap<u64, Notice>)> {
        let options = SegmentsOptions { segment_bytes_max: SEGMENT_BYTES_MAX, is_synced: true, has_parity: false };
        let mut waiting = BTreeMap::new();
        let (segments, _) = Segments::open(disk, folder, options, &mut |record| {
            let mut reader = ByteReader::new(record.payload);
            match record.kind {
                NOTICE => {
                    let notice = decode(&mut reader)?;
                    waiting.insert(notice.id, notice);
                }
                DONE => {
                    waiting.remove(&reader.u64()?);
                }
                _ => return Ok(()),
            }
            reader.end()
        })?;
        Ok((Outbox { segments }, waiting))
    }

    /// Writes new notices and which are done, and makes it last. `waiting` is what waits after it: written
    /// anew when the segments have grown. Blocking: one file sync.
    pub(super) fn write(&self, made: &[Arc<Notice>], done: &[u64], waiting: &[Arc<Notice>]) -> disk::Result<()> {
        for notice in made {
            self.segments.append(NOTICE, &encode(notice))?;
        }
        for id in done {
            self.segments.append(DONE, &id.to_le_bytes())?;
        }
        let is_idle = waiting.is_empty() && self.segments.bytes() > SEGMENT_BYTES_MAX / 16;
        if !is_idle && self.segments.bytes() < REWRITE_BYTES {
            return self.segments.sync().map(|_| ());
        }
        let fresh = self.segments.rotate();
        for notice in waiting {
            self.segments.append(NOTICE, &encode(notice))?;
        }
        self.segments.sync()?;
        self.segments.remove_before(fresh).map(|_| ())
    }
}

fn encode(notice: &Notice) -> Vec<u8> {
    let mut writer = ByteWriter::default();
    writer.u64(notice.id);
    writer.i64(notice.made_at.as_millis());
    writer.i64(notice.since.as_millis());
    writer.text(&notice.group_key);
    writer.text(&notice.receiver);
    writer.text(&notice.integration);
    encode_labels(&mut writer, &notice.group_labels);
    writer.varint(notice.alarms.len() as u64);
    for alarm in &notice.alarms {
        writer.u64(alarm.fingerprint);
        writer.i64(alarm.starts_at.as_millis());
        writer.i64(alarm.ends_at.unwrap_or(Timestamp::MIN).as_millis());
        encode_labels(&mut writer, &alarm.labels);
        encode_labels(&mut writer, &alarm.annotations);
        writer.text(&alarm.expression);
        writer.text(&alarm.source_url);
    }
    writer.varint(notice.folded.len() as u64);
    for key in &notice.folded {
        writer.text(key);
    }
    writer.varint(notice.left_out);
    writer.into_bytes()
}

fn encode_labels(writer: &mut ByteWriter, labels: &Labels) {
    writer.varint(labels.len() as u64);
    for (name, value) in labels.iter() {
        writer.text(name);
        writer.text(value);
    }
}

fn decode(reader: &mut ByteReader<'_>) -> Result<Notice, Malformed> {
    let mut notice = Notice {
        id: reader.u64()?,
        made_at: Timestamp::from_millis(reader.i64()?),
        since: Timestamp::from_millis(reader.i64()?),
        group_key: reader.text()?.to_owned(),
        receiver: reader.text()?.to_owned(),
        integration: reader.text()?.to_owned(),
        group_labels: decode_labels(reader)?,
        alarms: Vec::new(),
        folded: Vec::new(),
        left_out: 0,
    };
    // An alarm has at least three fixed fields of 8 bytes and four counts.
    for _ in 0..reader.count(28)? {
        let fingerprint = reader.u64()?;
        let starts_at = Timestamp::from_millis(reader.i64()?);
        let ends_at = Some(Timestamp::from_millis(reader.i64()?)).filter(|at| *at != Timestamp::MIN);
        let (labels, annotations) = (decode_labels(reader)?, decode_labels(reader)?);
        let (expression, source_url) = (reader.text()?.to_owned(), reader.text()?.to_owned());
        let alarm = NoticeAlarm { fingerprint, labels, annotations, starts_at, ends_at, expression, source_url };
        notice.alarms.push(alarm);
    }
    for _ in 0..reader.count(1)? {
        notice.folded.push(reader.text()?.to_owned());
    }
    notice.left_out = reader.varint()?;
    Ok(notice)
}

fn decode_labels(reader: &mut ByteReader<'_>) -> Result<Labels, Malformed> {
    let count = reader.count(2)?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        pairs.push((reader.text()?, reader.text()?));
    }
    Ok(Labels::from_pairs(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::FaultyDisk;
    use crate::storage::disk::dump::records;

    fn notice(id: u64) -> Arc<Notice> {
        Arc::new(Notice {
            id,
            made_at: Timestamp::from_millis(5),
            since: Timestamp::from_millis(4),
            group_key: "{}:{}".to_owned(),
            receiver: "team".to_owned(),
            integration: "webhook[0]".to_owned(),
            group_labels: Labels::from_pairs([("a", "b")]),
            alarms: vec![NoticeAlarm {
                fingerprint: 9,
                labels: Labels::from_pairs([("alertname", "Hot")]),
                annotations: Labels::empty(),
                starts_at: Timestamp::from_millis(1),
                ends_at: id.is_multiple_of(2).then_some(Timestamp::from_millis(2)),
                expression: "x".repeat(100_000),
                source_url: String::new(),
            }],
            folded: if id == 1 { vec!["{}:{a=\"b\"}".to_owned()] } else { vec![] },
            left_out: id,
        })
    }

    #[test]
    fn an_outbox_of_version_3() {
        let dump = include_str!("../../tests/formats/notify_outbox_3.hex");
        let records = records(dump);
        let (kinds, payloads): (Vec<u8>, Vec<Vec<u8>>) = records.into_iter().unzip();
        assert_eq!(kinds, [NOTICE, DONE]);
        let read = decode(&mut ByteReader::new(&payloads[0])).unwrap();
        assert_eq!(encode(&read), payloads[0]);
        assert_eq!(payloads[1], read.id.to_le_bytes());
        assert_eq!((read.id, read.receiver.as_str(), read.integration.as_str()), (7, "shift", "webhook[0]"));
        assert_eq!(read.group_key, "{}:{alertname=\"Hot\"}");
        let ends: Vec<_> = read.alarms.iter().map(|a| a.ends_at.map(Timestamp::as_millis)).collect();
        assert_eq!(ends, [None, Some(1_700_000_090_000)]);
        assert_eq!(read.alarms[0].expression, "temp > 80");
        let sources: Vec<_> = read.alarms.iter().map(|a| a.source_url.as_str()).collect();
        assert_eq!(sources, ["", "http://p/a"]);
        assert_eq!((read.since.as_millis(), read.left_out), (1_700_000_000_000, 12));
        assert_eq!(read.folded, ["{}:{alertname=\"Cold\"}"]);
    }

    #[test]
    fn what_is_not_done_waits_after_a_restart() {
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
        let folder = Path::new("/outbox");
        let (outbox, waiting) = Outbox::open(disk.clone(), folder).unwrap();
        assert!(waiting.is_empty());
        outbox.write(&[notice(1), notice(2)], &[], &[notice(1), notice(2)]).unwrap();
        outbox.write(&[], &[1], &[notice(2)]).unwrap();
        let (_, waiting) = Outbox::open(disk, folder).unwrap();
        assert_eq!(waiting.into_values().collect::<Vec<_>>(), [(*notice(2)).clone()]);
    }

    #[test]
    fn the_file_does_not_grow_with_what_is_done() {
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
        let folder = Path::new("/outbox");
        let (outbox, _) = Outbox::open(disk.clone(), folder).unwrap();
        outbox.write(&[notice(1)], &[], &[notice(1)]).unwrap();
        for id in 2..200 {
            outbox.write(&[notice(id)], &[], &[notice(1), notice(id)]).unwrap();
            outbox.write(&[], &[id], &[notice(1)]).unwrap();
        }
        assert!(disk::folder_bytes(&*disk, folder) < 2 * REWRITE_BYTES);
        let (_, waiting) = Outbox::open(disk, folder).unwrap();
        assert_eq!(waiting.into_values().collect::<Vec<_>>(), [(*notice(1)).clone()]);
    }
}
