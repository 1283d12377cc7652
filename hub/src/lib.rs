//! The hub watches custom resources and pods, resolves each resource into a Plan, and sends every node's agent only
//! what its node needs.
//!
//! [`index`] and [`resolve`] are pure. The other modules feed them and deliver their results.
//!
//! hashbrown has a table that finds texts by their places; std's maps need the key in the map. zeroize overwrites the
//! memory of Secrets' content when it is dropped.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

pub mod auth;
pub mod change;
pub mod conditions;
pub mod convergence;
pub mod definitions;
pub mod epic;
pub mod events;
pub mod feed;
pub mod files;
pub mod index;
pub mod keyed_sets;
pub mod kinds;
pub mod lease;
pub mod lookup;
pub mod metrics;
pub mod namespaces;
pub mod node_health;
pub mod object;
pub mod owners;
pub mod pod_reader;
pub mod portions;
pub mod pulse;
pub mod raw;
pub mod relist;
pub mod reports;
pub mod resolve;
pub mod row;
pub mod run;
pub mod secrets;
pub mod selection;
pub mod served;
pub mod service_watches;
pub mod services;
pub mod settings;
pub mod slices;
pub mod sources;
pub mod status;
pub mod subject;
pub mod subresource;
pub mod tls;
pub mod traces;
pub mod verdict;
pub mod watches;
pub mod watermark;
pub mod writer;

/// Runs the hub with the given command line. Its first word is the program's name.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match run::Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    portreeve_runtime::block_on_few(run::run(args))
}
