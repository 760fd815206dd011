//! What of the head is cut into blocks, and when. Pure.
//!
//! A window of two hours is *over* when the clock has left it for a while, and *settled* when nothing more
//! comes into it: for some seconds, or while other windows received an eighth of what it holds. So a live box
//! cuts every two hours; a backfill at full speed goes to blocks window by window, whatever their order; and
//! what was sent last is in blocks some seconds later. As a cut writes anew what stays in the head, it must
//! be worth it: what is cut is not much less than what stays, and little cuts are rare.
//!
//! A window that holds so much that a start would have long to replay it is cut before it is over, in slices
//! that blocks are still small for. Whatever comes, the head is bounded in samples, late samples (which are in
//! the clear for a while) and bytes of its WAL.

use std::collections::BTreeSet;

use super::compact::{DAY_MS, WINDOW_MS};
use super::head::Arrived;
use crate::model::{TimeRange, Timestamp};

/// A window is over so long after its end: late samples of a slow sender still come into its block.
pub(super) const SETTLE_MS: i64 = 600_000;

/// A window that nothing came into for so long is settled.
const QUIET_MS: u64 = 5_000;

/// A window is settled, too, when since its last sample others received this part of what it holds.
const PASSED_PART: u64 = 8;

/// ... and at least so many.
const PASSED_MIN: u64 = 50_000;

/// A cut takes at least this part of what stays in the head and is written anew.
const WORTH_PART: u64 = 4;

/// With fewer samples, in all or for each series of the head, a cut comes at the earliest
/// [`LITTLE_EVERY_MS`] after the one before: files and index would weigh more than they.
const LITTLE: u64 = 50_000;

/// See [`LITTLE`].
const LITTLE_PER_SERIES: u64 = 10;

/// See [`LITTLE`].
const LITTLE_EVERY_MS: u64 = 600_000;

/// After so long all that is over is cut, settled or not, worth it or not: the WAL does not grow old.
const OVERDUE_MS: u64 = 2 * 3_600_000;

/// With more samples in the head a slice is cut: what one window holds so far, if that is half of them at
/// least. Bounds what a start replays, and memory.
const SLICE: u64 = 4_000_000;

/// ... or with so many for each series, if that is more: columns of fewer are larger, and so is the index.
const SLICE_PER_SERIES: u64 = 80;

/// With more samples in the head all is cut that is over, and if that is not much, everything: about a byte
/// each in memory, so that a box of 6 600 samples a second still fills its two hours.
const SAMPLES_MAX: u64 = 48_000_000;

/// The same for late samples: up to sixteen bytes each.
const LATE_SAMPLES_MAX: u64 = 4_000_000;

/// The same for the WAL: bounds the time of a start.
const WAL_BYTES_MAX: u64 = 384 << 20;

/// The WAL takes at most this part of what the store may take: what it holds must fit once more, as blocks.
const WAL_PART: u64 = 4;

/// ... but cuts below this would cost more than they free.
const WAL_BYTES_MIN: u64 = 8 << 20;

/// A day that is over and of which no more is cut becomes one block at once: late data in many small blocks
/// would be mostly index.
const TOGETHER_MAX: u64 = 4_000_000;

/// What the decision is made by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// By start, rising.
    pub(super) windows: &'a [(i64, Arrived)],
    /// Samples ever taken.
    pub(super) total: u64,
    pub(super) late_samples: u64,
    /// Series in the head.
    pub(super) series: u64,
    pub(super) wal_bytes: u64,
    /// See [`wal_bytes_max`].
    pub(super) wal_bytes_max: u64,
    /// Wall time.
    pub(super) now: i64,
    /// Time since the start of the process.
    pub(super) elapsed_ms: u64,
    /// When the last cut but slices ended, if there was one.
    pub(super) last_cut_ms: Option<u64>,
}

/// Returns how large the WAL may grow in a store that may take so much.
pub(super) fn wal_bytes_max(bytes_max: Option<u64>) -> u64 {
    bytes_max.map_or(WAL_BYTES_MAX, |bytes| (bytes / WAL_PART).clamp(WAL_BYTES_MIN, WAL_BYTES_MAX))
}

/// Returns how many samples of so many series make a slice.
pub(super) fn slice_of(series: u64) -> u64 {
    SLICE.max(series.saturating_mul(SLICE_PER_SERIES))
}

/// What is to be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Times of which hardly more will come. Series with nothing else have ended.
    Over(TimeRange),
    /// What has come so far of times that more will come of.
    Slice(TimeRange),
}

impl Cut {
    pub(super) fn range(self) -> TimeRange {
        match self {
            Cut::Over(range) | Cut::Slice(range) => range,
        }
    }
}

/// Returns what to cut next, if anything.
pub(super) fn due(facts: &Facts<'_>) -> Option<Cut> {
    let held = before(facts, i64::MAX);
    if held == 0 {
        return None;
    }
    over(facts, held).map(Cut::Over).or_else(|| slice(facts, held).map(Cut::Slice))
}

/// Returns the window to cut though it is not over: the fullest, if the head holds too much.
fn slice(facts: &Facts<'_>, held: u64) -> Option<TimeRange> {
    let (start, window) = facts.windows.iter().max_by_key(|(_, window)| window.samples)?;
    let is_much = held >= slice_of(facts.series);
    let (start, end) = (Timestamp::from_millis(*start), Timestamp::from_millis(start.saturating_add(WINDOW_MS)));
    (is_much && window.samples >= held / 2).then(|| TimeRange::new(start, end))
}

fn over(facts: &Facts<'_>, held: u64) -> Option<TimeRange> {
    let over = facts.now.saturating_sub(SETTLE_MS);
    let windows_over = over.div_euclid(WINDOW_MS).saturating_mul(WINDOW_MS);
    if held > SAMPLES_MAX || facts.late_samples > LATE_SAMPLES_MAX || facts.wal_bytes > facts.wal_bytes_max {
        // Whole windows if that helps; everything only if nothing less does.
        let helps = |cutoff: &i64| before(facts, *cutoff) >= held / 2;
        return Some(up_to([windows_over, over].into_iter().find(helps).unwrap_or(i64::MAX)));
    }
    let since_ms = facts.last_cut_ms.map(|last| facts.elapsed_ms.saturating_sub(last));
    let little = LITTLE.max(facts.series.saturating_mul(LITTLE_PER_SERIES));
    let is_worth_it = |samples: u64| {
        samples.saturating_mul(WORTH_PART) >= held - samples
            && (samples >= little || since_ms.is_none_or(|since| since >= LITTLE_EVERY_MS))
    };
    let run = settled_runs(facts).into_iter().max_by_key(|(_, samples)| *samples);
    if let Some((run, _)) = run.filter(|(_, samples)| is_worth_it(*samples)) {
        return Some(run);
    }
    let is_overdue = since_ms.unwrap_or(facts.elapsed_ms) >= OVERDUE_MS;
    (is_overdue && before(facts, windows_over) > 0).then(|| up_to(windows_over))
}

fn up_to(end: i64) -> TimeRange {
    TimeRange::new(Timestamp::MIN, Timestamp::from_millis(end))
}

/// Returns how many samples windows hold that begin before `cutoff`.
fn before(facts: &Facts<'_>, cutoff: i64) -> u64 {
    facts.windows.iter().filter(|(start, _)| *start < cutoff).map(|(_, w)| w.samples).sum()
}

/// Returns stretches of windows that are over and settled, with their samples; no other window that holds
/// samples lies inside of one.
fn settled_runs(facts: &Facts<'_>) -> Vec<(TimeRange, u64)> {
    let mut runs: Vec<(TimeRange, u64)> = Vec::new();
    let mut is_open = false;
    for (start, window) in facts.windows {
        let end = start.saturating_add(WINDOW_MS);
        if !is_settled(facts, end, window) {
            is_open = false;
            continue;
        }
        let (start, end) = (Timestamp::from_millis(*start), Timestamp::from_millis(end));
        match runs.last_mut().filter(|_| is_open) {
            Some((range, samples)) => {
                range.end = end;
                *samples += window.samples;
            }
            None => runs.push((TimeRange::new(start, end), window.samples)),
        }
        is_open = true;
    }
    runs
}

fn is_settled(facts: &Facts<'_>, end: i64, window: &Arrived) -> bool {
    let passed = facts.total.saturating_sub(window.last_total);
    let is_quiet = facts.elapsed_ms.saturating_sub(window.last_ms) >= QUIET_MS;
    let is_passed = passed >= PASSED_MIN && passed.saturating_mul(PASSED_PART) >= window.samples;
    facts.now.saturating_sub(end) >= SETTLE_MS && (is_quiet || is_passed)
}

/// Returns the days that are over and of which little is cut, so that it becomes one block each.
pub(super) fn days_together(windows: &[(i64, Arrived)], now: i64) -> BTreeSet<i64> {
    let mut days: BTreeSet<i64> = windows.iter().map(|(start, _)| start.div_euclid(DAY_MS)).collect();
    days.retain(|day| {
        let of_day = windows.iter().filter(|(start, _)| start.div_euclid(DAY_MS) == *day);
        let samples: u64 = of_day.map(|(_, w)| w.samples).sum();
        (day + 1).saturating_mul(DAY_MS).saturating_add(SETTLE_MS) <= now && samples <= TOGETHER_MAX
    });
    days
}

/// Returns the window that a sample is cut into: two hours, or the whole day for some days.
pub(super) fn window_of(time: i64, days: &BTreeSet<i64>) -> TimeRange {
    let length = if days.contains(&time.div_euclid(DAY_MS)) { DAY_MS } else { WINDOW_MS };
    let start = time.div_euclid(length).saturating_mul(length);
    TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(start.saturating_add(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const NOW: i64 = 100 * WINDOW_MS + 10 * MINUTE;

    /// Windows as (windows before the current one, samples, seconds since the last, samples since the last).
    #[track_caller]
    fn check(windows: &[(i64, u64, u64, u64)], last_cut_s_ago: Option<u64>, expected: Option<(i64, i64)>) {
        check_at(NOW, (0, 0), windows, last_cut_s_ago, expected);
    }

    #[track_caller]
    fn check_at(
        now: i64,
        (late_samples, wal_bytes): (u64, u64),
        windows: &[(i64, u64, u64, u64)],
        last_cut_s_ago: Option<u64>,
        expected: Option<(i64, i64)>,
    ) {
        let (elapsed_ms, total) = (if last_cut_s_ago.is_some() { 100_000_000 } else { 60_000 }, 1 << 40);
        let held = |(back, samples, quiet_s, passed): &(i64, u64, u64, u64)| {
            let arrived =
                Arrived { samples: *samples, last_ms: elapsed_ms - quiet_s * 1000, last_total: total - passed };
            ((100 - back) * WINDOW_MS, arrived)
        };
        let windows: Vec<_> = windows.iter().map(held).collect();
        let last_cut_ms = last_cut_s_ago.map(|s| elapsed_ms - s * 1000);
        let facts = Facts {
            windows: &windows,
            total,
            late_samples,
            series: 5000,
            wal_bytes,
            wal_bytes_max: WAL_BYTES_MAX,
            now,
            elapsed_ms,
            last_cut_ms,
        };
        let found = due(&facts).map(|cut| (cut.range().start.as_millis(), cut.range().end.as_millis()));
        let in_windows = |t: i64| if t == i64::MIN || t == i64::MAX { t } else { 100 - t.div_euclid(WINDOW_MS) };
        assert_eq!(found.map(|(a, b)| (in_windows(a), in_windows(b))), expected);
    }

    #[test]
    fn a_live_box_cuts_when_a_window_is_over_and_settled() {
        let live = [(1, 3_200_000, 600, 400_000), (0, 400_000, 0, 0)];
        check(&live, Some(7200), Some((1, 0)));
        check(&live, Some(60), Some((1, 0)));
        check_at(NOW - 1, (0, 0), &live, Some(7000), None);
        // Somebody still sends late samples: not before an eighth as many have come for others.
        check(&[(1, 3_200_000, 1, 100), (0, 400_000, 0, 0)], Some(7000), None);
        check(&[(1, 3_200_000, 1, 400_000), (0, 400_000, 0, 0)], Some(7000), Some((1, 0)));
        check(&[(1, 3_200_000, 1, 100), (0, 400_000, 0, 0)], Some(7200), Some((i64::MIN, 0)));
    }

    #[test]
    fn a_backfill_is_cut_window_by_window_in_any_order() {
        check(&[(9, 3_200_000, 1, 390_000), (8, 390_000, 0, 0)], None, None);
        check(&[(9, 3_200_000, 2, 400_000), (8, 400_000, 0, 0)], None, Some((9, 8)));
        check(&[(9, 400_000, 0, 0), (8, 3_200_000, 2, 400_000)], Some(3), Some((8, 7)));
        // Two senders: the one that is slow does not hold up the other.
        check(&[(9, 10_000, 0, 0), (8, 9_000_000, 6, 0), (7, 1_000_000, 0, 0)], Some(3), Some((8, 7)));
    }

    #[test]
    fn a_quiet_box_has_everything_old_in_blocks_and_little_cuts_are_rare() {
        check(&[(9, 1000, 5, 0), (8, 500, 5, 0), (0, 2000, 0, 0)], None, Some((9, 7)));
        check(&[(9, 1000, 4, 0), (8, 500, 4, 0), (0, 2000, 0, 0)], None, None);
        check(&[(9, 49_999, 5, 0), (0, 2000, 0, 0)], Some(599), None);
        check(&[(9, 49_999, 5, 0), (0, 2000, 0, 0)], Some(600), Some((9, 8)));
        check(&[(9, 50_000, 5, 0), (0, 2000, 0, 0)], Some(0), Some((9, 8)));
    }

    #[test]
    fn a_few_late_samples_wait_for_the_live_windows_cut() {
        check(&[(9, 749_999, 5, 0), (0, 3_000_000, 0, 0)], Some(1200), None);
        check(&[(9, 750_000, 5, 0), (0, 3_000_000, 0, 0)], Some(1200), Some((9, 8)));
        check(&[(9, 10, 5, 0), (0, 3_500_000, 0, 0)], Some(7200), Some((i64::MIN, 0)));
        check(&[(0, 3_500_000, 0, 0)], Some(7200), None);
        check(&[], Some(7200), None);
    }

    #[test]
    fn a_window_that_holds_much_is_cut_in_slices() {
        check(&[(1, 100_000, 0, 0), (0, SLICE - 100_001, 0, 0)], Some(1), None);
        check(&[(1, 100_000, 0, 0), (0, SLICE - 100_000, 0, 0)], Some(1), Some((0, -1)));
        check(&[(1, SLICE / 2, 0, 0), (0, SLICE / 2 - 1, 0, 0)], Some(1), None);
        check(&[(1, SLICE / 2, 0, 0), (0, SLICE / 2, 0, 0)], Some(1), Some((0, -1)));
        // What comes in no order would make many little blocks.
        check(&[(9, SLICE, 0, 0), (8, SLICE, 0, 0), (7, SLICE, 0, 0)], Some(1), None);
        let many_series = |samples| {
            let windows = [(0, Arrived { samples, ..Arrived::default() })];
            due(&Facts {
                windows: &windows,
                total: samples,
                late_samples: 0,
                series: 100_000,
                wal_bytes: 0,
                wal_bytes_max: WAL_BYTES_MAX,
                now: 0,
                elapsed_ms: 0,
                last_cut_ms: None,
            })
        };
        assert_eq!(many_series(2 * SLICE - 1), None);
        assert!(matches!(many_series(2 * SLICE), Some(Cut::Slice(_))));
    }

    #[test]
    fn little_of_a_day_that_is_over_becomes_one_block() {
        let held = |start, samples| (start, Arrived { samples, ..Arrived::default() });
        let windows = [held(0, TOGETHER_MAX), held(DAY_MS, TOGETHER_MAX), held(DAY_MS + WINDOW_MS, 1)];
        assert_eq!(days_together(&windows, DAY_MS + SETTLE_MS - 1), BTreeSet::new());
        assert_eq!(days_together(&windows, DAY_MS + SETTLE_MS), BTreeSet::from([0]));
        assert_eq!(days_together(&windows, 9 * DAY_MS), BTreeSet::from([0]));
        let days = BTreeSet::from([0]);
        let window = |time| (window_of(time, &days).start.as_millis(), window_of(time, &days).end.as_millis());
        assert_eq!(window(DAY_MS - 1), (0, DAY_MS));
        assert_eq!(window(DAY_MS), (DAY_MS, DAY_MS + WINDOW_MS));
        assert_eq!(window(-1), (-WINDOW_MS, 0));
    }

    #[test]
    fn the_wal_takes_a_quarter_of_a_small_disk_at_most() {
        let (mib, gib) = (1 << 20, 1 << 30);
        for (bytes_max, expected) in
            [(None, WAL_BYTES_MAX), (Some(gib), 256 * mib), (Some(4 * gib), WAL_BYTES_MAX), (Some(0), WAL_BYTES_MIN)]
        {
            assert_eq!(wal_bytes_max(bytes_max), expected);
        }
    }

    #[test]
    fn the_head_is_bounded_in_samples_late_samples_and_wal() {
        let mixed = [(2, 20_000_000, 0, 0), (1, 20_000_000, 0, 0), (0, 8_000_000, 0, 0)];
        check(&mixed, Some(1), None);
        check_at(NOW, (LATE_SAMPLES_MAX + 1, 0), &mixed, Some(1), Some((i64::MIN, 0)));
        check_at(NOW, (0, WAL_BYTES_MAX + 1), &mixed, Some(1), Some((i64::MIN, 0)));
        let busy = [(1, 1_000_000, 0, 0), (0, 48_000_000, 0, 0)];
        check_at(NOW + 90 * MINUTE, (0, 0), &busy, Some(1), Some((i64::MIN, 0)));
        check(&[(-1, SAMPLES_MAX + 1, 0, 0)], Some(1), Some((i64::MIN, i64::MAX)));
    }
}
