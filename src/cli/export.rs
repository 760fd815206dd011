//! `andon export`: samples that a running box keeps, as text.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use reqwest::Method;

use super::ask::{Place, stream};
use super::draft::Draft;
use super::query::{beginning, end};
use super::said::bytes;
use crate::clock::Clock;

/// Arguments of `andon export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Which series, such as 'up{job="a"}'; all if none is given
    #[arg(value_name = "SELECTOR", default_value = r#"{__name__!=""}"#, hide_default_value = true)]
    selectors: Vec<String>,
    #[command(flatten)]
    place: Place,
    /// From which time on: RFC 3339, seconds since 1970, or a duration such as 1d, which counts back from the end
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Up to which time; now if not given
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    /// How to write
    #[arg(long, value_enum, default_value_t = Format::Openmetrics)]
    format: Format,
    /// Where to: a file, which appears when it is whole; standard output if not given
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// How samples are written.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// What andon backfill and promtool tsdb create-blocks-from read
    Openmetrics,
    /// time,series,value
    Csv,
    /// A line of JSON for each series, as VictoriaMetrics has it
    Jsonl,
}

/// Asks and writes.
pub(super) fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let end = end(args.end.as_deref(), Clock::system().now())?;
    let start = args.start.as_deref().map(|start| beginning(start, end)).transpose()?;
    let format = match args.format {
        Format::Openmetrics => "openmetrics",
        Format::Csv => "csv",
        Format::Jsonl => "jsonl",
    };
    let mut parameters: Vec<(&str, String)> = args.selectors.iter().map(|s| ("match[]", s.clone())).collect();
    parameters.extend([("format", format.to_owned()), ("end", end.as_seconds().to_string())]);
    parameters.extend(start.map(|start| ("start", start.as_seconds().to_string())));
    let url = args.place.address("/api/v1/export");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let write = |out: &mut dyn Write| runtime.block_on(stream(Method::GET, &url, &parameters, "", out));
    match &args.out {
        None => {
            let mut out = io::stdout().lock();
            write(&mut out)?;
            out.flush()?;
        }
        Some(path) => {
            let mut out = Draft::create(path)?;
            write(&mut out)?;
            let ((), size) = out.finish(|_| Ok(()))?;
            say(&format!("{}: {}", path.display(), bytes(size)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stderr, reason = "saying what was done, beside what was asked for")]
fn say(text: &str) {
    eprintln!("{text}");
}
