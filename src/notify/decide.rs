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

/// What a group's alarms mean for one receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is told.
    Tell,
    /// Nothing fires any more and it does not want to hear of that: from now on it knows of nothing.
    Forget,
    /// It knows.
    Nothing,
}

/// Decides whether a group's alarms are to be told now.
pub(super) fn decide(
    firing: &BTreeSet<u64>,
    resolved: &BTreeSet<u64>,
    told: Option<&Told>,
    send_resolved: bool,
    repeat_interval: Duration,
    now: Timestamp,
) -> Decision {
    let tell_if = |is_news: bool| if is_news { Decision::Tell } else { Decision::Nothing };
    let Some(told) = told else { return tell_if(!firing.is_empty()) };
    if !firing.is_subset(&told.firing) {
        return Decision::Tell;
    }
    if firing.is_empty() {
        // All is well again: told once, if anybody heard that it was not.
        return match (told.firing.is_empty() || resolved.is_empty(), send_resolved) {
            (true, _) => Decision::Nothing,
            (false, true) => Decision::Tell,
            (false, false) => Decision::Forget,
        };
    }
    let is_news = send_resolved && !resolved.is_subset(&told.resolved);
    tell_if(is_news || now.since(told.at) >= repeat_interval)
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
        let found = decide(&set(firing), &set(resolved), told.as_ref(), true, Duration::from_secs(3600), now);
        assert_eq!(found == Decision::Tell, expected, "{firing:?} {resolved:?} {told:?}");
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
        let decide =
            |firing, resolved| decide(&set(firing), &set(resolved), Some(&told), false, Duration::from_secs(3600), now);
        assert_eq!(decide(&[], &[1]), Decision::Forget, "what comes again is told again");
        assert_eq!(decide(&[], &[]), Decision::Nothing);
        assert_eq!(decide(&[1], &[2]), Decision::Nothing);
    }
}
