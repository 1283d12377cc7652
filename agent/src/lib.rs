//! The agent: keeps the proxies of its own node, and them alone.
//!
//! Its state and its judgement are in [`portreeve_agent_core`], and the translation for Envoy is in [`portreeve_envoy`].
//! This crate is the shell around them. [`run`] feeds them from the hub, the node's pods and the resolver, and serves
//! what they say over a Unix socket to those whom [`identity`] knows. [`store`] keeps it for the next agent, which
//! [`turn`] lets begin. [`reports`] tells every one of the hub's [`replicas`] what became of it. [`supervisor`] and
//! [`portreeve_keeper`] supervise the Envoys, and [`ports`] looks for processes that share ports with them.
//! [`portreeve_csi`] brings the socket to pods that may have no directory of the host. (rustix, there already for others,
//! is for sockets' disconnects and handles of processes, which nix does not have.)
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod addresses;
mod ads;
pub mod directory;
pub mod envoy;
pub mod families;
pub mod forget;
pub mod handles;
pub mod identity;
pub mod interfaces;
pub mod l7mp;
pub mod link;
pub mod local;
pub mod metrics;
pub mod names;
pub mod node_proxies;
pub mod own_health;
pub mod ports;
pub mod prober;
pub mod programs;
pub mod replicas;
mod report_writer;
pub mod reports;
pub mod restore;
pub mod roles;
pub mod run;
pub mod staleness;
pub mod store;
pub mod supervisor;
pub mod traces;
pub mod tunnels;
pub mod turn;
pub mod udp_sockets;
pub mod witness;

use portreeve_agent_core::translate::Defaults;
use portreeve_csi as csi;
use portreeve_runtime::finish;
use portreeve_runtime::logs::{self, Format};

/// The agent's command line.
#[derive(Parser)]
#[command(name = "portreeve-agent", version, about = "Keeps the proxies of its own node")]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Run the agent: serve this node's proxies.
    Run(Box<run::RunArgs>),
    #[command(flatten)]
    OfProxy(OfProxy),
    Probe(roles::ProbeArgs),
    /// Delete the files of an agent from this node.
    Forget(forget::ForgetArgs),
    Addresses(portreeve_addresses::AddressesArgs),
    Gue(portreeve_tunnels::GueArgs),
    GueClient(portreeve_tunnels::GueClientArgs),
    Csi(csi::CsiArgs),
    CsiProbe(csi::CsiProbeArgs),
    /// Download the pinned release of Envoy into the user's cache, and print its path.
    FetchEnvoy,
    /// Install the pinned release of l7mp into the user's cache by npm, and print the path of its script.
    FetchL7mp,
}

/// The roles of the processes that each proxy has. A command line with one of them is parsed without the flags of the
/// other roles, which would cost each keeper memory for its whole life.
#[derive(Subcommand)]
enum OfProxy {
    /// Run the keeper of one proxy. Started by the agent.
    Keep(roles::KeepArgs),
    Gateway(roles::GatewayArgs),
    Ready(roles::ReadyArgs),
    #[command(hide = true)]
    Launch(roles::LaunchArgs),
}

/// The command line of a role of [`OfProxy`].
#[derive(Parser)]
#[command(name = "portreeve-agent", version)]
struct ProxyCli {
    #[command(subcommand)]
    role: OfProxy,
}

/// Runs the agent, or another role of its binary, with the given command line. Its first word is the program's name.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    main_with_defaults(args, Defaults::default())
}

/// Like [`main_with`], with other defaults in translations. Tests use it for an agent of another version.
pub fn main_with_defaults(args: impl IntoIterator<Item = OsString>, defaults: Defaults) -> ExitCode {
    let role = match parse(args.into_iter().collect()) {
        Ok(role) => role,
        Err(error) => error.exit(),
    };
    match role {
        Role::Run(args) => portreeve_runtime::block_on(run::run(*args, defaults)),
        Role::OfProxy(role) => finish(of_proxy(role)),
        Role::Probe(args) => finish(roles::probe(args)),
        Role::Forget(args) => finish(logs::init("info", Format::Text).and_then(|()| roles::forget(&args))),
        Role::Addresses(args) => portreeve_runtime::block_on(portreeve_addresses::run(args)),
        Role::Gue(args) => portreeve_runtime::block_on(portreeve_tunnels::run_gateway(args)),
        Role::GueClient(args) => portreeve_runtime::block_on(portreeve_tunnels::run_client(args)),
        Role::Csi(args) => match csi::confine() {
            Ok(()) => portreeve_runtime::block_on(csi::run(args)),
            refused => finish(refused),
        },
        Role::CsiProbe(args) => portreeve_runtime::block_on(csi::probe(args)),
        Role::FetchEnvoy => finish(logs::init("info", Format::Text).and_then(|()| roles::fetch_envoy())),
        Role::FetchL7mp => finish(logs::init("info", Format::Text).and_then(|()| roles::fetch_l7mp())),
    }
}

fn parse(words: Vec<OsString>) -> Result<Role, clap::Error> {
    let role = words.get(1).and_then(|word| word.to_str());
    if role.is_some_and(OfProxy::has_subcommand) {
        return Ok(Role::OfProxy(ProxyCli::try_parse_from(words)?.role));
    }
    Ok(Cli::try_parse_from(words)?.role)
}

fn of_proxy(role: OfProxy) -> anyhow::Result<()> {
    match role {
        OfProxy::Keep(args) => logs::init("info", Format::Text).and_then(|()| roles::keep(args)),
        OfProxy::Gateway(args) => logs::init("info", Format::Json).and_then(|()| roles::gateway(args)),
        OfProxy::Ready(args) => portreeve_keeper::ready(args.dir),
        OfProxy::Launch(args) => roles::launch(args).map(|never| match never {}),
    }
}
