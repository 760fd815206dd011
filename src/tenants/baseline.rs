//! What rate is normal for a tenant, learnt from its own checks.

/// A rate so many times the normal one is unusual.
const FACTOR: f64 = 10.0;
/// Fewer messages at one check are never too many.
const MESSAGES_MIN: u64 = 100;
/// Checks that the mean goes back once enough is learnt: an hour at the default interval.
const MEMORY: f64 = 120.0;

/// The mean of the rates of the past, newer ones counting more.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Baseline {
    per_second: f64,
    /// Checks that went into it.
    checks: f64,
}

impl Baseline {
    /// Returns what another life of this box has learnt.
    pub(super) fn learnt(per_second: f64) -> Self {
        Baseline { per_second, checks: MEMORY }
    }

    pub(super) fn per_second(&self) -> f64 {
        self.per_second
    }

    /// Tells whether a check is far above what is normal.
    pub(super) fn is_exceeded(&self, messages: u64, per_second: f64) -> bool {
        messages >= MESSAGES_MIN && per_second > FACTOR * self.per_second
    }

    /// Learns from a check. Once `is_settled`, one check moves the mean by at most a step's share of its double, so
    /// that what is unusual becomes normal only after the better part of an hour.
    pub(super) fn learn(&mut self, per_second: f64, is_settled: bool) {
        self.checks = (self.checks + 1.0).min(MEMORY);
        let counted = if is_settled { per_second.min(2.0 * self.per_second.max(0.1)) } else { per_second };
        self.per_second += (counted - self.per_second) / self.checks;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_times_the_learnt_rate_is_unusual_and_becomes_normal_slowly() {
        let mut baseline = Baseline::default();
        for _ in 0..20 {
            baseline.learn(5.0, false);
        }
        assert!((baseline.per_second() - 5.0).abs() < 1e-9);
        assert!(!baseline.is_exceeded(1500, 50.0));
        assert!(baseline.is_exceeded(1503, 50.1));
        assert!(!baseline.is_exceeded(99, 1000.0), "so few messages are never too many");
        let mut checks = 0;
        let mut settled = Baseline::learnt(5.0);
        while settled.is_exceeded(3000, 100.0) {
            settled.learn(100.0, true);
            checks += 1;
        }
        assert!((60..120).contains(&checks), "{checks} checks");
    }

    #[test]
    fn a_quiet_tenant_that_begins_to_talk_is_unusual() {
        assert!(Baseline::learnt(0.0).is_exceeded(100, 3.3));
    }
}
