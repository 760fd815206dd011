//! Settings: from a file to each room's `Config`, or to the list of all mistakes.
//!
//! One file, `/etc/andon/andon.yml`: Prometheus's sections (`global`, `scrape_configs`, `rule_files`,
//! `remote_write`) and Alertmanager's (under `notifications`) with their names and shapes, and Andon's own. It
//! is read through `yaml`, so all mistakes come at once, each with its place and what would be right. Each
//! section's file here turns what was written into the room's `Config`; defaults live here and, for people, in
//! `packaging/andon.yml`, and a test compares the two. That file is also what holds where there is none.
//!
//! Secrets may stand in files of their own; they are never printed. This is the only room that reads files of
//! settings.

mod alarms;
mod alerting;
mod carried;
mod devices;
mod folder;
mod glob;
mod global;
mod host;
mod http_client;
mod interval;
mod listener;
mod logging;
mod matcher;
mod message_bus;
mod notifications;
mod receivers;
mod relabel;
mod remote_write;
mod rule_files;
mod scrape;
mod show;
mod stores;
mod telemetry;
mod tenants;
mod upstream;

use std::path::{Path, PathBuf};

use self::folder::Folder;
use crate::query::promql;
use crate::yaml::{self, Fields, Item, Mistake, Mistakes, Notes, Report};
use crate::{
    alarms as alarms_room, bus, collect, forward, gateway, http, notify, rules, storage, tenants as tenants_room,
};

pub(crate) use glob::expand as expand_pattern;
pub(crate) use relabel::read_text as relabel_rules;

/// Where settings are unless the command line says otherwise.
pub const DEFAULT_FILE: &str = "/etc/andon/andon.yml";

/// The settings of a box without a file: the file that the package installs, every key commented.
pub const DEFAULT_TEXT: &str = include_str!("../../packaging/andon.yml");

/// Name of [`DEFAULT_TEXT`] in messages.
const DEFAULT_NAME: &str = "(embedded defaults)";

const KEYS: &[&str] = &[
    "box_name",
    "time_zone",
    "logging",
    "http",
    "clock",
    "storage",
    "memory",
    "query",
    "bus",
    "gateway",
    "telemetry",
    "logs",
    "host",
    "nats_monitoring",
    "tenants",
    "own_metrics",
    "global",
    "scrape_configs",
    "rule_files",
    "rule_packs",
    "remote_write",
    "alarms",
    "notifications",
    "alerting",
    // Known and without effect.
    "remote_read",
    "tracing",
    "otlp",
    "runtime",
    // Known and refused.
    "scrape_config_files",
    "route",
    "receivers",
    "inhibit_rules",
    "time_intervals",
];

/// Where settings come from. Flags win over the file.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The file named on the command line; without it `/etc/andon/andon.yml`, or embedded defaults if
    /// that is not there.
    pub file: Option<PathBuf>,
    /// The data folder, instead of `storage.path`.
    pub data: Option<PathBuf>,
    /// Where to listen, instead of `http.listen`.
    pub listen: Option<String>,
}

/// The settings of every room, resolved.
#[derive(Debug, Clone)]
pub struct Config {
    /// The box's name as people know it; the host name by default.
    pub box_name: String,
    /// Where people reach the pages, without a slash at the end; from the listener's address by default.
    pub external_url: Option<String>,
    /// The site's time zone, for pages and time intervals; the system's by default.
    pub time_zone: jiff::tz::TimeZone,
    /// Own log lines.
    pub logging: Logging,
    /// The listener.
    pub http: http::Config,
    /// Bytes of memory that the process may take; over it new series and big queries are refused.
    pub memory_limit: u64,
    /// The stores.
    pub storage: storage::Config,
    /// Bytes that the maker of the flash promises can be written, for the projection of its life.
    pub flash_endurance: Option<u64>,
    /// Bounds of queries.
    pub query: promql::Limits,
    /// NATS, or the embedded bus.
    pub bus: bus::Config,
    /// Devices over WebSocket.
    pub gateway: gateway::Config,
    /// All ways in.
    pub collect: collect::Config,
    /// Customers on one NATS system.
    pub tenants: tenants_room::Config,
    /// Rule files.
    pub rules: rules::Config,
    /// The alarm board.
    pub alarms: alarms_room::Config,
    /// Who is told.
    pub notify: notify::Config,
    /// Central systems.
    pub forward: forward::Config,
    /// What is legal but worth a word: keys of Prometheus that have no meaning here, and the like.
    pub warnings: Vec<String>,
    /// The settings in force as YAML text without secrets, for the page about the box.
    pub text: String,
    /// The files that the settings came from, for backups: the settings file, and rule files.
    pub files: Vec<PathBuf>,
}

/// How own log lines are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// `error`, `warn`, `info` (default), `debug`, or a filter such as `info,andon::forward=debug`.
    pub level: String,
    /// How the console is written.
    pub format: LogFormat,
    /// Where rotated files of own lines go, one a day, seven kept; nowhere by default, because the journal and the
    /// log store have them.
    pub folder: Option<PathBuf>,
}

/// How the console is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Names the settings that differ from `other` and need a restart; all others are taken by a reload.
    #[must_use]
    pub fn needs_restart(&self, other: &Config) -> Vec<&'static str> {
        // Taken by a reload.
        let storage = |config: &Config| {
            let mut storage = config.storage.clone();
            storage.tsdb.retention = self.storage.tsdb.retention;
            storage
        };
        let http = |config: &Config| http::Config { tls: None, ..config.http.clone() };
        let differs = |a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| format!("{a:?}") != format!("{b:?}");
        let sections: [(&'static str, &dyn std::fmt::Debug, &dyn std::fmt::Debug); 10] = [
            ("box_name", &self.box_name, &other.box_name),
            ("http.external_url", &self.external_url, &other.external_url),
            ("time_zone", &self.time_zone, &other.time_zone),
            ("logging", &self.logging, &other.logging),
            ("http", &http(self), &http(other)),
            ("memory", &self.memory_limit, &other.memory_limit),
            ("storage", &storage(self), &storage(other)),
            ("query", &self.query, &other.query),
            ("bus", &self.bus, &other.bus),
            ("storage.path", &self.alarms.folder, &other.alarms.folder),
        ];
        sections.into_iter().filter(|(_, a, b)| differs(*a, *b)).map(|(key, _, _)| key).collect()
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file has mistakes: one a line, `file:line:column: key: message; suggestion`.
    #[error("{0}")]
    Mistakes(#[from] Mistakes),
}

/// Reads and resolves settings: the file of `source`, else [`DEFAULT_FILE`] if it is there, else
/// [`DEFAULT_TEXT`].
///
/// # Errors
/// [`Error::Read`], or all mistakes with file, line, key and remedy.
pub fn load(source: &Source) -> Result<Config, Error> {
    let read =
        |path: &Path| std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source });
    let default = Path::new(DEFAULT_FILE);
    let path = match &source.file {
        Some(path) => path.as_path(),
        None if default.exists() => default,
        None => return Ok(resolve(DEFAULT_TEXT, Path::new(DEFAULT_NAME), source)?),
    };
    let mut config = resolve(&read(path)?, path, source)?;
    let rules = config.rules.files.iter().filter(|rules| !rules.path.starts_with("builtin:"));
    config.files = std::iter::once(path.to_owned()).chain(rules.map(|rules| PathBuf::from(&rules.path))).collect();
    config.files.iter_mut().for_each(|file| *file = std::path::absolute(&*file).unwrap_or_else(|_| file.clone()));
    Ok(config)
}

/// Resolves settings from text; `path` names it in messages, and relative paths in it begin at its folder.
///
/// # Errors
/// All mistakes.
pub fn resolve(text: &str, path: &Path, source: &Source) -> Result<Config, Mistakes> {
    let report = Report::new(path.display().to_string());
    let root = yaml::parse(text, &report);
    let config = Item::root(&root, &report).fields(KEYS).and_then(|fields| {
        let mut config = read(&fields, &Folder::beside(path), source)?;
        config.text = show::show(&root);
        Some(config)
    });
    let notes = report.finish()?;
    let mut config = config.ok_or_else(|| no_reason(&notes))?;
    config.warnings = notes.lines();
    Ok(config)
}

/// A reader gave up without saying why: a mistake of ours that must not look like an empty file.
fn no_reason(notes: &Notes) -> Mistakes {
    let message = "bug: the settings cannot be read, and no reason was noted".to_owned();
    let mistake = Mistake { line: 0, column: 0, key_path: String::new(), message, suggestion: None };
    Mistakes { source: notes.source.clone(), list: vec![mistake], left_out: 0 }
}

/// Reads all sections; each reports its own mistakes, so one that fails does not hide those of the next.
fn read(root: &Fields<'_>, folder: &Folder, source: &Source) -> Option<Config> {
    known_elsewhere(root);
    let box_name = root.string("box_name").filter(|n| !n.is_empty()).unwrap_or_else(host_name);
    let http = listener::http(root, folder, source.listen.as_deref());
    let time_zone = time_zone(root);
    let global = global::read(root);
    let memory_limit = stores::memory_limit(root);
    let stores::Stores { storage, alarms: mut board, outbox, mut limits, flash_endurance } =
        stores::storage(root, folder, source.data.as_deref(), memory_limit);
    let (base, external_url) = match &http {
        Some((_, Some(url))) => (url.clone(), Some(url.clone())),
        Some((http, None)) if http.listen.ip().is_unspecified() => {
            (format!("{}://{box_name}:{}", http.scheme(), http.listen.port()), None)
        }
        Some((http, None)) => (format!("{}://{}", http.scheme(), http.listen), None),
        None => (String::new(), None),
    };
    let place = notifications::Place {
        external_url: base.clone(),
        is_known: external_url.is_some(),
        box_name: box_name.clone(),
        time_zone: time_zone.clone(),
    };
    let (delays, calendar) = alarms::read(root);
    let mut notifications = notifications::read(root, folder, outbox, place, &calendar.holidays);
    notifications.notify.relay = alerting::read(root, &global, folder);
    board.resolve_timeout = notifications.resolve_timeout;
    board.time_zone = time_zone.clone();
    board.external_labels = global.external_labels.clone();
    (board.delays, board.calendar) = (delays, calendar.into());
    let collect = collect::Config {
        instance: box_name.clone(),
        scrape: scrape::read(root, &global, folder),
        host: host::host(root),
        nats: host::nats_monitoring(root),
        telemetry: telemetry::telemetry(root, &mut limits),
        logs: telemetry::logs(root),
        own: host::own_metrics(root),
        limits,
    };
    let tenants = tenants::tenants(root, folder, collect.nats.as_ref());
    let rules = rules::Config {
        files: rule_files::read(root, folder),
        evaluation_interval: global.evaluation_interval,
        query_offset: global.rule_query_offset,
        external_labels: global.external_labels.clone(),
        external_url: base,
    };
    let bus = message_bus::bus(root, folder, &storage.folder, &box_name);
    let gateway = devices::gateway(root, folder);
    let logging = logging::logging(root, folder);
    let query = stores::query(root, global.evaluation_interval);
    let forward = remote_write::read(root, &global, folder);
    let (http, _) = http?;
    Some(Config {
        box_name,
        external_url,
        time_zone,
        logging,
        http,
        memory_limit,
        storage,
        flash_endurance,
        query,
        bus,
        gateway,
        collect,
        tenants,
        rules,
        alarms: board,
        notify: notifications.notify,
        forward,
        warnings: Vec::new(),
        text: String::new(),
        files: Vec::new(),
    })
}

/// Top-level keys of Prometheus and Alertmanager that Andon does not have there.
fn known_elsewhere(root: &Fields<'_>) {
    upstream::note(
        root,
        &[
            ("remote_read", "queries are answered from the box's own store"),
            ("tracing", "nothing is traced"),
            ("otlp", "metrics of OpenTelemetry are not taken yet"),
            ("runtime", "there is no Go runtime to set"),
        ],
    );
    let below = "in Andon this stands under notifications";
    upstream::refuse(
        root,
        &[
            ("scrape_config_files", "write the jobs under scrape_configs, or use file_sd_configs"),
            ("route", below),
            ("receivers", below),
            ("inhibit_rules", below),
            ("time_intervals", below),
        ],
    );
}

fn time_zone(root: &Fields<'_>) -> jiff::tz::TimeZone {
    let Some(item) = root.get("time_zone") else { return jiff::tz::TimeZone::system() };
    let zone = item.string().and_then(|name| match jiff::tz::TimeZone::get(&name) {
        Ok(zone) => Some(zone),
        Err(_) => item.mistake_with(format!("not a time zone: {name:?}"), "write it like Europe/Berlin"),
    });
    zone.unwrap_or(jiff::tz::TimeZone::UTC)
}

/// Returns the machine's name.
fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_str().ok().filter(|n| !n.is_empty()).unwrap_or("andon").to_owned()
}
