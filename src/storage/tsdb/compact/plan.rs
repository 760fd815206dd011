//! Which blocks are merged next. Pure.

use std::collections::BTreeMap;

use crate::model::{TimeRange, Timestamp};
use crate::storage::tsdb::block::BlockMeta;

/// Windows that blocks are cut for, aligned to UTC.
pub(crate) const WINDOW_MS: i64 = 2 * 3600 * 1000;

/// What blocks are merged up to.
pub(crate) const DAY_MS: i64 = 24 * 3600 * 1000;

/// So many blocks of one window are merged before the day is over.
const SAME_WINDOW_MAX: usize = 4;

/// Late data is folded into a day's block when it makes up this part of it (one in so many).
const FOLD_FROM_PART: u64 = 4;

/// Blocks to merge into one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Their numbers.
    pub(crate) inputs: Vec<u64>,
    /// What the new block stands for.
    pub(crate) window: TimeRange,
}

/// Returns what to merge next, oldest first; `None` if all is well. A day is merged when it is over by
/// `settle_ms`.
pub(crate) fn plan(metas: &[BlockMeta], now: i64, settle_ms: i64) -> Option<Plan> {
    let mut days: BTreeMap<i64, Vec<&BlockMeta>> = BTreeMap::new();
    for meta in metas {
        let day = meta.start_ms.div_euclid(DAY_MS);
        // A block over a day's border was made by another version; it is left alone.
        if meta.end_ms <= (day + 1).saturating_mul(DAY_MS) {
            days.entry(day).or_default().push(meta);
        }
    }
    days.into_iter().find_map(|(day, blocks)| {
        let (start, end) = (day.saturating_mul(DAY_MS), (day + 1).saturating_mul(DAY_MS));
        if end.saturating_add(settle_ms) <= now {
            plan_day(&blocks).then(|| merge(&blocks, start, end))
        } else {
            plan_windows(&blocks)
        }
    })
}

fn plan_day(blocks: &[&BlockMeta]) -> bool {
    let (whole, parts): (Vec<_>, Vec<_>) = blocks.iter().partition(|m| m.end_ms - m.start_ms == DAY_MS);
    let bytes = |metas: &[&&BlockMeta]| metas.iter().map(|m| m.bytes).sum::<u64>();
    match whole.as_slice() {
        [] => parts.len() > 1,
        [day] => parts.len() >= SAME_WINDOW_MAX || (!parts.is_empty() && bytes(&parts) * FOLD_FROM_PART >= day.bytes),
        [..] => true,
    }
}

fn plan_windows(blocks: &[&BlockMeta]) -> Option<Plan> {
    let mut windows: BTreeMap<(i64, i64), Vec<&BlockMeta>> = BTreeMap::new();
    for block in blocks {
        windows.entry((block.start_ms, block.end_ms)).or_default().push(block);
    }
    let crowded = windows.into_iter().find(|(_, blocks)| blocks.len() >= SAME_WINDOW_MAX);
    crowded.map(|((start, end), blocks)| merge(&blocks, start, end))
}

fn merge(blocks: &[&BlockMeta], start: i64, end: i64) -> Plan {
    Plan {
        inputs: blocks.iter().map(|m| m.number).collect(),
        window: TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn meta(number: u64, start_h: i64, end_h: i64, bytes: u64) -> BlockMeta {
        BlockMeta {
            version: 1,
            number,
            start_ms: start_h * HOUR,
            end_ms: end_h * HOUR,
            min_ms: start_h * HOUR,
            max_ms: end_h * HOUR - 1,
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

    #[track_caller]
    fn check(blocks: &[(i64, i64, u64)], now_h: i64, expected: Option<&[u64]>) {
        let metas: Vec<_> = blocks.iter().zip(1..).map(|((s, e, b), n)| meta(n, *s, *e, *b)).collect();
        let found = plan(&metas, now_h * HOUR, HOUR).map(|p| p.inputs);
        assert_eq!(found.as_deref(), expected, "{blocks:?} at {now_h}");
    }

    #[test]
    fn a_day_is_merged_when_it_is_over() {
        check(&[(0, 2, 9), (2, 4, 9)], 24, None);
        check(&[(0, 2, 9), (2, 4, 9)], 25, Some(&[1, 2]));
        check(&[(0, 2, 9)], 25, None);
        check(&[(0, 24, 9), (24, 26, 9), (26, 28, 9)], 49, Some(&[2, 3]));
    }

    #[test]
    fn late_data_is_folded_in_when_there_is_enough_of_it() {
        check(&[(0, 24, 100), (2, 4, 24)], 30, None);
        check(&[(0, 24, 100), (2, 4, 25)], 30, Some(&[1, 2]));
        check(&[(0, 24, 100), (2, 4, 1), (2, 4, 1), (2, 4, 1), (8, 10, 1)], 30, Some(&[1, 2, 3, 4, 5]));
        check(&[(0, 24, 100), (0, 24, 1)], 30, Some(&[1, 2]));
    }

    #[test]
    fn a_crowded_window_is_merged_at_once() {
        check(&[(0, 2, 9), (0, 2, 9), (0, 2, 9), (2, 4, 9)], 3, None);
        check(&[(0, 2, 9), (0, 2, 9), (0, 2, 9), (0, 2, 9)], 3, Some(&[1, 2, 3, 4]));
    }
}
