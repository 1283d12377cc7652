//! Two Kubernetes clusters: the pods of the second join clusters of the first, whatever becomes of the second's API server.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use kube::{Api, Client};
use portreeve_agent::link::Link;
use portreeve_api::d::egress_listener::EgressListener;
use portreeve_hub::selection::{PodSelection, Selection};
use portreeve_tests::controlplane::ControlPlane;
use portreeve_tests::crowd::Member;
use portreeve_tests::exporter::{admin, shows};
use portreeve_tests::netns::Netns;
use portreeve_tests::process::Process;
use portreeve_tests::town::trust::API_AUDIENCE;
use portreeve_tests::town::{BOUND, Trust, serving_at};
use portreeve_tests::{http, manifest, under_test, wait};
use tempfile::TempDir;

/// The account for sources, as it is shipped.
const ACCOUNT: &str = include_str!("../../../deploy/examples/clusters/account.yaml");
/// The right to read the Secret with the sources, as it is shipped.
const RIGHTS: &str = include_str!("../../../deploy/components/sources/rights.yaml");
/// The test's own Secret of sources.
const SECRET: &str =
    "apiVersion: v1\nkind: Secret\nmetadata: {name: portreeve-sources, namespace: portreeve}\n";

/// A listener to the cluster `bar`, one that admits only it, and a VirtualService for all pods.
const OBJECTS: &str = "
apiVersion: egresslistener.envoy.uw.systems/v1alpha1
kind: EgressListener
metadata: {name: bar, namespace: default}
spec: {nodename: web, listenport: 9090, target: {cluster: bar, port: 80}}
---
apiVersion: ingresslistener.envoy.uw.systems/v1alpha1
kind: IngressListener
metadata: {name: bar, namespace: default}
spec: {nodename: web, listenport: 8080, targetport: 80, rbac: {cluster: bar}}
---
apiVersion: servicemesh.l7mp.io/v1
kind: VirtualService
metadata: {name: all, namespace: default}
spec:
  selector: {app: web}
  listeners:
  - name: l
    udp:
      port: 2000
      cluster: {name: c, service_discovery: eds, endpoints: [{name: e, host: {selector: {app: web}}, port: 9}]}
";

/// The hub's own cluster, another one, a hub, and the agent of node `n1`.
struct Site {
    hub: Process,
    agent: Member,
    home: ControlPlane,
    client: Client,
    away: ControlPlane,
    /// The kubeconfig for the other cluster's pods.
    away_config: PathBuf,
    metrics: SocketAddr,
    own: Netns,
    dir: TempDir,
}

// === impl Site ===

impl Site {
    /// Starts both clusters, and a hub with these additional arguments. In them, `FILE` is the path of a sources file.
    async fn start(args: &[&str]) -> Result<Self> {
        let (home, away) = tokio::try_join!(ControlPlane::start(), ControlPlane::start())?;
        let client = home.client()?;
        let dir = tempfile::tempdir()?;
        tokio::try_join!(home.install_crds(), Trust::establish(&client, dir.path()))?;
        away.apply(ACCOUNT).await?;
        let token = away.unbound_token(("portreeve-source", "portreeve-source"), API_AUDIENCE).await?;
        let away_config = away.kubeconfig_with("source", &token)?;
        // The form of the replaced control plane's example: the hub's own cluster is the listeners' source.
        let own = home.kubeconfig("hub")?;
        let both = format!(
            "[{{\"name\": \"home\", \"kubeconfig\": \"{}\", \"listenersource\": true}}, {}]",
            own.display(),
            entry(&away_config)
        );
        std::fs::write(dir.path().join("config.json"), both)?;
        for (plane, name, more) in [(&home, "web", WEB), (&home, "near", MEMBER), (&away, "far", MEMBER)] {
            pod(&plane.client()?, "default", (name, more)).await?;
        }
        away.apply("{apiVersion: v1, kind: Namespace, metadata: {name: other}}").await?;
        pod(&away.client()?, "other", ("stranger", MEMBER)).await?;
        home.apply(OBJECTS).await?;
        let (hub, address, metrics) = hub(&home, &dir, args)?;
        let agent = Member::start("n1", format!("http://{address}").parse()?, Link::Plain);
        let own = Netns::of(std::process::id(), "here", Ipv4Addr::LOCALHOST)?;
        Ok(Self { hub, agent, home, client, away, away_config, metrics, own, dir })
    }

    /// Replaces the hub, and the agent, which has to find the new one.
    fn restart_hub(&mut self, args: &[&str]) -> Result<()> {
        self.hub.kill();
        let (hub, address, metrics) = hub(&self.home, &self.dir, args)?;
        (self.hub, self.metrics) = (hub, metrics);
        self.agent = Member::start("n1", format!("http://{address}").parse()?, Link::Plain);
        Ok(())
    }

    /// Writes the sources file with this list.
    fn write(&self, list: &str) -> Result<()> {
        // Renamed into place, as a kubelet does.
        std::fs::write(self.dir.path().join("new"), list)?;
        Ok(std::fs::rename(self.dir.path().join("new"), self.dir.path().join("config.json"))?)
    }

    /// The names of a group's endpoints on the node, and the sources that the hub has not read.
    fn group(&self, unready: bool) -> (Vec<String>, Vec<String>) {
        let selection = Selection::Pods(PodSelection::of_cluster("cluster-name.envoy.uw.io", "bar", unready));
        let (prefix, held) = (format!("{}#", selection.name()), self.agent.held());
        let slices =
            || held.slices.iter().filter(|(name, _)| name.starts_with(&prefix)).map(|(_, slice)| slice);
        let endpoints = slices().flat_map(|slice| &slice.endpoints);
        let mut names: Vec<String> =
            endpoints.map(|one| format!("{}/{}@{}", one.source, one.name, one.node)).collect();
        names.sort();
        (names, slices().flat_map(|slice| slice.unread_sources.clone()).collect())
    }

    /// Waits until both groups of the cluster have these endpoints (`source/name@node`), and the hub has not read these
    /// sources.
    async fn has(&self, endpoints: &[&str], unread: &[&str]) -> Result<()> {
        for unready in [false, true] {
            let is = || async { self.group(unready) == (owned(endpoints), owned(unread)) };
            let waited = wait::until(&format!("{endpoints:?} in group {unready}"), BOUND, is).await;
            waited.with_context(|| format!("{:?}\n{}", self.group(unready), self.hub.log()))?;
        }
        Ok(())
    }

    /// Waits until `ResolvedRefs` of the EgressListener has this status and reason, and these parts in its message.
    async fn resolved(&self, status: &str, reason: &str, parts: &[&str]) -> Result<()> {
        let api = Api::<EgressListener>::namespaced(self.client.clone(), "default");
        let what = format!("ResolvedRefs={status} {reason} {parts:?}");
        wait::seen(api, wait::named("bar"), (&what, BOUND), |object| {
            let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
            let found = conditions.find(|one| one.type_ == "ResolvedRefs")?;
            let told = parts.iter().all(|part| found.message.contains(part));
            (found.status == status && found.reason == reason && told).then_some(())
        })
        .await
    }

    fn is_ready(&self) -> bool {
        http::get(&self.own, self.metrics, "/readyz").is_ok_and(|(status, _)| status == 200)
    }
}

/// The pod of the listeners' proxy.
const WEB: &str = "labels: {app: web}, annotations: {portreeve.dev/proxy-name: web}";
const MEMBER: &str = "annotations: {cluster-name.envoy.uw.io: bar}";
const NEAR: &str = "/near@n1";
const FAR: &str = "away/far@";

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// The entry of the other cluster in a sources file.
fn entry(kubeconfig: &std::path::Path) -> String {
    format!("{{\"name\": \"away\", \"kubeconfig\": \"{}\", \"listenersource\": false}}", kubeconfig.display())
}

/// Starts a hub. Returns its addresses for agents and for metrics.
fn hub(home: &ControlPlane, dir: &TempDir, args: &[&str]) -> Result<(Process, SocketAddr, SocketAddr)> {
    let mut command = under_test::command("hub")?;
    command.args([
        "--listen=127.0.0.1:0",
        "--admin=127.0.0.1:0",
        "--grace=2",
        "--identity=hub",
        "--insecure",
    ]);
    command.arg("--kubeconfig").arg(home.kubeconfig("hub")?);
    let file = dir.path().join("config.json").display().to_string();
    command.args(args.iter().map(|arg| arg.replace("FILE", &file))).env("NO_COLOR", "1");
    let mut hub = Process::spawn("hub", &command)?;
    let (address, metrics) = (serving_at(&mut hub)?, admin(&mut hub)?);
    Ok((hub, address, metrics))
}

/// Creates a ready pod (name, and more metadata) on a node `n1`, which both clusters have.
async fn pod(client: &Client, namespace: &str, (name, more): (&str, &str)) -> Result<()> {
    let meta =
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, {more}}}\n");
    manifest::apply(client, &format!("{meta}spec: {{nodeName: n1, containers: [{{name: c, image: i}}]}}\n"))
        .await?;
    let ip = format!("10.0.0.{}", name.len());
    let status = format!(
        "status: {{phase: Running, podIP: {ip}, podIPs: [{{ip: {ip}}}], conditions: [{{type: Ready, status: 'True', \
         lastTransitionTime: '2026-01-01T00:00:00Z'}}]}}\n"
    );
    manifest::apply_status(client, &format!("{meta}{status}")).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_another_cluster_are_members_and_outlive_their_api_server_for_the_grace() -> Result<()> {
    let args = ["--sources=FILE", "--cluster-namespaces=default"];
    let mut site = Site::start(&args).await?;
    site.has(&[NEAR, FAR], &[]).await?;
    site.resolved("True", "ResolvedRefs", &[]).await?;
    // It is on no node of ours, although a node here has the same name, and in no other group.
    {
        let held = site.agent.held();
        let groups =
            held.slices.iter().filter(|(_, slice)| slice.endpoints.iter().any(|one| !one.source.is_empty()));
        ensure!(
            groups.clone().count() == 2 && groups.clone().all(|(name, _)| name.contains("bar")),
            "{held:?}"
        );
        ensure!(held.slices.len() == 3, "{held:?}");
    }
    pod(&site.away.client()?, "default", ("farther", MEMBER)).await?;
    site.has(&[NEAR, FAR, "away/farther@"], &[]).await?;
    manifest::delete(
        &site.away.client()?,
        "{apiVersion: v1, kind: Pod, metadata: {name: farther, namespace: default}}",
    )
    .await?;
    site.has(&[NEAR, FAR], &[]).await?;

    site.away.kill();
    let parts = ["source away can't be read since ", "its pod stays until"];
    site.resolved("True", "SourceLost", &parts).await?;
    site.has(&[NEAR, FAR], &[]).await?;
    ensure!(site.is_ready(), "the hub waits for a source");
    // A new hub doesn't know the pod, and says so.
    site.restart_hub(&args)?;
    site.has(&[NEAR], &["away"]).await?;
    ensure!(site.is_ready(), "the hub waits for a source");
    site.resolved("True", "SourceLost", &["source away could not be read yet, since "]).await?;
    site.away.revive().await?;
    site.has(&[NEAR, FAR], &[]).await?;
    site.resolved("True", "ResolvedRefs", &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_lost_cluster_are_withdrawn_after_the_grace_and_come_back_with_it() -> Result<()> {
    let mut site =
        Site::start(&["--sources=FILE", "--source-grace=3", "--cluster-namespaces=default"]).await?;
    site.has(&[NEAR, FAR], &[]).await?;
    site.away.kill();
    site.resolved("False", "SourceLost", &["its pod was withdrawn at"]).await?;
    site.has(&[NEAR], &[]).await?;
    ensure!(site.is_ready(), "the hub waits for a source");
    let withdrawn = "portreeve_hub_source_withdrawn{source=\"away\"}";
    shows(&site.own, site.metrics, &[(withdrawn, 1.0), ("portreeve_hub_source_pods{source=\"away\"}", 0.0)])
        .await?;
    site.away.revive().await?;
    site.has(&[NEAR, FAR], &[]).await?;
    site.resolved("True", "ResolvedRefs", &[]).await?;
    let lost = "portreeve_hub_source_lost_timestamp_seconds{source=\"away\"}";
    shows(&site.own, site.metrics, &[(withdrawn, 0.0), (lost, 0.0)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_come_and_go_with_the_file_while_the_hub_runs() -> Result<()> {
    let site = Site::start(&["--sources=FILE"]).await?;
    let all = [NEAR, FAR, "away/stranger@"];
    site.has(&all, &[]).await?;
    let entry = entry(&site.away_config);
    for (list, wrong) in [
        ("[{".to_owned(), "it is not JSON"),
        (format!("[{}]", entry.replace("false", "true")), "leads to another cluster than the hub's own"),
    ] {
        site.write(&list)?;
        shows(&site.own, site.metrics, &[("portreeve_hub_refused_sources", 1.0)]).await?;
        wait::until("the error", BOUND, || async { site.hub.log().contains(wrong) }).await?;
        site.has(&all, &[]).await?;
    }
    site.write("[]")?;
    site.has(&[NEAR], &[]).await?;
    shows(&site.own, site.metrics, &[("portreeve_hub_refused_sources", 0.0)]).await?;
    site.write(&format!("[{entry}]"))?;
    site.has(&all, &[]).await?;
    // A kubeconfig that becomes wrong is a loss of its source.
    std::fs::write(&site.away_config, "nonsense")?;
    site.resolved("True", "SourceLost", &["the kubeconfig is not YAML"]).await?;
    site.has(&all, &[]).await?;

    // A starting hub refuses a wrong file.
    site.write("[{}]")?;
    let file = site.dir.path().join("config.json").display().to_string();
    let mut command = under_test::command("hub")?;
    command.args(["--listen=127.0.0.1:0", "--insecure", "--sources", &file]);
    command.arg("--kubeconfig").arg(site.home.kubeconfig("hub")?);
    let ended = command.output()?;
    let text = String::from_utf8_lossy(&ended.stderr);
    ensure!(!ended.status.success() && text.contains(&format!("{file}: entry 1: name is empty")), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_come_and_go_with_the_keys_of_a_secret() -> Result<()> {
    let site = Site::start(&["--sources-secret=portreeve-sources", "--cluster-namespaces=default"]).await?;
    let reads = "the hub may not read the Secret of --sources-secret";
    wait::until("the missing right", BOUND, || async { site.hub.log().contains(reads) }).await?;
    ensure!(!site.is_ready(), "it serves without knowing its sources");
    site.home.apply(RIGHTS).await?;
    site.has(&[NEAR], &[]).await?;
    let kubeconfig = std::fs::read_to_string(&site.away_config)?;
    let secret = |keys: &str| format!("{SECRET}stringData: {{{keys}}}\n");
    let quoted = serde_json::to_string(&kubeconfig)?;
    site.home.apply(&secret(&format!("away: {quoted}, other: nonsense"))).await?;
    site.has(&[NEAR, FAR], &["other"]).await?;
    site.resolved("True", "SourceLost", &["source other could not be read yet", "key other of the Secret"])
        .await?;
    // Of a Secret that is gone, the sources stay.
    manifest::delete(&site.client, SECRET).await?;
    shows(&site.own, site.metrics, &[("portreeve_hub_refused_sources", 1.0)]).await?;
    site.has(&[NEAR, FAR], &["other"]).await?;
    site.home.apply(&secret("other: nonsense")).await?;
    site.has(&[NEAR], &["other"]).await?;
    site.home.apply(&secret(&format!("away: {quoted}"))).await?;
    site.has(&[NEAR, FAR], &["other"]).await
}
