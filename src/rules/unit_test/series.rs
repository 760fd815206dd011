//! Given samples as they are written: `up{job="a"}` and `1 2+1x3 _ stale`.

use crate::model::{Labels, MatchOp, stale_nan};
use crate::query::promql::parse_selector;

/// Most values of one series.
const VALUES_MAX: usize = 1_000_000;

/// Reads a series' name: a selector of equal signs only, or nothing.
pub(super) fn labels(text: &str) -> Result<Labels, String> {
    let text = text.trim();
    if text.is_empty() || text == "{}" {
        return Ok(Labels::empty());
    }
    let matchers = parse_selector(text).map_err(|e| e.to_string())?;
    if matchers.iter().any(|m| m.op() != MatchOp::Equal) {
        return Err(format!("not the name of a series: {text}"));
    }
    Ok(Labels::from_pairs(matchers.iter().map(|m| (m.name(), m.value()))))
}

/// Reads values: `1`, `1x3` (four times), `1+2x3` (1 3 5 7), `1-2x3`, `_` (none), `_x3`, `stale`, `NaN`, `Inf`.
pub(super) fn values(text: &str) -> Result<Vec<Option<f64>>, String> {
    let mut found = Vec::new();
    for word in text.split_whitespace() {
        if word.starts_with("{{") {
            return Err("native histograms are not kept".to_owned());
        }
        let refused = || format!("not a value: {word:?}");
        let (start, times) = match word.rsplit_once('x') {
            Some((start, times)) => (start, Some(times.parse::<usize>().map_err(|_| refused())?)),
            None => (word, None),
        };
        if found.len().saturating_add(times.unwrap_or(0)) >= VALUES_MAX {
            return Err(format!("more than {VALUES_MAX} values"));
        }
        match (start, times) {
            ("_", times) => found.extend(std::iter::repeat_n(None, times.unwrap_or(1))),
            ("stale", times) => found.extend(std::iter::repeat_n(Some(stale_nan()), times.unwrap_or(0) + 1)),
            (start, None) => found.push(Some(start.parse().map_err(|_| refused())?)),
            (start, Some(times)) => {
                let (first, step) = first_and_step(start).ok_or_else(refused)?;
                let mut value = first;
                for _ in 0..=times {
                    found.push(Some(value));
                    value += step;
                }
            }
        }
    }
    Ok(found)
}

/// Reads `1+2`, `1-2` or `1`, whose numbers may have signs and exponents of their own.
fn first_and_step(text: &str) -> Option<(f64, f64)> {
    let is_sign = |(at, c): &(usize, char)| {
        matches!(c, '+' | '-')
            && *at > 0
            && !text.get(..*at).is_some_and(|before| before.ends_with(['e', 'E', '+', '-']))
    };
    match text.char_indices().find(is_sign) {
        Some((at, _)) => {
            let (first, step) = text.split_at(at);
            // The sign between may be followed by one of the number.
            let (sign, step) = step.split_at(1);
            let step: f64 = step.parse().ok()?;
            Some((first.parse().ok()?, if sign == "-" { -step } else { step }))
        }
        None => Some((text.parse().ok()?, 0.0)),
    }
}
