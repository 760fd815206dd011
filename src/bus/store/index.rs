//! What a stream holds and where, without disk, network or clock: which sequences stand in which segment, the last
//! message of each subject, the newest messages themselves, and who waits for the next.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

use super::Stored;
use super::contents::Contents;
use crate::bus::router::Node;
use crate::bus::{Subject, SubjectPattern};
use crate::model::Timestamp;

/// Subjects of one stream whose last message is known; of more, the one that was silent for longest is forgotten.
const SUBJECTS_MAX: usize = 10_000;
/// So many messages of one subject are told apart from older ones.
pub(super) const PER_SUBJECT_MAX: usize = 64;
/// The newest messages, for readers who are not behind.
const RECENT_BYTES_MAX: usize = 1 << 20;
const RECENT_MAX: usize = 4096;

/// The limits that hold from one message to the next.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    pub(super) messages_max: Option<u64>,
    pub(super) per_subject_max: Option<usize>,
}

/// Sequences of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) newest: Timestamp,
}

impl Span {
    /// Returns the span of both.
    pub(super) fn and(self, other: Span) -> Span {
        let (first, last) = (self.first.min(other.first), self.last.max(other.last));
        Span { first, last, newest: self.newest.max(other.newest) }
    }
}

#[derive(Debug, Default)]
pub(super) struct Index {
    limits: Limits,
    segments: BTreeMap<u64, Span>,
    last: u64,
    subjects: HashMap<Subject, Sequences>,
    by_last: BTreeMap<u64, Subject>,
    /// Messages whose own segment is gone, and where they stand now.
    carried: BTreeMap<u64, u64>,
    forgotten: u64,
    /// The newest messages, without a gap up to `last`.
    recent: VecDeque<Arc<Stored>>,
    recent_bytes: usize,
    waiting: Node,
    wakes: HashMap<u64, Wake>,
    next_reader: u64,
}

/// The newest messages of a subject.
#[derive(Debug, Default)]
struct Sequences {
    last: u64,
    /// Those before it that count, oldest first.
    before: VecDeque<u64>,
}

/// Somebody who reads.
#[derive(Debug)]
struct Wake {
    place: Arc<str>,
    notify: Arc<Notify>,
    state: WakeState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WakeState {
    /// It has something to read.
    Reading,
    /// It has read all there is; `is_idle` if also all of that is through.
    Armed { is_idle: bool },
    /// From this sequence on there is something for it.
    Called(u64),
}

impl Index {
    pub(super) fn new(limits: Limits) -> Self {
        Index { limits, ..Index::default() }
    }

    /// Takes over what was found in a segment at the start.
    pub(super) fn restore(&mut self, segment: u64, contents: &Contents) {
        for (sequence, subject) in &contents.carried {
            self.last = self.last.max(*sequence);
            self.note(subject, *sequence);
            self.carried.insert(*sequence, segment);
        }
        if let Some(span) = contents.span {
            self.cover(segment, span);
        }
        contents.own.iter().for_each(|(sequence, subject)| self.note(subject, *sequence));
    }

    /// Ends the taking over; sequences go on at `next` at least.
    pub(super) fn restored(&mut self, next: u64) {
        self.last = self.last.max(next.saturating_sub(1));
        let (first, by_last) = (self.first(), &self.by_last);
        self.carried.retain(|sequence, _| *sequence < first && by_last.contains_key(sequence));
    }

    /// Adds messages that are on disk for good, and calls those who wait for them.
    pub(super) fn add(&mut self, segment: u64, messages: &[Arc<Stored>]) {
        let (Some(first), Some(last)) = (messages.first(), messages.last()) else { return };
        let newest = messages.iter().map(|stored| stored.at).max().unwrap_or(Timestamp::MIN);
        self.cover(segment, Span { first: first.sequence, last: last.sequence, newest });
        let mut ids = Vec::new();
        for stored in messages {
            let subject = &stored.message.subject;
            self.note(subject, stored.sequence);
            ids.clear();
            self.waiting.find(subject.as_str(), &mut ids);
            for id in &ids {
                if let Some(wake) = self.wakes.get_mut(id)
                    && matches!(wake.state, WakeState::Armed { .. })
                {
                    wake.state = WakeState::Called(stored.sequence);
                    wake.notify.notify_one();
                }
            }
            self.recent_bytes += stored.size_bytes();
            self.recent.push_back(stored.clone());
        }
        while self.recent.len() > RECENT_MAX || self.recent_bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes -= oldest.size_bytes();
        }
    }

    fn cover(&mut self, segment: u64, span: Span) {
        self.last = self.last.max(span.last);
        let known = self.segments.entry(segment).or_insert(span);
        *known = known.and(span);
    }

    fn note(&mut self, subject: &Subject, sequence: u64) {
        let known = match self.subjects.get_mut(subject) {
            Some(known) if known.last >= sequence => return,
            Some(known) => known,
            None => self.subjects.entry(subject.clone()).or_default(),
        };
        if known.last > 0 {
            self.by_last.remove(&known.last);
            self.carried.remove(&known.last);
            let before_max = self.limits.per_subject_max.unwrap_or(1) - 1;
            if before_max > 0 {
                known.before.push_back(known.last);
                while known.before.len() > before_max {
                    known.before.pop_front();
                }
            }
        }
        known.last = sequence;
        self.by_last.insert(sequence, subject.clone());
        if self.by_last.len() > SUBJECTS_MAX
            && let Some((silent, subject)) = self.by_last.pop_first()
        {
            self.subjects.remove(&subject);
            self.carried.remove(&silent);
            self.forgotten += 1;
        }
    }

    /// Takes a segment away. `carried` are messages of it that stand in another one now.
    pub(super) fn remove(&mut self, segment: u64, carried: &[u64], into: u64) {
        let gone = self.segments.remove(&segment);
        self.carried.retain(|_, at| *at != segment);
        self.carried.extend(carried.iter().map(|sequence| (*sequence, into)));
        let end = gone.map_or(0, |span| span.last + 1);
        let lost = self.by_last.range(..end).filter(|(sequence, _)| !self.carried.contains_key(sequence));
        let lost: Vec<u64> = lost.map(|(sequence, _)| *sequence).collect();
        for sequence in lost {
            if let Some(subject) = self.by_last.remove(&sequence) {
                self.subjects.remove(&subject);
            }
        }
    }

    /// Returns the messages that go with a segment although they are the last of their subject, oldest first.
    pub(super) fn lasts_of(&self, segment: u64) -> Vec<u64> {
        let span = self.segments.get(&segment);
        let own = span.into_iter().flat_map(|span| self.by_last.range(span.first..=span.last));
        let carried = self.carried.iter().filter(|(_, at)| **at == segment).map(|(sequence, _)| *sequence);
        let first = self.counted_from();
        let mut all: Vec<u64> = own.map(|(sequence, _)| *sequence).chain(carried).filter(|n| *n >= first).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Returns what a segment holds of its own.
    pub(super) fn span(&self, segment: u64) -> Option<Span> {
        self.segments.get(&segment).copied()
    }

    /// Returns the newest stamp there is.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.segments.values().map(|span| span.newest).max()
    }

    /// Returns the last sequence there is; 0 before the first.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Returns the first sequence that stands in a segment of its own.
    pub(super) fn first(&self) -> u64 {
        self.segments.values().map(|span| span.first).min().unwrap_or(self.last + 1)
    }

    /// Returns the sequence from which messages count, by their number.
    pub(super) fn counted_from(&self) -> u64 {
        match self.limits {
            Limits { messages_max: Some(max), per_subject_max: None } => (self.last + 1).saturating_sub(max),
            Limits { .. } => 0,
        }
    }

    /// Returns about how many messages there are.
    pub(super) fn count(&self) -> u64 {
        match self.limits.per_subject_max {
            Some(_) => self.subjects.values().map(|known| 1 + known.before.len() as u64).sum(),
            None => self.last + 1 - self.first().max(self.counted_from()) + self.carried.len() as u64,
        }
    }

    pub(super) fn subjects(&self) -> usize {
        self.subjects.len()
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Tells whether a message counts beside later ones of its subject.
    pub(super) fn is_live(&self, subject: &Subject, sequence: u64) -> bool {
        if sequence < self.counted_from() {
            return false;
        }
        let known = self.limits.per_subject_max.and_then(|_| self.subjects.get(subject));
        known.is_none_or(|known| sequence >= known.before.front().copied().unwrap_or(known.last))
    }

    /// Returns messages of a pattern that are the last of their subject, oldest first, and where each stands.
    pub(super) fn lasts(&self, from: u64, until: u64, pattern: &SubjectPattern, max: usize) -> Vec<(u64, u64)> {
        let from = from.max(self.counted_from());
        if from > until {
            return Vec::new();
        }
        let matching = self.by_last.range(from..=until).filter(|(_, subject)| pattern.matches(subject));
        matching.filter_map(|(sequence, _)| Some((*sequence, self.segment_of(*sequence)?))).take(max).collect()
    }

    fn segment_of(&self, sequence: u64) -> Option<u64> {
        let holds = |span: &Span| (span.first..=span.last).contains(&sequence);
        let carried = self.carried.get(&sequence).copied();
        carried.or_else(|| self.segments.iter().find(|(_, span)| holds(span)).map(|(number, _)| *number))
    }

    /// Returns the segment in which reading from a sequence on begins, with what of it counts; nothing behind the last.
    pub(super) fn segment_from(&self, sequence: u64) -> Option<(u64, Span)> {
        let behind = self.segments.iter().filter(|(_, span)| span.last >= sequence);
        behind.min_by_key(|(_, span)| span.first).map(|(number, span)| (*number, *span))
    }

    /// Returns the segments from the first on that holds a message of this time or later, oldest first.
    pub(super) fn segments_since(&self, at: Timestamp) -> Vec<u64> {
        self.segments.iter().skip_while(|(_, span)| span.newest < at).map(|(number, _)| *number).collect()
    }

    /// Returns the newest messages from a sequence on, if they are at hand.
    pub(super) fn recent(&self, from: u64) -> Option<impl Iterator<Item = &Arc<Stored>>> {
        let first = self.recent.front()?.sequence;
        let skipped = usize::try_from(from.checked_sub(first)?).ok()?;
        Some(self.recent.iter().skip(skipped))
    }

    /// Adds a reader; returns its number and how it is called.
    pub(super) fn join(&mut self, pattern: &SubjectPattern, place: Arc<str>) -> (u64, Arc<Notify>) {
        self.next_reader += 1;
        let (id, notify) = (self.next_reader, Arc::new(Notify::new()));
        self.waiting.insert(pattern, id);
        self.wakes.insert(id, Wake { place, notify: notify.clone(), state: WakeState::Reading });
        (id, notify)
    }

    /// Lets a reader wait that has read up to `next`. Returns whether it has to: not if there is more.
    pub(super) fn arm(&mut self, id: u64, next: u64, is_idle: bool) -> bool {
        let must_wait = self.last < next;
        if let Some(wake) = self.wakes.get_mut(&id) {
            wake.state = if must_wait { WakeState::Armed { is_idle } } else { WakeState::Reading };
        }
        must_wait
    }

    /// Returns from where on a reader that waited has something to read; all up to the last is nothing for it if it
    /// was not called.
    pub(super) fn called(&mut self, id: u64) -> u64 {
        let Some(wake) = self.wakes.get_mut(&id) else { return 0 };
        match std::mem::replace(&mut wake.state, WakeState::Reading) {
            WakeState::Called(from) => from,
            WakeState::Armed { .. } => self.last + 1,
            WakeState::Reading => 0,
        }
    }

    /// Removes a reader.
    pub(super) fn leave(&mut self, pattern: &SubjectPattern, id: u64) {
        self.waiting.remove(pattern.tokens(), id);
        self.wakes.remove(&id);
    }

    /// Returns the places of readers for whom all there is is through.
    pub(super) fn idle_places(&self) -> impl Iterator<Item = Arc<str>> {
        let idle = self.wakes.values().filter(|wake| wake.state == WakeState::Armed { is_idle: true });
        idle.map(|wake| wake.place.clone())
    }
}
