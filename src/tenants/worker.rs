//! The task: listens, checks every 30 s, answers.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::account::{Account, Learnt};
use super::connections::{self, Open};
use super::heartbeat;
use super::instruments::Instruments;
use super::subject::{Address, address};
use super::view::TenantView;
use super::{Config, Deps};
use crate::bus::{Message, Scope, Subscription};
use crate::model::{Alert, Timestamp};
use crate::query::promql::{Engine, InstantSeries, Options, Value};

/// Messages that may wait for the task, and their bytes: a second of ten thousand small ones.
const QUEUE_MESSAGES_MAX: usize = 10_000;
const QUEUE_BYTES_MAX: usize = 32 << 20;

/// Messages that are taken before others get their turn.
const BATCH_MAX: usize = 256;

/// The distance of the points from which the normal rate is learnt.
const LEARNT_STEP: Duration = Duration::from_secs(300);

/// A question to the task.
#[derive(Debug)]
pub(super) enum Command {
    /// One tenant as of now.
    View { tenant: String, answer: oneshot::Sender<Option<TenantView>> },
    /// A tenant's key was used.
    Asked { tenant: String },
}

type Reading = Pin<Box<dyn Future<Output = Result<Open, String>> + Send>>;

/// The owner of all accounts.
pub(super) struct Worker {
    settings: watch::Receiver<Arc<Config>>,
    config: Arc<Config>,
    deps: Deps,
    instruments: Instruments,
    accounts: BTreeMap<String, Account>,
    subscription: Option<Subscription>,
    /// What the subscription had lost at the last look.
    lost: u64,
    checked_at: Duration,
    /// The servers being asked for their connections.
    reading: Option<Reading>,
    could_read: bool,
}

impl Worker {
    pub(super) fn new(settings: watch::Receiver<Arc<Config>>, deps: Deps) -> Self {
        let instruments = Instruments::new(&deps.registry);
        let (config, checked_at) = (settings.borrow().clone(), deps.clock.elapsed());
        Worker {
            settings,
            config,
            deps,
            instruments,
            accounts: BTreeMap::new(),
            subscription: None,
            lost: 0,
            checked_at,
            reading: None,
            could_read: true,
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>, stop: CancellationToken) {
        let mut ticks = self.take_settings().await;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.settings.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    ticks = self.take_settings().await;
                }
                message = next(&mut self.subscription) => {
                    let Some(message) = message else { return };
                    self.take_all(message);
                }
                command = commands.recv() => match command {
                    Some(command) => self.answer(command),
                    None => return,
                },
                _ = ticks.tick() => self.check(),
                open = finished(&mut self.reading) => self.connections(open),
            }
        }
    }

    /// Makes accounts of tenants that are new, closes those of tenants that are none any more, and listens.
    async fn take_settings(&mut self) -> tokio::time::Interval {
        let config = self.settings.borrow_and_update().clone();
        let now = self.deps.clock.now();
        let ids: BTreeSet<&str> = config.tenants.iter().map(|t| t.id.as_str()).collect();
        let gone: Vec<String> = self.accounts.keys().filter(|id| !ids.contains(id.as_str())).cloned().collect();
        for id in gone {
            if let Some(mut account) = self.accounts.remove(&id) {
                account.close();
                let _ = self.deps.alarms.try_send(account.alerts(now, &config));
            }
        }
        if ids.iter().any(|id| !self.accounts.contains_key(*id)) {
            let (engine, learn_for) = (self.deps.engine.clone(), config.learn_for);
            let learnt = self.deps.tasks.pool().run(move || learn(&engine, now, learn_for)).await;
            let mut learnt = learnt.unwrap_or_default();
            for id in ids {
                let learnt = learnt.remove(id).unwrap_or_default();
                let fresh = || Account::new(id, learnt, now, &self.instruments);
                self.accounts.entry(id.to_owned()).or_insert_with(fresh);
            }
        }
        self.config = config;
        self.listen();
        let mut ticks = tokio::time::interval(self.config.check_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.reset();
        ticks
    }

    fn listen(&mut self) {
        (self.subscription, self.lost) = (None, 0);
        if self.accounts.is_empty() {
            return;
        }
        let subscription = self.deps.bus.deep_subscriber(Scope::All, QUEUE_MESSAGES_MAX, QUEUE_BYTES_MAX);
        let heartbeats = ["_HEARTBEAT.>", "_heartbeat.>", "_PRESENCE.>"].map(str::to_owned);
        let traffic = self.accounts.keys().flat_map(|id| [format!("tenant.{id}.>"), format!("_SYS.tenant.{id}.>")]);
        for pattern in heartbeats.into_iter().chain(traffic) {
            match pattern.parse() {
                Ok(pattern) => subscription.add(&pattern),
                Err(error) => warn!(%error, "a tenant's subjects cannot be subscribed to"),
            }
        }
        self.subscription = Some(subscription);
    }

    fn take_all(&mut self, first: Message) {
        let now = self.deps.clock.now();
        self.take(&first, now);
        for _ in 1..BATCH_MAX {
            let Some(message) = self.subscription.as_ref().and_then(Subscription::try_recv) else { break };
            self.take(&message, now);
        }
        let lost = self.subscription.as_ref().map_or(0, Subscription::dropped);
        if lost > self.lost {
            self.instruments.lost.add(lost - self.lost);
            self.lost = lost;
            self.accounts.values_mut().for_each(Account::missed);
        }
    }

    fn take(&mut self, message: &Message, now: Timestamp) {
        let subject = message.subject.as_str();
        let payload = &message.payload;
        match address(subject) {
            Some(Address::Traffic { tenant }) => {
                if let Some(account) = self.accounts.get_mut(tenant) {
                    account.heard(subject, payload, message.device_id.as_deref(), now, &self.config);
                }
            }
            Some(Address::System { tenant, event }) => {
                if let Some(account) = self.accounts.get_mut(tenant) {
                    account.told(event, payload, now, &self.config);
                }
            }
            Some(Address::Heartbeat { tenant, client }) => {
                let refused = match self.accounts.get_mut(tenant) {
                    None => Some("unknown_tenant"),
                    Some(account) => match heartbeat::read(subject, tenant, client, payload, now) {
                        Err(refusal) => Some(refusal.as_str()),
                        Ok(beat) => (!account.beat(client, beat, now, &self.config)).then_some("no_room"),
                    },
                };
                if let Some(reason) = refused {
                    self.instruments.refused.with(&[reason]).inc();
                }
            }
            None => {}
        }
    }

    fn answer(&mut self, command: Command) {
        match command {
            Command::View { tenant, answer } => {
                let now = self.deps.clock.now();
                let view = self.accounts.get_mut(&tenant).map(|account| account.view(now, &self.config));
                let _ = answer.send(view);
            }
            Command::Asked { tenant } => {
                if let Some(account) = self.accounts.get(&tenant) {
                    account.asked();
                }
            }
        }
    }

    /// Looks for what is unusual and tells the alarms room.
    fn check(&mut self) {
        let now = self.deps.clock.now();
        let elapsed = self.deps.clock.elapsed();
        let passed = elapsed.saturating_sub(self.checked_at);
        self.checked_at = elapsed;
        for account in self.accounts.values_mut() {
            account.look(now, passed, &self.config);
        }
        let alerts: Vec<Alert> = self.accounts.values().flat_map(|a| a.alerts(now, &self.config)).collect();
        // Full: the alarms room is behind; all of it is told again at the next check.
        if alerts.is_empty() || self.deps.alarms.try_send(alerts).is_ok() {
            self.accounts.values_mut().for_each(Account::alerts_told);
        }
        let is_asked = self.config.tenants.iter().any(|tenant| !tenant.connections.is_empty());
        if is_asked && !self.config.monitoring.is_empty() && self.reading.is_none() {
            let config = self.config.clone();
            self.reading = Some(Box::pin(async move { connections::read(&config).await }));
        }
    }

    fn connections(&mut self, open: Result<Open, String>) {
        self.reading = None;
        match open {
            Ok(mut open) => {
                let now = self.deps.clock.now();
                for (id, account) in &mut self.accounts {
                    account.connections(open.remove(id).unwrap_or_default(), now, &self.config);
                }
                if !std::mem::replace(&mut self.could_read, true) {
                    info!("the NATS servers tell of their connections again");
                }
            }
            Err(error) => {
                self.instruments.unread.inc();
                if std::mem::replace(&mut self.could_read, false) {
                    warn!(error, "cannot read which clients are connected to NATS directly");
                }
            }
        }
    }
}

/// Waits for the next message; for ever without a subscription.
async fn next(subscription: &mut Option<Subscription>) -> Option<Message> {
    match subscription {
        Some(subscription) => subscription.recv().await,
        None => std::future::pending().await,
    }
}

/// Waits for the servers' answers; for ever if nobody is asked.
async fn finished(reading: &mut Option<Reading>) -> Result<Open, String> {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

/// Asks the store what was normal: rates of the last day, kinds of subjects of the last week.
fn learn(engine: &Engine, now: Timestamp, learn_for: Duration) -> BTreeMap<String, Learnt> {
    let ask = |expression: &str| -> Vec<InstantSeries> {
        match engine.instant(expression, now, &Options::default()).map(|result| result.value) {
            Ok(Value::Vector(series)) => series,
            Ok(_) => Vec::new(),
            Err(error) => {
                warn!(%error, "cannot ask the store what was normal for tenants");
                Vec::new()
            }
        }
    };
    let mut learnt: BTreeMap<String, Learnt> = BTreeMap::new();
    let past = "rate(andon_tenants_messages_total[5m])[1d:5m]";
    let points = ask(&format!("sum by (tenant) (count_over_time({past}))"));
    let is_enough = |points: f64| LEARNT_STEP.as_secs_f64() * points >= learn_for.as_secs_f64();
    let watched: BTreeSet<&str> =
        points.iter().filter(|s| is_enough(s.sample.value)).filter_map(|s| s.labels.get("tenant")).collect();
    for rate in ask(&format!("sum by (tenant) (avg_over_time({past}))")) {
        if let Some(tenant) = rate.labels.get("tenant").filter(|tenant| watched.contains(tenant)) {
            learnt.entry(tenant.to_owned()).or_default().per_second = Some(rate.sample.value);
        }
    }
    for seen in ask("group by (tenant, pattern) (last_over_time(andon_tenants_subject_messages_total[7d]))") {
        if let (Some(tenant), Some(pattern)) = (seen.labels.get("tenant"), seen.labels.get("pattern")) {
            learnt.entry(tenant.to_owned()).or_default().patterns.insert(pattern.to_owned());
        }
    }
    learnt
}
