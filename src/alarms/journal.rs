//! Every transition on disk: replayed at start, searched afterwards.
//!
//! # Format
//!
//! Records in segments (`storage/disk/segments.rs`) in `alarms/journal`. Version 3, little-endian; text is a
//! length as varint and UTF-8; a label set is a count as varint, then name and value as text, sorted by name; a
//! time is milliseconds (i64), the smallest there is for none.
//!
//! | kind | record       |
//! |------|--------------|
//! | 21   | raised       |
//! | 22   | cleared      |
//! | 23   | acknowledged |
//! | 24   | standing     |
//! | 25   | shelved      |
//! | 26   | back (no longer shelved, silenced or muted) |
//! | 27   | silenced     |
//! | 28   | inhibited (muted by another alarm) |
//! | 29   | a begin or an end that waits (`delays.rs`): time, fingerprint (8), 0 begin, 1 end or 2 neither any more (1), when it is due (time or none) |
//!
//! All but the last are:
//!
//! | field          | bytes  | meaning                                               |
//! |----------------|--------|-------------------------------------------------------|
//! | at             | 8      | when it happened                                      |
//! | fingerprint    | 8      | of the alarm; the alarm is as it was right after      |
//! | state          | 1      | 0 active, 1 cleared                                   |
//! | raised         | 8      | time                                                  |
//! | cleared        | 8      | time or none                                          |
//! | value          | 8      | f64 bits                                              |
//! | rule version   | 4      | of the rule's definition                              |
//! | labels         |        | label set                                             |
//! | annotations    |        | label set                                             |
//! | expression     |        | text                                                  |
//! | source         |        | text: where another program shows it; empty if none   |
//! | acknowledged   | 1      | 0 or 1; if 1: when (8), who (text), note (text)        |
//! | by             |        | text: who did it; empty if nobody                     |
//! | note           |        | text: what they wrote                                 |
//! | until          | 8      | time or none: end of shelving or silence              |
//!
//! Each record tells its whole alarm, so that it can be read without those before it: damage costs one line of the
//! history, and a search begins anywhere. `standing` repeats an active alarm before segments that raised it are
//! removed; it is no transition.
//! Damage: a payload that does not fit costs that record. Growth: a new kind; kinds that are not known, those of
//! versions 1 and 2 (1 to 17) among them, are passed over.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::delays::{Turn, Wait};
use super::snapshot::{Event, HistoryQuery, Transition};
use super::withheld::Withheld;
use crate::model::{Acknowledgement, Alarm, AlarmState, Labels, Timestamp};
use crate::storage::disk::{ByteReader, ByteWriter, Disk, Malformed, Record, Segments, SegmentsOptions};

const STANDING: u8 = 24;
pub(super) const WAIT: u8 = 29;

/// A segment is closed at this size: small, so that old ones can go one by one.
const SEGMENT_BYTES_MAX: u64 = 1 << 20;

/// Upper bound of the journal: some 250 000 transitions. Above it the oldest segments go before their time.
const JOURNAL_BYTES_MAX: u64 = 128 << 20;

/// Transitions kept in memory, at most; older ones are read from the disk.
pub(super) const HISTORY_MAX: usize = 2_000;

/// Stands for no time.
const NONE: i64 = i64::MIN;

/// The journal: a log of transitions with the times of each segment.
#[derive(Debug)]
pub(super) struct Journal {
    segments: Arc<Segments>,
    /// Oldest and newest time by segment.
    times: BTreeMap<u64, (Timestamp, Timestamp)>,
}

/// What was found at start.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// Alarms by fingerprint, active or cleared last.
    pub(super) alarms: BTreeMap<u64, Alarm>,
    /// Alarms that nobody was told of last.
    pub(super) withheld: Withheld,
    /// Begins and ends that waited last, and when they are due.
    pub(super) waits: BTreeMap<u64, (Turn, Timestamp)>,
    /// The newest transitions, oldest first.
    pub(super) history: VecDeque<Transition>,
    /// Places that could not be read.
    pub(super) damages: usize,
    /// Records of another version.
    pub(super) unknown: usize,
}

/// A view of the journal that is read without holding up who writes.
#[derive(Debug)]
pub(super) struct Pages {
    segments: Arc<Segments>,
    times: BTreeMap<u64, (Timestamp, Timestamp)>,
}

impl Journal {
    /// Opens the journal and replays it.
    pub(super) fn open(disk: Arc<dyn Disk>, folder: &Path) -> crate::storage::disk::Result<(Journal, Replayed)> {
        let options = SegmentsOptions { segment_bytes_max: SEGMENT_BYTES_MAX, is_synced: true, has_parity: false };
        let mut replayed = Replayed::default();
        let mut times = BTreeMap::new();
        let (segments, found) = Segments::open(disk, folder, options, &mut |record| {
            if record.kind == WAIT {
                let wait = decode_wait(record.payload)?;
                note_time(&mut times, record.segment, wait.at);
                replayed.take_wait(wait);
                return Ok(());
            }
            let Some((kind, transition)) = decode(&record)? else {
                replayed.unknown += 1;
                return Ok(());
            };
            note_time(&mut times, record.segment, transition.at);
            replayed.take(kind, transition);
            Ok(())
        })?;
        replayed.damages = found.damages.len();
        Ok((Journal { segments: Arc::new(segments), times }, replayed))
    }

    /// Writes waits and transitions, and makes transitions last. Blocking: one file sync if there are any; waits alone
    /// outlive the process, not a power cut, and cost no sync.
    pub(super) fn write(&mut self, waits: &[Wait], transitions: &[Transition]) -> crate::storage::disk::Result<()> {
        for wait in waits {
            self.append(WAIT, &encode_wait(wait), wait.at)?;
        }
        for transition in transitions {
            self.append(kind_of(transition.event), &encode(transition), transition.at)?;
        }
        if transitions.is_empty() { Ok(()) } else { self.segments.sync().map(|_| ()) }
    }

    fn append(&mut self, kind: u8, payload: &[u8], at: Timestamp) -> crate::storage::disk::Result<()> {
        self.segments.append(kind, payload)?;
        if let Some((_, number)) = self.segments.numbers() {
            note_time(&mut self.times, number, at);
        }
        Ok(())
    }

    /// Returns what can be searched.
    pub(super) fn pages(&self) -> Pages {
        Pages { segments: self.segments.clone(), times: self.times.clone() }
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
        let is_old = |number: &u64| self.times.get(number).is_none_or(|(_, at)| *at < now - age);
        let mut before = (oldest..newest).find(|number| !is_old(number)).unwrap_or(newest);
        if self.segments.bytes() > JOURNAL_BYTES_MAX {
            before = before.max(oldest + (newest - oldest).div_ceil(8));
        }
        if before == oldest {
            return Ok(false);
        }
        for alarm in standing {
            self.append(STANDING, &encode(&Transition::of(Event::Raised, now, alarm.clone())), now)?;
        }
        self.segments.sync()?;
        self.segments.remove_before(before)?;
        self.times.retain(|number, _| *number >= before);
        Ok(true)
    }
}

impl Pages {
    /// Hands on the transitions that a query wants, newest first, until `visit` has enough. What cannot be read is
    /// passed over. Blocking: reads the segments of the query's time, each in memory alone.
    pub(super) fn visit(&self, query: &HistoryQuery, visit: &mut dyn FnMut(Transition) -> bool) {
        let mut below = u64::MAX;
        for (number, (oldest, newest)) in self.times.iter().rev() {
            if query.start.is_some_and(|start| *newest < start) || query.end.is_some_and(|end| *oldest >= end) {
                continue;
            }
            let mut found = Vec::new();
            let mut first = below;
            let read = self.segments.read(*number, &mut |record| {
                first = first.min(record.sequence);
                if record.sequence < below
                    && let Ok(Some((kind, transition))) = decode(&record)
                    && kind != STANDING
                    && query.wants(&transition)
                {
                    found.push(transition);
                }
            });
            if let Err(error) = read {
                tracing::warn!(%error, segment = number, "cannot read a part of the alarm journal");
            }
            below = first;
            for transition in found.into_iter().rev() {
                if !visit(transition) {
                    return;
                }
            }
        }
    }
}

impl Replayed {
    fn take(&mut self, kind: u8, transition: Transition) {
        let fingerprint = transition.alarm.fingerprint;
        let mut alarm = (*transition.alarm).clone();
        if kind == STANDING {
            alarm.changed_at = alarm.acknowledgement.as_ref().map_or(alarm.raised_at, |a| a.at);
            self.alarms.insert(fingerprint, alarm);
            return;
        }
        if matches!(transition.event, Event::Raised | Event::Cleared) {
            self.waits.remove(&fingerprint);
        }
        self.alarms.insert(fingerprint, alarm);
        self.withheld.replay(&transition);
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(transition);
    }

    fn take_wait(&mut self, wait: Wait) {
        match wait.turn {
            Some(turn) => self.waits.insert(wait.fingerprint, turn),
            None => self.waits.remove(&wait.fingerprint),
        };
    }
}

/// Returns a wait's payload.
pub(super) fn encode_wait(wait: &Wait) -> Vec<u8> {
    let mut writer = ByteWriter::default();
    writer.i64(wait.at.as_millis());
    writer.u64(wait.fingerprint);
    writer.u8(match wait.turn {
        Some((Turn::Begin, _)) => 0,
        Some((Turn::End, _)) => 1,
        None => 2,
    });
    writer.i64(millis(wait.turn.map(|(_, due)| due)));
    writer.into_bytes()
}

fn decode_wait(payload: &[u8]) -> Result<Wait, Malformed> {
    let mut reader = ByteReader::new(payload);
    let (at, fingerprint) = (Timestamp::from_millis(reader.i64()?), reader.u64()?);
    let (turn, due) = (reader.u8()?, Timestamp::from_millis(reader.i64()?));
    reader.end()?;
    let turn = match turn {
        0 => Some((Turn::Begin, due)),
        1 => Some((Turn::End, due)),
        _ => None,
    };
    Ok(Wait { at, fingerprint, turn })
}

fn note_time(times: &mut BTreeMap<u64, (Timestamp, Timestamp)>, segment: u64, at: Timestamp) {
    let (oldest, newest) = times.entry(segment).or_insert((at, at));
    (*oldest, *newest) = ((*oldest).min(at), (*newest).max(at));
}

fn kind_of(event: Event) -> u8 {
    match event {
        Event::Raised => 21,
        Event::Cleared => 22,
        Event::Acknowledged => 23,
        Event::Shelved => 25,
        Event::Back => 26,
        Event::Silenced => 27,
        Event::Inhibited => 28,
    }
}

fn millis(time: Option<Timestamp>) -> i64 {
    time.map_or(NONE, Timestamp::as_millis)
}

fn time(millis: i64) -> Option<Timestamp> {
    (millis != NONE).then(|| Timestamp::from_millis(millis))
}

/// Returns a transition's payload.
pub(super) fn encode(transition: &Transition) -> Vec<u8> {
    let alarm = &transition.alarm;
    let mut writer = ByteWriter::default();
    writer.i64(transition.at.as_millis());
    writer.u64(alarm.fingerprint);
    writer.u8(u8::from(alarm.state == AlarmState::Cleared));
    writer.i64(alarm.raised_at.as_millis());
    writer.i64(millis(alarm.cleared_at));
    writer.u64(alarm.value.to_bits());
    writer.u32(alarm.rule_version);
    for set in [&alarm.labels, &alarm.annotations] {
        writer.varint(set.len() as u64);
        for (name, value) in set.iter() {
            writer.text(name);
            writer.text(value);
        }
    }
    writer.text(&alarm.expression);
    writer.text(&alarm.source_url);
    writer.u8(u8::from(alarm.acknowledgement.is_some()));
    if let Some(acknowledgement) = &alarm.acknowledgement {
        writer.i64(acknowledgement.at.as_millis());
        writer.text(&acknowledgement.by);
        writer.text(&acknowledgement.note);
    }
    writer.text(&transition.by);
    writer.text(&transition.note);
    writer.i64(millis(transition.until));
    writer.into_bytes()
}

/// Returns kind and transition of a record; `None` if the kind is not known. A standing alarm is told as raised.
pub(super) fn decode(record: &Record<'_>) -> Result<Option<(u8, Transition)>, Malformed> {
    let event = match record.kind {
        21 | STANDING => Event::Raised,
        22 => Event::Cleared,
        23 => Event::Acknowledged,
        25 => Event::Shelved,
        26 => Event::Back,
        27 => Event::Silenced,
        28 => Event::Inhibited,
        _ => return Ok(None),
    };
    let mut reader = ByteReader::new(record.payload);
    let at = Timestamp::from_millis(reader.i64()?);
    let alarm = decode_alarm(&mut reader, at)?;
    let (by, note) = (reader.text()?.to_owned(), reader.text()?.to_owned());
    let until = time(reader.i64()?);
    reader.end()?;
    Ok(Some((record.kind, Transition { event, at, alarm: Arc::new(alarm), by, note, until })))
}

fn decode_alarm(reader: &mut ByteReader<'_>, at: Timestamp) -> Result<Alarm, Malformed> {
    let fingerprint = reader.u64()?;
    let state = if reader.u8()? == 0 { AlarmState::Active } else { AlarmState::Cleared };
    let raised_at = Timestamp::from_millis(reader.i64()?);
    let cleared_at = time(reader.i64()?);
    let value = f64::from_bits(reader.u64()?);
    let rule_version = reader.u32()?;
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
    let (expression, source_url) = (reader.text()?.to_owned(), reader.text()?.to_owned());
    let acknowledgement = match reader.u8()? {
        0 => None,
        _ => Some(Acknowledgement {
            at: Timestamp::from_millis(reader.i64()?),
            by: reader.text()?.to_owned(),
            note: reader.text()?.to_owned(),
        }),
    };
    Ok(Alarm {
        fingerprint,
        labels,
        annotations,
        state,
        raised_at,
        cleared_at,
        acknowledgement,
        value,
        expression,
        source_url,
        rule_version,
        changed_at: at,
    })
}
