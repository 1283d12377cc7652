//! A cluster with the complete shipped installation, and with workers and calls.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::conditions::Said;
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use portreeve_tests::cluster::{Cluster, Image, Node, PodSite};
use portreeve_tests::images::{self, Images};
use portreeve_tests::process::run;
use portreeve_tests::udp::{Echo, Flow, Running};
use portreeve_tests::{hand_over, wait};

/// Long, because the machine may be busy.
pub const BOUND: Duration = Duration::from_secs(90);
/// The image of the workers.
const BOX: &str = "portreeve.test/box:1";
/// How many trials may be void because the kernel dropped datagrams.
const REPEATS: usize = 3;
/// How often each component is updated: the second update takes over from what the first one left.
const ROLLOUTS: usize = 2;
/// Ports of the calls' listeners. There are enough that each of three workers gets one, except in two of ten thousand
/// cases.
pub const PORTS: Range<u16> = 4000..4024;
/// Port of the TCP listener, which requires a privilege.
const TCP: u16 = 853;
/// Port of the workers.
pub const PORT: u16 = 7000;

const WORKERS: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: worker, namespace: default}
spec:
  selector: {matchLabels: {app: worker}}
  template:
    metadata: {labels: {app: worker}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: worker, image: 'portreeve.test/box:1'}
      - name: sidecar
        image: portreeve/sidecar:SIDECAR
        securityContext:
          runAsNonRoot: true
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: {drop: [ALL]}
          seccompProfile: {type: RuntimeDefault}
        volumeMounts: [{name: agent, mountPath: /run/portreeve, readOnly: true}]
      volumes:
      - {name: agent, hostPath: {path: /run/portreeve, type: DirectoryOrCreate}}
";

const NODE_PROXY: &str = "
apiVersion: portreeve.dev/v1alpha1
kind: NodeProxy
metadata: {name: gateway}
spec:
  labels: {app: envoy-ingress}
";

/// A call with this hash key. All gateways choose the same pod for it.
pub fn call(name: &str, port: u16) -> String {
    format!(
        "
apiVersion: servicemesh.l7mp.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec:
  selector: {{app: envoy-ingress}}
  listeners:
  - name: rtp
    udp:
      port: {port}
      cluster:
        name: rtp
        service_discovery: eds
        hash_key: {name}
        endpoints:
        - {{name: workers, host: {{selector: {{app: worker}}}}, port: {PORT}}}
"
    )
}

/// Returns a directory of the manifests.
pub fn deploy(directory: &str) -> String {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(directory);
    deploy.to_string_lossy().into_owned()
}

/// A cluster with the installation.
pub struct Site {
    pub cluster: Cluster,
    archives: Images,
    pub workers: Vec<PodSite>,
    echoes: Vec<Echo>,
}

// === impl Site ===

impl Site {
    pub async fn install() -> Result<Self> {
        let begun = Instant::now();
        let images = images::built()?;
        println!("images after {:.1?}", begun.elapsed());
        let cluster = Cluster::start(3).await?;
        println!("nodes after {:.1?}", begun.elapsed());
        for archive in [&images.hub, &images.agent, &images.gateway, &images.sidecar] {
            cluster.import(archive)?;
        }
        cluster.load(&[Image::busybox(BOX)])?;
        println!("images on the nodes after {:.1?}", begun.elapsed());
        cluster.kubectl(&["apply", "-k", &deploy("")])?;
        let sidecar = images::reference(&images.sidecar)?;
        let tag = sidecar.rsplit(':').next().unwrap_or_default();
        cluster.apply(&WORKERS.replace("SIDECAR", tag)).await?;
        cluster.rolled_out("deployment", "portreeve", "portreeve-hub", BOUND).await?;
        cluster.rolled_out("daemonset", "portreeve", "portreeve-agent", BOUND).await?;
        cluster.rolled_out("daemonset", "portreeve", "portreeve-gateway", BOUND).await?;
        cluster.rolled_out("daemonset", "default", "worker", BOUND).await?;
        println!("rolled out after {:.1?}", begun.elapsed());
        cluster.apply(NODE_PROXY).await?;
        let mut site = Self { cluster, archives: images, workers: Vec::new(), echoes: Vec::new() };
        site.answer().await?;
        Ok(site)
    }

    /// Starts answering for the current workers, in place of their containers.
    pub async fn answer(&mut self) -> Result<()> {
        self.echoes.clear();
        self.workers = self.cluster.pods("default", "app=worker").await?;
        for pod in &self.workers {
            let at = SocketAddr::new(pod.address.into(), PORT);
            self.echoes.push(Echo::start(&pod.netns, &pod.name, at)?);
            let listener = match pod.netns.enter(|| TcpListener::bind(at))? {
                // This worker has answered since it was first seen.
                Err(error) if error.kind() == ErrorKind::AddrInUse => continue,
                listener => listener?,
            };
            let name = pod.name.clone();
            // The thread ends with the test's process.
            pod.netns.spawn(move || {
                loop {
                    listener.accept()?.0.write_all(name.as_bytes())?;
                }
                #[allow(unreachable_code, reason = "names the type")]
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Returns the pod that answers each call through this node's gateway. All calls are sent concurrently.
    pub fn homes(&self, node: usize) -> Result<Vec<String>> {
        let address = self.cluster.node(node).address();
        let ask = |port: u16| {
            let flow = Flow::to(SocketAddr::new(address.into(), port)).sockets(4).rate(50);
            flow.lasting(Duration::from_millis(300)).start(self.cluster.outside())
        };
        let asked: Vec<Running> = PORTS.map(ask).collect::<Result<_>>()?;
        let home = |(port, running): (u16, Running)| {
            let report = running.finish()?;
            report.lossless()?;
            let mut by = report.answered_by().into_keys();
            let first = by.next().with_context(|| format!("nobody answers at {port}"))?;
            ensure!(by.next().is_none(), "{port}: {report}");
            Ok(first)
        };
        PORTS.zip(asked).map(home).collect()
    }

    /// Returns the image of the agent.
    pub fn agent_image(&self) -> Result<String> {
        images::reference(&self.archives.agent)
    }

    /// Adds further names for a component's image on every node, for later updates.
    pub fn next(&self, part: &str) -> Result<Vec<String>> {
        let reference = images::reference(self.archives.of(part)?)?;
        let names: Vec<String> =
            (1..=ROLLOUTS + REPEATS).map(|number| format!("{reference}-next{number}")).collect();
        for (node, name) in
            self.cluster.nodes().iter().flat_map(|node| names.iter().map(move |name| (node, name)))
        {
            run(node.command("ctr")?.args(["--namespace", "k8s.io", "images", "tag", &reference, name]))?;
        }
        Ok(names)
    }

    /// Waits until only these pods of a component exist.
    async fn settled(&self, part: &str) -> Result<()> {
        let pods = Api::<Pod>::namespaced(self.cluster.client()?, "portreeve");
        let labels = ListParams::default().labels(&format!("app.kubernetes.io/component={part}"));
        wait::until(&format!("the end of every replaced {part}"), BOUND, || async {
            let listed = pods.list(&labels).await;
            listed.is_ok_and(|pods| pods.iter().all(|pod| pod.metadata.deletion_timestamp.is_none()))
        })
        .await
        .with_context(|| self.cluster.evidence())
    }

    /// Checks that each key has a pod, the same behind every gateway, and each pod has keys.
    pub fn each_key_has_its_pod_behind_every_gateway(&self) -> Result<()> {
        let homes = self.homes(0)?;
        for node in 1..self.cluster.nodes().len() {
            ensure!(self.homes(node)? == homes, "node {node}: {:?}, and not {homes:?}", self.homes(node)?);
        }
        let used: BTreeSet<&String> = homes.iter().collect();
        ensure!(used.len() == self.workers.len(), "{homes:?}, of {} workers", self.workers.len());
        Ok(())
    }

    /// Checks that TCP uses the same path.
    pub async fn connections_are_answered(&self) -> Result<()> {
        let text = call("tcp", TCP)
            .replace("udp:", "tcp:")
            .replace("service_discovery: eds\n        hash_key: tcp", "service_discovery: eds");
        self.cluster.apply(&text).await?;
        self.programmed("tcp").await?;
        for node in self.cluster.nodes() {
            let at = SocketAddr::new(node.address().into(), TCP);
            let mut said = String::new();
            self.cluster.outside().enter(|| TcpStream::connect(at)?.read_to_string(&mut said))??;
            ensure!(self.workers.iter().any(|pod| pod.name == said), "{said:?} through {}", node.name());
        }
        Ok(())
    }

    /// Returns the address of the listener at `port` of every node's gateway.
    pub fn path(&self, port: u16) -> hand_over::Path<'_> {
        let at = |node: &Node| SocketAddr::new(node.address().into(), port);
        let nodes = self.cluster.nodes();
        hand_over::Path {
            from: self.cluster.outside(),
            listeners: nodes.iter().map(at).collect(),
            nodes: nodes.iter().map(Node::netns).collect(),
            echoes: &self.echoes,
        }
    }

    /// Updates a component several times under traffic, whose sessions each update renews this number of times.
    /// Repeated if the kernel dropped datagrams. `images` are the component's next images.
    pub async fn replaced(&self, (kind, name): (&str, &str), images: &[String], anew: usize) -> Result<()> {
        let container = name.trim_start_matches("portreeve-");
        let mut good = 0;
        for image in images {
            let path = self.path(PORTS.start);
            let (traffic, said) = (path.traffic()?, Said::of(self, "call-0")?);
            let begun = Instant::now();
            self.cluster.kubectl(&[
                "-n",
                "portreeve",
                "set",
                "image",
                &format!("{kind}/{name}"),
                &format!("{container}={image}"),
            ])?;
            self.cluster.rolled_out(kind, "portreeve", name, BOUND).await?;
            let replaced = begun.elapsed();
            self.settled(container).await?;
            let fate = path.end(traffic)?;
            println!("its status meanwhile: {:#?}", said.so_far());
            ensure!(said.so_far().iter().all(|said| said.starts_with("True")), "nothing was wrong");
            println!("{name} replaced in {replaced:.1?}, settled after {:.1?}", begun.elapsed());
            if fate.drops > 0 {
                println!("void: {} dropped by the kernel", fate.drops);
                continue;
            }
            fate.is_good(anew)?;
            good += 1;
            if good == ROLLOUTS {
                return Ok(());
            }
        }
        anyhow::bail!("the kernel dropped datagrams each time")
    }

    /// Checks that each agent has ended the work of the previous one.
    pub fn agents_took_turns(&self) -> Result<()> {
        let agents = "app.kubernetes.io/component=agent";
        let log = self.cluster.kubectl(&["-n", "portreeve", "logs", "-l", agents, "--tail=-1"])?;
        let turns = log.matches("the agent that was here has ended its work").count();
        ensure!(turns == self.cluster.nodes().len(), "{turns} turns were taken:\n{log}");
        Ok(())
    }

    /// Waits until all gateways have the listeners of a VirtualService.
    pub async fn programmed(&self, name: &str) -> Result<()> {
        let path = "jsonpath={.status.conditions[?(@.type=='Programmed')].status}";
        wait::until(&format!("{name} to be Programmed"), BOUND, || async {
            self.cluster.kubectl(&["get", "vsvc", name, "-o", path]).is_ok_and(|status| status == "True")
        })
        .await
        .with_context(|| self.cluster.evidence())
    }
}
