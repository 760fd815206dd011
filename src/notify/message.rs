//! A notice as templates see it, and the templates that everybody has.
//!
//! Source: Alertmanager, `template.Data`; the names of the default templates are upstream's, so that templates that
//! call them work, their words are ours.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::ack::{AckKey, Link, Target, group_hash, receiver_hash};
use super::digest::{self, Digest};
use super::notice::{Notice, NoticeAlarm};
use super::receiver::generator_url;
use crate::model::{Labels, Timestamp, escape_html};
use crate::template::{Context, Error, Library, Mistake, Template, Value};

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
    /// What a digest says, in words of our own: templates are made for one group, unless they speak of digests.
    digest: Option<Digest>,
    /// What this way of the receiver knows to fire.
    pub(super) standing: Arc<Vec<NoticeAlarm>>,
    links: Option<(Arc<AckKey>, Duration)>,
}

/// How texts are put into a template's values.
type Escape = fn(&str) -> String;

impl<'a> Message<'a> {
    pub(super) fn new(notice: &'a Notice, surroundings: &Surroundings, external_url: &'a str, now: Timestamp) -> Self {
        let digest = notice.is_digest().then(|| digest::words(notice, surroundings, external_url, now));
        let (standing, links) = (surroundings.standing.clone(), surroundings.links.clone());
        Message { notice, external_url, now, digest, standing, links }
    }

    /// Tells whether any of the alarms fires; of a digest, whether anything still does.
    pub(super) fn is_firing(&self) -> bool {
        self.notice.firing() > 0 || (self.digest.is_some() && !self.standing.is_empty())
    }

    /// Puts the notice into the words of a template.
    pub(super) fn render(&self, template: &Template) -> Result<String, String> {
        self.fitting(template, str::to_owned).map(|(text, _)| text)
    }

    /// As [`Message::render`] for a text in HTML: labels and annotations are escaped.
    pub(super) fn render_html(&self, template: &Template) -> Result<String, String> {
        if let Some(digest) = self.own_digest(template) {
            return Ok(digest::html(digest));
        }
        let (mut html, left_out) = self.fitting(template, escape_html)?;
        if left_out > 0 {
            let more = format!("<p>{}</p>", escape_html(&self.more(left_out)));
            let at = html.rfind("</body>").unwrap_or(html.len());
            html.insert_str(at, &more);
        }
        Ok(html)
    }

    /// Renders with as many alarms as the bounds of templates allow, the most urgent; returns how many were left out.
    fn fitting(&self, template: &Template, escape: Escape) -> Result<(String, usize), String> {
        let query = |_: &str| Err("a notice has no queries".to_owned());
        let context = Context { query: &query, external_url: self.external_url, now: self.now };
        let all = self.notice.alarms.len();
        let mut shown = all;
        loop {
            match template.render(&context, &self.data(shown, escape), &[]) {
                Ok(text) => return Ok((text, all - shown)),
                Err(Error::Limit(_)) if shown > 1 => shown /= 2,
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Says how many alarms a text had no room for.
    fn more(&self, left_out: usize) -> String {
        format!("And {left_out} more: {}/alarms", self.external_url)
    }

    /// As [`Message::render`], cut to so many characters.
    pub(super) fn render_within(&self, template: &Template, chars_max: usize) -> Result<String, String> {
        Ok(cut(self.render(template)?, chars_max))
    }

    /// Renders the head line; of a digest it is its own.
    pub(super) fn headline(&self, template: &Template, chars_max: usize) -> Result<String, String> {
        match self.own_digest(template) {
            Some(digest) => Ok(cut(digest.headline.clone(), chars_max)),
            None => self.render_within(template, chars_max),
        }
    }

    /// Renders the text; of a digest it is its own.
    pub(super) fn words(&self, template: &Template, chars_max: usize) -> Result<String, String> {
        if let Some(digest) = self.own_digest(template) {
            return Ok(cut(digest.text(), chars_max));
        }
        let (mut text, left_out) = self.fitting(template, str::to_owned)?;
        if left_out > 0 {
            text = format!("{}\n\n{}", text.trim_end(), self.more(left_out));
        }
        Ok(cut(text, chars_max))
    }

    /// As [`Message::words`] where the text is HTML.
    pub(super) fn words_in_html(&self, template: &Template, chars_max: usize) -> Result<String, String> {
        match self.own_digest(template) {
            Some(digest) => Ok(cut(escape_html(&digest.text()), chars_max)),
            None => Ok(cut(self.render_html(template)?, chars_max)),
        }
    }

    /// Returns what a digest says, unless the template words it itself: then it looks at `.Digest`.
    pub(super) fn own_digest(&self, template: &Template) -> Option<&Digest> {
        self.digest.as_ref().filter(|_| !template.reads("Digest"))
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
    /// What links to acknowledge by are signed with, and how long they are good; `None`: there are none.
    pub(super) links: Option<(Arc<AckKey>, Duration)>,
}

/// Cuts a text to so many characters.
fn cut(text: String, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text;
    }
    text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

/// Returns `firing` or `resolved`.
pub(super) fn status(is_firing: bool) -> &'static str {
    if is_firing { "firing" } else { "resolved" }
}

impl Message<'_> {
    /// Returns what templates see, with so many of the alarms.
    fn data(&self, shown: usize, escape: Escape) -> Value {
        let notice = self.notice;
        let labels =
            |labels: &Labels| Value::Pairs(Labels::from_pairs(labels.iter().map(|(n, v)| (escape(n), escape(v)))));
        let digest = |digest: &Digest| {
            let standing = self.standing.iter().map(|a| self.alert(a, escape)).collect();
            Value::record(vec![
                ("Headline", Value::text(escape(&digest.headline))),
                ("Text", Value::text(escape(&digest.text()))),
                ("Since", Value::Time(notice.since)),
                ("Until", Value::Time(self.now)),
                ("LeftOut", Value::Int(i64::try_from(notice.left_out).unwrap_or(i64::MAX))),
                ("Standing", Value::List(Arc::new(standing))),
            ])
        };
        let alerts = most_urgent(&notice.alarms, shown).into_iter().map(|a| self.alert(a, escape)).collect();
        let truncated = i64::try_from(notice.alarms.len() - shown).unwrap_or(i64::MAX);
        Value::record(vec![
            ("Receiver", Value::text(&notice.receiver)),
            ("Status", Value::text(status(notice.firing() > 0))),
            ("Alerts", Value::List(Arc::new(alerts))),
            ("GroupLabels", labels(&notice.group_labels)),
            ("CommonLabels", labels(&as_labels(&common(notice, |a| &a.labels)))),
            ("CommonAnnotations", labels(&as_labels(&common(notice, |a| &a.annotations)))),
            ("ExternalURL", Value::text(self.external_url)),
            ("GroupKey", Value::text(&notice.group_key)),
            // These are our own.
            ("AckURL", Value::text(escape(&self.ack_url()))),
            ("Digest", self.digest.as_ref().map_or(Value::Nil, digest)),
            ("TruncatedAlerts", Value::Int(truncated)),
        ])
    }

    fn alert(&self, alarm: &NoticeAlarm, escape: Escape) -> Value {
        let labels =
            |labels: &Labels| Value::Pairs(Labels::from_pairs(labels.iter().map(|(n, v)| (escape(n), escape(v)))));
        let source = generator_url(self.external_url, &alarm.source_url, &alarm.expression);
        Value::record(vec![
            ("Status", Value::text(status(alarm.ends_at.is_none()))),
            ("Labels", labels(&alarm.labels)),
            ("Annotations", labels(&alarm.annotations)),
            ("StartsAt", Value::Time(alarm.starts_at)),
            ("EndsAt", Value::Time(alarm.ends_at.unwrap_or(NO_TIME))),
            ("GeneratorURL", Value::text(escape(&source))),
            ("Fingerprint", Value::text(format!("{:016x}", alarm.fingerprint))),
            // Our own.
            ("AckURL", Value::text(escape(&self.ack_url_of(alarm)))),
        ])
    }

    /// Returns the link by which all that fires is acknowledged, as it is told here; empty if there is none.
    pub(super) fn ack_url(&self) -> String {
        let mut firing = self.notice.alarms.iter().filter(|a| a.ends_at.is_none());
        match (firing.next(), firing.next()) {
            (None, _) => String::new(),
            (Some(only), None) => self.ack_url_of(only),
            (Some(first), Some(second)) => {
                let newest = firing.map(|a| a.starts_at).fold(first.starts_at.max(second.starts_at), Timestamp::max);
                self.link(Target::Group(group_hash(&self.notice.group_key), newest))
            }
        }
    }

    /// Returns the link by which one alarm is acknowledged; empty if it does not fire or there are no links.
    pub(super) fn ack_url_of(&self, alarm: &NoticeAlarm) -> String {
        match alarm.ends_at {
            None => self.link(Target::Alarm(alarm.fingerprint, alarm.starts_at)),
            Some(_) => String::new(),
        }
    }

    fn link(&self, target: Target) -> String {
        let links = self.links.as_ref().filter(|_| self.digest.is_none());
        links.map_or_else(String::new, |(key, lasting)| {
            let receiver = receiver_hash(&self.notice.receiver);
            key.address(self.external_url, Link { target, receiver, until: self.now + *lasting })
        })
    }
}

/// Returns so many alarms, those that fire and then the most urgent before others, in the order in which they came.
fn most_urgent(alarms: &[NoticeAlarm], count: usize) -> Vec<&NoticeAlarm> {
    if count >= alarms.len() {
        return alarms.iter().collect();
    }
    let mut ranked: Vec<(usize, &NoticeAlarm)> = alarms.iter().enumerate().collect();
    ranked.sort_by_key(|(_, a)| (a.ends_at.is_some(), a.priority()));
    ranked.truncate(count);
    ranked.sort_by_key(|(at, _)| *at);
    ranked.into_iter().map(|(_, alarm)| alarm).collect()
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

    /// As [`calm`], with links.
    pub(in crate::notify) fn with_links() -> Surroundings {
        Surroundings { links: Some((Arc::new(AckKey::new(b"k")), Duration::from_secs(3600))), ..calm() }
    }

    /// Nothing else fires, in UTC.
    pub(in crate::notify) fn calm() -> Surroundings {
        Surroundings { standing: Arc::default(), box_name: "box".into(), zone: jiff::tz::TimeZone::UTC, links: None }
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

    /// Puts a notice into words with links.
    fn linked(notice: &Notice, template: &str) -> String {
        let message = Message::new(notice, &with_links(), "http://box", Timestamp::from_millis(0));
        let template = Template::parse_in(template, &default_templates().unwrap()).unwrap();
        message.render_html(&template).unwrap()
    }

    #[test]
    fn what_fires_has_a_link_to_acknowledge_by() {
        let notice = notice();
        let only = linked(&notice, "{{ .AckURL }}");
        assert!(only.starts_with("http://box/a/") && only.len() == 63, "{only}");
        assert_eq!(linked(&notice, "{{ range .Alerts }}{{ .AckURL }};{{ end }}"), format!("{only};;"), "one is over");
        for name in ["slack.default.text", "telegram.default.message", "email.default.html", "pushover.default.message"]
        {
            let text = linked(&notice, &format!("{{{{ template {name:?} . }}}}"));
            assert!(text.contains("http://box/a/"), "{name}: {text}");
        }
        check("{{ .AckURL }}{{ (index .Alerts 0).AckURL }}", "");
        let over = Notice { alarms: notice.alarms[1..].to_vec(), ..notice.clone() };
        assert_eq!(linked(&over, "{{ .AckURL }}"), "");
    }

    #[test]
    fn a_link_for_many_is_as_long_as_for_one_and_means_what_was_raised_by_then() {
        let one = notice().alarms[0].clone();
        let newest = one.starts_at + Duration::from_secs(9);
        let mut alarms = vec![one; 2_000];
        alarms[7].starts_at = newest;
        let many = Notice { alarms, ..notice() };
        let code = linked(&many, "{{ .AckURL }}").strip_prefix("http://box/a/").unwrap().to_owned();
        let link = AckKey::new(b"k").read(&code, Timestamp::from_millis(0)).unwrap();
        assert_eq!(link.target, Target::Group(group_hash(&many.group_key), newest));
        assert_eq!(link.receiver, receiver_hash("team"));
    }

    #[test]
    fn a_flood_is_told_as_far_as_there_is_room_the_most_urgent_first() {
        let mut notice = notice();
        let one = notice.alarms[0].clone();
        notice.alarms = (0..400)
            .map(|i| {
                let severity = if i % 100 == 7 { "critical" } else { "info" };
                let labels =
                    Labels::from_pairs([("alertname", "Hot"), ("severity", severity), ("device", &format!("d{i:03}"))]);
                NoticeAlarm { labels, annotations: Labels::empty(), ..one.clone() }
            })
            .collect();
        let message = Message::new(&notice, &calm(), "http://box", Timestamp::from_millis(0));
        let text = |name: &str| {
            Template::parse_in(&format!("{{{{ template {name:?} . }}}}"), &default_templates().unwrap()).unwrap()
        };
        let words = message.words(&text("email.default.text"), usize::MAX).unwrap();
        for device in ["d007", "d107", "d207", "d307"] {
            assert!(words.contains(&format!("device={device}")), "{device}");
        }
        assert!(words.ends_with("more: http://box/alarms"), "{}", &words[words.len() - 60..]);
        let html = message.render_html(&text("email.default.html")).unwrap();
        assert!(html.contains("more: http://box/alarms</p></body>"), "{html}");
        let subject = message.headline(&text("email.default.subject"), 998).unwrap();
        assert_eq!(subject, "[FIRING:400] Hot");
    }

    #[test]
    fn a_digest_is_worded_by_a_template_that_speaks_of_digests() {
        let over = Notice { alarms: notice().alarms[1..].to_vec(), ..notice() };
        let digest = Notice::digest(&[&over], 2, Timestamp::from_millis(0)).unwrap();
        let now = Timestamp::from_millis(7_200_000);
        let message = Message::new(&digest, &calm(), "http://box", now);
        let words = |text: &str| {
            let template = Template::parse_in(text, &default_templates().unwrap()).unwrap();
            (message.headline(&template, 99).unwrap(), message.words(&template, 9999).unwrap())
        };
        let (headline, text) = words("{{ .CommonLabels.alertname }}");
        assert!(headline.starts_with("[AWAY 2h] box: 1 came and went") && text.contains("- Hot (device=b"), "{text}");
        let own = "{{ with .Digest }}Weg seit {{ .Since.Format \"15:04\" }}: {{ end }}{{ range .Alerts }}{{ .Labels.device }}{{ end }}";
        assert_eq!(words(own), ("Weg seit 00:00: b".to_owned(), "Weg seit 00:00: b".to_owned()));
        assert_eq!(words("{{ .Digest.Headline }}").0, headline);
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
