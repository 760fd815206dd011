use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::delays::{Turn, Wait};
use super::journal::{Journal, WAIT, encode, encode_wait};
use super::snapshot::{Event, HistoryQuery, Transition};
use crate::model::{Acknowledgement, Alarm, AlarmState, Labels, Timestamp};
use crate::storage::disk::dump::records;
use crate::storage::disk::{Disk, FaultyDisk, Segments, SegmentsOptions};

const RAISED_AT: i64 = 1_700_000_000_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(RAISED_AT + ms)
}

fn alarm() -> Alarm {
    Alarm {
        fingerprint: 0x1122_3344_5566_7788,
        labels: Labels::from_pairs([("alertname", "Hot"), ("severity", "critical")]),
        annotations: Labels::from_pairs([("summary", "81.5 °F")]),
        state: AlarmState::Active,
        raised_at: at(0),
        cleared_at: None,
        acknowledgement: None,
        value: 81.5,
        expression: "temp > 80".to_owned(),
        source_url: "http://p/a".to_owned(),
        rule_version: 0xabcd_1234,
        changed_at: at(0),
    }
}

fn acknowledged() -> Alarm {
    let acknowledgement = Acknowledgement { by: "Eva".to_owned(), note: "on it".to_owned(), at: at(60_000) };
    Alarm { acknowledgement: Some(acknowledgement), changed_at: at(60_000), ..alarm() }
}

fn cleared() -> Alarm {
    let cleared_at = Some(at(90_000));
    Alarm { state: AlarmState::Cleared, cleared_at, changed_at: at(90_000), value: 79.0, ..acknowledged() }
}

fn event(event: Event, alarm: Alarm) -> Transition {
    Transition::of(event, alarm.changed_at, alarm)
}

fn shelved() -> Transition {
    let told = event(Event::Shelved, Alarm { changed_at: at(70_000), ..acknowledged() });
    Transition { by: "Jo".to_owned(), note: "spare part ordered".to_owned(), until: Some(at(3_600_000)), ..told }
}

fn standing() -> Transition {
    Transition::of(Event::Raised, at(61_000), acknowledged())
}

#[test]
fn a_journal_of_version_3() {
    let records = records(include_str!("../../tests/formats/alarms_journal_3.hex"));
    let told = [event(Event::Raised, alarm()), event(Event::Acknowledged, acknowledged()), standing(), shelved()];
    let cleared = event(Event::Cleared, cleared());
    let wait = Wait { at: at(120_000), fingerprint: alarm().fingerprint, turn: Some((Turn::Begin, at(130_000))) };
    let mut written: Vec<(u8, Vec<u8>)> =
        [21, 23, 24, 25].into_iter().zip(&told).chain([(22, &cleared)]).map(|(k, t)| (k, encode(t))).collect();
    written.push((WAIT, encode_wait(&wait)));
    assert_eq!(records, written);

    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
    let folder = Path::new("/journal");
    let options = SegmentsOptions { segment_bytes_max: 1 << 20, is_synced: true, has_parity: false };
    let (segments, _) = Segments::open(disk.clone(), folder, options, &mut |_| Ok(())).unwrap();
    segments.append(11, b"of version 2").unwrap();
    for (kind, payload) in &records {
        segments.append(*kind, payload).unwrap();
    }
    let (journal, replayed) = Journal::open(disk, folder).unwrap();
    assert_eq!((replayed.damages, replayed.unknown), (0, 1));
    assert_eq!(replayed.waits, [(alarm().fingerprint, (Turn::Begin, at(130_000)))].into());
    assert_eq!(replayed.alarms.into_values().collect::<Vec<_>>(), [(*cleared.alarm).clone()]);
    let [raised, acknowledged, _, shelved] = told;
    let expected = [raised, acknowledged, shelved, cleared];
    assert_eq!(Vec::from(replayed.history), expected);
    let mut found = Vec::new();
    journal.pages().visit(&HistoryQuery::default(), &mut |transition| {
        found.push(transition);
        true
    });
    found.reverse();
    assert_eq!(found, expected);
}

#[test]
fn damage_costs_a_record_and_never_the_start() {
    for seed in 0..200_u64 {
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(seed));
        let folder = Path::new("/journal");
        let options = SegmentsOptions { segment_bytes_max: 1 << 20, is_synced: true, has_parity: false };
        let (segments, _) = Segments::open(disk.clone(), folder, options, &mut |_| Ok(())).unwrap();
        let (kind, payload) = (21, encode(&event(Event::Raised, alarm())));
        // The payload cut, or one byte of it changed: the record checks out, its content does not.
        let mut broken = payload.clone();
        let place = usize::try_from(seed).unwrap() % payload.len();
        if seed % 2 == 0 {
            broken.truncate(place)
        } else {
            broken[place] ^= 0xff
        }
        segments.append(kind, &broken).unwrap();
        segments.append(kind, &payload).unwrap();
        let (_, replayed) = Journal::open(disk, folder).unwrap();
        assert!(replayed.alarms.contains_key(&alarm().fingerprint), "seed {seed}");
    }
}

#[test]
fn old_segments_go_and_what_stands_stays() {
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
    let folder = Path::new("/journal");
    let (mut journal, _) = Journal::open(disk.clone(), folder).unwrap();
    journal.write(&[], &[event(Event::Raised, alarm()), event(Event::Acknowledged, acknowledged())]).unwrap();
    let long = Alarm { fingerprint: 9, expression: "x".repeat(300_000), ..alarm() };
    for i in 0..8_i64 {
        let changed_at = at(i * 86_400_000);
        journal.write(&[], &[event(Event::Raised, Alarm { changed_at, ..long.clone() })]).unwrap();
    }
    let age = Duration::from_secs(3 * 86_400);
    assert!(journal.prune(age, at(9 * 86_400_000), [acknowledged()].iter()).unwrap());
    drop(journal);
    let (mut journal, replayed) = Journal::open(disk, folder).unwrap();
    assert_eq!(replayed.alarms.get(&alarm().fingerprint), Some(&acknowledged()));
    assert!(replayed.history.len() < 9, "old transitions are gone: {}", replayed.history.len());
    assert!(!journal.prune(age, at(9 * 86_400_000), std::iter::empty()).unwrap());
}
