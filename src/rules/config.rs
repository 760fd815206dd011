//! What the room needs to know: the rule files' text and the defaults that files may leave out.

use std::time::Duration;

use crate::model::Labels;

/// The most rule files that are taken; more are refused with a message.
pub const FILES_MAX: usize = 500;

/// Settings of the room; a reload is enough for all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The files that `rule_files` names, globs resolved, in order; a path stands only once.
    pub files: Vec<RuleSource>,
    /// `global.evaluation_interval`: for groups that name none; 1 minute by default, above zero.
    pub evaluation_interval: Duration,
    /// `global.rule_query_offset`: for groups that name none; 0 by default.
    pub query_offset: Duration,
    /// `global.external_labels`: `$externalLabels` of templates.
    pub external_labels: Labels,
    /// Where people reach this box, without a slash at the end: `$externalURL` of templates.
    pub external_url: String,
}

/// A rule file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSource {
    /// Its path, or `builtin:NAME` for a pack that comes along.
    pub path: String,
    /// Its text, or why it could not be read.
    pub text: std::result::Result<String, String>,
}

impl RuleSource {
    /// Returns the packs that come along: host, gateway, devices, NATS and the box itself.
    #[must_use]
    pub fn builtin() -> Vec<RuleSource> {
        [
            ("host.yml", include_str!("../../packaging/rules/host.yml")),
            ("gateway.yml", include_str!("../../packaging/rules/gateway.yml")),
            ("devices.yml", include_str!("../../packaging/rules/devices.yml")),
            ("nats.yml", include_str!("../../packaging/rules/nats.yml")),
            ("andon.yml", include_str!("../../packaging/rules/andon.yml")),
        ]
        .into_iter()
        .map(|(name, text)| RuleSource { path: format!("builtin:{name}"), text: Ok(text.to_owned()) })
        .collect()
    }
}
