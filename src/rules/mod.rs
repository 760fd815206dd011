//! Rules: expressions evaluated on a clock, to record their result or to raise alerts.
//!
//! In go Prometheus rule files, unchanged. Out come recorded series and `ALERTS` into the store, and each
//! group's alerts to the alarms room after every evaluation. One task per group evaluates its rules in
//! order; what a rule does with a result is a pure step in `alerting.rs` and `recording.rs`.
//!
//! This room does not keep history and does not notify: that is the work of `alarms` and `notify`.

mod alerting;
#[cfg(test)]
mod alerting_test;
mod config;
mod evaluate;
mod file;
#[cfg(test)]
mod file_test;
mod group;
mod groups;
mod instruments;
mod lint;
#[cfg(test)]
mod lint_test;
mod measure;
mod recording;
mod replay;
mod restore;
#[cfg(test)]
mod rules_test;
mod snapshot;
mod stored;
pub mod unit_test;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Alarm, Alert};
use crate::query::promql::Engine;
use crate::storage::state::State;
use crate::storage::tsdb::Db;
use crate::task::Tasks;

pub use config::{Config, FILES_MAX, RuleSource};
pub use lint::{Facts, Remark, Subject, lint, lint_file};
pub use measure::{Threshold, threshold};
pub use replay::{Firing, Replay, Trial, replay};
pub use snapshot::{AlertingSnapshot, FileSnapshot, GroupSnapshot, Health, Mistake, RuleKind, RuleSnapshot, Snapshot};
pub use stored::{STORED, StoreError, StoredVersion};

/// What the room is handed at start.
#[derive(Debug)]
pub struct Deps {
    /// Where recorded series go, and where pending alerts are found again after a restart.
    pub db: Db,
    /// Where rules stand that people write on the pages.
    pub state: State,
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
pub struct Rules(Arc<groups::Groups>);

impl Rules {
    /// Reads the files, restores what was pending or firing, and starts a task per group. Of a file with
    /// mistakes the good rules run.
    ///
    /// Must be called on the runtime. Cost: reads the last day of `ALERTS_FOR_STATE`.
    #[must_use]
    pub fn start(config: Config, mut deps: Deps) -> Rules {
        let active = std::mem::take(&mut deps.active);
        let groups = groups::Groups::new(deps);
        groups.apply(config, Some(active));
        Rules(Arc::new(groups))
    }

    /// Returns groups, rules, alerts and mistakes as of now. Cost: one allocation per group.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(self.0.snapshot())
    }

    /// Takes new settings: groups that did not change go on undisturbed, changed ones keep the state of
    /// their rules of the same name and labels, alerts of rules that are gone are resolved. A file whose
    /// new version has a mistake keeps the version that runs.
    pub fn reload(&self, config: Config) {
        self.0.apply(config, None);
    }

    /// Returns the versions of the file that people write on the pages, oldest first.
    #[must_use]
    pub fn stored(&self) -> Arc<Vec<StoredVersion>> {
        self.0.stored()
    }

    /// Stores another version of that file and runs it; `after` is the newest that its writer saw. Returns its number.
    /// Blocking: one file sync.
    ///
    /// # Errors
    /// See [`StoreError`]; then the version before goes on running.
    pub fn store(&self, text: &str, by: &str, note: &str, after: u64) -> Result<u64, StoreError> {
        self.0.store(text, by, note, after)
    }
}

/// What is in a rule file, for `andon check rules`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Groups that would run.
    pub groups: usize,
    /// Rules that would run.
    pub rules: usize,
    /// What is wrong, by line; empty for a good file.
    pub mistakes: Vec<Mistake>,
}

/// Checks the text of a rule file without running it: shape, expressions, templates.
#[must_use]
pub fn check(path: &str, text: &str) -> Checked {
    let file = file::read(path, text);
    let rules = file.groups.iter().map(|g| g.rules.len()).sum();
    Checked { groups: file.groups.len(), rules, mistakes: file.mistakes }
}

/// An alerting rule of a file, as far as a back-test needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertingRule {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Line of the file it begins at.
    pub line: usize,
    /// Its expression.
    pub expression: String,
    /// `for`
    pub hold: Duration,
    /// `keep_firing_for`
    pub keep_firing: Duration,
    /// The group's interval, if it names one.
    pub interval: Option<Duration>,
    /// The group's `limit`; 0 is none.
    pub limit: usize,
}

/// Returns the good alerting rules of a file.
#[must_use]
pub fn alerting_rules(path: &str, text: &str) -> Vec<AlertingRule> {
    let file = file::read(path, text);
    let of_group = |group: &file::Group| -> Vec<AlertingRule> {
        let rules = group.rules.iter().filter_map(|rule| match &rule.kind {
            file::Kind::Recording => None,
            file::Kind::Alerting(alerting) => Some(AlertingRule {
                name: rule.name.clone(),
                group: group.name.clone(),
                line: rule.line,
                expression: rule.expression.clone(),
                hold: alerting.hold,
                keep_firing: alerting.keep_firing,
                interval: group.interval,
                limit: group.limit,
            }),
        });
        rules.collect()
    };
    file.groups.iter().flat_map(of_group).collect()
}
