//! Who is told what: the routing tree, receivers, inhibition and time intervals, in Alertmanager's shapes
//! with everything inherited and compiled.

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::interval::TimeInterval;
use super::receiver::Way;
use super::relay::RelayConfig;
use crate::model::Matcher;

/// How long a receiver may be away before its fallback is told, unless the settings say otherwise.
pub const FALLBACK_AFTER: Duration = Duration::from_secs(600);

/// Settings of the room; a reload is enough for all but the folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where the outbox and the notification log lie: `notify` of the data folder.
    pub folder: PathBuf,
    /// Where people reach this box, without a slash at the end; for links in notices.
    pub external_url: String,
    /// The box's name, for the words of digests and heartbeats.
    pub box_name: String,
    /// The site's time zone, for the words of digests.
    pub time_zone: TimeZone,
    /// How long links are good by which an alarm is acknowledged; `None`: notices have none.
    pub ack_links_for: Option<Duration>,
    /// Signs of life.
    pub heartbeats: Vec<Heartbeat>,
    /// Alertmanagers elsewhere, and the labels that this box adds to its own alarms.
    pub relay: RelayConfig,
    /// The root of the routing tree; its matchers are empty. `None`: nobody is told.
    pub route: Option<Route>,
    /// The receivers; every name that a route uses is among them.
    pub receivers: Vec<Receiver>,
    /// Alarms that mute others.
    pub inhibit_rules: Vec<InhibitRule>,
    /// `time_intervals` (and the older `mute_time_intervals`) that routes name.
    pub time_intervals: Vec<NamedInterval>,
}

/// A node of the routing tree, with what it inherits filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Name of the receiver.
    pub receiver: String,
    /// All must pass: `matchers`, `match` and `match_re` together.
    pub matchers: Vec<Matcher>,
    /// Whether the siblings after this one are tried too (`continue`).
    pub continues: bool,
    /// Which alarms are told together.
    pub group_by: GroupBy,
    /// How long a new group waits for more alarms; 30 s by default.
    pub group_wait: Duration,
    /// How long a group waits before it tells of changes; 5 minutes by default.
    pub group_interval: Duration,
    /// How long a group waits before it tells the same again; 4 hours by default.
    pub repeat_interval: Duration,
    /// Names of intervals in which this route is silent; not inherited.
    pub mute_time_intervals: Vec<String>,
    /// Names of intervals outside which this route is silent; empty: never; not inherited.
    pub active_time_intervals: Vec<String>,
    /// Children; the first that matches takes the alarm.
    pub routes: Vec<Route>,
}

/// Which alarms are told together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupBy {
    /// `['...']`: each label set for itself.
    All,
    /// Those that agree on these labels; empty: all of the route.
    Labels(Vec<String>),
}

/// A named way to tell somebody. A receiver without an integration is legal and drops what it gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Receiver {
    /// Its name.
    pub name: String,
    /// `webhook_configs`, `slack_configs` and the like.
    pub ways: Vec<Way>,
    /// Who is told instead while this one cannot be reached.
    pub fallback: Option<Fallback>,
    /// Notices that each of its ways gets in a minute, at most; what waits longer is told in a digest.
    pub per_minute_max: Option<usize>,
}

/// Who is told of what another receiver does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// Name of the receiver; whoever falls back does not lead back to the first.
    pub receiver: String,
    /// How long a notice waits before; 10 minutes by default.
    pub after: Duration,
}

/// A sign of life that is sent again and again: where it stays away, the box is dead or cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Name of the receiver.
    pub receiver: String,
    /// How far they are apart; 1 minute by default.
    pub interval: Duration,
}

/// Active alarms that pass `source` mute those that pass `target` and agree on the labels of `equal`.
#[derive(Debug, Clone, PartialEq)]
pub struct InhibitRule {
    /// `source_matchers`, `source_match` and `source_match_re` together.
    pub source: Vec<Matcher>,
    /// `target_matchers`, `target_match` and `target_match_re` together.
    pub target: Vec<Matcher>,
    /// Labels that must have the same value on both; a missing label is an empty value.
    pub equal: Vec<String>,
}

/// An entry of `time_intervals`.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedInterval {
    /// Its name.
    pub name: String,
    /// Its intervals: it covers a moment if one of them does.
    pub intervals: Vec<TimeInterval>,
}
