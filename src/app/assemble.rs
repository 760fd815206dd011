//! Opens the stores, makes the handles, joins the rooms.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, watch};
use tracing::error;

use crate::alarms::{self, Alarms};
use crate::bus::{self, Bus};
use crate::clock::Clock;
use crate::collect::{self, Collector};
use crate::config::Config;
use crate::forward::{self, Forwarder};
use crate::gateway::{self, Gateway};
use crate::headroom::{Headroom, Level};
use crate::http::{AppState, Info, ReloadRequest, Settings};
use crate::instrument::Registry;
use crate::model::Alert;
use crate::notify::{self, Notifier};
use crate::query::logql::LogEngine;
use crate::query::promql::Engine;
use crate::rules::{self, Rules};
use crate::storage::Storage;
use crate::task::{OnPanic, Phase, Tasks};
use crate::tenants::{self, Tenants};

/// How often metrics and logs are held against the size limit.
const BALANCE_INTERVAL: Duration = Duration::from_secs(10);

/// How often the wear of the flash is looked at.
const WEAR_INTERVAL: Duration = Duration::from_secs(3600);

/// How often the machine's clocks are looked at.
const LOOK_AT_CLOCK_INTERVAL: Duration = Duration::from_secs(1);

/// How often the process's memory is measured.
const LOOK_AT_MEMORY_INTERVAL: Duration = Duration::from_millis(500);

/// Messages that may wait between the gateway and the collectors; one more is not recorded, which is counted.
const MESSAGES_MAX: usize = 4096;

/// Batches of alerts that may wait between the rules or the tenants and the board; one more comes again at the next tick.
const ALERT_BATCHES_MAX: usize = 64;

/// What every room is handed.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    pub(super) tasks: Tasks,
    pub(super) clock: Clock,
    pub(super) registry: Registry,
}

/// Opens the stores of the data folder, on a thread of the pool because replay takes its time.
pub(super) async fn open(config: &Config, tools: &Tools) -> anyhow::Result<Storage> {
    let (storage, clock, registry) = (config.storage.clone(), tools.clock.clone(), tools.registry.clone());
    let opened = tools.tasks.pool().run(move || Storage::open(storage, clock, &registry)).await;
    let storage = opened.context("opening the data folder failed")??;
    watch_memory(config.memory_limit, &storage, tools);
    Ok(storage)
}

/// Measures the process's memory, for as long as the stores are open.
fn watch_memory(limit_bytes: u64, storage: &Storage, tools: &Tools) {
    let headroom = Headroom::of_process(limit_bytes);
    storage.db.watch_memory(headroom.clone());
    let gauge = |name, help| tools.registry.gauge(name, help);
    let limit = gauge("andon_memory_limit_bytes", "Memory that the process may take.");
    let used = gauge("andon_memory_used_bytes", "Memory that the process takes.");
    let is_short = gauge("andon_memory_short", "1 while new series and big queries are refused for want of memory.");
    #[expect(clippy::cast_precision_loss, reason = "bytes of memory are below 2^53")]
    limit.set(limit_bytes as f64);
    let end = tools.tasks.token(Phase::Stores);
    tools.tasks.spawn("memory watch", OnPanic::StopBox, async move {
        loop {
            let level = headroom.look();
            #[expect(clippy::cast_precision_loss, reason = "bytes of memory are below 2^53")]
            used.set(headroom.used_bytes() as f64);
            is_short.set(if level == Level::Ample { 0.0 } else { 1.0 });
            if tokio::time::timeout(LOOK_AT_MEMORY_INTERVAL, end.cancelled()).await.is_ok() {
                return;
            }
        }
    });
}

/// Keeps the stores within the size limit and the disk's space, for as long as they are open.
fn keep_balance(storage: &Storage, tasks: &Tasks) {
    let (storage, pool, end) = (storage.clone(), tasks.pool().clone(), tasks.token(Phase::Stores));
    tasks.spawn("storage balance", OnPanic::EndTask, async move {
        while tokio::time::timeout(BALANCE_INTERVAL, end.cancelled()).await.is_err() {
            let storage = storage.clone();
            if let Err(panicked) = pool.run(move || storage.balance()).await {
                error!(%panicked, "cannot balance the stores");
            }
        }
    });
}

/// Remembers each step of the flash's life: a step takes months, and what lies before it cannot be asked later.
fn keep_wear(storage: &Storage, tools: &Tools, sys_root: PathBuf) {
    let (storage, clock) = (storage.clone(), tools.clock.clone());
    let (pool, end) = (tools.tasks.pool().clone(), tools.tasks.token(Phase::Stores));
    tools.tasks.spawn("flash wear", OnPanic::EndTask, async move {
        loop {
            let (storage, sys_root, now) = (storage.clone(), sys_root.clone(), clock.now());
            let note = move || {
                for life in collect::flash_lives(&sys_root) {
                    storage.note_flash(&life.id, life.step, now);
                }
            };
            if let Err(panicked) = pool.run(note).await {
                error!(%panicked, "cannot look at the wear of the flash");
            }
            if tokio::time::timeout(WEAR_INTERVAL, end.cancelled()).await.is_ok() {
                return;
            }
        }
    });
}

/// Looks after the clock, for as long as the stores are open.
fn keep_time(storage: &Storage, tasks: &Tasks) {
    let (storage, pool, end) = (storage.clone(), tasks.pool().clone(), tasks.token(Phase::Stores));
    tasks.spawn("storage time", OnPanic::StopBox, async move {
        while tokio::time::timeout(LOOK_AT_CLOCK_INTERVAL, end.cancelled()).await.is_err() {
            let storage = storage.clone();
            if let Err(panicked) = pool.run(move || storage.keep_time()).await {
                error!(%panicked, "cannot look after the clock");
            }
        }
    });
}

/// Starts every room over the opened stores, from the ways in to the ways out.
pub(super) fn join(
    config: &Config,
    storage: &Storage,
    tools: Tools,
    address: SocketAddr,
    reload: mpsc::Sender<ReloadRequest>,
    settings: watch::Receiver<Settings>,
) -> AppState {
    let Storage { db, logs, state, last, .. } = storage.clone();
    let engine = Engine::new(db.clone(), config.query.clone()).timed_by(tools.clock.clone());
    let (bus, gateway, collector) = join_intake(config, storage, &tools);
    let (alerts, to_alarms) = mpsc::channel(ALERT_BATCHES_MAX);
    let tenants = Tenants::start(
        config.tenants.clone(),
        tenants::Deps {
            bus: bus.clone(),
            engine: engine.clone(),
            alarms: alerts.clone(),
            clock: tools.clock.clone(),
            tasks: tools.tasks.clone(),
            registry: tools.registry.clone(),
        },
    );
    let (rules, alarms, notifier) = join_alerting(config, storage, &tools, &engine, (alerts, to_alarms), &bus);
    gateway.follow_alarms(alarms.board());
    if let Some(host) = &config.collect.host {
        keep_wear(storage, &tools, host.sys_root.clone());
    }
    let Tools { tasks, clock, registry } = tools;
    keep_balance(storage, &tasks);
    keep_time(storage, &tasks);
    let forwarder = Forwarder::start(
        config.forward.clone(),
        forward::Deps {
            db: db.clone(),
            state: state.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            registry: registry.clone(),
        },
    );
    let info = Arc::new(Info {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        box_name: config.box_name.clone(),
        external_url: config.external_url.clone().unwrap_or_else(|| format!("{}://{address}", config.http.scheme())),
        started_at: clock.now(),
        time_zone: config.time_zone.clone(),
        data_dir: config.storage.folder.display().to_string(),
        size_limit: config.storage.size_limit,
        flash_endurance: config.flash_endurance,
        settings_files: config.files.clone(),
        has_admin_api: config.http.admin_api,
        read_rules: crate::config::relabel_rules,
    });
    let log_engine = LogEngine::new(logs.clone(), clock.clone());
    AppState {
        storage: storage.clone(),
        db,
        logs,
        last,
        state,
        engine,
        log_engine,
        bus,
        gateway,
        collector,
        tenants,
        rules,
        alarms,
        notifier,
        forwarder,
        registry,
        clock,
        tasks,
        info,
        settings,
        reload,
    }
}

/// Devices and other programs: what comes in.
fn join_intake(config: &Config, storage: &Storage, tools: &Tools) -> (Bus, Gateway, Collector) {
    let Tools { tasks, clock, registry } = tools.clone();
    let bus = Bus::start(
        config.bus.clone(),
        bus::Deps {
            tasks: tasks.clone(),
            registry: registry.clone(),
            clock: clock.clone(),
            disk: storage.disk.clone(),
        },
    );
    let (messages, to_collect) = mpsc::channel(MESSAGES_MAX);
    let gateway = Gateway::start(
        config.gateway.clone(),
        gateway::Deps {
            state: storage.state.clone(),
            last: storage.last.clone(),
            bus: bus.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            registry: registry.clone(),
            messages,
        },
    );
    let collector = Collector::start(
        config.collect.clone(),
        collect::Deps {
            db: storage.db.clone(),
            logs: storage.logs.clone(),
            clock,
            tasks,
            registry,
            messages: to_collect,
            presence: gateway.presence(),
            bus: bus.clone(),
        },
    );
    (bus, gateway, collector)
}

/// From a rule, or from what is unusual about a tenant, to a person.
fn join_alerting(
    config: &Config,
    storage: &Storage,
    tools: &Tools,
    engine: &Engine,
    (alerts, to_alarms): (mpsc::Sender<Vec<Alert>>, mpsc::Receiver<Vec<Alert>>),
    bus: &Bus,
) -> (Rules, Alarms, Notifier) {
    let Tools { tasks, clock, registry } = tools.clone();
    let (muted, inhibited) = watch::channel(None);
    let alarms = Alarms::start(
        config.alarms.clone(),
        alarms::Deps {
            disk: storage.disk.clone(),
            state: storage.state.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            registry: registry.clone(),
            alerts: to_alarms,
            inhibited,
        },
    );
    let rules = Rules::start(
        config.rules.clone(),
        rules::Deps {
            db: storage.db.clone(),
            state: storage.state.clone(),
            engine: engine.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            registry: registry.clone(),
            alarms: alerts,
            active: alarms.snapshot().caused().cloned().collect(),
        },
    );
    let (engine, zone) = (engine.clone(), config.time_zone.clone());
    let draw = notify::Drawer::new(move |expression, now| crate::http::picture(&engine, &zone, expression, now));
    let notifier = Notifier::start(
        config.notify.clone(),
        notify::Deps {
            disk: storage.disk.clone(),
            state: storage.state.clone(),
            clock,
            tasks,
            registry,
            board: alarms.board(),
            silences: alarms.watch_silences(),
            inhibited: muted,
            bus: bus.clone(),
            draw,
            read_targets: collect::scrape::read_targets,
        },
    );
    (rules, alarms, notifier)
}
