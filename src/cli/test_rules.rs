//! `andon test rules`: unit tests of rules, in promtool's format and with its verdicts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use reqwest::Method;

use super::ask::{Place, ask};
use crate::clock::Clock;
use crate::config::expand_pattern;
use crate::model::{format_duration, parse_duration};
use crate::rules::{self, unit_test};

/// Arguments of `andon test`.
#[derive(Debug, Args)]
pub(super) struct TestArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run the tests of these files
    Rules {
        /// The files
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Take the files for rules instead, and try them on what a running box has stored of so long, such as 7d
        #[arg(long, value_name = "DURATION")]
        replay: Option<String>,
        #[command(flatten)]
        place: Place,
    },
}

/// Runs all tests and tells; 1 if one failed.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "telling is what this command is for")]
pub(super) fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let What::Rules { files, replay, place } = &args.what;
    if let Some(back) = replay {
        return try_on_history(files, back, place);
    }
    let mut has_failed = false;
    for file in files {
        println!("Unit Testing:  {}", file.display());
        match test(file) {
            Ok(()) => println!("  SUCCESS\n"),
            Err(failures) => {
                has_failed = true;
                eprintln!("  FAILED:");
                for line in failures.iter().flat_map(|failure| failure.lines()) {
                    eprintln!("    {line}");
                }
                eprintln!();
            }
        }
    }
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Tells of each alerting rule how often and how long it would have fired.
#[expect(clippy::print_stdout, reason = "telling is what this command is for")]
fn try_on_history(files: &[PathBuf], back: &str, place: &Place) -> anyhow::Result<ExitCode> {
    let back = parse_duration(back).map_err(|e| anyhow::anyhow!("--replay: {e}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let end = Clock::system().now();
    for file in files {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        let mistakes = rules::check(&name, &text).mistakes;
        if let Some(mistake) = mistakes.first() {
            bail!("{mistake}");
        }
        for rule in rules::alerting_rules(&name, &text) {
            let interval = rule.interval.map_or_else(|| "1m".to_owned(), format_duration);
            let parameters = [
                ("expr", rule.expression.clone()),
                ("for", format_duration(rule.hold)),
                ("keep_firing_for", format_duration(rule.keep_firing)),
                ("interval", interval),
                ("limit", rule.limit.to_string()),
                ("start", (end - back).as_seconds().to_string()),
                ("end", end.as_seconds().to_string()),
            ];
            let address = place.address("/api/v1/rules/replay");
            let asked = ask(Method::GET, &address, &parameters);
            let answer = runtime.block_on(asked).with_context(|| format!("{name}:{}: {}", rule.line, rule.name))?;
            println!("{name}:{}: {}: {}", rule.line, rule.name, told(&answer["data"]));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Says in a line what a rule would have done.
fn told(found: &serde_json::Value) -> String {
    let number = |name: &str| found[name].as_u64().unwrap_or(0);
    let span =
        |name: &str| format_duration(Duration::from_secs_f64(found[name].as_f64().unwrap_or(0.0).max(0.0).round()));
    let short = match number("short") {
        0 => String::new(),
        n => format!("; {n} times its condition held, but not for long enough"),
    };
    let short = match number("overLimit") {
        0 => short,
        n => {
            format!("{short}; at {n} evaluations there were more alerts than the group's limit, which dropped them all")
        }
    };
    match number("count") {
        0 => format!("would not have fired{short}"),
        n => format!(
            "would have fired {n} time{}, {} of {} with an alarm, at most {} at once{short}",
            if n == 1 { "" } else { "s" },
            span("someFiringSeconds"),
            format_duration(Duration::from_secs_f64(
                found["evaluations"].as_f64().unwrap_or(0.0) * found["intervalSeconds"].as_f64().unwrap_or(0.0)
            )),
            number("atOnce")
        ),
    }
}

/// Runs the tests of one file; what failed is the error.
#[expect(clippy::print_stderr, reason = "telling is what this command is for")]
fn test(file: &Path) -> Result<(), Vec<String>> {
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path);
        text.map_err(|error| vec![format!("{}: cannot be read: {error}", path.display())])
    };
    let tests = unit_test::read(&file.display().to_string(), &read(file)?)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut rules = Vec::new();
    for pattern in &tests.rule_files {
        let mut paths = expand_pattern(&folder.join(pattern));
        paths.retain(|path| path.exists());
        if paths.is_empty() {
            eprintln!("  WARNING: no file matches {pattern}");
        }
        for path in paths {
            rules.push((path.display().to_string(), read(&path)?));
        }
    }
    let failures = tests.run(&rules);
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}
