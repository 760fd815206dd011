//! `email_configs`, and what `global.smtp_*` says for all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Common, Shared, upstream};
use crate::config::folder::Folder;
use crate::config::http_client;
use crate::model::{HttpClient, Secret, Tls};
use crate::notify::{Email, Kind, SmtpSecurity};
use crate::template::Template;
use crate::yaml::{Fields, Item};

/// How long the mail server may take for a mail.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The port at which a connection begins in TLS.
const IMPLICIT_TLS_PORT: u16 = 465;

/// What `global` says for all mails.
#[derive(Debug, Default)]
pub(super) struct Smtp {
    from: Option<String>,
    smarthost: Option<(String, u16)>,
    hello: Option<String>,
    username: Option<String>,
    password: Option<Secret>,
    secret: Option<Secret>,
    require_tls: Option<bool>,
    force_implicit_tls: Option<bool>,
    tls: Option<Tls>,
}

impl Smtp {
    pub(super) fn read(global: Option<&Fields<'_>>, folder: &Folder) -> Smtp {
        let Some(global) = global else { return Smtp::default() };
        upstream::note(global, &[("smtp_auth_identity", "who logs in is who sends")]);
        Smtp {
            from: global.string("smtp_from"),
            smarthost: global.get("smtp_smarthost").and_then(|item| smarthost(&item)),
            hello: global.string("smtp_hello"),
            username: global.string("smtp_auth_username"),
            password: folder.secret(global, "smtp_auth_password", "smtp_auth_password_file"),
            secret: folder.secret(global, "smtp_auth_secret", "smtp_auth_secret_file"),
            require_tls: global.bool("smtp_require_tls"),
            force_implicit_tls: global.bool("smtp_force_implicit_tls"),
            tls: global.get("smtp_tls_config").map(|_| http_client::tls(global, "smtp_tls_config", folder)),
        }
    }
}

/// Reads a host and a port.
fn smarthost(item: &Item<'_>) -> Option<(String, u16)> {
    let text = item.string()?;
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match parts {
        Some((host, port)) if !host.is_empty() => Some((host.trim_matches(['[', ']']).to_owned(), port)),
        _ => item.mistake_with(format!("not a mail server: {text:?}"), "write it like mail.example.com:587"),
    }
}

pub(super) fn email(item: &Item<'_>, shared: &Shared<'_>) -> Option<(Kind, Common)> {
    let fields = item.fields(&[
        "send_resolved",
        "timeout",
        "to",
        "from",
        "smarthost",
        "hello",
        "auth_username",
        "auth_password",
        "auth_password_file",
        "auth_secret",
        "auth_secret_file",
        "auth_identity",
        "require_tls",
        "force_implicit_tls",
        "tls_config",
        "headers",
        "html",
        "text",
        "threading",
        "chart",
    ])?;
    upstream::note(&fields, &[("auth_identity", "who logs in is who sends"), ("threading", "each mail is for itself")]);
    let smtp = &shared.smtp;
    let server = match fields.get("smarthost") {
        Some(item) => Some(smarthost(&item)?),
        None => smtp.smarthost.clone(),
    };
    let Some((host, port)) = server else {
        return fields.item().mistake("smarthost is missing, here and as global.smtp_smarthost");
    };
    let from = match (fields.get("from"), &smtp.from) {
        (Some(item), _) => shared.template(&item),
        (None, Some(from)) => shared.parsed(from),
        (None, None) => return fields.item().mistake("from is missing, here and as global.smtp_from"),
    };
    let username = fields.string("auth_username").or_else(|| smtp.username.clone()).filter(|u| !u.is_empty());
    let password = shared.folder.secret(&fields, "auth_password", "auth_password_file");
    let password = password.or_else(|| smtp.password.clone());
    let secret = shared.folder.secret(&fields, "auth_secret", "auth_secret_file").or_else(|| smtp.secret.clone());
    let begins_in_tls = fields.bool("force_implicit_tls").or(smtp.force_implicit_tls);
    let security = if begins_in_tls.unwrap_or(port == IMPLICIT_TLS_PORT) {
        SmtpSecurity::Implicit
    } else if fields.bool("require_tls").or(smtp.require_tls).unwrap_or(true) {
        SmtpSecurity::StartTls
    } else {
        SmtpSecurity::Plain
    };
    let tls = match fields.get("tls_config") {
        Some(_) => http_client::tls(&fields, "tls_config", shared.folder),
        None => smtp.tls.clone().unwrap_or_default(),
    };
    let timeout = fields.get("timeout").and_then(|item| item.duration()).filter(|t| !t.is_zero());
    let common = Common {
        send_resolved: fields.bool("send_resolved"),
        timeout: timeout.unwrap_or(TIMEOUT),
        http: HttpClient::plain(),
    };
    let email = Email {
        to: shared.template(&fields.required("to")?),
        from,
        host,
        port,
        hello: fields.string("hello").or_else(|| smtp.hello.clone()).unwrap_or_else(|| "localhost".to_owned()),
        cram: username.clone().zip(secret.clone()),
        // Without either the empty password, as upstream has it.
        credentials: match (username, password) {
            (Some(_), None) if secret.is_some() => None,
            (username, password) => username.zip(Some(password.unwrap_or_else(|| Secret::new("")))),
        },
        security,
        tls,
        headers: headers(&fields, shared),
        html: shared.text(&fields, "html", r#"{{ template "email.default.html" . }}"#),
        text: shared.text(&fields, "text", r#"{{ template "email.default.text" . }}"#),
        has_chart: fields.bool("chart").unwrap_or(true),
    };
    Some((Kind::Email(Box::new(email)), common))
}

/// Reads headers by their names as mail programs write them; one is there anyway.
fn headers(fields: &Fields<'_>, shared: &Shared<'_>) -> BTreeMap<String, Template> {
    let mut headers = BTreeMap::new();
    headers.insert("Subject".to_owned(), shared.parsed(r#"{{ template "email.default.subject" . }}"#));
    for (name, value) in fields.get("headers").map(|item| item.entries()).unwrap_or_default() {
        let name = canonical(name);
        let is_name = name.bytes().all(|b| b.is_ascii_graphic() && b != b':') && !name.is_empty();
        if !is_name {
            let _: Option<()> = value.mistake(format!("no header's name: {name:?}"));
            continue;
        }
        headers.insert(name, shared.template(&value));
    }
    headers
}

/// Writes a header's name with a capital at the begin of each word.
fn canonical(name: &str) -> String {
    let word = |word: &str| {
        let mut chars = word.chars();
        let first = chars.next().map(|c| c.to_ascii_uppercase());
        first.into_iter().chain(chars.map(|c| c.to_ascii_lowercase())).collect::<String>()
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}
