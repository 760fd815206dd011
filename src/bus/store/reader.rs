//! A stream of this box being read from a place on, for somebody who comes and goes.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::log::{Log, Position, Wanted};
use super::places::Place;
use super::{Stored, Stream};
use crate::bus::SubjectPattern;
use crate::bus::replay::{Places as PlaceLocks, Replay, Replayed, Start, Through};
use crate::task::BlockingPool;

/// Messages of one reader that are handed out and not through.
const UNDERWAY_MAX: usize = 64;

/// Who reads, what and from where.
#[derive(Debug)]
pub(in crate::bus) struct Reader {
    pub(in crate::bus) stream: Arc<Stream>,
    pub(in crate::bus) name: Arc<str>,
    pub(in crate::bus) pattern: SubjectPattern,
    pub(in crate::bus) start: Start,
    pub(in crate::bus) into: mpsc::Sender<Replayed>,
    pub(in crate::bus) places: Arc<PlaceLocks>,
    pub(in crate::bus) pool: BlockingPool,
}

/// A reader that has its place.
struct Reading<'a> {
    reader: &'a Reader,
    log: &'a Arc<Log>,
    id: u64,
    called: Arc<Notify>,
    position: Position,
    /// Read, and not handed out.
    next: VecDeque<Arc<Stored>>,
    /// Handed out, and not through.
    open: BTreeSet<u64>,
    told: mpsc::Sender<u64>,
    through: mpsc::Receiver<u64>,
}

impl Reader {
    /// Returns the handle and the future that reads until it is dropped.
    pub(in crate::bus) fn start(self) -> (Replay, impl Future<Output = ()> + Send + use<>) {
        let replay = Replay::new();
        let (end, forget) = replay.tokens();
        (replay, self.run(end, forget))
    }

    async fn run(self, end: CancellationToken, forget: CancellationToken) {
        let lock = self.places.at(&self.name);
        let _alone = lock.lock().await;
        let mut opened = self.stream.log.subscribe();
        let log = tokio::select! {
            log = opened.wait_for(Option::is_some) => log.ok().and_then(|log| log.clone()),
            () = end.cancelled() => return,
        };
        let Some(log) = log else { return };
        let place = self.place(&log).await;
        let position =
            Position { next: (place.through + 1).min(log.index().last() + 1), lasts_until: place.lasts_until };
        if !self.stream.places().set(&self.name, place, self.stream.clock.elapsed()) {
            tracing::warn!(name = %self.name, "too many places in a stream: this one is not kept");
        }
        self.stream.due.notify_one();
        let (id, called) = log.index().join(&self.pattern, self.name.clone());
        // Full: cannot be, no more is handed out before some are through.
        let (told, through) = mpsc::channel(2 * UNDERWAY_MAX);
        let (next, open) = (VecDeque::new(), BTreeSet::new());
        let mut reading = Reading { reader: &self, log: &log, id, called, position, next, open, told, through };
        tokio::select! {
            () = reading.read() => {}
            () = end.cancelled() => {}
            () = self.into.closed() => {}
        }
        reading.end();
        log.index().leave(&self.pattern, id);
        let (wall, now) = (self.stream.clock.now(), self.stream.clock.elapsed());
        if forget.is_cancelled() {
            self.stream.places().forget(&self.name, now);
        } else {
            self.stream.places().leave(&self.name, wall, now);
        }
        self.stream.due.notify_one();
    }

    /// Returns the reader's place: the one it had, or where it is to begin.
    async fn place(&self, log: &Arc<Log>) -> Place {
        let known = self.stream.places().get(&self.name);
        if let Some(place) = known {
            return place;
        }
        let last = log.index().last();
        let (first, lasts_until) = match self.start {
            Start::New => (last + 1, 0),
            Start::All => (1, 0),
            Start::Last => (1, last),
            Start::Sequence(sequence) => (sequence, 0),
            Start::Time(at) => {
                let log = log.clone();
                (self.pool.run(move || log.sequence_at(at)).await.unwrap_or(last + 1), 0)
            }
        };
        Place { through: first.clamp(1, last + 1) - 1, lasts_until, used: self.stream.clock.now() }
    }
}

impl Reading<'_> {
    /// Reads for ever.
    async fn read(&mut self) {
        loop {
            while self.next.is_empty() {
                if self.log.index().arm(self.id, self.position.next, self.open.is_empty()) {
                    tokio::select! {
                        biased;
                        Some(sequence) = self.through.recv() => self.settle(sequence),
                        () = self.called.notified() => {}
                    }
                    self.position.next = self.position.next.max(self.log.index().called(self.id));
                } else {
                    self.fill().await;
                }
            }
            tokio::select! {
                biased;
                Some(sequence) = self.through.recv() => self.settle(sequence),
                permit = self.reader.into.reserve(), if self.open.len() < UNDERWAY_MAX => {
                    let Ok(permit) = permit else { return };
                    let Some(stored) = self.next.pop_front() else { continue };
                    self.open.insert(stored.sequence);
                    let through = Through::new(stored.sequence, self.told.clone());
                    permit.send(Replayed { message: stored.message.clone(), sequence: stored.sequence, through });
                }
            }
        }
    }

    /// Reads on from memory or from disk.
    async fn fill(&mut self) {
        let stream = &self.reader.stream;
        let wanted = Wanted { pattern: self.reader.pattern.clone(), since: stream.oldest_wanted() };
        let position = self.position;
        let (read, next) = match self.log.recent(position, &wanted) {
            Some(read) => read,
            None => {
                let log = self.log.clone();
                let read = self.reader.pool.run(move || log.read(position, &wanted)).await;
                // A panic is told where it happened; what cannot be read is passed over.
                read.unwrap_or_else(|_| (Vec::new(), position.next + 1))
            }
        };
        self.next.extend(read);
        self.position.next = next;
        if self.next.is_empty() {
            self.note();
        }
    }

    fn settle(&mut self, sequence: u64) {
        self.open.remove(&sequence);
        self.note();
    }

    /// Notes how far the reader is.
    fn note(&self) {
        let first_open = self.open.first().copied();
        let first_read = self.next.front().map(|stored| stored.sequence);
        let through = first_open.or(first_read).unwrap_or(self.position.next) - 1;
        let stream = &self.reader.stream;
        stream.places().advance(&self.reader.name, through, stream.clock.elapsed());
    }

    /// Takes what was told last.
    fn end(&mut self) {
        while let Ok(sequence) = self.through.try_recv() {
            self.open.remove(&sequence);
        }
        let is_waiting = self.next.is_empty();
        let called = self.log.index().called(self.id);
        if is_waiting {
            self.position.next = self.position.next.max(called);
        }
        self.note();
    }
}
