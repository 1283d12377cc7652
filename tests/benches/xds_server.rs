//! Measures the CPU time of an xDS server over a Unix socket: the first push of 1,000 clusters with their assignments, and
//! one endpoint's change, to 1 and to 50 clients.
//!
//! It contains what `xds_change` leaves out: streams with their spans, HTTP/2 and sockets. The server is a process of its
//! own, so the clients' work does not count. Each line has the minimum and the median of the rounds; on a busy machine, look
//! at the minimum.
//!
//! With `PORTREEVE_BENCH_SERVER=PATH` that `xds-bench-server` is measured instead of this build's, so that two commits can be
//! compared with the same clients, in turn.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use futures::future::try_join_all;
use portreeve_tests::process::Process;
use portreeve_tests::wait::until;
use portreeve_xds::wire::ClientCodec;
use portreeve_xds::{Connection, EnvoyType, ResourceType, connect};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

const CLUSTERS: usize = 1_000;
const ADS: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// Limit of every wait.
const BOUND: Duration = Duration::from_secs(20);
/// Longest response, in bytes.
const MAX_RESPONSE: usize = 16 << 20;

/// What is measured with a number of clients.
struct Plan {
    clients: usize,
    /// Number of first pushes to all clients.
    pushes: usize,
    /// Number of rounds of changes.
    rounds: usize,
    /// Number of changes in a round.
    changes: u32,
}

const PLANS: [Plan; 2] = [
    Plan { clients: 1, pushes: 100, rounds: 30, changes: 300 },
    Plan { clients: 50, pushes: 12, rounds: 30, changes: 40 },
];

/// A running server and its control socket.
struct Server {
    process: Process,
    dir: TempDir,
    control: BufReader<UnixStream>,
    /// Number of changes so far. Each change sets another address, because an equal one is not sent.
    changes: u32,
}

/// A stream of a client that acknowledges everything, like Envoy.
struct Client {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    /// Open for as long as the client is.
    _connection: Connection,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut server = Server::start().await?;
    for plan in PLANS {
        let mut pushes = Vec::new();
        let mut clients = Vec::new();
        for _ in 0..plan.pushes {
            clients.clear();
            let before = server.cpu()?;
            let joining = (0..plan.clients).map(|_| Client::subscribed(server.dir.path()));
            clients = try_join_all(joining).await?;
            server.acked(plan.clients).await?;
            pushes.push((server.cpu()? - before) / plan.clients as u32);
        }
        report(&format!("first push/{} clients", plan.clients), "client", pushes);
        let mut changes = Vec::new();
        for _ in 0..plan.rounds {
            changes.push(change(&mut server, &mut clients, plan.changes).await?);
        }
        report(&format!("change/{} clients", plan.clients), "change", changes);
    }
    Ok(())
}

/// Makes this number of changes, each after all clients have the last. Returns the server's CPU time per change.
async fn change(server: &mut Server, clients: &mut [Client], count: u32) -> Result<Duration> {
    let before = server.cpu()?;
    for _ in 0..count {
        server.change().await?;
        let received = try_join_all(clients.iter_mut().map(|client| client.receive(EnvoyType::Endpoint)));
        ensure!(received.await?.iter().all(|resources| *resources == 1), "more than the change was sent");
    }
    server.acked(clients.len() * count as usize).await?;
    Ok((server.cpu()? - before) / count)
}

fn report(name: &str, each: &str, mut times: Vec<Duration>) {
    times.sort();
    let (least, median) = (times[0], times[times.len() / 2]);
    println!("{name}: {least:.2?} of CPU per {each} at least, median {median:.2?}");
}

// === impl Server ===

impl Server {
    async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let program = std::env::var_os("PORTREEVE_BENCH_SERVER");
        let mut command =
            Command::new(program.unwrap_or_else(|| OsString::from(env!("CARGO_BIN_EXE_xds-bench-server"))));
        command.arg("--sock").arg(dir.path().join("xds")).arg("--ctl").arg(dir.path().join("ctl"));
        command.args(["--clusters", &CLUSTERS.to_string()]);
        let process = Process::spawn("xds-bench-server", &command)?;
        let control = dir.path().join("ctl");
        until("the control socket", BOUND, async || UnixStream::connect(&control).await.is_ok()).await?;
        let control = BufReader::new(UnixStream::connect(&control).await?);
        Ok(Self { process, dir, control, changes: 0 })
    }

    /// Sends one command. Returns the answer.
    async fn command(&mut self, line: &str) -> Result<String> {
        self.control.write_all(format!("{line}\n").as_bytes()).await?;
        let mut answer = String::new();
        self.control.read_line(&mut answer).await?;
        ensure!(!answer.is_empty() && !answer.starts_with("error"), "{line}: {answer}");
        Ok(answer)
    }

    /// Changes an endpoint of the next cluster.
    async fn change(&mut self) -> Result<()> {
        self.changes += 1;
        let cluster = self.changes as usize % CLUSTERS;
        // The addresses of the start are below this one.
        let address = 0x0080_0000 + self.changes;
        self.command(&format!("addr {cluster} {address}")).await.map(drop)
    }

    /// Waits until the server has this number of ACKs of assignments since the last call.
    async fn acked(&mut self, count: usize) -> Result<()> {
        let mut acked = 0;
        while acked < count {
            let answer = self.command("acks").await?;
            let new = answer.split_whitespace().next().context("no number of ACKs")?;
            acked += new.parse::<usize>()?;
        }
        Ok(())
    }

    /// Returns the CPU time of all threads.
    fn cpu(&self) -> Result<Duration> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.process.pid()))?;
        threads
            .map(|thread| {
                let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
                let ran = text.split_whitespace().next().context("an empty schedstat")?;
                Ok(Duration::from_nanos(ran.parse()?))
            })
            .sum()
    }
}

// === impl Client ===

impl Client {
    /// Connects and receives everything: all clusters, then their assignments by name.
    async fn subscribed(dir: &Path) -> Result<Self> {
        let connection = connect::unix(&dir.join("xds")).await?;
        let mut grpc = tonic::client::Grpc::new(connection.channel()).max_decoding_message_size(MAX_RESPONSE);
        grpc.ready().await?;
        let (requests, outbound) = mpsc::channel(4);
        requests.send(request(EnvoyType::Cluster)).await?;
        let path = http::uri::PathAndQuery::from_static(ADS);
        let request_of_call = tonic::Request::new(ReceiverStream::new(outbound));
        let call = grpc.streaming(request_of_call, path, ClientCodec::default());
        let mut client = Self { requests, responses: call.await?.into_inner(), _connection: connection };
        ensure!(client.receive(EnvoyType::Cluster).await? == CLUSTERS, "clusters are missing");
        let names = (0..CLUSTERS).map(|at| format!("cluster-{at:05}")).collect();
        let subscribe =
            DeltaDiscoveryRequest { resource_names_subscribe: names, ..request(EnvoyType::Endpoint) };
        client.requests.send(subscribe).await?;
        ensure!(client.receive(EnvoyType::Endpoint).await? == CLUSTERS, "assignments are missing");
        Ok(client)
    }

    /// Receives and acknowledges one response. Returns the number of its resources.
    async fn receive(&mut self, ty: EnvoyType) -> Result<usize> {
        let response = tokio::time::timeout(BOUND, self.responses.message()).await??;
        let response = response.context("the stream ended")?;
        ensure!(response.type_url == ty.type_url(), "a response of {}", response.type_url);
        let ack = DeltaDiscoveryRequest { response_nonce: response.nonce, ..request(ty) };
        self.requests.send(ack).await?;
        Ok(response.resources.len())
    }
}

fn request(ty: EnvoyType) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { type_url: ty.type_url().to_owned(), ..DeltaDiscoveryRequest::default() }
}
