//! The `portreeve-agent` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    portreeve_agent::main_with(std::env::args_os())
}
