//! What the harness's clusters with real nodes support, and that they leave nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Api, PostParams};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portreeve_agent::identity::cgroup::{Membership, membership};
use portreeve_tests::cluster::{Cluster, Image, Node, PodSite, View};
use portreeve_tests::health_port::HealthPort;
use portreeve_tests::netns::Netns;
use portreeve_tests::udp::{Echo, Flow};
use portreeve_tests::wait::wait_until;

/// Long, because the machine may be busy.
const BOUND: Duration = Duration::from_secs(60);
/// Ports of the echoes in pods, and of the Service in front of them.
const PORT: u16 = 7000;
/// The image of all pods here.
const IMAGE: &str = "portreeve.test/box:1";

/// A pod on every node with a Service, and a pod that sees the node as its own.
const PODS: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: box, namespace: default}
spec:
  selector: {matchLabels: {app: box}}
  template:
    metadata: {labels: {app: box}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: box, image: 'portreeve.test/box:1'}
---
apiVersion: v1
kind: Service
metadata: {name: box, namespace: default}
spec:
  type: NodePort
  selector: {app: box}
  ports:
  - {name: udp, protocol: UDP, port: 7000}
  - {name: tcp, protocol: TCP, port: 7000}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: host, namespace: default}
spec:
  selector: {matchLabels: {app: host}}
  template:
    metadata: {labels: {app: host}}
    spec:
      hostNetwork: true
      hostPID: true
      terminationGracePeriodSeconds: 1
      containers:
      - name: host
        image: portreeve.test/box:1
        command: [/bin/sh, -c, 'hostname >/shared/name && exec sleep 1000000']
        volumeMounts: [{name: shared, mountPath: /shared}]
      volumes:
      - {name: shared, hostPath: {path: /run/portreeve-nodes, type: DirectoryOrCreate}}
";

/// A pod in a namespace that will be deleted.
const PASSING: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: passing}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: box, namespace: passing}
spec:
  replicas: 2
  selector: {matchLabels: {app: box}}
  template:
    metadata: {labels: {app: box}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: box, image: 'portreeve.test/box:1'}
";

/// Source and destination.
type Way<'a> = (&'a Netns, SocketAddr);

/// The traces of a cluster on the machine.
struct Traces {
    pids: Vec<u32>,
    directories: Vec<PathBuf>,
}

#[tokio::test]
async fn nodes_run_pods_as_machines_of_their_own_do() -> Result<()> {
    let begun = Instant::now();
    let mut cluster = Cluster::start_with(&[View::Machine, View::Unified]).await?;
    eprintln!("two nodes are Ready after {:.1?}", begun.elapsed());
    cluster.load(&[Image::busybox(IMAGE)])?;
    cluster.apply(PODS).await?;
    cluster.rolled_out("daemonset", "default", "box", BOUND).await?;
    cluster.rolled_out("daemonset", "default", "host", BOUND).await?;
    eprintln!("their pods are after {:.1?}", begun.elapsed());
    eprintln!("memory of the nodes: {:?}", cluster.nodes().iter().map(Node::memory).collect::<Vec<_>>());

    pods_exchange_udp_and_tcp(&cluster).await?;
    a_node_is_the_pods_host(&cluster).await?;
    a_pods_cgroup_names_it(&cluster).await?;
    accounts_have_tokens(&cluster).await?;
    a_namespace_goes_with_its_pods(&cluster).await?;
    a_program_that_ends_is_started_again(&cluster).await?;
    a_killed_node_comes_back_with_its_pods(&mut cluster).await
}

#[tokio::test]
async fn clusters_are_apart_and_leave_nothing() -> Result<()> {
    let (one, other) = tokio::join!(Cluster::start(1), Cluster::start(1));
    let (one, other) = (one?, other?);
    one.apply("{apiVersion: v1, kind: Namespace, metadata: {name: only-here}}").await?;
    ensure!(one.kubectl(&["get", "namespace", "only-here", "-o", "name"])?.trim() == "namespace/only-here");
    ensure!(other.kubectl(&["get", "namespace", "only-here"]).is_err(), "a cluster has another's namespace");
    ensure!(one.node(0).netns().name() == other.node(0).netns().name(), "their nodes have the same names");
    let reaches = |from: &Netns, cluster: &Cluster| dial((from, cluster.plane().address()));
    ensure!(reaches(one.node(0).netns(), &one).is_ok() && reaches(other.node(0).netns(), &other).is_ok());

    let traces = Traces::of(&one)?;
    drop(one);
    traces.are_gone()?;
    other.nodes_ready(BOUND).await?;
    let traces = Traces::of(&other)?;
    drop(other);
    traces.are_gone()
}

/// Sends between all pods and nodes in all directions, and through the Service.
async fn pods_exchange_udp_and_tcp(cluster: &Cluster) -> Result<()> {
    let pods = cluster.pods("default", "app=box").await?;
    ensure!(pods.iter().map(|pod| pod.node.as_str()).eq(["node-0", "node-1"]), "{pods:?}");
    ensure!(pods[0].address.octets()[..3] == [10, 244, 1] && pods[1].address.octets()[..3] == [10, 244, 2]);
    let at = |pod: &PodSite| SocketAddr::new(pod.address.into(), PORT);
    let echo = |pod: &PodSite| Echo::start(&pod.netns, &pod.node, at(pod));
    let echoes = pods.iter().map(echo).collect::<Result<Vec<_>>>()?;
    let port = |pod: &PodSite| HealthPort::open(&pod.netns, at(pod));
    let ports = pods.iter().map(port).collect::<Result<Vec<_>>>()?;

    let inside: Vec<_> =
        pods.iter().map(|pod| &pod.netns).chain(cluster.nodes().iter().map(Node::netns)).collect();
    for from in &inside {
        for echo in &echoes {
            converse((from, echo.address()))?;
        }
    }
    // A pod reaches its Service whichever pod is chosen, including itself.
    let service: Ipv4Addr = field(cluster, "{.spec.clusterIP}")?.parse()?;
    for from in &inside {
        converse((from, SocketAddr::new(service.into(), PORT)))?;
    }
    let led = |echo: &Echo| echo.seen().sources.len();
    ensure!(echoes.iter().all(|echo| led(echo) > 0) && ports.iter().all(|port| port.accepted() > 0));

    // From outside, the only way is through the nodes' own ports.
    let outside = cluster.outside();
    ensure!(dial((outside, at(&pods[0]))).is_err() && dial((outside, (service, PORT).into())).is_err());
    for (index, kind) in [(0, "UDP"), (1, "TCP")] {
        let port: u16 = field(cluster, &format!("{{.spec.ports[{index}].nodePort}}"))?.parse()?;
        let address = |node: &Node| SocketAddr::new(node.address().into(), port);
        for node in cluster.nodes() {
            match kind {
                "UDP" => ask((outside, address(node)))?,
                _ => dial((outside, address(node)))?,
            }
        }
    }
    Ok(())
}

/// `hostPath`, `hostNetwork` and `hostPID` mean the node, not the machine.
async fn a_node_is_the_pods_host(cluster: &Cluster) -> Result<()> {
    for pod in cluster.pods("default", "app=host").await? {
        let node = cluster.node_named(&pod.node)?;
        ensure!(pod.address == node.address(), "{pod:?}");
        let name = fs::read_to_string(node.path("/run/portreeve-nodes/name"))?;
        ensure!(name.trim() == node.name(), "{} has the file of {name}", node.name());
        let seen = cluster.kubectl(&["exec", &pod.name, "--", "cat", "/proc/1/cmdline"])?;
        ensure!(seen.contains("init.sh"), "the first process that a pod with hostPID sees is {seen}");
        let kubelets = node.pids(|line| line.starts_with("/run/programs/kubelet"));
        ensure!(kubelets.len() == 1, "{kubelets:?} are kubelets");
    }
    ensure!(!Path::new("/run/portreeve-nodes").exists(), "a pod's directory is on the machine");
    Ok(())
}

/// What a pod with `hostPID` sees of another one, whatever the node's cgroups are. With version 2 alone, it has its own
/// cgroup namespace.
async fn a_pods_cgroup_names_it(cluster: &Cluster) -> Result<()> {
    let pods = cluster.pods("default", "app=box").await?;
    for (host, pod) in cluster.pods("default", "app=host").await?.iter().zip(&pods) {
        let look = format!(
            "for process in /proc/[0-9]*; do cat $process/cgroup; echo; done | grep -m 1 {}",
            pod.uid
        );
        let line = cluster.kubectl(&["exec", &host.name, "--", "/bin/sh", "-c", &look])?;
        ensure!(membership(&line) == Membership::Pod(pod.uid.clone()), "on {}: {line}", host.node);
        let alone = host.node == "node-1" || Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        ensure!(line.trim().starts_with("0::/../") == alone, "on {}: {line}", host.node);
    }
    Ok(())
}

/// The API server is reachable as the Service, with the credentials that the kubelet mounts into a pod.
async fn accounts_have_tokens(cluster: &Cluster) -> Result<()> {
    let pod = &cluster.pods("default", "app=box").await?[0];
    let read = |file: &str| {
        let path = format!("/var/run/secrets/kubernetes.io/serviceaccount/{file}");
        cluster.kubectl(&["exec", &pod.name, "--", "cat", &path])
    };
    ensure!(read("ca.crt")? == cluster.plane().authority().pem(), "the pod trusts another authority");
    let reviews = Api::<SelfSubjectReview>::all(cluster.plane().client_with(&read("token")?)?);
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
    let user = review.status.and_then(|status| status.user_info?.username);
    ensure!(user.as_deref() == Some("system:serviceaccount:default:default"), "{user:?}");
    let told =
        cluster.kubectl(&["exec", &pod.name, "--", "/bin/sh", "-c", "echo $KUBERNETES_SERVICE_HOST"])?;
    dial((&pod.netns, SocketAddr::new(told.trim().parse()?, 443)))
}

async fn a_namespace_goes_with_its_pods(cluster: &Cluster) -> Result<()> {
    cluster.apply(PASSING).await?;
    cluster.rolled_out("deployment", "passing", "box", BOUND).await?;
    let pods = cluster.pods("passing", "app=box").await?;
    ensure!(pods.len() == 2, "{pods:?}");
    cluster.kubectl(&["delete", "namespace", "passing", "--wait=false"])?;
    cluster.pods_gone("passing", "app=box", BOUND).await?;
    cluster.kubectl(&["wait", "--for=delete", "namespace/passing", "--timeout=60s"])?;
    for pod in pods {
        ensure!(cluster.node_named(&pod.node)?.pids_of_pod(&pod.uid).is_empty(), "{} still runs", pod.name);
    }
    Ok(())
}

async fn a_program_that_ends_is_started_again(cluster: &Cluster) -> Result<()> {
    let node = cluster.node(0);
    let kubelet = || node.pids(|line| line.starts_with("/run/programs/kubelet"));
    let before = kubelet();
    kill(Pid::from_raw(i32::try_from(before[0])?), Signal::SIGKILL)?;
    wait_until("another kubelet", BOUND, || kubelet().iter().any(|pid| !before.contains(pid)))
}

async fn a_killed_node_comes_back_with_its_pods(cluster: &mut Cluster) -> Result<()> {
    let of_node = |pods: Vec<PodSite>| pods.into_iter().find(|pod| pod.node == "node-1");
    let before = of_node(cluster.pods("default", "app=box").await?).context("no pod on node-1")?;
    let pids = cluster.node(1).pids(|_| true);
    ensure!(pids.len() > 5 && !cluster.node(1).pids_of_pod(&before.uid).is_empty(), "{pids:?}");
    let begun = Instant::now();
    cluster.node_mut(1).kill()?;
    ensure!(pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()), "some of {pids:?} live on");
    eprintln!("a node is dead after {:.1?}", begun.elapsed());
    // A dead machine is silent: it sends no refusals.
    let silence = dial((cluster.outside(), (cluster.node(1).address(), PORT).into()));
    let silence = silence.err().context("a dead node answers")?;
    ensure!(!format!("{silence:#}").contains("refused"), "{silence:#}");
    cluster.node_lost(1, BOUND).await?;
    eprintln!("and known to be after {:.1?}", begun.elapsed());

    let begun = Instant::now();
    cluster.node_mut(1).start()?;
    cluster.nodes_ready(BOUND).await?;
    // The process that holds its namespaces, and the container's own.
    let back = || cluster.node(1).pids_of_pod(&before.uid).len() >= 2;
    wait_until("the pod's new processes", BOUND, back)?;
    cluster.rolled_out("daemonset", "default", "box", BOUND).await?;
    cluster.rolled_out("daemonset", "default", "host", BOUND).await?;
    eprintln!("a node is back with its pods after {:.1?}", begun.elapsed());
    let pods = cluster.pods("default", "app=box").await?;
    let echo = Echo::start(&pods[1].netns, "back", SocketAddr::new(pods[1].address.into(), 0))?;
    ask((&pods[0].netns, echo.address()))
}

// === impl Traces ===

impl Traces {
    fn of(cluster: &Cluster) -> Result<Self> {
        let kubeconfig = cluster.kubeconfig_path()?;
        let plane = kubeconfig.parent().context("a file is in a directory")?;
        let mut found = Self { pids: processes_of(plane), directories: vec![plane.to_owned()] };
        ensure!(found.pids.len() >= 4, "the control plane has the processes {:?}", found.pids);
        for node in cluster.nodes() {
            let process = node.path("").parent().map(Path::to_owned).context("a node that is off")?;
            found.pids.extend(node.pids(|_| true));
            found.directories.extend(cgroups(&fs::read_to_string(process.join("cgroup"))?));
            found.directories.push(disk(&fs::read_to_string(process.join("mountinfo"))?)?);
        }
        ensure!(found.directories.iter().all(|path| path.is_dir()), "{:?}", found.directories);
        Ok(found)
    }

    fn are_gone(&self) -> Result<()> {
        let lives = |pid: &&u32| Path::new(&format!("/proc/{pid}")).exists();
        let alive: Vec<_> = self.pids.iter().filter(lives).collect();
        ensure!(alive.is_empty(), "{alive:?} still run");
        let there: Vec<_> = self.directories.iter().filter(|path| path.exists()).collect();
        ensure!(there.is_empty(), "{there:?} are still there");
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        ensure!(!mounts.contains("portreeve-"), "{mounts}");
        Ok(())
    }
}

/// Returns the machine's processes whose command line contains a directory.
fn processes_of(directory: &Path) -> Vec<u32> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let told = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&*directory.to_string_lossy())
    };
    pids.filter(told).collect()
}

/// Returns a node's cgroups in all hierarchies, from its first process's `/proc/<pid>/cgroup`.
fn cgroups(text: &str) -> BTreeSet<PathBuf> {
    let top = |line: &str| Some(line.splitn(3, ':').nth(2)?.split('/').nth(1)?.to_owned());
    let names: BTreeSet<String> = text.lines().filter_map(top).filter(|name| !name.is_empty()).collect();
    let hierarchies =
        fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let hierarchies: Vec<_> = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]).collect();
    let paths = names.iter().flat_map(|name| hierarchies.iter().map(move |at| at.join(name)));
    paths.filter(|path| path.is_dir()).collect()
}

/// Returns a node's disk, from its first process's `/proc/<pid>/mountinfo`.
fn disk(mounts: &str) -> Result<PathBuf> {
    let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = lines.find(|words| words.get(4) == Some(&"/run/node")).context("a node without a disk")?;
    let name = Path::new(mount[3]).file_name().context("a disk without a name")?;
    Ok(std::env::temp_dir().join(name))
}

/// A field of the Service.
fn field(cluster: &Cluster, path: &str) -> Result<String> {
    cluster.kubectl(&["get", "service", "box", "-o", &format!("jsonpath={path}")])
}

/// Sends over UDP and TCP. A Service works a little after its pods are ready.
fn converse(way: Way<'_>) -> Result<()> {
    ask(way)?;
    let to = way.1;
    wait_until(&format!("a connection from {} to {to}", way.0.name()), BOUND, || dial(way).is_ok())
}

/// Sends over UDP until nothing is lost.
fn ask((from, to): Way<'_>) -> Result<()> {
    let flow = Flow::to(to).sockets(2).rate(200).lasting(Duration::from_millis(100));
    let answered = || flow.clone().start(from).and_then(|running| running.finish()?.lossless());
    wait_until(&format!("answers from {to} to {}", from.name()), BOUND, || answered().is_ok())
}

/// Sends once over TCP.
fn dial((from, to): Way<'_>) -> Result<()> {
    let connected = from.enter(|| TcpStream::connect_timeout(&to, Duration::from_secs(2)))?;
    connected.with_context(|| format!("from {} to {to}", from.name()))?;
    Ok(())
}
