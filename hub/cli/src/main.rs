//! The `portreeve` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    portreeve_cli::main_with(std::env::args_os())
}
