//! How requests to other programs are made: `basic_auth`, `authorization`, `tls_config` and the like, which
//! scraping, forwarding and webhooks have in common.

use super::folder::Folder;
use super::upstream;
use crate::model::{Authorization, HttpClient, Tls};
use crate::yaml::Fields;

/// Keys that a section must know to be read by [`read`]: all of an `http_config`.
pub(super) const KEYS: &[&str] = &[
    "basic_auth",
    "authorization",
    "bearer_token",
    "bearer_token_file",
    "oauth2",
    "tls_config",
    "proxy_url",
    "no_proxy",
    "proxy_from_environment",
    "proxy_connect_header",
    "http_headers",
    "follow_redirects",
    "enable_http2",
];

/// Reads the client's settings that stand among a section's keys.
pub(super) fn read(fields: &Fields<'_>, folder: &Folder) -> HttpClient {
    upstream::refuse(
        fields,
        &[
            ("oauth2", "use basic_auth or authorization"),
            ("proxy_url", "requests go straight to their target"),
            ("no_proxy", "requests go straight to their target"),
            ("proxy_from_environment", "requests go straight to their target"),
            ("proxy_connect_header", "requests go straight to their target"),
            ("http_headers", "use basic_auth or authorization; remote_write has headers"),
        ],
    );
    upstream::note(fields, &[("enable_http2", "HTTP/1.1 is spoken")]);
    let _ = fields.bool("enable_http2");
    HttpClient {
        authorization: authorization(fields, folder),
        tls: tls(fields, "tls_config", folder),
        follow_redirects: fields.bool("follow_redirects").unwrap_or(true),
        compression: true,
    }
}

fn authorization(fields: &Fields<'_>, folder: &Folder) -> Authorization {
    let given: Vec<&str> = ["basic_auth", "authorization", "bearer_token", "bearer_token_file"]
        .into_iter()
        .filter(|key| fields.get(key).is_some())
        .collect();
    if let [_, second, ..] = given.as_slice() {
        let _: Option<()> =
            fields.get(second).and_then(|item| item.mistake(format!("at most one of {} may be set", given.join(", "))));
        return Authorization::None;
    }
    let bearer = || "Bearer".to_owned();
    if let Some(basic) = fields.fields("basic_auth", &["username", "username_file", "password", "password_file"]) {
        let username = folder.secret(&basic, "username", "username_file").map(|s| s.expose().to_owned());
        let username = username.unwrap_or_default();
        return match (basic.get("password"), folder.path_of(&basic, "password_file")) {
            (None, Some(password_file)) => Authorization::BasicFile { username, password_file },
            _ => match folder.secret(&basic, "password", "password_file") {
                Some(password) => Authorization::Basic { username, password },
                None => Authorization::Basic { username, password: crate::model::Secret::new("") },
            },
        };
    }
    if let Some(token) = fields.fields("authorization", &["type", "credentials", "credentials_file"]) {
        let kind = token.string("type").unwrap_or_else(bearer);
        if kind.eq_ignore_ascii_case("basic") {
            let _: Option<()> = token.item().mistake_with("type must not be Basic", "use basic_auth");
        }
        return match (token.get("credentials"), folder.path_of(&token, "credentials_file")) {
            (None, Some(credentials_file)) => Authorization::TokenFile { kind, credentials_file },
            (None, None) => {
                let _: Option<()> = token.item().mistake("credentials or credentials_file is missing");
                Authorization::None
            }
            _ => match folder.secret(&token, "credentials", "credentials_file") {
                Some(credentials) => Authorization::Token { kind, credentials },
                None => Authorization::None,
            },
        };
    }
    match (fields.secret("bearer_token"), folder.path_of(fields, "bearer_token_file")) {
        (Some(credentials), _) => Authorization::Token { kind: bearer(), credentials },
        (None, Some(credentials_file)) => Authorization::TokenFile { kind: bearer(), credentials_file },
        (None, None) => Authorization::None,
    }
}

const TLS_KEYS: &[&str] = &[
    "ca_file",
    "cert_file",
    "key_file",
    "insecure_skip_verify",
    "ca",
    "cert",
    "key",
    "server_name",
    "min_version",
    "max_version",
];

/// Reads the section of that name; all defaults where there is none.
pub(super) fn tls(fields: &Fields<'_>, key: &str, folder: &Folder) -> Tls {
    let Some(tls) = fields.fields(key, TLS_KEYS) else { return Tls::default() };
    upstream::refuse(
        &tls,
        &[
            ("ca", "put it into a file and name it as ca_file"),
            ("cert", "put it into a file and name it as cert_file"),
            ("key", "put it into a file and name it as key_file"),
            ("server_name", "the name in the URL must be the one in the certificate"),
        ],
    );
    upstream::note(
        &tls,
        &[("min_version", "TLS 1.2 and 1.3 are spoken"), ("max_version", "TLS 1.2 and 1.3 are spoken")],
    );
    let read = Tls {
        ca_file: folder.path_of(&tls, "ca_file"),
        cert_file: folder.path_of(&tls, "cert_file"),
        key_file: folder.path_of(&tls, "key_file"),
        insecure_skip_verify: tls.bool("insecure_skip_verify").unwrap_or(false),
    };
    if read.cert_file.is_some() != read.key_file.is_some() {
        let _: Option<()> = tls.item().mistake("cert_file and key_file go together");
    }
    read
}

/// Returns an address with a port, the default one if it names none.
pub(super) fn with_port(address: &str, default: u16) -> String {
    let has_port = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']')));
    if has_port { address.to_owned() } else { format!("{address}:{default}") }
}

/// Reads a URL with the scheme `http` or `https`.
pub(super) fn url(fields: &Fields<'_>, key: &str) -> Option<String> {
    let item = fields.required(key)?;
    let text = item.string()?;
    check_url(&text).map_or_else(|why| item.mistake_with(why, "write it like http://host:9090/path"), |()| Some(text))
}

/// Tells why a text is not a URL with the scheme `http` or `https`; the text is not part of the answer.
pub(super) fn check_url(text: &str) -> Result<(), String> {
    match reqwest::Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            Err(format!("expected the scheme http or https, found {:?}", url.scheme()))
        }
        Ok(url) if url.host_str().is_none() => Err("the host is missing".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("not a URL: {error}")),
    }
}
