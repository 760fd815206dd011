//! `andon clock`: whether a running box believes its system's clock, and the word that it is right.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::ask::{Place, ask};

/// Arguments of `andon clock`.
#[derive(Debug, Args)]
pub(super) struct ClockArgs {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    place: Place,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, Subcommand)]
enum Action {
    /// Say that the system's clock is right now; provisional samples are moved by what it differs
    Confirm,
}

/// Asks and prints.
#[expect(clippy::print_stdout, reason = "printing the answer is what this command is for")]
pub(super) fn run(args: &ClockArgs) -> anyhow::Result<ExitCode> {
    let (method, path) = match args.action {
        None => (Method::GET, "/api/v1/clock"),
        Some(Action::Confirm) => (Method::POST, "/api/v1/clock/confirm"),
    };
    let url = args.place.address(path);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(ask(method, &url, &[]))?;
    print!("{}", told(&answer["data"]));
    Ok(ExitCode::SUCCESS)
}

/// Puts an answer into lines for people.
fn told(clock: &Value) -> String {
    let text = |name: &str| clock[name].as_str().unwrap_or("?").to_owned();
    let believed = if clock["trusted"] == true { "yes" } else { "no" };
    let mut lines = format!(
        "believed:    {believed} ({})\nbox time:    {}\nsystem time: {}\n",
        text("reason").replace('_', " "),
        text("time"),
        text("systemTime"),
    );
    if let Some(step) = clock["lastStep"].as_object() {
        lines += &format!("last step:   {} s at {}\n", step["seconds"], step["at"].as_str().unwrap_or("?"));
    }
    if let Some(samples) = clock["provisionalSamples"].as_u64().filter(|n| *n > 0) {
        lines += &format!("provisional: {samples} samples\n");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_in_lines() {
        let answer = serde_json::json!({
            "time": "2026-06-01T08:00:00Z", "systemTime": "2027-06-01T08:00:00Z", "trusted": false,
            "reason": "far_ahead", "lastStep": {"at": "2026-06-01T07:00:00Z", "seconds": 2.5},
            "provisionalSamples": 12,
        });
        assert_eq!(
            told(&answer),
            "believed:    no (far ahead)\nbox time:    2026-06-01T08:00:00Z\nsystem time: 2027-06-01T08:00:00Z\n\
             last step:   2.5 s at 2026-06-01T07:00:00Z\nprovisional: 12 samples\n"
        );
    }
}
