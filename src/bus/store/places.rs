//! How far each reader of a stream is: kept in memory, written beside the messages.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::format::PlacesRecord;
use crate::model::Timestamp;

/// Places of one stream; of more, the one that was not used for longest is forgotten.
const PLACES_MAX: usize = 10_000;

/// About what a record of places takes on disk, and each place in it.
const RECORD_BYTES: usize = 32;
const PLACE_BYTES: usize = 48;

/// How far a reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// All up to this sequence are through, or not for this reader.
    pub(super) through: u64,
    /// Up to this sequence only the last message of each subject is for it.
    pub(super) lasts_until: u64,
    pub(super) used: Timestamp,
}

/// The places of one stream.
#[derive(Debug, Default)]
pub(super) struct Places {
    known: HashMap<Arc<str>, Known>,
    /// Changed since they were handed out to be written.
    changed: BTreeSet<Arc<str>>,
    changed_since: Option<Duration>,
    /// A place was made or forgotten: not to be written later than necessary.
    is_urgent: bool,
}

#[derive(Debug)]
struct Known {
    place: Place,
    is_read: bool,
}

impl Places {
    /// Takes over what was read at the start; records come oldest first.
    pub(super) fn restore(&mut self, record: PlacesRecord) {
        if record.is_whole {
            self.known.clear();
        }
        for (name, place) in record.places {
            match place {
                Some(place) => drop(self.known.insert(name, Known { place, is_read: false })),
                None => drop(self.known.remove(&name)),
            }
        }
    }

    /// Returns a place if it is known.
    pub(super) fn get(&self, name: &str) -> Option<Place> {
        self.known.get(name).map(|known| known.place)
    }

    /// Sets a place that somebody reads at. Returns whether it is kept: not if all that there may be are being read.
    pub(super) fn set(&mut self, name: &Arc<str>, place: Place, now: Duration) -> bool {
        if !self.known.contains_key(name) {
            if self.known.len() >= PLACES_MAX && !self.forget_oldest() {
                return false;
            }
            self.is_urgent = true;
        }
        self.known.insert(name.clone(), Known { place, is_read: true });
        self.note(name.clone(), now);
        true
    }

    /// Moves a place on, if it is known.
    pub(super) fn advance(&mut self, name: &Arc<str>, through: u64, now: Duration) {
        if let Some(known) = self.known.get_mut(name)
            && known.place.through < through
        {
            known.place.through = through;
            self.note(name.clone(), now);
        }
    }

    /// Moves places on without a reason to write them for it.
    pub(super) fn advance_idle(&mut self, names: impl Iterator<Item = Arc<str>>, through: u64) {
        for name in names {
            if let Some(known) = self.known.get_mut(&name) {
                known.place.through = known.place.through.max(through);
            }
        }
    }

    /// Notes that nobody reads at a place any more.
    pub(super) fn leave(&mut self, name: &Arc<str>, wall: Timestamp, now: Duration) {
        if let Some(known) = self.known.get_mut(name) {
            (known.is_read, known.place.used) = (false, wall);
            self.note(name.clone(), now);
        }
    }

    /// Forgets a place.
    pub(super) fn forget(&mut self, name: &Arc<str>, now: Duration) {
        if self.known.remove(name).is_some() {
            self.is_urgent = true;
            self.note(name.clone(), now);
        }
    }

    /// Forgets places that nobody used since a time.
    pub(super) fn forget_before(&mut self, before: Timestamp, now: Duration) {
        let old = self.known.iter().filter(|(_, known)| !known.is_read && known.place.used < before);
        let old: Vec<Arc<str>> = old.map(|(name, _)| name.clone()).collect();
        old.iter().for_each(|name| self.forget(name, now));
    }

    fn forget_oldest(&mut self) -> bool {
        let unread = self.known.iter().filter(|(_, known)| !known.is_read);
        let oldest = unread.min_by_key(|(_, known)| known.place.used).map(|(name, _)| name.clone());
        let Some(oldest) = oldest else { return false };
        self.known.remove(&oldest);
        self.changed.insert(oldest);
        true
    }

    fn note(&mut self, name: Arc<str>, now: Duration) {
        self.changed.insert(name);
        self.changed_since.get_or_insert(now);
    }

    /// Tells whether changes are to be written now.
    pub(super) fn is_write_due(&self, interval: Duration, now: Duration) -> bool {
        self.is_urgent || self.changed_since.is_some_and(|since| now.saturating_sub(since) >= interval)
    }

    /// Returns about how many bytes a record of what changed takes; none if nothing did.
    pub(super) fn changed_bytes(&self) -> usize {
        if self.changed.is_empty() { 0 } else { RECORD_BYTES + PLACE_BYTES * self.changed.len() }
    }

    /// Returns what changed, or all; nothing is changed then.
    pub(super) fn changes(&mut self, is_whole: bool, next_sequence: u64) -> PlacesRecord {
        let changed = std::mem::take(&mut self.changed);
        (self.changed_since, self.is_urgent) = (None, false);
        let places = match is_whole {
            true => self.known.iter().map(|(name, known)| (name.clone(), Some(known.place))).collect(),
            false => changed.into_iter().map(|name| (name.clone(), self.get(&name))).collect(),
        };
        PlacesRecord { next_sequence, is_whole, places }
    }

    /// Takes back what could not be written.
    pub(super) fn not_written(&mut self, record: PlacesRecord, now: Duration) {
        for (name, _) in record.places {
            self.note(name, now);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.known.len()
    }
}
