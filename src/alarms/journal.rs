//! Every transition on disk, replayed at start.
//!
//! # Format
//!
//! Records in segments (`storage/disk/segments.rs`) in `alarms/journal`. Version 1, little-endian; text is a
//! length as varint and UTF-8; a label set is a count as varint, then name and value as text, sorted by name.
//!
//! | kind | record       | payload                                                                      |
//! |------|--------------|------------------------------------------------------------------------------|
//! | 1    | raised       | at (i64 ms), alarm                                                           |
//! | 2    | cleared      | at (i64 ms), fingerprint (u64), value (f64 bits, u64)                        |
//! | 3    | acknowledged | at (i64 ms), fingerprint (u64), who (text), note (text)                      |
//! | 4    | standing     | at (i64 ms), alarm, acknowledged (u8 0 or 1; if 1: at (i64 ms), who, note)   |
//!
//! An alarm is: fingerprint (u64), raised at (i64 ms), value (f64 bits, u64), labels, annotations,
//! expression (text).
//!
//! `standing` repeats an active alarm before segments that raised it are removed; it is no transition.
//! Damage: a payload that does not fit costs that record. A transition of an alarm that is not known is
//! passed over. Growth: a new kind; kinds that are not known are passed over.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::lifecycle::{acknowledged, cleared};
use super::snapshot::{Event, Transition};
use crate::model::{Acknowledgement, Alarm, AlarmState, Labels, Timestamp};
use crate::storage::disk::{ByteReader, ByteWriter, Disk, Malformed, Record, Segments, SegmentsOptions};

const RAISED: u8 = 1;
const CLEARED: u8 = 2;
const ACKNOWLEDGED: u8 = 3;
const STANDING: u8 = 4;

/// A segment is closed at this size: small, so that old ones can go one by one.
const SEGMENT_BYTES_MAX: u64 = 1 << 20;

/// Upper bound of the journal: some 400 000 transitions. Above it the oldest segments go before their time.
const JOURNAL_BYTES_MAX: u64 = 128 << 20;

/// Transitions kept in memory, at most: 90 days at 100 a day.
pub(super) const HISTORY_MAX: usize = 10_000;

/// The journal: a log of transitions with the newest time of each segment.
#[derive(Debug)]
pub(super) struct Journal {
    segments: Segments,
    newest: BTreeMap<u64, Timestamp>,
}

/// What was found at start.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// Alarms by fingerprint, active or cleared last.
    pub(super) alarms: BTreeMap<u64, Alarm>,
    /// Transitions, oldest first.
    pub(super) history: VecDeque<Transition>,
    /// Places that could not be read.
    pub(super) damages: usize,
}

impl Journal {
    /// Opens the journal and replays it.
    pub(super) fn open(disk: Arc<dyn Disk>, folder: &Path) -> crate::storage::disk::Result<(Journal, Replayed)> {
        let options = SegmentsOptions { segment_bytes_max: SEGMENT_BYTES_MAX, is_synced: true, has_parity: false };
        let mut replayed = Replayed::default();
        let mut newest = BTreeMap::new();
        let (segments, found) = Segments::open(disk, folder, options, &mut |record| {
            let at = replayed.take(record)?;
            newest.entry(record.segment).and_modify(|n: &mut Timestamp| *n = at.max(*n)).or_insert(at);
            Ok(())
        })?;
        replayed.damages = found.damages.len();
        Ok((Journal { segments, newest }, replayed))
    }

    /// Writes transitions and makes them last. Blocking: one file sync.
    pub(super) fn write(&mut self, transitions: &[Transition]) -> crate::storage::disk::Result<()> {
        for transition in transitions {
            let (kind, payload) = encode(transition);
            self.append(kind, &payload, transition.at)?;
        }
        self.segments.sync().map(|_| ())
    }

    fn append(&mut self, kind: u8, payload: &[u8], at: Timestamp) -> crate::storage::disk::Result<()> {
        self.segments.append(kind, payload)?;
        if let Some((_, number)) = self.segments.numbers() {
            self.newest.entry(number).and_modify(|n| *n = at.max(*n)).or_insert(at);
        }
        Ok(())
    }

    /// Removes segments whose transitions are all older than `age`, and the oldest above the size bound;
    /// `standing` alarms are written again first. Returns whether any went.
    pub(super) fn prune<'a>(
        &mut self,
        age: Duration,
        now: Timestamp,
        standing: impl Iterator<Item = &'a Alarm>,
    ) -> crate::storage::disk::Result<bool> {
        let Some((oldest, newest)) = self.segments.numbers() else { return Ok(false) };
        let is_old = |number: &u64| self.newest.get(number).is_none_or(|at| *at < now - age);
        let mut before = (oldest..newest).find(|number| !is_old(number)).unwrap_or(newest);
        if self.segments.bytes() > JOURNAL_BYTES_MAX {
            before = before.max(oldest + (newest - oldest).div_ceil(8));
        }
        if before == oldest {
            return Ok(false);
        }
        for alarm in standing {
            self.append(STANDING, &encode_standing(alarm, now), now)?;
        }
        self.segments.sync()?;
        self.segments.remove_before(before)?;
        self.newest.retain(|number, _| *number >= before);
        Ok(true)
    }
}

impl Replayed {
    /// Takes a record; returns its time.
    fn take(&mut self, record: Record<'_>) -> Result<Timestamp, Malformed> {
        let mut reader = ByteReader::new(record.payload);
        let at = Timestamp::from_millis(reader.i64()?);
        match record.kind {
            RAISED => {
                let alarm = decode_alarm(&mut reader, at)?;
                self.note(Event::Raised, at, alarm);
            }
            CLEARED => {
                let (fingerprint, value) = (reader.u64()?, f64::from_bits(reader.u64()?));
                if let Some(alarm) = self.alarms.get(&fingerprint) {
                    let alarm = cleared(alarm, at, value);
                    self.note(Event::Cleared, at, alarm);
                }
            }
            ACKNOWLEDGED => {
                let fingerprint = reader.u64()?;
                let (by, note) = (reader.text()?.to_owned(), reader.text()?.to_owned());
                if let Some(alarm) = self.alarms.get(&fingerprint) {
                    let alarm = acknowledged(alarm, Acknowledgement { by, note, at });
                    self.note(Event::Acknowledged, at, alarm);
                }
            }
            STANDING => {
                let mut alarm = decode_alarm(&mut reader, at)?;
                if reader.u8()? == 1 {
                    let at = Timestamp::from_millis(reader.i64()?);
                    let (by, note) = (reader.text()?.to_owned(), reader.text()?.to_owned());
                    alarm.acknowledgement = Some(Acknowledgement { by, note, at });
                }
                alarm.changed_at = alarm.acknowledgement.as_ref().map_or(alarm.raised_at, |a| a.at);
                self.alarms.insert(alarm.fingerprint, alarm);
            }
            _ => return Ok(at),
        }
        reader.end()?;
        Ok(at)
    }

    fn note(&mut self, event: Event, at: Timestamp, alarm: Alarm) {
        self.alarms.insert(alarm.fingerprint, alarm.clone());
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(Transition { event, at, alarm: Arc::new(alarm) });
    }
}

/// Returns a transition's kind and payload.
pub(super) fn encode(transition: &Transition) -> (u8, Vec<u8>) {
    let alarm = &transition.alarm;
    let mut writer = ByteWriter::default();
    writer.i64(transition.at.as_millis());
    let kind = match transition.event {
        Event::Raised => {
            encode_alarm(&mut writer, alarm);
            RAISED
        }
        Event::Cleared => {
            writer.u64(alarm.fingerprint);
            writer.u64(alarm.value.to_bits());
            CLEARED
        }
        Event::Acknowledged => {
            writer.u64(alarm.fingerprint);
            let (by, note) = alarm.acknowledgement.as_ref().map_or(("", ""), |a| (a.by.as_str(), a.note.as_str()));
            writer.text(by);
            writer.text(note);
            ACKNOWLEDGED
        }
    };
    (kind, writer.into_bytes())
}

/// Returns the payload that repeats an active alarm.
pub(super) fn encode_standing(alarm: &Alarm, now: Timestamp) -> Vec<u8> {
    let mut writer = ByteWriter::default();
    writer.i64(now.as_millis());
    encode_alarm(&mut writer, alarm);
    writer.u8(u8::from(alarm.acknowledgement.is_some()));
    if let Some(acknowledgement) = &alarm.acknowledgement {
        writer.i64(acknowledgement.at.as_millis());
        writer.text(&acknowledgement.by);
        writer.text(&acknowledgement.note);
    }
    writer.into_bytes()
}

fn encode_alarm(writer: &mut ByteWriter, alarm: &Alarm) {
    writer.u64(alarm.fingerprint);
    writer.i64(alarm.raised_at.as_millis());
    writer.u64(alarm.value.to_bits());
    for set in [&alarm.labels, &alarm.annotations] {
        writer.varint(set.len() as u64);
        for (name, value) in set.iter() {
            writer.text(name);
            writer.text(value);
        }
    }
    writer.text(&alarm.expression);
}

fn decode_alarm(reader: &mut ByteReader<'_>, at: Timestamp) -> Result<Alarm, Malformed> {
    let fingerprint = reader.u64()?;
    let raised_at = Timestamp::from_millis(reader.i64()?);
    let value = f64::from_bits(reader.u64()?);
    let mut sets = [Labels::empty(), Labels::empty()];
    for set in &mut sets {
        let count = reader.count(2)?;
        let mut pairs = Vec::with_capacity(count);
        for _ in 0..count {
            pairs.push((reader.text()?, reader.text()?));
        }
        *set = Labels::from_pairs(pairs);
    }
    let [labels, annotations] = sets;
    Ok(Alarm {
        fingerprint,
        labels,
        annotations,
        state: AlarmState::Active,
        raised_at,
        cleared_at: None,
        acknowledgement: None,
        value,
        expression: reader.text()?.to_owned(),
        changed_at: at,
    })
}
