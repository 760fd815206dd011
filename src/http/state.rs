//! The handles that a handler may use.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::alarms::Alarms;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::collect::Collector;
use crate::forward::Forwarder;
use crate::gateway::Gateway;
use crate::instrument::Registry;
use crate::model::{Labels, RelabelRule, Timestamp};
use crate::notify::Notifier;
use crate::query::logql::LogEngine;
use crate::query::promql::Engine;
use crate::rules::Rules;
use crate::storage::Storage;
use crate::storage::last::LastKnown;
use crate::storage::logs::LogStore;
use crate::storage::state::State;
use crate::storage::tsdb::Db;
use crate::task::Tasks;
use crate::tenants::Tenants;

/// Everything a handler may use: one handle per room, each cheap to clone.
#[derive(Debug, Clone)]
pub struct AppState {
    /// The data folder, for backups.
    pub storage: Storage,
    /// Metrics.
    pub db: Db,
    /// Log lines.
    pub logs: LogStore,
    /// Devices, cursors, what was changed by whom.
    pub state: State,
    /// Answers PromQL; run it on the pool.
    pub engine: Engine,
    /// Answers LogQL; run it on the pool.
    pub log_engine: LogEngine,
    /// The last message per device and subject.
    pub last: LastKnown,
    /// Messages between devices, this box and NATS.
    pub bus: Bus,
    /// Devices' connections.
    pub gateway: Gateway,
    /// Scrapes, host, telemetry, remote write.
    pub collector: Collector,
    /// Customers on one NATS system.
    pub tenants: Tenants,
    /// Rules and alerts.
    pub rules: Rules,
    /// Alarms: acknowledge, history.
    pub alarms: Alarms,
    /// Notices.
    pub notifier: Notifier,
    /// Samples on their way to other programs.
    pub forwarder: Forwarder,
    /// Andon's own counters.
    pub registry: Registry,
    /// The time.
    pub clock: Clock,
    /// Spawning, and the pool for blocking work.
    pub tasks: Tasks,
    /// What this box is.
    pub info: Arc<Info>,
    /// Settings in force that this room shows or uses; they change with a reload.
    pub settings: watch::Receiver<Settings>,
    /// Asks the program to read its settings again; bounded, one waiting request is enough.
    pub reload: mpsc::Sender<ReloadRequest>,
}

/// Settings in force.
#[derive(Debug, Clone)]
pub struct Settings {
    /// All of them as YAML text without secrets, for the page about the box.
    pub text: String,
    /// `global.external_labels`: what tells this box from others, for who fetches samples.
    pub external_labels: Labels,
    /// When these settings were taken.
    pub taken_at: Timestamp,
    /// When newer ones were refused; `None` if the newest are in force.
    pub refused_at: Option<Timestamp>,
    /// Relabelling rules, for the page that shows them step by step.
    pub relabelling: Arc<[Relabelling]>,
    /// Whether clients are asked for certificates, by which devices may show who they are.
    pub asks_for_certificates: bool,
}

/// Relabelling rules and where they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relabelling {
    /// Where, in words: `targets of node`.
    pub place: String,
    /// Whether what they change are targets, which lose labels that begin with `__`.
    pub is_of_targets: bool,
    /// The rules, in order; may be empty.
    pub rules: Vec<RelabelRule>,
}

/// What this box is and where it is found.
#[derive(Debug, Clone)]
pub struct Info {
    /// Version of the program, for example `0.1.0`.
    pub version: String,
    /// The box's name as people know it; the host name unless the settings say otherwise.
    pub box_name: String,
    /// Where pages are reached from outside, without a slash at the end; for links in notices.
    pub external_url: String,
    /// When this process started.
    pub started_at: Timestamp,
    /// The site's time zone: `TimeZone::system()` unless the settings say otherwise.
    pub time_zone: jiff::tz::TimeZone,
    /// The data folder, for the page about the box.
    pub data_dir: String,
    /// Bytes that metrics and logs may take together, if the settings bound them.
    pub size_limit: Option<u64>,
    /// Bytes that the maker of the flash promises can be written, if the settings say so.
    pub flash_endurance: Option<u64>,
    /// The files that the settings came from at the start, for backups.
    pub settings_files: Vec<PathBuf>,
    /// Whether the admin API deletes series and makes snapshots.
    pub has_admin_api: bool,
    /// Reads relabelling rules as settings have them; the error lists all mistakes.
    pub read_rules: fn(&str) -> Result<Vec<RelabelRule>, String>,
}

/// A wish to read the settings again.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Where the outcome goes: nothing, or all mistakes as text, after which the old settings stay in force.
    pub answer: oneshot::Sender<std::result::Result<(), String>>,
}
