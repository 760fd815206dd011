//! Looks after a stream: reads it at the start, writes what came, removes what its limits end.

use std::collections::hash_map::RandomState;
use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::format::PlacesRecord;
use super::index::{Limits, PER_SUBJECT_MAX};
use super::log::{Appended, Found, Log};
use super::{BATCH_BYTES, Stored, Stream, Taken};
use crate::bus::spool::Lost;
use crate::model::Timestamp;
use crate::storage::disk;
use crate::task::{BlockingPool, Phase, Tasks};

/// How often the bounds are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long the disk is left alone after it refused.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);
/// How long the place of a reader may wait for the disk.
const PLACES_WITHIN: Duration = Duration::from_secs(2);
/// How long an id is known, at least.
const KNOWN_FOR: Duration = Duration::from_secs(600);
/// Ids that are known at once; the oldest go. About 4 MiB.
const IDS_MAX: usize = 1 << 17;
/// Segments that are removed before something else has its turn.
const REMOVED_MAX: usize = 64;
/// Segments whose contents are noted before something else has its turn.
const CONTENTS_NOTED_MAX: usize = 16;
/// Places go along with messages, before they have waited, as long as they take this part of their bytes.
const PLACES_SHARE: usize = 32;
const PLACES_CREDIT_MAX: usize = 64 << 10;

type Waiter = oneshot::Sender<Result<(), Lost>>;

/// The keeper's own memory.
struct Keeper {
    stream: Arc<Stream>,
    log: Arc<Log>,
    pool: BlockingPool,
    ids: Ids,
    batch: Batch,
    /// The segment that all places stand in.
    whole_places_in: u64,
    /// Bytes that places may take beside the next messages, before they have waited.
    places_credit: usize,
    /// The newest segment when the contents of all before it were noted.
    noted_before: Option<u64>,
    looked_at: Duration,
}

/// What is being written.
#[derive(Debug, Default)]
struct Batch {
    messages: Vec<Arc<Stored>>,
    waiters: Vec<Waiter>,
    bytes: usize,
    taken: u64,
    /// Where it stands in the log, if it only waits for a sync.
    appended: Option<Appended>,
}

/// The ids that came lately.
#[derive(Debug, Default)]
struct Ids {
    hasher: RandomState,
    known: HashSet<u64>,
    order: VecDeque<(u64, Duration)>,
}

impl Stream {
    /// Keeps the stream until the work phase ends; then everything that was taken is written.
    pub(in crate::bus) async fn keep(self: Arc<Self>, tasks: Tasks) {
        let end = tasks.token(Phase::Work);
        let pool = tasks.pool().clone();
        let opened = self.open(&pool, &end).await;
        if let Some((log, ids)) = opened {
            let (batch, looked_at) = (Batch::default(), Duration::ZERO);
            let mut keeper = Keeper {
                stream: self.clone(),
                log,
                pool,
                ids,
                batch,
                whole_places_in: 0,
                places_credit: 0,
                noted_before: None,
                looked_at,
            };
            keeper.run(&end).await;
        }
        let mut queue = self.queue();
        queue.is_closed = true;
        // Their waiters hear that nobody kept them.
        queue.waiting.clear();
    }

    /// Reads what is there, again and again until the disk gives it.
    async fn open(&self, pool: &BlockingPool, end: &CancellationToken) -> Option<(Arc<Log>, Ids)> {
        let limits = Limits {
            messages_max: self.config.messages_max,
            per_subject_max: self
                .config
                .messages_per_subject_max
                // The settings refuse more.
                .map(|max| usize::try_from(max).map_or(PER_SUBJECT_MAX, |max| max.min(PER_SUBJECT_MAX))),
        };
        loop {
            let (disk, folder, bytes_max) = (self.disk.clone(), self.folder.clone(), self.bytes_max());
            let window = KNOWN_FOR.max(self.config.duplicate_window);
            let open = move || -> disk::Result<(Log, Found, Vec<Arc<str>>)> {
                let (log, found) = Log::open(disk, &folder, limits, bytes_max)?;
                let ids = log.ids(i64::try_from(window.as_millis()).unwrap_or(i64::MAX), IDS_MAX);
                Ok((log, found, ids))
            };
            match pool.run(open).await {
                Ok(Ok((log, found, known))) => {
                    self.note_problem(None);
                    debug!(stream = %self.config.name, bytes = found.read_bytes, of = log.bytes(), "a stream was opened");
                    for damage in &found.damages {
                        warn!(stream = %self.config.name, %damage, "a stream of this box is damaged");
                        self.instruments.damages.inc();
                    }
                    let mut ids = Ids::default();
                    known.iter().for_each(|id| ids.note(id, self.clock.elapsed()));
                    *self.places() = found.places;
                    let log = Arc::new(log);
                    self.log.send_replace(Some(log.clone()));
                    return Some((log, ids));
                }
                Ok(Err(failed)) => self.note_problem(Some(failed.to_string())),
                Err(panicked) => self.note_problem(Some(panicked.to_string())),
            }
            tokio::select! {
                () = tokio::time::sleep(5 * AFTER_REFUSAL) => {}
                () = end.cancelled() => return None,
            }
        }
    }
}

impl Keeper {
    async fn run(&mut self, end: &CancellationToken) {
        let interval = self.stream.defaults.write_interval;
        while !end.is_cancelled() {
            if !self.is_due(interval) {
                let has_unwritten = self.stream.queue().since.is_some();
                let pause = if has_unwritten { interval / 4 } else { LOOK };
                tokio::select! {
                    () = self.stream.due.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                    () = end.cancelled() => break,
                }
            }
            if self.is_due(interval) && !self.write(PLACES_WITHIN).await {
                tokio::select! {
                    () = tokio::time::sleep(AFTER_REFUSAL) => {}
                    () = end.cancelled() => break,
                }
            }
            if self.now().saturating_sub(self.looked_at) >= LOOK {
                self.looked_at = self.now();
                self.look().await;
            }
        }
        self.note_idle();
        while self.has_work() && self.write(Duration::ZERO).await {}
    }

    fn now(&self) -> Duration {
        self.stream.clock.elapsed()
    }

    fn has_work(&self) -> bool {
        let is_moved = self.stream.places().is_write_due(Duration::ZERO, self.now());
        is_moved || !self.batch.is_empty() || !self.stream.queue().waiting.is_empty()
    }

    fn is_due(&self, interval: Duration) -> bool {
        let now = self.now();
        if !self.batch.is_empty() || self.stream.places().is_write_due(PLACES_WITHIN, now) {
            return true;
        }
        let queue = self.stream.queue();
        let is_old = queue.since.is_some_and(|since| now.saturating_sub(since) >= interval);
        queue.is_awaited || queue.bytes >= BATCH_BYTES || is_old
    }

    /// Writes what waits and the places that moved. Returns whether the disk took it.
    async fn write(&mut self, places_within: Duration) -> bool {
        if self.batch.is_empty() {
            self.fill();
        }
        let (log, messages, appended) = (self.log.clone(), self.batch.messages.clone(), self.batch.appended);
        let next_sequence = log.index().last() + 1 + messages.len() as u64;
        let (stream, whole_in) = (self.stream.clone(), self.whole_places_in);
        let has_places = self.has_places(places_within, !messages.is_empty());
        if messages.is_empty() && !has_places {
            return true;
        }
        let work = move || {
            let (mut appended, mut whole_in) = (appended, whole_in);
            let mut write = || -> disk::Result<()> {
                if appended.is_none() && !messages.is_empty() {
                    appended = Some(log.append(&messages)?);
                }
                whole_in = append_places(&stream, &log, whole_in, next_sequence, has_places)?;
                log.sync()
            };
            let written = write();
            (appended, whole_in, written)
        };
        let (appended, whole_in, written) = match self.pool.run(work).await {
            Ok(done) => done,
            Err(panicked) => {
                self.stream.note_problem(Some(panicked.to_string()));
                return false;
            }
        };
        (self.batch.appended, self.whole_places_in) = (appended, whole_in);
        match written {
            Ok(()) => {
                self.stream.instruments.writes.inc();
                self.stream.note_problem(None);
                let bytes = appended.map_or(0, |appended| appended.bytes);
                self.places_credit = (self.places_credit + bytes / PLACES_SHARE).min(PLACES_CREDIT_MAX);
                self.written();
                true
            }
            Err(refused) => {
                self.stream.note_problem(Some(refused.to_string()));
                false
            }
        }
    }

    /// Tells whether places are written now: when they have waited, or beside messages when they are next to nothing.
    fn has_places(&mut self, within: Duration, with_messages: bool) -> bool {
        let places = self.stream.places();
        let bytes = places.changed_bytes();
        let is_cheap = with_messages && bytes > 0 && bytes <= self.places_credit;
        if is_cheap {
            self.places_credit -= bytes;
        }
        is_cheap || places.is_write_due(within, self.stream.clock.elapsed())
    }

    /// Takes what waits, up to a batch: gives it sequences and passes over what is there already.
    fn fill(&mut self) {
        let mut next = self.log.index().last() + 1;
        let mut queue = self.stream.queue();
        let mut fresh = HashSet::new();
        while self.batch.bytes < 2 * BATCH_BYTES
            && let Some(taken) = queue.waiting.pop_front()
        {
            self.batch.bytes += taken.size_bytes();
            self.batch.taken += 1;
            let Taken { at, id, message, waiter } = taken;
            self.batch.waiters.extend(waiter);
            if let Some(id) = &id
                && (self.ids.knows(id) || !fresh.insert(id.clone()))
            {
                self.stream.instruments.repeats.inc();
                continue;
            }
            self.batch.messages.push(Arc::new(Stored { sequence: next, at, id, message }));
            next += 1;
        }
        if queue.waiting.is_empty() {
            (queue.since, queue.is_awaited) = (None, false);
        }
        drop(queue);
        if self.batch.messages.is_empty() {
            // All of it is there.
            self.written();
        }
    }

    /// Tells everybody that the batch is on disk for good.
    fn written(&mut self) {
        let now = self.now();
        let batch = std::mem::take(&mut self.batch);
        for stored in &batch.messages {
            if let Some(id) = &stored.id {
                self.ids.note(id, now);
            }
        }
        if let Some(appended) = batch.appended {
            self.log.added(appended.record, &batch.messages);
        }
        let mut queue = self.stream.queue();
        queue.bytes = queue.bytes.saturating_sub(batch.bytes);
        queue.messages = queue.messages.saturating_sub(batch.taken);
        drop(queue);
        self.stream.instruments.stored.add(batch.messages.len() as u64);
        for waiter in batch.waiters {
            let _ = waiter.send(Ok(()));
        }
    }

    /// Keeps the bounds and the gauges.
    async fn look(&mut self) {
        let (now, wall) = (self.now(), self.stream.clock.now());
        self.ids.forget(now, KNOWN_FOR.max(self.stream.config.duplicate_window));
        let kept_ms = i64::try_from(self.stream.place_kept_for.as_millis()).unwrap_or(i64::MAX);
        let unused_since = Timestamp::from_millis(wall.as_millis().saturating_sub(kept_ms));
        self.stream.places().forget_before(unused_since, now);
        // What waits for a sync may stand in the segment that is to go.
        if self.batch.is_empty() {
            for _ in 0..REMOVED_MAX {
                if !self.remove_oldest().await {
                    break;
                }
            }
        }
        self.note_contents().await;
        self.stream.instruments.damages.add(self.log.new_damages());
        self.stream.instruments.show(&self.stream.state(), self.log.index().forgotten());
    }

    /// Notes what stands in segments that were closed, for the next start.
    async fn note_contents(&mut self) {
        let newest = self.log.newest_segment();
        if self.noted_before == Some(newest) {
            return;
        }
        let log = self.log.clone();
        match self.pool.run(move || log.note_contents(CONTENTS_NOTED_MAX)).await {
            Ok(Ok(true)) => self.noted_before = Some(newest),
            Ok(Ok(false)) => {}
            // The next start reads those segments.
            Ok(Err(refused)) => debug!(stream = %self.stream.config.name, %refused, "contents are not noted"),
            Err(_) => self.noted_before = Some(newest),
        }
    }

    /// Removes the oldest segment if a limit has ended it.
    async fn remove_oldest(&mut self) -> bool {
        let Some((number, span, is_newest)) = self.log.oldest() else { return false };
        let since = self.stream.oldest_wanted();
        let is_ended = span.is_none_or(|span| span.newest < since || span.last < self.log.index().counted_from());
        // Nothing of its own: it holds places and what was carried, and stays while it is the newest.
        let is_over = (is_ended && !(span.is_none() && is_newest)) || self.log.bytes() > self.stream.bytes_max();
        if !is_over || (is_newest && span.is_none()) {
            return false;
        }
        if is_newest {
            self.log.rotate();
        }
        self.note_idle();
        let (log, stream, whole_in) = (self.log.clone(), self.stream.clone(), self.whole_places_in);
        let carried_bytes_max = self.stream.bytes_max() / 4;
        let last_since = self.stream.oldest_last_wanted();
        let next_sequence = log.index().last() + 1;
        let work = move || -> disk::Result<u64> {
            // All places stand in a later segment before this one goes.
            let whole_in = match whole_in <= number {
                true => append_places(&stream, &log, 0, next_sequence, true)?,
                false => whole_in,
            };
            log.remove(number, last_since, carried_bytes_max)?;
            Ok(whole_in)
        };
        match self.pool.run(work).await {
            Ok(Ok(whole_in)) => {
                self.whole_places_in = whole_in;
                true
            }
            Ok(Err(refused)) => {
                self.stream.note_problem(Some(refused.to_string()));
                false
            }
            Err(_) => false,
        }
    }

    /// Moves the places on of those who have read all there is.
    fn note_idle(&self) {
        let (last, idle): (u64, Vec<Arc<str>>) = {
            let index = self.log.index();
            (index.last(), index.idle_places().collect())
        };
        self.stream.places().advance_idle(idle.into_iter(), last);
    }
}

/// Appends all places if the newest segment does not hold them, or else those that moved. Returns the segment that holds
/// all of them then.
fn append_places(stream: &Stream, log: &Log, whole_in: u64, next: u64, has_moved: bool) -> disk::Result<u64> {
    let mut is_whole = log.newest_segment() != whole_in;
    if !is_whole && !has_moved {
        return Ok(whole_in);
    }
    loop {
        let record: PlacesRecord = stream.places().changes(is_whole, next);
        match log.append_places(&record) {
            Ok(segment) if is_whole || segment == whole_in => return Ok(segment),
            // They began a segment, which is to hold all of them.
            Ok(_) => is_whole = true,
            Err(refused) => {
                stream.places().not_written(record, stream.clock.elapsed());
                return Err(refused);
            }
        }
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.taken == 0
    }
}

impl Ids {
    fn knows(&self, id: &str) -> bool {
        self.known.contains(&self.hasher.hash_one(id))
    }

    fn note(&mut self, id: &str, now: Duration) {
        let hash = self.hasher.hash_one(id);
        if self.known.insert(hash) {
            self.order.push_back((hash, now));
        }
        if self.order.len() > IDS_MAX {
            self.pop();
        }
    }

    fn forget(&mut self, now: Duration, after: Duration) {
        while self.order.front().is_some_and(|(_, at)| now.saturating_sub(*at) > after) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((hash, _)) = self.order.pop_front() {
            self.known.remove(&hash);
        }
    }
}
