//! Values of a series at steps: the newest sample in `(t - lookback, t]`, unless it is a staleness marker.

use super::columns::{ABSENT, Grid, is_present};
use super::functions::between;

/// Where a selector looks, seen from a step: at a fixed time or at the step's, shifted back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shift {
    /// `@`: this time instead of the step's, milliseconds.
    pub(super) at: Option<i64>,
    /// `offset`: so much earlier, milliseconds; may be negative.
    pub(super) offset: i64,
}

impl Shift {
    /// Returns the time that is looked at from the step at `t`.
    pub(super) fn apply(&self, t: i64) -> i64 {
        self.at.unwrap_or(t).saturating_sub(self.offset)
    }
}

/// What a cell gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    /// The sample's value.
    Value,
    /// The sample's time in seconds.
    Time,
}

/// Fills `row` with what `value` makes of the time looked at from each step and of how many samples are not after it.
/// Returns whether there is any.
fn fill_steps(
    timestamps: &[i64],
    grid: &Grid,
    shift: Shift,
    row: &mut [f64],
    value: impl Fn(i64, usize) -> Option<f64>,
) -> bool {
    let mut any = false;
    // Samples before `next` are not after the time looked at; the steps only go forward.
    let mut next = 0;
    for (i, out) in row.iter_mut().enumerate() {
        let t = shift.apply(grid.at(i));
        while timestamps.get(next).is_some_and(|ts| *ts <= t) {
            next += 1;
        }
        *out = value(t, next).unwrap_or(ABSENT);
        any |= is_present(*out);
    }
    any
}

/// Fills `row` with the values of one series at all steps. Returns whether there is any.
pub(super) fn fill(
    (timestamps, values): (&[i64], &[f64]),
    grid: &Grid,
    shift: Shift,
    lookback_ms: i64,
    cell: Cell,
    row: &mut [f64],
) -> bool {
    fill_steps(timestamps, grid, shift, row, |t, next| {
        let newest = next.checked_sub(1)?;
        let is_near = timestamps[newest] > t.saturating_sub(lookback_ms);
        (is_near && is_present(values[newest])).then(|| match cell {
            Cell::Value => values[newest],
            Cell::Time => timestamps[newest] as f64 / 1000.0,
        })
    })
}

/// Fills `row` with the values of one series on the lines between its samples; behind the last one its value counts.
/// Returns whether there is any.
pub(super) fn fill_smoothed(
    (timestamps, values): (&[i64], &[f64]),
    grid: &Grid,
    shift: Shift,
    lookback_ms: i64,
    row: &mut [f64],
) -> bool {
    fill_steps(timestamps, grid, shift, row, |t, next| {
        let sample = |i: usize| Some((*timestamps.get(i)?, *values.get(i)?));
        let before = next.checked_sub(1).and_then(sample).filter(|(ts, _)| *ts > t.saturating_sub(lookback_ms))?;
        let after = sample(next).filter(|(ts, _)| *ts <= t.saturating_add(lookback_ms));
        Some(after.map_or(before.1, |after| between(before, after, t, false)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(shift: Shift, expected: &[Option<f64>]) {
        let grid = Grid { start: 0, step: 10, count: expected.len() };
        let mut row = vec![0.0; expected.len()];
        fill((&[0, 10, 20, 60], &[1.0, 2.0, ABSENT, 4.0]), &grid, shift, 20, Cell::Value, &mut row);
        let got: Vec<_> = row.into_iter().map(|v| is_present(v).then_some(v)).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn the_newest_sample_counts_until_lookback_or_a_marker() {
        let none = None;
        check(Shift::default(), &[Some(1.0), Some(2.0), none, none, none, none, Some(4.0), Some(4.0), none]);
    }

    #[test]
    fn offset_and_at_move_what_is_looked_at() {
        check(Shift { at: None, offset: 10 }, &[None, Some(1.0), Some(2.0), None]);
        check(Shift { at: None, offset: -10 }, &[Some(2.0), None]);
        check(Shift { at: Some(60), offset: 50 }, &[Some(2.0), Some(2.0), Some(2.0)]);
    }
}
