use super::files::Files;
use super::format::*;
use super::*;
use crate::storage::disk::{ByteReader, Fault, FaultyDisk};

fn entry(number: u64, stream: &str, body: &str) -> Arc<Entry> {
    Arc::new(Entry {
        number,
        stream: stream.into(),
        id: format!("box.{number}").into(),
        at: Timestamp::from_millis(1_700_000_000_000 + i64::try_from(number).unwrap()),
        subject: format!("{}.line1", stream.to_lowercase()).parse().unwrap(),
        device_id: number.is_multiple_of(2).then(|| "press".into()),
        correlation_id: None,
        payload: body.to_owned().into(),
    })
}

fn numbers(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.number).collect()
}

#[test]
fn a_spool_of_version_1() {
    let dump = include_str!("../../../tests/formats/bus_spool_format_1.hex");
    let mut payloads: Vec<(u8, Vec<u8>)> = Vec::new();
    for line in dump.lines().map(|l| l.split('#').next().unwrap_or("").trim()).filter(|l| !l.is_empty()) {
        match line.strip_prefix("kind ") {
            Some(kind) => payloads.push((kind.parse().unwrap(), Vec::new())),
            None => {
                let bytes = line.split_whitespace().map(|b| u8::from_str_radix(b, 16).unwrap());
                payloads.last_mut().unwrap().1.extend(bytes);
            }
        }
    }
    assert_eq!(payloads.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [BATCH, MARKS]);
    let entries = decode_batch(&payloads[0].1).unwrap();
    let expected = [entry(6, "EVENTS", "{\"on\":true}"), entry(7, "ALERTS", "80")];
    assert_eq!(entries, expected.iter().map(|e| Entry::clone(e)).collect::<Vec<_>>());
    assert_eq!(encode_batch(&expected).unwrap().1, payloads[0].1);
    let marks = decode_marks(&payloads[1].1).unwrap();
    assert_eq!(marks, [Mark { stream: "EVENTS".into(), done: 6, sequence: 300, sent: 7 }]);
    assert_eq!(encode_marks(&marks), payloads[1].1);
}

#[test]
fn a_batch_whose_numbers_do_not_rise_is_refused() {
    let (_, batch) = encode_batch(&[entry(2, "A", "b"), entry(1, "A", "b")]).unwrap();
    let refused = decode_batch(&batch).unwrap_err().to_string();
    assert!(refused.contains("a span that holds more than its numbers"), "{refused}");
    let (_, batch) = encode_batch(&[entry(2, "A", "b"), entry(1, "B", "b")]).unwrap();
    let refused = decode_batch(&batch).unwrap_err().to_string();
    assert!(refused.contains("numbers that do not rise"), "{refused}");
}

#[test]
fn a_number_that_none_can_follow_is_refused() {
    let (_, batch) = encode_batch(&[Arc::new(Entry { number: u64::MAX, ..(*entry(1, "A", "b")).clone() })]).unwrap();
    let refused = decode_batch(&batch).unwrap_err().to_string();
    assert!(refused.contains("a number that none can follow"), "{refused}");
    let mark = Mark { stream: "A".into(), done: 1, sequence: u64::MAX, sent: 1 };
    assert!(decode_marks(&encode_marks(&[mark])).is_err());
}

#[test]
fn bytes_that_are_no_batch_are_refused() {
    let (_, batch) = encode_batch(&[entry(1, "A", "body"), entry(2, "B", "")]).unwrap();
    for length in 0..batch.len() {
        assert!(decode_batch(&batch[..length]).is_err(), "cut to {length}");
    }
    for at in 0..batch.len() {
        let mut damaged = batch.clone();
        damaged[at] ^= 0x55;
        let _ = decode_batch(&damaged);
        let _ = decode_head(&mut ByteReader::new(&damaged));
        let _ = decode_marks(&damaged);
    }
}

#[test]
fn mangled_seeds_do_no_harm() {
    for seed in seeds() {
        fuzz(&seed);
        for length in 0..seed.len() {
            fuzz(&seed[..length]);
        }
        for at in 0..seed.len() {
            for bits in [0x01, 0x80, 0xff] {
                let mut mangled = seed.clone();
                mangled[at] ^= bits;
                fuzz(&mangled);
            }
        }
    }
}

#[test]
fn what_was_appended_is_read_from_any_number_on() {
    let disk = FaultyDisk::new(1);
    let (files, _) = Files::open(disk.shared(), Path::new("/spool")).unwrap();
    for n in 0..10 {
        files
            .append(&[entry(3 * n + 1, "A", "x"), entry(3 * n + 2, "B", "y"), entry(3 * n + 3, "A", "z")], &[])
            .unwrap();
    }
    files.sync().unwrap();
    let (entries, through) = files.read_from(5, usize::MAX).unwrap();
    assert_eq!((numbers(&entries), through), ((5..=30).collect(), 30));
    let (entries, through) = files.read_from(5, 1).unwrap();
    assert_eq!((numbers(&entries), through), (vec![5, 6], 6), "one batch");
    assert_eq!((files.count_behind("A", 0, None), files.count_behind("A", 4, None)), (20, 17));
    assert_eq!((files.count_behind("B", 30, None), files.count_behind("C", 0, None)), (0, 0));
}

#[test]
fn a_start_finds_what_was_written_and_how_far_the_streams_were() {
    let disk = FaultyDisk::new(1);
    let mark = |done| Mark { stream: "A".into(), done, sequence: done * 10, sent: done };
    let (files, _) = Files::open(disk.shared(), Path::new("/spool")).unwrap();
    files.append(&[entry(1, "A", "x"), entry(2, "A", "y")], &[mark(1)]).unwrap();
    files.append(&[entry(3, "A", "z")], &[mark(2)]).unwrap();
    files.sync().unwrap();
    drop(files);
    let (files, found) = Files::open(disk.shared(), Path::new("/spool")).unwrap();
    assert_eq!((found.last, found.marks["A"].clone(), found.damages.len()), (3, vec![mark(1), mark(2)], 0));
    let mut queue = Queue::new(found.last + 1);
    restore(&mut queue, &files, found, Duration::ZERO);
    assert_eq!((queue.pending(), queue.wants_from_disk(), queue.next_number()), (1, Some(3), 4));
}

#[test]
fn a_segment_that_goes_takes_nothing_else_along() {
    let disk = FaultyDisk::new(1);
    let (files, _) = Files::open(disk.shared(), Path::new("/spool")).unwrap();
    let mark = Mark { stream: "A".into(), done: 1, sequence: 10, sent: 1 };
    files.append(&[entry(1, "A", "x")], std::slice::from_ref(&mark)).unwrap();
    let oldest = files.oldest().unwrap();
    assert_eq!((oldest.spans.len(), oldest.spans[0].last), (1, 1));
    files.remove(&oldest, std::slice::from_ref(&mark)).unwrap();
    drop(files);
    let (files, found) = Files::open(disk.shared(), Path::new("/spool")).unwrap();
    assert_eq!((found.last, &found.marks["A"]), (1, &vec![mark]), "how far it was stands elsewhere");
    assert_eq!(files.read_from(0, usize::MAX).unwrap().0, []);
}

/// The disk fails at each call in turn; what was synced is there after a power cut, whatever happened.
#[test]
fn what_was_synced_survives_a_disk_that_fails_and_a_power_cut() {
    for call in 0..40 {
        let disk = FaultyDisk::new(call);
        let (files, _) = Files::open(disk.shared(), Path::new("/spool")).unwrap();
        disk.fail_call(disk.calls() + call, Fault::Eio);
        let (mut appended, mut synced) = (0, 0);
        for n in 1..=20 {
            // As the keeper: what was appended is not appended again.
            if files.append(&[entry(appended + 1, "A", "x")], &[]).is_ok() {
                appended += 1;
            }
            if n % 2 == 0 && files.sync().is_ok() {
                synced = appended;
                let (entries, through) = files.read_from(1, usize::MAX).unwrap();
                assert_eq!((numbers(&entries), through), ((1..=synced).collect::<Vec<_>>(), synced), "call {call}");
            }
        }
        drop(files);
        disk.crash();
        let (files, _) = Files::open(disk.shared(), Path::new("/spool")).unwrap();
        let found = numbers(&files.read_from(1, usize::MAX).unwrap().0);
        let wanted: Vec<u64> = (1..=synced).collect();
        assert!(found.starts_with(&wanted) && found.len() as u64 <= appended, "call {call}: {found:?}, {synced}");
    }
}
