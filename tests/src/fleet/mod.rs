//! A simulated fleet: one real hub between an API server that only simulates its objects, and many agents that only
//! simulate their proxies. It measures what a hub of a large cluster costs, and how long changes take. Entry points: [`run`]
//! and `cargo bench -p portreeve-tests --bench fleet -- --help`.
//!
//! All agents and the API server share a process, so that their work doesn't count as the hub's. On a machine with few cores
//! they compete with the hub for processor time, which makes times longer, but not the hub's CPU time.

pub mod figures;
pub mod ledger;
pub mod pod;
pub mod probes;
pub mod request;
pub mod scenarios;
pub mod shape;
pub mod site;
pub mod source;
pub mod store;

use anyhow::Result;
use clap::Parser;

use figures::{HEAD, Row, circumstances};
use scenarios::{Pace, Scenario};
use shape::Shape;

/// Measures a hub with a simulated cluster and simulated agents.
#[derive(Clone, Debug, Parser)]
#[command(name = "fleet")]
pub struct Args {
    /// The numbers of objects.
    #[command(flatten)]
    pub shape: Shape,
    /// How fast and how long objects change.
    #[command(flatten)]
    pub pace: Pace,
    /// A scenario besides start. Can be repeated. Default: all.
    #[arg(long = "scenario", value_enum, value_name = "NAME")]
    pub scenarios: Vec<Scenario>,
    /// Ignored: cargo gives it to all benchmarks.
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// Runs the scenarios, and prints a row of a table for each. Returns the rows.
///
/// # Errors
/// Returns an error if agents don't converge in time.
pub async fn run(args: &Args) -> Result<Vec<Row>> {
    println!("{}\n\n{HEAD}", circumstances());
    let (mut site, started) = scenarios::start(args.shape).await?;
    println!("{}", started.line());
    let mut rows = vec![started];
    let chosen = if args.scenarios.is_empty() { Scenario::ALL.to_vec() } else { args.scenarios.clone() };
    for scenario in chosen {
        for row in scenario.run(&mut site, args.pace).await? {
            println!("{}", row.line());
            rows.push(row);
        }
    }
    Ok(rows)
}
