//! On whose account the head's series are: a number for each slot, and a count for each name.
//!
//! Series that nobody's account has are the box's own. Two bytes a series.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;

/// Slots per page.
const PAGE: u32 = 512;

/// The box itself.
const OWN: u16 = 0;

/// Most accounts at one time; what more would begin is on the box's own.
const ACCOUNTS_MAX: usize = 1 << 15;

/// An account and the runs of slots that are on it: first slot and how many.
pub(crate) type LoggedAccount = (String, Vec<(u32, u32)>);

#[derive(Debug, Default)]
pub(crate) struct Accounts {
    /// By number, from 1 on.
    entries: Vec<Entry>,
    /// Numbers of entries without series.
    free: Vec<u16>,
    by_name: HashMap<Arc<str>, u16, FixedState>,
    /// The number of each slot, in pages that are empty while all their slots are the box's own.
    of_slot: Vec<Vec<u16>>,
}

#[derive(Debug, Default)]
struct Entry {
    name: Arc<str>,
    series: usize,
}

impl Accounts {
    /// Puts a slot on an account; it may have been on another.
    pub(crate) fn put(&mut self, slot: u32, name: &str) {
        self.take(slot);
        let number = self.number(name);
        let Some(entry) = self.entries.get_mut(usize::from(number).wrapping_sub(1)) else { return };
        entry.series += 1;
        let (page, at) = ((slot / PAGE) as usize, (slot % PAGE) as usize);
        if self.of_slot.len() <= page {
            self.of_slot.resize_with(page + 1, Vec::new);
        }
        let Some(page) = self.of_slot.get_mut(page) else { return };
        page.resize(PAGE as usize, OWN);
        if let Some(place) = page.get_mut(at) {
            *place = number;
        }
    }

    fn number_of(&self, slot: u32) -> u16 {
        let page = self.of_slot.get((slot / PAGE) as usize);
        page.and_then(|page| page.get((slot % PAGE) as usize)).copied().unwrap_or(OWN)
    }

    fn number(&mut self, name: &str) -> u16 {
        if let Some(number) = self.by_name.get(name) {
            return *number;
        }
        if name.is_empty() || self.by_name.len() == ACCOUNTS_MAX {
            return OWN;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry::default());
            u16::try_from(self.entries.len()).unwrap_or(OWN)
        });
        let name: Arc<str> = name.into();
        if let Some(entry) = self.entries.get_mut(usize::from(number).wrapping_sub(1)) {
            entry.name = name.clone();
        }
        self.by_name.insert(name, number);
        number
    }

    /// Takes a slot off the account it is on.
    pub(crate) fn take(&mut self, slot: u32) {
        let page = self.of_slot.get_mut((slot / PAGE) as usize);
        let number = page.and_then(|page| page.get_mut((slot % PAGE) as usize)).map_or(OWN, std::mem::take);
        let Some(entry) = self.entries.get_mut(usize::from(number).wrapping_sub(1)) else { return };
        entry.series -= 1;
        if entry.series == 0 {
            self.by_name.remove(&entry.name);
            self.free.push(number);
        }
    }

    /// Returns the name of the account a slot is on; empty for the box's own.
    pub(crate) fn of(&self, slot: u32) -> &str {
        self.name(self.number_of(slot))
    }

    /// Returns how many series are on an account.
    pub(crate) fn series(&self, name: &str) -> usize {
        let entry = self.by_name.get(name).and_then(|number| self.entries.get(usize::from(*number).wrapping_sub(1)));
        entry.map_or(0, |entry| entry.series)
    }

    /// Returns all accounts with how many series are on them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.entries.iter().filter(|entry| entry.series > 0).map(|entry| (&*entry.name, entry.series))
    }

    /// Returns the runs of slots of each account; of all slots, or of those given in order.
    pub(crate) fn to_log(&self, slots: Option<&[u32]>) -> Vec<LoggedAccount> {
        let mut logged: BTreeMap<u16, Vec<(u32, u32)>> = BTreeMap::new();
        let mut note = |slot: u32| {
            let number = self.number_of(slot);
            if number == OWN {
                return;
            }
            let runs = logged.entry(number).or_default();
            match runs.last_mut() {
                Some((first, count)) if *first + *count == slot => *count += 1,
                _ => runs.push((slot, 1)),
            }
        };
        match slots {
            Some(slots) => slots.iter().for_each(|slot| note(*slot)),
            None => {
                let pages = (0_u32..).zip(&self.of_slot).filter(|(_, page)| !page.is_empty());
                pages.flat_map(|(page, _)| (page.saturating_mul(PAGE)..).take(PAGE as usize)).for_each(note);
            }
        }
        logged.into_iter().map(|(number, runs)| (self.name(number).to_owned(), runs)).collect()
    }

    fn name(&self, number: u16) -> &str {
        self.entries.get(usize::from(number).wrapping_sub(1)).map_or("", |entry| &entry.name)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.of_slot.iter().map(|page| page.capacity() * 2 + 24).sum::<usize>() + self.entries.len() * 80
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(accounts: &Accounts) -> Vec<(&str, usize)> {
        accounts.iter().collect()
    }

    #[test]
    fn slots_are_counted_where_they_are_and_names_without_slots_are_forgotten() {
        let mut accounts = Accounts::default();
        for slot in 0..10 {
            accounts.put(slot, if slot % 2 == 0 { "a" } else { "b" });
        }
        accounts.put(3, "a");
        accounts.put(5, "");
        assert_eq!(listed(&accounts), [("a", 6), ("b", 3)]);
        assert_eq!((accounts.of(3), accounts.of(5), accounts.of(99)), ("a", "", ""));
        assert_eq!(
            accounts.to_log(None),
            [("a".to_owned(), vec![(0, 1), (2, 3), (6, 1), (8, 1)]), ("b".to_owned(), vec![(1, 1), (7, 1), (9, 1)])]
        );
        assert_eq!(accounts.to_log(Some(&[1, 2, 5])).len(), 2);
        (0..10).for_each(|slot| accounts.take(slot));
        assert_eq!(listed(&accounts), []);
        accounts.put(0, "c");
        assert_eq!((listed(&accounts), accounts.entries.len()), (vec![("c", 1)], 2));
        assert_eq!((accounts.series("c"), accounts.series("a"), accounts.series("")), (1, 0, 0));
    }
}
