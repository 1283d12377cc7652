//! The harness against a real Envoy: its admin client, and flows through a UDP proxy.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use portreeve_tests::envoy::Admin;
use portreeve_tests::netns::{Bed, Netns};
use portreeve_tests::process::Process;
use portreeve_tests::udp::{Echo, Flow};

/// Generous: the machine may be busy.
const BOUND: Duration = Duration::from_secs(30);

/// A UDP proxy from port 5000 to `echo`, with its admin interface in `directory`.
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

/// Envoy inside a namespace, ready.
async fn envoy(namespace: &Netns, directory: &Path, config: &str) -> Result<(Process, Admin)> {
    let program = portreeve_agent::envoy::locate(None, &mut |_| {})?;
    let file = directory.join("envoy.yaml");
    std::fs::write(&file, config)?;
    let mut command: Command = namespace.command(program);
    command.arg("-c").arg(file).args([
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
