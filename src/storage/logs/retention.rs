//! Which days go. Pure.

use std::time::Duration;

use super::files::DAY_NS;

/// Returns the first day that is kept: the last whose end lies within retention. Days before it go.
pub(super) fn first_day_kept(now_ns: i64, retention: Duration) -> i64 {
    let retention_ns = i64::try_from(retention.as_nanos()).unwrap_or(i64::MAX);
    now_ns.saturating_sub(retention_ns).div_euclid(DAY_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_goes_when_its_last_moment_is_too_old() {
        let week = Duration::from_secs(7 * 86_400);
        assert_eq!(first_day_kept(10 * DAY_NS, week), 3);
        assert_eq!(first_day_kept(10 * DAY_NS - 1, week), 2);
        assert!(first_day_kept(0, Duration::MAX) < -100_000);
    }
}
