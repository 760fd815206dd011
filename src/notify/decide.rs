//! Tell it or not, from what there is and what was told: pure.
//!
//! Source: Alertmanager, `notify/notify.go`, `DedupStage.needsUpdate`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::Timestamp;

/// What was last told to one receiver about one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) firing: BTreeSet<u64>,
    pub(super) resolved: BTreeSet<u64>,
    pub(super) at: Timestamp,
}

/// Tells whether a group's alarms are to be told now.
pub(super) fn is_news(
    firing: &BTreeSet<u64>,
    resolved: &BTreeSet<u64>,
    told: Option<&Told>,
    send_resolved: bool,
    repeat_interval: Duration,
    now: Timestamp,
) -> bool {
    let Some(told) = told else { return !firing.is_empty() };
    if !firing.is_subset(&told.firing) {
        return true;
    }
    if firing.is_empty() {
        // All is well again: told once, if anybody heard that it was not.
        return send_resolved && !told.firing.is_empty() && !resolved.is_empty();
    }
    if send_resolved && !resolved.is_subset(&told.resolved) {
        return true;
    }
    now.since(told.at) >= repeat_interval
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u64]) -> BTreeSet<u64> {
        ids.iter().copied().collect()
    }

    #[track_caller]
    fn check(firing: &[u64], resolved: &[u64], told: Option<(&[u64], &[u64])>, age_s: u64, expected: bool) {
        let now = Timestamp::from_millis(1_000_000_000);
        let told = told.map(|(f, r)| Told { firing: set(f), resolved: set(r), at: now - Duration::from_secs(age_s) });
        let news = is_news(&set(firing), &set(resolved), told.as_ref(), true, Duration::from_secs(3600), now);
        assert_eq!(news, expected, "{firing:?} {resolved:?} {told:?}");
    }

    #[test]
    fn only_news_is_told() {
        check(&[1], &[], None, 0, true);
        check(&[], &[1], None, 0, false);
        check(&[1], &[], Some((&[1], &[])), 10, false);
        check(&[1, 2], &[], Some((&[1], &[])), 10, true);
        check(&[1], &[], Some((&[1, 2], &[])), 10, false);
        check(&[1], &[2], Some((&[1, 2], &[])), 10, true);
        check(&[1], &[2], Some((&[1], &[2])), 10, false);
        check(&[], &[1], Some((&[1], &[])), 10, true);
        check(&[], &[1], Some((&[], &[1])), 10, false);
    }

    #[test]
    fn the_same_is_told_again_after_the_repeat_interval() {
        check(&[1], &[], Some((&[1], &[])), 3599, false);
        check(&[1], &[], Some((&[1], &[])), 3600, true);
        check(&[], &[1], Some((&[], &[1])), 9999, false);
    }

    #[test]
    fn a_receiver_that_wants_no_resolved_alarms_gets_none() {
        let told = Told { firing: set(&[1]), ..Told::default() };
        let now = Timestamp::from_millis(1);
        assert!(!is_news(&set(&[]), &set(&[1]), Some(&told), false, Duration::from_secs(3600), now));
    }
}
