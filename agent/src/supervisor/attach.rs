//! The service that keepers attach to. Each stream is read and written by its own response, so it has no task to lose.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use portreeve_keeper::State;
use portreeve_keeper::proto::keepers_server;
use portreeve_keeper::proto::{Heard, Holding, Instruction, Report, Statistics};
use portreeve_keeper::spec::is_name;
use portreeve_xds::{Name, Peer};

use super::attest;
use super::inner::Inner;
use crate::witness::witnessed;

/// How long a keeper has for its first report.
const FIRST_REPORT: Duration = Duration::from_secs(5);
/// Keepers of this protocol and later ones can become another build of themselves.
const RENEWABLE: u32 = 2;
/// Instructions on their way to one keeper.
const INSTRUCTIONS: usize = 4;

/// The gRPC service `portreeve.keeper.v1.Keepers`.
pub struct Attachments {
    inner: Arc<Inner>,
}

/// Ends its session when the stream is dropped.
struct Attached {
    inner: Arc<Inner>,
    name: String,
    /// The pod that the keeper is in; none for one that this agent, or an earlier one, started.
    pod: Option<Name>,
    id: u64,
}

// === impl Attachments ===

impl Attachments {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// Believes only the process that holds the lock of the directory it names: every pod can dial the agent's socket.
    /// Tells whether that process runs another build than this agent's.
    fn attest(&self, name: &str, peer: &Peer) -> Result<bool, Status> {
        let holds = |pid| {
            let holds = is_name(name) && attest::holds_lock(pid, &self.inner.dir(name));
            (pid, holds.then(|| self.inner.config.is_other_build(pid)))
        };
        let (peer, holder) = witnessed(peer, holds)
            .map_err(|unseen| Status::permission_denied(format!("no keeper of {name:?}: {unseen}")))?;
        if let Some(other_build) = holder {
            return Ok(other_build);
        }
        tracing::warn!(name, peer, "a process that is not its keeper");
        let why = match self.inner.pods() {
            Some(_) => "is in no pod that embodies it: such a pod is on this node, under the ServiceAccount that the agent's \
                        --gateways names, and has the annotation portreeve.dev/node-proxy"
                .to_owned(),
            None => format!("does not hold the lock of keeper {name:?}"),
        };
        Err(Status::permission_denied(format!("process {peer} {why}")))
    }
}

#[tonic::async_trait]
impl keepers_server::Keepers for Attachments {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<Instruction, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<Report>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let peer = Peer::of(request.extensions());
        let embodied = self.inner.pods().and_then(|pods| pods.pod_of(&peer));
        let mut reports = request.into_inner();
        let first = timeout(FIRST_REPORT, reports.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no report"))??;
        let state = first.ok_or_else(|| Status::cancelled("no report")).and_then(parse)?;
        let (pod, other_build) = match embodied {
            Some((pod, proxy)) if proxy == state.name => (Some(pod), false),
            Some((pod, proxy)) => {
                let text = format!("pod {pod} embodies NodeProxy {proxy}, and not {}", state.name);
                return Err(Status::permission_denied(text));
            }
            None => (None, self.attest(&state.name, &peer)?),
        };
        let (sender, instructions) = mpsc::channel(INSTRUCTIONS);
        let name = state.name.clone();
        let outdated = state.protocol >= RENEWABLE && other_build;
        let id = match &pod {
            Some(pod) => self.inner.roster().attach_pod(pod.clone(), state, sender, peer.uid),
            None => self.inner.roster().attach(state, sender, outdated),
        };
        self.inner.wake.notify_one();
        tracing::info!(name, peer = peer.pid, pod = pod.as_deref(), "keeper attached");
        let attached = Attached { inner: self.inner.clone(), name, pod, id };
        Ok(Response::new(Box::pin(stream(attached, reports, instructions))))
    }

    async fn answer(&self, request: Request<Streaming<Statistics>>) -> Result<Response<Heard>, Status> {
        let peer = Peer::of(request.extensions());
        self.inner.answered(&peer, request.into_inner()).await?;
        Ok(Response::new(Heard {}))
    }

    async fn hold(&self, request: Request<Holding>) -> Result<Response<Heard>, Status> {
        let peer = Peer::of(request.extensions());
        self.inner.told_held(&peer, request.into_inner())?;
        Ok(Response::new(Heard {}))
    }
}

fn stream(
    attached: Attached,
    reports: Streaming<Report>,
    instructions: mpsc::Receiver<Instruction>,
) -> impl Stream<Item = Result<Instruction, Status>> + Send {
    futures::stream::unfold((attached, reports, instructions), |mut ends| async move {
        loop {
            let (attached, reports, instructions) = &mut ends;
            tokio::select! {
                // Ends when another session took this one's place.
                instruction = instructions.recv() => return instruction.map(|instruction| (Ok(instruction), ends)),
                report = reports.message() => attached.report(report.ok()??),
            }
        }
    })
}

fn parse(report: Report) -> Result<State, Status> {
    State::try_from(report).map_err(|error| Status::invalid_argument(error.to_string()))
}

// === impl Attached ===

impl Attached {
    fn report(&self, report: Report) {
        match State::try_from(report) {
            Ok(state) if state.name == self.name => match &self.pod {
                Some(pod) => self.inner.roster().report_pod(pod, self.id, state),
                None => self.inner.roster().report(self.id, state),
            },
            Ok(state) => tracing::warn!(name = self.name, other = state.name, "a report for another proxy"),
            Err(error) => tracing::warn!(name = self.name, %error, "a report that means nothing"),
        }
        self.inner.wake.notify_one();
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        tracing::info!(name = self.name, pod = self.pod.as_deref(), "keeper detached");
        match &self.pod {
            Some(pod) => self.inner.roster().detach_pod(&self.name, pod, self.id),
            None => self.inner.roster().detach(&self.name, self.id),
        }
        self.inner.wake.notify_one();
    }
}
