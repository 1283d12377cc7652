//! A run directory with agents that can die, real keepers and real Envoys. All remaining processes are ended with the
//! rig.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use futures::{Stream, StreamExt as _};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portreeve_agent::envoy::locate;
use portreeve_agent::supervisor::{Status, Supervisor};
use portreeve_keeper::dir::Dir;
use portreeve_keeper::envoy::Family;
use portreeve_keeper::{Phase, Program, Spec, State};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Streaming};

pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_portreeve-agent");
/// Timeout of any single step. On an idle machine the steps are much faster.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    temp: tempfile::TempDir,
}

/// An agent in its own runtime. Nothing of it continues after a drop, as after SIGKILL.
pub(crate) struct Agent {
    runtime: Option<Runtime>,
    pub(crate) supervisor: Supervisor,
    keepers_dir: PathBuf,
}

/// The part of an agent's work that runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Nothing,
    Run,
    RunAndServe,
}

struct EmptyAds;

// === impl Rig ===

impl Rig {
    pub(crate) fn new() -> Self {
        Self { temp: tempfile::Builder::new().prefix("keep").tempdir_in("/tmp").unwrap() }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.temp.path().join("agent.sock")
    }

    pub(crate) fn dir(&self, name: &str) -> Dir {
        Dir::new(self.temp.path().join("keepers").join(name))
    }

    pub(crate) fn spec(&self, name: &str) -> Spec {
        Spec {
            name: name.into(),
            envoy: locate(None, &mut |step| eprintln!("{step:?}")).unwrap(),
            node_id: format!("node/{name}"),
            node_cluster: name.into(),
            ads_socket: self.socket(),
            concurrency: 1,
            extra_args: vec![],
            health_listener: None,
            drain_s: 0,
            wildcard: Family::V4,
            memory_limit: None,
            extra_bootstrap: None,
            program: Program::Envoy,
        }
    }

    pub(crate) fn agent(&self) -> Agent {
        self.agent_that(Part::RunAndServe, false)
    }

    pub(crate) fn agent_that(&self, part: Part, with_parent: bool) -> Agent {
        self.agent_of(AGENT.as_ref(), part, with_parent)
    }

    /// Starts an agent whose keepers are started from this program.
    pub(crate) fn agent_of(&self, program: &Path, part: Part, with_parent: bool) -> Agent {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let command = vec![OsString::from(program)];
        let supervisor =
            Supervisor::new(self.temp.path().to_owned(), command, self.socket(), with_parent).unwrap();
        let _entered = runtime.enter();
        if part == Part::RunAndServe {
            let fresh = self.temp.path().join("new.sock");
            let listener = UnixListener::bind(&fresh).unwrap();
            fs::rename(&fresh, self.socket()).unwrap();
            let server = tonic::transport::Server::builder()
                .add_service(supervisor.service())
                .add_service(AggregatedDiscoveryServiceServer::new(EmptyAds))
                .serve_with_incoming(UnixListenerStream::new(listener));
            runtime.handle().spawn(server);
        }
        if part != Part::Nothing {
            let running = supervisor.clone();
            runtime.handle().spawn(async move { running.run().await });
        }
        Agent { supervisor, keepers_dir: self.temp.path().join("keepers"), runtime: Some(runtime) }
    }

    /// Returns the last state that the keeper of `name` wrote.
    pub(crate) fn state(&self, name: &str) -> Option<State> {
        serde_json::from_slice(&fs::read(self.dir(name).state()).ok()?).ok()
    }

    /// Returns the pids of living Envoys of `name`.
    pub(crate) fn envoys(&self, name: &str) -> Vec<u32> {
        let bootstrap = self.dir(name).bootstrap().display().to_string();
        processes(|command| command.contains(&bootstrap) && !command.contains("\0launch\0"))
    }

    /// Returns the pids of living keepers of `name`.
    pub(crate) fn keepers(&self, name: &str) -> Vec<u32> {
        let dir = self.dir(name).path().display().to_string();
        processes(|command| command.contains(&format!("\0keep\0--dir\0{dir}\0")))
    }

    /// Returns logs for a failed test.
    pub(crate) fn evidence(&self, name: &str) -> String {
        let dir = self.dir(name);
        let files = [dir.keeper_log(), dir.state(), dir.envoy_log()];
        let tail = |path: &PathBuf| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<_> = text.lines().rev().take(25).collect();
            format!("--- {}\n{}\n", path.display(), lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
        };
        files.iter().map(tail).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let here = self.temp.path().display().to_string();
        let entries = fs::read_dir(self.temp.path().join("keepers")).into_iter().flatten().flatten();
        let names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        if std::thread::panicking() {
            names.iter().for_each(|name| eprintln!("{}", self.evidence(name)));
        }
        processes(|command| command.contains(&here)).into_iter().for_each(end);
        for base_id in names.iter().filter_map(|name| self.state(name)?.base_id) {
            // Envoy's own file, which a killed keeper could not remove.
            let _ = fs::remove_file(format!("/dev/shm/envoy_shared_memory_{}", base_id * 10));
        }
    }
}

// === impl Agent ===

impl Agent {
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.as_ref().unwrap().block_on(future)
    }

    /// Waits until the status of `name` satisfies `wanted`, and returns its state.
    pub(crate) fn until(&self, name: &str, wanted: impl Fn(&Status, &State) -> bool) -> State {
        let mut status = self.supervisor.watch();
        let reached = async {
            let of_name = |all: &std::collections::BTreeMap<String, Status>| {
                let status = all.get(name);
                status.is_some_and(|status| status.state.as_ref().is_some_and(|state| wanted(status, state)))
            };
            status.wait_for(of_name).await.unwrap()[name].state.clone().unwrap()
        };
        let reached = self.block_on(async { tokio::time::timeout(BOUND, reached).await });
        reached.unwrap_or_else(|_| panic!("not reached: {:#?}", self.supervisor.status().get(name)))
    }

    /// Waits until `name` runs under an attached keeper with the wanted spec.
    pub(crate) fn running(&self, name: &str) -> State {
        self.until(name, |status, state| status.attached && status.current && state.phase == Phase::Running)
    }
}

impl Agent {
    /// Like `running`, and also waits until its keeper has seen that Envoy has its configuration, so that it could be
    /// hot-restarted.
    pub(crate) fn live(&self, name: &str) -> State {
        let state = self.running(name);
        let log =
            || fs::read_to_string(Dir::new(self.keepers_dir.join(name)).keeper_log()).unwrap_or_default();
        wait_for("a live Envoy", BOUND, || log().contains("Envoy is live").then_some(()));
        state
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Waits for a pass in progress, which may be starting a keeper.
        self.runtime.take().unwrap().shutdown_timeout(BOUND);
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for EmptyAds {
    type StreamAggregatedResourcesStream =
        Pin<Box<dyn Stream<Item = Result<DiscoveryResponse, tonic::Status>> + Send>>;
    type DeltaAggregatedResourcesStream =
        Pin<Box<dyn Stream<Item = Result<DeltaDiscoveryResponse, tonic::Status>> + Send>>;

    async fn stream_aggregated_resources(
        &self,
        _request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, tonic::Status> {
        Err(tonic::Status::unimplemented("incremental only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, tonic::Status> {
        let responses = request.into_inner().filter_map(|request| async {
            let request = request.ok().filter(|request| request.response_nonce.is_empty())?;
            let (type_url, nonce) = (request.type_url, "1".to_owned());
            Some(Ok(DeltaDiscoveryResponse { type_url, nonce, ..Default::default() }))
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

/// Waits until `condition` returns a value.
pub(crate) fn wait_for<T>(what: &str, bound: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + bound;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {bound:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Returns the answer of an Envoy's admin interface; `None` if nobody answers.
pub(crate) fn get(socket: &Path, path: &str) -> Option<String> {
    get_within(BOUND, socket, path)
}

/// Like [`get`], with this timeout.
pub(crate) fn get_within(limit: Duration, socket: &Path, path: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Returns whether a process is alive and not a zombie.
pub(crate) fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

pub(crate) fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

fn end(pid: u32) {
    // The process may have ended already.
    let _ = kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL);
    wait_for("end of a killed process", BOUND, || (!alive(pid)).then_some(()));
}

fn processes(wanted: impl Fn(&str) -> bool) -> Vec<u32> {
    let me = std::process::id();
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != me && alive(*pid) && command(*pid).is_some_and(|text| wanted(&text))).collect()
}

fn command(pid: u32) -> Option<String> {
    Some(
        String::from_utf8_lossy(&fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).ok()?)
            .into_owned(),
    )
}
