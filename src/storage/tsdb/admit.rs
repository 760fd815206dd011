//! Who may begin a series, and who began those there are.
//!
//! Every way in that takes series from others names an account: the target, the sender, the device. A series
//! that the head has is never refused; a new one is counted on its account until it ends, that is until a cut
//! finds that nothing came for it any more. Accounts stand in the WAL, so a restart forgets nothing.
//!
//! What the box begins for itself (its own readings, results of rules) is on nobody's account and may go a
//! sixteenth beyond the limit: a sender that fills the store must not keep the box from telling so.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing::{info, warn};

use super::batch::SeriesRef;
use super::db::{Db, Shared};
use super::head::Head;
use crate::headroom::{Headroom, Level};
use crate::model::Labels;

/// After so many new series memory is measured anew.
const SERIES_BETWEEN_LOOKS: u32 = 256;

/// So many series are begun under one lock: well under a millisecond.
const ADMITTED_AT_ONCE: usize = 128;

/// On whose account series are begun, and how many may be on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    name: Arc<str>,
    series_max: usize,
}

impl Account {
    /// Returns an account. The name is told to people; an empty one is the box's own.
    #[must_use]
    pub fn new(name: &str, series_max: usize) -> Self {
        Account { name: name.into(), series_max }
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how many series may be on it.
    #[must_use]
    pub fn series_max(&self) -> usize {
        self.series_max
    }
}

/// Why a new series is not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The account has as many as it may have.
    Account,
    /// So has the store.
    Store,
    /// Memory is short.
    Memory,
    /// What the WAL holds would hardly fit on the disk once more.
    Disk,
}

/// What admission remembers.
#[derive(Debug, Default)]
pub(super) struct Admission {
    headroom: OnceLock<Headroom>,
    gate: Mutex<Gate>,
}

/// Open while memory is ample. Once it was short, what the store had then is what it can bear: the gate opens
/// again when a fifth of that has ended, because memory that series leave is used for the next ones, though
/// the system may never see it free.
#[derive(Debug, Default)]
struct Gate {
    begun: u32,
    ceiling: Option<usize>,
    is_open: bool,
}

impl Gate {
    fn admits(&mut self, series: usize, level: Level) -> bool {
        if level == Level::Ample {
            (self.ceiling, self.is_open) = (None, false);
            return true;
        }
        let ceiling = *self.ceiling.get_or_insert(series);
        let below = if self.is_open { ceiling } else { ceiling - ceiling / 5 };
        self.is_open = level == Level::Short && series < below;
        self.is_open
    }
}

impl Db {
    /// Has admission look at memory from now on; a second call changes nothing.
    pub fn watch_memory(&self, headroom: Headroom) {
        let _ = self.0.admission.headroom.set(headroom);
    }

    /// Returns the measure of memory.
    #[must_use]
    pub fn headroom(&self) -> Headroom {
        self.0.admission.headroom.get().cloned().unwrap_or_default()
    }

    /// Returns the references of series of somebody else, making those on their account that are new; as many
    /// answers as label sets. A series that is there is never refused.
    ///
    /// The store is locked for some at a time: who brings thousands would else wait for each of them behind
    /// whoever holds it, and a cut of a million series holds it a thousand times.
    pub fn admit_all(&self, all: &[&Labels], account: &Account) -> Vec<Result<SeriesRef, Refusal>> {
        let mut admitted = Vec::with_capacity(all.len());
        for some in all.chunks(ADMITTED_AT_ONCE) {
            let known: Vec<Option<Result<SeriesRef, Refusal>>> = {
                let state = self.0.read();
                some.iter().map(|labels| self.0.answer(&state.head, labels, account)).collect()
            };
            if known.iter().all(Option::is_some) {
                admitted.extend(known.into_iter().flatten());
                continue;
            }
            let mut state = self.0.write();
            let begun = some.iter().zip(known).map(|(labels, known)| {
                known.or_else(|| self.0.answer(&state.head, labels, account)).unwrap_or_else(|| {
                    let slot = state.head.begin(labels, &account.name);
                    slot.and_then(|slot| state.head.reference(slot)).ok_or(Refusal::Store)
                })
            });
            admitted.extend(begun);
        }
        for refusal in admitted.iter().filter_map(|answer| answer.as_ref().err()) {
            self.0.instruments.series_refused.with(&[refusal.as_str()]).inc();
        }
        admitted
    }

    /// As [`Db::admit_all`], for one.
    ///
    /// # Errors
    /// [`Refusal`] for a new series.
    pub fn admit(&self, labels: &Labels, account: &Account) -> Result<SeriesRef, Refusal> {
        self.admit_all(&[labels], account).pop().unwrap_or(Err(Refusal::Store))
    }

    /// Returns how many series are on an account.
    #[must_use]
    pub fn series_on(&self, account: &str) -> usize {
        self.0.read().head.accounts.series(account)
    }

    /// Returns the accounts with the most series, largest first.
    #[must_use]
    pub fn accounts(&self, top: usize) -> Vec<(String, usize)> {
        let state = self.0.read();
        let mut all: Vec<(&str, usize)> = state.head.accounts.iter().collect();
        all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        all.into_iter().take(top).map(|(name, series)| (name.to_owned(), series)).collect()
    }

    /// Returns how many series the head holds.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.0.read().head.series_count()
    }

    /// Returns how many series the head may hold.
    #[must_use]
    pub fn series_max(&self) -> usize {
        self.0.config.series_max
    }
}

impl Refusal {
    /// Returns the word for counters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::Account => "over_source_limit",
            Refusal::Store => "over_series_limit",
            Refusal::Memory => "memory_short",
            Refusal::Disk => "disk_short",
        }
    }
}

impl Shared {
    /// Returns how many series the head may hold, those of the box itself included.
    pub(super) fn own_series_max(&self) -> usize {
        self.config.series_max.saturating_add(self.config.series_max / 16)
    }

    /// Returns the answer for a series that is there or has no room; `None` for one that may begin.
    fn answer(&self, head: &Head, labels: &Labels, account: &Account) -> Option<Result<SeriesRef, Refusal>> {
        match head.find(labels).and_then(|slot| head.reference(slot)) {
            Some(known) => Some(Ok(known)),
            None => self.room_for(head, account).err().map(Err),
        }
    }

    fn room_for(&self, head: &Head, account: &Account) -> Result<(), Refusal> {
        if head.accounts.series(&account.name) >= account.series_max {
            return Err(Refusal::Account);
        }
        if head.series_count() >= self.config.series_max {
            return Err(Refusal::Store);
        }
        if self.is_tight.load(Ordering::Relaxed) {
            return Err(Refusal::Disk);
        }
        let Some(headroom) = self.admission.headroom.get() else { return Ok(()) };
        let mut gate = self.admission.gate.lock().unwrap_or_else(PoisonError::into_inner);
        gate.begun = gate.begun.wrapping_add(1);
        let level = if gate.begun.is_multiple_of(SERIES_BETWEEN_LOOKS) { headroom.look() } else { headroom.level() };
        let was_short = gate.ceiling.is_some();
        let is_open = gate.admits(head.series_count(), level);
        match (was_short, gate.ceiling.is_some()) {
            (false, true) => warn!(used_bytes = headroom.used_bytes(), "memory is short: new series are refused"),
            (true, false) => info!(used_bytes = headroom.used_bytes(), "memory is ample again: new series are taken"),
            _ => {}
        }
        if is_open { Ok(()) } else { Err(Refusal::Memory) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_opens_when_memory_is_ample_or_a_fifth_of_the_series_has_ended() {
        let mut gate = Gate::default();
        assert!(gate.admits(1000, Level::Ample));
        assert!(!gate.admits(1000, Level::Short));
        assert!(!gate.admits(801, Level::Short));
        assert!(gate.admits(799, Level::Short));
        assert!(gate.admits(999, Level::Short), "up to what there was");
        assert!(!gate.admits(1000, Level::Short));
        assert!(!gate.admits(999, Level::Short), "and then not before a fifth has ended again");
        assert!(!gate.admits(1, Level::Over));
        assert!(gate.admits(5000, Level::Ample));
        assert!(!gate.admits(5000, Level::Over));
    }
}
