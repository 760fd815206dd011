//! The requests of each kind, as the services document them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::model::{Secret, Timestamp};
use crate::notify::default_templates;
use crate::notify::message::tests::{calm, notice, with_links};
use crate::template::Template;

fn text(text: &str) -> Template {
    Template::parse_in(text, &default_templates().unwrap()).unwrap()
}

fn posts(kind: &Kind, notice: &Notice) -> Vec<Post> {
    let (around, now) = (calm(), Timestamp::from_millis(1_435_781_511_781));
    match kind.request(&Message::new(notice, &around, "http://box", now), true, None).unwrap() {
        Request::Posts(posts) => posts,
        other => panic!("no posts: {other:?}"),
    }
}

fn body(post: &Post) -> Value {
    assert_eq!(post.content_type, "application/json");
    serde_json::from_str(&post.body).unwrap()
}

/// The notice with everything over.
fn over() -> Notice {
    let mut notice = notice();
    notice.alarms.remove(0);
    notice
}

fn word(notice: &Notice) -> String {
    group_word(&notice.group_key)
}

#[test]
fn the_word_of_a_group_is_the_same_for_all_its_notices() {
    let (first, second) = (word(&notice()), word(&over()));
    assert_eq!((first.len(), &first), (64, &second));
    let other = Notice { group_key: "{}:{alertname=\"Cold\"}".to_owned(), ..notice() };
    assert_ne!(word(&other), first);
}

#[test]
fn slack_gets_an_attachment() {
    let slack = |token: Option<&str>| {
        Kind::Slack(Box::new(Slack {
            url: Secret::new("http://slack/hook"),
            token: token.map(Secret::new),
            channel: text("#line"),
            username: text("{{ template \"slack.default.username\" . }}"),
            color: text("{{ if eq .Status \"firing\" }}danger{{ else }}good{{ end }}"),
            title: text("{{ template \"slack.default.title\" . }}"),
            title_link: text("{{ template \"slack.default.titlelink\" . }}"),
            pretext: text(""),
            text: text("{{ range .Alerts }}{{ .Annotations.summary }};{{ end }}"),
            fallback: text("{{ template \"slack.default.fallback\" . }}"),
            footer: text(""),
            callback_id: text(""),
            icon_emoji: text(":warning:"),
            icon_url: text(""),
            image_url: text(""),
            thumb_url: text(""),
            link_names: false,
            mrkdwn_in: vec!["text".to_owned()],
            short_fields: true,
            fields: vec![SlackField { title: text("Alarms"), value: text("{{ len .Alerts }}"), short: None }],
            actions: vec![SlackAction {
                kind: text("button"),
                text: text("Runbook"),
                url: text("http://runbook"),
                style: text(""),
                name: text(""),
                value: text(""),
            }],
        }))
    };
    let sent = posts(&slack(None), &notice());
    assert_eq!((sent[0].url.as_str(), &sent[0].authorization), ("http://slack/hook", &None));
    let expected = json!({
        "channel": "#line",
        "username": "Andon",
        "icon_emoji": ":warning:",
        "attachments": [{
            "color": "danger",
            "title": "[FIRING:1] Hot (critical)",
            "title_link": "http://box/alarms",
            "text": "a is hot;b is hot;",
            "fallback": "[FIRING:1] Hot (critical) | http://box/alarms",
            "mrkdwn_in": ["text"],
            "fields": [{"title": "Alarms", "value": "2", "short": true}],
            "actions": [{"type": "button", "text": "Runbook", "url": "http://runbook"}],
        }],
    });
    assert_eq!(body(&sent[0]), expected);
    let sent = posts(&slack(Some("xoxb")), &over());
    assert_eq!(sent[0].authorization.as_deref(), Some("Bearer xoxb"));
    assert_eq!(body(&sent[0])["attachments"][0]["color"], "good");
}

fn pagerduty(key: PagerDutyKey) -> Kind {
    Kind::PagerDuty(Box::new(PagerDuty {
        url: "http://pd/v2/enqueue".to_owned(),
        key,
        client: text("Andon"),
        client_url: text("http://box"),
        description: text("{{ template \"pagerduty.default.description\" . }}"),
        severity: text("critical"),
        source: text(""),
        class: text(""),
        component: text("oven"),
        group: text(""),
        details: BTreeMap::from([("num_firing".to_owned(), text("{{ .Alerts.Firing | len }}"))]),
        images: vec![],
        links: vec![BTreeMap::from([("href".to_owned(), text("http://l")), ("text".to_owned(), text("more"))])],
    }))
}

#[test]
fn pagerduty_gets_an_event_that_is_triggered_and_resolved_under_one_key() {
    let kind = pagerduty(PagerDutyKey::Routing(Secret::new("r")));
    let firing = body(&posts(&kind, &notice())[0]);
    let expected = json!({
        "routing_key": "r",
        "event_action": "trigger",
        "dedup_key": word(&notice()),
        "client": "Andon",
        "client_url": "http://box",
        "payload": {
            "summary": "[FIRING:1] Hot (critical)",
            "source": "Andon",
            "severity": "critical",
            "class": "",
            "component": "oven",
            "group": "",
            "custom_details": {"num_firing": "1"},
        },
        "images": [],
        "links": [{"href": "http://l", "text": "more"}],
    });
    assert_eq!(firing, expected);
    let resolved = body(&posts(&kind, &over())[0]);
    assert_eq!((&resolved["event_action"], &resolved["dedup_key"]), (&json!("resolve"), &firing["dedup_key"]));
    let older = body(&posts(&pagerduty(PagerDutyKey::Service(Secret::new("s"))), &notice())[0]);
    assert_eq!((&older["service_key"], &older["event_type"]), (&json!("s"), &json!("trigger")));
    assert_eq!(older["incident_key"], firing["dedup_key"]);
}

#[test]
fn opsgenie_creates_and_closes_by_alias() {
    let kind = Kind::OpsGenie(Box::new(OpsGenie {
        url: "http://og".to_owned(),
        key: Secret::new("k"),
        message: text(&"x".repeat(200)),
        description: text("d"),
        source: text("s"),
        details: BTreeMap::new(),
        entity: text(""),
        responders: vec![Responder { kind: text("teams"), by: "name", name: text("line, night") }],
        tags: text("a, b"),
        note: text(""),
        priority: text(""),
        actions: text(""),
        updates: true,
    }));
    let sent = posts(&kind, &notice());
    let alias = word(&notice());
    assert_eq!(sent[0].authorization.as_deref(), Some("GenieKey k"));
    let created = body(&sent[0]);
    assert_eq!(created["message"].as_str().unwrap().chars().count(), 130);
    assert_eq!(created["details"], json!({"alertname": "Hot", "severity": "critical"}));
    assert_eq!(created["responders"], json!([{"type": "team", "name": "line"}, {"type": "team", "name": "night"}]));
    assert_eq!((&created["tags"], created.get("priority")), (&json!(["a", "b"]), None));
    let urls: Vec<&str> = sent.iter().map(|p| p.url.as_str()).collect();
    let path = |what: &str| format!("http://og/v2/alerts/{alias}/{what}?identifierType=alias");
    assert_eq!(urls, ["http://og/v2/alerts", &path("message"), &path("description")]);
    let closed = posts(&kind, &over());
    assert_eq!((closed.len(), closed[0].url.as_str()), (1, path("close").as_str()));
}

#[test]
fn chats_get_words_within_their_bounds() {
    let telegram = Kind::Telegram(Box::new(Telegram {
        url: "http://tg".to_owned(),
        token: Secret::new("1:x"),
        chat_id: -100,
        thread_id: Some(7),
        message: text(&"y".repeat(5000)),
        is_silent: false,
        parse_mode: "HTML",
    }));
    let sent = posts(&telegram, &notice());
    assert_eq!(sent[0].url, "http://tg/bot1:x/sendMessage");
    let told = body(&sent[0]);
    assert_eq!(told["text"].as_str().unwrap().chars().count(), 4096);
    assert_eq!(
        (&told["chat_id"], &told["message_thread_id"], &told["parse_mode"]),
        (&json!(-100), &json!(7), &json!("HTML"))
    );

    let discord = Kind::Discord(Box::new(Discord {
        url: Secret::new("http://dc"),
        content: text(""),
        title: text("{{ template \"discord.default.title\" . }}"),
        message: text("{{ template \"discord.default.message\" . }}"),
        username: String::new(),
        avatar_url: String::new(),
    }));
    let told = body(&posts(&discord, &notice())[0]);
    assert_eq!(told["embeds"][0]["title"], "[FIRING:1] Hot (critical)");
    let words = told["embeds"][0]["description"].as_str().unwrap();
    assert!(
        words.starts_with("**Alarms**\n\n* **a is hot**") && words.contains("**Over**\n\n* **b is hot**"),
        "{words}"
    );

    for (card, at) in [(Card::Message, "/title"), (Card::Adaptive, "/attachments/0/content/body/0/text")] {
        let teams = MsTeams {
            card,
            url: Secret::new("http://teams"),
            title: text("T"),
            summary: text("S"),
            text: text("words"),
        };
        assert_eq!(body(&posts(&Kind::MsTeams(Box::new(teams)), &notice())[0]).pointer(at), Some(&json!("T")));
    }
}

#[test]
fn pushover_gets_a_form() {
    let kind = Kind::Pushover(Box::new(Pushover {
        url: "http://po".to_owned(),
        user: Secret::new("u"),
        token: Secret::new("t"),
        title: text("a b"),
        message: text(""),
        link: text(""),
        link_title: text(""),
        device: text(""),
        sound: text(""),
        priority: text("{{ if eq .Status \"firing\" }}2{{ else }}0{{ end }}"),
        retry: Duration::from_secs(60),
        expire: Duration::from_secs(3600),
        ttl: Duration::ZERO,
        is_html: true,
        is_monospace: false,
    }));
    let expected = "token=t&user=u&title=a+b&message=%28no+details%29&priority=2&retry=60&expire=3600&html=1";
    assert_eq!(posts(&kind, &notice())[0].body, expected);
}

#[test]
fn a_template_that_fails_with_this_notice_is_a_reason() {
    let kind = Kind::Telegram(Box::new(Telegram {
        url: String::new(),
        token: Secret::new(""),
        chat_id: 1,
        thread_id: None,
        message: text("{{ (index .Alerts 5).Status }}"),
        is_silent: true,
        parse_mode: "",
    }));
    let notice = notice();
    let (around, now) = (calm(), Timestamp::from_millis(0));
    let failed = kind.request(&Message::new(&notice, &around, "", now), true, None).unwrap_err();
    assert!(failed.contains("index out of range"), "{failed}");
}

#[test]
fn a_text_message_ends_with_a_link_that_is_whole() {
    let sms = |words: &str| Sms {
        device: "/dev/null".into(),
        baud: 115_200,
        pin: None,
        to: "+49".to_owned(),
        text: text(words),
    };
    let said = |words: &str, box_url: &str, links: bool| {
        let around = if links { with_links() } else { calm() };
        let notice = notice();
        let message = Message::new(&notice, &around, box_url, Timestamp::from_millis(0));
        String::from_utf8(sms(words).text(&message).unwrap().into_iter().map(|b| b.max(b' ')).collect()).unwrap()
    };
    let long = "x".repeat(400);
    let text = said(&long, "http://box", true);
    let (words, link) = text.split_once(' ').unwrap();
    assert_eq!((text.len(), words.len(), link.len()), (160, 96, 63));
    assert!(link.starts_with("http://box/a/"), "{link}");
    assert_eq!(said("ALARM", "http://box", false), "ALARM");
    assert_eq!(said("{{ .AckURL }}", "http://box", true).len(), 63, "the text has it already");
    // What would leave no room for words, or be another address in the alphabet of GSM, is left out.
    assert_eq!(said("ALARM", &format!("http://{long}"), true), "ALARM");
    assert_eq!(said("ALARM", "http://box/~eva", true), "ALARM");
}

#[test]
fn a_webhook_gets_links_beside_what_alertmanagers_say() {
    let (notice, around) = (notice(), with_links());
    let message = Message::new(&notice, &around, "http://box", Timestamp::from_millis(0));
    let body: Value = serde_json::from_str(&webhook::body(&message, 0)).unwrap();
    assert_eq!(body["ackURL"], body["alerts"][0]["ackURL"], "only one fires");
    assert!(body["ackURL"].as_str().unwrap().starts_with("http://box/a/"));
    assert_eq!(body["alerts"][1].get("ackURL"), None, "it is over");
}
