//! Matchers as Alertmanager writes them: `severity="critical"`, `team=~"a|b"`, `{a=b, "c d"!="e"}`.

use crate::model::{Error, Matcher, parse_matchers};
use crate::yaml::Item;

/// Reads one text that holds one or more matchers.
pub(super) fn read(item: &Item<'_>) -> Vec<Matcher> {
    let Some(text) = item.string() else { return Vec::new() };
    match parse_matchers(&text) {
        Ok(matchers) => matchers,
        Err(why) => {
            let message = match why {
                Error::Matcher { .. } => why.to_string(),
                other => format!("not a matcher: {text:?}: {other}"),
            };
            let _: Option<()> = item.mistake_with(message, "write it like severity=\"critical\" or team=~\"a|b\"");
            Vec::new()
        }
    }
}
