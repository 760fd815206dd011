//! What pages, the API and notify see of the alarms.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::figures::Flood;
use crate::model::{Alarm, AlarmState, Timestamp};

/// The board at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Alarms that are active, cleared within the last 15 minutes, or cleared within a day and never acknowledged
    /// though their priority is 1 or 2; by priority, then newest first.
    pub alarms: Arc<Vec<Alarm>>,
    /// The flood that goes on, if one does.
    pub flood: Option<Flood>,
    /// When this was made.
    pub at: Timestamp,
    /// Why the journal cannot be written at the moment; `None` if it can.
    pub journal_error: Option<String>,
    /// How long an alert of another program counts that does not say it itself (`global.resolve_timeout`).
    pub resolve_timeout: Duration,
    /// Active alarms whose cause is gone, but not for as long yet as their class waits.
    pub ending: BTreeSet<u64>,
}

impl Snapshot {
    /// Returns the active alarms.
    pub fn active(&self) -> impl Iterator<Item = &Alarm> {
        self.alarms.iter().filter(|a| a.state == AlarmState::Active)
    }

    /// Returns the alarms whose cause is there, those without that only wait to be cleared.
    pub fn caused(&self) -> impl Iterator<Item = &Alarm> {
        self.active().filter(|a| !self.ending.contains(&a.fingerprint))
    }

    /// Returns how many active alarms have this priority (1 is the highest).
    #[must_use]
    pub fn count(&self, priority: u8) -> usize {
        self.active().filter(|a| a.priority() == priority).count()
    }

    /// Returns the alarm of this fingerprint.
    #[must_use]
    pub fn alarm(&self, fingerprint: u64) -> Option<&Alarm> {
        self.alarms.iter().find(|a| a.fingerprint == fingerprint)
    }
}

/// What happened to an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// Its cause came.
    Raised,
    /// Its cause went.
    Cleared,
    /// Somebody took note.
    Acknowledged,
    /// Somebody put it aside for a while.
    Shelved,
    /// It began to be among those that are silenced.
    Silenced,
    /// Another alarm began to mute it.
    Inhibited,
    /// It is no longer shelved, silenced or muted.
    Back,
}

impl Event {
    /// All there are.
    pub const ALL: [Event; 7] = [
        Event::Raised,
        Event::Cleared,
        Event::Acknowledged,
        Event::Shelved,
        Event::Silenced,
        Event::Inhibited,
        Event::Back,
    ];

    /// Returns the word shown to people: `raised`, `cleared`, `acknowledged`, `shelved`, `silenced`, `inhibited` or `back`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Event::Raised => "raised",
            Event::Cleared => "cleared",
            Event::Acknowledged => "acknowledged",
            Event::Shelved => "shelved",
            Event::Silenced => "silenced",
            Event::Inhibited => "inhibited",
            Event::Back => "back",
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
    /// Who did it, of a muted alarm the name of the other one; empty if nobody.
    pub by: String,
    /// What they wrote.
    pub note: String,
    /// Until when it is shelved or silenced.
    pub until: Option<Timestamp>,
}

impl Transition {
    /// Returns a transition that nobody caused, or that the alarm itself tells who did.
    pub(super) fn of(event: Event, at: Timestamp, alarm: Alarm) -> Self {
        let said = alarm.acknowledgement.as_ref().filter(|_| event == Event::Acknowledged);
        let (by, note) = said.map_or_else(Default::default, |a| (a.by.clone(), a.note.clone()));
        Transition { event, at, alarm: Arc::new(alarm), by, note, until: None }
    }
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
    /// Only this event.
    pub event: Option<Event>,
    /// Only lines with this in a label's value, a text or a note; any case.
    pub text: String,
    /// At most so many, newest first; 0 is [`HistoryQuery::LIMIT`].
    pub limit: usize,
}

impl HistoryQuery {
    /// The most lines one answer holds.
    pub const LIMIT: usize = 1000;

    /// Tells whether a line is wanted.
    #[must_use]
    pub fn wants(&self, transition: &Transition) -> bool {
        let alarm = &transition.alarm;
        self.start.is_none_or(|start| transition.at >= start)
            && self.end.is_none_or(|end| transition.at < end)
            && self.fingerprint.is_none_or(|f| alarm.fingerprint == f)
            && self.event.is_none_or(|event| transition.event == event)
            && self.matchers.iter().all(|m| m.matches_labels(&alarm.labels))
            && self.has_text(transition)
    }

    fn has_text(&self, transition: &Transition) -> bool {
        if self.text.is_empty() {
            return true;
        }
        let wanted = self.text.to_lowercase();
        let alarm = &transition.alarm;
        let texts = alarm.labels.iter().chain(alarm.annotations.iter()).map(|(_, value)| value);
        texts.chain([transition.by.as_str(), transition.note.as_str()]).any(|t| t.to_lowercase().contains(&wanted))
    }
}
