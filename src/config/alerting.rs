//! `alerting`, as Prometheus has it: Alertmanagers elsewhere that alarms are handed on to.

use std::path::PathBuf;
use std::time::Duration;

use super::folder::Folder;
use super::global::Global;
use super::{http_client, relabel, scrape, upstream};
use crate::model::Labels;
use crate::notify::{Alertmanagers, RelayConfig};
use crate::yaml::{Fields, Item};

const KEYS: &[&str] = &[
    "scheme",
    "path_prefix",
    "timeout",
    "api_version",
    "static_configs",
    "file_sd_configs",
    "relabel_configs",
    "alert_relabel_configs",
    "sigv4",
    // Those of `http_client`.
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
    // Known and refused.
    "consul_sd_configs",
    "dns_sd_configs",
    "http_sd_configs",
    "kubernetes_sd_configs",
];

/// How long a request may take unless the settings say otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the section. Without it nothing is handed on.
pub(super) fn read(root: &Fields<'_>, global: &Global, folder: &Folder) -> RelayConfig {
    let mut config = RelayConfig { external_labels: global.external_labels.clone(), ..RelayConfig::default() };
    let Some(fields) = root.fields("alerting", &["alert_relabel_configs", "alertmanagers"]) else { return config };
    config.relabel = relabel::read(&fields, "alert_relabel_configs");
    config.alertmanagers =
        fields.items("alertmanagers").iter().filter_map(|item| alertmanagers(item, folder)).collect();
    config
}

fn alertmanagers(item: &Item<'_>, folder: &Folder) -> Option<Alertmanagers> {
    let fields = item.fields(KEYS)?;
    for key in KEYS.iter().filter(|k| k.ends_with("_sd_configs") && **k != "file_sd_configs") {
        upstream::refuse(&fields, &[(*key, "use static_configs or file_sd_configs")]);
    }
    upstream::refuse(
        &fields,
        &[
            ("sigv4", "use basic_auth or authorization"),
            ("alert_relabel_configs", "write it beside alertmanagers, for all of them"),
        ],
    );
    if let Some(item) = fields.get("api_version") {
        item.one_of(&["v2"])?;
    }
    let groups = fields.items("static_configs");
    let mut targets = Vec::new();
    for group in groups.iter().filter_map(scrape::group) {
        targets.extend(group.targets.iter().map(|address| with_address(address, &group.labels)));
    }
    let files = fields.items("file_sd_configs");
    let files: Vec<PathBuf> =
        files.iter().filter_map(|i| scrape::file_groups(i, folder)).flat_map(|groups| groups.paths).collect();
    let prefix = fields.string("path_prefix").unwrap_or_default();
    let prefix = prefix.trim_matches('/');
    Some(Alertmanagers {
        scheme: fields.get("scheme").and_then(|i| i.one_of(&["http", "https"])).unwrap_or("http").to_owned(),
        path_prefix: if prefix.is_empty() { String::new() } else { format!("/{prefix}") },
        timeout: fields.positive_duration("timeout").unwrap_or(TIMEOUT),
        targets,
        files,
        relabel: relabel::read(&fields, "relabel_configs"),
        http: http_client::read(&fields, folder),
    })
}

/// Returns a target's labels with its address.
pub(crate) fn with_address(address: &str, labels: &Labels) -> Labels {
    Labels::from_pairs(labels.iter().chain([("__address__", address)]))
}
