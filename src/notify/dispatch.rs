//! The task that owns groups, outbox and the log of what was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use rand::RngExt;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::config::{Config, Route};
use super::decide::{Told, is_news};
use super::group::Group;
use super::inhibit::inhibited;
use super::instruments::Instruments;
use super::outbox::Outbox;
use super::receiver::{Failure, Notice, NoticeAlarm, Sender};
use super::report::Report;
use super::retry::{AGE_MAX, wait};
use super::route::{Tree, group_labels};
use super::show::show;
use super::snapshot::{GroupSnapshot, Outcome, Snapshot};
use crate::clock::Clock;
use crate::model::{Alarm, AlarmState, Labels, Silence, Timestamp};
use crate::storage::state::{Notification, State};
use crate::task::{BlockingPool, Phase, Tasks};

/// Notices that wait, at most; above it the oldest goes, one that tells only of what is over first.
const WAITING_MAX: usize = 10_000;

/// Notices on their way at once.
const FLIGHTS_MAX: usize = 8;

/// How long sends in hand may take when the box stops; what is not done by then is sent after the start.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// The task wakes at least so often.
const WAKE_MAX: Duration = Duration::from_secs(60);

/// A group, a receiver's name and one of its ways.
type Lane = (String, String, String);

/// A notice in the outbox.
#[derive(Debug)]
struct Waiting {
    notice: Arc<Notice>,
    attempts: u32,
    due: Duration,
    is_in_flight: bool,
}

/// What came of an attempt: the notice's id, the outcome, how long it took.
type Landing = (u64, Result<(), Failure>, Duration);

/// The room's state; owned by its task.
pub(super) struct Dispatcher {
    pub(super) clock: Clock,
    pub(super) pool: BlockingPool,
    pub(super) state: State,
    pub(super) instruments: Instruments,
    pub(super) snapshots: watch::Sender<Arc<Snapshot>>,
    config: Config,
    routing: Arc<str>,
    tree: Option<Tree>,
    senders: BTreeMap<(String, String), Arc<Sender>>,
    groups: BTreeMap<(usize, Labels), Group>,
    told: BTreeMap<Lane, Told>,
    inhibited: BTreeMap<u64, u64>,
    silences: watch::Receiver<Arc<Vec<Silence>>>,
    /// Cleared alarms that were taken already, by fingerprint with when they were cleared.
    handled: BTreeMap<u64, Timestamp>,
    waiting: BTreeMap<u64, Waiting>,
    next_id: u64,
    /// `None` if it could not be opened: notices are in memory only.
    outbox: Option<Arc<Outbox>>,
    /// Notices made and done that the outbox's file does not know yet.
    unsaved: (Vec<Arc<Notice>>, Vec<u64>),
    flights: FuturesUnordered<BoxFuture<'static, Landing>>,
    report: Report,
}

impl Dispatcher {
    pub(super) fn new(
        config: Config,
        (clock, pool, state): (Clock, BlockingPool, State),
        instruments: Instruments,
        snapshots: watch::Sender<Arc<Snapshot>>,
        outbox: Option<(Outbox, BTreeMap<u64, Notice>)>,
        silences: watch::Receiver<Arc<Vec<Silence>>>,
    ) -> Self {
        let now = clock.now();
        let mut dispatcher = Dispatcher {
            clock,
            pool,
            state,
            instruments,
            snapshots,
            config: config.clone(),
            routing: Arc::default(),
            tree: None,
            senders: BTreeMap::new(),
            groups: BTreeMap::new(),
            told: BTreeMap::new(),
            inhibited: BTreeMap::new(),
            silences,
            handled: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_id: now.as_millis().unsigned_abs(),
            outbox: None,
            unsaved: (Vec::new(), Vec::new()),
            flights: FuturesUnordered::new(),
            report: Report::default(),
        };
        dispatcher.restore_told();
        if let Some((outbox, waiting)) = outbox {
            dispatcher.outbox = Some(Arc::new(outbox));
            dispatcher.restore_waiting(waiting);
        }
        dispatcher.configure(config);
        dispatcher
    }

    fn restore_told(&mut self) {
        match self.state.notifications().list() {
            Err(error) => {
                self.instruments.log_failures.inc();
                warn!(%error, "cannot read what was told; notices may come again");
            }
            Ok(list) => {
                for n in list {
                    let (receiver, integration) = n.receiver.rsplit_once('/').unwrap_or((&n.receiver, ""));
                    let lane = (n.group_key, receiver.to_owned(), integration.to_owned());
                    let (firing, resolved) = (n.firing.into_iter().collect(), n.resolved.into_iter().collect());
                    self.told.insert(lane, Told { firing, resolved, at: n.sent_at });
                }
            }
        }
    }

    /// Takes up what the outbox holds. What the log says was taken after it was made is done.
    fn restore_waiting(&mut self, waiting: BTreeMap<u64, Notice>) {
        for (id, notice) in waiting {
            self.next_id = self.next_id.max(id + 1);
            let told = told_by(&notice);
            let is_taken = self
                .told
                .get(&lane(&notice))
                .is_some_and(|t| t.at >= notice.made_at && t.firing == told.firing && t.resolved == told.resolved);
            if is_taken {
                self.unsaved.1.push(id);
                continue;
            }
            self.told.insert(lane(&notice), told);
            let waiting = Waiting { notice: Arc::new(notice), attempts: 0, due: Duration::ZERO, is_in_flight: false };
            self.waiting.insert(id, waiting);
        }
    }

    fn configure(&mut self, config: Config) {
        let mut senders = BTreeMap::new();
        for receiver in &config.receivers {
            for (i, way) in receiver.ways.iter().enumerate() {
                let kind = way.kind.name();
                let of_kind = receiver.ways.iter().take(i).filter(|w| w.kind.name() == kind).count();
                let key = (receiver.name.clone(), format!("{kind}[{of_kind}]"));
                let sender = match self.senders.remove(&key) {
                    Some(same) if same.settings() == way => same,
                    _ => Arc::new(Sender::new(way.clone())),
                };
                senders.insert(key, sender);
            }
        }
        self.senders = senders;
        self.tree = config.route.clone().map(Tree::new);
        self.report.configure(&config);
        self.routing = show(&config).into();
        self.config = config;
        self.groups.clear();
        self.handled.clear();
    }

    /// Runs until the work phase ends.
    pub(super) async fn run(
        mut self,
        tasks: Tasks,
        mut board: watch::Receiver<Arc<Vec<Alarm>>>,
        mut commands: mpsc::Receiver<Config>,
    ) {
        let stop = tasks.token(Phase::Work);
        let mut board_open = true;
        board.mark_changed();
        loop {
            let nap = self.nap();
            tokio::select! {
                () = stop.cancelled() => break,
                changed = board.changed(), if board_open => match changed {
                    Ok(()) => {
                        let alarms = board.borrow_and_update().clone();
                        self.take(&alarms);
                    }
                    Err(_) => board_open = false,
                },
                Some(landing) = self.flights.next(), if !self.flights.is_empty() => self.landed(landing).await,
                command = commands.recv() => match command {
                    Some(config) => {
                        self.configure(config);
                        board.mark_changed();
                    }
                    None => break,
                },
                () = tokio::time::sleep(nap) => {}
            }
            self.flush_due();
            self.save().await;
            self.launch();
            self.publish();
        }
        let in_hand = async {
            while let Some(landing) = self.flights.next().await {
                self.landed(landing).await;
            }
        };
        if tokio::time::timeout(STOP_PATIENCE, in_hand).await.is_err() {
            info!("notices in hand stay in the outbox");
        }
        self.save().await;
    }

    /// Returns how long nothing will happen by itself.
    fn nap(&self) -> Duration {
        let elapsed = self.clock.elapsed();
        let groups = self.groups.values().map(|g| g.next);
        let idle = self.flights.len() < FLIGHTS_MAX;
        let waiting = self.waiting.values().filter(|w| idle && !w.is_in_flight && !self.is_lane_busy(&w.notice));
        let next = groups.chain(waiting.map(|w| w.due)).min().unwrap_or(Duration::MAX);
        next.saturating_sub(elapsed).min(WAKE_MAX)
    }

    fn is_lane_busy(&self, notice: &Notice) -> bool {
        self.waiting.values().any(|w| w.is_in_flight && w.notice.same_lane(notice))
    }

    /// Takes the board as it is now.
    fn take(&mut self, alarms: &[Alarm]) {
        self.inhibited = inhibited(&self.config.inhibit_rules, alarms);
        let Some(tree) = &self.tree else { return };
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        let mut cleared = BTreeMap::new();
        for alarm in alarms {
            let is_handled = alarm.cleared_at.is_some_and(|at| self.handled.get(&alarm.fingerprint) == Some(&at));
            if let Some(at) = alarm.cleared_at {
                cleared.insert(alarm.fingerprint, at);
            }
            if is_handled {
                continue;
            }
            for taken in tree.routes(&alarm.labels) {
                let labels = group_labels(taken.route, &alarm.labels);
                let key = (taken.index, labels.clone());
                let fresh = || Group::new(taken.route, taken.path, labels, elapsed);
                match self.groups.get_mut(&key) {
                    Some(group) => group.insert(alarm.clone(), now, elapsed),
                    None => {
                        let mut group = fresh();
                        // Of a cleared alarm somebody hears only who heard that it was raised.
                        let is_wanted =
                            alarm.state == AlarmState::Active || was_told(&self.told, &group, alarm.fingerprint);
                        if is_wanted {
                            group.insert(alarm.clone(), now, elapsed);
                            self.groups.insert(key, group);
                        }
                    }
                }
            }
        }
        self.handled = cleared;
    }

    /// Looks at the groups whose time has come and makes notices.
    fn flush_due(&mut self) {
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        let due: Vec<(usize, Labels)> =
            self.groups.iter().filter(|(_, g)| g.next <= elapsed).map(|(k, _)| k.clone()).collect();
        for key in due {
            let Some(mut group) = self.groups.remove(&key) else { continue };
            if self.is_muted(&group.route, now) {
                let told = &self.told;
                let (key, receiver) = (group.key.clone(), group.route.receiver.clone());
                group.flushed(elapsed, |fingerprint| was_told_by(told, &key, &receiver, fingerprint));
            } else {
                self.flush(&group, now);
                group.flushed(elapsed, |_| false);
            }
            if !group.alarms.is_empty() {
                self.groups.insert(key, group);
            }
        }
    }

    /// Tells whether a route is silent now.
    fn is_muted(&self, route: &Route, now: Timestamp) -> bool {
        let covers = |name: &String| {
            let named = self.config.time_intervals.iter().filter(|n| n.name == *name);
            named.flat_map(|n| &n.intervals).any(|i| i.covers(now))
        };
        let is_inactive = !route.active_time_intervals.is_empty() && !route.active_time_intervals.iter().any(covers);
        is_inactive || route.mute_time_intervals.iter().any(covers)
    }

    /// Makes a notice for each of the receiver's ways that has news of the group.
    fn flush(&mut self, group: &Group, now: Timestamp) {
        let silences = self.silences.borrow().clone();
        let is_muted = |alarm: &Alarm| {
            self.inhibited.contains_key(&alarm.fingerprint) || silences.iter().any(|s| s.mutes(&alarm.labels, now))
        };
        // Who heard of an alarm hears that it is over, silenced or not.
        let was_told = |alarm: &Alarm| was_told(&self.told, group, alarm.fingerprint);
        let shown = group.alarms.values().filter(|a| match a.state {
            AlarmState::Active => !is_muted(a),
            AlarmState::Cleared => !is_muted(a) || was_told(a),
        });
        let mut alarms: Vec<NoticeAlarm> = shown.map(notice_alarm).collect();
        alarms.sort_by(|a, b| a.labels.cmp(&b.labels));
        let ids = |fires: bool| -> BTreeSet<u64> {
            alarms.iter().filter(|a| a.ends_at.is_none() == fires).map(|a| a.fingerprint).collect()
        };
        let (firing, resolved) = (ids(true), ids(false));
        let receiver = &group.route.receiver;
        let ways: Vec<(String, bool)> = self
            .senders
            .iter()
            .filter(|((name, _), _)| name == receiver)
            .map(|((_, integration), sender)| (integration.clone(), sender.settings().send_resolved))
            .collect();
        for (integration, send_resolved) in ways {
            let lane = (group.key.clone(), receiver.clone(), integration.clone());
            let told = self.told.get(&lane);
            if !is_news(&firing, &resolved, told, send_resolved, group.route.repeat_interval, now) {
                continue;
            }
            let alarms: Vec<NoticeAlarm> =
                alarms.iter().filter(|a| send_resolved || a.ends_at.is_none()).cloned().collect();
            self.next_id += 1;
            let notice = Notice {
                id: self.next_id,
                made_at: now,
                group_key: group.key.clone(),
                receiver: receiver.clone(),
                integration,
                group_labels: group.labels.clone(),
                alarms,
            };
            self.told.insert(lane, told_by(&notice));
            self.enqueue(notice);
        }
    }

    /// Puts a notice into the outbox. One that waits in the same lane is replaced; what it tells of that is
    /// over meanwhile is told with the new one.
    fn enqueue(&mut self, mut notice: Notice) {
        self.instruments.notices.with(&["made"]).inc();
        let lane_of = |w: &Waiting| !w.is_in_flight && w.notice.same_lane(&notice);
        let older: Vec<u64> = self.waiting.iter().filter(|(_, w)| lane_of(w)).map(|(id, _)| *id).collect();
        for id in older {
            let Some(old) = self.waiting.remove(&id) else { continue };
            for alarm in old.notice.alarms.iter().filter(|a| a.ends_at.is_some()) {
                if notice.alarms.iter().all(|a| a.fingerprint != alarm.fingerprint) {
                    notice.alarms.push(alarm.clone());
                }
            }
            self.instruments.notices.with(&["replaced"]).inc();
            self.finish(id);
        }
        if self.waiting.len() >= WAITING_MAX {
            let idle = || self.waiting.iter().filter(|(_, w)| !w.is_in_flight);
            let over = idle().find(|(_, w)| w.notice.firing() == 0).or_else(|| idle().next()).map(|(id, _)| *id);
            if let Some(id) = over {
                self.waiting.remove(&id);
                self.instruments.notices.with(&["dropped"]).inc();
                self.finish(id);
            }
        }
        let notice = Arc::new(notice);
        self.report.note(&notice, Outcome::Waiting, 0, "");
        self.unsaved.0.push(notice.clone());
        let waiting = Waiting { notice: notice.clone(), attempts: 0, due: Duration::ZERO, is_in_flight: false };
        self.waiting.insert(notice.id, waiting);
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
    async fn save(&mut self) {
        let Some(outbox) = self.outbox.clone() else {
            self.unsaved = (Vec::new(), Vec::new());
            return;
        };
        if self.unsaved.0.is_empty() && self.unsaved.1.is_empty() {
            return;
        }
        let (made, done) = std::mem::take(&mut self.unsaved);
        let waiting: Vec<Notice> = self.waiting.values().map(|w| (*w.notice).clone()).collect();
        let work = move || {
            let plain: Vec<Notice> = made.iter().map(|n| (**n).clone()).collect();
            (outbox.write(&plain, &done, &waiting).map_err(|e| e.to_string()), made, done)
        };
        match self.pool.run(work).await {
            Ok((Ok(()), ..)) => self.report.outbox_error = None,
            Ok((Err(reason), made, done)) => {
                self.unsaved = (made, done);
                self.instruments.outbox_failures.inc();
                if self.report.outbox_error.is_none() {
                    warn!(%reason, "cannot write the outbox; a restart would forget its newest notices");
                }
                self.report.outbox_error = Some(reason);
            }
            Err(panicked) => self.report.outbox_error = Some(panicked.to_string()),
        }
    }

    /// Sends what is due, as far as there is room.
    fn launch(&mut self) {
        let elapsed = self.clock.elapsed();
        let due: Vec<u64> =
            self.waiting.iter().filter(|(_, w)| !w.is_in_flight && w.due <= elapsed).map(|(id, _)| *id).collect();
        for id in due {
            if self.flights.len() >= FLIGHTS_MAX {
                return;
            }
            let Some(notice) = self.waiting.get(&id).map(|w| w.notice.clone()) else { continue };
            if self.is_lane_busy(&notice) {
                continue;
            }
            let Some(sender) = self.senders.get(&(notice.receiver.clone(), notice.integration.clone())).cloned() else {
                self.give_up(id, "the receiver is not in the settings any more");
                continue;
            };
            if let Some(waiting) = self.waiting.get_mut(&id) {
                waiting.is_in_flight = true;
                waiting.attempts += 1;
            }
            let (clock, external_url) = (self.clock.clone(), self.config.external_url.clone());
            self.flights.push(Box::pin(async move {
                let result = sender.send(&notice, &external_url, clock.now()).await;
                (id, result, clock.elapsed().saturating_sub(elapsed))
            }));
        }
    }

    /// Takes the outcome of an attempt.
    async fn landed(&mut self, (id, result, took): Landing) {
        self.instruments.duration.observe_duration(took);
        let Some(waiting) = self.waiting.get_mut(&id) else { return };
        waiting.is_in_flight = false;
        let (notice, attempts) = (waiting.notice.clone(), waiting.attempts);
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        match result {
            Ok(()) => {
                self.instruments.attempts.with(&[&notice.receiver, "sent"]).inc();
                self.instruments.notices.with(&["sent"]).inc();
                self.waiting.remove(&id);
                self.report.sent(&notice, attempts, now);
                self.remember(&notice, now).await;
                self.finish(id);
            }
            Err(failure) => {
                self.instruments.attempts.with(&[&notice.receiver, "failed"]).inc();
                if attempts == 1 {
                    warn!(receiver = %notice.receiver, reason = %failure.reason, "notice not taken; trying again");
                }
                self.report.failed(&notice, attempts, &failure.reason);
                if now.since(notice.made_at) > AGE_MAX {
                    self.give_up(id, "too old");
                } else if let Some(waiting) = self.waiting.get_mut(&id) {
                    waiting.due = elapsed + wait(&failure, attempts, rand::rng().random());
                }
            }
        }
    }

    /// Writes to the log that a notice was taken. Where nothing fires any more nothing needs to be known.
    async fn remember(&mut self, notice: &Notice, now: Timestamp) {
        let told = told_by(notice);
        let receiver = format!("{}/{}", notice.receiver, notice.integration);
        let entry = Notification {
            group_key: notice.group_key.clone(),
            receiver,
            group_labels: notice.group_labels.clone(),
            firing: told.firing.iter().copied().collect(),
            resolved: told.resolved.iter().copied().collect(),
            sent_at: now,
        };
        if told.firing.is_empty() && self.told.get(&lane(notice)).is_some_and(|t| t.firing.is_empty()) {
            self.told.remove(&lane(notice));
        }
        let state = self.state.clone();
        let work = move || match entry.firing.is_empty() {
            true => state.notifications().remove(&entry.group_key, &entry.receiver).map(|_| ()),
            false => state.notifications().record(&entry),
        };
        let failure = match self.pool.run(work).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(panicked) => panicked.to_string(),
        };
        self.instruments.log_failures.inc();
        warn!(%failure, "cannot write what was told; after a restart it may be told again");
    }

    /// Ends a notice that nobody will take. What still fires counts as not told.
    fn give_up(&mut self, id: u64, reason: &str) {
        let Some(waiting) = self.waiting.remove(&id) else { return };
        warn!(receiver = %waiting.notice.receiver, reason, "notice given up");
        self.instruments.notices.with(&["given_up"]).inc();
        self.told.remove(&lane(&waiting.notice));
        self.report.note(&waiting.notice, Outcome::GivenUp, waiting.attempts, reason);
        self.finish(id);
    }

    fn publish(&self) {
        #[expect(clippy::cast_precision_loss, reason = "counts of notices and groups")]
        {
            self.instruments.waiting.set(self.waiting.len() as f64);
            self.instruments.groups.set(self.groups.len() as f64);
            self.instruments.inhibited.set(self.inhibited.len() as f64);
        }
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        let group = |g: &Group| GroupSnapshot {
            labels: g.labels.clone(),
            receiver: g.route.receiver.clone(),
            alarms: g.alarms.keys().copied().collect(),
            next_at: now + g.next.saturating_sub(elapsed),
        };
        self.snapshots.send_replace(Arc::new(Snapshot {
            groups: self.groups.values().map(group).collect(),
            receivers: self.report.receivers.clone(),
            outbox_len: self.waiting.len(),
            outbox_since: self.waiting.values().map(|w| w.notice.made_at).min(),
            outbox_error: self.report.outbox_error.clone(),
            inhibited: self.inhibited.clone(),
            routing: self.routing.clone(),
            recent: self.report.recent.iter().cloned().collect(),
        }));
    }
}

fn lane(notice: &Notice) -> Lane {
    (notice.group_key.clone(), notice.receiver.clone(), notice.integration.clone())
}

/// Returns what a receiver knows after it took a notice.
fn told_by(notice: &Notice) -> Told {
    let ids =
        |fires: bool| notice.alarms.iter().filter(|a| a.ends_at.is_none() == fires).map(|a| a.fingerprint).collect();
    Told { firing: ids(true), resolved: ids(false), at: notice.made_at }
}

fn was_told(told: &BTreeMap<Lane, Told>, group: &Group, fingerprint: u64) -> bool {
    was_told_by(told, &group.key, &group.route.receiver, fingerprint)
}

/// Tells whether somebody heard that an alarm fires.
fn was_told_by(told: &BTreeMap<Lane, Told>, group_key: &str, receiver: &str, fingerprint: u64) -> bool {
    let first = (group_key.to_owned(), receiver.to_owned(), String::new());
    let lanes = told.range(first..).take_while(|((g, r, _), _)| g == group_key && r == receiver);
    lanes.into_iter().any(|(_, t)| t.firing.contains(&fingerprint))
}

fn notice_alarm(alarm: &Alarm) -> NoticeAlarm {
    NoticeAlarm {
        fingerprint: alarm.fingerprint,
        labels: alarm.labels.clone(),
        annotations: alarm.annotations.clone(),
        starts_at: alarm.raised_at,
        ends_at: alarm.cleared_at,
        expression: alarm.expression.clone(),
    }
}
