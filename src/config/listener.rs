//! `http`: where the box listens.

use std::net::SocketAddr;
use std::time::Duration;

use super::http_client;
use crate::http;
use crate::yaml::{Fields, Item};

/// Where the box listens unless the settings or the command line say otherwise.
const LISTEN: &str = "127.0.0.1:26366";

/// Reads `http`; `listen_flag` wins over `http.listen`.
pub(super) fn http(root: &Fields<'_>, listen_flag: Option<&str>) -> Option<(http::Config, Option<String>)> {
    const KEYS: &[&str] = &[
        "listen",
        "unprotected",
        "external_url",
        "connections_limit",
        "body_size_limit",
        "header_timeout",
        "admin_api",
    ];
    let fields = root.fields("http", KEYS);
    let get = |key| fields.as_ref().and_then(|f| f.get(key));
    let unprotected = get("unprotected").and_then(|i| i.bool()).unwrap_or(false);
    let admin_api = get("admin_api").and_then(|i| i.bool()).unwrap_or(false);
    let external_url = get("external_url").and_then(|item| {
        let url = item.string()?;
        let check = http_client::check_url(&url);
        check.map_or_else(|why| item.mistake(why), |()| Some(url.trim_end_matches('/').to_owned()))
    });
    let connections_max = fields.as_ref().and_then(|f| f.count("connections_limit", 1, 65_536)).unwrap_or(1024);
    let body_bytes_max = fields.as_ref().and_then(|f| f.byte_size("body_size_limit")).unwrap_or(10 << 20);
    let header_timeout =
        fields.as_ref().and_then(|f| f.positive_duration("header_timeout")).unwrap_or(Duration::from_secs(10));
    let at = if listen_flag.is_some() { None } else { get("listen") };
    let complain = |message: String| -> Option<SocketAddr> {
        match &at {
            Some(item) => item.mistake(message),
            None => root.item().mistake(format!("--listen: {message}")),
        }
    };
    let written = at.as_ref().map(Item::string);
    let text = match (listen_flag, written) {
        (Some(flag), _) => flag.to_owned(),
        (None, Some(written)) => written?,
        (None, None) => LISTEN.to_owned(),
    };
    let listen = match http::listen_address(&text) {
        Err(error) => complain(error.to_string())?,
        Ok(address) if !address.ip().is_loopback() && !unprotected => {
            complain(http::Error::Unprotected { address }.to_string())?
        }
        Ok(address) => address,
    };
    let body_bytes_max = usize::try_from(body_bytes_max).unwrap_or(usize::MAX);
    let config = http::Config { listen, unprotected, connections_max, body_bytes_max, header_timeout, admin_api };
    Some((config, external_url))
}
