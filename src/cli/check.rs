//! `andon check`: settings, rule files and what becomes of a message, without starting anything.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;

use super::ask::{Place, ask};
use crate::bus::Subject;
use crate::clock::Clock;
use crate::collect::telemetry::try_message;
use crate::config::{self, Config};
use crate::model::{DeviceMessage, MetricKind, Origin, parse_duration};
use crate::query::promql::format_value;
use crate::rules::{self, Facts};

/// Arguments of `andon check`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check a configuration file and the rule files that it names
    Config {
        /// The file, usually /etc/andon/andon.yml
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Show what a message of a device becomes with the settings of a file: samples, log line, and why not
    Message {
        /// The settings, usually /etc/andon/andon.yml
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Where it is published
        #[arg(value_name = "SUBJECT")]
        subject: String,
        /// Its body
        #[arg(value_name = "BODY")]
        body: String,
        /// Who publishes it
        #[arg(long, value_name = "ID", default_value = "")]
        device: String,
        /// What the device is registered as
        #[arg(long = "type", value_name = "TYPE", default_value = "")]
        device_type: String,
    },
    /// Check rule files
    Rules {
        /// The files
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// A running box whose metrics and retention the rules are held against
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// Whether something odd fails the check too
        #[arg(long)]
        strict: bool,
    },
}

/// What was found, to be told line by line.
#[derive(Debug, Default)]
struct Findings {
    good: Vec<String>,
    mistakes: Vec<String>,
    /// What is odd about rules that run.
    remarks: Vec<String>,
    is_strict: bool,
}

/// Checks and tells; 1 if there was a mistake.
pub(super) fn run(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let findings = match args.what {
        What::Config { file } => check_config(file),
        What::Rules { files, url, strict } => {
            let facts = url.map_or_else(|| Ok(Facts::default()), |url| facts_of(&Place::at(url)))?;
            Findings { is_strict: strict, ..check_rules(&files, &facts) }
        }
        What::Message { file, subject, body, device, device_type } => {
            let message = DeviceMessage {
                device_id: device,
                device_type,
                subject,
                payload: body.into(),
                received_at: Clock::system().now(),
                moved_ms: 0,
                origin: Origin::Gateway,
            };
            check_message(file, &message)
        }
    };
    Ok(tell(&findings))
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "telling is what this command is for")]
fn tell(findings: &Findings) -> ExitCode {
    for line in &findings.mistakes {
        eprintln!("{line}");
    }
    for line in &findings.remarks {
        eprintln!("odd: {line}");
    }
    for line in &findings.good {
        println!("{line}");
    }
    if findings.mistakes.is_empty() && (!findings.is_strict || findings.remarks.is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn check_config(file: PathBuf) -> Findings {
    let mut findings = Findings::default();
    let name = file.display().to_string();
    let source = config::Source { file: Some(file), ..config::Source::default() };
    let config = match config::load(&source) {
        Ok(config) => config,
        Err(error) => {
            findings.mistakes.push(error.to_string());
            return findings;
        }
    };
    findings.good.extend(config.warnings.iter().map(|note| format!("note: {note}")));
    let mut rules = 0;
    let facts = Facts { retention: Some(config.storage.tsdb.retention), ..Facts::default() };
    let own = config.rules.files.iter().filter(|source| !source.path.starts_with("builtin:"));
    for source in own {
        match &source.text {
            Ok(text) => rules += check_rule_file(&source.path, text, &facts, &mut findings),
            Err(why) => findings.mistakes.push(format!("{}: {why}", source.path)),
        }
    }
    if findings.mistakes.is_empty() {
        findings.good.push(format!("{name}: good: {}", summary(&config, rules)));
    }
    findings
}

/// Says what a message becomes; one that becomes nothing is a mistake.
fn check_message(file: PathBuf, message: &DeviceMessage) -> Findings {
    let mut findings = Findings::default();
    if let Err(error) = message.subject.parse::<Subject>() {
        findings.mistakes.push(error.to_string());
        return findings;
    }
    let source = config::Source { file: Some(file), ..config::Source::default() };
    let config = match config::load(&source) {
        Ok(config) => config,
        Err(error) => {
            findings.mistakes.push(error.to_string());
            return findings;
        }
    };
    let trial = try_message(&config.collect.telemetry, &config.collect.logs, message);
    for sample in &trial.samples {
        let at =
            if sample.at == message.received_at { String::new() } else { format!(" at {}", sample.at.to_rfc3339()) };
        let limit = config.collect.limits.check(&sample.labels).err();
        let limit = limit.map(|why| format!("; would be refused: {why}")).unwrap_or_default();
        let (kind, value) = (sample.metadata.kind.as_str(), format_value(sample.value));
        findings.good.push(format!("{kind} {} {value}{at}{limit}", sample.labels));
    }
    findings.good.extend(trial.line.iter().map(|line| format!("log line {} {}", line.stream, line.line)));
    if trial.result == "stats" {
        findings.good.push("the device's report on itself: its device_ series".to_owned());
    }
    if trial.result == "heartbeat" {
        findings.good.push("a sign of life: device_health and device_connection_state".to_owned());
    }
    let remarks = trial.remarks.into_iter();
    if findings.good.is_empty() {
        findings.mistakes.extend(remarks)
    } else {
        findings.good.extend(remarks)
    }
    findings
}

/// Says what a box with these settings would do, so that a file that says less than meant is noticed.
fn summary(config: &Config, rules: usize) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let packs = config.rules.files.iter().filter(|source| source.path.starts_with("builtin:")).count();
    [
        format!("listens on {}", config.http.listen),
        format!("data in {}", config.storage.folder.display()),
        count(config.collect.scrape.len(), "scrape job"),
        format!("{} and {} of its own", count(packs, "rule pack"), count(rules, "rule")),
        count(config.notify.receivers.len(), "receiver"),
        count(config.forward.destinations.len(), "destination"),
    ]
    .join(", ")
}

/// Asks a box what there is.
fn facts_of(place: &Place) -> anyhow::Result<Facts> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let got = |path: &str| runtime.block_on(ask(Method::GET, &place.address(path), &[]));
    let names = got("/api/v1/label/__name__/values")?;
    let kinds = got("/api/v1/metadata")?;
    let status = got("/api/v1/status/runtimeinfo")?;
    let list = names["data"].as_array().map_or(&[][..], Vec::as_slice);
    let kinds = kinds["data"].as_object().into_iter().flatten();
    let kind = |value: &serde_json::Value| match value[0]["type"].as_str() {
        Some("counter") => MetricKind::Counter,
        Some("gauge") => MetricKind::Gauge,
        Some("histogram") => MetricKind::Histogram,
        Some("summary") => MetricKind::Summary,
        _ => MetricKind::Unknown,
    };
    Ok(Facts {
        metrics: Some(list.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect()),
        kinds: kinds.map(|(name, value)| (name.clone(), kind(value))).collect(),
        retention: status["data"]["storageRetention"].as_str().and_then(|text| parse_duration(text).ok()),
        ..Facts::default()
    })
}

fn check_rules(files: &[PathBuf], facts: &Facts) -> Findings {
    let mut findings = Findings::default();
    for file in files {
        let name = file.display().to_string();
        match std::fs::read_to_string(file) {
            Ok(text) => {
                let before = findings.mistakes.len();
                let rules = check_rule_file(&name, &text, facts, &mut findings);
                if findings.mistakes.len() == before {
                    let plural = if rules == 1 { "" } else { "s" };
                    findings.good.push(format!("{name}: good: {rules} rule{plural}"));
                }
            }
            Err(error) => findings.mistakes.push(format!("{name}: cannot be read: {error}")),
        }
    }
    findings
}

/// Checks one rule file and returns how many good rules it has.
fn check_rule_file(name: &str, text: &str, facts: &Facts, findings: &mut Findings) -> usize {
    findings.remarks.extend(rules::lint_file(name, text, facts).iter().map(ToString::to_string));
    let checked = rules::check(name, text);
    findings.mistakes.extend(checked.mistakes.iter().map(ToString::to_string));
    checked.rules
}
