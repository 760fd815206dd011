//! What may stand at the cursor of somebody who writes an expression: metrics with type and HELP, labels and values
//! of the series at hand, words of the language with what they take and mean.
//!
//! The box decides, the script only shows: it knows nothing of the language, and an answer is a list of at most
//! [`OFFERS_MAX`] entries, about 1 KB on the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::names::Known;
use crate::http::AppState;
use crate::http::pages::ask::{Asker, ask};
use crate::http::pages::visit::Visit;
use crate::http::pages::window::Window;
use crate::model::{LABEL_NAME, Matcher};
use crate::query::promql::{Place, Selection, Spot, WordKind, parse_selector, spot, vocabulary};

/// Entries of a list.
const OFFERS_MAX: usize = 30;
/// Longest HELP that goes out.
const HELP_CHARS_MAX: usize = 120;
/// Work waiting for the pool above which nobody is helped to write.
const WAITING_MAX: usize = 8;
/// Ranges that are offered.
const DURATIONS: [&str; 8] = ["1m", "5m", "15m", "1h", "6h", "12h", "1d", "7d"];

/// An entry.
#[derive(Debug, Default, PartialEq)]
struct Offer {
    /// What is put in place of the word.
    insert: String,
    /// How it is shown.
    name: String,
    /// What it is, or takes.
    kind: String,
    /// What it means.
    help: String,
}

/// Answers `GET /explore/complete`: `q` is the text, `at` the cursor in UTF-16 units as browsers count, `all` asks even
/// if nothing is written of the word.
pub(super) async fn complete(State(state): State<AppState>, visit: Visit) -> Response {
    if state.tasks.pool().waiting() > WAITING_MAX {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], "").into_response();
    }
    let text = visit.params.get("q").unwrap_or("").to_owned();
    let at = visit.params.get("at").and_then(|at| at.parse().ok()).unwrap_or(usize::MAX);
    let is_asked = visit.params.get("all").is_some();
    let window = Window::read(&visit.params, Duration::from_secs(3600), visit.now);
    let found = ask(&state, visit.now, move |asker| {
        let spot = spot(&text, byte_at(&text, at));
        let offers = offers(asker, &text, &spot, &window, is_asked);
        let (from, to) = (units_before(&text, spot.start), units_before(&text, spot.end));
        let offers = offers
            .into_iter()
            .map(|offer| json!({"insert": offer.insert, "name": offer.name, "kind": offer.kind, "help": offer.help}));
        json!({"from": from, "to": to, "offers": offers.collect::<Vec<_>>()}).to_string()
    });
    match found.await {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Returns the byte at a number of UTF-16 units; within a letter counts as before it.
fn byte_at(text: &str, units: usize) -> usize {
    let mut seen = 0;
    for (at, c) in text.char_indices() {
        seen += c.len_utf16();
        if seen > units {
            return at;
        }
    }
    text.len()
}

fn units_before(text: &str, byte: usize) -> usize {
    text.get(..byte).unwrap_or("").encode_utf16().count()
}

fn offers(asker: &Asker, text: &str, spot: &Spot, window: &Window, is_asked: bool) -> Vec<Offer> {
    let rest = text.get(spot.end..).unwrap_or("");
    match &spot.place {
        Place::Expression if spot.word.is_empty() && !is_asked => Vec::new(),
        Place::Expression => words(asker, &spot.word, rest, window),
        Place::LabelName(selection) => {
            let has_operator = rest.trim_start().starts_with(['=', '!']);
            let found = labels(asker, std::slice::from_ref(selection), window);
            ranked(found, &spot.word, |name| match (has_operator, label(&name)) {
                (true, name) => name,
                (false, name) => format!("{name}=\""),
            })
        }
        Place::Grouping => {
            let of_metric = |name: &String| Selection { name: name.clone(), matchers: String::new() };
            let mut found = labels(asker, &spot.metrics.iter().map(of_metric).collect::<Vec<_>>(), window);
            if found.is_empty() {
                found = labels(asker, &[], window);
            }
            ranked(found, &spot.word, |name| label(&name))
        }
        Place::LabelValue(selection, name) => {
            let quote = text.get(..spot.start).and_then(|before| before.chars().next_back()).unwrap_or('"');
            let is_closed = rest.starts_with(quote);
            ranked(values(asker, selection, name, window), &spot.word, |value| {
                let value = if quote == '`' { value } else { escaped(&value, quote) };
                if is_closed { value } else { format!("{value}{quote}") }
            })
        }
        Place::Duration => {
            let is_range = text.get(..spot.start).is_some_and(|before| before.trim_end().ends_with('['));
            let end = if is_range && !rest.starts_with([']', ':']) { "]" } else { "" };
            let known = DURATIONS.iter().filter(|d| d.starts_with(&spot.word));
            known.map(|d| Offer { insert: format!("{d}{end}"), name: (*d).to_owned(), ..Offer::default() }).collect()
        }
        Place::Nothing => Vec::new(),
    }
}

/// Returns how well a name fits what was written: 0 if it begins so, 1 if one of its parts does, 2 if it holds it.
fn fit(name: &str, written: &str) -> Option<u8> {
    let (name, written) = (name.to_lowercase(), written.to_lowercase());
    if name.starts_with(&written) {
        return Some(0);
    }
    let has_part =
        name.match_indices(&written).any(|(at, _)| name.get(..at).is_some_and(|b| b.ends_with(['_', ':', '-', '.'])));
    if has_part { Some(1) } else { name.contains(&written).then_some(2) }
}

/// Returns words of the language and metrics that fit.
fn words(asker: &Asker, written: &str, rest: &str, window: &Window) -> Vec<Offer> {
    let is_called = rest.trim_start().starts_with('(');
    let is_grouped = ["by", "without"].iter().any(|word| rest.trim_start().starts_with(word));
    let of_language = vocabulary().into_iter().filter_map(|word| {
        let fit = fit(word.name, written).filter(|fit| *fit < 2)?;
        let (end, kind) = match word.kind {
            WordKind::Function if word.takes == "()" => ("()", "function"),
            WordKind::Function => ("(", "function"),
            WordKind::Aggregation if is_grouped => ("", "aggregation"),
            WordKind::Aggregation => ("(", "aggregation"),
            WordKind::Keyword => ("", "keyword"),
        };
        let insert = format!("{}{}", word.name, if is_called { "" } else { end });
        let name = format!("{}{}", word.name, word.takes);
        Some((fit, Offer { insert, name, kind: kind.to_owned(), help: word.meaning.to_owned() }))
    });
    let querier = asker.state.db.querier();
    let names = querier.label_values(LABEL_NAME, &[], window.start, window.end).unwrap_or_default();
    let metrics = names.into_iter().filter_map(|name| {
        let offer = Offer { insert: metric(&name), name: name.clone(), ..Offer::default() };
        Some((fit(&name, written)?, offer))
    });
    let mut found: Vec<(u8, Offer)> = of_language.chain(metrics).collect();
    // Stable: words of the language first, metrics by name.
    found.sort_by_key(|(fit, _)| *fit);
    found.truncate(OFFERS_MAX);
    let known = Known::of(&asker.state.db);
    let mut found: Vec<Offer> = found.into_iter().map(|(_, offer)| offer).collect();
    for offer in found.iter_mut().filter(|offer| offer.kind.is_empty()) {
        let (kind, help) = known.about(&offer.name);
        kind.clone_into(&mut offer.kind);
        offer.help = help.chars().take(HELP_CHARS_MAX).collect();
    }
    found
}

/// Returns matchers for what a selector says already; if that does not read, for its name alone.
fn matchers(selection: &Selection) -> Vec<Matcher> {
    let name = &selection.name;
    parse_selector(&format!("{name}{{{}}}", selection.matchers))
        .unwrap_or_else(|_| if name.is_empty() { Vec::new() } else { vec![Matcher::equal(LABEL_NAME, name)] })
}

/// Returns the labels of the series that pass one of the selections, or of all if there is none, with a word on each.
fn labels(asker: &Asker, selections: &[Selection], window: &Window) -> Vec<(String, String)> {
    let querier = asker.state.db.querier();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for matchers in selections.iter().map(matchers).filter(|matchers| !matchers.is_empty()) {
        let series = querier.series(&matchers, window.start, window.end).unwrap_or_default();
        for (name, value) in series.iter().flat_map(|labels| labels.iter()) {
            let values = match found.get_mut(name) {
                Some(values) => values,
                None => found.entry(name.to_owned()).or_default(),
            };
            if !values.contains(value) {
                values.insert(value.to_owned());
            }
        }
    }
    if found.is_empty() && selections.iter().all(|s| s.name.is_empty() && s.matchers.is_empty()) {
        let names = querier.label_names(&[], window.start, window.end).unwrap_or_default();
        found.extend(names.into_iter().map(|name| (name, BTreeSet::new())));
    }
    found.remove(LABEL_NAME);
    let count = |values: usize| match values {
        0 => String::new(),
        1 => "1 value".to_owned(),
        n => format!("{n} values"),
    };
    found.into_iter().map(|(name, values)| (name, count(values.len()))).collect()
}

/// Returns the values of a label among the series of a selection, with how many series have each.
fn values(asker: &Asker, selection: &Selection, of: &str, window: &Window) -> Vec<(String, String)> {
    let querier = asker.state.db.querier();
    let matchers = matchers(selection);
    if matchers.is_empty() {
        let values = querier.label_values(of, &[], window.start, window.end).unwrap_or_default();
        return values.into_iter().map(|value| (value, String::new())).collect();
    }
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    let series = querier.series(&matchers, window.start, window.end).unwrap_or_default();
    for value in series.iter().filter_map(|labels| labels.get(of)) {
        match found.get_mut(value) {
            Some(count) => *count += 1,
            None => _ = found.insert(value.to_owned(), 1),
        }
    }
    let word = |n: usize| if n == 1 { "1 series".to_owned() } else { format!("{n} series") };
    found.into_iter().map(|(value, count)| (value, word(count))).collect()
}

/// Returns names that fit, the best first.
fn ranked(found: Vec<(String, String)>, written: &str, insert: impl Fn(String) -> String) -> Vec<Offer> {
    let mut fitting: Vec<(u8, (String, String))> =
        found.into_iter().filter_map(|entry| Some((fit(&entry.0, written)?, entry))).collect();
    fitting.sort_by_key(|(fit, _)| *fit);
    fitting.truncate(OFFERS_MAX);
    let offer = |(_, (name, kind)): (u8, (String, String))| Offer {
        insert: insert(name.clone()),
        name,
        kind,
        help: String::new(),
    };
    fitting.into_iter().map(offer).collect()
}

/// Writes a metric's name as a selector.
pub(in crate::http::pages) fn metric(name: &str) -> String {
    if is_bare(name, ":") { name.to_owned() } else { format!("{{\"{}\"}}", escaped(name, '"')) }
}

/// Writes a label's name as braces have it.
pub(in crate::http::pages) fn label(name: &str) -> String {
    if is_bare(name, "") { name.to_owned() } else { format!("\"{}\"", escaped(name, '"')) }
}

/// Tells whether a name needs no quotes.
fn is_bare(name: &str, more: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_' || more.contains(c);
    name.starts_with(is_letter) && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

fn escaped(text: &str, quote: char) -> String {
    text.replace('\\', "\\\\").replace(quote, &format!("\\{quote}")).replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_counted_as_browsers_do() {
        assert_eq!((byte_at("aü😀b", 2), byte_at("aü😀b", 3), byte_at("aü😀b", 4)), (3, 3, 7));
        assert_eq!(byte_at("a", 9), 1);
        assert_eq!(units_before("aü😀b", 7), 4);
    }

    #[test]
    fn names_that_begin_so_come_first() {
        assert_eq!(fit("factory_line_state", "Fac"), Some(0));
        assert_eq!(fit("factory_line_state", "line"), Some(1));
        assert_eq!(fit("factory_line_state", "tory"), Some(2));
        assert_eq!(fit("factory_line_state", "x"), None);
        let found = ["b_a", "ab", "ba", "a"].map(|n| (n.to_owned(), String::new())).to_vec();
        let names: Vec<String> = ranked(found, "a", |n| n).into_iter().map(|o| o.name).collect();
        assert_eq!(names, ["ab", "a", "b_a", "ba"]);
    }

    #[test]
    fn odd_names_are_quoted() {
        assert_eq!(metric("up"), "up");
        assert_eq!(metric("http.requests \"x\""), "{\"http.requests \\\"x\\\"\"}");
        assert_eq!(label("a.b"), "\"a.b\"");
        assert_eq!(escaped("it's", '\''), "it\\'s");
    }
}
