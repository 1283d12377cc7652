//! The keeper's stream to its agent: states out, instructions in, for ever again when it breaks.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use futures::Stream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Endpoint;

use super::state::State;
use super::usage;
use super::wire::proto::keepers_client::KeepersClient;
use super::wire::proto::{Instruction, Report};

/// A report is sent at least this often.
const HEARTBEAT: Duration = Duration::from_secs(5);
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_secs(1);

/// Keeps a stream to the agent on `socket` until `states` has lost its writer and the last one was sent.
pub(super) async fn run(socket: PathBuf, states: watch::Receiver<State>, orders: mpsc::Sender<Instruction>) {
    let (mut wait, mut told) = (FIRST_WAIT, String::new());
    while states.has_changed().is_ok() {
        let begun = Instant::now();
        if let Err(error) = attach(&socket, states.clone(), &orders).await {
            let error = format!("{error:#}");
            // The same for as long as it is away.
            if error != told {
                tracing::warn!(error, "no agent; trying again");
                told = error;
            }
        }
        if begun.elapsed() > LONGEST_WAIT {
            (wait, told) = (FIRST_WAIT, String::new());
        }
        tokio::select! {
            () = sleep(wait) => wait = (wait * 2).min(LONGEST_WAIT),
            () = last(states.clone()) => return,
        }
    }
}

/// Ends when there will be no further state.
async fn last(mut states: watch::Receiver<State>) {
    while states.changed().await.is_ok() {}
}

async fn attach(
    socket: &std::path::Path,
    states: watch::Receiver<State>,
    orders: &mpsc::Sender<Instruction>,
) -> anyhow::Result<()> {
    let path = socket.to_str().context("the agent's socket is not UTF-8")?;
    let endpoint = Endpoint::from_shared(format!("unix://{path}"))?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(HEARTBEAT)
        .keep_alive_timeout(HEARTBEAT)
        .keep_alive_while_idle(true);
    let mut client = KeepersClient::new(endpoint.connect().await?);
    let mut instructions = client.attach(reports(states)).await?.into_inner();
    tracing::info!("attached to the agent");
    while let Some(instruction) = instructions.message().await? {
        orders.send(instruction).await?;
    }
    tracing::info!("the agent went away");
    Ok(())
}

/// The state at once, on each change and every [`HEARTBEAT`]; ends after the last one.
fn reports(mut states: watch::Receiver<State>) -> impl Stream<Item = Report> {
    states.mark_changed();
    futures::stream::unfold(Some(states), |states| async {
        let mut states = states?;
        let changed = timeout(HEARTBEAT, states.changed()).await;
        let mut state = states.borrow_and_update().clone();
        state.usage = state.envoy_pid.and_then(usage::of);
        let report = Report::from(&state);
        match changed {
            Ok(Err(_writer_is_gone)) => None,
            Ok(Ok(())) | Err(_) => Some((report, Some(states))),
        }
    })
}
