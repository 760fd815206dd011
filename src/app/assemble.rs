//! Opens the stores, makes the handles, joins the rooms.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::mpsc;

use crate::alarms::{self, Alarms};
use crate::bus::{self, Bus};
use crate::clock::Clock;
use crate::collect::{self, Collector};
use crate::config::Config;
use crate::forward::{self, Forwarder};
use crate::gateway::{self, Gateway};
use crate::http::{AppState, Info, ReloadRequest};
use crate::instrument::Registry;
use crate::notify::{self, Notifier};
use crate::query::logql::LogEngine;
use crate::query::promql::Engine;
use crate::rules::{self, Rules};
use crate::storage::Storage;
use crate::task::Tasks;

/// Messages that may wait between the gateway and the collectors.
const MESSAGES_MAX: usize = 4096;

/// Batches of alerts that may wait between the rules and the board.
const ALERT_BATCHES_MAX: usize = 64;

/// The joined rooms.
pub(super) struct Parts {
    pub(super) storage: Storage,
    pub(super) state: AppState,
}

/// Opens the stores and starts every room.
pub(super) async fn assemble(
    config: &Config,
    tasks: &Tasks,
    clock: &Clock,
    reload: mpsc::Sender<ReloadRequest>,
    address: SocketAddr,
) -> anyhow::Result<Parts> {
    let registry = Registry::default();
    let started_at = clock.now();
    let storage = {
        let (config, clock, registry) = (config.storage.clone(), clock.clone(), registry.clone());
        let opened = tasks.pool().run(move || Storage::open(config, clock, &registry)).await;
        opened.context("opening the data folder failed")??
    };
    let (db, logs, state, last) = (storage.db(), storage.logs(), storage.state(), storage.last());
    let engine = Engine::new(db.clone(), config.query.clone());
    let log_engine = LogEngine::new(logs.clone());

    let bus = Bus::start(
        config.bus.clone(),
        bus::Deps { tasks: tasks.clone(), registry: registry.clone(), clock: clock.clone() },
    );
    let (messages, to_collect) = mpsc::channel(MESSAGES_MAX);
    let gateway = Gateway::start(
        config.gateway.clone(),
        gateway::Deps {
            state: state.clone(),
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
            db: db.clone(),
            logs: logs.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            registry: registry.clone(),
            messages: to_collect,
        },
    );
    let (alerts, to_alarms) = mpsc::channel(ALERT_BATCHES_MAX);
    let alarms = Alarms::start(
        config.alarms.clone(),
        alarms::Deps {
            clock: clock.clone(),
            tasks: tasks.clone(),
            registry: registry.clone(),
            alerts: to_alarms,
        },
    );
    let rules = Rules::start(
        config.rules.clone(),
        rules::Deps {
            db: db.clone(),
            engine: engine.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            registry: registry.clone(),
            alarms: alerts,
            active: alarms.snapshot().active.clone(),
        },
    );
    let notifier = Notifier::start(
        config.notify.clone(),
        notify::Deps {
            clock: clock.clone(),
            tasks: tasks.clone(),
            registry: registry.clone(),
            board: alarms.board(),
        },
    );
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
    let info = Info {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        box_name: config.box_name.clone(),
        external_url: config.external_url_at(address),
        started_at,
        time_zone: config.time_zone.clone(),
        data_dir: config.storage.path.display().to_string(),
        settings: config.text.clone(),
    };
    let state = AppState {
        db,
        logs,
        last,
        state,
        engine,
        log_engine,
        bus,
        gateway,
        collector,
        rules,
        alarms,
        notifier,
        forwarder,
        registry,
        clock: clock.clone(),
        tasks: tasks.clone(),
        info: Arc::new(info),
        reload,
    };
    Ok(Parts { storage, state })
}
