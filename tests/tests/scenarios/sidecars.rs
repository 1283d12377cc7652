//! `kubectl apply -k deploy`, then `deploy/examples/sidecar`, on a real node: datagrams of a restricted pod go through
//! its sidecar Envoy, which gets its configuration from the node's agent and later from the next agent.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use portreeve_tests::cluster::{Cluster, Image, PodSite};
use portreeve_tests::udp::{Echo, Flow};
use portreeve_tests::wait::wait_until;
use portreeve_tests::{images, kustomize, manifest};

/// Long, because the machine may be busy.
const BOUND: Duration = Duration::from_secs(120);
/// The image of pods without an Envoy.
const IMAGE: &str = "portreeve.test/box:1";
/// Port of the example's workers.
const WORKER: u16 = 22000;
/// Ports of its Envoys, now and later.
const PORTS: [u16; 2] = [2000, 2001];

/// The pod that sends in the example.
const WORKERS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker, namespace: calls}
spec:
  replicas: 2
  selector: {matchLabels: {app: worker}}
  template:
    metadata: {labels: {app: worker}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: box
        image: portreeve.test/box:1
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
";

/// Returns the manifests of a kustomization in `deploy`.
fn built(directory: &str) -> Result<String> {
    kustomize::text(&kustomize::deploy().join(directory))
}

/// Returns the base without the gateways, which this test doesn't need.
async fn install(cluster: &Cluster) -> Result<()> {
    let images = images::built()?;
    for archive in [&images.hub, &images.agent, &images.sidecar] {
        cluster.import(archive)?;
    }
    cluster.load(&[Image::busybox(IMAGE)])?;
    let base = built(".")?;
    let wanted = base.split("\n---\n").filter(|document| !document.contains("image: portreeve/gateway"));
    let client = cluster.client()?;
    let stored = manifest::apply(&client, &wanted.collect::<Vec<_>>().join("\n---\n")).await?;
    manifest::established(&client, &stored, BOUND).await?;
    for (kind, name) in [("deployment", "hub"), ("daemonset", "agent"), ("daemonset", "csi")] {
        cluster.rolled_out(kind, "portreeve", &format!("portreeve-{name}"), BOUND).await?;
    }
    Ok(())
}

/// Waits until one worker answers all datagrams that the pod sends to its own Envoy.
fn answered(pod: &PodSite, port: u16, echoes: &[Echo]) -> Result<()> {
    let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let flow = Flow::to(to).sockets(4).rate(200).lasting(Duration::from_millis(200));
    let lossless = || flow.clone().start(&pod.netns).and_then(|running| running.finish()?.lossless());
    wait_until(&format!("answers at port {port}"), BOUND, || lossless().is_ok())?;
    let reached = echoes.iter().filter(|echo| !echo.seen().sources.is_empty()).count();
    ensure!(reached == 1, "{reached} workers have a call that is one's");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn restricted_pods_send_through_their_own_envoys() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let begun = Instant::now();
    install(&cluster).await?;
    eprintln!("all of Portreeve is ready after {:.1?}", begun.elapsed());
    let example = built("examples/sidecar")?.replace("busybox:1.37", IMAGE);
    cluster.apply(&format!("{example}\n---\n{WORKERS}")).await?;
    for name in ["caller", "worker"] {
        cluster.rolled_out("deployment", "calls", name, BOUND).await?;
    }
    let (callers, workers) =
        (cluster.pods("calls", "app=caller").await?, cluster.pods("calls", "app=worker").await?);
    let echo =
        |pod: &PodSite| Echo::start(&pod.netns, &pod.name, SocketAddr::new(pod.address.into(), WORKER));
    let echoes = workers.iter().map(echo).collect::<Result<Vec<_>>>()?;
    ensure!((callers.len(), echoes.len()) == (2, 2), "{callers:?} {workers:?}");
    for caller in &callers {
        answered(caller, PORTS[0], &echoes)?;
    }
    eprintln!("its pods' datagrams are answered after {:.1?}", begun.elapsed());

    // Later changes come from another agent, through the same volume.
    let agents = ["-n", "portreeve", "-l", "app.kubernetes.io/component=agent"];
    cluster.kubectl(&[&["delete", "pod"], agents.as_slice()].concat())?;
    cluster.rolled_out("daemonset", "portreeve", "portreeve-agent", BOUND).await?;
    let port =
        format!(r#"[{{"op": "replace", "path": "/spec/listeners/0/udp/port", "value": {}}}]"#, PORTS[1]);
    cluster.kubectl(&["patch", "vsvc", "-n", "calls", "call", "--type=json", "-p", &port])?;
    for caller in &callers {
        answered(caller, PORTS[1], &echoes)?;
    }
    let told = ["get", "vsvc", "-n", "calls", "call", "-o", "jsonpath={.status.conditions[*].message}"];
    wait_until("the word of all proxies", BOUND, || {
        cluster.kubectl(&told).is_ok_and(|words| words.contains("wanted 2, acked 2"))
    })
}
