//! The task that owns all alarms: takes alerts and commands, journals transitions, publishes the board.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use super::config::Config;
use super::delays::{Counts, Delays, Moment, Turn, Wait};
use super::figures::{Flood, floods};
use super::history::History;
use super::instruments::Instruments;
use super::journal::{Journal, Replayed};
use super::lifecycle::{Heard, acknowledged, cleared, hear};
use super::silences::Silences;
use super::snapshot::{Event, Snapshot, Transition};
use super::withheld::{Deciders, Inhibited, Withheld};
use crate::clock::Clock;
use crate::model::{Acknowledgement, Alarm, AlarmState, Alert, Timestamp};
use crate::task::{BlockingPool, Phase, Tasks};

/// How long a cleared alarm stays on the board: notify must see it, people may want to.
pub(super) const CLEARED_KEPT: Duration = Duration::from_secs(15 * 60);

/// How long one of priority 1 or 2 stays for people that was cleared before anybody took note of it.
const UNNOTED_KEPT: Duration = Duration::from_secs(86_400);

/// How far back floods are looked for.
const FLOOD_LOOKBACK: Duration = Duration::from_secs(3 * 3600);

/// How often the board looks for what is over: expired alarms, old transitions, a journal that works again.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Transitions that wait for a journal that cannot be written; the oldest go first above it.
const WAITING_MAX: usize = 10_000;

/// What the handle asks of the board.
#[derive(Debug)]
pub(super) enum Command {
    Acknowledge { fingerprints: Vec<u64>, by: String, note: String, answer: oneshot::Sender<Vec<Alarm>> },
    Hear(Vec<Alert>, oneshot::Sender<()>),
    Reload(Config),
}

/// An alarm and until when it counts without being heard of, in time since the process started: a clock
/// that is set must not clear alarms.
#[derive(Debug)]
struct Entry {
    alarm: Alarm,
    deadline: Duration,
}

/// The board's state; owned by its task.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) pool: BlockingPool,
    pub(super) instruments: Instruments,
    pub(super) history: History,
    pub(super) snapshots: watch::Sender<Arc<Snapshot>>,
    pub(super) boards: watch::Sender<Arc<Vec<Alarm>>>,
    pub(super) silences: Silences,
    pub(super) inhibited: watch::Receiver<Option<Arc<Inhibited>>>,
    alarms: BTreeMap<u64, Entry>,
    delays: Delays,
    withheld: Withheld,
    /// `None` if it could not be opened: alarms work, but a restart forgets them.
    journal: Option<Arc<Mutex<Journal>>>,
    journal_error: Option<String>,
    /// Transitions that are not in the journal yet.
    waiting: Vec<Transition>,
    /// Begins and ends that wait, for the journal's next turn; if that fails a restart begins these waits anew.
    waits: Vec<Wait>,
}

impl Board {
    #[expect(clippy::too_many_arguments, reason = "a constructor called once, in the door")]
    pub(super) fn new(
        config: Config,
        clock: Clock,
        pool: BlockingPool,
        instruments: Instruments,
        replayed: std::result::Result<Replayed, String>,
        history: History,
        (silences, inhibited): (Silences, watch::Receiver<Option<Arc<Inhibited>>>),
        snapshots: watch::Sender<Arc<Snapshot>>,
        boards: watch::Sender<Arc<Vec<Alarm>>>,
    ) -> Self {
        let deadline = clock.elapsed() + config.resolve_timeout;
        let mut board = Board {
            config,
            clock,
            pool,
            instruments,
            history,
            snapshots,
            boards,
            silences,
            inhibited,
            alarms: BTreeMap::new(),
            delays: Delays::default(),
            withheld: Withheld::default(),
            journal: None,
            journal_error: None,
            waiting: Vec::new(),
            waits: Vec::new(),
        };
        match replayed {
            Ok(replayed) => {
                board.instruments.journal_damages.add(replayed.damages as u64);
                if replayed.unknown > 0 {
                    warn!(records = replayed.unknown, "the alarm journal has records of another version; passed over");
                }
                board.history.push(&Vec::from(replayed.history));
                let restored = replayed.alarms.into_iter();
                board.alarms = restored.map(|(f, alarm)| (f, Entry { alarm, deadline })).collect();
                let active = |fingerprint| board.alarms.get(&fingerprint).map(|e| &e.alarm);
                let active = |fingerprint| active(fingerprint).filter(|a| a.state == AlarmState::Active);
                let moment = Moment { now: board.clock.now(), elapsed: board.clock.elapsed() };
                board.delays = Delays::restored(&replayed.waits, active, &board.config.delays, moment);
                for (fingerprint, due) in board.delays.ending() {
                    if let Some(entry) = board.alarms.get_mut(&fingerprint) {
                        entry.deadline = entry.deadline.max(due + SWEEP_INTERVAL);
                    }
                }
                board.withheld = replayed.withheld;
                board.journal = board.history.journal();
            }
            Err(reason) => {
                error!(%reason, "cannot open the alarm journal; a restart will forget alarms");
                board.journal_error = Some(reason);
            }
        }
        board.forget_cleared();
        board.publish();
        info!(active = board.active().count(), "alarms restored");
        board
    }

    fn active(&self) -> impl Iterator<Item = &Alarm> {
        self.alarms.values().map(|e| &e.alarm).filter(|a| a.state == AlarmState::Active)
    }

    /// Runs until the work phase ends; what is in the channels then is still taken.
    pub(super) async fn run(
        mut self,
        tasks: Tasks,
        mut alerts: mpsc::Receiver<Vec<Alert>>,
        mut commands: mpsc::Receiver<Command>,
    ) {
        let stop = tasks.token(Phase::Work);
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut alerts_open = true;
        let mut silences = self.silences.watch();
        silences.mark_changed();
        let mut inhibited = self.inhibited.clone();
        loop {
            let nap = self.delays.next().map(|due| due.saturating_sub(self.clock.elapsed()));
            tokio::select! {
                () = stop.cancelled() => break,
                batch = alerts.recv(), if alerts_open => match batch {
                    Some(batch) => self.take(&batch).await,
                    None => alerts_open = false,
                },
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => break,
                },
                Ok(()) = silences.changed() => self.withhold().await,
                Ok(()) = inhibited.changed() => self.withhold().await,
                () = tokio::time::sleep(nap.unwrap_or_default()), if nap.is_some() => self.take_due().await,
                _ = sweep.tick() => self.sweep().await,
            }
        }
        while let Ok(batch) = alerts.try_recv() {
            self.take(&batch).await;
        }
        self.write_waiting().await;
    }

    /// Takes a batch of alerts.
    pub(super) async fn take(&mut self, alerts: &[Alert]) {
        let moment = Moment { now: self.clock.now(), elapsed: self.clock.elapsed() };
        let now = moment.now;
        let mut transitions = Vec::new();
        let mut refreshed = false;
        for alert in alerts {
            let fingerprint = alert.labels.stable_hash();
            let deadline = moment.elapsed + alert.expires_at.since(alert.evaluated_at);
            let entry = self.alarms.get_mut(&fingerprint);
            match hear(entry.as_ref().map(|e| &e.alarm), alert, now) {
                Heard::Nothing => {
                    self.delays.forget(fingerprint, alert.state, now);
                    if let Some(entry) = entry {
                        entry.deadline = deadline;
                    }
                }
                Heard::Refreshed(alarm) => {
                    self.delays.forget(fingerprint, alert.state, now);
                    refreshed = true;
                    self.alarms.insert(fingerprint, Entry { alarm, deadline });
                }
                Heard::Changed(event, mut alarm) => {
                    let turn = if event == Event::Raised { Turn::Begin } else { Turn::End };
                    match self.delays.wait(&self.config.delays, turn, alert, moment, deadline) {
                        Counts::AtOnce => {}
                        Counts::Now => at_now(&mut alarm, now),
                        Counts::NotBefore(due) => {
                            if let Some(entry) = entry {
                                entry.deadline = entry.deadline.max(due + SWEEP_INTERVAL);
                            }
                            continue;
                        }
                    }
                    if entry.is_none() && self.alarms.len() >= self.config.active_max && !self.make_room(now) {
                        self.instruments.refused.inc();
                        continue;
                    }
                    let at = alarm.changed_at;
                    transitions.push(Transition::of(event, at, alarm.clone()));
                    self.alarms.insert(fingerprint, Entry { alarm, deadline });
                }
            }
        }
        self.waits.extend(self.delays.take_untold());
        if !transitions.is_empty() {
            transitions.extend(self.withheld_now(now));
            self.record(transitions).await;
        } else if refreshed || !self.waits.is_empty() {
            self.write_waiting().await;
            self.publish();
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Reload(config) => self.config = config,
            Command::Hear(alerts, answer) => {
                self.take(&alerts).await;
                // The asker may have gone away; what it said stands.
                let _ = answer.send(());
            }
            Command::Acknowledge { fingerprints, by, note, answer } => {
                let at = self.clock.now();
                let mut acknowledged_now = Vec::new();
                for fingerprint in fingerprints {
                    if let Some(entry) = self.alarms.get_mut(&fingerprint) {
                        let acknowledgement = Acknowledgement { by: by.clone(), note: note.clone(), at };
                        entry.alarm = acknowledged(&entry.alarm, acknowledgement);
                        acknowledged_now.push(entry.alarm.clone());
                    }
                }
                let told = acknowledged_now.iter().cloned();
                self.record(told.map(|alarm| Transition::of(Event::Acknowledged, at, alarm)).collect()).await;
                // The asker may have gone away; the note stands.
                let _ = answer.send(acknowledged_now);
            }
        }
    }

    /// Journals which alarms came under a silence and which came back.
    async fn withhold(&mut self) {
        let transitions = self.withheld_now(self.clock.now());
        if !transitions.is_empty() {
            self.record(transitions).await;
        }
    }

    /// Takes the begins and ends that lasted for as long as their class of alarms waits.
    async fn take_due(&mut self) {
        let due = self.delays.due(self.clock.elapsed());
        self.take(&due).await;
    }

    /// Compares what is shelved, silenced and muted with what the journal has of it.
    fn withheld_now(&mut self, now: Timestamp) -> Vec<Transition> {
        let (silences, inhibited) = (self.silences.list(), self.inhibited.borrow().clone());
        let active = self.alarms.values().map(|e| &e.alarm).filter(|a| a.state == AlarmState::Active);
        let external = &self.config.external_labels;
        let deciders = Deciders { silences: &silences, inhibited: inhibited.as_deref(), external, now };
        self.withheld.compare(active, &deciders)
    }

    /// Clears alarms nobody speaks of any more, forgets old ones, and tries the journal again.
    pub(super) async fn sweep(&mut self) {
        self.take_due().await;
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        let mut transitions = Vec::new();
        for entry in self.alarms.values_mut() {
            if entry.alarm.state == AlarmState::Active && entry.deadline < elapsed {
                entry.alarm = cleared(&entry.alarm, now, entry.alarm.value);
                transitions.push(Transition::of(Event::Cleared, now, entry.alarm.clone()));
            }
        }
        self.instruments.expired.add(transitions.len() as u64);
        transitions.extend(self.withheld_now(now));
        let forgot = self.forget_cleared();
        self.history.forget_before(now - self.config.history_age);
        if !transitions.is_empty() || !self.waiting.is_empty() {
            self.record(transitions).await;
        } else if forgot || (self.has_flood() && self.flood(now).is_none()) {
            self.publish();
        }
        self.prune().await;
    }

    /// Takes an alarm off the board that is only kept for people. Returns whether there was one.
    fn make_room(&mut self, now: Timestamp) -> bool {
        let kept = self.alarms.iter().filter(|(_, e)| !is_recent(&e.alarm, now));
        let oldest = kept.min_by_key(|(_, e)| e.alarm.cleared_at).map(|(fingerprint, _)| *fingerprint);
        oldest.is_some_and(|fingerprint| self.alarms.remove(&fingerprint).is_some())
    }

    /// Takes alarms off the board that were cleared a while ago; those that matter and that nobody took note of stay
    /// longer. Returns whether anything changed, also for notify.
    fn forget_cleared(&mut self) -> bool {
        let before = self.alarms.len();
        let now = self.clock.now();
        self.alarms.retain(|_, e| {
            let is_unnoted = e.alarm.acknowledgement.is_none() && e.alarm.priority() <= 2;
            let kept = if is_unnoted { UNNOTED_KEPT } else { CLEARED_KEPT };
            e.alarm.cleared_at.is_none_or(|at| now.since(at) < kept)
        });
        let told = self.alarms.values().filter(|e| is_recent(&e.alarm, now)).count();
        self.alarms.len() < before || told < self.boards.borrow().len()
    }

    /// Journals transitions, then shows them: what is told to others is on disk before. A journal that cannot
    /// be written does not hold alarms up.
    async fn record(&mut self, transitions: Vec<Transition>) {
        for transition in &transitions {
            self.instruments.transitions.with(&[transition.event.as_str()]).inc();
        }
        self.history.push(&transitions);
        self.waiting.extend(transitions);
        self.write_waiting().await;
        self.publish();
    }

    async fn write_waiting(&mut self) {
        let waits = std::mem::take(&mut self.waits);
        let Some(journal) = self.journal.clone() else {
            self.waiting.clear();
            return;
        };
        if self.waiting.is_empty() && waits.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        let work = move || {
            let result = journal.lock().unwrap_or_else(PoisonError::into_inner).write(&waits, &waiting);
            (result.map_err(|e| e.to_string()), waiting)
        };
        match self.pool.run(work).await {
            Ok((Ok(()), _)) => self.journal_error = None,
            Ok((Err(reason), waiting)) => {
                // Some of these may be in the journal: replaying a transition twice changes nothing.
                self.waiting = waiting;
                self.journal_failed(reason);
            }
            Err(panicked) => self.journal_failed(panicked.to_string()),
        }
        let surplus = self.waiting.len().saturating_sub(WAITING_MAX);
        self.waiting.drain(..surplus);
        self.instruments.journal_dropped.add(surplus as u64);
        #[expect(clippy::cast_precision_loss, reason = "at most 10 000")]
        self.instruments.journal_waiting.set(self.waiting.len() as f64);
    }

    fn journal_failed(&mut self, reason: String) {
        self.instruments.journal_failures.inc();
        if self.journal_error.is_none() {
            warn!(%reason, "cannot write the alarm journal; trying again");
        }
        self.journal_error = Some(reason);
    }

    /// Removes journal segments that are too old or too many.
    async fn prune(&mut self) {
        let Some(journal) = self.journal.clone() else { return };
        let (age, now) = (self.config.history_age, self.clock.now());
        let standing: Vec<Alarm> = self.active().cloned().collect();
        let work = move || {
            let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
            journal.prune(age, now, standing.iter()).map_err(|e| e.to_string())
        };
        if let Ok(Err(reason)) = self.pool.run(work).await {
            self.journal_failed(reason);
        }
    }

    fn publish(&self) {
        let mut alarms: Vec<Alarm> = self.alarms.values().map(|e| e.alarm.clone()).collect();
        alarms.sort_by_key(|a| (a.state == AlarmState::Cleared, a.priority(), Reverse(a.raised_at), a.fingerprint));
        for priority in 1..=4u8 {
            let count = self.active().filter(|a| a.priority() == priority).count();
            #[expect(clippy::cast_precision_loss, reason = "a count of alarms")]
            self.instruments.active.with(&[&priority.to_string()]).set(count as f64);
        }
        let now = self.clock.now();
        let recent: Vec<Alarm> = alarms.iter().filter(|a| is_recent(a, now)).cloned().collect();
        self.snapshots.send_replace(Arc::new(Snapshot {
            alarms: Arc::new(alarms),
            flood: self.flood(now),
            at: now,
            journal_error: self.journal_error.clone(),
            resolve_timeout: self.config.resolve_timeout,
            ending: self.delays.ending().map(|(fingerprint, _)| fingerprint).collect(),
        }));
        self.boards.send_replace(Arc::new(recent));
    }

    fn has_flood(&self) -> bool {
        self.snapshots.borrow().flood.is_some()
    }

    /// Returns the flood that goes on.
    fn flood(&self, now: Timestamp) -> Option<Flood> {
        let raised = self.history.newest(|t| {
            let is_raised = t.event == Event::Raised && t.at > now - FLOOD_LOOKBACK;
            is_raised.then_some((t.at, t.alarm.fingerprint))
        });
        floods(&raised, now).pop().filter(|flood| flood.end.is_none())
    }
}

/// An alarm whose class waits begins, or ends, when the wait is over.
fn at_now(alarm: &mut Alarm, now: Timestamp) {
    match alarm.cleared_at {
        Some(_) => alarm.cleared_at = Some(now),
        None => alarm.raised_at = now,
    }
    alarm.changed_at = now;
}

/// Tells whether notify is to see an alarm: active, or cleared a moment ago.
fn is_recent(alarm: &Alarm, now: Timestamp) -> bool {
    alarm.cleared_at.is_none_or(|at| now.since(at) < CLEARED_KEPT)
}
