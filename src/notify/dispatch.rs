//! The task that owns groups, outbox and the log of what was told. What becomes of a notice is in `outgoing.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::ack::AckKey;
use super::config::{Config, Fallback, Route};
use super::decide::{Decision, Told, decide};
use super::group::Group;
use super::heart::Heart;
use super::inhibit::inhibited;
use super::instruments::Instruments;
use super::notice::{Lane, Notice, NoticeAlarm, WayKey};
use super::outbox::Outbox;
use super::queue::Queue;
use super::receiver::{Failure, STOP_PATIENCE, Sender, Tools};
use super::report::Report;
use super::route::{Tree, group_labels};
use super::show::show;
use super::snapshot::{GroupSnapshot, Snapshot};
use super::{Command, Desk, message};
use crate::clock::Clock;
use crate::model::{Alarm, AlarmState, Labels, Silence, Timestamp};
use crate::storage::state::State;
use crate::task::{Phase, Tasks};

/// The task wakes at least so often.
const WAKE_MAX: Duration = Duration::from_secs(60);

/// What came of an attempt: the notice's id, the outcome, how long it took.
pub(super) type Landing = (u64, Result<(), Failure>, Duration);

/// Where the dispatcher tells how things stand: pages, who tests a receiver, the alarms room.
type Tellers = (watch::Sender<Arc<Snapshot>>, watch::Sender<Arc<Desk>>, watch::Sender<Option<Arc<BTreeMap<u64, u64>>>>);

/// The room's state; owned by its task.
pub(super) struct Dispatcher {
    pub(super) clock: Clock,
    pub(super) tools: Tools,
    pub(super) state: State,
    ack_key: Option<Arc<AckKey>>,
    pub(super) instruments: Instruments,
    snapshots: watch::Sender<Arc<Snapshot>>,
    pub(super) config: Config,
    routing: Arc<str>,
    tree: Option<Tree>,
    desk: watch::Sender<Arc<Desk>>,
    groups: BTreeMap<(usize, Labels), Group>,
    /// Them as pages see them; `None` if that has changed.
    shown_groups: Option<Arc<Vec<GroupSnapshot>>>,
    pub(super) told: BTreeMap<Lane, Told>,
    inhibited: Arc<BTreeMap<u64, u64>>,
    /// Where others hear of that.
    muted: watch::Sender<Option<Arc<BTreeMap<u64, u64>>>>,
    silences: watch::Receiver<Arc<Vec<Silence>>>,
    /// Cleared alarms that were taken already, by fingerprint with when they were cleared.
    handled: BTreeMap<u64, Timestamp>,
    pub(super) queue: Queue,
    pub(super) next_id: u64,
    /// `None` if it could not be opened: notices are in memory only.
    pub(super) outbox: Option<Arc<Outbox>>,
    /// Notices made and done that the outbox's file does not know yet.
    pub(super) unsaved: (Vec<Arc<Notice>>, Vec<u64>),
    /// Groups and receivers of the log in which nothing fires any more: forgotten when the outbox knows it too.
    pub(super) over: Vec<(String, String)>,
    /// Whether the board was held against what the outbox had at the start.
    is_reconciled: bool,
    pub(super) flights: FuturesUnordered<BoxFuture<'static, Landing>>,
    pub(super) report: Report,
    heart: Heart,
}

impl Dispatcher {
    pub(super) fn new(
        config: Config,
        (clock, tools, state, ack_key): (Clock, Tools, State, Option<Arc<AckKey>>),
        instruments: Instruments,
        (snapshots, desk, muted): Tellers,
        outbox: Option<(Outbox, BTreeMap<u64, Notice>)>,
        silences: watch::Receiver<Arc<Vec<Silence>>>,
    ) -> Self {
        let now = clock.now();
        let mut dispatcher = Dispatcher {
            clock,
            tools,
            state,
            ack_key,
            instruments,
            snapshots,
            config: config.clone(),
            routing: Arc::default(),
            tree: None,
            desk,
            groups: BTreeMap::new(),
            shown_groups: None,
            told: BTreeMap::new(),
            inhibited: Arc::default(),
            muted,
            silences,
            handled: BTreeMap::new(),
            queue: Queue::default(),
            next_id: now.as_millis().unsigned_abs(),
            outbox: None,
            unsaved: (Vec::new(), Vec::new()),
            over: Vec::new(),
            is_reconciled: false,
            flights: FuturesUnordered::new(),
            report: Report::default(),
            heart: Heart::default(),
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
                .get(&notice.lane())
                .is_some_and(|t| t.at >= notice.made_at && t.firing == told.firing && t.resolved == told.resolved);
            if is_taken {
                self.unsaved.1.push(id);
                continue;
            }
            // Who gets a digest knows that nothing fires any more in the groups that it stands for.
            for key in &notice.folded {
                let lane = (key.clone(), notice.receiver.clone(), notice.integration.clone());
                self.told.entry(lane).or_default().firing.clear();
            }
            if !notice.is_digest() {
                self.told.insert(notice.lane(), told);
            }
            let pushed = self.queue.push(notice);
            if !pushed.replaced.is_empty() {
                // Two of one group: one was on its way when the process ended.
                self.unsaved.0.retain(|n| !pushed.replaced.contains(&n.id));
                self.unsaved.1.extend(pushed.replaced);
                self.unsaved.0.push(pushed.notice);
            }
        }
        // What is over was of use only to know what of the outbox is done.
        let is_over = |(lane, told): (&Lane, &Told)| told.firing.is_empty().then(|| in_log(lane));
        self.over = self.told.iter().filter_map(is_over).collect();
    }

    fn configure(&mut self, config: Config) {
        let mut senders = BTreeMap::new();
        let mut limits = BTreeMap::new();
        for receiver in &config.receivers {
            for (i, way) in receiver.ways.iter().enumerate() {
                let kind = way.kind.name();
                let of_kind = receiver.ways.iter().take(i).filter(|w| w.kind.name() == kind).count();
                let key = (receiver.name.clone(), format!("{kind}[{of_kind}]"));
                let known = self.desk.borrow().senders.get(&key).cloned();
                let sender = match known {
                    Some(same) if same.settings() == way => same,
                    _ => Arc::new(Sender::new(way.clone())),
                };
                if let Some(limit) = receiver.per_minute_max {
                    limits.insert(key.clone(), limit);
                }
                senders.insert(key, sender);
            }
        }
        self.queue.limits = limits;
        self.queue.lamps =
            senders.iter().filter(|(_, s)| s.settings().kind.is_lamp()).map(|(key, _)| key.clone()).collect();
        self.desk.send_replace(Arc::new(Desk { senders, config: config.clone() }));
        self.heart.configure(&config.heartbeats, self.clock.elapsed());
        self.tree = config.route.clone().map(Tree::new);
        self.report.configure(&config);
        self.routing = show(&config).into();
        self.config = config;
        self.groups.clear();
        self.shown_groups = None;
        self.handled.clear();
    }

    /// Runs until the work phase ends.
    pub(super) async fn run(
        mut self,
        tasks: Tasks,
        mut board: watch::Receiver<Arc<Vec<Alarm>>>,
        mut commands: mpsc::Receiver<Command>,
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
                Some((receiver, outcome)) = self.heart.beats.next(), if !self.heart.beats.is_empty() => {
                    self.heart.landed(&receiver, outcome, self.clock.now());
                }
                command = commands.recv() => match command {
                    Some(Command::Reload(config)) => {
                        self.configure(*config);
                        board.mark_changed();
                    }
                    Some(Command::Surroundings(way, answer)) => {
                        // The asker may have gone away.
                        let _ = answer.send(self.surroundings(&way));
                    }
                    None => break,
                },
                () = tokio::time::sleep(nap) => {}
            }
            self.flush_due();
            self.attend();
            self.save().await;
            self.launch();
            self.beat();
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
        let outgoing = self.queue.next_due(elapsed).into_iter().chain(self.next_hand_over(elapsed));
        let next = groups.chain(outgoing).chain(self.heart.next()).min().unwrap_or(Duration::MAX);
        next.saturating_sub(elapsed).min(WAKE_MAX)
    }

    /// Takes the board as it is now.
    fn take(&mut self, alarms: &[Alarm]) {
        let alarms = &self.labelled(alarms)[..];
        self.inhibited = Arc::new(inhibited(&self.config.inhibit_rules, alarms));
        self.muted.send_if_modified(|known| {
            let has_changed = known.as_ref() != Some(&self.inhibited);
            *known = Some(self.inhibited.clone());
            has_changed
        });
        if !self.is_reconciled {
            self.is_reconciled = true;
            self.reconcile(alarms);
        }
        let Some(tree) = &self.tree else { return };
        self.shown_groups = None;
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
            self.shown_groups = None;
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

    /// Returns the alarms with the labels that this box adds to its own, as a Prometheus adds them to what it sends:
    /// routes, inhibition, silences and receivers see them. What other programs sent is left as it is.
    fn labelled(&self, alarms: &[Alarm]) -> Vec<Alarm> {
        let external = &self.config.relay.external_labels;
        let with = |alarm: &Alarm| Alarm { labels: alarm.labels_for_others(external), ..alarm.clone() };
        alarms.iter().map(with).collect()
    }

    /// What was told or waiting when the process ended may be over without a trace on the board: what waits is told as
    /// such, and what comes again is news.
    fn reconcile(&mut self, board: &[Alarm]) {
        let now = self.clock.now();
        let known: BTreeSet<u64> = board.iter().map(|a| a.fingerprint).collect();
        for (lane, told) in &mut self.told {
            let before = told.firing.len();
            told.firing.retain(|f| known.contains(f));
            if told.firing.is_empty() && before > 0 {
                self.over.push(in_log(lane));
            }
        }
        let is_gone = |a: &NoticeAlarm| a.ends_at.is_none() && !known.contains(&a.fingerprint);
        let stale: Vec<Arc<Notice>> =
            self.queue.iter().filter(|w| w.notice.alarms.iter().any(is_gone)).map(|w| w.notice.clone()).collect();
        for old in stale {
            let mut notice = (*old).clone();
            for alarm in notice.alarms.iter_mut().filter(|a| is_gone(a)) {
                alarm.ends_at = Some(now);
            }
            self.told.insert(notice.lane(), told_by(&notice));
            self.enqueue(notice);
        }
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
        let receiver = &group.route.receiver;
        let desk = self.desk.borrow().clone();
        let senders = &desk.senders;
        let mut ways: Vec<WayKey> = senders.keys().filter(|(name, _)| name == receiver).cloned().collect();
        // Who was told instead hears how it goes on.
        let mut instead = self.fallback(receiver);
        while let Some(fallback) = instead {
            let knows = |way: &&WayKey| {
                let lane = (group.key.clone(), way.0.clone(), way.1.clone());
                way.0 == fallback.receiver && self.told.get(&lane).is_some_and(|t| !t.firing.is_empty())
            };
            ways.extend(senders.keys().filter(knows).cloned());
            instead = self.fallback(&fallback.receiver);
        }
        for way in ways {
            let send_resolved = senders.get(&way).is_some_and(|s| s.settings().send_resolved);
            self.flush_way(group, &alarms, way, send_resolved, now);
        }
    }

    /// Makes a notice for one way if it has news, or if what waits for it has become wrong.
    fn flush_way(
        &mut self,
        group: &Group,
        alarms: &[NoticeAlarm],
        (receiver, integration): WayKey,
        send_resolved: bool,
        now: Timestamp,
    ) {
        let ids = |fires: bool| -> BTreeSet<u64> {
            alarms.iter().filter(|a| a.ends_at.is_none() == fires).map(|a| a.fingerprint).collect()
        };
        let (firing, resolved) = (ids(true), ids(false));
        let lane = (group.key.clone(), receiver.clone(), integration.clone());
        // Of alarms that nobody heard of yet and that are over: who wants no ends hears that they were there.
        let unsent = self.queue.unsent(&lane);
        let missed: BTreeSet<u64> = unsent
            .into_iter()
            .flat_map(|n| n.alarms.iter().filter(|a| a.ends_at.is_none()).map(|a| a.fingerprint))
            .filter(|f| resolved.contains(f))
            .collect();
        let told = self.told.get(&lane);
        let decision = decide(&firing, &resolved, told, send_resolved, group.route.repeat_interval, now);
        if missed.is_empty() && decision != Decision::Tell {
            if decision == Decision::Forget {
                self.over.push(in_log(&lane));
                self.told.remove(&lane);
            } else if !send_resolved && let Some(told) = self.told.get_mut(&lane) {
                // What is over and comes again is told again.
                told.firing.retain(|f| firing.contains(f));
            }
            return;
        }
        let is_told = |a: &&NoticeAlarm| a.ends_at.is_none() || send_resolved || missed.contains(&a.fingerprint);
        self.next_id += 1;
        let notice = Notice {
            id: self.next_id,
            made_at: now,
            since: now,
            group_key: group.key.clone(),
            receiver,
            integration,
            group_labels: group.labels.clone(),
            alarms: alarms.iter().filter(is_told).cloned().collect(),
            folded: Vec::new(),
            left_out: 0,
        };
        self.told.insert(lane, told_by(&notice));
        self.enqueue(notice);
    }

    /// Returns who is told instead of a receiver.
    pub(super) fn fallback(&self, receiver: &str) -> Option<Fallback> {
        self.config.receivers.iter().find(|r| r.name == receiver)?.fallback.clone()
    }

    /// Returns a way that is ready to send.
    pub(super) fn sender(&self, way: &WayKey) -> Option<Arc<Sender>> {
        self.desk.borrow().senders.get(way).cloned()
    }

    /// Returns the ways of a receiver.
    pub(super) fn ways_of(&self, receiver: &str) -> Vec<WayKey> {
        self.desk.borrow().senders.keys().filter(|(name, _)| name == receiver).cloned().collect()
    }

    /// Returns what a way's words and effects need: what it knows to fire, in all groups.
    pub(super) fn surroundings(&self, (receiver, integration): &WayKey) -> message::Surroundings {
        let mut standing: BTreeMap<u64, NoticeAlarm> = BTreeMap::new();
        for group in self.groups.values() {
            let lane = (group.key.clone(), receiver.clone(), integration.clone());
            let Some(told) = self.told.get(&lane) else { continue };
            let fires = |a: &&Alarm| a.state == AlarmState::Active && told.firing.contains(&a.fingerprint);
            standing.extend(group.alarms.values().filter(fires).map(|a| (a.fingerprint, notice_alarm(a))));
        }
        let mut standing: Vec<NoticeAlarm> = standing.into_values().collect();
        standing.sort_by_key(|a| (a.priority(), a.starts_at));
        message::Surroundings { standing: Arc::new(standing), ..self.alone() }
    }

    /// Returns what the words of a notice need that looks at its own alarms alone.
    pub(super) fn alone(&self) -> message::Surroundings {
        message::Surroundings {
            standing: Arc::default(),
            box_name: self.config.box_name.as_str().into(),
            zone: self.config.time_zone.clone(),
            links: self.ack_key.clone().zip(self.config.ack_links_for),
        }
    }

    /// Sends the signs of life whose time has come.
    fn beat(&mut self) {
        let due = self.heart.due(self.clock.elapsed());
        for receiver in due {
            for way in self.ways_of(&receiver) {
                let Some(sender) = self.sender(&way) else { continue };
                let around = self.surroundings(&way);
                self.heart.send(way, sender, around, self.tools.clone(), &self.config, &self.clock);
            }
        }
    }

    fn publish(&mut self) {
        #[expect(clippy::cast_precision_loss, reason = "counts of notices and groups")]
        {
            self.instruments.waiting.set(self.queue.len() as f64);
            self.instruments.groups.set(self.groups.len() as f64);
            self.instruments.inhibited.set(self.inhibited.len() as f64);
        }
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        let group = |g: &Group| GroupSnapshot {
            key: g.key.clone(),
            labels: g.labels.clone(),
            receiver: g.route.receiver.clone(),
            alarms: g.alarms.keys().copied().collect(),
            next_at: now + g.next.saturating_sub(elapsed),
        };
        let groups =
            self.shown_groups.get_or_insert_with(|| self.groups.values().map(group).collect::<Vec<_>>().into());
        self.snapshots.send_replace(Arc::new(Snapshot {
            groups: groups.clone(),
            receivers: self.report.receivers(|name| self.queue.away_since(name)),
            heartbeats: self.heart.snapshot(),
            outbox_len: self.queue.len(),
            outbox_since: self.queue.iter().map(|w| w.notice.since).min(),
            outbox_error: self.report.outbox_error.clone(),
            inhibited: (*self.inhibited).clone(),
            routing: self.routing.clone(),
            recent: self.report.recent.iter().cloned().collect(),
        }));
    }
}

/// Returns what the log calls a lane: the group's key, and receiver and way in one.
pub(super) fn in_log((group_key, receiver, integration): &Lane) -> (String, String) {
    (group_key.clone(), format!("{receiver}/{integration}"))
}

/// Returns what a receiver knows after it took a notice.
pub(super) fn told_by(notice: &Notice) -> Told {
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

pub(super) fn notice_alarm(alarm: &Alarm) -> NoticeAlarm {
    NoticeAlarm {
        fingerprint: alarm.fingerprint,
        labels: alarm.labels.clone(),
        annotations: alarm.annotations.clone(),
        starts_at: alarm.raised_at,
        ends_at: alarm.cleared_at,
        expression: alarm.expression.clone(),
        source_url: alarm.source_url.clone(),
    }
}
