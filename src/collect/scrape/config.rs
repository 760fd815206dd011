//! One job of `scrape_configs`, resolved.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::{HttpClient, Labels, RelabelRule};

/// A group of targets that are scraped alike. Field by field as Prometheus documents `scrape_config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// `job_name`; becomes label `job`.
    pub name: String,
    /// `scrape_interval`.
    pub interval: Duration,
    /// `scrape_timeout`; not longer than the interval.
    pub timeout: Duration,
    /// `metrics_path`; default `/metrics`.
    pub metrics_path: String,
    /// `scheme`: `http` or `https`.
    pub scheme: String,
    /// `params`: name and values.
    pub params: Vec<(String, Vec<String>)>,
    /// `honor_labels`: labels of the target win over ours.
    pub honor_labels: bool,
    /// `honor_timestamps`: times of the target are taken; default yes.
    pub honor_timestamps: bool,
    /// `sample_limit` after relabelling; 0 is none.
    pub sample_limit: usize,
    /// `label_limit`: labels per sample; 0 is none.
    pub label_limit: usize,
    /// `label_name_length_limit` in bytes; 0 is none.
    pub label_name_length_limit: usize,
    /// `label_value_length_limit` in bytes; 0 is none.
    pub label_value_length_limit: usize,
    /// `body_size_limit`, unpacked bytes; 0 is [`Job::BODY_BYTES_MAX`].
    pub body_size_limit: u64,
    /// `target_limit` after relabelling; 0 is none. Over it each scrape of the job fails.
    pub target_limit: usize,
    /// `static_configs`.
    pub static_groups: Vec<TargetGroup>,
    /// `file_sd_configs`.
    pub file_groups: Vec<FileGroups>,
    /// `relabel_configs`.
    pub relabel: Vec<RelabelRule>,
    /// `metric_relabel_configs`.
    pub metric_relabel: Vec<RelabelRule>,
    /// How the request is made.
    pub http: HttpClient,
}

impl Job {
    /// Largest body that is ever taken, unpacked: keeps one bad target from taking the memory.
    pub const BODY_BYTES_MAX: u64 = 64 << 20;
}

/// Addresses with common labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetGroup {
    /// `host:port` each.
    pub targets: Vec<String>,
    /// Labels of all of them; may hold `__meta_*` and other `__*` labels.
    pub labels: Labels,
}

/// Target groups kept in files that others write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileGroups {
    /// Files, `.json`, `.yml` or `.yaml`; the last part of a path may hold `*`. Absolute.
    pub paths: Vec<PathBuf>,
    /// `refresh_interval`: how often they are read again; default 5 min. Changes are also noticed by
    /// modification time every 5 s.
    pub refresh_interval: Duration,
}
