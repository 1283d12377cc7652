//! Measures a hub with a simulated cluster and simulated agents, see [`portreeve_tests::fleet`].

use anyhow::Result;
use clap::Parser;
use portreeve_tests::fleet::{Args, run};

#[tokio::main]
async fn main() -> Result<()> {
    run(&Args::parse()).await.map(drop)
}
