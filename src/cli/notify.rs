//! `andon notify`: which route alarms take, and whether a receiver takes a notice.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use reqwest::Method;

use super::ask::{Place, ask};
use crate::config::{self, Config};
use crate::model::{Labels, format_duration};
use crate::notify::{self, TakenRoute};

/// Arguments of `andon notify`.
#[derive(Debug, Args)]
pub(super) struct NotifyArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show who is told of an alarm with these labels, by settings; nothing is sent
    Route {
        /// Labels, such as severity=critical
        #[arg(value_name = "NAME=VALUE")]
        labels: Vec<String>,
        /// The settings, or an Alertmanager's file; /etc/andon/andon.yml if not given
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print only the names of the receivers, separated by commas
        #[arg(long)]
        short: bool,
    },
    /// Send a test to each way of a receiver of a running box, and show what comes of it
    Test {
        /// The receiver's name
        #[arg(value_name = "RECEIVER")]
        receiver: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Shows a route, or sends a test; 1 if a test was not taken.
pub(super) fn run(args: NotifyArgs) -> anyhow::Result<ExitCode> {
    match args.what {
        What::Route { labels, config, short } => route(&labels, config.as_deref(), short),
        What::Test { receiver, place } => test(&receiver, &place),
    }
}

#[expect(clippy::print_stdout, reason = "showing the route is what this command is for")]
fn route(labels: &[String], file: Option<&Path>, short: bool) -> anyhow::Result<ExitCode> {
    let labels = read_labels(labels)?;
    let config = load(file)?;
    let routes = notify::routes(&config.notify, &labels);
    if routes.is_empty() {
        bail!("there are no notifications in these settings: nobody is told");
    }
    if short {
        println!("{}", routes.iter().map(|r| r.receiver.as_str()).collect::<Vec<_>>().join(","));
    } else {
        for route in &routes {
            print!("{}", shown(route, &config.notify));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Loads settings; a file with a routing tree of its own is an Alertmanager's.
fn load(file: Option<&Path>) -> anyhow::Result<Config> {
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        if text.lines().any(|line| line.starts_with("route:")) {
            let path = std::path::absolute(path)?;
            let wrapped = format!("notifications: {{config_file: {:?}}}\n", path.display().to_string());
            return Ok(config::resolve(&wrapped, &path, &config::Source::default())?);
        }
    }
    Ok(config::load(&config::Source { file: file.map(Path::to_owned), ..config::Source::default() })?)
}

fn read_labels(pairs: &[String]) -> anyhow::Result<Labels> {
    let mut labels = Vec::new();
    for pair in pairs {
        let Some((name, value)) = pair.split_once('=') else {
            bail!("{pair:?} is not a label; write it like severity=critical")
        };
        labels.push((name, value.trim_matches('"')));
    }
    Ok(Labels::from_pairs(labels))
}

fn shown(route: &TakenRoute, config: &notify::Config) -> String {
    let [wait, interval, repeat] = route.waits.map(format_duration);
    let ways = config.receivers.iter().find(|r| r.name == route.receiver);
    let ways: Vec<&str> = ways.into_iter().flat_map(|r| r.ways.iter().map(|w| w.kind.name())).collect();
    let ways = if ways.is_empty() { "nothing: it has no ways".to_owned() } else { ways.join(", ") };
    let mut text = format!(
        "{}\n  by      {ways}\n  route   {}\n  group   {}\n  waits   {wait} first, {interval} for changes, {repeat} to \
         tell the same again\n",
        route.receiver, route.path, route.group_labels,
    );
    for (word, names) in [("silent ", &route.intervals.0), ("only in", &route.intervals.1)] {
        if !names.is_empty() {
            text.push_str(&format!("  {word} {}\n", names.join(", ")));
        }
    }
    text
}

#[expect(clippy::print_stdout, reason = "showing what came of it is what this command is for")]
fn test(receiver: &str, place: &Place) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let url = place.address("/api/v1/receivers/test");
    let answer = runtime.block_on(ask(Method::POST, &url, &[("receiver", receiver.to_owned())]))?;
    let ways = answer["data"]["ways"].as_array().cloned().unwrap_or_default();
    if ways.is_empty() {
        bail!("{receiver} has no ways: what is sent to it is dropped");
    }
    let mut all_taken = true;
    for way in &ways {
        let (name, seconds) = (way["way"].as_str().unwrap_or("?"), way["seconds"].as_f64().unwrap_or(0.0));
        match way["error"].as_str() {
            None => println!("{name}: taken in {seconds:.3} s"),
            Some(why) => {
                all_taken = false;
                println!("{name}: not taken after {seconds:.3} s: {why}");
            }
        }
    }
    Ok(if all_taken { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
