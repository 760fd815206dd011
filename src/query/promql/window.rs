//! The sliding window of a range selector over one series.

use super::columns::{ABSENT, Grid, is_present};
use super::lookback::Shift;

/// The samples of one series in `(start, end]`, oldest first; never empty, no staleness markers. Of an extended selector
/// also those around, see [`Margins`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Window<'s> {
    /// Times in milliseconds.
    pub(super) timestamps: &'s [i64],
    /// Values.
    pub(super) values: &'s [f64],
    /// Beginning of the window, not in it.
    pub(super) start: i64,
    /// End of the window, in it.
    pub(super) end: i64,
    /// Time of the step that asks; differs from `end` by `@` and `offset`.
    pub(super) step: i64,
    /// Whether no value in the whole series is below the one before it, so that nobody need look for resets.
    pub(super) is_rising: bool,
}

impl Window<'_> {
    /// Returns how many samples there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns the window's length in seconds.
    pub(super) fn seconds(&self) -> f64 {
        (self.end - self.start) as f64 / 1000.0
    }
}

/// A series without staleness markers, ready to be walked.
#[derive(Debug)]
pub(super) struct Series<'s> {
    /// Times in milliseconds, rising.
    pub(super) timestamps: &'s [i64],
    /// Values.
    pub(super) values: &'s [f64],
}

/// Removes staleness markers in place; ranges do not see them.
pub(super) fn remove_markers(timestamps: &mut Vec<i64>, values: &mut Vec<f64>) {
    if values.iter().all(|v| is_present(*v)) {
        return;
    }
    let mut keep = values.iter().map(|v| is_present(*v));
    timestamps.retain(|_| keep.next().unwrap_or(true));
    values.retain(|v| is_present(*v));
}

/// How far beyond its ends a window has samples, milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Margins {
    /// Before its start, not in it.
    pub(super) before: i64,
    /// Behind its end, in it.
    pub(super) after: i64,
}

/// Fills `row` with what `function` makes of the window at each step; a window without samples gives none.
/// Each sample enters and leaves the window once. Returns whether there is any value.
pub(super) fn walk(
    series: &Series<'_>,
    grid: &Grid,
    shift: Shift,
    (range_ms, margins): (i64, Margins),
    row: &mut [f64],
    mut function: impl FnMut(usize, &Window<'_>) -> Option<f64>,
) -> bool {
    let is_rising = series.values.windows(2).all(|pair| matches!(pair, [a, b] if a <= b));
    let (mut first, mut next) = (0, 0);
    let mut any = false;
    for (i, out) in row.iter_mut().enumerate() {
        let step = grid.at(i);
        let end = shift.apply(step);
        let start = end.saturating_sub(range_ms);
        while series.timestamps.get(next).is_some_and(|ts| *ts <= end.saturating_add(margins.after)) {
            next += 1;
        }
        while first < next && series.timestamps[first] <= start.saturating_sub(margins.before) {
            first += 1;
        }
        let found = (first < next).then(|| Window {
            timestamps: &series.timestamps[first..next],
            values: &series.values[first..next],
            start,
            end,
            step,
            is_rising,
        });
        *out = found.and_then(|w| function(i, &w)).unwrap_or(ABSENT);
        any |= is_present(*out);
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_open_on_the_left() {
        let series = Series { timestamps: &[0, 10, 20, 30], values: &[1.0, 2.0, 3.0, 4.0] };
        let mut row = [0.0; 6];
        let grid = Grid { start: 0, step: 10, count: 6 };
        walk(&series, &grid, Shift::default(), (20, Margins::default()), &mut row, |_, w| Some(w.values.iter().sum()));
        assert_eq!(&row[..5], [1.0, 3.0, 5.0, 7.0, 4.0]);
        assert!(!is_present(row[5]));
    }

    #[test]
    fn markers_are_not_seen_by_ranges() {
        let (mut t, mut v) = (vec![1, 2, 3], vec![1.0, ABSENT, f64::NAN]);
        remove_markers(&mut t, &mut v);
        assert_eq!(t, [1, 3]);
        assert!(v[1].is_nan());
    }
}
