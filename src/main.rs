//! The program: parses the command line and turns an error into an exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    andon::cli::main(andon::cli::Arguments::parse())
}
