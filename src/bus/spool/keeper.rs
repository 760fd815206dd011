//! Looks after the spool's files: writes what came, reads what has its turn, removes what nobody needs.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::files::{Files, Oldest};
use super::queue::LANES_BYTES_MAX;
use super::{Entry, Spool, format};
use crate::model::Timestamp;
use crate::storage::disk;
use crate::task::{BlockingPool, Panicked, Phase, Tasks};

/// How often the bounds are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long the disk is left alone after it refused.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// The keeper's own memory.
struct Keeper {
    spool: Arc<Spool>,
    files: Arc<Files>,
    pool: BlockingPool,
    /// Appended up to this number, but not synced yet because the disk failed.
    appended: Option<u64>,
    marks: Vec<format::Mark>,
    looked_at: Duration,
}

impl Spool {
    /// Keeps the files until the work phase ends; then everything that was taken is written.
    pub(in crate::bus) async fn keep(self: Arc<Self>, tasks: Tasks) {
        let Some(files) = self.files.clone() else { return };
        let end = tasks.token(Phase::Work);
        let marks = self.queue().marks();
        let mut keeper =
            Keeper { spool: self, files, pool: tasks.pool().clone(), appended: None, marks, looked_at: Duration::ZERO };
        loop {
            let spool = &keeper.spool;
            let interval = spool.config.write_interval;
            let pause = if spool.queue().has_unwritten() { interval / 4 } else { LOOK };
            tokio::select! {
                () = spool.due.notified() => {}
                () = tokio::time::sleep(pause) => {}
                () = end.cancelled() => break,
            }
            let is_due = keeper.spool.queue().is_write_due(interval, keeper.spool.is_connected(), keeper.now());
            if is_due && !keeper.write().await {
                tokio::time::sleep(AFTER_REFUSAL).await;
            }
            keeper.refill().await;
            if keeper.now().saturating_sub(keeper.looked_at) >= LOOK {
                keeper.looked_at = keeper.now();
                keeper.look().await;
            }
        }
        while keeper.spool.queue().has_unwritten() && keeper.write().await {}
        keeper.write_marks().await;
        keeper.spool.queue().abandon();
    }
}

impl Keeper {
    fn now(&self) -> Duration {
        self.spool.clock.elapsed()
    }

    /// Writes what waits for the disk. Returns whether the disk took it.
    async fn write(&mut self) -> bool {
        let _turn = self.spool.turn.lock().await;
        let (entries, marks) = {
            let queue = self.spool.queue();
            (queue.to_write(), queue.marks())
        };
        let Some(last) = entries.last().map(|entry| entry.number) else { return true };
        let (files, appended) = (self.files.clone(), self.appended);
        let work = move || -> (Option<u64>, disk::Result<()>) {
            // What was appended already is written anew by the files themselves.
            let fresh: Vec<Arc<Entry>> =
                entries.into_iter().filter(|entry| appended.is_none_or(|n| entry.number > n)).collect();
            match files.append(&fresh, &marks) {
                Ok(()) => (Some(last), files.sync()),
                Err(refused) => (appended, Err(refused)),
            }
        };
        let (appended, written) = match self.pool.run(work).await {
            Ok(done) => done,
            Err(Panicked) => return false,
        };
        match written {
            Ok(()) => {
                self.appended = None;
                self.spool.instruments.writes.inc();
                self.spool.note_disk(None);
                let now = self.spool.clock.elapsed();
                self.spool.queue().written(last, now);
                true
            }
            Err(refused) => {
                self.appended = appended;
                self.spool.note_disk(Some(refused.to_string()));
                false
            }
        }
    }

    /// Writes how far the streams have come, if that is news.
    async fn write_marks(&mut self) {
        let marks = self.spool.queue().marks();
        if marks == self.marks || self.appended.is_some() {
            return;
        }
        let _turn = self.spool.turn.lock().await;
        let (files, fresh) = (self.files.clone(), marks.clone());
        let written = self.pool.run(move || files.append(&[], &fresh).and_then(|()| files.sync())).await;
        if let Ok(Ok(())) = written {
            self.marks = marks;
        }
    }

    /// Reads messages whose turn it is.
    async fn refill(&self) {
        while self.spool.is_connected() {
            let _turn = self.spool.turn.lock().await;
            let Some(from) = self.spool.queue().wants_from_disk() else { return };
            let files = self.files.clone();
            let read = self.pool.run(move || files.read_from(from, LANES_BYTES_MAX / 2)).await;
            match read {
                Ok(Ok((entries, through))) => {
                    self.spool.queue().refill(entries, through);
                    self.spool.more.notify_one();
                }
                Ok(Err(failed)) => {
                    warn!(error = %failed, "the spool cannot be read");
                    return;
                }
                Err(Panicked) => return,
            }
        }
    }

    /// Keeps the bounds and the gauges.
    async fn look(&mut self) {
        let (now, wall) = (self.now(), self.spool.clock.now());
        self.spool.queue().on_time(self.spool.config.kept_after_ack, now);
        // A batch brings them along.
        if !self.spool.queue().has_unwritten() {
            self.write_marks().await;
        }
        let turn = self.spool.turn.lock().await;
        while let Some(oldest) = self.files.oldest() {
            let Some(reason) = self.reason(&oldest, wall) else { break };
            if !self.remove(oldest, reason).await {
                break;
            }
        }
        drop(turn);
        let state = self.spool.state();
        self.spool.instruments.show(&state, wall);
    }

    /// Returns why the oldest segment goes: empty if nobody needs it; `None` if it stays.
    fn reason(&self, oldest: &Oldest, wall: Timestamp) -> Option<&'static str> {
        let queue = self.spool.queue();
        let is_needed = oldest.spans.iter().any(|span| span.last > queue.released(&span.stream));
        drop(queue);
        let max_age_ms = i64::try_from(self.spool.config.age_max.as_millis()).unwrap_or(i64::MAX);
        if !is_needed {
            self.files.is_worth_removing(oldest).then_some("")
        } else if self.files.bytes() > self.spool.config.bytes_max {
            Some("full")
        } else if wall.as_millis().saturating_sub(oldest.newest.as_millis()) > max_age_ms {
            Some("too_old")
        } else {
            None
        }
    }

    /// Removes a segment, and drops and counts what of it was not acknowledged.
    async fn remove(&self, oldest: Oldest, reason: &'static str) -> bool {
        let files = self.files.clone();
        let spans: Vec<_> = {
            let queue = self.spool.queue();
            oldest.spans.iter().map(|span| (span.stream.clone(), queue.done(&span.stream), span.last)).collect()
        };
        let count = move || {
            let lost =
                |(stream, done, _): &(Arc<str>, u64, u64)| files.count_behind(stream, *done, Some(oldest.number));
            let lost: Vec<u64> = spans.iter().map(lost).collect();
            (files, oldest, spans, lost)
        };
        let Ok((files, oldest, spans, lost)) = self.pool.run(count).await else { return false };
        let marks = {
            let mut queue = self.spool.queue();
            for ((stream, _, last), lost) in spans.iter().zip(&lost) {
                queue.drop_through(stream, *last, *lost);
            }
            queue.marks()
        };
        let lost: u64 = lost.iter().sum();
        if lost > 0 {
            warn!(messages = lost, reason, "messages for NATS are dropped from the spool");
            self.spool.instruments.dropped.with(&[reason]).add(lost);
            self.spool.instruments.resilience.dropped(lost);
        }
        let removed = self.pool.run(move || files.remove(&oldest, &marks)).await;
        matches!(removed, Ok(Ok(())))
    }
}
