//! What to collect, resolved: all defaults applied, all expressions compiled.

use std::path::PathBuf;
use std::time::Duration;

use super::scrape;
use super::telemetry::MappingRule;
use crate::model::{AnchoredRegex, Labels, RelabelRule};

/// All ways in. A reload is enough for every field.
#[derive(Debug, Clone)]
pub struct Config {
    /// The box's name: label `instance` of the host's and of its own series.
    pub instance: String,
    /// What to scrape, as in Prometheus's `scrape_configs`; `global` already applied.
    pub scrape: Vec<scrape::Job>,
    /// This machine's readings; `None` switches them off.
    pub host: Option<HostConfig>,
    /// The NATS servers to watch; `None` switches it off.
    pub nats: Option<NatsConfig>,
    /// How device messages become samples.
    pub telemetry: TelemetryConfig,
    /// Which device messages are log lines.
    pub logs: LogsConfig,
    /// Andon's own instruments.
    pub own: OwnConfig,
    /// How many series others may have, and how large their labels may be.
    pub limits: Limits,
}

/// How many series others may have, and how large their labels may be. Over a limit only new series are
/// refused; those of the box itself have none of these limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most series of one scrape target; default half of what the store may have.
    pub series_per_target_max: usize,
    /// Most series of one address that pushes; default half of what the store may have.
    pub series_per_sender_max: usize,
    /// Most series of one device through mapping; default 500.
    pub series_per_device_max: usize,
    /// Most labels of a series, its name included; default 64.
    pub labels_max: usize,
    /// Longest name of a label; default 256.
    pub label_name_bytes_max: usize,
    /// Longest value of a label; default 4 096.
    pub label_value_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            series_per_target_max: usize::MAX,
            series_per_sender_max: usize::MAX,
            series_per_device_max: 500,
            labels_max: 64,
            label_name_bytes_max: 256,
            label_value_bytes_max: 4096,
        }
    }
}

impl Limits {
    /// Holds labels against the limits.
    ///
    /// # Errors
    /// The limit that they are over, in words.
    pub fn check(&self, labels: &Labels) -> Result<(), String> {
        if labels.len() > self.labels_max {
            return Err(format!("more than {} labels", self.labels_max));
        }
        for (name, value) in labels.iter() {
            if name.len() > self.label_name_bytes_max {
                return Err(format!("a label name is longer than {} bytes", self.label_name_bytes_max));
            }
            if value.len() > self.label_value_bytes_max {
                return Err(format!("the value of label {name:?} is longer than {} bytes", self.label_value_bytes_max));
            }
        }
        Ok(())
    }
}

/// Readings of this machine under node_exporter's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfig {
    /// Label `job`; default `host`.
    pub job: String,
    /// How often; default 15 s, at least 1 s.
    pub interval: Duration,
    /// Where `/proc` is; default `/proc`.
    pub proc_root: PathBuf,
    /// Where `/sys` is; default `/sys`.
    pub sys_root: PathBuf,
    /// Put before each mount point when asking for its free space; default `/`. For a container that sees
    /// the host under `/host`.
    pub file_system_root: PathBuf,
    /// Mount points to leave out; default [`HostConfig::MOUNT_POINTS_EXCLUDE`].
    pub mount_points_exclude: AnchoredRegex,
    /// File system types to leave out; default [`HostConfig::FILE_SYSTEMS_EXCLUDE`].
    pub file_systems_exclude: AnchoredRegex,
    /// Block devices to leave out; default [`HostConfig::DISKS_EXCLUDE`].
    pub disks_exclude: AnchoredRegex,
    /// Network interfaces to leave out; default: none, the expression that matches nothing but the empty name.
    pub networks_exclude: AnchoredRegex,
}

impl HostConfig {
    /// Mount points that node_exporter leaves out.
    pub const MOUNT_POINTS_EXCLUDE: &'static str =
        "/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)(/.*)?";
    /// File system types that node_exporter leaves out.
    pub const FILE_SYSTEMS_EXCLUDE: &'static str = "autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|\
        fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|\
        sysfs|tracefs";
    /// Block devices that node_exporter leaves out: memory disks and partitions.
    pub const DISKS_EXCLUDE: &'static str = r"(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+";
}

/// NATS servers watched over their monitoring port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsConfig {
    /// Label `job`; default `nats`.
    pub job: String,
    /// How often; default 15 s.
    pub interval: Duration,
    /// How long one answer may take; default 5 s.
    pub timeout: Duration,
    /// The servers.
    pub servers: Vec<NatsServer>,
    /// Most connections that are looked at for the sums `gnatsd_connz_*`; none gets series of its own.
    /// Default 1024.
    pub connections_max: usize,
    /// Most streams and consumers, together, with series of their own. Default 1000.
    pub streams_max: usize,
}

/// One NATS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsServer {
    /// Base of its monitoring port, as `http://127.0.0.1:8222`.
    pub url: String,
    /// Label `instance`; default: host and port of the URL.
    pub instance: String,
}

/// How device messages become samples.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// Own rules, tried in order before the built-in ones; all that match a subject apply.
    pub rules: Vec<MappingRule>,
    /// Whether the built-in rule for `telemetry.{device}.{metric}` applies; default yes.
    pub telemetry_defaults: bool,
    /// Whether the built-in rules for `factory.{line}.>` apply; default yes.
    pub factory_defaults: bool,
    /// `metric_relabel_configs`: change or drop what mapping gave.
    pub metric_relabel: Vec<RelabelRule>,
    /// Most devices with series; default 2000.
    pub devices_max: usize,
    /// Label `job` of mapped series; default `devices`.
    pub job: String,
}

/// Which device messages are log lines, and what is masked in them.
#[derive(Debug, Clone)]
pub struct LogsConfig {
    /// Subjects whose messages are lines; `{device}`, `{line}` and `{level}` become labels. Default
    /// `logs.{device}`, `logs.{device}.>` and `factory.{line}.alerts.{level}`.
    pub subjects: Vec<super::telemetry::SubjectTemplate>,
    /// Whether passwords, tokens and keys are masked before a line is kept; default yes.
    pub scrub_secrets: bool,
}

/// Andon's own instruments into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnConfig {
    /// How often; default 15 s.
    pub interval: Duration,
}
