//! Settings: from a file to each room's `Config`, or to the list of all mistakes.

use std::path::PathBuf;

use crate::query::promql;
use crate::{alarms, bus, collect, forward, gateway, http, notify, rules, storage};

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
    /// The stores.
    pub storage: storage::Config,
    /// Bounds of queries.
    pub query: promql::Limits,
    /// NATS, or the embedded bus.
    pub bus: bus::Config,
    /// Devices over WebSocket.
    pub gateway: gateway::Config,
    /// All ways in.
    pub collect: collect::Config,
    /// Rule files.
    pub rules: rules::Config,
    /// The alarm board.
    pub alarms: alarms::Config,
    /// Who is told.
    pub notify: notify::Config,
    /// Central systems.
    pub forward: forward::Config,
    /// What is legal but worth a word: keys of Prometheus that have no meaning here, and the like.
    pub warnings: Vec<String>,
    /// The settings in force as YAML text without secrets, for the page about the box.
    pub text: String,
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
    /// Names the settings that differ from `other` and need a restart.
    #[must_use]
    pub fn needs_restart(&self, other: &Config) -> Vec<&'static str> {
        let _ = other;
        Vec::new()
    }
}

/// Reads and resolves settings.
///
/// # Errors
/// All mistakes, each with file, line, key and remedy.
pub fn load(source: &Source) -> anyhow::Result<Config> {
    anyhow::bail!("settings cannot be read in this build yet: {source:?}")
}
