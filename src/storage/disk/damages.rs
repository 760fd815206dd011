//! What was found damaged since the start: counted, told in the log, and kept in words for pages.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tracing::warn;

use crate::instrument::{CounterFamily, Registry};

/// So many are kept for pages; the log has all.
const KEPT_MAX: usize = 100;

/// The damage that one store has found.
#[derive(Debug)]
pub struct Damages {
    counted: CounterFamily,
    kept: Mutex<VecDeque<String>>,
}

impl Damages {
    /// Begins with none. All stores count into one family.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let help = "Places on disk that did not check out, by what they were.";
        Damages { counted: registry.counters("andon_storage_damage_total", help, &["what"]), kept: Mutex::default() }
    }

    /// Counts, tells and keeps that something did not check out. `what` is of a closed set.
    pub fn report(&self, what: &str, damage: &str) {
        self.counted.with(&[what]).inc();
        warn!(what, damage, "damage on disk: corrupt data left out");
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(format!("{what}: {damage}"));
    }

    /// Returns the newest, oldest first, in words.
    #[must_use]
    pub fn list(&self) -> Vec<String> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_the_newest_are_kept() {
        let registry = Registry::default();
        let damages = Damages::new(&registry);
        (0..=KEPT_MAX).for_each(|i| damages.report("block", &format!("at {i}")));
        let kept = damages.list();
        assert_eq!((kept.len(), kept[0].as_str(), kept[99].as_str()), (100, "block: at 1", "block: at 100"));
        assert_eq!(registry.counters("andon_storage_damage_total", "", &["what"]).with(&["block"]).get(), 101);
    }
}
