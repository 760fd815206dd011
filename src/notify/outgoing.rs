//! What becomes of a notice: into the outbox, on its way, taken, or tried again; digests and fallback receivers.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tracing::warn;

use super::dispatch::{Dispatcher, Landing, in_log, told_by};
use super::notice::Notice;
use super::queue::Waiting;
use super::snapshot::Outcome;
use crate::model::Timestamp;
use crate::storage::state::Notification;

impl Dispatcher {
    /// Puts a notice into the outbox. One that waits in the same lane is replaced; what it tells of that is
    /// over meanwhile is told with the new one.
    pub(super) fn enqueue(&mut self, notice: Notice) {
        self.instruments.notices.with(&["made"]).inc();
        let pushed = self.queue.push(notice);
        for id in pushed.replaced {
            self.instruments.notices.with(&["replaced"]).inc();
            self.finish(id);
        }
        if let Some(dropped) = pushed.dropped {
            self.instruments.notices.with(&["dropped"]).inc();
            self.told.remove(&dropped.lane());
            self.over.push(in_log(&dropped.lane()));
            self.finish(dropped.id);
        }
        self.report.note(&pushed.notice, Outcome::Waiting, 0, "");
        self.unsaved.0.push(pushed.notice);
    }

    /// Looks after what waits: gives up what is too old to matter, tells fallback receivers, makes digests.
    pub(super) fn attend(&mut self) {
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        for id in self.queue.expired(now) {
            if let Some(waiting) = self.queue.get(id) {
                let notice = waiting.notice.clone();
                self.queue.count_expired(&notice);
            }
            self.give_up(id, "too old to matter");
        }
        self.hand_over(now);
        let next_id = &mut self.next_id;
        let digests = self.queue.fold(elapsed, now, || {
            *next_id += 1;
            *next_id
        });
        for (digest, done) in digests {
            self.instruments.notices.with(&["made"]).inc();
            self.report.note(&digest, Outcome::Waiting, 0, "");
            for id in done {
                self.instruments.notices.with(&["folded"]).inc();
                self.report.folded(id);
                self.finish(id);
            }
            self.unsaved.0.push(digest);
        }
    }

    /// Returns when the next notice will have waited so long that somebody else is told.
    pub(super) fn next_hand_over(&self, elapsed: Duration) -> Option<Duration> {
        let now = self.clock.now();
        let due = |w: &Waiting| {
            let fallback = self.fallback(&w.notice.receiver).filter(|_| !w.is_handed_over)?;
            Some(elapsed + fallback.after.saturating_sub(now.since(w.notice.since)))
        };
        self.queue.iter().filter_map(due).min()
    }

    /// Tells fallback receivers of what their receivers have not taken for too long.
    fn hand_over(&mut self, now: Timestamp) {
        let mut late: Vec<(Arc<Notice>, String)> = Vec::new();
        for waiting in self.queue.iter().filter(|w| !w.is_handed_over) {
            let Some(fallback) = self.fallback(&waiting.notice.receiver) else { continue };
            if now.since(waiting.notice.since) >= fallback.after {
                late.push((waiting.notice.clone(), fallback.receiver));
            }
        }
        for (notice, receiver) in late {
            self.queue.handed_over(notice.id);
            for (receiver, integration) in self.ways_of(&receiver) {
                self.next_id += 1;
                let mut copy = (*notice).clone();
                copy.alarms.retain(|a| a.ends_at.is_none());
                let copy = Notice { id: self.next_id, made_at: now, since: now, receiver, integration, ..copy };
                // After a restart it may know already.
                let told = told_by(&copy);
                let knows = self.told.get(&copy.lane()).is_some_and(|t| told.firing.is_subset(&t.firing));
                if !copy.alarms.is_empty() && !knows {
                    warn!(receiver = %notice.receiver, instead = %copy.receiver, "receiver is away; telling another");
                    self.told.insert(copy.lane(), told);
                    self.enqueue(copy);
                }
            }
        }
    }

    /// Notes that a notice is done with: the outbox's file is to forget it.
    fn finish(&mut self, id: u64) {
        match self.unsaved.0.iter().position(|n| n.id == id) {
            Some(at) => {
                self.unsaved.0.remove(at);
            }
            None => self.unsaved.1.push(id),
        }
    }

    /// Writes to the outbox's file what it does not know yet. If that fails it is tried again at the next
    /// turn, and the notices are sent nevertheless.
    pub(super) async fn save(&mut self) {
        if !self.unsaved.0.is_empty() || !self.unsaved.1.is_empty() {
            if let Some(outbox) = self.outbox.clone() {
                let (made, done) = std::mem::take(&mut self.unsaved);
                let waiting: Vec<Arc<Notice>> = self.queue.iter().map(|w| w.notice.clone()).collect();
                let work = move || {
                    let written = outbox.write(&made, &done, &waiting).map_err(|e| e.to_string());
                    (written, made, done)
                };
                match self.tools.tasks.pool().run(work).await {
                    Ok((Ok(()), ..)) => self.report.outbox_error = None,
                    Ok((Err(reason), made, done)) => {
                        self.unsaved = (made, done);
                        self.instruments.outbox_failures.inc();
                        if self.report.outbox_error.is_none() {
                            warn!(%reason, "cannot write the outbox; a restart would forget its newest notices");
                        }
                        self.report.outbox_error = Some(reason);
                        return;
                    }
                    Err(panicked) => self.report.outbox_error = Some(panicked.to_string()),
                }
            } else {
                self.unsaved = (Vec::new(), Vec::new());
            }
        }
        self.forget_over().await;
    }

    /// Takes out of the log what was told of groups in which nothing fires: the outbox does not ask for it any more.
    async fn forget_over(&mut self) {
        if self.over.is_empty() {
            return;
        }
        let (over, state) = (std::mem::take(&mut self.over), self.state.clone());
        let work = move || {
            over.iter()
                .try_for_each(|(group_key, receiver)| state.notifications().remove(group_key, receiver).map(|_| ()))
        };
        let outcome = self.tools.tasks.pool().run(work).await.map_err(|e| e.to_string());
        self.note_log(outcome.and_then(|r| r.map_err(|e| e.to_string())));
    }

    fn note_log(&self, outcome: Result<(), String>) {
        if let Err(failure) = outcome {
            self.instruments.log_failures.inc();
            warn!(%failure, "cannot write what was told; after a restart it may be told again");
        }
    }

    /// Sends what is due, as far as there is room.
    pub(super) fn launch(&mut self) {
        let elapsed = self.clock.elapsed();
        for id in self.queue.ready(elapsed) {
            let Some(notice) = self.queue.get(id).map(|w| w.notice.clone()) else { continue };
            let Some(sender) = self.sender(&notice.way()) else {
                self.give_up(id, "the receiver is not in the settings any more");
                continue;
            };
            self.queue.launched(id);
            let needs_all = notice.is_digest() || sender.settings().kind.is_lamp();
            let around = if needs_all { self.surroundings(&notice.way()) } else { self.alone() };
            let (tools, external_url) = (self.tools.clone(), self.config.external_url.clone());
            let landing = sender.launch(notice, around, tools, external_url, self.clock.clone());
            self.flights.push(Box::pin(async move {
                let (outcome, took) = landing.await;
                (id, outcome, took)
            }));
        }
    }

    /// Takes the outcome of an attempt.
    pub(super) async fn landed(&mut self, (id, result, took): Landing) {
        self.instruments.duration.observe_duration(took);
        let Some(waiting) = self.queue.get(id) else { return };
        let (notice, attempts) = (waiting.notice.clone(), waiting.attempts);
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        match result {
            Ok(()) => {
                self.instruments.attempts.with(&[&notice.receiver, "sent"]).inc();
                self.instruments.notices.with(&["sent"]).inc();
                self.queue.taken(id, elapsed);
                self.report.sent(&notice, attempts, now);
                if let Some(told) = self.told.get_mut(&notice.lane()) {
                    // It is told again so long after it was heard, not after it was said.
                    told.at = told.at.max(now);
                }
                self.remember(&notice, now).await;
                self.finish(id);
            }
            Err(failure) => {
                self.instruments.attempts.with(&[&notice.receiver, "failed"]).inc();
                if attempts == 1 {
                    warn!(receiver = %notice.receiver, reason = %failure.reason, "notice not taken; trying again");
                }
                self.report.failed(&notice, attempts, &failure.reason);
                self.queue.failed(id, &failure, elapsed, now, rand::rng().random());
                self.put_together(id);
            }
        }
    }

    /// While a notice was on its way in vain a newer one of its group may have come: that takes its place.
    fn put_together(&mut self, id: u64) {
        let Some(newer) = self.queue.newer_than(id).and_then(|newer| self.queue.remove(newer)) else { return };
        self.finish(newer.notice.id);
        self.next_id += 1;
        self.enqueue(Notice { id: self.next_id, ..(*newer.notice).clone() });
    }

    /// Writes to the log that a notice was taken. Where nothing fires any more it is forgotten again as soon as the
    /// outbox knows; what a digest stands for is forgotten before, because the digest itself is in the outbox.
    async fn remember(&mut self, notice: &Notice, now: Timestamp) {
        let told = told_by(notice);
        let (group_key, receiver) = in_log(&notice.lane());
        let entry = Notification {
            group_key,
            receiver,
            group_labels: notice.group_labels.clone(),
            firing: told.firing.iter().copied().collect(),
            resolved: told.resolved.iter().copied().collect(),
            sent_at: now,
        };
        let mut lanes = vec![notice.lane()];
        lanes.extend(notice.folded.iter().map(|k| (k.clone(), notice.receiver.clone(), notice.integration.clone())));
        for lane in &lanes {
            if self.told.get(lane).is_some_and(|t| t.firing.is_empty()) {
                self.told.remove(lane);
            }
        }
        if told.firing.is_empty() {
            self.over.push(in_log(&notice.lane()));
        }
        let folded: Vec<(String, String)> = lanes.iter().skip(1).map(in_log).collect();
        let state = self.state.clone();
        let work = move || {
            for (group_key, receiver) in &folded {
                state.notifications().remove(group_key, receiver)?;
            }
            state.notifications().record(&entry)
        };
        let outcome = self.tools.tasks.pool().run(work).await.map_err(|e| e.to_string());
        self.note_log(outcome.and_then(|r| r.map_err(|e| e.to_string())));
    }

    /// Ends a notice that nobody will take. What still fires counts as not told.
    fn give_up(&mut self, id: u64, reason: &str) {
        let Some(waiting) = self.queue.remove(id) else { return };
        warn!(receiver = %waiting.notice.receiver, reason, "notice given up");
        self.instruments.notices.with(&["given_up"]).inc();
        self.told.remove(&waiting.notice.lane());
        self.over.push(in_log(&waiting.notice.lane()));
        self.report.note(&waiting.notice, Outcome::GivenUp, waiting.attempts, reason);
        self.finish(id);
    }
}
