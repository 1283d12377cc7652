//! The `portreeve-hub` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    portreeve_hub::main_with(std::env::args_os())
}
