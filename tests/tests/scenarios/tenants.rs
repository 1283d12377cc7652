//! A hub that is restricted to some namespaces serves and writes only those, and needs no rights in others.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use portreeve_api::a::virtual_service::VirtualService;
use portreeve_api::own::node_proxy::NodeProxy;
use portreeve_tests::process::Process;
use portreeve_tests::town::{BOUND, Town, listeners, serving_at};
use portreeve_tests::udp::Echo;
use portreeve_tests::virtual_service::{Host, Service};
use portreeve_tests::{manifest, path, under_test, wait};

use crate::chart;

const APP: u16 = 6000;
/// The hub's own namespace, two that it serves, and one that it doesn't.
const NAMESPACES: [&str; 4] = ["tenant", "calls", "more", "other"];
/// A NodeProxy that allows all namespaces. This hub must not write its status.
const OPEN: &str = "
apiVersion: portreeve.dev/v1alpha1
kind: NodeProxy
metadata: {name: open}
spec: {nodeSelector: {role: nothing}, labels: {app: open}}
";
const ALLOWED: &str = "  allowedNamespaces: {from: List, names: [calls, more]}\n";

/// Starts a hub in `tenant` for two namespaces, with the rights in the chart.
async fn start_hub(town: &Town) -> Result<Process> {
    for namespace in NAMESPACES {
        town.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}")).await?;
    }
    town.apply(&chart::rights_of_hub("tenant", &["hub.namespaces={calls,more}", "hub.epic.enabled=true"])?)
        .await?;
    let account = ("tenant", "portreeve-hub");
    let token = town.control.unbound_token(account, "https://kubernetes.default.svc").await?;
    let mut command = under_test::command_in(town.bed.root(), "hub")?;
    command.args(["--listen", &SocketAddr::new(town.bed.root().v4(), 0).to_string(), "--grace", "2"]);
    command.args([
        "--identity",
        "tenant",
        "--namespace",
        "tenant",
        "--namespaces",
        "calls,more",
        "--epic-pods",
    ]);
    command.arg("--kubeconfig").arg(town.control.kubeconfig_with("tenant", &token)?);
    command.args(&town.trust.hub_args).env("NO_COLOR", "1");
    Process::spawn("tenant", &command)
}

/// Creates a ready pod `w` in a namespace, with an echo named after the namespace.
async fn worker(town: &Town, number: u8, namespace: &str) -> Result<Echo> {
    let netns = town.bed.pod(1, number)?;
    let meta = format!("metadata: {{name: w, namespace: {namespace}, labels: {{app: worker}}}}");
    let spec = "spec: {nodeName: n1, containers: [{name: c, image: i}]}";
    town.apply(&format!("apiVersion: v1\nkind: Pod\n{meta}\n{spec}\n")).await?;
    let ready = "conditions: [{type: Ready, status: 'True'}]";
    let status =
        format!("status: {{phase: Running, podIP: {0}, podIPs: [{{ip: {0}}}], {ready}}}", netns.v4());
    manifest::apply_status(&town.client, &format!("apiVersion: v1\nkind: Pod\n{meta}\n{status}\n")).await?;
    Echo::start(&netns, namespace, SocketAddr::new(netns.v4(), APP))
}

/// Returns an object `call` in a namespace, with one listener named after the namespace.
fn call(namespace: &str, port: u16) -> String {
    let service =
        Service::new("call", "app: envoy-ingress").udp(namespace, port, &[Host::Pods("app: worker")], APP);
    service.yaml().replace("namespace: default", &format!("namespace: {namespace}"))
}

async fn programmed(town: &Town, namespace: &str) -> Result<()> {
    let api = Api::<VirtualService>::namespaced(town.client.clone(), namespace);
    let what = format!("Programmed=True of {namespace}/call");
    wait::seen(api, wait::named("call"), (&what, BOUND), |object| {
        let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
        let now = object.metadata.generation;
        let found = conditions.find(|one| one.type_ == "Programmed" && one.observed_generation == now)?;
        (found.status == "True").then_some(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_of_some_namespaces_serves_and_writes_in_these_alone_by_rights_in_these_alone() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    let mut hub = start_hub(&town).await?;
    town.start_agent_at(0, serving_at(&mut hub)?)?;
    town.apply(OPEN).await?;
    town.gateways_with(ALLOWED).await?;
    let mut echoes = Vec::new();
    for (number, namespace) in [(1, "other"), (2, "calls"), (3, "more")] {
        echoes.push(worker(&town, number, namespace).await?);
        town.apply(&call(namespace, 5000 + u16::from(number))).await?;
    }
    let (gateway, address) = (town.nodes[0].gateway(), town.nodes[0].address());
    for (namespace, port) in [("calls", 5002), ("more", 5003)] {
        programmed(&town, namespace).await?;
        path::opens(town.bed.root(), SocketAddr::new(address, port), namespace, BOUND)?;
    }
    listeners(&gateway, &["calls", "more"], BOUND).await?;

    // A change made after the other namespace's object is served, so that object was skipped.
    town.apply(&call("calls", 5004)).await?;
    programmed(&town, "calls").await?;
    path::opens(town.bed.root(), SocketAddr::new(address, 5004), "calls", BOUND)?;
    let other = Api::<VirtualService>::namespaced(town.client.clone(), "other").get("call").await?;
    ensure!(other.status.is_none_or(|status| status.conditions.is_empty()), "another namespace's object");
    let proxies = Api::<NodeProxy>::all(town.client.clone());
    let what = "Programmed=True of the gateway";
    wait::seen(proxies.clone(), wait::named("gateway"), (what, BOUND), |proxy| {
        let mut conditions = proxy.status.iter().flat_map(|status| &status.conditions);
        conditions.any(|one| one.type_ == "Programmed" && one.status == "True").then_some(())
    })
    .await?;
    let open = proxies.get("open").await?.status;
    ensure!(open.as_ref().is_none_or(|status| status.conditions.is_empty()), "{open:?}");
    let lease = Api::<Lease>::namespaced(town.client.clone(), "tenant").get("portreeve-hub").await?;
    ensure!(lease.spec.and_then(|spec| spec.holder_identity).as_deref() == Some("tenant"));

    let calls = Api::<VirtualService>::namespaced(town.client.clone(), "calls");
    calls.delete("call", &Default::default()).await?;
    listeners(&gateway, &["more"], BOUND).await?;
    let log = hub.log();
    // A busy API server may still be preparing the storage of a kind; its watch is tried again.
    let failures =
        log.lines().filter(|line| line.contains("failed") && !line.contains("storage is (re)initializing"));
    ensure!(!log.contains("forbidden") && failures.count() == 0, "{log}");
    Ok(())
}
