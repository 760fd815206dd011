//! What pages, the API and notify see of the alarms.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Alarm, AlarmState, Timestamp};

/// The board at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Alarms that are active, or cleared within the last 15 minutes; by priority, then newest first.
    pub alarms: Arc<Vec<Alarm>>,
    /// When this was made.
    pub at: Timestamp,
    /// Transitions in memory, for the history page.
    pub history_len: usize,
    /// Oldest transition in memory.
    pub history_since: Option<Timestamp>,
    /// Why the journal cannot be written at the moment; `None` if it can.
    pub journal_error: Option<String>,
    /// How long an alert of another program counts that does not say it itself (`global.resolve_timeout`).
    pub resolve_timeout: Duration,
}

impl Snapshot {
    /// Returns the alarms whose cause is still there.
    pub fn active(&self) -> impl Iterator<Item = &Alarm> {
        self.alarms.iter().filter(|a| a.state == AlarmState::Active)
    }

    /// Returns how many active alarms have this priority (1 is the highest).
    #[must_use]
    pub fn count(&self, priority: u8) -> usize {
        self.active().filter(|a| a.priority() == priority).count()
    }
}

/// What happened to an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Its cause came.
    Raised,
    /// Its cause went.
    Cleared,
    /// Somebody took note.
    Acknowledged,
}

impl Event {
    /// Returns the word shown to people: `raised`, `cleared` or `acknowledged`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Event::Raised => "raised",
            Event::Cleared => "cleared",
            Event::Acknowledged => "acknowledged",
        }
    }
}

/// One line of the history: what happened when, and the alarm as it was right after.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// What.
    pub event: Event,
    /// When.
    pub at: Timestamp,
    /// The alarm right after.
    pub alarm: Arc<Alarm>,
}

/// Which lines of the history are wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistoryQuery {
    /// Not before this.
    pub start: Option<Timestamp>,
    /// Before this.
    pub end: Option<Timestamp>,
    /// Only this alarm.
    pub fingerprint: Option<u64>,
    /// Only alarms whose labels pass all of these.
    pub matchers: Vec<crate::model::Matcher>,
    /// At most so many, newest first; 0 is [`HistoryQuery::LIMIT`].
    pub limit: usize,
}

impl HistoryQuery {
    /// The most lines one answer holds.
    pub const LIMIT: usize = 1000;
}
