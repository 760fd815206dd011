//! What the black box shows: which frames are wanted, and how they are written.

use serde::Serialize;

use crate::gateway::{FrameView, FrozenHead};

/// Which frames are wanted; empty: any.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// Part of a subject, an id, a code or a payload, in any case.
    pub(super) find: String,
    /// A type's name.
    pub(super) kind: String,
    /// `in` or `out`.
    pub(super) direction: String,
}

impl Wanted {
    /// Reads it from parameters, by name.
    pub(super) fn read<'a>(parameter: impl Fn(&str) -> Option<&'a str>) -> Wanted {
        let text = |name| parameter(name).unwrap_or("").trim().to_owned();
        Wanted { find: text("find").to_lowercase(), kind: text("type"), direction: text("direction") }
    }

    /// Tells whether a frame is wanted.
    pub(super) fn wants(&self, frame: &FrameView) -> bool {
        let has = |text: &str| text.to_lowercase().contains(&self.find);
        let is_found = || [&frame.subject, &frame.mark, &frame.code, &frame.payload].into_iter().any(|text| has(text));
        (self.direction.is_empty() || self.direction == frame.direction())
            && (self.kind.is_empty() || self.kind == frame.kind())
            && (self.find.is_empty() || is_found())
    }
}

/// A frame as the API writes it.
#[derive(Debug, Serialize)]
pub(super) struct FrameJson<'a> {
    time: String,
    direction: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: &'a str,
    size: u32,
    id: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    payload: &'a str,
}

impl<'a> FrameJson<'a> {
    pub(super) fn of(frame: &'a FrameView) -> Self {
        FrameJson {
            time: frame.at.to_rfc3339(),
            direction: frame.direction(),
            kind: frame.kind(),
            subject: &frame.subject,
            size: frame.size,
            id: &frame.mark,
            code: &frame.code,
            payload: &frame.payload,
        }
    }
}

/// A frozen copy as the API lists it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FrozenJson {
    id: i64,
    alarm: String,
    alarm_name: String,
    raised_at: String,
    frames: u32,
}

impl From<FrozenHead> for FrozenJson {
    fn from(head: FrozenHead) -> Self {
        let FrozenHead { id, alarm, alarm_name, raised_at, frames, .. } = head;
        FrozenJson { id, alarm, alarm_name, raised_at: raised_at.to_rfc3339(), frames }
    }
}

/// Writes frames as CSV with a head.
pub(super) fn csv<'a>(frames: impl Iterator<Item = &'a FrameView>) -> String {
    let mut text = "time,direction,type,subject,size,id,code,payload\n".to_owned();
    for frame in frames {
        let size = frame.size.to_string();
        text.extend([&frame.at.to_rfc3339(), ",", frame.direction(), ",", frame.kind(), ",", &cell(&frame.subject)]);
        text.extend([",", &size, ",", &cell(&frame.mark), ",", &cell(&frame.code), ",", &cell(&frame.payload), "\n"]);
    }
    text
}

/// Writes frames as one JSON object a line.
pub(super) fn json_lines<'a>(frames: impl Iterator<Item = &'a FrameView>) -> String {
    let mut text = String::new();
    for frame in frames {
        text.push_str(&serde_json::to_string(&FrameJson::of(frame)).unwrap_or_default());
        text.push('\n');
    }
    text
}

/// Quotes a cell; what a spreadsheet would take for a formula gets an apostrophe.
fn cell(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let start = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{start}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::{Direction, Seen};
    use crate::model::Timestamp;

    fn frame() -> FrameView {
        FrameView {
            at: Timestamp::from_millis(1500),
            direction: Direction::Out,
            seen: Seen::Frame(7),
            size: 99,
            subject: "Lab.a".to_owned(),
            mark: "=1+1".to_owned(),
            code: "NOT_AUTHORIZED".to_owned(),
            payload: "{\"a\"}".to_owned(),
        }
    }

    #[test]
    fn frames_are_found_by_what_they_hold() {
        let wants = |pairs: &[(&str, &'static str)]| {
            Wanted::read(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)).wants(&frame())
        };
        assert!(wants(&[]));
        assert!(wants(&[("find", "lab")]) && wants(&[("find", "not_auth")]) && !wants(&[("find", "office")]));
        assert!(wants(&[("type", "error"), ("direction", "out")]));
        assert!(!wants(&[("type", "publish")]) && !wants(&[("direction", "in")]));
    }

    #[test]
    fn forms_are_safe_for_spreadsheets_and_programs() {
        let written = csv([frame()].iter());
        let line = "1970-01-01T00:00:01.500Z,out,error,\"Lab.a\",99,\"'=1+1\",\"NOT_AUTHORIZED\",\"{\"\"a\"\"}\"\n";
        assert_eq!(written.split_once('\n').unwrap().1, line);
        let line: serde_json::Value = serde_json::from_str(json_lines([frame()].iter()).trim()).unwrap();
        assert_eq!((&line["type"], &line["id"], &line["size"]), (&"error".into(), &"=1+1".into(), &99.into()));
    }
}
