//! How series of others come in: their labels held against the limits, on the account of their supplier, with a
//! note of what was refused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use super::config::Limits;
use super::refusals::{Ledger, Note, Refused, Supplier};
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Labels, Matcher, Timestamp};
use crate::storage::tsdb::{Account, Db, Refusal, SeriesRef};

/// A series with a sample in this time is not new.
const KNOWN_FOR: Duration = Duration::from_secs(3600);

/// The reason for what is over a limit of labels.
pub(super) const BAD_LABELS: &str = "bad_labels";

/// The way in for series; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Intake {
    db: Db,
    clock: Clock,
    limits: Arc<RwLock<Limits>>,
    ledger: Arc<Mutex<Ledger>>,
}

/// Somebody whose series come in.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    supplier: Supplier,
    account: Account,
    limits: Limits,
}

/// Why a series does not come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turned {
    /// Its labels are over a limit; in words.
    Labels(String),
    /// It is new, and there is no room.
    NoRoom(Refusal),
}

impl Turned {
    /// Returns the word for counters.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Turned::Labels(_) => BAD_LABELS,
            Turned::NoRoom(refusal) => refusal.as_str(),
        }
    }
}

impl Intake {
    pub(super) fn new(db: Db, clock: Clock, limits: Limits, registry: &Registry) -> Self {
        let ledger = Arc::new(Mutex::new(Ledger::new(registry)));
        Intake { db, clock, limits: Arc::new(RwLock::new(limits)), ledger }
    }

    /// Takes other limits.
    pub(super) fn reload(&self, limits: Limits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// Returns the limits.
    pub(super) fn limits(&self) -> Limits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a supplier with the limits of now.
    pub(super) fn guest(&self, supplier: Supplier) -> Guest {
        let limits = self.limits();
        let series_max = match supplier {
            Supplier::Target(..) => limits.series_per_target_max,
            Supplier::Sender(_) => limits.series_per_sender_max,
            Supplier::Device(_) => limits.series_per_device_max,
        };
        Guest { account: Account::new(&supplier.to_string(), series_max), supplier, limits }
    }

    /// Returns the reference of a series, making it if it is new. What is refused is noted, with the number of
    /// its samples.
    ///
    /// # Errors
    /// [`Turned`].
    pub(super) fn admit(&self, guest: &Guest, labels: &Labels, samples: u64) -> Result<SeriesRef, Turned> {
        self.admit_all(guest, &[(labels, samples)]).pop().unwrap_or(Err(Turned::NoRoom(Refusal::Store)))
    }

    /// As [`Intake::admit`], for several series at once; as many answers.
    pub(super) fn admit_all(&self, guest: &Guest, series: &[(&Labels, u64)]) -> Vec<Result<SeriesRef, Turned>> {
        let checked: Vec<Result<(), String>> = series.iter().map(|(labels, _)| guest.limits.check(labels)).collect();
        let good: Vec<&Labels> = series.iter().zip(&checked).filter(|(_, c)| c.is_ok()).map(|((l, _), _)| *l).collect();
        let mut admitted = self.db.admit_all(&good, &guest.account).into_iter();
        let found = series.iter().zip(checked).map(|((labels, samples), checked)| {
            let mut next = || admitted.next().unwrap_or(Err(Refusal::Store)).map_err(Turned::NoRoom);
            let found = checked.map_err(Turned::Labels).and_then(|()| next());
            found.inspect_err(|turned| self.note(guest, turned, labels, *samples))
        });
        found.collect()
    }

    /// Says why a series would not come in now, without making it.
    pub(super) fn would_refuse(&self, guest: &Guest, labels: &Labels, now: Timestamp) -> Option<String> {
        if let Err(why) = guest.limits.check(labels) {
            return Some(why);
        }
        let matchers: Vec<Matcher> = labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
        let known = self.db.querier().series(&matchers, now - KNOWN_FOR, now);
        if known.is_ok_and(|series| series.iter().any(|s| s == labels)) {
            return None;
        }
        let is_full = self.db.series_on(guest.account.name()) >= guest.account.series_max();
        is_full.then(|| self.explain(guest, Refusal::Account))
    }

    fn note(&self, guest: &Guest, turned: &Turned, labels: &Labels, samples: u64) {
        self.ledger().note(&Note {
            supplier: &guest.supplier,
            reason: turned.as_str(),
            labels,
            samples,
            series: self.db.series_on(guest.account.name()),
            series_max: guest.account.series_max(),
            now: self.clock.now(),
        });
    }

    /// Says why there is no room, whose series it is, and what is worst, for who sent it.
    pub(super) fn explain(&self, guest: &Guest, refusal: Refusal) -> String {
        let (name, series_max) = (guest.account.name(), guest.account.series_max());
        let why = match refusal {
            Refusal::Account => format!("{name} has {series_max} series, which is the limit for one"),
            Refusal::Store => format!("the store has {} series, which is its limit", self.db.series_max()),
            Refusal::Memory => {
                let headroom = self.db.headroom();
                let mib = |bytes: u64| bytes >> 20;
                let limit = headroom.limit_bytes().map_or(0, mib);
                format!("memory is short: {} of {limit} MiB are in use", mib(headroom.used_bytes()))
            }
            Refusal::Disk => "the disk has room for little more than what is kept already".to_owned(),
        };
        let worst = self.ledger().of(&guest.supplier).map(|refused| refused.worst()).filter(|worst| !worst.is_empty());
        match worst {
            Some(worst) => format!("{why}; refused to {name} so far: mostly {worst}"),
            None => why,
        }
    }

    /// Returns what was refused in the last hour.
    pub(super) fn refused(&self, now: Timestamp) -> Vec<Refused> {
        self.ledger().snapshot(now)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
