//! The agent's socket in a restricted namespace on a real node: the kubelet registers the driver, and mounts and
//! unmounts the volumes of pods. The test itself plays the agent with a socket on the node.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{UnixCredentials, getsockopt, sockopt};
use nix::unistd::Pid;
use portreeve_tests::cluster::{Cluster, Image, Node, PodSite};
use portreeve_tests::wait::{wait_for, wait_until};
use portreeve_tests::{images, kustomize};

/// Long, because the machine may be busy, and a kubelet waits before it retries.
const BOUND: Duration = Duration::from_secs(90);
/// The image of pods without an Envoy.
const IMAGE: &str = "portreeve.test/box:1";
/// The user of an Envoy.
const ENVOY: u32 = 101;
/// Path of the agent's directory in a pod.
const RUN: &str = "/run/portreeve";

/// A pod template in the example's namespace. VOLUME is replaced with the volume.
const POD: &str = "
    metadata: {name: box, namespace: calls, labels: {app: box}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: box
        image: portreeve.test/box:1
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
        volumeMounts: [{name: portreeve, mountPath: /run/portreeve}]
      volumes: [{name: portreeve, VOLUME}]
";
/// The beginning of its Deployment.
const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: box, namespace: calls}
spec:
  selector: {matchLabels: {app: box}}
  template:";
const VOLUME: &str = "csi: {driver: csi.portreeve.dev, readOnly: true}";
const HOST: &str = "hostPath: {path: /run/portreeve, type: Directory}";

/// Returns the documents of a kustomization in `deploy` for which `wanted` is true.
fn built(directory: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
    let text = kustomize::text(&kustomize::deploy().join(directory))?;
    Ok(text.split("\n---\n").filter(|document| wanted(document)).collect::<Vec<_>>().join("\n---\n"))
}

/// Returns the CSI mounts for pods on the node: path and options.
fn mounts(node: &Node) -> Result<Vec<(String, String)>> {
    let table = fs::read_to_string(node.path("").with_file_name("mountinfo"))?;
    let fields = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let volumes = fields.filter(|fields| fields.get(4).is_some_and(|at| at.contains("kubernetes.io~csi")));
    Ok(volumes.map(|fields| (fields[4].to_owned(), fields[5].to_owned())).collect())
}

/// Plays the node's agent: binds a socket under a temporary name, then renames it over the old one.
fn bind(node: &Node, number: u8) -> Result<UnixListener> {
    let unfinished = node.path(&format!("{RUN}/agent.{number}"));
    let listener = UnixListener::bind(&unfinished)?;
    fs::set_permissions(&unfinished, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    fs::rename(unfinished, node.path(&format!("{RUN}/agent.sock")))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Waits for a client, and returns its credentials.
fn caller(listener: &UnixListener) -> Result<UnixCredentials> {
    let accepted = wait_for("a connection", BOUND, || listener.accept().ok())?;
    Ok(getsockopt(&accepted.0, sockopt::PeerCredentials)?)
}

/// Returns the agent's socket as the pod sees it.
fn socket(node: &Node, pod: &PodSite) -> Result<PathBuf> {
    let seen = |pid: u32| PathBuf::from(format!("/proc/{pid}/root{RUN}/agent.sock"));
    // The process that holds the pod's namespaces has no volumes.
    let mut sockets = node.pids_of_pod(&pod.uid).into_iter().map(seen);
    sockets.find(|path| path.exists()).with_context(|| format!("{} sees no socket", pod.name))
}

async fn the_only(cluster: &Cluster, ns: &str, labels: &str) -> Result<PodSite> {
    let mut pods = cluster.pods(ns, labels).await?;
    ensure!(pods.len() == 1, "{pods:?}");
    Ok(pods.remove(0))
}

#[tokio::test]
async fn restricted_pods_reach_the_agent_and_leave_no_mount() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let images = images::built()?;
    cluster.import(&images.agent)?;
    cluster.import(&images.sidecar)?;
    cluster.load(&[Image::busybox(IMAGE)])?;
    the_kubelet_registers_the_driver(&cluster).await?;
    let first = bind(cluster.node(0), 1)?;

    let namespace = built("examples/sidecar", |document| document.contains("kind: Namespace"))?;
    cluster.apply(&namespace).await?;
    let begun = Instant::now();
    cluster.apply(&format!("{DEPLOYMENT}{}", POD.replace("VOLUME", VOLUME))).await?;
    cluster.rolled_out("deployment", "calls", "box", BOUND).await?;
    eprintln!("a pod has its volume after {:.1?}", begun.elapsed());
    a_pod_reaches_whoever_is_the_agent(&cluster, first).await?;
    a_directory_of_the_host_is_refused(&cluster).await?;
    a_sidecar_asks_the_agent_and_the_next_one(&cluster).await?;
    volumes_go_with_their_pods(&cluster).await
}

async fn the_kubelet_registers_the_driver(cluster: &Cluster) -> Result<()> {
    let ours = |document: &str| {
        ["name: portreeve-csi\n", "name: csi.portreeve.dev\n", "kind: Namespace"]
            .iter()
            .any(|words| document.contains(words))
    };
    let begun = Instant::now();
    cluster.apply(&built(".", ours)?).await?;
    cluster.rolled_out("daemonset", "portreeve", "portreeve-csi", BOUND).await?;
    eprintln!("the driver is ready after {:.1?}", begun.elapsed());
    let drivers =
        ["get", "csinode", "node-0", "-o", "jsonpath={.spec.drivers[*].name}={.spec.drivers[*].nodeID}"];
    let drivers = cluster.kubectl(&drivers)?;
    ensure!(drivers == "csi.portreeve.dev=node-0", "{drivers}");
    Ok(())
}

async fn a_pod_reaches_whoever_is_the_agent(cluster: &Cluster, first: UnixListener) -> Result<()> {
    let (node, pod) = (cluster.node(0), the_only(cluster, "calls", "app=box").await?);
    let seen = socket(node, &pod)?;
    UnixStream::connect(&seen)?;
    caller(&first)?;
    let second = bind(node, 2)?;
    UnixStream::connect(&seen)?;
    caller(&second)?;
    ensure!(first.accept().is_err(), "the former agent was reached");
    let mounted = mounts(node)?;
    let [(at, options)] = mounted.as_slice() else { anyhow::bail!("{mounted:?}") };
    let restricted = ["ro", "nosuid", "nodev", "noexec"];
    ensure!(restricted.iter().all(|word| options.split(',').any(|option| option == *word)), "{options}");
    ensure!(at.contains(&pod.uid), "{at} is not the pod's");
    let write = format!("echo mine >{RUN}/mine");
    let written = cluster.kubectl(&["exec", "-n", "calls", &pod.name, "--", "/bin/sh", "-c", &write]);
    let refused = written.err().context("a pod writes where the agent is")?.to_string();
    ensure!(refused.contains("Read-only file system"), "{refused}");
    Ok(())
}

async fn a_directory_of_the_host_is_refused(cluster: &Cluster) -> Result<()> {
    let pod = POD.replace("\n    ", "\n").replace("name: box, n", "name: host, n").replace("VOLUME", HOST);
    let refused = cluster.apply(&format!("apiVersion: v1\nkind: Pod{pod}")).await;
    let refused = format!("{:#}", refused.err().context("hostPath is allowed")?);
    ensure!(
        refused.contains("violates PodSecurity \"restricted") && refused.contains("hostPath"),
        "{refused}"
    );
    Ok(())
}

/// The example with real Envoys.
async fn a_sidecar_asks_the_agent_and_the_next_one(cluster: &Cluster) -> Result<()> {
    let node = cluster.node(0);
    let third = bind(node, 3)?;
    let example = built("examples/sidecar", |document| !document.contains("kind: VirtualService"))?;
    cluster.apply(&example.replace("busybox:1.37", IMAGE).replace("replicas: 2", "replicas: 1")).await?;
    cluster.rolled_out("deployment", "calls", "caller", BOUND).await?;
    let pod = the_only(cluster, "calls", "app=caller").await?;
    let fourth = {
        let asked = caller(&third)?;
        let pids = node.pids_of_pod(&pod.uid);
        ensure!(asked.uid() == ENVOY && pids.contains(&u32::try_from(asked.pid())?), "{asked:?} of {pids:?}");
        bind(node, 4)?
    };
    // Its connection ended with the previous agent, and it connects to the new socket.
    drop(third);
    let asked = caller(&fourth)?;
    ensure!(asked.uid() == ENVOY, "{asked:?}");
    cluster.kubectl(&["delete", "deployment", "-n", "calls", "caller", "--wait=false"])?;
    cluster.pods_gone("calls", "app=caller", BOUND).await
}

/// Also after driver and kubelet were replaced meanwhile.
async fn volumes_go_with_their_pods(cluster: &Cluster) -> Result<()> {
    let (node, pod) = (cluster.node(0), the_only(cluster, "calls", "app=box").await?);
    let mounted = mounts(node)?;
    ensure!(mounted.len() == 1 && mounted[0].0.contains(&pod.uid), "{mounted:?}");
    let driver = the_only(cluster, "portreeve", "app.kubernetes.io/component=csi").await?;
    cluster.kubectl(&["delete", "pod", "-n", "portreeve", &driver.name])?;
    let kubelet = || node.pids(|line| line.starts_with("/run/programs/kubelet"));
    let before = kubelet();
    for pid in &before {
        kill(Pid::from_raw(i32::try_from(*pid)?), Signal::SIGKILL)?;
    }
    wait_until("another kubelet", BOUND, || kubelet().iter().any(|pid| !before.contains(pid)))?;
    ensure!(socket(node, &pod)?.exists(), "the volume has gone with its driver");
    let begun = Instant::now();
    cluster.kubectl(&["delete", "deployment", "-n", "calls", "box", "--wait=false"])?;
    cluster.pods_gone("calls", "app=box", BOUND).await?;
    wait_until("the end of all mounts", BOUND, || mounts(node).is_ok_and(|mounts| mounts.is_empty()))?;
    eprintln!("a volume is gone, with another driver and kubelet, after {:.1?}", begun.elapsed());
    let left = node.path(&format!("/var/lib/kubelet/pods/{}", pod.uid));
    wait_until("the end of the pod's directory", BOUND, || !left.exists())?;
    ensure!(node.path(&format!("{RUN}/agent.sock")).exists(), "what was shown is gone");
    Ok(())
}
