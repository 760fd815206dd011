//! What a tenant's past says: growth, quiet times, and a straight line through it with its error.

use super::float;

/// Change below which traffic counts as even.
const BAND: f64 = 0.1;
/// Part of the mean below which a step is quiet.
const QUIET: f64 = 0.2;
/// Spread over mean below which usage is constant.
const CONSTANT: f64 = 0.25;
/// Fewer points than this are no course.
const POINTS_MIN: usize = 3;
/// Standard errors on each side that 95 % of cases lie within.
const DEVIATIONS: f64 = 1.96;

/// Which way traffic goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trend {
    /// The later half has at least a tenth more.
    Increasing,
    /// The later half has at least a tenth less.
    Decreasing,
    /// Neither.
    Stable,
}

/// How traffic is spread over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Much the same at each step.
    Constant,
    /// It rises.
    Growing,
    /// It falls.
    Declining,
    /// Up and down.
    Variable,
}

impl Trend {
    /// Returns the word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Trend::Increasing => "increasing",
            Trend::Decreasing => "decreasing",
            Trend::Stable => "stable",
        }
    }
}

impl Usage {
    /// Returns the word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Usage::Constant => "constant",
            Usage::Growing => "growing",
            Usage::Declining => "declining",
            Usage::Variable => "variable",
        }
    }
}

/// What is to come if things go on as they went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// The sum of the steps to come; not below zero.
    pub sum: f64,
    /// The sum lies within so much of that in 95 % of cases, if the past was a line with noise.
    pub error: f64,
    /// Change from one step to the next.
    pub slope: f64,
    /// Part of the past's spread that the line explains, 0 to 1.
    pub r_squared: f64,
    /// Steps of the past that it is made of.
    pub points: usize,
}

/// Values of the past, one a step, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Course(pub Vec<f64>);

/// Returns the change from one amount to another in percent; nothing if there was none before.
#[must_use]
pub fn growth(before: f64, now: f64) -> Option<f64> {
    (before > 0.0).then(|| (now - before) / before * 100.0)
}

/// Compares the later half with the earlier one.
#[must_use]
pub fn trend(course: &Course) -> Trend {
    let middle = course.0.len() / 2;
    let (early, late) = course.0.split_at(middle);
    let (early, late) = (mean(early), mean(late));
    if late > early * (1.0 + BAND) {
        Trend::Increasing
    } else if late < early * (1.0 - BAND) {
        Trend::Decreasing
    } else {
        Trend::Stable
    }
}

/// Returns which steps are quiet: below a fifth of the mean.
#[must_use]
pub fn quiet(course: &Course) -> Vec<usize> {
    let limit = mean(&course.0) * QUIET;
    course.0.iter().enumerate().filter(|(_, v)| **v < limit).map(|(i, _)| i).collect()
}

/// Says how traffic is spread: growing and declining only if a line explains at least half of it.
#[must_use]
pub fn usage(course: &Course) -> Usage {
    let mean = mean(&course.0);
    let spread = (course.0.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count(course.0.len()).max(1.0)).sqrt();
    if mean <= 0.0 || spread / mean < CONSTANT {
        return Usage::Constant;
    }
    match forecast(course, 1) {
        Some(line) if line.r_squared >= 0.5 && line.slope > 0.0 => Usage::Growing,
        Some(line) if line.r_squared >= 0.5 => Usage::Declining,
        _ => Usage::Variable,
    }
}

/// Lays a straight line through the past by least squares and goes on along it for `ahead` steps; nothing if there are
/// too few points.
///
/// The error is that of a sum of `k` predictions from one line with `n` points and residual deviation `s`:
/// `s * sqrt(k + k^2/n + (sum(t) - k*mean(t))^2 / sum((t - mean(t))^2))`. It does not know of days and weeks.
/// Source: Draper and Smith, Applied Regression Analysis, 1.4 and 3.1.
#[must_use]
pub fn forecast(course: &Course, ahead: usize) -> Option<Forecast> {
    let points = course.0.len();
    if points < POINTS_MIN {
        return None;
    }
    let (n, k) = (count(points), count(ahead));
    let mean_t = (n - 1.0) / 2.0;
    let mean_v = mean(&course.0);
    let (mut tt, mut tv, mut vv) = (0.0, 0.0, 0.0);
    for (i, value) in course.0.iter().enumerate() {
        let (t, v) = (count(i) - mean_t, value - mean_v);
        (tt, tv, vv) = (tt + t * t, tv + t * v, vv + v * v);
    }
    let slope = tv / tt;
    let residual = (vv - slope * tv).max(0.0);
    let deviation = (residual / (n - 2.0)).sqrt();
    // The mean distance of the steps to come from the middle of the past.
    let distance = n + (k - 1.0) / 2.0 - mean_t;
    let sum = k * (mean_v + slope * distance);
    let error = DEVIATIONS * deviation * (k + k * k / n + (k * distance).powi(2) / tt).sqrt();
    let r_squared = if vv > 0.0 { 1.0 - residual / vv } else { 1.0 };
    Some(Forecast { sum: sum.max(0.0), error, slope, r_squared, points })
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / count(values.len()) }
}

fn count(n: usize) -> f64 {
    float(n as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(values: &[f64]) -> Course {
        Course(values.to_vec())
    }

    #[test]
    fn a_line_goes_on_without_error() {
        let line = forecast(&course(&[10.0, 12.0, 14.0, 16.0]), 3).unwrap();
        assert!((line.sum - (18.0 + 20.0 + 22.0)).abs() < 1e-9, "{line:?}");
        assert!(line.error < 1e-6 && (line.slope - 2.0).abs() < 1e-12 && (line.r_squared - 1.0).abs() < 1e-12);
        assert_eq!(forecast(&course(&[1.0, 2.0]), 3), None);
        let falling = forecast(&course(&[30.0, 20.0, 10.0]), 10).unwrap();
        assert!(falling.sum.abs() < 1e-9, "traffic is not below zero");
    }

    #[test]
    fn the_error_is_that_of_the_textbook() {
        // y = 1, 2, 2, 4: slope 0.9, mean 2.25, residual sum 0.7, s = sqrt(0.35); one step ahead t = 4 with mean 1.5.
        let line = forecast(&course(&[1.0, 2.0, 2.0, 4.0]), 1).unwrap();
        assert!((line.sum - 4.5).abs() < 1e-9, "{line:?}");
        let expected = 1.96 * 0.35_f64.sqrt() * (1.0_f64 + 0.25 + 2.5 * 2.5 / 5.0).sqrt();
        assert!((line.error - expected).abs() < 1e-9, "{line:?}");
    }

    #[test]
    fn ways_and_words_have_bands_of_a_tenth() {
        assert_eq!(trend(&course(&[100.0, 100.0, 109.0, 110.0])), Trend::Stable);
        assert_eq!(trend(&course(&[100.0, 100.0, 111.0, 111.0])), Trend::Increasing);
        assert_eq!(trend(&course(&[100.0, 100.0, 89.0, 89.0])), Trend::Decreasing);
        assert_eq!(trend(&course(&[])), Trend::Stable);
        assert_eq!((growth(50.0, 75.0), growth(0.0, 5.0)), (Some(50.0), None));
        assert_eq!(quiet(&course(&[10.0, 1.0, 10.0, 2.0, 10.0])), [1]);
        assert_eq!(usage(&course(&[10.0, 11.0, 9.0, 10.0])), Usage::Constant);
        assert_eq!(usage(&course(&[1.0, 5.0, 10.0, 15.0])), Usage::Growing);
        assert_eq!(usage(&course(&[15.0, 10.0, 5.0, 1.0])), Usage::Declining);
        assert_eq!(usage(&course(&[1.0, 50.0, 2.0, 49.0, 1.0])), Usage::Variable);
    }
}
