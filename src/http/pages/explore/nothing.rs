//! Why an expression gives nothing: never there, not now, or left out by a condition.

use std::collections::BTreeSet;
use std::time::Duration;

use super::answer::Answer;
use crate::http::pages::ask::Asker;
use crate::http::pages::number::ago;
use crate::http::pages::visit::encode;
use crate::http::pages::window::Window;
use crate::model::{LABEL_NAME, Matcher, Timestamp};
use crate::query::promql::{parse_selector, selected_metrics};

/// Finds out why there is nothing: never there, not now, or left out by a condition.
pub(super) fn explain_nothing(answer: &mut Answer, asker: &Asker, expression: &str, window: &Window) {
    let querier = asker.state.db.querier();
    let everything = (Timestamp::from_millis(0), window.end + Duration::from_secs(600));
    let known = |matchers: &[Matcher]| {
        querier.series(matchers, everything.0, everything.1).is_ok_and(|series| !series.is_empty())
    };
    let names = || querier.label_values(LABEL_NAME, &[], everything.0, everything.1).unwrap_or_default();
    let Ok(matchers) = parse_selector(expression) else {
        let names = names();
        match selected_metrics(expression).iter().find(|name| !names.contains(name)) {
            Some(unknown) => never_there(answer, unknown, &names, expression, window),
            None => answer.empty = "The expression is right, but gives no series in this time range.".to_owned(),
        }
        return;
    };
    let name = matchers.iter().find(|m| m.name() == LABEL_NAME).map_or("", Matcher::value);
    if known(&matchers) {
        let newest = asker.latest(expression).into_iter().map(|l| l.at).max();
        let when = newest.map_or_else(|| "more than 6 h ago".to_owned(), |t| ago(t, asker.now));
        answer.empty = format!("No samples in this time range. The newest came {when}.");
    } else if !name.is_empty() && known(&[Matcher::equal(LABEL_NAME, name)]) {
        answer.empty = format!("{name} has series, but none with these labels.");
    } else {
        never_there(answer, name, &names(), expression, window);
    }
}

/// Says that there is no such metric, and offers the expression with those that are called nearly so.
fn never_there(answer: &mut Answer, name: &str, names: &[String], expression: &str, window: &Window) {
    answer.empty = format!("There has never been a metric {name} on this box.");
    let link = |near: &str| format!("?q={}&range={}", encode(&renamed(expression, name, near)), window.name);
    answer.nearest = nearest(name, names).into_iter().map(|near| (near.to_owned(), link(near))).collect();
}

/// Returns an expression with another name wherever one stands as a whole word.
fn renamed(expression: &str, from: &str, to: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    let mut text = String::new();
    let mut at = 0;
    for (start, _) in expression.match_indices(from) {
        let end = start + from.len();
        let before = expression.get(..start).and_then(|text| text.chars().next_back());
        let after = expression.get(end..).and_then(|text| text.chars().next());
        text.push_str(expression.get(at..start).unwrap_or(""));
        text.push_str(if before.is_some_and(is_word) || after.is_some_and(is_word) { from } else { to });
        at = end;
    }
    text.push_str(expression.get(at..).unwrap_or(""));
    text
}

/// Returns up to five names that share the most pairs of letters with `name`.
fn nearest<'a>(name: &str, names: &'a [String]) -> Vec<&'a str> {
    let pairs = |text: &str| -> BTreeSet<(char, char)> { text.chars().zip(text.chars().skip(1)).collect() };
    let wanted = pairs(name);
    let mut scored: Vec<(usize, &str)> = names
        .iter()
        .map(|candidate| {
            let have = pairs(candidate);
            // Dice's measure in thousandths.
            (2000 * wanted.intersection(&have).count() / (wanted.len() + have.len()).max(1), candidate.as_str())
        })
        .filter(|(score, _)| *score > 400)
        .collect();
    scored.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(5).map(|(_, n)| n).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_replaced_as_a_whole_word() {
        assert_eq!(renamed("rate(up[5m]) / sum(up_total) + up", "up", "down"), "rate(down[5m]) / sum(up_total) + down");
        assert_eq!(renamed("x", "up", "down"), "x");
    }

    #[test]
    fn a_name_with_a_slip_finds_its_neighbours() {
        let names: Vec<String> =
            ["factory_line_state", "factory_oee_overall", "node_load1"].iter().map(|n| (*n).to_owned()).collect();
        assert_eq!(nearest("factory_line_stat", &names).first(), Some(&"factory_line_state"));
        assert!(nearest("zzz", &names).is_empty());
    }
}
