//! `andon test rules`: unit tests of rules, in promtool's format and with its verdicts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::config::expand_pattern;
use crate::rules::unit_test;

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
    },
}

/// Runs all tests and tells; 1 if one failed.
#[expect(clippy::unnecessary_wraps, reason = "all subcommands answer alike")]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "telling is what this command is for")]
pub(super) fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let What::Rules { files } = &args.what;
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
