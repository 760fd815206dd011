//! What an answer of central means, and how long to wait after a bad one: pure.

use std::time::Duration;

use crate::model::Timestamp;

/// Longest `Retry-After` that is obeyed; keeps a mistake at central from silencing a box for days.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Central has it.
    Taken,
    /// Central will never take it as it is.
    Refused(Refusal),
    /// Central may take it later.
    Later {
        /// Why, from a closed set, for the counter.
        reason: Reason,
        /// How long central asks to wait.
        wait: Option<Duration>,
    },
}

/// Why central refuses for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 400, 409, 422: something in it is not acceptable. Prometheus has taken the rest of it.
    Invalid,
    /// 413: too large.
    TooLarge,
    /// 429 of another Andon that says so: it has the rest, but takes no new series of ours.
    NewSeries,
}

impl Refusal {
    /// Returns the label value of the counter.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Refusal::Invalid => "invalid",
            Refusal::TooLarge => "too_large",
            Refusal::NewSeries => "new_series",
        }
    }
}

/// Why an attempt is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// No answer: not reached, cut off, too slow.
    Network,
    /// 5xx.
    Server,
    /// 429.
    Throttled,
    /// Any other status: wrong password, wrong path, a proxy's page. Somebody has to mend the settings;
    /// until then nothing is lost.
    Rejected,
    /// Our own store could not be read, or a request could not be made.
    Own,
}

impl Reason {
    /// Returns the label value of the counter.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Reason::Network => "network",
            Reason::Server => "server",
            Reason::Throttled => "throttled",
            Reason::Rejected => "rejected",
            Reason::Own => "own",
        }
    }
}

/// Sorts an answer by its status. `retry_after` is the header's text, `refused` that of `andon-refused`.
pub(super) fn sort(status: u16, retry_after: Option<&str>, refused: Option<&str>, now: Timestamp) -> Answer {
    let later = |reason| Answer::Later { reason, wait: retry_after.and_then(|text| wait(text, now)) };
    match status {
        200..300 => Answer::Taken,
        400 | 409 | 422 => Answer::Refused(Refusal::Invalid),
        413 => Answer::Refused(Refusal::TooLarge),
        // Coming again would not help, and everything behind it would wait.
        429 if refused == Some("new-series") => Answer::Refused(Refusal::NewSeries),
        429 => later(Reason::Throttled),
        500..600 => later(Reason::Server),
        _ => later(Reason::Rejected),
    }
}

/// Reads `Retry-After`: seconds, or a date.
fn wait(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?;
            Timestamp::from_millis(date.timestamp().as_millisecond()).since(now)
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Returns how long to wait after the given number of failures in a row (counted from 1): doubling from
/// `min` to `max`, of which between a half and all, so that boxes do not come back in step; and not shorter
/// than central asked for. `chance` is from 0 to 1.
pub(super) fn backoff(failures: u32, asked: Option<Duration>, min: Duration, max: Duration, chance: f64) -> Duration {
    let doubled = min.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let own = doubled.min(max).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
    asked.map_or(own, |asked| own.max(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted_by_what_to_do() {
        let now = Timestamp::from_millis(784_111_770_000);
        let later = |reason, wait: Option<u64>| Answer::Later { reason, wait: wait.map(Duration::from_secs) };
        for (status, retry_after, expected) in [
            (200, None, Answer::Taken),
            (204, None, Answer::Taken),
            (400, None, Answer::Refused(Refusal::Invalid)),
            (413, None, Answer::Refused(Refusal::TooLarge)),
            (401, None, later(Reason::Rejected, None)),
            (404, None, later(Reason::Rejected, None)),
            (302, None, later(Reason::Rejected, None)),
            (429, Some("7"), later(Reason::Throttled, Some(7))),
            (429, Some("99999"), later(Reason::Throttled, Some(300))),
            (503, Some("Sun, 06 Nov 1994 08:49:37 GMT"), later(Reason::Server, Some(7))),
            (503, Some("soon"), later(Reason::Server, None)),
        ] {
            assert_eq!(sort(status, retry_after, None, now), expected, "{status} {retry_after:?}");
        }
        assert_eq!(sort(429, Some("30"), Some("new-series"), now), Answer::Refused(Refusal::NewSeries));
    }

    #[test]
    fn waits_double_up_to_a_limit_with_chance() {
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(30));
        for (failures, chance, expected_ms) in [
            (1, 1.0, 1_000),
            (1, 0.0, 500),
            (2, 1.0, 2_000),
            (5, 1.0, 16_000),
            (6, 1.0, 30_000),
            (4_000_000, 0.0, 15_000),
        ] {
            assert_eq!(backoff(failures, None, min, max, chance), Duration::from_millis(expected_ms), "{failures}");
        }
        let asked = Some(Duration::from_secs(60));
        assert_eq!(backoff(1, asked, min, max, 0.0), Duration::from_secs(60));
        assert_eq!(backoff(9, Some(Duration::ZERO), min, max, 1.0), max);
    }
}
