//! An xDS server for measurements: it serves EDS clusters on a Unix socket and changes them by commands on a second
//! one. It has the hub's allocator and runtime.
//!
//! Each line on the control socket is one command. Its answer is one line: the wall clock (`CLOCK_REALTIME`, ns) before
//! and after the update, or `error ` and the reason.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use clap::Parser;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, HealthStatus, SocketAddress,
};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::google::protobuf::Duration;
use mimalloc::MiMalloc;
use portreeve_xds::{
    Changes, EnvoyType, Event, Hello, Limits, Resource, Snapshot, Source, StreamInfo, View, routes,
    serve_unix,
};
use prost::Message;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tonic::Status;

/// The port of generated endpoints.
const PORT: u16 = 9000;

/// Serves clusters for measurements.
#[derive(Parser)]
struct Args {
    /// Unix socket of the xDS services.
    #[arg(long)]
    sock: PathBuf,
    /// Unix socket for commands.
    #[arg(long)]
    ctl: PathBuf,
    /// Number of clusters, named `cluster-00000` and so on.
    #[arg(long)]
    clusters: usize,
    /// Number of endpoints in each cluster.
    #[arg(long, default_value_t = 10)]
    eps: usize,
    /// Ports on 127.0.0.1 that become endpoints 0 and 1 of each cluster.
    #[arg(long, value_delimiter = ',')]
    real: Vec<u16>,
    /// Initial connect timeout of the clusters, in milliseconds. A changed timeout changes the cluster.
    #[arg(long, default_value_t = 1000)]
    timeout_ms: u64,
}

/// One endpoint of one cluster.
#[derive(Clone, Copy)]
struct Host {
    ip: Ipv4Addr,
    port: u16,
    healthy: bool,
}

/// The current state of a cluster.
struct Group {
    name: String,
    hosts: Vec<Host>,
    /// Timeout of the cluster's connection attempts, in milliseconds.
    timeout_ms: u64,
}

/// The served resources, and the times of their changes.
struct Bench {
    view: Arc<View<EnvoyType>>,
    groups: Mutex<Vec<Group>>,
    eps: usize,
    /// Wall clock of the last update, in ns.
    updated: AtomicU64,
    /// Time from the last update to each ACK of endpoints, in ns.
    acks: Mutex<Vec<u64>>,
    /// Wall clock of the last stream's start, in ns.
    opened: AtomicU64,
    /// Time to each ACK of clusters, in ns, from the last update or the stream's start, whichever is later.
    cluster_acks: Mutex<Vec<u64>>,
}

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    portreeve_runtime::block_on_few(serve(Args::parse()))
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let listener = bind(&args.sock)?;
    let control = bind(&args.ctl)?;
    let bench = Arc::new(Bench::new(&args));
    let limits = Limits { max_streams: 100_000, ..Limits::default() };
    let routes = routes(bench.clone(), limits);
    let terminated = async { drop(tokio::signal::ctrl_c().await) };
    tokio::select! {
        served = serve_unix(listener, routes, terminated) => served.context("serve"),
        listened = take_commands(control, bench) => listened.context("commands"),
    }
}

/// Binds a Unix socket, and removes a leftover of an earlier run.
fn bind(path: &PathBuf) -> anyhow::Result<UnixListener> {
    if path.exists() {
        std::fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?;
    }
    UnixListener::bind(path).with_context(|| format!("bind {}", path.display()))
}

async fn take_commands(control: UnixListener, bench: Arc<Bench>) -> anyhow::Result<()> {
    let mut sessions = JoinSet::new();
    loop {
        let (stream, _) = control.accept().await?;
        while sessions.try_join_next().is_some() {}
        sessions.spawn(answer_lines(stream, bench.clone()));
    }
}

async fn answer_lines(stream: UnixStream, bench: Arc<Bench>) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = bench.obey(&line).unwrap_or_else(|error| format!("error {error:#}"));
        write.write_all(format!("{answer}\n").as_bytes()).await?;
    }
    Ok(())
}

/// Returns the wall clock in ns since 1970.
fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn duration(ms: u64) -> Duration {
    Duration { seconds: (ms / 1000).cast_signed(), nanos: (ms % 1000) as i32 * 1_000_000 }
}

// === impl Bench ===

impl Source<EnvoyType> for Bench {
    async fn open(&self, _hello: Hello) -> Result<Arc<View<EnvoyType>>, Status> {
        self.opened.store(wall_ns(), Ordering::Relaxed);
        Ok(self.view.clone())
    }

    fn event(&self, _stream: &StreamInfo, event: &Event<EnvoyType>) {
        let Event::Acked { ty, resources, claimed: false, .. } = event else { return };
        let (updated, opened) = (self.updated.load(Ordering::Relaxed), self.opened.load(Ordering::Relaxed));
        let (acks, since) = match ty {
            EnvoyType::Endpoint => (&self.acks, updated),
            EnvoyType::Cluster => (&self.cluster_acks, updated.max(opened)),
            _ => return,
        };
        if !resources.is_empty() {
            let took = wall_ns().saturating_sub(since);
            acks.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        }
    }

    fn closed(&self, _stream: &StreamInfo) {}
}

impl Bench {
    fn new(args: &Args) -> Self {
        let groups: Vec<Group> = (0..args.clusters).map(|at| Group::new(at, args)).collect();
        let mut snapshot = Snapshot::new();
        for group in &groups {
            snapshot.insert(EnvoyType::Cluster, group.cluster());
            snapshot.insert(EnvoyType::Endpoint, group.assignment());
        }
        Self {
            view: View::new(snapshot),
            groups: Mutex::new(groups),
            eps: args.eps,
            updated: AtomicU64::new(wall_ns()),
            acks: Mutex::default(),
            opened: AtomicU64::new(0),
            cluster_acks: Mutex::default(),
        }
    }

    /// Executes one command.
    fn obey(&self, line: &str) -> anyhow::Result<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let endpoint = EnvoyType::Endpoint;
        match words[..] {
            ["addr", cluster, seq] => {
                let seq: u32 = seq.parse().context("sequence")?;
                let ip = Ipv4Addr::from(0x0a00_0000 | seq & 0x00ff_ffff);
                self.change(cluster, |group| {
                    group.host(0)?.ip = ip;
                    Ok((endpoint, group.assignment()))
                })
            }
            ["health", cluster, host, healthy] => {
                let at: usize = host.parse().context("endpoint")?;
                let healthy = matches!(healthy.parse::<u8>().context("0 or 1")?, 1);
                self.change(cluster, |group| {
                    group.host(at)?.healthy = healthy;
                    Ok((endpoint, group.assignment()))
                })
            }
            ["flip", cluster] => self.change(cluster, |group| {
                let (first, second) = (group.host(0)?.healthy, group.host(1)?.healthy);
                group.host(0)?.healthy = second;
                group.host(1)?.healthy = first;
                Ok((endpoint, group.assignment()))
            }),
            ["cds", cluster] => self.change(cluster, |group| {
                group.timeout_ms += 1;
                Ok((EnvoyType::Cluster, group.cluster()))
            }),
            // Sent without the promise of a following assignment, as by a server without support for warming.
            ["barecds", cluster] => self.change(cluster, |group| {
                group.timeout_ms += 1;
                let bare = Resource::new(EnvoyType::Cluster, group.name.as_str(), &group.encoded());
                Ok((EnvoyType::Cluster, bare))
            }),
            ["addcds", name] => {
                self.apply(|| Ok((EnvoyType::Cluster, Group::named(name, self.eps).cluster())))
            }
            ["addcla", name] => self.apply(|| Ok((endpoint, Group::named(name, self.eps).assignment()))),
            ["acks"] => Ok(take_acks(&self.acks)),
            ["cdsacks"] => Ok(take_acks(&self.cluster_acks)),
            _ => bail!("unknown command {line:?}"),
        }
    }

    fn change(
        &self,
        cluster: &str,
        change: impl FnOnce(&mut Group) -> anyhow::Result<(EnvoyType, Arc<Resource>)>,
    ) -> anyhow::Result<String> {
        let at: usize = cluster.parse().context("cluster")?;
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let group = groups.get_mut(at).context("no such cluster")?;
        self.apply(|| change(group))
    }

    /// Applies one change, and returns the wall clock before and after.
    fn apply(
        &self,
        make: impl FnOnce() -> anyhow::Result<(EnvoyType, Arc<Resource>)>,
    ) -> anyhow::Result<String> {
        let before = wall_ns();
        let upsert = vec![make()?];
        self.updated.store(before, Ordering::Relaxed);
        self.view.apply(Changes { upsert, remove: Vec::new() });
        Ok(format!("{before} {}", wall_ns()))
    }
}

/// Returns the number of ACKs since the last call, and the time of each.
fn take_acks(acks: &Mutex<Vec<u64>>) -> String {
    let acks = std::mem::take(&mut *acks.lock().unwrap_or_else(PoisonError::into_inner));
    let times = acks.iter().map(|took| format!(" {took}"));
    std::iter::once(acks.len().to_string()).chain(times).collect()
}

// === impl Group ===

impl Group {
    fn new(at: usize, args: &Args) -> Self {
        let Args { eps, real, timeout_ms, .. } = args;
        let eps = *eps;
        let mut group = Self::named(&format!("cluster-{at:05}"), eps);
        for (place, host) in group.hosts.iter_mut().enumerate() {
            let [_, a, b, c] = u32::try_from(at * eps + place).unwrap_or_default().to_be_bytes();
            host.ip = Ipv4Addr::new(10, a, b, c);
        }
        for (place, port) in real.iter().enumerate() {
            let host = Host { ip: Ipv4Addr::LOCALHOST, port: *port, healthy: place == 0 };
            group.hosts.truncate(eps.max(real.len()));
            match group.hosts.get_mut(place) {
                Some(old) => *old = host,
                None => group.hosts.push(host),
            }
        }
        Self { timeout_ms: *timeout_ms, ..group }
    }

    fn named(name: &str, eps: usize) -> Self {
        let host = |place: usize| {
            let ip = Ipv4Addr::from(0x0aff_0000 | u32::try_from(place).unwrap_or_default() & 0xffff);
            Host { ip, port: PORT, healthy: true }
        };
        Self { name: name.into(), hosts: (0..eps).map(host).collect(), timeout_ms: 1000 }
    }

    fn host(&mut self, at: usize) -> anyhow::Result<&mut Host> {
        self.hosts.get_mut(at).context("no such endpoint")
    }

    /// Returns the EDS cluster, which the server sends before its assignment.
    fn cluster(&self) -> Arc<Resource> {
        let name = self.name.as_str();
        Resource::with_companion(EnvoyType::Cluster, name, &self.encoded(), name)
    }

    /// Returns the encoded EDS cluster.
    fn encoded(&self) -> Vec<u8> {
        let aggregated = ConfigSource {
            resource_api_version: ApiVersion::V3.into(),
            config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
            ..ConfigSource::default()
        };
        let eds = EdsClusterConfig { eds_config: Some(aggregated), ..EdsClusterConfig::default() };
        let cluster = Cluster {
            name: self.name.clone(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
            eds_cluster_config: Some(eds),
            connect_timeout: Some(duration(self.timeout_ms)),
            ..Cluster::default()
        };
        cluster.encode_to_vec()
    }

    fn assignment(&self) -> Arc<Resource> {
        let lb_endpoints = self.hosts.iter().map(Host::endpoint).collect();
        let assignment = ClusterLoadAssignment {
            cluster_name: self.name.clone(),
            endpoints: vec![LocalityLbEndpoints { lb_endpoints, ..LocalityLbEndpoints::default() }],
            ..ClusterLoadAssignment::default()
        };
        Resource::new(EnvoyType::Endpoint, self.name.as_str(), &assignment.encode_to_vec())
    }
}

// === impl Host ===

impl Host {
    fn endpoint(&self) -> LbEndpoint {
        let socket = SocketAddress {
            address: self.ip.to_string(),
            port_specifier: Some(PortSpecifier::PortValue(self.port.into())),
            ..SocketAddress::default()
        };
        let address = Address { address: Some(AddressKind::SocketAddress(socket)) };
        let endpoint = Endpoint { address: Some(address), ..Endpoint::default() };
        let status = if self.healthy { HealthStatus::Healthy } else { HealthStatus::Unhealthy };
        LbEndpoint {
            health_status: status.into(),
            host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
            ..LbEndpoint::default()
        }
    }
}
