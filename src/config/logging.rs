//! `logging`: own log lines.

use super::folder::Folder;
use super::{LogFormat, Logging};
use crate::yaml::Fields;

/// Reads `logging`.
pub(super) fn logging(root: &Fields<'_>, folder: &Folder) -> Logging {
    let mut read = Logging { level: "info".to_owned(), format: LogFormat::Text, folder: None };
    let Some(fields) = root.fields("logging", &["level", "format", "folder"]) else { return read };
    if let Some(item) = fields.get("level")
        && let Some(level) = item.string()
    {
        if level.split(',').all(is_level) {
            read.level = level;
        } else {
            let _: Option<()> = item.mistake_with(
                format!("not a level: {level:?}"),
                "write error, warn, info or debug, or a filter like info,andon::forward=debug",
            );
        }
    }
    if let Some("json") = fields.get("format").and_then(|i| i.one_of(&["text", "json"])) {
        read.format = LogFormat::Json;
    }
    read.folder = folder.path_of(&fields, "folder");
    read
}

/// Tells whether a part of a filter is a level or gives one to a part of the program.
fn is_level(part: &str) -> bool {
    let level = part.split_once('=').map_or(part, |(_, level)| level);
    ["off", "error", "warn", "info", "debug", "trace"].contains(&level.trim())
}
