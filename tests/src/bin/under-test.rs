//! The programs under test in one binary, so that the tests build and link them once: `under-test <role> <arguments>`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let role = arguments.next().unwrap_or_default();
    // A role is added here with its crate's `main_with`.
    eprintln!("under-test: no role {role:?}");
    ExitCode::from(2)
}
