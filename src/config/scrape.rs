//! `scrape_configs`, as Prometheus has them.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use super::folder::Folder;
use super::global::{self, Global};
use super::{http_client, relabel, upstream};
use crate::collect::scrape::{FileGroups, Job, TargetGroup};
use crate::model::Labels;
use crate::yaml::{Fields, Item};

const OWN_KEYS: &[&str] = &[
    "job_name",
    "scrape_interval",
    "scrape_timeout",
    "metrics_path",
    "scheme",
    "params",
    "honor_labels",
    "honor_timestamps",
    "static_configs",
    "file_sd_configs",
    "relabel_configs",
    "metric_relabel_configs",
    "body_size_limit",
    "sample_limit",
    "label_limit",
    "label_name_length_limit",
    "label_value_length_limit",
    "target_limit",
    "enable_compression",
    // Known and without effect.
    "track_timestamps_staleness",
    "scrape_protocols",
    "fallback_scrape_protocol",
    "scrape_native_histograms",
    "scrape_classic_histograms",
    "always_scrape_classic_histograms",
    "convert_classic_histograms_to_nhcb",
    "native_histogram_bucket_limit",
    "native_histogram_min_bucket_factor",
    "keep_dropped_targets",
    "metric_name_validation_scheme",
    "metric_name_escaping_scheme",
    "scrape_failure_log_file",
    "extra_scrape_metrics",
    // Known and refused.
    "azure_sd_configs",
    "aws_sd_configs",
    "consul_sd_configs",
    "digitalocean_sd_configs",
    "dns_sd_configs",
    "docker_sd_configs",
    "dockerswarm_sd_configs",
    "ec2_sd_configs",
    "ecs_sd_configs",
    "eureka_sd_configs",
    "gce_sd_configs",
    "hetzner_sd_configs",
    "http_sd_configs",
    "ionos_sd_configs",
    "kubernetes_sd_configs",
    "kuma_sd_configs",
    "lightsail_sd_configs",
    "linode_sd_configs",
    "marathon_sd_configs",
    "msk_sd_configs",
    "nerve_sd_configs",
    "nomad_sd_configs",
    "openstack_sd_configs",
    "ovhcloud_sd_configs",
    "puppetdb_sd_configs",
    "scaleway_sd_configs",
    "serverset_sd_configs",
    "stackit_sd_configs",
    "triton_sd_configs",
    "uyuni_sd_configs",
    "vultr_sd_configs",
];

/// All keys: also those that all clients have.
static KEYS: LazyLock<Vec<&str>> = LazyLock::new(|| [OWN_KEYS, http_client::KEYS].concat());

const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("track_timestamps_staleness", "series with their own times get no staleness markers"),
    ("scrape_protocols", "the text format is asked for"),
    ("fallback_scrape_protocol", "the text format is expected whatever the answer says"),
    ("scrape_native_histograms", "native histograms are not stored"),
    ("scrape_classic_histograms", "classic histograms are always stored"),
    ("always_scrape_classic_histograms", "classic histograms are always stored"),
    ("convert_classic_histograms_to_nhcb", "native histograms are not stored"),
    ("native_histogram_bucket_limit", "native histograms are not stored"),
    ("native_histogram_min_bucket_factor", "native histograms are not stored"),
    ("keep_dropped_targets", "dropped targets are listed up to a limit"),
    ("metric_name_validation_scheme", "names may be any UTF-8"),
    ("metric_name_escaping_scheme", "names may be any UTF-8"),
    ("scrape_failure_log_file", "the targets page shows failed scrapes"),
    ("extra_scrape_metrics", "the usual scrape_* series are stored"),
];

/// Reads all jobs.
pub(super) fn read(root: &Fields<'_>, global: &Global, folder: &Folder) -> Vec<Job> {
    let mut names = HashSet::new();
    let mut jobs = Vec::new();
    for item in root.items("scrape_configs") {
        let Some(job) = job(&item, global, folder) else { continue };
        if names.insert(job.name.clone()) {
            jobs.push(job);
        } else {
            let _: Option<()> = item.mistake(format!("a second job is named {:?}", job.name));
        }
    }
    jobs
}

fn job(item: &Item<'_>, global: &Global, folder: &Folder) -> Option<Job> {
    let fields = item.fields(&KEYS)?;
    upstream::note(&fields, WITHOUT_EFFECT);
    for key in OWN_KEYS.iter().filter(|k| k.ends_with("_sd_configs") && **k != "file_sd_configs") {
        upstream::refuse(&fields, &[(*key, "use static_configs or file_sd_configs")]);
    }
    let name = fields.required_string("job_name")?;
    if name.is_empty() {
        return fields.get("job_name")?.mistake("must not be empty");
    }
    let interval = fields.positive_duration("scrape_interval").unwrap_or(global.scrape_interval);
    let limits = global::limits(&fields, global.limits);
    let mut http = http_client::read(&fields, folder);
    http.compression = fields.bool("enable_compression").unwrap_or(true);
    Some(Job {
        name,
        interval,
        timeout: timeout(&fields, interval, global),
        metrics_path: fields.string("metrics_path").unwrap_or_else(|| "/metrics".to_owned()),
        scheme: fields.get("scheme").and_then(|i| i.one_of(&["http", "https"])).unwrap_or("http").to_owned(),
        params: params(&fields),
        honor_labels: fields.bool("honor_labels").unwrap_or(false),
        honor_timestamps: fields.bool("honor_timestamps").unwrap_or(true),
        sample_limit: limits.samples,
        label_limit: limits.labels,
        label_name_length_limit: limits.label_name_length,
        label_value_length_limit: limits.label_value_length,
        body_size_limit: limits.body_size,
        target_limit: limits.targets,
        static_groups: fields.items("static_configs").iter().filter_map(group).collect(),
        file_groups: fields.items("file_sd_configs").iter().filter_map(|i| file_groups(i, folder)).collect(),
        relabel: relabel::read(&fields, "relabel_configs"),
        metric_relabel: relabel::read(&fields, "metric_relabel_configs"),
        http,
    })
}

fn timeout(fields: &Fields<'_>, interval: Duration, global: &Global) -> Duration {
    match fields.positive_duration("scrape_timeout") {
        Some(timeout) if timeout > interval => fields
            .get("scrape_timeout")
            .and_then(|i| i.mistake("must not be longer than scrape_interval"))
            .unwrap_or(interval),
        Some(timeout) => timeout,
        None => global.scrape_timeout.min(interval),
    }
}

fn params(fields: &Fields<'_>) -> Vec<(String, Vec<String>)> {
    let Some(item) = fields.get("params") else { return Vec::new() };
    item.entries().into_iter().map(|(name, values)| (name.to_owned(), values.strings())).collect()
}

/// Reads an entry of `static_configs`.
pub(super) fn group(item: &Item<'_>) -> Option<TargetGroup> {
    let fields = item.fields(&["targets", "labels"])?;
    let mut targets = Vec::new();
    for target in fields.items("targets") {
        let Some(text) = target.string() else { continue };
        if text.is_empty() || text.contains('/') || text.contains(char::is_whitespace) {
            let _: Option<()> = target.mistake_with(
                format!("not a target: {text:?}"),
                "write HOST:PORT; the path is metrics_path, https is scheme",
            );
        } else {
            targets.push(text);
        }
    }
    let labels = fields.get("labels").map_or_else(Labels::empty, |labels| global::labels(&labels));
    Some(TargetGroup { targets, labels })
}

/// Reads an entry of `file_sd_configs`.
pub(super) fn file_groups(item: &Item<'_>, folder: &Folder) -> Option<FileGroups> {
    let fields = item.fields(&["files", "refresh_interval"])?;
    let mut paths = Vec::new();
    for file in fields.items("files") {
        let Some(text) = file.string() else { continue };
        let above = text.rsplit_once('/').map_or("", |(above, _)| above);
        let is_known = [".json", ".yml", ".yaml"].iter().any(|end| text.ends_with(end));
        if is_known && !above.contains(['*', '?', '[']) {
            paths.push(folder.path(&text));
        } else {
            let _: Option<()> = file.mistake_with(
                format!("not a file of targets: {text:?}"),
                "it must end in .json, .yml or .yaml, and only the last part of the path may hold *",
            );
        }
    }
    if paths.is_empty() && fields.items("files").is_empty() {
        return fields.item().mistake("files is missing");
    }
    let refresh_interval = fields.positive_duration("refresh_interval").unwrap_or(Duration::from_secs(300));
    Some(FileGroups { paths, refresh_interval })
}
