//! What pages and the API see of the rules.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Alert, AlertState, Labels, Timestamp};

/// All groups and all mistakes at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Running groups, by file in the order of the settings, then in the file's order.
    pub groups: Vec<Arc<GroupSnapshot>>,
    /// What is wrong in the files: rules that do not run, files that were not taken.
    pub mistakes: Vec<Mistake>,
    /// The files, in the order of the settings.
    pub files: Vec<FileSnapshot>,
}

impl Snapshot {
    /// Returns all alerts that are pending or firing, in the order of the groups.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        let rules = self.groups.iter().flat_map(|g| &g.rules);
        rules.flat_map(|r| r.alerts()).filter(|a| a.state != AlertState::Resolved)
    }
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct FileSnapshot {
    /// Its path.
    pub path: String,
    /// When the version that runs was taken; `None` if none runs.
    pub loaded_at: Option<Timestamp>,
    /// Whether a newer version is bad and the last good one still runs.
    pub is_outdated: bool,
    /// How many rules of it run.
    pub rules: usize,
}

/// One mistake in a rule file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Path of the file.
    pub file: String,
    /// Line, counted from 1; 0 if the file as a whole is meant.
    pub line: usize,
    /// Column, counted from 1; 0 if not known.
    pub column: usize,
    /// The group's name; empty outside a group.
    pub group: String,
    /// The rule's name; empty outside a rule.
    pub rule: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Mistake {
    /// Returns a mistake about a file as a whole.
    pub(super) fn of_file(path: &str, message: String) -> Self {
        Mistake { file: path.to_owned(), line: 0, column: 0, group: String::new(), rule: String::new(), message }
    }
}

impl std::fmt::Display for Mistake {
    /// Writes `file:line:column: group "g", rule "r": message`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        f.write_str(": ")?;
        match (self.group.as_str(), self.rule.as_str()) {
            ("", "") => {}
            (group, "") => write!(f, "group {group:?}: ")?,
            (group, rule) => write!(f, "group {group:?}, rule {rule:?}: ")?,
        }
        f.write_str(&self.message)
    }
}

/// One group after its last evaluation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupSnapshot {
    /// Its name.
    pub name: String,
    /// The file it stands in.
    pub file: String,
    /// The distance between evaluations.
    pub interval: Duration,
    /// The most series or alerts one rule may give; 0 is no limit.
    pub limit: usize,
    /// How far in the past it evaluates.
    pub query_offset: Duration,
    /// How long the last evaluation took.
    pub evaluation_time: Duration,
    /// When it was last evaluated; `None` before the first time.
    pub last_evaluation: Option<Timestamp>,
    /// Ticks left out because the evaluation before took too long.
    pub missed: u64,
    /// Its rules, in order.
    pub rules: Vec<RuleSnapshot>,
}

/// Whether a rule works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not evaluated yet.
    Unknown,
    /// The last evaluation worked.
    Ok,
    /// The last evaluation failed.
    Err,
}

impl Health {
    /// Returns the word of the API: `unknown`, `ok` or `err`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Ok => "ok",
            Health::Err => "err",
        }
    }
}

/// One rule after its last evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSnapshot {
    /// The recorded series' name, or the alert's.
    pub name: String,
    /// The expression as written.
    pub expression: String,
    /// Labels it adds, templates not rendered.
    pub labels: Labels,
    /// Line of the file it begins at.
    pub line: usize,
    /// Names the definition: another one as soon as anything of it is written otherwise.
    pub version: u32,
    /// Whether it works.
    pub health: Health,
    /// Why not; empty if it does.
    pub last_error: String,
    /// How long the last evaluation took.
    pub evaluation_time: Duration,
    /// When it was last evaluated.
    pub last_evaluation: Option<Timestamp>,
    /// Recording or alerting.
    pub kind: RuleKind,
}

/// What a rule is for.
#[derive(Debug, Clone, PartialEq)]
pub enum RuleKind {
    /// It records its result as series.
    Recording,
    /// It raises alerts.
    Alerting(AlertingSnapshot),
}

/// What an alerting rule has beyond the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertingSnapshot {
    /// How long the condition must hold before it fires.
    pub hold: Duration,
    /// How long it goes on firing after the condition fell away.
    pub keep_firing: Duration,
    /// Texts, templates not rendered.
    pub annotations: Labels,
    /// Its alerts: pending, firing, and resolved for the last 15 minutes; sorted by labels.
    pub alerts: Vec<Alert>,
}

impl RuleSnapshot {
    /// Returns the rule's alerts; none for a recording rule.
    #[must_use]
    pub fn alerts(&self) -> &[Alert] {
        match &self.kind {
            RuleKind::Recording => &[],
            RuleKind::Alerting(alerting) => &alerting.alerts,
        }
    }

    /// Returns the most advanced state of its alerts, as the API words it: `inactive`, `pending`, `firing`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        let any = |state| self.alerts().iter().any(|a| a.state == state);
        match (any(AlertState::Firing), any(AlertState::Pending)) {
            (true, _) => "firing",
            (false, true) => "pending",
            (false, false) => "inactive",
        }
    }
}
