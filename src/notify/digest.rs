//! The words of a digest: what came and went while somebody could not be reached, and what still fires. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::message::Surroundings;
use super::notice::{Notice, NoticeAlarm};
use crate::model::{Timestamp, escape_html, format_duration};

/// Alarms of each kind that are named; the rest is a number.
const NAMED_MAX: usize = 25;

/// What a digest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) headline: String,
    /// Paragraphs: a sentence, and lines that belong to it.
    pub(super) paragraphs: Vec<(String, Vec<String>)>,
}

impl Digest {
    /// Returns everything as plain text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (sentence, lines) in &self.paragraphs {
            let _ = writeln!(text, "{sentence}");
            for line in lines {
                let _ = writeln!(text, "- {line}");
            }
        }
        text.trim_end().to_owned()
    }
}

/// Puts a digest into words. What still fires is told by notices that follow it.
pub(super) fn words(notice: &Notice, around: &Surroundings, external_url: &str, now: Timestamp) -> Digest {
    let gone = notice.alarms.len() as u64 + notice.left_out;
    let standing = &around.standing;
    let fires = if standing.len() == 1 { "fires" } else { "fire" };
    let away = format_duration(Duration::from_secs(now.since(notice.since).as_secs().max(1)));
    let (since, until) = (clock(notice.since, now, &around.zone), clock(now, now, &around.zone));
    let still = match standing.len() {
        0 => "nothing fires any more".to_owned(),
        1 => "1 still fires and follows in a message of its own".to_owned(),
        n => format!("{n} still {fires} and follow in messages of their own"),
    };
    let mut paragraphs = vec![(
        format!("{} could not reach you from {since} to {until}: {gone} came and went, {still}.", around.box_name),
        Vec::new(),
    )];
    if !standing.is_empty() {
        paragraphs.push((format!("Still {fires}:"), named(standing, standing.len() as u64, now, &around.zone)));
    }
    if gone > 0 {
        paragraphs.push(("Came and went:".to_owned(), named(&notice.alarms, gone, now, &around.zone)));
    }
    paragraphs.push((format!("All of it: {external_url}/alarms"), Vec::new()));
    let headline = format!("[AWAY {away}] {}: {gone} came and went, {} still {fires}", around.box_name, standing.len());
    Digest { headline, paragraphs }
}

/// Returns the digest as a small page.
pub(super) fn html(digest: &Digest) -> String {
    let mut page = format!("<html><body><h2>{}</h2>", escape_html(&digest.headline));
    for (sentence, lines) in &digest.paragraphs {
        let _ = write!(page, "<p>{}</p>", escape_html(sentence));
        if !lines.is_empty() {
            let items: String = lines.iter().map(|line| format!("<li>{}</li>", escape_html(line))).collect();
            let _ = write!(page, "<ul>{items}</ul>");
        }
    }
    page + "</body></html>"
}

fn named(alarms: &[NoticeAlarm], count: u64, now: Timestamp, zone: &TimeZone) -> Vec<String> {
    let mut lines: Vec<String> = alarms.iter().take(NAMED_MAX).map(|a| line(a, now, zone)).collect();
    let rest = count - lines.len() as u64;
    if rest > 0 {
        lines.push(format!("and {rest} more"));
    }
    lines
}

fn line(alarm: &NoticeAlarm, now: Timestamp, zone: &TimeZone) -> String {
    let others = alarm.labels.iter().filter(|(name, _)| *name != "alertname");
    let labels: Vec<String> = others.map(|(name, value)| format!("{name}={value}")).collect();
    let begin = clock(alarm.starts_at, now, zone);
    let when = match alarm.ends_at {
        None => format!("since {begin}"),
        Some(end) => format!("{begin} to {}", clock(end, now, zone)),
    };
    format!("{} ({}) {when}", alarm.name(), labels.join(", "))
}

/// Writes a moment as the time of day, with the date if that is another day than today.
fn clock(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let local = |at: Timestamp| {
        let instant = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default();
        instant.to_zoned(zone.clone())
    };
    let (local, today) = (local(at), local(now));
    let format = if local.date() == today.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    local.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::Labels;

    fn alarm(name: &str, severity: &str, ends_at: Option<&str>) -> NoticeAlarm {
        let labels = Labels::from_pairs([("alertname", name), ("severity", severity)]);
        NoticeAlarm {
            fingerprint: labels.stable_hash(),
            labels,
            annotations: Labels::empty(),
            starts_at: Timestamp::parse("2026-11-20T08:00:00Z").unwrap(),
            ends_at: ends_at.map(|at| Timestamp::parse(at).unwrap()),
            expression: String::new(),
            source_url: String::new(),
        }
    }

    fn over(key: &str, id: u64, alarms: Vec<NoticeAlarm>) -> Notice {
        Notice {
            id,
            made_at: Timestamp::parse("2026-11-20T08:30:00Z").unwrap(),
            since: Timestamp::parse("2026-11-20T08:00:10Z").unwrap(),
            group_key: key.to_owned(),
            receiver: "shift".to_owned(),
            integration: "slack[0]".to_owned(),
            group_labels: Labels::empty(),
            alarms,
            folded: vec![],
            left_out: 0,
        }
    }

    #[test]
    fn a_digest_says_what_came_and_went_and_what_still_fires() {
        let first = over("a", 1, vec![alarm("Jam", "warning", Some("2026-11-20T08:10:00Z"))]);
        let second = over("b", 2, vec![alarm("Hot", "critical", Some("2026-11-20T08:20:00Z"))]);
        let now = Timestamp::parse("2026-11-20T10:00:10Z").unwrap();
        let digest = Notice::digest(&[&first, &second], 3, now).unwrap();
        assert_eq!(digest.folded, ["a", "b"]);
        let around = Surroundings {
            standing: Arc::new(vec![alarm("Down", "critical", None)]),
            box_name: "press-line".into(),
            zone: TimeZone::get("Europe/Berlin").unwrap(),
            links: None,
        };
        let words = words(&digest, &around, "http://box", now);
        assert_eq!(words.headline, "[AWAY 2h] press-line: 2 came and went, 1 still fires");
        assert_eq!(
            words.text(),
            "press-line could not reach you from 09:00 to 11:00: 2 came and went, 1 still fires and follows in a \
             message of its own.\nStill fires:\n- Down (severity=critical) since 09:00\nCame and went:\n\
             - Hot (severity=critical) 09:00 to 09:20\n- Jam (severity=warning) 09:00 to 09:10\n\
             All of it: http://box/alarms"
        );
        assert!(html(&words).contains("<li>Hot (severity=critical) 09:00 to 09:20</li>"));
    }

    #[test]
    fn digests_are_put_together_and_stay_bounded() {
        let many = |from: usize| {
            let one = |i: usize| alarm(&format!("A{i}"), "info", Some("2026-11-20T08:10:00Z"));
            over(&format!("g{from}"), from as u64, (from..from + 150).map(one).collect())
        };
        let now = Timestamp::parse("2026-11-20T10:00:10Z").unwrap();
        let first = Notice::digest(&[&many(0), &many(150)], 900, now).unwrap();
        assert_eq!((first.alarms.len(), first.left_out), (200, 100));
        let urgent = over("x", 901, vec![alarm("Hot", "critical", Some("2026-11-20T09:10:00Z"))]);
        let second = Notice::digest(&[&first, &urgent], 902, now).unwrap();
        assert_eq!((second.alarms.len(), second.left_out, second.folded.len()), (200, 101, 3));
        assert_eq!(second.alarms[0].name(), "Hot");
        let around = Surroundings { standing: Arc::default(), box_name: "b".into(), zone: TimeZone::UTC, links: None };
        let text = words(&second, &around, "u", now).text();
        assert!(text.contains("301 came and went, nothing fires any more"), "{text}");
        assert!(text.contains("- and 276 more"), "{text}");
    }
}
