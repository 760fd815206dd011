//! `http`: where the box listens, and in which TLS.

use std::net::SocketAddr;
use std::time::Duration;

use super::folder::Folder;
use super::{http_client, upstream};
use crate::http::{self, ClientAuth, Material, TlsConfig, Versions};
use crate::yaml::{Fields, Item};

/// Where the box listens unless the settings or the command line say otherwise.
const LISTEN: &str = "127.0.0.1:26366";

/// Reads `http`; `listen_flag` wins over `http.listen`.
pub(super) fn http(
    root: &Fields<'_>,
    folder: &Folder,
    listen_flag: Option<&str>,
) -> Option<(http::Config, Option<String>)> {
    const KEYS: &[&str] = &[
        "listen",
        "plain_listen",
        "tls_server_config",
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
    let tls = fields.as_ref().and_then(|fields| tls(fields, folder));
    let plain_listen = get("plain_listen").and_then(|item| match http::listen_address(&item.string()?) {
        Ok(address) => Some(address),
        Err(error) => item.mistake(error.to_string()),
    });
    let listen = listen(root, get("listen"), listen_flag, unprotected)?;
    if let (Some(item), Some(plain)) = (get("plain_listen"), plain_listen)
        && plain == listen
        && plain.port() != 0
    {
        let _: Option<()> = item.mistake("is the same as listen: it has to be another port");
    }
    let body_bytes_max = usize::try_from(body_bytes_max).unwrap_or(usize::MAX);
    let config = http::Config {
        listen,
        plain_listen,
        tls,
        unprotected,
        connections_max,
        body_bytes_max,
        header_timeout,
        admin_api,
    };
    Some((config, external_url))
}

fn listen(root: &Fields<'_>, item: Option<Item<'_>>, flag: Option<&str>, unprotected: bool) -> Option<SocketAddr> {
    let at = if flag.is_some() { None } else { item };
    let complain = |message: String| -> Option<SocketAddr> {
        match &at {
            Some(item) => item.mistake(message),
            None => root.item().mistake(format!("--listen: {message}")),
        }
    };
    let written = at.as_ref().map(Item::string);
    let text = match (flag, written) {
        (Some(flag), _) => flag.to_owned(),
        (None, Some(written)) => written?,
        (None, None) => LISTEN.to_owned(),
    };
    match http::listen_address(&text) {
        Err(error) => complain(error.to_string()),
        Ok(address) if !address.ip().is_loopback() && !unprotected => {
            complain(http::Error::Unprotected { address }.to_string())
        }
        Ok(address) => Some(address),
    }
}

/// Reads `tls_server_config`, with the keys of Prometheus's web configuration, and tries its files.
fn tls(fields: &Fields<'_>, folder: &Folder) -> Option<TlsConfig> {
    const KEYS: &[&str] = &[
        "cert_file",
        "key_file",
        "client_ca_file",
        "client_auth_type",
        "client_allowed_sans",
        "min_version",
        "max_version",
        // Not upstream's.
        "client_crl_file",
        // Known and without effect.
        "cipher_suites",
        "prefer_server_cipher_suites",
        "curve_preferences",
        // Known and refused.
        "cert",
        "key",
        "client_ca",
    ];
    let tls = fields.fields("tls_server_config", KEYS)?;
    upstream::refuse(
        &tls,
        &[
            ("cert", "put it into a file and name it as cert_file"),
            ("key", "put it into a file and name it as key_file"),
            ("client_ca", "put it into a file and name it as client_ca_file"),
        ],
    );
    let safe = "only what is safe today is spoken";
    upstream::note(
        &tls,
        &[("cipher_suites", safe), ("prefer_server_cipher_suites", safe), ("curve_preferences", safe)],
    );
    let (cert_file, key_file) = (tls.required_string("cert_file"), tls.required_string("key_file"));
    let client_auth = tls.get("client_auth_type").and_then(|item| {
        item.one_of(&ClientAuth::ALL.map(|(name, _)| name))
            .and_then(|word| ClientAuth::ALL.into_iter().find(|(name, _)| *name == word))
            .map(|(_, auth)| auth)
    });
    let client_auth = client_auth.unwrap_or(ClientAuth::None);
    let client_ca_file = folder.path_of(&tls, "client_ca_file");
    match (&client_ca_file, client_auth) {
        (None, auth) if auth.verifies() => {
            let _: Option<()> = tls.item().mistake("client_ca_file is missing: whose certificates are to be taken?");
        }
        (Some(_), ClientAuth::None) => {
            let _: Option<()> = tls.item().mistake_with(
                "client_ca_file without client_auth_type: no client is asked for a certificate",
                "client_auth_type: VerifyClientCertIfGiven",
            );
        }
        _ => {}
    }
    let client_crl_file = folder.path_of(&tls, "client_crl_file");
    if let (Some(item), None) = (tls.get("client_crl_file"), &client_ca_file) {
        let _: Option<()> = item.mistake("a revocation list needs the authority that made it: client_ca_file");
    }
    let read = TlsConfig {
        cert_file: folder.path(&cert_file?),
        key_file: folder.path(&key_file?),
        client_ca_file,
        client_crl_file,
        client_auth,
        client_allowed_sans: tls.strings("client_allowed_sans"),
        versions: versions(&tls)?,
    };
    match Material::read(&read) {
        Ok(_) => Some(read),
        Err(error) => tls.item().mistake(error.to_string()),
    }
}

fn versions(tls: &Fields<'_>) -> Option<Versions> {
    let read = |key, default| match tls.get(key) {
        None => Some(default),
        Some(item) => match item.string()?.as_str() {
            "TLS12" => Some(12),
            "TLS13" => Some(13),
            _ => item.mistake_with("only TLS 1.2 and 1.3 are spoken", "TLS12 or TLS13"),
        },
    };
    match (read("min_version", 12)?, read("max_version", 13)?) {
        (12, 12) => Some(Versions::Only12),
        (13, 13) => Some(Versions::Only13),
        (12, 13) => Some(Versions::Both),
        _ => tls.item().mistake("min_version is above max_version"),
    }
}
