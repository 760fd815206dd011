//! One client of a tenant: when it was heard, how it is, what it says it sent.

use super::heartbeat::{Figures, Heartbeat, Metadata};
use super::view::{ClientView, ConnectionView};
use crate::model::Timestamp;

/// By how many messages a client's own count may differ from what came.
pub(super) const MISMATCH_MAX: u64 = 100;
/// Errors of a client for each message it sent, above which it is unusual.
const ERROR_RATIO_MAX: f64 = 0.1;
/// Fewer messages between two heartbeats say nothing about errors.
const ERROR_MESSAGES_MIN: u64 = 20;

/// How a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It says so.
    Healthy,
    /// It says that something is wrong, but it works.
    Degraded,
    /// It says that it does not work.
    Unhealthy,
    /// It has not said.
    Unknown,
}

impl Health {
    /// Returns the word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Healthy => "healthy",
            Health::Degraded => "degraded",
            Health::Unhealthy => "unhealthy",
            Health::Unknown => "unknown",
        }
    }
}

/// What is known of a client.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) health: Health,
    last_seen: Timestamp,
    last_heartbeat: Option<Timestamp>,
    /// It took its leave and nothing came since.
    left: bool,
    version: String,
    metadata: Metadata,
    figures: Option<Figures>,
    /// Messages that came from it.
    pub(super) messages: u64,
    books: Option<Books>,
    connection: Option<ConnectionView>,
}

/// What a client said it sent, beside what had come: at the beginning of the count, and at the last heartbeat.
#[derive(Debug, Clone, Copy)]
struct Books {
    base: (u64, u64),
    last: (u64, u64),
}

/// What a heartbeat brought to light.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Found {
    /// Messages and errors that it reports since the last heartbeat.
    pub(super) sent: u64,
    pub(super) errors: u64,
    /// What it says it sent and what came, if that does not fit.
    pub(super) mismatch: Option<(u64, u64)>,
    /// Errors for each message, if too many.
    pub(super) error_ratio: Option<f64>,
}

impl Client {
    pub(super) fn new(now: Timestamp) -> Self {
        Client {
            health: Health::Unknown,
            last_seen: now,
            last_heartbeat: None,
            left: false,
            version: String::new(),
            metadata: Metadata::default(),
            figures: None,
            messages: 0,
            books: None,
            connection: None,
        }
    }

    /// Notes a message that it sent.
    pub(super) fn sent(&mut self, now: Timestamp) {
        self.messages += 1;
        self.seen(now);
    }

    /// Notes any other sign of it.
    pub(super) fn seen(&mut self, now: Timestamp) {
        self.last_seen = now;
        self.left = false;
    }

    /// Notes that it has gone.
    pub(super) fn left(&mut self, now: Timestamp) {
        self.last_seen = now;
        self.left = true;
        self.connection = None;
    }

    /// Takes its open connection to a NATS server, or that it has none.
    pub(super) fn connected(&mut self, connection: Option<ConnectionView>, now: Timestamp) {
        if connection.is_some() {
            self.seen(now);
        }
        self.connection = connection;
    }

    pub(super) fn has_connection(&self) -> bool {
        self.connection.is_some()
    }

    /// Takes a heartbeat and holds what it says against what came.
    ///
    /// Messages and heartbeats reach this box by different subscriptions, so their order is not certain. What the last
    /// heartbeat said must have come by now, and no more than this one says can have come by the last.
    pub(super) fn beat(&mut self, beat: Heartbeat, now: Timestamp) -> Found {
        self.seen(now);
        self.last_heartbeat = Some(now);
        self.health = beat.health;
        self.left = beat.leaves;
        self.version = beat.version;
        self.metadata = beat.metadata.unwrap_or_default();
        let before = self.figures;
        self.figures = beat.figures.or(before);
        let Some(figures) = beat.figures else { return Found::default() };
        let (sent, came) = (figures.messages_sent, self.messages);
        let (Some(before), Some(books)) = (before.filter(|f| f.messages_sent <= sent), self.books) else {
            // It begins, or began anew.
            self.books = Some(Books { base: (sent, came), last: (sent, came) });
            return Found::default();
        };
        let mut found = Found {
            sent: sent - before.messages_sent,
            errors: figures.errors.saturating_sub(before.errors),
            ..Found::default()
        };
        let said_then = books.last.0.saturating_sub(books.base.0);
        let (said_now, came_then, came_now) =
            (sent.saturating_sub(books.base.0), books.last.1 - books.base.1, came - books.base.1);
        // A client whose messages do not say who sent them is held against its tenant as a whole.
        let is_told_apart = came > 0;
        if is_told_apart && (said_then > came_now + MISMATCH_MAX || came_then > said_now + MISMATCH_MAX) {
            found.mismatch = Some((said_now, came_now));
            self.books = Some(Books { base: (sent, came), last: (sent, came) });
        } else {
            self.books = Some(Books { base: books.base, last: (sent, came) });
        }
        let ratio = super::float(found.errors) / super::float(found.sent.max(1));
        found.error_ratio = (found.sent >= ERROR_MESSAGES_MIN && ratio > ERROR_RATIO_MAX).then_some(ratio);
        found
    }

    /// Begins the count anew: this box itself has missed something.
    pub(super) fn forget_books(&mut self) {
        self.books = None;
    }

    pub(super) fn is_online(&self, now: Timestamp, offline_after: std::time::Duration) -> bool {
        !self.left && (self.connection.is_some() || now.since(self.last_seen) <= offline_after)
    }

    pub(super) fn last_seen(&self) -> Timestamp {
        self.last_seen
    }

    pub(super) fn view(&self, id: &str, is_online: bool) -> ClientView {
        ClientView {
            id: id.to_owned(),
            is_online,
            health: self.health,
            last_seen: self.last_seen,
            last_heartbeat: self.last_heartbeat,
            version: self.version.clone(),
            messages: self.messages,
            reported: self.figures.map(|f| (f.messages_sent, f.messages_received, f.errors)),
            uptime_s: self.figures.map(|f| f.uptime_seconds),
            name: self.metadata.name.clone(),
            kind: self.metadata.kind.clone(),
            capabilities: self.metadata.capabilities.clone(),
            connection: self.connection.clone(),
        }
    }
}
