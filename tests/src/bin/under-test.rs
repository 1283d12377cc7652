//! All programs under test in one binary, so that the tests build and link only once. It is started as `under-test
//! <role> <arguments>`, or in an image as a copy with the name of a program: `portreeve-hub`, `portreeve-agent`.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use portreeve_agent_core::translate::Defaults;

fn changed() -> Defaults {
    Defaults { udp_idle_ms: 90_000, connect_timeout_ms: 4_000, ..Defaults::default() }
}

fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    match Path::new(&called).file_name().and_then(|name| name.to_str()) {
        Some("portreeve-hub") => portreeve_hub::main_with(std::env::args_os()),
        Some("portreeve-agent") => portreeve_agent::main_with(std::env::args_os()),
        _ => role(),
    }
}

fn role() -> ExitCode {
    // The role takes the place of the program's name.
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    match words.first().and_then(|role| role.to_str()) {
        Some("hub") => portreeve_hub::main_with(words),
        Some("agent") => portreeve_agent::main_with(words),
        // An agent of another version, which translates a Plan without an idle timeout to a different listener.
        Some("agent-changed") => portreeve_agent::main_with_defaults(words, changed()),
        Some("portreeve") => portreeve_cli::main_with(words),
        // The agent starts its own executable with these roles.
        Some("keep" | "launch") => portreeve_agent::main_with(std::env::args_os()),
        // `portreeve up` starts its own executable with this role for the workers of a folder.
        Some("echo") => portreeve_cli::main_with(std::env::args_os()),
        role => {
            eprintln!("under-test: no role {role:?}");
            ExitCode::from(2)
        }
    }
}
