//! Device messages, from the gateway or from the bus, into samples and log lines.
//!
//! One task takes what devices of this box publish (a channel the gateway fills) and what others publish on
//! the bus (only theirs: what this box published came by the channel). A message is held against the user's
//! rules, then the built-in ones; all that match apply. The samples of up to 256 messages make one batch.
//!
//! When a device of this box has been gone for half a minute, the series that it fed end with a staleness marker
//! (`ends`). What a message would become is told without keeping it (`trial`).
//!
//! A message on `heartbeat.{device}` says that a device is there and how it is.
//! A message on `devices.{device}.stats` is the device's report on itself; together with presence it becomes
//! the `device_*` series, which are read every 15 s like any other source (see `devices`).

mod builtin;
mod devices;
mod ends;
mod mapping;
mod rule;
mod trial;

#[cfg(test)]
mod telemetry_test;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

pub(super) use self::devices::Devices;
pub use self::rule::{JsonPath, MappingRule, RuleError, SampleRule, SubjectTemplate, Text};
pub use self::trial::{Trial, TrialSample, try_message};

use self::devices::Heartbeat;
use self::ends::Ends;
use self::mapping::{Mapped, Out};
use super::device_logs::DeviceLogs;
use super::instruments::{Instruments, Way};
use super::intake::Intake;
use super::refusals::Supplier;
use super::source::Reading;
use super::{LogsConfig, TelemetryConfig, TelemetrySnapshot};
use crate::bus::{Bus, Scope, SubjectPattern, Subscription};
use crate::model::{
    DeviceMessage, DevicePresence, Labels, LogEntry, Metadata, Origin, RelabelRule, Timestamp, relabel, stale_nan,
};
use crate::storage::logs::LogStore;
use crate::storage::tsdb::{Batch, Db, SeriesRef};

/// Most messages that make one batch.
const BATCH_MESSAGES_MAX: usize = 256;

/// Most metric names whose help and kind are kept.
const METADATA_MAX: usize = 10_000;

/// Subjects of heartbeats, on the bus.
const HEARTBEAT_PATTERN: &str = "heartbeat.*";

/// How often it is looked whose series end.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Subjects of the built-in rule for telemetry, on the bus.
const TELEMETRY_PATTERN: &str = "telemetry.>";

/// What the task works with.
pub(super) struct Sinks {
    pub(super) db: Db,
    pub(super) intake: Intake,
    pub(super) logs: LogStore,
    pub(super) clock: crate::clock::Clock,
    pub(super) instruments: Instruments,
}

/// What the task and the pages share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) devices: Devices,
    messages: u64,
    unmapped: u64,
    samples: u64,
    log_lines: u64,
}

/// The settings the task follows.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) telemetry: TelemetryConfig,
    pub(super) logs: LogsConfig,
}

/// The handle; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Telemetry {
    settings: watch::Sender<Settings>,
    shared: Arc<Mutex<Shared>>,
    db: Db,
}

impl Telemetry {
    /// Makes the handle and the task's future.
    pub(super) fn new(
        settings: Settings,
        sinks: Sinks,
        messages: mpsc::Receiver<DeviceMessage>,
        presence: watch::Receiver<Arc<Vec<DevicePresence>>>,
        bus: Bus,
        stop: CancellationToken,
    ) -> (Telemetry, impl Future<Output = ()> + Send + 'static) {
        let shared = Arc::new(Mutex::new(Shared {
            devices: Devices::new(settings.telemetry.devices_max),
            messages: 0,
            unmapped: 0,
            samples: 0,
            log_lines: 0,
        }));
        let db = sinks.db.clone();
        let telemetry = Telemetry { settings: watch::Sender::new(settings.clone()), shared: shared.clone(), db };
        let worker = Worker {
            rules: Rules::new(&settings),
            settings: telemetry.settings.subscribe(),
            sinks,
            shared,
            metadata: HashMap::new(),
            presence,
            ends: Ends::default(),
        };
        (telemetry, worker.run(messages, bus, stop))
    }

    /// Takes other rules.
    pub(super) fn reload(&self, settings: Settings) {
        self.settings.send_replace(settings);
    }

    /// Returns what pages see.
    pub(super) fn snapshot(&self) -> TelemetrySnapshot {
        let shared = lock(&self.shared);
        TelemetrySnapshot {
            messages: shared.messages,
            unmapped: shared.unmapped,
            samples: shared.samples,
            log_lines: shared.log_lines,
            devices: shared.devices.snapshot(|id| self.db.series_on(&Supplier::Device(id.to_owned()).to_string())),
        }
    }

    /// Says what a message would become now; nothing is kept or counted.
    pub(super) fn try_message(&self, message: &DeviceMessage, intake: &Intake, now: Timestamp) -> Trial {
        let settings = self.settings.borrow().clone();
        let mut trial = trial::run(&settings, message);
        for sample in &mut trial.samples {
            let device = Some(message.device_id.as_str()).filter(|id| !id.is_empty());
            let device = device.or_else(|| sample.labels.get("device_id")).unwrap_or("").to_owned();
            sample.refused = if lock(&self.shared).devices.has_room_for(&device) {
                intake.would_refuse(&intake.guest(Supplier::Device(device)), &sample.labels, now)
            } else {
                Some(format!("there are {} devices, which is the limit", settings.telemetry.devices_max))
            };
        }
        trial
    }

    /// Returns a reader of the `device_*` series.
    pub(super) fn reader(&self, presence: watch::Receiver<Arc<Vec<DevicePresence>>>) -> DevicesReader {
        DevicesReader { shared: self.shared.clone(), presence }
    }
}

/// Returns a message's own time if there is one that can be believed, else the time of receipt.
pub(super) fn believable_time(own: Option<&Value>, received_at: Timestamp) -> Timestamp {
    mapping::believable(own.and_then(mapping::time), received_at)
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the `device_*` series.
#[derive(Debug)]
pub(super) struct DevicesReader {
    shared: Arc<Mutex<Shared>>,
    presence: watch::Receiver<Arc<Vec<DevicePresence>>>,
}

impl DevicesReader {
    pub(super) fn read(&self, now: Timestamp) -> Reading {
        let presence = self.presence.borrow().clone();
        let families = lock(&self.shared).devices.families(&presence, now);
        Reading { families, is_up: true, problems: Vec::new() }
    }
}

/// Reads a message on `heartbeat.{device}`: of the device itself if it came through the gateway; elsewhere on NATS
/// whoever may publish there speaks for it.
fn heartbeat(message: &DeviceMessage) -> Option<(String, Heartbeat)> {
    let device = message.subject.strip_prefix("heartbeat.").filter(|rest| !rest.contains('.'))?;
    let is_its_own = message.origin == Origin::Bus || device == message.device_id;
    let body = serde_json::from_slice::<Value>(&message.payload).ok();
    is_its_own.then(|| (device.to_owned(), Heartbeat::read(body.as_ref(), message.received_at)))
}

/// All rules in the order they are tried.
struct Rules {
    mapped: Vec<MappingRule>,
    has_telemetry: bool,
    job: String,
    metric_relabel: Vec<RelabelRule>,
    logs: DeviceLogs,
}

/// What a message became.
#[derive(Debug, Default, PartialEq)]
struct Taken {
    samples: Vec<Mapped>,
    line: Option<LogEntry>,
    /// Whether it was a device's report on itself.
    stats: Option<Value>,
    /// Whether it was a sign of life, and of which device.
    heartbeat: Option<(String, Heartbeat)>,
    /// `mapped`, `logged`, `stats`, `heartbeat`, `unmapped` or `malformed`.
    result: &'static str,
    /// Why something did not become a sample, if somebody asks.
    remarks: Vec<String>,
}

impl Rules {
    fn new(settings: &Settings) -> Self {
        let mut mapped = settings.telemetry.rules.clone();
        if settings.telemetry.factory_defaults {
            match builtin::factory_rules() {
                Ok(rules) => mapped.extend(rules),
                Err(problem) => error!(%problem, "bug: a built-in rule does not read"),
            }
        }
        Rules {
            mapped,
            has_telemetry: settings.telemetry.telemetry_defaults,
            job: settings.telemetry.job.clone(),
            metric_relabel: settings.telemetry.metric_relabel.clone(),
            logs: DeviceLogs::new(&settings.logs),
        }
    }

    /// Works out what a message becomes; touches nothing.
    fn take(&self, message: &DeviceMessage, instruments: &Instruments) -> Taken {
        self.read(message, instruments, Out::default())
    }

    /// As [`Rules::take`], with the reasons for what did not become a sample.
    fn explain(&self, message: &DeviceMessage, instruments: &Instruments) -> Taken {
        self.read(message, instruments, Out { remarks: Some(Vec::new()), ..Out::default() })
    }

    fn read(&self, message: &DeviceMessage, instruments: &Instruments, mut out: Out) -> Taken {
        if let Some(line) = self.logs.entry(message, instruments) {
            return Taken { line: Some(line), result: "logged", ..Taken::default() };
        }
        if let Some(heartbeat) = heartbeat(message) {
            return Taken { heartbeat: Some(heartbeat), result: "heartbeat", ..Taken::default() };
        }
        let json: Value = match serde_json::from_slice(&message.payload) {
            Ok(json) => json,
            Err(_) => return Taken { result: "malformed", ..Taken::default() },
        };
        let is_stats = message.subject.strip_prefix("devices.").and_then(|rest| rest.strip_suffix(".stats"));
        if is_stats == Some(message.device_id.as_str()) {
            return Taken { stats: Some(json), result: "stats", ..Taken::default() };
        }
        let mut is_known = false;
        for rule in &self.mapped {
            is_known |= mapping::apply(rule, message, &json, &mut out);
        }
        if self.has_telemetry {
            is_known |= builtin::telemetry(message, &json, &mut out.samples);
        }
        let Out { mut samples, remarks } = out;
        let mut out = Out { samples: Vec::new(), remarks };
        for sample in samples.iter_mut().filter(|_| !self.job.is_empty()) {
            let mut labels = sample.labels.builder();
            if labels.get("job").is_none() {
                labels.set("job", &self.job);
                sample.labels = labels.build();
            }
        }
        if !self.metric_relabel.is_empty() {
            samples.retain_mut(|sample| match relabel(&sample.labels, &self.metric_relabel) {
                Some(labels) if !labels.metric_name().is_empty() => {
                    sample.labels = labels;
                    true
                }
                Some(_) | None => {
                    out.remark(|| format!("{}: dropped by metric_relabel_configs", sample.labels));
                    false
                }
            });
        }
        let remarks = out.remarks.unwrap_or_default();
        Taken {
            samples,
            remarks,
            line: None,
            stats: None,
            heartbeat: None,
            result: if is_known { "mapped" } else { "unmapped" },
        }
    }

    /// Returns the subjects of all rules on the bus.
    fn patterns(&self) -> Vec<String> {
        let mut patterns: Vec<String> = self.mapped.iter().map(|rule| rule.subject.bus_pattern()).collect();
        patterns.extend(self.has_telemetry.then(|| TELEMETRY_PATTERN.to_owned()));
        patterns.extend(self.logs.bus_patterns());
        patterns.push(HEARTBEAT_PATTERN.to_owned());
        patterns.sort();
        patterns.dedup();
        patterns
    }
}

/// The task.
struct Worker {
    rules: Rules,
    settings: watch::Receiver<Settings>,
    sinks: Sinks,
    shared: Arc<Mutex<Shared>>,
    metadata: HashMap<String, Metadata>,
    presence: watch::Receiver<Arc<Vec<DevicePresence>>>,
    ends: Ends,
}

impl Worker {
    async fn run(mut self, mut messages: mpsc::Receiver<DeviceMessage>, bus: Bus, stop: CancellationToken) {
        let mut others = self.subscribe(&bus);
        let mut lost = 0;
        let mut batch = Vec::with_capacity(BATCH_MESSAGES_MAX);
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = look.tick() => {
                    self.end_series();
                    continue;
                }
                changed = self.settings.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let settings = self.settings.borrow_and_update().clone();
                    lock(&self.shared).devices.limit(settings.telemetry.devices_max);
                    self.rules = Rules::new(&settings);
                    (others, lost) = (self.subscribe(&bus), 0);
                    continue;
                }
                count = messages.recv_many(&mut batch, BATCH_MESSAGES_MAX) => {
                    if count == 0 {
                        break;
                    }
                }
                message = others.recv() => {
                    let Some(message) = message else { break };
                    batch.push(self.of_bus(message));
                    while let (true, Some(message)) = (batch.len() < BATCH_MESSAGES_MAX, others.try_recv()) {
                        batch.push(self.of_bus(message));
                    }
                    self.sinks.instruments.bus_lost.add(others.dropped() - lost);
                    lost = others.dropped();
                }
            }
            self.keep(&mut batch);
            batch.clear();
        }
        // What the gateway has handed over is kept, though nothing new comes in.
        while let Ok(message) = messages.try_recv() {
            self.keep(&mut [message]);
        }
    }

    /// Ends the series of devices that have gone.
    fn end_series(&mut self) {
        let elapsed = self.sinks.clock.elapsed();
        self.ends.present(&self.presence.borrow(), elapsed);
        let gone = self.ends.due(elapsed);
        if gone.is_empty() {
            return;
        }
        let stamp = self.sinks.clock.stamp();
        let mut batch = Batch::stamped(stamp.moved_ms);
        gone.into_iter().for_each(|series| batch.push_ref(series, stamp.at, stale_nan()));
        if let Err(problem) = self.sinks.db.append(&batch) {
            warn!(%problem, "series of devices that have gone are not ended");
        }
    }

    fn subscribe(&self, bus: &Bus) -> Subscription {
        let subscription = bus.subscriber(Scope::Remote);
        for pattern in self.rules.patterns() {
            match pattern.parse::<SubjectPattern>() {
                Ok(pattern) => subscription.add(&pattern),
                Err(problem) => warn!(%problem, "a mapping rule's subject cannot be subscribed to"),
            }
        }
        subscription
    }

    fn of_bus(&self, message: crate::bus::Message) -> DeviceMessage {
        let stamp = self.sinks.clock.stamp();
        DeviceMessage {
            device_id: message.device_id.as_deref().unwrap_or("").to_owned(),
            device_type: String::new(),
            subject: message.subject.as_str().to_owned(),
            payload: message.payload,
            received_at: stamp.at,
            moved_ms: stamp.moved_ms,
            origin: Origin::Bus,
        }
    }

    /// Keeps what messages became, in one batch of samples and one of lines.
    fn keep(&mut self, messages: &mut [DeviceMessage]) {
        let moved_ms = self.sinks.clock.moved_ms();
        messages.iter_mut().for_each(|message| message.correct(moved_ms));
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let mut lines = Vec::new();
        let mut metadata = Vec::new();
        {
            let mut shared = lock(&self.shared);
            for message in &*messages {
                let taken = self.rules.take(message, &self.sinks.instruments);
                self.sinks.instruments.messages.with(&[taken.result]).inc();
                shared.messages += 1;
                shared.unmapped += u64::from(taken.result == "unmapped");
                shared.devices.heard(&message.device_id, &message.subject, message.received_at);
                if let Some(stats) = taken.stats {
                    shared.devices.reported(&message.device_id, &stats);
                }
                if let Some((device, heartbeat)) = taken.heartbeat {
                    shared.devices.beat(&device, heartbeat);
                }
                lines.extend(taken.line);
                for sample in taken.samples {
                    let device = Some(message.device_id.as_str()).filter(|id| !id.is_empty());
                    let device = device.or_else(|| sample.labels.get("device_id")).unwrap_or("").to_owned();
                    match self.admit(&mut shared.devices, device, &sample.labels) {
                        Ok(series) => {
                            if message.origin == Origin::Gateway {
                                self.ends.fed(&message.device_id, series);
                            }
                            metadata.push((sample.labels.metric_name().to_owned(), sample.metadata.clone()));
                            let batch = if sample.at == message.received_at { &mut ours } else { &mut theirs };
                            batch.push((series, sample));
                        }
                        Err(reason) => self.sinks.instruments.refused(Way::Telemetry, reason, 1),
                    }
                }
            }
            shared.samples += (ours.len() + theirs.len()) as u64;
            shared.log_lines += lines.len() as u64;
        }
        self.append(&ours, Batch::stamped(moved_ms));
        self.append(&theirs, Batch::default());
        self.describe(metadata);
        self.append_lines(lines);
    }

    /// Finds a device's series or begins it; else the reason.
    fn admit(&self, devices: &mut Devices, device: String, labels: &Labels) -> Result<SeriesRef, &'static str> {
        if !devices.admits(&device) {
            return Err("device_limit");
        }
        let guest = self.sinks.intake.guest(Supplier::Device(device.clone()));
        self.sinks.intake.admit(&guest, labels, 1).map_err(|turned| {
            devices.refused(&device);
            turned.as_str()
        })
    }

    /// Appends samples by way of a batch that is empty.
    fn append(&self, samples: &[(SeriesRef, Mapped)], mut batch: Batch) {
        if samples.is_empty() {
            return;
        }
        samples.iter().for_each(|(series, sample)| batch.push_ref(*series, sample.at, sample.value));
        let mut appended = self.sinks.db.append(&batch);
        if let Ok(outcome) = &mut appended
            && outcome.unknown_ref > 0
        {
            // They ended in this moment, as nothing had come for them yet: by their labels they begin again.
            batch.samples.clear();
            let ended = outcome.unknown.iter().filter_map(|i| samples.get(*i));
            ended.for_each(|(_, sample)| batch.push(&sample.labels, sample.at, sample.value));
            outcome.unknown_ref = 0;
            if let Ok(again) = self.sinks.db.append(&batch) {
                outcome.add(again);
            }
        }
        match appended {
            Ok(outcome) => self.sinks.instruments.appended(Way::Telemetry, &outcome),
            Err(problem) => {
                warn!(%problem, samples = samples.len(), "device messages not kept");
                self.sinks.instruments.refused(Way::Telemetry, "read_only", samples.len() as u64);
            }
        }
    }

    fn describe(&mut self, metadata: Vec<(String, Metadata)>) {
        for (name, new) in metadata {
            if self.metadata.get(&name) != Some(&new) && self.metadata.len() < METADATA_MAX {
                self.sinks.db.set_metadata(&name, new.clone());
                self.metadata.insert(name, new);
            }
        }
    }

    fn append_lines(&self, lines: Vec<LogEntry>) {
        let count = lines.len() as u64;
        if count == 0 {
            return;
        }
        let kept = match self.sinks.logs.append(lines) {
            Ok(outcome) => outcome.appended,
            Err(problem) => {
                warn!(%problem, lines = count, "device log lines not kept");
                0
            }
        };
        self.sinks.instruments.lines.with(&["kept"]).add(kept);
        self.sinks.instruments.lines.with(&["refused"]).add(count.saturating_sub(kept));
    }
}
