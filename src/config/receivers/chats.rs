//! The kinds that speak in a chat: Slack, Telegram, Discord, Microsoft Teams.

use super::{Common, Shared, checked_url, upstream};
use crate::model::Secret;
use crate::notify::{Card, Discord, Kind, MsTeams, Slack, SlackAction, SlackField, Telegram};
use crate::yaml::Item;

pub(super) fn slack(item: &Item<'_>, shared: &Shared<'_>) -> Option<(Kind, Common)> {
    let fields = item.fields(&[
        "send_resolved",
        "http_config",
        "timeout",
        "api_url",
        "api_url_file",
        "app_token",
        "app_token_file",
        "app_url",
        "channel",
        "username",
        "color",
        "title",
        "title_link",
        "pretext",
        "text",
        "fields",
        "short_fields",
        "footer",
        "fallback",
        "callback_id",
        "icon_emoji",
        "icon_url",
        "image_url",
        "thumb_url",
        "link_names",
        "mrkdwn_in",
        "actions",
    ])?;
    let token = shared.folder.secret(&fields, "app_token", "app_token_file");
    let url = match &token {
        Some(_) => {
            let own = fields.get("app_url").and_then(|item| checked_url(&item));
            Secret::new(own.unwrap_or_else(|| "https://slack.com/api/chat.postMessage".to_owned()))
        }
        None => shared.secret_url(&fields, "api_url", "api_url_file", shared.slack_url.as_ref())?,
    };
    let text = |key, default| shared.text(&fields, key, default);
    let marked = ["fallback", "pretext", "text"].map(str::to_owned).to_vec();
    let slack = Slack {
        url,
        token,
        channel: text("channel", ""),
        username: text("username", r#"{{ template "slack.default.username" . }}"#),
        color: text("color", r#"{{ if eq .Status "firing" }}danger{{ else }}good{{ end }}"#),
        title: text("title", r#"{{ template "slack.default.title" . }}"#),
        title_link: text("title_link", r#"{{ template "slack.default.titlelink" . }}"#),
        pretext: text("pretext", r#"{{ template "slack.default.pretext" . }}"#),
        text: text("text", r#"{{ template "slack.default.text" . }}"#),
        fallback: text("fallback", r#"{{ template "slack.default.fallback" . }}"#),
        footer: text("footer", r#"{{ template "slack.default.footer" . }}"#),
        callback_id: text("callback_id", r#"{{ template "slack.default.callbackid" . }}"#),
        icon_emoji: text("icon_emoji", r#"{{ template "slack.default.iconemoji" . }}"#),
        icon_url: text("icon_url", r#"{{ template "slack.default.iconurl" . }}"#),
        image_url: text("image_url", ""),
        thumb_url: text("thumb_url", ""),
        link_names: fields.bool("link_names").unwrap_or(false),
        mrkdwn_in: if fields.get("mrkdwn_in").is_some() { fields.strings("mrkdwn_in") } else { marked },
        short_fields: fields.bool("short_fields").unwrap_or(false),
        fields: fields.items("fields").iter().filter_map(|item| slack_field(item, shared)).collect(),
        actions: fields.items("actions").iter().filter_map(|item| slack_action(item, shared)).collect(),
    };
    Some((Kind::Slack(Box::new(slack)), shared.common(&fields)))
}

fn slack_field(item: &Item<'_>, shared: &Shared<'_>) -> Option<SlackField> {
    let fields = item.fields(&["title", "value", "short"])?;
    let text = |key| Some(shared.template(&fields.required(key)?));
    Some(SlackField { title: text("title")?, value: text("value")?, short: fields.bool("short") })
}

fn slack_action(item: &Item<'_>, shared: &Shared<'_>) -> Option<SlackAction> {
    let fields = item.fields(&["type", "text", "url", "style", "name", "value", "confirm"])?;
    upstream::refuse(&fields, &[("confirm", "leave it out: a link needs no question")]);
    let text = |key| shared.text(&fields, key, "");
    Some(SlackAction {
        kind: shared.template(&fields.required("type")?),
        text: shared.template(&fields.required("text")?),
        url: text("url"),
        style: text("style"),
        name: text("name"),
        value: text("value"),
    })
}

pub(super) fn telegram(item: &Item<'_>, shared: &Shared<'_>) -> Option<(Kind, Common)> {
    let fields = item.fields(&[
        "send_resolved",
        "http_config",
        "timeout",
        "api_url",
        "bot_token",
        "bot_token_file",
        "chat_id",
        "message_thread_id",
        "message",
        "disable_notifications",
        "parse_mode",
    ])?;
    let url = fields.get("api_url").and_then(|item| checked_url(&item));
    let modes = ["HTML", "Markdown", "MarkdownV2", ""];
    let telegram = Telegram {
        url: url.map_or_else(|| shared.telegram_url.clone(), |url| url.trim_end_matches('/').to_owned()),
        token: shared.secret(&fields, "bot_token", "bot_token_file", shared.telegram_token.as_ref())?,
        chat_id: fields.required("chat_id")?.integer()?,
        thread_id: fields.integer("message_thread_id"),
        message: shared.text(&fields, "message", r#"{{ template "telegram.default.message" . }}"#),
        is_silent: fields.bool("disable_notifications").unwrap_or(false),
        parse_mode: fields.get("parse_mode").map_or(Some("HTML"), |item| item.one_of(&modes))?,
    };
    Some((Kind::Telegram(Box::new(telegram)), shared.common(&fields)))
}

pub(super) fn discord(item: &Item<'_>, shared: &Shared<'_>) -> Option<(Kind, Common)> {
    let fields = item.fields(&[
        "send_resolved",
        "http_config",
        "timeout",
        "webhook_url",
        "webhook_url_file",
        "content",
        "title",
        "message",
        "username",
        "avatar_url",
    ])?;
    let discord = Discord {
        url: shared.secret_url(&fields, "webhook_url", "webhook_url_file", None)?,
        content: shared.text(&fields, "content", r#"{{ template "discord.default.content" . }}"#),
        title: shared.text(&fields, "title", r#"{{ template "discord.default.title" . }}"#),
        message: shared.text(&fields, "message", r#"{{ template "discord.default.message" . }}"#),
        username: fields.string("username").unwrap_or_default(),
        avatar_url: fields.string("avatar_url").unwrap_or_default(),
    };
    Some((Kind::Discord(Box::new(discord)), shared.common(&fields)))
}

pub(super) fn msteams(item: &Item<'_>, shared: &Shared<'_>) -> Option<(Kind, Common)> {
    let keys =
        &["send_resolved", "http_config", "timeout", "webhook_url", "webhook_url_file", "title", "summary", "text"];
    let fields = item.fields(keys)?;
    let teams = MsTeams {
        card: Card::Message,
        url: shared.secret_url(&fields, "webhook_url", "webhook_url_file", None)?,
        title: shared.text(&fields, "title", r#"{{ template "msteams.default.title" . }}"#),
        summary: shared.text(&fields, "summary", r#"{{ template "msteams.default.summary" . }}"#),
        text: shared.text(&fields, "text", r#"{{ template "msteams.default.text" . }}"#),
    };
    Some((Kind::MsTeams(Box::new(teams)), shared.common(&fields)))
}

pub(super) fn msteamsv2(item: &Item<'_>, shared: &Shared<'_>) -> Option<(Kind, Common)> {
    let fields =
        item.fields(&["send_resolved", "http_config", "timeout", "webhook_url", "webhook_url_file", "title", "text"])?;
    let teams = MsTeams {
        card: Card::Adaptive,
        url: shared.secret_url(&fields, "webhook_url", "webhook_url_file", None)?,
        title: shared.text(&fields, "title", r#"{{ template "msteamsv2.default.title" . }}"#),
        summary: shared.parsed(""),
        text: shared.text(&fields, "text", r#"{{ template "msteamsv2.default.text" . }}"#),
    };
    Some((Kind::MsTeams(Box::new(teams)), shared.common(&fields)))
}
