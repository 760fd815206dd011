//! Which blocks are merged next. Pure.
//!
//! The blocks of a day become one when the day is over, and what comes late joins it by tiers: blocks are
//! merged when there are several of about the same size, so each byte is written anew only when it goes to a
//! block that is clearly larger. Live data are so written once into a block of two hours and once into the
//! day's; late data a few times, however many little blocks they come in. Two or three blocks a day stay as
//! they are: their indexes weigh less than writing them anew.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{TimeRange, Timestamp};
use crate::storage::tsdb::block::BlockMeta;

/// Windows that blocks are cut for, aligned to UTC.
pub(crate) const WINDOW_MS: i64 = 2 * 3600 * 1000;

/// What blocks are merged up to.
pub(crate) const DAY_MS: i64 = 24 * 3600 * 1000;

/// So many blocks are merged at least.
const BLOCKS_MIN: usize = 4;

/// While a day or window is still being filled it is merged only when it has so many blocks.
const CROWDED: usize = 16;

/// A block joins smaller ones if it is at most so many times as large as they are together.
const TIER: u64 = 2;

/// What is added to a block's bytes when sizes are compared: tiny blocks are alike.
const TINY_BYTES: u64 = 64 << 10;

/// Blocks to merge into one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Their numbers, rising.
    pub(crate) inputs: Vec<u64>,
    /// What the new block stands for.
    pub(crate) window: TimeRange,
}

/// Returns what to merge next, oldest first; `None` if all is well. A day is merged when it is over by
/// `settle_ms`; until then only blocks of the same two hours are. `filling` are days (since the epoch) that
/// the head holds samples of: more will come.
pub(crate) fn plan(metas: &[BlockMeta], now: i64, settle_ms: i64, filling: &BTreeSet<i64>) -> Option<Plan> {
    let mut groups: BTreeMap<(i64, i64), Vec<&BlockMeta>> = BTreeMap::new();
    for meta in metas {
        let day = meta.start_ms.div_euclid(DAY_MS);
        let (start, end) = (day.saturating_mul(DAY_MS), (day + 1).saturating_mul(DAY_MS));
        if meta.end_ms > end {
            // A block over a day's border was made by another version; it is left alone.
            continue;
        }
        let is_over = end.saturating_add(settle_ms) <= now;
        groups.entry(if is_over { (start, end) } else { (meta.start_ms, meta.end_ms) }).or_default().push(meta);
    }
    groups.into_iter().find_map(|((start, end), blocks)| {
        let is_filling = filling.contains(&start.div_euclid(DAY_MS));
        let inputs = tier(blocks, if is_filling { CROWDED } else { BLOCKS_MIN })?;
        let window = TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(end));
        Some(Plan { inputs, window })
    })
}

/// Returns the smallest blocks, as many as are alike in size, if these are enough.
fn tier(mut blocks: Vec<&BlockMeta>, blocks_min: usize) -> Option<Vec<u64>> {
    let bytes = |meta: &BlockMeta| meta.bytes.saturating_add(TINY_BYTES);
    blocks.sort_by_key(|m| (m.bytes, m.number));
    let mut sum = 0;
    let mut count = 0;
    for meta in &blocks {
        if count > 0 && bytes(meta) > TIER * sum {
            break;
        }
        sum += bytes(meta);
        count += 1;
    }
    if count < blocks_min {
        return None;
    }
    let mut inputs: Vec<u64> = blocks.iter().take(count).map(|m| m.number).collect();
    inputs.sort_unstable();
    Some(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const KIB: u64 = 1 << 10;

    fn meta(number: u64, start_ms: i64, end_ms: i64, bytes: u64) -> BlockMeta {
        BlockMeta {
            version: 1,
            number,
            start_ms,
            end_ms,
            min_ms: start_ms,
            max_ms: end_ms - 1,
            series: 1,
            samples: 1,
            chunks: 1,
            bytes,
            level: 1,
            rank: number,
            merged: vec![],
            checksum: String::new(),
        }
    }

    /// Blocks as (first hour, last hour, KiB).
    #[track_caller]
    fn check(blocks: &[(i64, i64, u64)], now_h: i64, filling: &[i64], expected: Option<&[u64]>) {
        let blocks = blocks.iter().zip(1..);
        let metas: Vec<_> = blocks.map(|((s, e, kib), n)| meta(n, s * HOUR, e * HOUR, kib * KIB)).collect();
        let found = plan(&metas, now_h * HOUR, HOUR, &filling.iter().copied().collect()).map(|p| p.inputs);
        assert_eq!(found.as_deref(), expected, "{metas:?} at {now_h}");
    }

    #[test]
    fn a_day_is_merged_when_it_is_over_and_nothing_more_comes() {
        let day: Vec<_> = (0..12).map(|w| (2 * w, 2 * w + 2, 17_000)).collect();
        let all: Vec<u64> = (1..=12).collect();
        check(&day, 24, &[], None);
        check(&day, 25, &[], Some(&all));
        check(&day, 25, &[0], None);
        check(&day, 25, &[1], Some(&all));
        check(&day[..3], 99, &[], None);
        check(&[(0, 24, 9000), (24, 26, 900)], 99, &[], None);
    }

    #[test]
    fn late_data_join_by_tiers() {
        let day = (0, 24, 200_000);
        check(&[day, (2, 4, 1), (2, 4, 1), (2, 4, 1)], 99, &[], None);
        check(&[day, (2, 4, 1), (2, 4, 1), (2, 4, 1), (8, 10, 1)], 99, &[], Some(&[2, 3, 4, 5]));
        check(&[day, (0, 24, 4000), (2, 4, 1000), (2, 4, 1000), (0, 24, 1000)], 99, &[], Some(&[2, 3, 4, 5]));
        let small_day = (0, 24, 60_000);
        check(
            &[small_day, (0, 24, 20_000), (2, 4, 4000), (2, 4, 4000), (0, 24, 4000)],
            99,
            &[],
            Some(&[1, 2, 3, 4, 5]),
        );
    }

    #[test]
    fn a_crowded_window_is_merged_before_its_day_is_over() {
        check(&[(0, 2, 9), (0, 2, 9), (0, 2, 9), (2, 4, 9)], 3, &[], None);
        check(&[(0, 2, 9), (0, 2, 9), (0, 2, 9), (0, 2, 9)], 3, &[], Some(&[1, 2, 3, 4]));
        check(&[(0, 2, 9), (0, 2, 9), (0, 2, 9), (0, 2, 9)], 3, &[0], None);
        let crowd = [(0, 2, 9); CROWDED];
        check(&crowd, 3, &[0], Some(&(1..=16).collect::<Vec<_>>()));
        check(&[(0, 2, 17_000), (0, 2, 9), (0, 2, 9), (0, 2, 9), (0, 2, 9)], 3, &[], Some(&[2, 3, 4, 5]));
    }

    /// Runs the planning over cuts `(hours, blocks as (first hour, last hour, bytes))`; returns bytes cut, bytes
    /// merged, and the most blocks there ever were.
    fn simulate(days: i64, mut cut: impl FnMut(i64) -> Vec<(i64, i64, u64)>) -> (u64, u64, usize) {
        let (mut metas, mut number, mut written, mut merged, mut most): (Vec<BlockMeta>, _, u64, u64, _) =
            (vec![], 0, 0, 0, 0);
        for hour in (2..=days * 24).step_by(2) {
            for (start, end, bytes) in cut(hour) {
                number += 1;
                written += bytes;
                metas.push(meta(number, start * HOUR, end * HOUR, bytes));
            }
            most = most.max(metas.len());
            while let Some(plan) = plan(&metas, hour * HOUR, HOUR, &BTreeSet::new()) {
                let (gone, mut kept): (Vec<_>, Vec<_>) =
                    metas.into_iter().partition(|m| plan.inputs.contains(&m.number));
                let bytes = gone.iter().map(|m| m.bytes).sum();
                number += 1;
                merged += bytes;
                let (start, end) = (plan.window.start.as_millis(), plan.window.end.as_millis());
                kept.push(meta(number, start, end, bytes));
                metas = kept;
            }
        }
        (written, merged, most)
    }

    #[test]
    fn fifteen_days_of_live_data_are_written_into_blocks_twice() {
        let (cut, merged, most) = simulate(15, |hour| vec![(hour - 2, hour, 17_000 * KIB)]);
        assert!(merged <= cut, "{merged} of {cut}");
        assert!(most <= 15 + 13, "{most}");
    }

    #[test]
    fn late_data_of_fifteen_days_keep_within_the_bounds() {
        // A tenth of each cut is late: by hours, by a day or two, by a week.
        let (cut, merged, most) = simulate(15, |hour| {
            let mut blocks = vec![(hour - 2, hour, 15_300 * KIB)];
            for (back, kib) in [(4, 600), (26, 600), (50, 300), (170, 200)] {
                let start = (hour - back) / 2 * 2;
                if start >= 0 {
                    let day = start.div_euclid(24) * 24;
                    blocks.push(if back > 24 { (day, day + 24, kib * KIB) } else { (start, start + 2, kib * KIB) });
                }
            }
            blocks
        });
        assert!(merged <= cut * 16 / 10, "{merged} of {cut}");
        assert!(most <= 15 * 7, "{most}");
    }

    #[test]
    fn a_backfill_in_pieces_of_any_size_is_merged_in_few_steps() {
        let mut seed = 1_u64;
        let (cut, merged, most) = simulate(15, |hour| {
            let blocks = (0..24).map(|i| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let start = i64::try_from(seed >> 33).unwrap() % hour / 2 * 2;
                (start, start + 2, (1 + i) * 100 * KIB)
            });
            blocks.collect()
        });
        assert!(merged <= cut * 4, "{merged} of {cut}");
        assert!(most <= 15 * 24, "{most}");
    }
}
