//! Log lines as pages show them.

use super::ask::Asker;
use super::number::clock;
use super::window::Window;
use crate::model::{LogEntry, Timestamp};
use crate::query::logql::{Request, Result};
use crate::storage::logs::Direction;

/// How bad a line says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Level {
    /// It does not say, or says that it is for developers.
    #[default]
    Other,
    /// For the record.
    Info,
    /// Worth a look.
    Warning,
    /// Something went wrong.
    Error,
}

impl Level {
    /// Finds the level of a line: in the stream's label, else in the first words of the text.
    pub(super) fn of(entry: &LogEntry) -> Level {
        let label = entry.stream.get("level").or_else(|| entry.stream.get("severity"));
        if let Some(level) = label {
            return Level::word(level);
        }
        let start: String = entry.line.chars().take(160).collect();
        if let Some(at) = start.find("\"level\":\"") {
            return Level::word(start.get(at + 9..).and_then(|s| s.split('"').next()).unwrap_or(""));
        }
        start
            .split(|c: char| !c.is_ascii_alphabetic())
            .map(Level::word)
            .find(|level| *level != Level::Other)
            .unwrap_or_default()
    }

    fn word(word: &str) -> Level {
        match word.to_ascii_lowercase().as_str() {
            "error" | "err" | "critical" | "crit" | "fatal" | "panic" | "emergency" | "alert" => Level::Error,
            "warning" | "warn" => Level::Warning,
            "info" | "notice" => Level::Info,
            _ => Level::Other,
        }
    }

    /// Returns its class on pages.
    pub(super) fn class(self) -> &'static str {
        match self {
            Level::Other => "other",
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// One line.
#[derive(Debug, Clone)]
pub(super) struct LogLine {
    /// When, for people.
    pub(super) clock: String,
    /// When, for machines.
    pub(super) iso: String,
    /// Who wrote it: the label that says most.
    pub(super) from: String,
    /// All labels of its stream.
    pub(super) labels: String,
    /// Its text; of a JSON object, what it says.
    pub(super) text: String,
    /// The other fields of a JSON object.
    pub(super) fields: String,
    /// How bad it says it is.
    pub(super) level: Level,
    /// When, in milliseconds.
    pub(super) at: Timestamp,
}

/// Asks for the newest lines of a window.
///
/// # Errors
/// When the expression is not LogQL or the store cannot be read.
pub(super) fn log_lines(asker: &Asker, query: &str, window: &Window, limit: usize) -> Result<Vec<LogLine>> {
    let ns = |t: Timestamp| t.as_millis().saturating_mul(1_000_000);
    let request = Request {
        query: query.to_owned(),
        start_ns: ns(window.start),
        // The window's end is now: lines of this very millisecond belong to it.
        end_ns: ns(window.end).saturating_add(1_000_000),
        limit,
        direction: Direction::Backward,
    };
    let answer = asker.state.log_engine.query(&request)?;
    Ok(answer.lines.iter().map(|l| log_line(&l.entry, asker)).collect())
}

fn log_line(entry: &LogEntry, asker: &Asker) -> LogLine {
    let at = Timestamp::from_millis(entry.timestamp_ns.div_euclid(1_000_000));
    let label = |name| entry.stream.get(name);
    let from = ["device_id", "unit", "service", "app", "source", "job"].into_iter().find_map(label);
    let (text, fields) = split(&entry.line);
    let labels: Vec<String> = entry.stream.iter().map(|(n, v)| format!("{n}={v}")).collect();
    LogLine {
        clock: clock(at, asker.now, &asker.state.info.time_zone),
        iso: at.to_rfc3339(),
        from: from.unwrap_or("").to_owned(),
        labels: labels.join(" "),
        text,
        fields,
        level: Level::of(entry),
        at,
    }
}

/// Splits a JSON object into what it says and its other fields; time and level stand elsewhere in the row.
/// Every other line is text as it is.
fn split(line: &str) -> (String, String) {
    let as_it_is = || (line.to_owned(), String::new());
    if !line.starts_with('{') {
        return as_it_is();
    }
    let Ok(serde_json::Value::Object(object)) = serde_json::from_str(line) else { return as_it_is() };
    let Some((said, text)) = ["message", "msg", "reason"].iter().find_map(|n| Some((*n, object.get(*n)?.as_str()?)))
    else {
        return as_it_is();
    };
    let elsewhere = ["level", "severity", "timestamp", "time", "ts", "deviceId", said];
    let fields: Vec<String> = object
        .iter()
        .filter(|(name, _)| !elsewhere.contains(&name.as_str()))
        .map(|(name, value)| match value {
            serde_json::Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        })
        .collect();
    (text.to_owned(), fields.join("  "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    #[track_caller]
    fn check(labels: &[(&str, &str)], line: &str, expected: Level) {
        let stream = Labels::from_pairs(labels.iter().copied());
        let entry = LogEntry { stream, timestamp_ns: 0, line: line.to_owned() };
        assert_eq!(Level::of(&entry), expected, "{line}");
    }

    #[test]
    fn the_level_is_found_where_a_line_says_it() {
        check(&[("level", "warn")], "all is lost: ERROR", Level::Warning);
        check(&[], "{\"level\":\"error\",\"msg\":\"x\"}", Level::Error);
        check(&[], "2026-11-21T09:00:00Z WARN conveyor slow", Level::Warning);
        check(&[], "no level here", Level::Other);
    }

    #[test]
    fn a_json_line_says_its_message_first() {
        let (text, fields) = split(r#"{"level":"info","message":"relay replaced","line":"line1","n":3}"#);
        assert_eq!((text.as_str(), fields.as_str()), ("relay replaced", "line=line1  n=3"));
        for plain in ["{not json", "plain", r#"{"a":1}"#] {
            assert_eq!(split(plain), (plain.to_owned(), String::new()));
        }
    }
}
