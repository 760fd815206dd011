//! When to try again, and until when: pure.

use std::time::Duration;

use super::receiver::Failure;

/// First wait after a failure that will probably pass.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// Longest wait between attempts, `Retry-After` included.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// First wait after a refusal: somebody has to change a setting, there or here.
const REFUSED_WAIT_MIN: Duration = Duration::from_secs(30);

/// What came and went and waited for so long is told in one digest.
pub(super) const DIGEST_AFTER: Duration = Duration::from_secs(300);

/// Returns for how long after it was made a notice about what is over is still worth telling, by the priority of what
/// it was about. What fires is told however long that takes.
pub(super) fn expires_after(priority: u8) -> Duration {
    let hours = match priority {
        1 => 72,
        2 => 24,
        3 => 12,
        _ => 4,
    };
    Duration::from_secs(hours * 3600)
}

/// Returns how long to wait after the `attempts`th attempt (from 1) failed. `jitter` is from 0 to 1 and
/// spreads receivers that failed together over the last quarter of the wait.
pub(super) fn wait(failure: &Failure, attempts: u32, jitter: f64) -> Duration {
    let first = if failure.is_refusal { REFUSED_WAIT_MIN } else { WAIT_MIN };
    let doubled = first.saturating_mul(2u32.saturating_pow(attempts.saturating_sub(1)));
    let wait = doubled.min(WAIT_MAX);
    let wait = wait.mul_f64(0.75 + 0.25 * jitter.clamp(0.0, 1.0));
    failure.retry_after.map_or(wait, |asked| asked.clamp(wait, WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(is_refusal: bool, retry_after: Option<u64>) -> Failure {
        Failure { reason: String::new(), is_refusal, retry_after: retry_after.map(Duration::from_secs) }
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        let waits: Vec<u64> = (1..=10).map(|n| wait(&failure(false, None), n, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(wait(&failure(true, None), 1, 1.0).as_secs(), 30);
        assert_eq!(wait(&failure(false, None), u32::MAX, 1.0).as_secs(), 300);
        assert_eq!(wait(&failure(false, None), 3, 0.0).as_secs(), 3);
    }

    #[test]
    fn the_other_sides_wish_counts_within_the_bound() {
        assert_eq!(wait(&failure(false, Some(60)), 1, 1.0).as_secs(), 60);
        assert_eq!(wait(&failure(false, Some(0)), 3, 1.0).as_secs(), 4);
        assert_eq!(wait(&failure(false, Some(86_400)), 1, 1.0).as_secs(), 300);
    }

    #[test]
    fn what_is_urgent_stays_worth_telling_for_longer() {
        let hours: Vec<u64> = (1..=5).map(|p| expires_after(p).as_secs() / 3600).collect();
        assert_eq!(hours, [72, 24, 12, 4, 4]);
    }
}
