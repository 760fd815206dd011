//! The newest lines, in memory: open batches by day and stream.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::files::day_of;
use super::lines::Lines;
use crate::model::Labels;

/// A batch is closed with the line that takes it past this; it becomes one block.
const BATCH_BYTES: usize = 512 << 10;

/// What a stream costs beside its lines.
const STREAM_BYTES: usize = 200;

/// The lines of one stream on one day.
#[derive(Debug, Clone)]
pub(super) struct HeadStream {
    pub(super) labels: Labels,
    /// Closed batches and, last, the open one. A reader holds a batch by cloning the `Arc`; the next line then
    /// goes to a copy.
    pub(super) batches: Vec<Arc<Lines>>,
}

/// The lines of one day, by stream.
pub(super) type HeadDay = BTreeMap<u64, HeadStream>;

/// Lines since the last part was written.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// The streams that the WAL has defined since then.
    streams: HashMap<u64, Labels>,
    pub(super) days: BTreeMap<i64, HeadDay>,
    pub(super) bytes: usize,
    pub(super) lines: u64,
}

impl Head {
    /// Returns the id of a label set, and whether the WAL has its definition already.
    pub(super) fn find(&self, labels: &Labels) -> (u64, bool) {
        let mut id = labels.stable_hash();
        loop {
            match self.streams.get(&id) {
                Some(known) if known == labels => return (id, true),
                // Another set with the same hash: the next number is tried.
                Some(_) => id = id.wrapping_add(1),
                None => return (id, false),
            }
        }
    }

    pub(super) fn define(&mut self, id: u64, labels: Labels) {
        self.bytes += labels.memory_bytes() + STREAM_BYTES;
        self.streams.insert(id, labels);
    }

    pub(super) fn is_defined(&self, id: u64) -> bool {
        self.streams.contains_key(&id)
    }

    pub(super) fn stream_count(&self) -> usize {
        self.streams.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Adds a line of a defined stream; one that is not is left out.
    pub(super) fn push(&mut self, id: u64, timestamp_ns: i64, line: &str) {
        let Some(labels) = self.streams.get(&id) else { return };
        let day = self.days.entry(day_of(timestamp_ns)).or_default();
        let stream = day.entry(id).or_insert_with(|| HeadStream { labels: labels.clone(), batches: Vec::new() });
        match stream.batches.last_mut().filter(|batch| batch.bytes() < BATCH_BYTES) {
            Some(open) => Arc::make_mut(open).push(timestamp_ns, line),
            None => {
                let mut open = Lines::default();
                open.push(timestamp_ns, line);
                stream.batches.push(Arc::new(open));
            }
        }
        self.bytes += line.len() + 12;
        self.lines += 1;
    }
}

/// Returns a day's streams as a part takes them: sorted by labels, batches sorted by time.
pub(super) fn packed(day: &HeadDay) -> Vec<(Labels, Vec<Lines>)> {
    let mut streams: Vec<(Labels, Vec<Lines>)> = day
        .values()
        .map(|stream| (stream.labels.clone(), stream.batches.iter().map(|batch| batch.sorted()).collect()))
        .collect();
    streams.sort_by(|a, b| a.0.cmp(&b.0));
    streams
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::logs::files::DAY_NS;

    #[test]
    fn lines_stand_by_day_and_stream() {
        let mut head = Head::default();
        for device in ["b", "a"] {
            let labels = Labels::from_pairs([("device", device)]);
            let (id, is_defined) = head.find(&labels);
            assert!(!is_defined);
            head.define(id, labels.clone());
            assert_eq!(head.find(&labels), (id, true));
            for time in [DAY_NS, 5, DAY_NS - 1] {
                head.push(id, time, "x");
            }
        }
        let shape = |day: i64| -> Vec<(String, Vec<i64>)> {
            let streams = packed(&head.days[&day]).into_iter();
            streams.map(|(l, b)| (l.to_string(), b.iter().flat_map(|b| b.times().to_vec()).collect())).collect()
        };
        let both = |times: &[i64]| {
            vec![("{device=\"a\"}".to_owned(), times.to_vec()), ("{device=\"b\"}".to_owned(), times.to_vec())]
        };
        assert_eq!(shape(0), both(&[5, DAY_NS - 1]));
        assert_eq!(shape(1), both(&[DAY_NS]));
    }

    #[test]
    fn a_reader_keeps_what_it_holds() {
        let mut head = Head::default();
        let labels = Labels::from_pairs([("a", "b")]);
        let (id, _) = head.find(&labels);
        head.define(id, labels);
        head.push(id, 1, "one");
        let held = head.days[&0][&id].batches[0].clone();
        head.push(id, 2, "two");
        assert_eq!((held.len(), head.days[&0][&id].batches[0].len()), (1, 2));
    }

    #[test]
    fn a_large_batch_is_closed() {
        let mut head = Head::default();
        let labels = Labels::from_pairs([("a", "b")]);
        let (id, _) = head.find(&labels);
        head.define(id, labels);
        for time in 0..9 {
            head.push(id, time, &"x".repeat(BATCH_BYTES / 4));
        }
        let lens: Vec<usize> = head.days[&0][&id].batches.iter().map(|b| b.len()).collect();
        assert_eq!(lens, [4, 4, 1]);
    }
}
