//! What a site's year and day are like: when shifts end, and holidays. Pure.

use jiff::civil::{Date, Time};

use crate::model::Holiday;

/// When shifts end, and the days on which the site does not work as usual.
#[derive(Debug, Clone, PartialEq)]
pub struct Calendar {
    /// Times of day; at least one.
    pub shift_ends: Vec<Time>,
    /// Days, by name.
    pub holidays: Vec<Holiday>,
}

impl Default for Calendar {
    /// Three shifts, no holidays.
    fn default() -> Calendar {
        Calendar { shift_ends: [6, 14, 22].map(|hour| Time::constant(hour, 0, 0, 0)).to_vec(), holidays: Vec::new() }
    }
}

impl Calendar {
    /// Reads the name of a holiday, or `holidays` for all of them, at the beginning of words in small letters. Returns
    /// which, and how many words that are.
    pub(super) fn named(&self, words: &[&str]) -> Option<(Vec<Holiday>, usize)> {
        if let ["holiday" | "holidays", ..] = words {
            return Some((self.holidays.clone(), 1));
        }
        let named = |holiday: &&Holiday| {
            let name = holiday.name.to_lowercase();
            let parts: Vec<&str> = name.split([' ', ',']).filter(|t| !t.is_empty()).collect();
            (!parts.is_empty() && words.starts_with(&parts)).then_some(parts.len())
        };
        // Of two that begin alike the longer one.
        let length = self.holidays.iter().filter_map(|h| named(&h)).max()?;
        Some((self.holidays.iter().filter(|h| named(h) == Some(length)).cloned().collect(), length))
    }
}

/// Tells whether a day is one of some holidays.
pub(super) fn is_among(holidays: &[Holiday], day: Date) -> bool {
    holidays.iter().any(|h| h.covers(day))
}
