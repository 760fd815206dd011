//! What waits for NATS, in order, and how far each stream has come: decisions without disk, network or clock.
//!
//! Messages are numbered through. Each stream has a lane: its messages that are not acknowledged, oldest first, of
//! which the first few are on their way. When the lanes hold too much, what comes behind stays on disk alone
//! (`tail`) until there is room.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::format::Mark;
use super::{Entry, Lost};
use crate::model::Timestamp;

/// Bytes of messages in the lanes; what comes behind is read from disk when its turn comes.
pub(super) const LANES_BYTES_MAX: usize = 8 << 20;
/// Bytes that may wait for the disk; beyond it messages are refused.
const UNWRITTEN_BYTES_MAX: usize = 8 << 20;
/// So many bytes are written without waiting for more.
const BATCH_BYTES: usize = 256 << 10;
/// Messages of one stream that may be on their way.
const IN_FLIGHT_MAX: usize = 512;
/// Waits after a refusal of JetStream.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long an acknowledgement may take before a message is sent again.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);
/// How often it is noted how far a stream has come.
const STEP: Duration = Duration::from_secs(1);

/// Hears when a message is kept, or that it is lost.
pub(super) type Waiter = oneshot::Sender<Result<(), Lost>>;

#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: BTreeMap<Arc<str>, Lane>,
    next_number: u64,
    lanes_bytes: usize,
    /// Messages from this number on are not in the lanes.
    tail: Option<u64>,
    /// Not on disk yet, oldest first, and since when.
    unwritten: VecDeque<Arc<Entry>>,
    unwritten_bytes: usize,
    unwritten_since: Option<Duration>,
    waiters: BTreeMap<u64, Waiter>,
}

#[derive(Debug, Default)]
struct Lane {
    /// Not done with, oldest first; the first `sent` of them are on their way.
    waiting: VecDeque<Slot>,
    sent: usize,
    /// All up to this number are done with: acknowledged, or dropped and counted.
    done: u64,
    /// The stream's sequence of the last of them that was acknowledged.
    sequence: u64,
    /// The highest sequence that was heard of.
    heard: u64,
    /// The last number that was handed to NATS.
    sent_number: u64,
    /// How many messages are not done with, in memory and on disk.
    pending: u64,
    steps: VecDeque<Step>,
    /// All up to this number were acknowledged long enough ago.
    released: u64,
    retry_at: Duration,
    refusals: u32,
    /// Nothing of it was acknowledged since it came from a backup: the stream may have gone on since, by another box.
    is_copy: bool,
}

#[derive(Debug)]
struct Slot {
    entry: Arc<Entry>,
    /// Done with: the stream's sequence, or zero if it was given up.
    done: Option<u64>,
    sent_at: Duration,
}

/// How far a stream had come at some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) number: u64,
    pub(super) sequence: u64,
    at: Duration,
}

/// What JetStream said of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acknowledged {
    /// It is in the stream.
    Stored,
    /// It was there before.
    Repeated,
    /// It is there, but the stream has forgotten what it had before.
    WentBack,
    /// Nobody waits for that.
    Unknown,
}

impl Queue {
    /// Returns a queue that goes on with this number.
    pub(super) fn new(next_number: u64) -> Self {
        Queue { next_number: next_number.max(1), ..Queue::default() }
    }

    /// Takes over how far a stream had come before a restart, and how many of its messages are on disk.
    pub(super) fn restore(&mut self, mark: &Mark, pending: u64, now: Duration) {
        let lane = self.lanes.entry(mark.stream.clone()).or_default();
        (lane.done, lane.sequence, lane.heard, lane.sent_number) = (mark.done, mark.sequence, mark.sequence, mark.sent);
        lane.pending = pending;
        if lane.steps.back().is_none_or(|step| step.number < mark.done) {
            lane.steps.push_back(Step { number: mark.done, sequence: mark.sequence, at: now });
        }
        if pending > 0 {
            self.tail = Some(self.tail.unwrap_or(u64::MAX).min(mark.done + 1));
        }
    }

    /// Notes that all of it comes from a backup: whether it was sent since then is not known, so all of it counts as sent.
    pub(super) fn came_from_backup(&mut self) {
        let last = self.next_number - 1;
        for lane in self.lanes.values_mut() {
            (lane.sent_number, lane.is_copy) = (last, true);
        }
    }

    /// Takes over an older step of a stream, before [`Queue::restore`].
    pub(super) fn restore_step(&mut self, mark: &Mark, now: Duration) {
        let lane = self.lanes.entry(mark.stream.clone()).or_default();
        if lane.steps.back().is_none_or(|step| step.number < mark.done && step.sequence < mark.sequence) {
            lane.steps.push_back(Step { number: mark.done, sequence: mark.sequence, at: now });
        }
    }

    /// Returns the number of the next message.
    pub(super) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Tells whether there is room for one more message.
    pub(super) fn has_room(&self) -> bool {
        self.unwritten_bytes < UNWRITTEN_BYTES_MAX
    }

    /// Takes a message, which bears [`Queue::next_number`].
    pub(super) fn push(&mut self, entry: Arc<Entry>, waiter: Option<Waiter>, now: Duration) {
        self.next_number = entry.number + 1;
        self.unwritten_bytes += entry.size_bytes();
        self.unwritten_since.get_or_insert(now);
        self.unwritten.push_back(entry.clone());
        if let Some(waiter) = waiter {
            self.waiters.insert(entry.number, waiter);
        }
        let lane = self.lanes.entry(entry.stream.clone()).or_default();
        lane.pending += 1;
        if self.tail.is_none() && self.lanes_bytes >= LANES_BYTES_MAX {
            self.tail = Some(entry.number);
        }
        if self.tail.is_none() {
            self.lanes_bytes += entry.size_bytes();
            lane.waiting.push_back(Slot { entry, done: None, sent_at: Duration::ZERO });
        }
    }

    /// Returns whether it is time to write, when somebody waits for the disk because NATS does not take anything.
    pub(super) fn is_write_due(&self, interval: Duration, is_connected: bool, now: Duration) -> bool {
        let Some(since) = self.unwritten_since else { return false };
        let first = self.unwritten.front().map_or(u64::MAX, |entry| entry.number);
        let is_awaited = !is_connected && self.waiters.range(first..).next().is_some();
        is_awaited || self.unwritten_bytes >= BATCH_BYTES || now.saturating_sub(since) >= interval
    }

    /// Returns what is to be written next; it stays until [`Queue::written`].
    pub(super) fn to_write(&self) -> Vec<Arc<Entry>> {
        let mut bytes = 0;
        let fits = |entry: &&Arc<Entry>| {
            let is_first = bytes == 0;
            bytes += entry.size_bytes();
            is_first || bytes <= 2 * BATCH_BYTES
        };
        self.unwritten.iter().take_while(fits).cloned().collect()
    }

    /// Notes that all up to this number are on disk for good; tells those who wait for it.
    pub(super) fn written(&mut self, number: u64, now: Duration) {
        while let Some(entry) = self.unwritten.pop_front_if(|entry| entry.number <= number) {
            self.unwritten_bytes -= entry.size_bytes();
        }
        self.unwritten_since = (!self.unwritten.is_empty()).then_some(now);
        let later = self.waiters.split_off(&(number + 1));
        for (_, waiter) in std::mem::replace(&mut self.waiters, later) {
            let _ = waiter.send(Ok(()));
        }
    }

    /// Returns how far each stream has come, for the disk.
    pub(super) fn marks(&self) -> Vec<Mark> {
        let mark = |(stream, lane): (&Arc<str>, &Lane)| Mark {
            stream: stream.clone(),
            done: lane.done,
            sequence: lane.sequence,
            sent: lane.sent_number,
        };
        self.lanes.iter().map(mark).collect()
    }

    /// Returns a message that may go to NATS now, and notes it as sent. Streams take turns by name.
    pub(super) fn next_to_send(&mut self, now: Duration) -> Option<Arc<Entry>> {
        for lane in self.lanes.values_mut().filter(|lane| lane.retry_at <= now) {
            while lane.sent < IN_FLIGHT_MAX
                && let Some(slot) = lane.waiting.get_mut(lane.sent)
            {
                lane.sent += 1;
                if slot.done.is_some() {
                    continue;
                }
                slot.sent_at = now;
                return Some(slot.entry.clone());
            }
        }
        None
    }

    /// Notes that a message is handed to the connection. Returns whether it was before.
    pub(super) fn note_sent(&mut self, entry: &Entry) -> bool {
        let Some(lane) = self.lanes.get_mut(&entry.stream) else { return false };
        let was_sent = entry.number <= lane.sent_number;
        lane.sent_number = lane.sent_number.max(entry.number);
        was_sent
    }

    /// Notes that nothing is on its way any more: the connection is another.
    pub(super) fn forget_sent(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.sent = 0;
            lane.retry_at = Duration::ZERO;
        }
    }

    /// Returns when a message that is on its way was sent.
    pub(super) fn sent_at(&mut self, stream: &str, number: u64) -> Option<Duration> {
        let slot = self.lanes.get_mut(stream)?.slot(number)?;
        Some(slot.sent_at).filter(|_| slot.done.is_none())
    }

    /// Takes JetStream's acknowledgement of a message: it is in the stream with this sequence.
    pub(super) fn acknowledge(
        &mut self,
        stream: &str,
        number: u64,
        sequence: u64,
        is_repeat: bool,
        now: Duration,
    ) -> Acknowledged {
        if let Some(waiter) = self.waiters.remove(&number) {
            let _ = waiter.send(Ok(()));
        }
        let Some(lane) = self.lanes.get_mut(stream) else { return Acknowledged::Unknown };
        let Some(slot) = lane.slot(number).filter(|slot| slot.done.is_none()) else { return Acknowledged::Unknown };
        slot.done = Some(sequence);
        lane.refusals = 0;
        lane.is_copy &= is_repeat;
        let went_back = !is_repeat && sequence <= lane.heard;
        lane.heard = lane.heard.max(sequence);
        self.lanes_bytes -= lane.settle();
        lane.step(now);
        match (went_back, is_repeat) {
            (true, _) => Acknowledged::WentBack,
            (false, true) => Acknowledged::Repeated,
            (false, false) => Acknowledged::Stored,
        }
    }

    /// Takes a refusal that may pass: the lane waits, and sends again from its oldest.
    pub(super) fn refuse(&mut self, stream: &str, now: Duration) {
        let Some(lane) = self.lanes.get_mut(stream) else { return };
        if lane.retry_at > now {
            // The others that were on their way.
            return;
        }
        let wait = (RETRY_MIN * 2_u32.saturating_pow(lane.refusals.min(8))).min(RETRY_MAX);
        lane.refusals += 1;
        lane.retry_at = now + wait;
        lane.sent = 0;
    }

    /// Drops a message that will never be taken. Returns whether it was there.
    pub(super) fn give_up(&mut self, stream: &str, number: u64, why: Lost) -> bool {
        if let Some(waiter) = self.waiters.remove(&number) {
            let _ = waiter.send(Err(why));
        }
        let Some(lane) = self.lanes.get_mut(stream) else { return false };
        let Some(slot) = lane.slot(number).filter(|slot| slot.done.is_none()) else { return false };
        slot.done = Some(0);
        self.lanes_bytes -= lane.settle();
        true
    }

    /// Sends again from the oldest where an acknowledgement does not come. Returns whether there is such a lane.
    pub(super) fn time_out(&mut self, now: Duration) -> bool {
        let mut is_late = false;
        for lane in self.lanes.values_mut() {
            let oldest = lane.waiting.front().filter(|_| lane.sent > 0);
            if oldest.is_some_and(|slot| now.saturating_sub(slot.sent_at) > ACKNOWLEDGED_WITHIN) {
                lane.sent = 0;
                is_late = true;
            }
        }
        is_late
    }

    /// Returns when a lane that was refused may go on; nothing if none waits.
    pub(super) fn retry_at(&self, now: Duration) -> Option<Duration> {
        self.lanes
            .values()
            .filter(|lane| !lane.waiting.is_empty())
            .map(|lane| lane.retry_at)
            .filter(|at| *at > now)
            .min()
    }

    /// Notes how far the streams have come, and lets go of what was acknowledged so long ago.
    pub(super) fn on_time(&mut self, kept: Duration, now: Duration) {
        for lane in self.lanes.values_mut() {
            lane.step(now);
            while let Some(step) = lane.steps.pop_front_if(|step| now.saturating_sub(step.at) >= kept) {
                lane.released = step.number;
                if lane.steps.is_empty() {
                    // One stays, to know what the stream should have.
                    lane.steps.push_back(step);
                    break;
                }
            }
        }
    }

    /// Returns up to which number a stream's copies are not needed any more.
    pub(super) fn released(&self, stream: &str) -> u64 {
        self.lanes.get(stream).map_or(u64::MAX, |lane| lane.released)
    }

    /// Returns all up to which number a stream's messages are done with.
    pub(super) fn done(&self, stream: &str) -> u64 {
        self.lanes.get(stream).map_or(0, |lane| lane.done)
    }

    /// Returns the last sequence that a stream has acknowledged.
    pub(super) fn sequence(&self, stream: &str) -> u64 {
        self.lanes.get(stream).map_or(0, |lane| lane.sequence)
    }

    /// Drops all messages of a stream up to a number, of which so many were not done with.
    pub(super) fn drop_through(&mut self, stream: &str, number: u64, lost: u64) {
        let Some(lane) = self.lanes.get_mut(stream) else { return };
        while let Some(slot) = lane.waiting.pop_front_if(|slot| slot.entry.number <= number) {
            self.lanes_bytes -= slot.entry.size_bytes();
            lane.sent = lane.sent.saturating_sub(1);
        }
        lane.done = lane.done.max(number);
        lane.released = lane.released.max(number);
        lane.pending = lane.pending.saturating_sub(lost);
    }

    /// Returns the streams that something was acknowledged of, with the steps in which it was, oldest first.
    pub(super) fn steps(&self) -> Vec<(Arc<str>, Vec<Step>)> {
        let some = self.lanes.iter().filter(|(_, lane)| lane.sequence > 0 && !lane.is_copy);
        some.map(|(stream, lane)| {
            let newest = Step { number: lane.done, sequence: lane.sequence, at: Duration::ZERO };
            (stream.clone(), lane.steps.iter().copied().filter(|s| s.sequence > 0).chain([newest]).collect())
        })
        .collect()
    }

    /// Goes back to a step of a stream: all behind it, of which so many messages are on disk, is sent again.
    pub(super) fn go_back(&mut self, stream: &str, step: Step, on_disk: u64) {
        let is_behind = |entry: &&Arc<Entry>| *entry.stream == *stream && entry.number > step.number;
        let pending = on_disk + self.unwritten.iter().filter(is_behind).count() as u64;
        for lane in self.lanes.values_mut() {
            lane.waiting.clear();
            lane.sent = 0;
        }
        self.lanes_bytes = 0;
        if let Some(lane) = self.lanes.get_mut(stream) {
            (lane.done, lane.sequence, lane.heard, lane.pending) = (step.number, step.sequence, step.sequence, pending);
            lane.steps.retain(|s| s.number <= step.number);
        }
        self.tail = self.lanes.values().filter(|lane| lane.pending > 0).map(|lane| lane.done + 1).min();
    }

    /// Returns the number from which on to read from disk, if there is room for it.
    pub(super) fn wants_from_disk(&self) -> Option<u64> {
        self.tail.filter(|_| self.lanes_bytes <= LANES_BYTES_MAX / 2)
    }

    /// Takes what was read from disk: all messages from the tail up to `through`. When that reaches what is not
    /// written yet, the rest is there and the lanes are whole again.
    pub(super) fn refill(&mut self, entries: Vec<Entry>, through: u64) {
        let Some(tail) = self.tail else { return };
        for entry in entries.into_iter().filter(|entry| entry.number >= tail) {
            self.put(Arc::new(entry));
        }
        self.tail = Some(through.max(tail.saturating_sub(1)) + 1);
        let first_unwritten = self.unwritten.front().map_or(self.next_number, |entry| entry.number);
        if self.tail >= Some(first_unwritten) {
            for entry in self.unwritten.iter().filter(|e| Some(e.number) >= self.tail).cloned().collect::<Vec<_>>() {
                self.put(entry);
            }
            self.tail = None;
        }
    }

    fn put(&mut self, entry: Arc<Entry>) {
        let lane = self.lanes.entry(entry.stream.clone()).or_default();
        if entry.number > lane.done {
            self.lanes_bytes += entry.size_bytes();
            lane.waiting.push_back(Slot { entry, done: None, sent_at: Duration::ZERO });
        }
    }

    /// Returns how many messages are not acknowledged.
    pub(super) fn pending(&self) -> u64 {
        self.lanes.values().map(|lane| lane.pending).sum()
    }

    /// Returns the stamp of the oldest message in memory that is not acknowledged.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.lanes.values().filter_map(|lane| lane.waiting.front()).map(|slot| slot.entry.at).min()
    }

    /// Tells whether messages wait for the disk.
    pub(super) fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Tells those who wait that the box stops before their messages are kept.
    pub(super) fn abandon(&mut self) {
        self.waiters.clear();
    }
}

impl Lane {
    fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        let at = self.waiting.binary_search_by_key(&number, |slot| slot.entry.number).ok()?;
        self.waiting.get_mut(at)
    }

    /// Takes off what is done with at the front; returns its bytes.
    fn settle(&mut self) -> usize {
        let mut bytes = 0;
        while let Some(slot) = self.waiting.pop_front_if(|slot| slot.done.is_some()) {
            bytes += slot.entry.size_bytes();
            self.done = slot.entry.number;
            self.sequence = self.sequence.max(slot.done.unwrap_or(0));
            self.sent = self.sent.saturating_sub(1);
            self.pending = self.pending.saturating_sub(1);
        }
        bytes
    }

    /// Notes how far it has come, once a second.
    fn step(&mut self, now: Duration) {
        let is_new = self.steps.back().is_none_or(|last| last.number < self.done && now >= last.at + STEP);
        if is_new && self.done > 0 {
            self.steps.push_back(Step { number: self.done, sequence: self.sequence, at: now });
        }
    }
}
