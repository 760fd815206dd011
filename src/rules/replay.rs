//! A rule over stored history: how often, and for how long, it would have fired.
//!
//! The expression is worked out at the times at which the rule would have been evaluated; each of its series goes
//! through the same step as an alert of the live rules (`alerting.rs`). Cost: the expression over the window, in
//! stretches, and some nanoseconds for each series and evaluation.

use std::collections::HashMap;
use std::time::Duration;

use super::alerting::{Active, Found};
use super::file::Alerting;
use crate::model::{AlertState, Labels, Sample, Timestamp};
use crate::query::promql::{Engine, Error, Options, RangeSeries, Result, Value};

/// Evaluations of one stretch: bounds what is held at once, and what an engine answers at once.
const STRETCH: i64 = 5_000;

/// Evaluations of a whole back-test; a longer window is asked in wider steps.
const EVALUATIONS_MAX: i64 = 100_000;

/// Firings that are listed; all count.
const LISTED_MAX: usize = 1_000;

/// Series that are followed, at most.
const SERIES_MAX: usize = 50_000;

/// What is tried on history.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// The rule's expression.
    pub expression: String,
    /// `for`
    pub hold: Duration,
    /// `keep_firing_for`
    pub keep_firing: Duration,
    /// The group's `limit`: with more alerts than that at an evaluation all are dropped; 0 is none.
    pub limit: usize,
    /// Between evaluations.
    pub interval: Duration,
    /// Start of the window.
    pub start: Timestamp,
    /// End of the window.
    pub end: Timestamp,
    /// Parts of the window that are told apart in [`Replay::strip`].
    pub cells: usize,
}

/// One time that an alert would have fired.
#[derive(Debug, Clone, PartialEq)]
pub struct Firing {
    /// Labels of the series that it would have come from.
    pub labels: Labels,
    /// When it would have fired.
    pub fired_at: Timestamp,
    /// When it would have been resolved; `None` if it would still fire.
    pub resolved_at: Option<Timestamp>,
}

/// What a rule would have done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replay {
    /// How often it would have fired.
    pub count: usize,
    /// How often its condition held, but not for long enough.
    pub short: usize,
    /// How long alerts would have fired, all of them together.
    pub firing: Duration,
    /// How long at least one would have fired.
    pub some_firing: Duration,
    /// The most that would have fired at once.
    pub at_once: usize,
    /// Evaluations with more alerts than the group's `limit`, which dropped them all.
    pub over_limit: usize,
    /// Series for which the condition ever held.
    pub series: usize,
    /// Between evaluations; wider than asked for where there would be too many.
    pub interval: Duration,
    /// Evaluations that were made.
    pub evaluations: usize,
    /// How many would have fired in each part of the window, oldest first.
    pub strip: Vec<usize>,
    /// The newest firings, newest first; at most 1 000.
    pub firings: Vec<Firing>,
}

/// Tries a rule on stored history.
///
/// # Errors
/// As [`Engine::range`]; [`Error::Limit`] if there are too many series.
pub fn replay(engine: &Engine, trial: &Trial, options: &Options) -> Result<Replay> {
    let span_ms = (trial.end.as_millis() - trial.start.as_millis()).max(0);
    let asked_ms = i64::try_from(trial.interval.as_millis()).unwrap_or(i64::MAX).max(1);
    // A whole multiple, so that each evaluation is one that the live rule makes.
    let step_ms = asked_ms * (span_ms / asked_ms).div_euclid(EVALUATIONS_MAX).saturating_add(1);
    let step = Duration::from_millis(step_ms.unsigned_abs());
    let mut course = Course::new(trial, step_ms);
    let mut at = trial.start.as_millis().div_euclid(step_ms) * step_ms + step_ms;
    while at <= trial.end.as_millis() {
        let last = (at + (STRETCH - 1) * step_ms).min(trial.end.as_millis());
        let (from, to) = (Timestamp::from_millis(at), Timestamp::from_millis(last));
        let answer = engine.range(&trial.expression, from, to, step, options)?;
        let Value::Matrix(found) = answer.value else { break };
        course.stretch(&found, at, last)?;
        at = last - (last - at) % step_ms + step_ms;
    }
    Ok(course.finish(step))
}

/// The alerts on their way through the window.
struct Course<'a> {
    trial: &'a Trial,
    rule: Alerting,
    step_ms: i64,
    alerts: HashMap<Labels, Option<Active>>,
    evaluations: usize,
    short: usize,
    over_limit: usize,
    firings: Vec<Firing>,
}

impl<'a> Course<'a> {
    fn new(trial: &'a Trial, step_ms: i64) -> Self {
        let rule =
            Alerting { hold: trial.hold, keep_firing: trial.keep_firing, labels: Vec::new(), annotations: Vec::new() };
        let alerts = HashMap::new();
        Course { trial, rule, step_ms, alerts, evaluations: 0, short: 0, over_limit: 0, firings: Vec::new() }
    }

    /// Takes all series over evaluations from `first` to `last`.
    fn stretch(&mut self, found: &[RangeSeries], first: i64, last: i64) -> Result<()> {
        self.evaluations += usize::try_from((last - first) / self.step_ms + 1).unwrap_or(0);
        let mut alerts = std::mem::take(&mut self.alerts);
        if self.trial.limit > 0 && alerts.len() + found.len() > self.trial.limit {
            return self.in_step(found, alerts, first, last);
        }
        for series in found {
            let alert = alerts.remove(&series.labels).flatten();
            let alert = self.walk(&series.labels, alert, &series.points, first, last);
            self.alerts.insert(series.labels.clone(), alert);
        }
        // Those that gave nothing in this stretch.
        for (labels, alert) in alerts {
            let alert = self.walk(&labels, alert, &[], first, last);
            self.alerts.insert(labels, alert);
        }
        self.bounded()
    }

    fn bounded(&self) -> Result<()> {
        if self.alerts.len() > SERIES_MAX {
            return Err(Error::Limit(format!("the expression gives more than {SERIES_MAX} series")));
        }
        Ok(())
    }

    /// As [`Course::stretch`], but one evaluation after the other: how many alerts there are at one decides over all.
    fn in_step(
        &mut self,
        found: &[RangeSeries],
        mut alerts: HashMap<Labels, Option<Active>>,
        first: i64,
        last: i64,
    ) -> Result<()> {
        let of_series = |s: &RangeSeries| (s.labels.clone(), alerts.remove(&s.labels).flatten());
        let mut rows: Vec<(Labels, Option<Active>)> = found.iter().map(of_series).collect();
        rows.extend(alerts);
        let mut rest: Vec<&[Sample]> = found.iter().map(|s| s.points.as_slice()).collect();
        rest.resize(rows.len(), &[]);
        let mut at = first;
        while at <= last {
            let now = Timestamp::from_millis(at);
            for ((labels, alert), points) in rows.iter_mut().zip(&mut rest) {
                match points.split_first() {
                    Some((point, others)) if point.timestamp == now => {
                        *points = others;
                        *alert = Some(self.hold(alert.take(), now));
                    }
                    _ => *alert = alert.take().and_then(|active| self.miss(labels, active, now)),
                }
            }
            if rows.iter().filter(|(_, alert)| alert.is_some()).count() > self.trial.limit {
                self.over_limit += 1;
                for (labels, alert) in &mut rows {
                    if let Some(active) = alert.take() {
                        self.fired(labels, &active, Some(now));
                    }
                }
            }
            at += self.step_ms;
        }
        self.alerts.extend(rows);
        self.bounded()
    }

    /// The condition holds: returns the alert, a new one if there was none.
    fn hold(&self, alert: Option<Active>, now: Timestamp) -> Active {
        let mut active = alert.unwrap_or_else(|| Active::new(nothing(), now));
        active.holds(now);
        active.promote(&self.rule, now);
        active
    }

    /// Leads one alert through the evaluations of a stretch; times without a point are those at which the condition
    /// did not hold. Without an alert they need not be looked at.
    fn walk(
        &mut self,
        labels: &Labels,
        mut alert: Option<Active>,
        points: &[Sample],
        first: i64,
        last: i64,
    ) -> Option<Active> {
        let mut at = first;
        for point in points.iter().map(|p| p.timestamp.as_millis()).chain([i64::MAX]) {
            while at < point && at <= last && alert.is_some() {
                alert = alert.and_then(|active| self.miss(labels, active, Timestamp::from_millis(at)));
                at += self.step_ms;
            }
            if point > last {
                break;
            }
            alert = Some(self.hold(alert, Timestamp::from_millis(point)));
            at = point + self.step_ms;
        }
        alert
    }

    /// The condition does not hold: returns the alert if it goes on.
    fn miss(&mut self, labels: &Labels, mut active: Active, now: Timestamp) -> Option<Active> {
        let is_kept = active.missing(&self.rule, now);
        match active.state {
            AlertState::Resolved => {
                self.fired(labels, &active, Some(now));
                None
            }
            AlertState::Firing => Some(active),
            AlertState::Pending if is_kept => Some(active),
            AlertState::Pending => {
                self.short += 1;
                None
            }
        }
    }

    fn fired(&mut self, labels: &Labels, active: &Active, resolved_at: Option<Timestamp>) {
        if let Some(fired_at) = active.fired_at {
            self.firings.push(Firing { labels: labels.clone(), fired_at, resolved_at });
        }
    }

    fn finish(mut self, step: Duration) -> Replay {
        let series = self.alerts.len();
        for (labels, alert) in std::mem::take(&mut self.alerts) {
            match alert {
                Some(active) if active.state == AlertState::Firing => self.fired(&labels, &active, None),
                _ => {}
            }
        }
        let (start, end) = (self.trial.start, self.trial.end);
        let mut firings = self.firings;
        let all = firings.iter().map(|f| f.resolved_at.unwrap_or(end).since(f.fired_at));
        let mut replay = Replay {
            count: firings.len(),
            short: self.short,
            over_limit: self.over_limit,
            firing: all.sum(),
            series,
            interval: step,
            evaluations: self.evaluations,
            ..Replay::default()
        };
        (replay.at_once, replay.some_firing) = together(&firings, end);
        replay.strip = strip(&firings, start, end, self.trial.cells);
        firings.sort_by(|a, b| (b.fired_at, &a.labels).cmp(&(a.fired_at, &b.labels)));
        firings.truncate(LISTED_MAX);
        replay.firings = firings;
        replay
    }
}

/// An alert of a back-test has no texts: its series names it.
fn nothing() -> Found {
    Found { labels: Labels::empty(), annotations: Labels::empty(), value: f64::NAN }
}

/// Returns how many fired at once, and how long at least one did.
fn together(firings: &[Firing], end: Timestamp) -> (usize, Duration) {
    let mut edges: Vec<(Timestamp, i64)> =
        firings.iter().flat_map(|f| [(f.fired_at, 1), (f.resolved_at.unwrap_or(end), -1)]).collect();
    edges.sort_unstable();
    let (mut now, mut most, mut some) = (0_i64, 0_i64, Duration::ZERO);
    let mut since = None;
    for (at, change) in edges {
        now += change;
        most = most.max(now);
        match (now > 0, since) {
            (true, None) => since = Some(at),
            (false, Some(from)) => {
                some += at.since(from);
                since = None;
            }
            _ => {}
        }
    }
    (usize::try_from(most).unwrap_or(0), some)
}

/// Returns how many fired in each part of the window.
fn strip(firings: &[Firing], start: Timestamp, end: Timestamp, cells: usize) -> Vec<usize> {
    let mut changes = vec![0_i64; cells + 1];
    let span_ms = (end.as_millis() - start.as_millis()).max(1);
    let cell = |at: Timestamp| {
        let share = i128::from(at.as_millis() - start.as_millis()) * cells as i128 / i128::from(span_ms);
        usize::try_from(share).unwrap_or(0).min(cells.saturating_sub(1))
    };
    for firing in firings {
        let (first, last) = (cell(firing.fired_at), cell(firing.resolved_at.unwrap_or(end)));
        for (index, change) in [(first, 1), (last + 1, -1)] {
            if let Some(found) = changes.get_mut(index) {
                *found += change;
            }
        }
    }
    let mut now = 0_i64;
    let counts = changes.iter().take(cells).map(|change| {
        now += change;
        usize::try_from(now).unwrap_or(0)
    });
    counts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::promql::Limits;
    use crate::storage::tsdb::{Batch, Db};

    const START: i64 = 1_700_000_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(START + seconds * 1000)
    }

    /// An engine over one series with a value every ten seconds.
    fn engine(values: &[f64]) -> Engine {
        let db = Db::in_memory();
        let labels = Labels::from_pairs([("__name__", "temp"), ("line", "7")]);
        let mut batch = Batch::default();
        for (i, value) in values.iter().enumerate() {
            batch.push(&labels, at(i64::try_from(i).unwrap() * 10), *value);
        }
        db.append(&batch).unwrap();
        let limits = Limits {
            lookback: Duration::from_secs(300),
            timeout: Duration::from_secs(30),
            samples_max: 10_000_000,
            default_step: Duration::from_secs(10),
        };
        Engine::new(db, limits)
    }

    fn trial(expression: &str, hold_s: u64, keep_s: u64, end_s: i64) -> Trial {
        Trial {
            expression: expression.to_owned(),
            hold: Duration::from_secs(hold_s),
            keep_firing: Duration::from_secs(keep_s),
            limit: 0,
            interval: Duration::from_secs(10),
            start: at(-10),
            end: at(end_s),
            cells: 4,
        }
    }

    /// Hot at 20 to 40 s, at 60 s, and from 90 s on.
    const VALUES: [f64; 12] = [1., 1., 9., 9., 9., 1., 9., 1., 1., 9., 9., 9.];

    #[track_caller]
    fn check(hold_s: u64, keep_s: u64, expected: &[(i64, Option<i64>)], short: usize) {
        let found = replay(&engine(&VALUES), &trial("temp > 5", hold_s, keep_s, 110), &Options::default()).unwrap();
        let second = |t: Timestamp| (t.as_millis() - START) / 1000;
        let mut firings: Vec<_> =
            found.firings.iter().map(|f| (second(f.fired_at), f.resolved_at.map(second))).collect();
        firings.reverse();
        assert_eq!((firings.as_slice(), found.short, found.count), (expected, short, expected.len()));
        assert_eq!(found.evaluations, 12);
    }

    #[test]
    fn it_fires_as_the_live_rule_would() {
        check(0, 0, &[(20, Some(50)), (60, Some(70)), (90, None)], 0);
        check(20, 0, &[(40, Some(50)), (110, None)], 1);
        check(0, 20, &[(20, None)], 0);
        check(60, 0, &[], 2);
    }

    #[test]
    fn what_fired_together_and_when_is_told() {
        let found = replay(&engine(&VALUES), &trial("temp > 5", 0, 0, 110), &Options::default()).unwrap();
        assert_eq!((found.at_once, found.series), (1, 1));
        assert_eq!((found.firing, found.some_firing), (Duration::from_secs(60), Duration::from_secs(60)));
        assert_eq!(found.strip, [0, 1, 2, 1]);
        assert_eq!(found.firings[0].labels.get("line"), Some("7"));
    }

    #[test]
    fn alerts_go_on_from_one_stretch_to_the_next() {
        let values = vec![9.0; usize::try_from(STRETCH).unwrap() + 500];
        let end = STRETCH * 10 + 4990;
        let found = replay(&engine(&values), &trial("temp > 5", 100, 0, end), &Options::default()).unwrap();
        assert_eq!((found.count, found.firings[0].fired_at), (1, at(100)));
    }

    #[test]
    fn above_the_limit_of_the_group_all_alerts_are_dropped() {
        let db = Db::in_memory();
        let mut batch = Batch::default();
        // One is hot all the time, the other from 30 to 50 s.
        for (line, hot) in [("7", 0..12), ("8", 3..6)] {
            let labels = Labels::from_pairs([("__name__", "temp"), ("line", line)]);
            for i in 0..12_i64 {
                batch.push(&labels, at(i * 10), if hot.contains(&i) { 9.0 } else { 1.0 });
            }
        }
        db.append(&batch).unwrap();
        let limits = Limits {
            lookback: Duration::from_secs(300),
            timeout: Duration::from_secs(30),
            samples_max: 10_000_000,
            default_step: Duration::from_secs(10),
        };
        let engine = Engine::new(db, limits);
        let tried = |limit: usize| {
            let trial = Trial { limit, ..trial("temp > 5", 10, 0, 110) };
            let found = replay(&engine, &trial, &Options::default()).unwrap();
            let second = |t: Timestamp| (t.as_millis() - START) / 1000;
            let mut all: Vec<_> =
                found.firings.iter().map(|f| (second(f.fired_at), f.resolved_at.map(second))).collect();
            all.sort_unstable();
            (all, found.over_limit)
        };
        let without = vec![(10, None), (40, Some(60))];
        assert_eq!(tried(0), (without.clone(), 0));
        assert_eq!(tried(2), (without, 0), "as many as the limit");
        // Dropped at 30, 40 and 50 s; what holds afterwards waits for `for` again.
        assert_eq!(tried(1), (vec![(10, Some(30)), (70, None)], 3));
    }

    #[test]
    fn a_bad_expression_is_refused() {
        assert!(replay(&engine(&[]), &trial("temp >", 0, 0, 110), &Options::default()).is_err());
    }
}
