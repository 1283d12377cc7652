//! The keeper's stream to its agent: it sends states and receives instructions, and reconnects endlessly.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use futures::Stream;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};

use crate::envoy::statistics;
use crate::proto::instruction::What;
use crate::proto::keepers_client::KeepersClient;
use crate::proto::{Ask, Holding, Instruction, Report, Sockets, Statistics};
use crate::state::State;
use crate::{held, usage};

/// Maximum interval between two reports.
const HEARTBEAT: Duration = Duration::from_secs(5);
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_secs(1);
/// Timeout for sending the last report.
pub(crate) const FAREWELL: Duration = Duration::from_millis(500);
/// Maximum number of concurrent answers. The agent repeats its requests.
const ANSWERS: usize = 4;
/// Size of an answer's piece in one message, in bytes.
const PIECE: usize = 256 << 10;

/// The connection to the agent.
pub(super) struct Agent {
    /// The agent's socket.
    pub(super) socket: PathBuf,
    /// Path of the admin interface of the Envoy that the agent may query.
    pub(super) admin: PathBuf,
}

// === impl Agent ===

impl Agent {
    /// Keeps a stream to the agent until `states` is closed and the last state was sent.
    pub(super) async fn follow(self, states: watch::Receiver<State>, orders: mpsc::Sender<Instruction>) {
        let (mut wait, mut told) = (FIRST_WAIT, String::new());
        while states.has_changed().is_ok() {
            let begun = Instant::now();
            if let Err(error) = self.attach(states.clone(), &orders).await {
                let error = format!("{error:#}");
                // While the agent is unreachable, the same error is logged once.
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

    async fn attach(
        &self,
        states: watch::Receiver<State>,
        orders: &mpsc::Sender<Instruction>,
    ) -> anyhow::Result<()> {
        let path = self.socket.to_str().context("the agent's socket is not UTF-8")?;
        let endpoint = Endpoint::from_shared(format!("unix://{path}"))?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(HEARTBEAT)
            .keep_alive_timeout(HEARTBEAT)
            .keep_alive_while_idle(true);
        let mut client = KeepersClient::new(endpoint.connect().await?);
        let mut instructions = client.attach(reports(states)).await?.into_inner();
        tracing::info!("attached to the agent");
        let mut answers = JoinSet::new();
        while let Some(instruction) = instructions.message().await? {
            match instruction.what {
                Some(What::Ask(ask)) => {
                    while answers.try_join_next().is_some() {}
                    if answers.len() < ANSWERS {
                        answers.spawn(answer(client.clone(), self.admin.clone(), ask));
                    }
                }
                Some(What::Sockets(sockets)) => {
                    while answers.try_join_next().is_some() {}
                    if answers.len() < ANSWERS {
                        answers.spawn(tell_held(client.clone(), sockets));
                    }
                }
                what => orders.send(Instruction { what }).await?,
            }
        }
        tracing::info!("the agent went away");
        Ok(())
    }
}

/// Sends Envoy's statistics to the agent, with the timeout of Envoy's answer.
async fn answer(mut client: KeepersClient<Channel>, admin: PathBuf, ask: Ask) {
    let told = async {
        let text = statistics::text(&admin, &ask.prefixes).await?;
        let question = ask.question;
        let mut pieces: Vec<_> = text.as_bytes().chunks(PIECE).map(<[u8]>::to_vec).collect();
        if pieces.is_empty() {
            // An empty result is an answer too.
            pieces.push(Vec::new());
        }
        let pieces = pieces.into_iter().map(move |text| Statistics { question, text });
        client.answer(futures::stream::iter(pieces)).await.map_err(std::io::Error::other)
    };
    if let Err(error) = told.await {
        tracing::debug!(%error, "the agent is not told what Envoy counts");
    }
}

/// Sends the agent those of the requested sockets that this keeper's Envoys hold.
async fn tell_held(mut client: KeepersClient<Channel>, Sockets { question, inodes }: Sockets) {
    let held = spawn_blocking(move || held::held(&inodes)).await.map_err(std::io::Error::other);
    let holding = match held.flatten() {
        Ok(inodes) => Holding { question, inodes, incomplete: false },
        Err(error) => {
            tracing::debug!(%error, "can't read which sockets Envoy holds");
            Holding { question, inodes: Vec::new(), incomplete: true }
        }
    };
    if let Err(error) = client.hold(holding).await {
        tracing::debug!(%error, "the agent is not told which sockets Envoy holds");
    }
}

/// Returns when there will be no further state.
async fn last(mut states: watch::Receiver<State>) {
    while states.changed().await.is_ok() {}
}

/// Yields the state immediately, on each change and every [`HEARTBEAT`]; ends after the last one.
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
