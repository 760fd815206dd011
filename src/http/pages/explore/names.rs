//! Metric names with what is known about them: the list to browse.

use std::collections::BTreeMap;

use crate::http::pages::ask::Asker;
use crate::http::pages::breakable::Breakable;
use crate::http::pages::visit::Params;
use crate::http::pages::window::Window;
use crate::model::{LABEL_NAME, Metadata};
use crate::storage::tsdb::Db;

/// Metric names listed.
const NAMES_MAX: usize = 400;

/// A metric name with what is known about it.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) name: Breakable,
    pub(super) kind: &'static str,
    pub(super) help: String,
    pub(super) href: String,
}

/// What is known about metrics.
#[derive(Debug)]
pub(in crate::http::pages) struct Known(BTreeMap<String, Metadata>);

impl Known {
    /// Asks the store.
    pub(in crate::http::pages) fn of(db: &Db) -> Known {
        Known(db.metadata().into_iter().collect())
    }

    /// Returns type and HELP of a metric; the parts of a histogram or summary have those of the whole.
    pub(in crate::http::pages) fn about(&self, name: &str) -> (&'static str, &str) {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let known = self.0.get(name).or_else(|| self.0.get(base));
        known.map_or(("", ""), |m| (m.kind.as_str(), m.help.as_str()))
    }
}

/// Returns the metric names of the window that hold the text, in the name or in the help, and how many there
/// are without it. A name's link asks for it in the same window.
pub(super) fn names(asker: &Asker, find: &str, window: &Window, params: &Params) -> (Vec<Name>, usize) {
    let Ok(all) = asker.state.db.querier().label_values(LABEL_NAME, &[], window.start, window.end) else {
        return (Vec::new(), 0);
    };
    let known = Known::of(&asker.state.db);
    let find = find.to_lowercase();
    let count = all.len();
    let found = all.into_iter().filter_map(|name| {
        let (kind, help) = known.about(&name);
        if !name.to_lowercase().contains(&find) && !help.to_lowercase().contains(&find) {
            return None;
        }
        let href = params.with(&[("q", &expression(&name, kind)), ("find", "")]);
        Some(Name { kind, help: help.to_owned(), href, name: Breakable::new(&name) })
    });
    (found.take(NAMES_MAX).collect(), count)
}

/// Returns what is asked about a metric first: the rate of a counter, else the metric itself.
pub(in crate::http::pages) fn expression(name: &str, kind: &str) -> String {
    let selector = super::complete::metric(name);
    if name.ends_with("_total") || kind == "counter" { format!("rate({selector}[5m])") } else { selector }
}
