//! Objects that are older than a rule of their CRD, and CRDs that are older than the agent.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use portreeve_api::a::virtual_service::VirtualService;
use portreeve_api::own::node_report::NodeReport;
use portreeve_hub::subresource::has_status;
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::udp::Echo;
use portreeve_tests::virtual_service::{Host, Service, said};
use portreeve_tests::{path, wait};
use serde_json::{Value, json};

const CRD: &str = "virtualservices.servicemesh.l7mp.io";
const REPORTS: &str = "nodereports.portreeve.dev";
/// The schema of a report's fields of a proxy.
const PROXY_FIELDS: &str =
    "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/proxies/items/properties";
/// The schema of a listener's name in the definition.
const LISTENER_NAME: &str =
    "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/listeners/items/properties/name";

/// An object whose names are rejected in new objects today, as an API server stored it before the rule.
#[tokio::test]
async fn object_from_before_a_rule_is_served_and_can_be_changed_and_a_new_one_is_refused() -> Result<()> {
    let town = Town::start(1).await?;
    town.gateways().await?;
    let worker = town.worker(1, 1, "app: worker", false).await?;
    let _app = Echo::start(&worker.netns, &worker.name, SocketAddr::new(worker.ip(), 6000))?;
    let odd = |name: &str| {
        Service::new(name, "app: envoy-ingress")
            .udp("'a, b'", 5001, &[Host::Pods("app: worker")], 6000)
            .yaml()
    };
    let crds = Api::<CustomResourceDefinition>::all(town.client.clone());
    let today = crds.get(CRD).await?;
    let mut before = serde_json::to_value(&today)?;
    let name =
        before.pointer_mut(LISTENER_NAME).and_then(Value::as_object_mut).context("the listener's name")?;
    ensure!(name.remove("pattern").is_some(), "the name has a pattern today");
    let before: CustomResourceDefinition = serde_json::from_value(before)?;
    crds.replace(CRD, &PostParams::default(), &before).await?;
    let stored = || async { town.apply(&odd("old")).await.is_ok() };
    wait::until("the rule to be gone", BOUND, stored).await?;

    let mut present = crds.get(CRD).await?;
    present.spec = today.spec;
    crds.replace(CRD, &PostParams::default(), &present).await?;
    // A new object each time, because an object that is stored before the rule is restored may break it from then on.
    // Each has another port, because of two objects created in the same second, the one whose name sorts first gets the
    // port.
    let attempts = AtomicUsize::new(0);
    let refused = || async {
        let new = format!("new-{}", attempts.fetch_add(1, Ordering::Relaxed));
        town.apply(&odd(&new).replace("5001", "5003"))
            .await
            .is_err_and(|error| format!("{error:?}").contains("name"))
    };
    wait::until("a new object to be refused", BOUND, refused).await?;

    println!("Accepted: {}", said(&town.client, "old", ("Accepted", "True"), BOUND).await?);
    println!("Programmed: {}", said(&town.client, "old", ("Programmed", "True"), BOUND).await?);
    path::opens(town.bed.root(), SocketAddr::new(town.nodes[0].address(), 5001), &worker.name, BOUND)?;
    let listeners = town.nodes[0].gateway().listeners().await?;
    ensure!(listeners.iter().any(|(name, _)| name == "A/default/old/a%2C%20b"), "{listeners:?}");
    town.apply(&odd("old").replace("5001", "5002")).await?;
    path::opens(town.bed.root(), SocketAddr::new(town.nodes[0].address(), 5002), &worker.name, BOUND)?;
    Ok(())
}

/// Returns whether the API server refuses a report with this field of a proxy, because its definition lacks the field.
async fn lacks_field(client: &Client, field: &str) -> bool {
    let resource = ApiResource::erase::<NodeReport>(&());
    let reports = Api::<DynamicObject>::all_with(client.clone(), &resource);
    let status = json!({"proxies": [{"name": "proxy", field: "2026-01-01T00:00:00Z"}]});
    let probe = DynamicObject::new("probe", &resource).data(json!({"status": status}));
    let params = PatchParams { dry_run: true, ..PatchParams::apply("test") };
    let applied = reports.patch("probe", &params, &Patch::Apply(&probe)).await;
    applied.is_err_and(|error| format!("{error:?}").contains(field))
}

#[tokio::test(flavor = "multi_thread")]
async fn report_is_written_without_the_fields_that_an_older_definition_lacks() -> Result<()> {
    let town = Town::start(1).await?;
    let crds = Api::<CustomResourceDefinition>::all(town.client.clone());
    let today = crds.get(REPORTS).await?;
    let mut before = serde_json::to_value(&today)?;
    let fields =
        before.pointer_mut(PROXY_FIELDS).and_then(Value::as_object_mut).context("a proxy's fields")?;
    for field in ["started", "rssBytes", "cpuSeconds", "ackedVersions"] {
        ensure!(fields.remove(field).is_some(), "{field} is in the definition today");
    }
    let before: CustomResourceDefinition = serde_json::from_value(before)?;
    crds.replace(REPORTS, &PostParams::default(), &before).await?;
    // The former definition is in force a moment after it is installed.
    let in_force = || async { lacks_field(&town.client, "started").await };
    wait::until("the former definition to be in force", BOUND, in_force).await?;
    town.gateways().await?;
    let reported = || async {
        let report = Api::<NodeReport>::all(town.client.clone()).get("n1").await.ok()?;
        report.status?.proxies.into_iter().find(|proxy| proxy.pid.is_some())
    };
    let proxy = wait::eventually("the running gateway in the report", BOUND, reported).await?;
    ensure!(proxy.started.is_none(), "the definition had the field still");
    let log = town.nodes[0].agent.as_ref().context("the agent runs")?.log();
    ensure!(log.contains("the definition of NodeReports is older than this agent"), "{log}");

    let mut present = crds.get(REPORTS).await?;
    present.spec = today.spec;
    crds.replace(REPORTS, &PostParams::default(), &present).await?;
    let whole = || async { reported().await.is_some_and(|proxy| proxy.started.is_some()) };
    wait::until("the whole report", BOUND * 2, whole).await
}

#[tokio::test(flavor = "multi_thread")]
async fn kind_without_status_is_served_and_told_in_events_until_its_definition_gets_one() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    let crds = Api::<CustomResourceDefinition>::all(town.client.clone());
    let today = crds.get(CRD).await?;
    let mut before = today.clone();
    ensure!(before.spec.versions[0].subresources.take().is_some(), "the definition has a status today");
    crds.replace(CRD, &PostParams::default(), &before).await?;
    let resource = ApiResource::erase::<VirtualService>(&());
    let gone = || async { !has_status(&town.client, &resource).await.unwrap_or(true) };
    wait::until("the status to be gone", BOUND, gone).await?;

    town.start_hub()?;
    town.start_agent(0)?;
    town.gateways().await?;
    let worker = town.worker(1, 1, "app: worker", false).await?;
    let _app = Echo::start(&worker.netns, &worker.name, SocketAddr::new(worker.ip(), 6000))?;
    let service =
        Service::new("call", "app: envoy-ingress").udp("l", 5001, &[Host::Pods("app: worker")], 6000);
    town.apply(&service.yaml()).await?;
    path::opens(town.bed.root(), SocketAddr::new(town.nodes[0].address(), 5001), &worker.name, BOUND)?;
    let notes = || async {
        let listed =
            Api::<Event>::namespaced(town.client.clone(), "default").list(&ListParams::default()).await;
        let of_call =
            |event: &Event| event.regarding.as_ref().is_some_and(|of| of.name.as_deref() == Some("call"));
        let events = listed.map(|listed| listed.items).unwrap_or_default();
        events.into_iter().filter(of_call).filter_map(|event| event.note).collect::<Vec<_>>()
    };
    let programmed = || async {
        let parts = ["Accepted=True", "Programmed=True", "Healthy=True"];
        notes().await.into_iter().find(|note| parts.iter().all(|part| note.contains(part)))
    };
    println!("{}", wait::eventually("the event of a programmed object", BOUND, programmed).await?);
    let stored = Api::<VirtualService>::namespaced(town.client.clone(), "default").get("call").await?;
    ensure!(stored.status.is_none(), "{:?}", stored.status);
    let told = notes().await.len();

    let mut present = crds.get(CRD).await?;
    present.spec = today.spec;
    crds.replace(CRD, &PostParams::default(), &present).await?;
    println!("Programmed: {}", said(&town.client, "call", ("Programmed", "True"), BOUND).await?);
    ensure!(notes().await.len() == told, "{:?}", notes().await);
    let log = town.hub.as_ref().context("the hub runs")?.log();
    let install = format!("kubectl apply --server-side --force-conflicts -f deploy/crds/{CRD}.yaml");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("has no status subresource")).collect();
    ensure!(lines.len() == 1 && lines[0].contains(&install), "{lines:?}");
    ensure!(!log.contains("can't write conditions"), "{log}");
    Ok(())
}
