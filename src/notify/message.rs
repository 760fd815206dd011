//! A notice as templates see it, and the templates that everybody has.
//!
//! Source: Alertmanager, `template.Data`; the names of the default templates are upstream's, so that templates that
//! call them work, their words are ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::digest::{self, Digest};
use super::notice::{Notice, NoticeAlarm};
use super::receiver::generator_url;
use crate::model::{Labels, Timestamp};
use crate::template::{Context, Library, Mistake, Template, Value};

/// What Go writes for a time that is not set: the first second of the year 1.
const NO_TIME: Timestamp = Timestamp::from_millis(-62_135_596_800_000);

/// Returns the templates that everybody has: `slack.default.title` and the like.
///
/// # Errors
/// None but a bug in our own text.
pub fn default_templates() -> Result<Library, Vec<Mistake>> {
    Library::default().with(include_str!("message.tmpl"))
}

/// A notice ready to be put into words.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) notice: &'a Notice,
    pub(super) external_url: &'a str,
    pub(super) now: Timestamp,
    /// What a digest says, in words of our own: templates are made for one group.
    digest: Option<Digest>,
    /// What this way of the receiver knows to fire.
    pub(super) standing: Arc<Vec<NoticeAlarm>>,
    data: Value,
}

impl<'a> Message<'a> {
    pub(super) fn new(notice: &'a Notice, surroundings: &Surroundings, external_url: &'a str, now: Timestamp) -> Self {
        let digest = notice.is_digest().then(|| digest::words(notice, surroundings, external_url, now));
        let standing = surroundings.standing.clone();
        Message { notice, external_url, now, digest, standing, data: data(notice, external_url) }
    }

    /// Tells whether any of the alarms fires; of a digest, whether anything still does.
    pub(super) fn is_firing(&self) -> bool {
        self.notice.firing() > 0 || (self.digest.is_some() && !self.standing.is_empty())
    }

    /// Puts the notice into the words of a template.
    pub(super) fn render(&self, template: &Template) -> Result<String, String> {
        self.render_data(template, &self.data)
    }

    /// As [`Message::render`] for a text in HTML: labels and annotations are escaped.
    pub(super) fn render_html(&self, template: &Template) -> Result<String, String> {
        if let Some(digest) = &self.digest {
            return Ok(digest::html(digest));
        }
        let mut notice = self.notice.clone();
        notice.group_labels = escaped(&notice.group_labels);
        for alarm in &mut notice.alarms {
            alarm.labels = escaped(&alarm.labels);
            alarm.annotations = escaped(&alarm.annotations);
            alarm.source_url = escape_html(&alarm.source_url);
        }
        self.render_data(template, &data(&notice, self.external_url))
    }

    fn render_data(&self, template: &Template, data: &Value) -> Result<String, String> {
        let query = |_: &str| Err("a notice has no queries".to_owned());
        let context = Context { query: &query, external_url: self.external_url, now: self.now };
        template.render(&context, data, &[]).map_err(|e| e.to_string())
    }

    /// As [`Message::render`], cut to so many characters.
    pub(super) fn render_within(&self, template: &Template, chars_max: usize) -> Result<String, String> {
        Ok(cut(self.render(template)?, chars_max))
    }

    /// Renders the head line; of a digest it is its own.
    pub(super) fn headline(&self, template: &Template, chars_max: usize) -> Result<String, String> {
        match &self.digest {
            Some(digest) => Ok(cut(digest.headline.clone(), chars_max)),
            None => self.render_within(template, chars_max),
        }
    }

    /// Renders the text; of a digest it is its own.
    pub(super) fn words(&self, template: &Template, chars_max: usize) -> Result<String, String> {
        match &self.digest {
            Some(digest) => Ok(cut(digest.text(), chars_max)),
            None => self.render_within(template, chars_max),
        }
    }

    /// As [`Message::words`] where the text is HTML.
    pub(super) fn words_in_html(&self, template: &Template, chars_max: usize) -> Result<String, String> {
        match &self.digest {
            Some(digest) => Ok(cut(escape_html(&digest.text()), chars_max)),
            None => Ok(cut(self.render_html(template)?, chars_max)),
        }
    }

    /// Returns what a digest says.
    pub(super) fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }
}

/// What a notice does not hold itself but its words or its effect need: how things stand when it is sent.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    /// Labels of all alarms that this way of the receiver knows to fire.
    pub(super) standing: Arc<Vec<NoticeAlarm>>,
    /// The box's name.
    pub(super) box_name: Arc<str>,
    /// The site's time zone.
    pub(super) zone: jiff::tz::TimeZone,
}

/// Cuts a text to so many characters.
fn cut(text: String, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text;
    }
    text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

fn escaped(labels: &Labels) -> Labels {
    Labels::from_pairs(labels.iter().map(|(name, value)| (escape_html(name), escape_html(value))))
}

/// Writes text so that it is text in HTML.
pub(super) fn escape_html(text: &str) -> String {
    let escape = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&#39;".to_owned(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// Returns `firing` or `resolved`.
pub(super) fn status(is_firing: bool) -> &'static str {
    if is_firing { "firing" } else { "resolved" }
}

fn data(notice: &Notice, external_url: &str) -> Value {
    Value::record(vec![
        ("Receiver", Value::text(&notice.receiver)),
        ("Status", Value::text(status(notice.firing() > 0))),
        ("Alerts", Value::List(Arc::new(notice.alarms.iter().map(|a| alert(a, external_url)).collect()))),
        ("GroupLabels", Value::Pairs(notice.group_labels.clone())),
        ("CommonLabels", Value::Pairs(as_labels(&common(notice, |a| &a.labels)))),
        ("CommonAnnotations", Value::Pairs(as_labels(&common(notice, |a| &a.annotations)))),
        ("ExternalURL", Value::text(external_url)),
        ("GroupKey", Value::text(&notice.group_key)),
    ])
}

fn alert(alarm: &NoticeAlarm, external_url: &str) -> Value {
    Value::record(vec![
        ("Status", Value::text(status(alarm.ends_at.is_none()))),
        ("Labels", Value::Pairs(alarm.labels.clone())),
        ("Annotations", Value::Pairs(alarm.annotations.clone())),
        ("StartsAt", Value::Time(alarm.starts_at)),
        ("EndsAt", Value::Time(alarm.ends_at.unwrap_or(NO_TIME))),
        ("GeneratorURL", Value::text(generator_url(external_url, &alarm.source_url, &alarm.expression))),
        ("Fingerprint", Value::text(format!("{:016x}", alarm.fingerprint))),
    ])
}

/// Returns the pairs that all alarms of a notice have.
pub(super) fn common<'a>(
    notice: &'a Notice,
    labels: impl Fn(&'a NoticeAlarm) -> &'a Labels,
) -> BTreeMap<&'a str, &'a str> {
    let Some((first, rest)) = notice.alarms.split_first() else { return BTreeMap::new() };
    let is_common = |(name, value): &(&str, &str)| rest.iter().all(|a| labels(a).get(name) == Some(*value));
    labels(first).iter().filter(is_common).collect()
}

fn as_labels(pairs: &BTreeMap<&str, &str>) -> Labels {
    Labels::from_pairs(pairs.iter().map(|(n, v)| (*n, *v)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A notice of two alarms of a line, one of them over.
    pub(in crate::notify) fn notice() -> Notice {
        let alarm = |device: &str, ends_at: Option<i64>| NoticeAlarm {
            fingerprint: 0xab,
            labels: Labels::from_pairs([("alertname", "Hot"), ("device", device), ("severity", "critical")]),
            annotations: Labels::from_pairs([("summary", format!("{device} is hot"))]),
            starts_at: Timestamp::from_millis(1_435_781_451_781),
            ends_at: ends_at.map(Timestamp::from_millis),
            expression: "up == 0".to_owned(),
            source_url: String::new(),
        };
        Notice {
            id: 1,
            made_at: Timestamp::from_millis(0),
            since: Timestamp::from_millis(0),
            group_key: "{}:{alertname=\"Hot\"}".to_owned(),
            receiver: "team".to_owned(),
            integration: "slack[0]".to_owned(),
            group_labels: Labels::from_pairs([("alertname", "Hot")]),
            alarms: vec![alarm("a", None), alarm("b", Some(1_435_781_461_000))],
            folded: vec![],
            left_out: 0,
        }
    }

    /// Nothing else fires, in UTC.
    pub(in crate::notify) fn calm() -> Surroundings {
        Surroundings { standing: Arc::default(), box_name: "box".into(), zone: jiff::tz::TimeZone::UTC }
    }

    #[track_caller]
    fn check(template: &str, expected: &str) {
        let template = Template::parse_in(template, &default_templates().unwrap()).unwrap();
        let notice = notice();
        let message = Message::new(&notice, &calm(), "http://box", Timestamp::from_millis(1_435_781_511_781));
        assert_eq!(message.render(&template).as_deref(), Ok(expected));
    }

    #[test]
    fn templates_see_what_alertmanagers_see() {
        check("{{ template \"slack.default.title\" . }}", "[FIRING:1] Hot (critical)");
        check("{{ template \"slack.default.titlelink\" . }}", "http://box/alarms");
        check("{{ range .Alerts }}{{ .Labels.device }}:{{ .Status }} {{ end }}", "a:firing b:resolved ");
        check("{{ (index .Alerts 0).StartsAt.Format \"2 Jan 2006 15:04:05\" }}", "1 Jul 2015 20:10:51");
        check("{{ range .Alerts.Firing }}{{ .EndsAt | date \"2006-01-02\" }}{{ end }}", "0001-01-01");
        check(
            "{{ ((index .Alerts 0).StartsAt | tz \"Europe/Berlin\").Format \"15:04:05 MST -07:00\" }}",
            "22:10:51 CEST +02:00",
        );
        check("{{ (index .Alerts 0).StartsAt | tz \"Europe/Berlin\" | date \"2 Jan 15:04\" }}", "1 Jul 22:10");
        check("{{ .CommonLabels.severity }}{{ .CommonLabels.device }}!", "critical!");
        check("{{ .CommonLabels.Names | join \",\" }}", "alertname,severity");
        check("{{ .CommonLabels.Remove (stringSlice \"severity\") | toJson }}", r#"{"alertname":"Hot"}"#);
        check("{{ since (index .Alerts 0).StartsAt | humanizeDuration }}", "1m 0s");
    }

    #[test]
    fn a_template_that_is_nowhere_is_found_when_it_is_read() {
        let library = default_templates().unwrap();
        let mistakes = Template::parse_in("{{ template \"slack.defualt.title\" . }}", &library).unwrap_err();
        assert!(mistakes[0].message.contains("slack.defualt.title"), "{mistakes:?}");
        let library = library.with("{{ define \"mine\" }}{{ .Receiver }}{{ end }}").unwrap();
        assert!(Template::parse_in("{{ template \"mine\" . }}", &library).is_ok());
    }
}
