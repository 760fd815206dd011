//! One size limit for all that grows; who gives way first. Pure.
//!
//! Logs give way first, down to a quarter of what there is; then metrics. Each store keeps its newest part
//! whatever the budget says: metrics a day, logs the current day.

use super::disk::Space;

/// So much of a disk is left free for others, or [`FREE_BYTES`] if that is less: one part in so many.
const FREE_PART: u64 = 10;

/// See [`FREE_PART`].
const FREE_BYTES: u64 = 256 << 20;

/// Logs are never pushed below this part of what there is for both: one in so many.
const LOGS_PART: u64 = 4;

/// What the stores take now, and what the disk has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) metrics_bytes: u64,
    pub(super) logs_bytes: u64,
    /// What only snapshots hold. Before others give way, these are removed.
    pub(super) snapshots_bytes: u64,
    pub(super) space: Space,
}

/// Why the stores are to take less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The limit that was set.
    SizeLimit,
    /// The disk fills, by us or by others.
    Disk,
}

/// What each store may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) cause: Cause,
    /// Bytes that are too many in all.
    pub(super) over_bytes: u64,
    pub(super) metrics_bytes: u64,
    pub(super) logs_bytes: u64,
}

/// Shares out the limit, or what the disk has less a tenth if that is less; `None` if there is enough.
pub(super) fn share(size_limit: Option<u64>, usage: Usage) -> Option<Shares> {
    let Usage { metrics_bytes, logs_bytes, snapshots_bytes, space } = usage;
    let used = metrics_bytes + logs_bytes;
    let kept_free = (space.total_bytes / FREE_PART).min(FREE_BYTES);
    let of_disk = (used + space.free_bytes).saturating_sub(kept_free);
    let there_is = of_disk.min(size_limit.map_or(u64::MAX, |limit| limit.saturating_sub(snapshots_bytes)));
    if used <= there_is {
        return None;
    }
    let logs = logs_bytes.min(there_is.saturating_sub(metrics_bytes).max(there_is / LOGS_PART));
    let cause = if of_disk == there_is { Cause::Disk } else { Cause::SizeLimit };
    Some(Shares { cause, over_bytes: used - there_is, metrics_bytes: there_is - logs, logs_bytes: logs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(limit: Option<u64>, (metrics, logs): (u64, u64), (free, total): (u64, u64), expected: Option<(u64, u64)>) {
        let space = Space { free_bytes: free, total_bytes: total };
        let usage = Usage { metrics_bytes: metrics, logs_bytes: logs, snapshots_bytes: 0, space };
        let shares = share(limit, usage);
        assert_eq!(shares.map(|s| (s.metrics_bytes, s.logs_bytes)), expected);
    }

    #[test]
    fn nobody_gives_way_while_there_is_enough() {
        check(None, (500, 300), (100, 1000), None);
        check(Some(800), (500, 300), (100, 1000), None);
    }

    #[test]
    fn logs_give_way_first_then_metrics() {
        check(Some(700), (500, 300), (200, 1000), Some((500, 200)));
        check(Some(600), (500, 300), (200, 1000), Some((450, 150)));
        check(Some(600), (700, 0), (200, 1000), Some((600, 0)));
        check(Some(600), (0, 700), (200, 1000), Some((0, 600)));
    }

    #[test]
    fn what_squeezes_the_stores_is_named() {
        let check = |limit, free_bytes, expected| {
            let space = Space { free_bytes, total_bytes: 1000 };
            let usage = Usage { metrics_bytes: 500, logs_bytes: 300, snapshots_bytes: 0, space };
            let shares = share(limit, usage).unwrap();
            assert_eq!((shares.cause, shares.over_bytes), expected);
        };
        check(Some(700), 200, (Cause::SizeLimit, 100));
        check(Some(750), 10, (Cause::Disk, 90));
        check(None, 10, (Cause::Disk, 90));
    }

    #[test]
    fn what_only_snapshots_hold_counts_into_the_limit() {
        let space = Space { free_bytes: 200, total_bytes: 1000 };
        let over = |limit, snapshots_bytes| {
            let shares = share(limit, Usage { metrics_bytes: 500, logs_bytes: 300, snapshots_bytes, space });
            shares.map_or(0, |s| s.over_bytes)
        };
        assert_eq!([over(Some(900), 100), over(Some(900), 101), over(Some(900), 250)], [0, 1, 150]);
        // What the disk has free has them counted already.
        assert_eq!(over(None, 250), 0);
    }

    #[test]
    fn a_tenth_of_the_disk_is_left_free() {
        check(None, (500, 300), (60, 1000), Some((500, 260)));
        check(None, (500, 300), (99, 1000), Some((500, 299)));
        let (tib, gib) = (1 << 40, 1 << 30);
        check(None, (500 * gib, 300 * gib), (gib, tib), None);
    }
}
