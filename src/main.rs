//! The program: parses the command line and turns an error into an exit code.

use std::process::ExitCode;

use clap::Parser;

/// glibc keeps what was free once; this heap gives it back, see `docs/decisions/0160`.
#[global_allocator]
static HEAP: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    andon::cli::main(andon::cli::Arguments::parse())
}
