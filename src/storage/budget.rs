//! One size limit for all that grows; who gives way first. Pure.
//!
//! Logs give way first, down to a quarter of what there is; then metrics. Each store keeps its newest part
//! whatever the budget says: metrics the last day while others fill the disk, the last hour when it is our own
//! data that is too much (who would rather have nothing new?), logs the current day.

use std::time::Duration;

use super::disk::Space;

/// So much of a disk is left free for others, or [`FREE_BYTES`] if that is less: one part in so many.
const FREE_PART: u64 = 10;

/// See [`FREE_PART`].
const FREE_BYTES: u64 = 256 << 20;

/// Logs are never pushed below this part of what there is for both: one in so many.
const LOGS_PART: u64 = 4;

/// Kept of metrics whatever others do to the disk.
const FLOOR_AMONG_OTHERS: Duration = Duration::from_secs(24 * 3600);

/// Kept of metrics when it is they that are too much.
const FLOOR_OF_OURS: Duration = Duration::from_secs(3600);

/// What the stores take now, and what the disk has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) metrics_bytes: u64,
    pub(super) logs_bytes: u64,
    /// What only snapshots hold. Before others give way, these are removed.
    pub(super) snapshots_bytes: u64,
    pub(super) space: Space,
}

/// What bounds the stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The limit that was set.
    SizeLimit,
    /// The disk, of which we take most.
    Disk,
    /// The disk, of which others take most.
    Others,
}

impl Cause {
    /// Returns how much of the newest metrics stays whatever the bound.
    pub(super) fn floor(self) -> Duration {
        match self {
            Cause::SizeLimit | Cause::Disk => FLOOR_OF_OURS,
            Cause::Others => FLOOR_AMONG_OTHERS,
        }
    }
}

/// What each store may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) cause: Cause,
    /// Bytes that are too many in all; 0 if there is enough.
    pub(super) over_bytes: u64,
    pub(super) metrics_bytes: u64,
    pub(super) logs_bytes: u64,
}

/// Shares out the limit, or what the disk has less a tenth if that is less.
pub(super) fn share(size_limit: Option<u64>, usage: Usage) -> Shares {
    let Usage { metrics_bytes, logs_bytes, snapshots_bytes, space } = usage;
    let used = metrics_bytes + logs_bytes;
    let kept_free = (space.total_bytes / FREE_PART).min(FREE_BYTES);
    let of_disk = (used + space.free_bytes).saturating_sub(kept_free);
    let size_limit = size_limit.map(|limit| limit.saturating_sub(snapshots_bytes));
    let there_is = of_disk.min(size_limit.unwrap_or(u64::MAX));
    let logs = logs_bytes.min(there_is.saturating_sub(metrics_bytes).max(there_is / LOGS_PART));
    let by_others = space.total_bytes.saturating_sub(space.free_bytes).saturating_sub(used + snapshots_bytes);
    let cause = match size_limit {
        Some(limit) if limit < of_disk => Cause::SizeLimit,
        _ if by_others > used => Cause::Others,
        _ => Cause::Disk,
    };
    Shares { cause, over_bytes: used.saturating_sub(there_is), metrics_bytes: there_is - logs, logs_bytes: logs }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(limit: Option<u64>, (metrics, logs): (u64, u64), (free, total): (u64, u64)) -> Shares {
        let space = Space { free_bytes: free, total_bytes: total };
        share(limit, Usage { metrics_bytes: metrics, logs_bytes: logs, snapshots_bytes: 0, space })
    }

    #[track_caller]
    fn check(limit: Option<u64>, taken: (u64, u64), space: (u64, u64), expected: (u64, u64)) {
        let shares = shares(limit, taken, space);
        assert_eq!((shares.metrics_bytes, shares.logs_bytes), expected);
        assert_eq!(shares.over_bytes > 0, expected.0 + expected.1 < taken.0 + taken.1);
    }

    #[test]
    fn nobody_gives_way_while_there_is_enough() {
        check(None, (500, 300), (100, 1000), (500, 300));
        check(Some(800), (500, 300), (200, 1000), (500, 300));
        check(Some(900), (100, 300), (500, 1000), (500, 300));
    }

    #[test]
    fn logs_give_way_first_then_metrics() {
        check(Some(700), (500, 300), (200, 1000), (500, 200));
        check(Some(600), (500, 300), (200, 1000), (450, 150));
        check(Some(600), (700, 0), (200, 1000), (600, 0));
        check(Some(600), (0, 700), (200, 1000), (0, 600));
    }

    #[test]
    fn what_bounds_the_stores_is_named_and_others_cost_at_most_what_is_older_than_a_day() {
        let check = |limit, taken, space, cause, over_bytes, floor_hours: u64| {
            let shares = shares(limit, taken, space);
            assert_eq!((shares.cause, shares.over_bytes), (cause, over_bytes));
            assert_eq!(shares.cause.floor(), Duration::from_secs(floor_hours * 3600));
        };
        check(Some(700), (500, 300), (200, 1000), Cause::SizeLimit, 100, 1);
        check(Some(750), (500, 300), (10, 1000), Cause::Disk, 90, 1);
        check(None, (500, 300), (10, 1000), Cause::Disk, 90, 1);
        check(None, (200, 200), (10, 1000), Cause::Others, 90, 24);
        check(None, (200, 300), (0, 1000), Cause::Disk, 100, 1);
    }

    #[test]
    fn what_only_snapshots_hold_counts_into_the_limit() {
        let space = Space { free_bytes: 200, total_bytes: 1000 };
        let over = |limit, snapshots_bytes| {
            share(limit, Usage { metrics_bytes: 500, logs_bytes: 300, snapshots_bytes, space }).over_bytes
        };
        assert_eq!([over(Some(900), 100), over(Some(900), 101), over(Some(900), 250)], [0, 1, 150]);
        // What the disk has free has them counted already.
        assert_eq!(over(None, 250), 0);
    }

    #[test]
    fn a_tenth_of_the_disk_is_left_free() {
        check(None, (500, 300), (60, 1000), (500, 260));
        check(None, (500, 300), (99, 1000), (500, 299));
        let (tib, gib) = (1 << 40, 1 << 30);
        let bound = shares(None, (500 * gib, 300 * gib), (gib, tib));
        assert_eq!((bound.over_bytes, bound.metrics_bytes), (0, 500 * gib + gib - FREE_BYTES));
    }
}
