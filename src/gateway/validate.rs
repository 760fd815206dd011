//! What a frame of a device may hold, whoever sends it.

use super::protocol::{Code, Refusal};
use crate::bus::{Subject, SubjectPattern};

/// Longest subject or pattern that a device may use, in bytes.
const SUBJECT_BYTES_MAX: usize = 256;
/// Most tokens of one.
const SUBJECT_TOKENS_MAX: usize = 16;
/// First tokens that belong to NATS itself; those beginning with `$` are out by their character already.
const RESERVED: [&str; 2] = ["_INBOX", "_R_"];
/// Deepest nesting of a payload's arrays and objects.
const PAYLOAD_DEPTH_MAX: usize = 64;

/// Reads a subject that a device wants to publish on.
pub(super) fn subject(text: &str) -> Result<Subject, Refusal> {
    check(text)?;
    text.parse().map_err(|error: crate::bus::Error| Refusal::new(Code::InvalidSubject, error.to_string()))
}

/// Reads a pattern that a device wants to subscribe to, or a list of permissions is to hold.
pub(super) fn pattern(text: &str) -> Result<SubjectPattern, Refusal> {
    check(text)?;
    text.parse().map_err(|error: crate::bus::Error| Refusal::new(Code::InvalidSubject, error.to_string()))
}

fn check(text: &str) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(Code::InvalidSubject, message));
    if text.is_empty() {
        return refuse("Subject is required".to_owned());
    }
    if text.len() > SUBJECT_BYTES_MAX {
        return refuse(format!("Subject exceeds maximum length of {SUBJECT_BYTES_MAX} characters"));
    }
    if text.split('.').count() > SUBJECT_TOKENS_MAX {
        return refuse(format!("Subject exceeds maximum of {SUBJECT_TOKENS_MAX} tokens"));
    }
    if !text.split('.').all(|token| token == "*" || token == ">" || is_token(token)) {
        return refuse(format!("Invalid subject format: {}", shown(text)));
    }
    if is_reserved(text) {
        return refuse(format!("Subject is reserved: {}", shown(text)));
    }
    Ok(())
}

/// Tells whether a subject belongs to NATS itself.
pub(super) fn is_reserved(subject: &str) -> bool {
    subject.starts_with('$') || subject.split('.').next().is_some_and(|first| RESERVED.contains(&first))
}

/// Tells whether a text may be one token of a subject; device ids must.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Checks that a payload's arrays and objects are not nested too deep for whoever reads them.
///
/// The text is JSON already: only brackets outside of texts count.
pub(super) fn payload(json: &str) -> Result<(), Refusal> {
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > PAYLOAD_DEPTH_MAX {
            let message = format!("Payload is nested deeper than {PAYLOAD_DEPTH_MAX} levels");
            return Err(Refusal::new(Code::InvalidMessage, message));
        }
    }
    Ok(())
}

fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_subjects_are_refused() {
        let odd = [
            "",
            " ",
            ".",
            "..",
            "a.",
            ".a",
            "a..b",
            "a b",
            "a\t",
            "a\r\nPUB x 1",
            "a\0",
            "$JS.API.X",
            "$SYS.>",
            "_INBOX.>",
            "_INBOX",
            "_R_.x",
            "a/../b",
            "a*",
            "a.b>c",
            "\u{435}.a",
            "%s%n",
            "{{.}}",
            "';--",
        ];
        for text in odd {
            assert_eq!(pattern(text).map_err(|r| r.code), Err(Code::InvalidSubject), "{text:?}");
        }
        assert!(subject("a.*").is_err() && subject("a.>").is_err() && pattern(">.a").is_err());
        assert!(pattern("telemetry.*.temp-1_x").is_ok() && pattern("a.>").is_ok());
    }

    #[test]
    fn both_sides_of_the_limits_of_a_subject() {
        assert!(subject(&"a".repeat(256)).is_ok() && subject(&"a".repeat(257)).is_err());
        assert!(subject(&["a"; 16].join(".")).is_ok() && subject(&["a"; 17].join(".")).is_err());
    }

    #[test]
    fn only_brackets_outside_of_texts_nest() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(payload(&nested(64)).is_ok() && payload(&nested(65)).is_err());
        assert!(payload(&format!(r#"{{"a":"\"{}"}}"#, "[".repeat(100))).is_ok());
    }
}
