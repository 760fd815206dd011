//! Keys of Prometheus and Alertmanager that Andon knows and does not act on.
//!
//! What changes only how things are done there is a note: the file loads. What would silently leave
//! somebody unwatched, unasked or untold is a mistake.

use crate::yaml::Fields;

/// A key without effect: the file loads, `andon check` and the log say so.
pub(super) fn note(fields: &Fields<'_>, keys: &[(&str, &str)]) {
    for (key, why) in keys {
        if let Some(item) = fields.get(key) {
            item.note(format!("no effect in Andon: {why}"));
        }
    }
}

/// A key whose effect would be missed: a mistake.
pub(super) fn refuse(fields: &Fields<'_>, keys: &[(&str, &str)]) {
    for (key, instead) in keys {
        if let Some(item) = fields.get(key) {
            let _: Option<()> = item.mistake_with("not supported by Andon", *instead);
        }
    }
}
