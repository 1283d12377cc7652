//! The harness with a real Envoy: its admin client, flows through a UDP proxy, and the addresses of translated
//! listeners.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use envoy_types::pb::envoy::config::bootstrap::v3 as bootstrap;
use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use portreeve_agent_core::translate::{Defaults, Families, Lookup, Request, Streams};
use portreeve_api::model::{Endpoint, Plan, Secret};
use portreeve_api::plan;
use portreeve_envoy::Envoy;
use portreeve_tests::envoy::Admin;
use portreeve_tests::netns::{Bed, Netns};
use portreeve_tests::process::Process;
use portreeve_tests::udp::{Echo, Flow};
use prost::Message;

/// Long, because the machine may be busy.
const BOUND: Duration = Duration::from_secs(30);

/// Returns a bootstrap with a UDP proxy from port 5000 to `echo`, and its admin interface in `directory`.
fn config(echo: SocketAddr, directory: &Path) -> String {
    format!(
        r#"
admin: {{address: {{pipe: {{path: "{directory}/admin"}}}}}}
static_resources:
  listeners:
  - name: in
    address: {{socket_address: {{protocol: UDP, address: "::", port_value: 5000, ipv4_compat: true}}}}
    listener_filters:
    - name: envoy.filters.udp_listener.udp_proxy
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig
        stat_prefix: in
        matcher:
          on_no_match:
            action:
              name: route
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.Route
                cluster: out
  clusters:
  - name: out
    load_assignment:
      cluster_name: out
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: {ip}, port_value: {port}}}}}}}
"#,
        directory = directory.display(),
        ip = echo.ip(),
        port = echo.port(),
    )
}

/// Starts an Envoy inside a namespace, and waits until it is ready.
async fn envoy(namespace: &Netns, directory: &Path, config: &str) -> Result<(Process, Admin)> {
    let file = directory.join("envoy.yaml");
    std::fs::write(&file, config)?;
    started(namespace, directory, &file).await
}

/// Starts an Envoy with this bootstrap, and waits until it is ready.
async fn started(namespace: &Netns, directory: &Path, bootstrap: &Path) -> Result<(Process, Admin)> {
    let program = portreeve_agent::envoy::locate(None, &mut |_| {})?;
    let mut command: Command = namespace.command(program);
    command.arg("-c").arg(bootstrap).args([
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "--log-level",
        "warning",
    ]);
    let process = Process::spawn("envoy", &command)?;
    let admin = Admin::new(directory.join("admin"));
    admin.wait_ready(BOUND).await?;
    Ok((process, admin))
}

#[tokio::test]
async fn flows_through_a_proxy_show_its_sessions() -> Result<()> {
    let bed = Bed::new()?;
    let (gateway, client, pod) = (bed.node(1)?, bed.node(2)?, bed.pod(3, 1)?);
    let echo = Echo::start(&pod, "pod", SocketAddr::new(pod.v4(), 0))?;
    let directory = tempfile::tempdir()?;
    let (mut process, admin) =
        envoy(&gateway, directory.path(), &config(echo.address(), directory.path())).await?;

    let flow = Flow::to(SocketAddr::new(gateway.v4(), 5000)).sockets(5).rate(500);
    let report = flow.start(&client)?.finish()?;
    report.lossless()?;
    for line in &report.lines {
        assert_eq!((line.echoes(), line.upstreams().len()), (vec!["pod"], 1), "{report}");
        assert_eq!(line.upstreams()[0].ip(), gateway.v4(), "the echo did not see the proxy");
    }
    assert_eq!(echo.seen().sources.len(), 5);

    assert_eq!(admin.stat("udp.in.downstream_sess_total").await?, 5);
    assert_eq!(admin.stat("cluster.out.udp.sess_tx_datagrams").await?, report.sent() as u64);
    assert_eq!(admin.listeners().await?, [("in".to_owned(), "[::]:5000".to_owned())]);
    assert!(admin.clusters().await?.contains(&format!("out::{}::", echo.address())));
    assert!(admin.config_dump().await?["configs"].is_array());
    assert!(admin.get("/nothing").await.is_err());
    admin.post("/quitquitquit").await?;
    assert!(process.wait_exit(BOUND)?.success());
    assert!(!admin.is_ready().await);
    Ok(())
}

/// Resolves the endpoints of Plans that only have addresses.
struct Addresses;

impl Lookup for Addresses {
    fn group(&self, _: &str) -> Option<Vec<&Endpoint>> {
        None
    }

    fn host(&self, _: &str, _: &str) -> Option<Vec<IpAddr>> {
        None
    }

    fn secret(&self, _: &str) -> Option<&Secret> {
        None
    }

    fn pod_failed(&self, _: &Endpoint, _: NonZeroU16, _: Option<&str>) -> bool {
        false
    }

    fn address_failed(&self, _: IpAddr, _: NonZeroU16, _: Option<&str>) -> bool {
        false
    }

    fn stale(&self, _: &Endpoint) -> bool {
        false
    }
}

/// Adds a listener on port 5000 of these addresses, and its cluster, which has the endpoint `echo`.
fn add(plan: &mut plan::Plan, name: &str, scope: plan::Scope, bind: Option<IpAddr>, echo: SocketAddr) {
    let protocol = plan::Protocol::Udp.into();
    let bind = bind.map(|ip| plan::Address { ip: ip.to_string(), port: 0 });
    let socket = plan::Socket { protocol, port: 5000, scope: scope.into(), bind, ..Default::default() };
    let route = plan::Route { destination: name.into(), ..Default::default() };
    plan.listeners.push(plan::Listener {
        name: name.into(),
        socket: Some(socket),
        rules: vec![plan::Rule { route: Some(route), ..Default::default() }],
        ..Default::default()
    });
    let source = plan::EndpointSource {
        from: Some(plan::endpoint_source::From::Ip(echo.ip().to_string())),
        port: echo.port().into(),
        ..Default::default()
    };
    plan.clusters.push(plan::Cluster { name: name.into(), endpoints: vec![source], ..Default::default() });
}

/// Returns the Plan's translation as a bootstrap, with the admin interface in `directory`.
fn translated(plan: &plan::Plan, directory: &Path) -> Result<bootstrap::Bootstrap> {
    let request = Request {
        plan: &Plan::try_from(plan.clone())?,
        families: Families::Dual,
        streams: &Streams::Aggregated,
        denied: &BTreeSet::new(),
        running: &BTreeSet::new(),
        defaults: Defaults::default(),
        called: &BTreeMap::new(),
    };
    let done = portreeve_envoy::translate(&request, &Addresses).context("something is not known")?;
    anyhow::ensure!(done.remarks.is_empty(), "{:?}", done.remarks);
    let bodies = |wanted| done.outputs.iter().filter(move |(ty, _)| *ty == wanted).map(|(_, one)| one.body());
    let mut resources = bootstrap::bootstrap::StaticResources::default();
    for body in bodies(Envoy::Listener) {
        resources.listeners.push(Message::decode(body)?);
    }
    for (body, assignment) in bodies(Envoy::Cluster).zip(bodies(Envoy::Endpoint)) {
        let cluster = cluster::Cluster::decode(body)?;
        let fixed =
            cluster::cluster::ClusterDiscoveryType::Type(cluster::cluster::DiscoveryType::Static.into());
        resources.clusters.push(cluster::Cluster {
            eds_cluster_config: None,
            cluster_discovery_type: Some(fixed),
            load_assignment: Some(Message::decode(assignment)?),
            ..cluster
        });
    }
    let pipe = core::Pipe { path: directory.join("admin").display().to_string(), mode: 0 };
    let address = Some(core::Address { address: Some(core::address::Address::Pipe(pipe)) });
    let admin = Some(bootstrap::Admin { address, ..Default::default() });
    Ok(bootstrap::Bootstrap { admin, static_resources: Some(resources), ..Default::default() })
}

#[tokio::test]
async fn listeners_on_loopback_and_on_one_address_share_a_port() -> Result<()> {
    let bed = Bed::new()?;
    let (gateway, client, pod) = (bed.node(1)?, bed.node(2)?, bed.pod(3, 1)?);
    let [inner, outer] = ["inner", "outer"].map(|name| Echo::start(&pod, name, SocketAddr::new(pod.v4(), 0)));
    let (inner, outer) = (inner?, outer?);
    let origin =
        plan::Origin { api: "A".into(), namespace: "ns".into(), name: "call".into(), ..Default::default() };
    let workload = plan::Workload { selector: Some(plan::Selector::default()), ..Default::default() };
    let mut plan = plan::Plan { origin: Some(origin), workload: Some(workload), ..Default::default() };
    add(&mut plan, "inner", plan::Scope::Loopback, None, inner.address());
    add(&mut plan, "outer", plan::Scope::Address, Some(gateway.v4()), outer.address());
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("envoy.pb");
    std::fs::write(&file, translated(&plan, directory.path())?.encode_to_vec())?;
    let (_process, _) = started(&gateway, directory.path(), &file).await?;

    let flows = [
        (&gateway, Ipv4Addr::LOCALHOST.into(), "inner"),
        (&gateway, Ipv6Addr::LOCALHOST.into(), "inner"),
        (&gateway, gateway.v4(), "outer"),
        (&client, gateway.v4(), "outer"),
    ];
    for (from, to, expected) in flows {
        let report = Flow::to(SocketAddr::new(to, 5000)).rate(100).start(from)?.finish()?;
        report.lossless()?;
        assert!(report.answered_by().keys().eq([expected]), "to {to}: {report}");
    }
    let open = gateway.udp_sockets()?.iter().filter(|one| one.port == 5000).count();
    assert_eq!(open, 3, "no other address is open");
    Ok(())
}
