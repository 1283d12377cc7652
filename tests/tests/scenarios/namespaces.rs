//! A NodeProxy that allows namespaces with a label: adding the label opens it, removing it closes it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use portreeve_tests::path;
use portreeve_tests::town::{BOUND, Town, listeners};
use portreeve_tests::udp::{Echo, Flow};
use portreeve_tests::virtual_service::{Host, Service, said};
use serde_json::{Value, json};

const APP: u16 = 6000;

/// The namespaces that the gateway allows.
const ALLOWED: &str = "  allowedNamespaces:
    from: Selector
    selector:
      matchLabels: {team: red}
      matchExpressions:
      - {key: closed, operator: DoesNotExist}
";

async fn label(town: &Town, labels: Value) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    let api = Api::<Namespace>::all(town.client.clone());
    api.patch("default", &PatchParams::default(), &patch).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn label_of_a_namespace_opens_a_node_proxy_and_its_removal_closes_it_with_the_reason() -> Result<()> {
    let mut town = Town::start(1).await?;
    town.gateways_with(ALLOWED).await?;
    let gateway = town.nodes[0].gateway();
    gateway.wait_ready(BOUND).await?;
    let worker = town.worker(1, 1, "app: worker", false).await?;
    let _app = Echo::start(&worker.netns, &worker.name, SocketAddr::new(worker.ip(), APP))?;
    let service =
        Service::new("call", "app: envoy-ingress").udp("l", 5001, &[Host::Pods("app: worker")], APP);
    town.apply(&service.yaml()).await?;
    let (refused, carried) = (("Programmed", "False"), ("Programmed", "True"));
    let words = "NodeProxy gateway, whose allowedNamespaces leave its namespace out";
    let message = said(&town.client, "call", refused, BOUND).await?;
    ensure!(message.starts_with("NoProxy") && message.contains(words), "{message}");
    listeners(&gateway, &[], BOUND).await?;

    label(&town, json!({"team": "red"})).await?;
    let at = SocketAddr::new(town.nodes[0].address(), 5001);
    path::opens(town.bed.root(), at, "w1-1", BOUND)?;
    said(&town.client, "call", carried, BOUND).await?;

    // Allowing another namespace, or a new hub, doesn't affect it.
    let flow = Flow::to(at).sockets(4).rate(80).lasting(Duration::from_secs(300)).start(town.bed.root())?;
    town.apply("{apiVersion: v1, kind: Namespace, metadata: {name: more, labels: {team: red}}}").await?;
    town.hub.take();
    town.start_hub()?;
    town.apply(&service.clone().udp("more", 5002, &[Host::Pods("app: worker")], APP).yaml()).await?;
    path::opens(town.bed.root(), SocketAddr::new(at.ip(), 5002), "w1-1", BOUND)?;
    let report = flow.stop()?;
    report.lossless()?;
    ensure!(report.lines.iter().all(|line| line.upstreams().len() == 1), "a session moved: {report}");

    label(&town, json!({"closed": ""})).await?;
    path::closes(town.bed.root(), at, BOUND)?;
    listeners(&gateway, &[], BOUND).await?;
    let message = said(&town.client, "call", refused, BOUND).await?;
    ensure!(message.starts_with("NoProxy") && message.contains(words), "{message}");
    label(&town, json!({"closed": null})).await?;
    path::opens(town.bed.root(), at, "w1-1", BOUND)?;
    Ok(())
}
