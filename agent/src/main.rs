//! The agent's binary: one screen of roles.

use clap::{Parser, Subcommand};
use portreeve_agent::roles::{self, KeepArgs, LaunchArgs};
use portreeve_runtime::logs::{self, Format};

/// Portreeve's agent: keeps the proxies of its own node.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    Keep(KeepArgs),
    #[command(hide = true)]
    Launch(LaunchArgs),
}

fn main() -> anyhow::Result<()> {
    logs::init("info", Format::Text)?;
    match Cli::parse().role {
        Role::Keep(args) => roles::keep(args),
        Role::Launch(args) => roles::launch(args).map(|never| match never {}),
    }
}
