//! The command line: subcommands and their arguments, one file each.
//!
//! Exit codes: 0 for success, 1 for a failure that is told on standard error, 2 for wrong arguments.

mod ask;
mod backfill;
mod backup;
mod check;
mod clock;
mod demo;
mod device;
mod draft;
mod export;
mod inspect;
mod notify;
mod query;
mod restore;
mod run;
mod said;
mod test_rules;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Monitoring for a factory edge box in one process.
#[derive(Debug, Parser)]
#[command(name = "andon", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the box in the foreground.
    Run(run::RunArgs),
    /// Start a box with a simulated packaging line, to look around.
    Demo(demo::DemoArgs),
    /// The devices that may connect, and their tokens.
    Device(device::DeviceArgs),
    /// Check settings, rule files and what becomes of a message, without starting anything.
    Check(check::CheckArgs),
    /// Run unit tests of rules, in promtool's format.
    Test(test_rules::TestArgs),
    /// Show who is told of an alarm, or test a receiver.
    Notify(notify::NotifyArgs),
    /// Show whether a running box believes its clock, or say that it is right.
    Clock(clock::ClockArgs),
    /// Ask a running box a question in PromQL.
    Query(query::QueryArgs),
    /// Give a running box samples of the past, from a file in OpenMetrics text.
    Backfill(backfill::BackfillArgs),
    /// Write samples that a box keeps as OpenMetrics text, CSV or lines of JSON.
    Export(export::ExportArgs),
    /// Write everything a box keeps into one file, while it runs.
    Backup(backup::BackupArgs),
    /// Put a backup back into a data folder.
    Restore(restore::RestoreArgs),
    /// Show what a data folder holds, and whether it checks out.
    Inspect(inspect::InspectArgs),
}

/// Carries out a command and returns the exit code of the process.
#[must_use]
pub fn main(arguments: Arguments) -> ExitCode {
    let outcome = match arguments.command {
        Command::Run(args) => run::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Device(args) => device::run(args),
        Command::Check(args) => check::run(args),
        Command::Test(args) => test_rules::run(&args),
        Command::Notify(args) => notify::run(args),
        Command::Clock(args) => clock::run(&args),
        Command::Query(args) => query::run(&args),
        Command::Backfill(args) => backfill::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Restore(args) => restore::run(&args),
        Command::Inspect(args) => inspect::run(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

/// Tells what went wrong, with its causes, and returns the exit code for it.
#[expect(clippy::print_stderr, reason = "the one place that tells the user of a failed command")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("andon: {}", told(error));
    ExitCode::FAILURE
}

/// Joins an error and its causes; many of our errors already say their cause, which is then not said again.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| {
        if told.is_empty() {
            cause
        } else if told.contains(&cause) {
            told
        } else {
            format!("{told}: {cause}")
        }
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let cause = || Err::<(), _>(anyhow::anyhow!("disk full"));
        assert_eq!(told(&cause().context("cannot write").unwrap_err()), "cannot write: disk full");
        assert_eq!(told(&cause().context("cannot write: disk full").unwrap_err()), "cannot write: disk full");
    }
}
