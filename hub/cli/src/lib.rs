//! The command `portreeve` for users.
//!
//! (rustix, which other crates use already, reads the terminal's width.)
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use portreeve_agent::roles;
use portreeve_runtime::logs::{self, Format};
use portreeve_runtime::{block_on, finish};

pub mod check;
pub mod convert;
pub mod crds;
pub mod echo;
pub mod endpoints;
pub mod layout;
pub mod programs;
pub mod send;
pub mod statics;
pub mod table;
pub mod translate;
pub mod up;
pub mod workers;

/// UDP and TCP routing by custom resources. The Envoys keep serving when the control plane stops.
#[derive(Parser)]
#[command(name = "portreeve", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the hub, an agent and real proxies from a folder of manifests.
    Up(up::Args),
    /// Print the configuration of every proxy in these files, without starting anything.
    Translate(translate::Args),
    /// Convert older spellings of l7mp's objects into objects of l7mp.io/v1, and print them.
    Convert(convert::Args),
    /// Print the definitions of all custom resources.
    Crds(crds::Args),
    /// Answer UDP datagrams with their content and this worker's address. For tests.
    Echo(echo::Args),
    /// Send a text by UDP or TCP, and print the answer.
    Send(send::Args),
    #[command(hide = true)]
    Keep(roles::KeepArgs),
    #[command(hide = true)]
    Launch(roles::LaunchArgs),
}

/// Runs the command with the given command line. Its first word is the program's name.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match Cli::try_parse_from(args) {
        Ok(cli) => cli.command,
        Err(error) => error.exit(),
    };
    match command {
        Command::Up(args) => block_on(up::run(args)),
        Command::Translate(args) => finish(translate::run(&args)),
        Command::Convert(args) => finish(convert::run(&args)),
        Command::Crds(args) => finish(crds::run(&args)),
        Command::Echo(args) => finish(echo::run(&args)),
        Command::Send(args) => finish(send::run(&args)),
        Command::Keep(args) => finish(logs::init("info", Format::Text).and_then(|()| roles::keep(args))),
        Command::Launch(args) => finish(roles::launch(args).map(|never| match never {})),
    }
}
