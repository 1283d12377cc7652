//! Measures the agent's cost of 1,000 probed endpoints. It is printed, not asserted. The prober has its own thread
//! here, whose processor time is read from the kernel. On loopback it includes both ends of each handshake.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use portreeve_agent::identity::{Door, Identity};
use portreeve_agent::local::Local;
use portreeve_agent::prober;
use portreeve_agent::supervisor::Supervisor;
use portreeve_agent_core::translate::Families;
use portreeve_agent_core::world::World;
use portreeve_api::pod::Pod;
use portreeve_api::{PlanType, plan};
use portreeve_tests::netns::Netns;
use portreeve_tests::wait::wait_until;
use portreeve_xds::Version;
use prost::Message;

const TARGETS: u16 = 1000;
const INTERVAL_MS: u64 = 500;
const RUN: Duration = Duration::from_secs(6);

/// Returns pod `i` of this node, with its own loopback address.
fn pod(i: u16) -> Pod {
    let [high, low] = i.to_be_bytes();
    Pod {
        uid: format!("uid-{i}").into(),
        namespace: "ns".into(),
        name: format!("pod-{i}").into(),
        labels: Default::default(),
        node: Some("n".into()),
        ips: vec![Ipv4Addr::new(127, 1, high, low).into()],
        ready: true,
        host_network: false,
        created_ms: 1,
        terminating_ms: 0,
        finished: false,
        node_proxy: None,
        service_account: String::new(),
        static_uid: None,
        l7mp: None,
        extra: Default::default(),
    }
}

/// Creates a node that must probe all of them.
fn world(port: u16) -> Result<World> {
    let mut world = World::new(portreeve_envoy::registry::fleets(), Families::V4);
    world.reset_pods((0..TARGETS).map(pod).collect());
    let probe = |i| plan::Probe {
        uid: format!("uid-{i}"),
        port: port.into(),
        interval_ms: INTERVAL_MS,
        ..Default::default()
    };
    let upsert = |i: u16| {
        let body = probe(i).encode_to_vec();
        (format!("probe-{i}").into(), Version::of(&body), Bytes::from(body))
    };
    let all: Vec<_> = (0..TARGETS).map(upsert).collect();
    world.apply_feed(PlanType::Probe, &all, &[]).map_err(anyhow::Error::msg)?;
    Ok(world)
}

/// Returns the kernel's own time to open and close a connection, on the calling thread.
fn floor(port: u16) -> std::io::Result<Duration> {
    let before = on_cpu()?;
    for i in 0..TARGETS {
        let [high, low] = i.to_be_bytes();
        TcpStream::connect(SocketAddr::from(([127, 1, high, low], port)))?;
    }
    Ok((on_cpu()? - before) / u32::from(TARGETS))
}

/// Returns the processor time of the calling thread.
fn on_cpu() -> std::io::Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default();
    Ok(Duration::from_nanos(nanos))
}

#[test]
fn a_thousand_targets_twice_a_second() -> Result<()> {
    let netns = Netns::new("cost")?;
    let listener = netns.enter(|| TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))))??;
    let port = listener.local_addr()?.port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    // The thread ends with the test's process.
    std::thread::spawn(move || {
        while listener.accept().is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let directory = tempfile::tempdir()?;
    let (run_dir, socket) = (directory.path().to_path_buf(), directory.path().join("agent.sock"));
    let supervisor = Supervisor::new(run_dir, vec!["false".into()], socket, false)?;
    let local = Local::new("n", world(port)?, Door::new(Identity::Kernel, "n", supervisor));
    let mut own = local.health.own();
    let prober = netns.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let floor = floor(port)?;
        let before = on_cpu()?;
        let _ = runtime.block_on(async { tokio::time::timeout(RUN, prober::run(local)).await });
        Ok((on_cpu()? - before, floor))
    })?;
    wait_until("a first result of each", Duration::from_secs(20), || {
        accepted.load(Ordering::Relaxed) >= usize::from(TARGETS) && own.borrow_and_update().unknown.is_empty()
    })?;
    let (began, before) = (Instant::now(), accepted.load(Ordering::Relaxed));
    let (used, floor) = prober.join().map_err(|_| anyhow::anyhow!("the prober panicked"))??;
    let rate = (accepted.load(Ordering::Relaxed) - before) as f64 / began.elapsed().as_secs_f64();
    let share = used.as_secs_f64() / RUN.as_secs_f64() * 100.0;
    println!("{TARGETS} targets, {rate:.0} probes/s: {share:.1} % of a core");
    let each = used.as_secs_f64() * 1e6 / (RUN.as_secs_f64() * rate);
    println!("{each:.0} us for a probe; the kernel alone takes {floor:.0?} to connect and close");
    let unhealthy = own.borrow().unhealthy.first().cloned();
    ensure!(unhealthy.is_none(), "{:?}", unhealthy.context("an unhealthy endpoint"));
    Ok(())
}
