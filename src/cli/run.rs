//! `andon run`: the box in the foreground.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::app;

/// Arguments of `andon run`. They win over the configuration file.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Configuration file; without it /etc/andon/andon.yml, or embedded defaults if that is not there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder, instead of storage.path
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to listen, instead of http.listen
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
}

/// Runs the box until it is told to stop.
pub(super) fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let RunArgs { config, data, listen } = args;
    app::run(crate::config::Source { file: config, data, listen })
}
