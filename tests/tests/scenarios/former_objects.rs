//! IngressListeners and EgressListeners that an API server stored under the definitions of the replaced control plane, which
//! had no schema: in each of its spellings, and without sense.

use std::fs;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::core::ApiResource;
use portreeve_api::d::egress_listener::EgressListener;
use portreeve_api::d::ingress_listener::IngressListener;
use portreeve_tests::greeter::{Greeter, greeting};
use portreeve_tests::node_names::{loopback, member};
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::{kustomize, wait};
use serde_json::{Value, json};

const INGRESS: &str = "ingresslisteners.ingresslistener.envoy.uw.systems";
const EGRESS: &str = "egresslisteners.egresslistener.envoy.uw.systems";

/// A stored object: whether it is an IngressListener, its name, and the fields of its `spec`.
type Stored = (bool, &'static str, &'static str);

/// Objects in each spelling, which are served as far as their Secrets exist.
const GOOD: [Stored; 5] = [
    (true, "flat", "{nodename: bob, listenport: 8080, targetport: 6000, rbacallowcluster: alice}"),
    (
        false,
        "flat",
        "{nodename: alice, listenport: 9090, targetcluster: bob, targetport: 8080, lbpolicy: tcp}",
    ),
    (
        true,
        "misspelt",
        "{nodename: bob, listenport: 8081, targetport: 6000, rbac: {cluster: alice, Sans: [spiffe://a]}, \
         tls: {secret: web, validation: web}}",
    ),
    (
        true,
        "nested",
        "{nodename: bob, listenport: 8082, targetport: 6000, rbac: {cluster: alice, sans: []}, tls: {secret: ''}, layer: http}",
    ),
    (
        false,
        "nested",
        "{nodename: alice, listenport: 9091, target: {cluster: bob, port: 8080}, lbpolicy: '', more: 1}",
    ),
];

/// Objects that no proxy gets.
const BAD: [Stored; 7] = [
    (true, "text", "{nodename: bob, listenport: '8083', targetport: 6000}"),
    (true, "portless", "{nodename: bob, listenport: 8083}"),
    (true, "nameless", "{listenport: 8083, targetport: 6000}"),
    (true, "listed", "{nodename: bob, listenport: 8083, targetport: 6000, rbac: []}"),
    (true, "unproven", "{nodename: bob, listenport: 8083, targetport: 6000, rbac: {sans: [a]}}"),
    (false, "nowhere", "{nodename: alice, listenport: 9092}"),
    (false, "empty", "null"),
];

fn resource(ingress: bool) -> ApiResource {
    if ingress {
        ApiResource::erase::<IngressListener>(&())
    } else {
        ApiResource::erase::<EgressListener>(&())
    }
}

/// Replaces both definitions by those of the replaced control plane, in the form that API servers of today have for a
/// definition without a schema.
async fn install_former_definitions(town: &Town) -> Result<()> {
    let crds = Api::<CustomResourceDefinition>::all(town.client.clone());
    for name in [INGRESS, EGRESS] {
        let mut definition = crds.get(name).await?;
        let version = definition.spec.versions.first_mut().context("a version")?;
        version.schema = serde_json::from_value(
            json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}),
        )?;
        (version.subresources, version.additional_printer_columns) = (None, None);
        crds.replace(name, &PostParams::default(), &definition).await?;
    }
    Ok(())
}

/// Installs the shipped definitions as `kubectl replace -f` does.
async fn replace_definitions(town: &Town) -> Result<()> {
    let crds = Api::<CustomResourceDefinition>::all(town.client.clone());
    for name in [INGRESS, EGRESS] {
        let file = kustomize::deploy().join("crds").join(format!("{name}.yaml"));
        let text = fs::read_to_string(&file).context(file.display().to_string())?;
        let mut shipped: CustomResourceDefinition = serde_yaml::from_str(&text)?;
        shipped.metadata.resource_version = crds.get(name).await?.metadata.resource_version;
        crds.replace(name, &PostParams::default(), &shipped).await?;
    }
    Ok(())
}

async fn store(town: &Town, (ingress, name, spec): Stored) -> Result<()> {
    let resource = resource(ingress);
    let spec: Value = serde_yaml::from_str(spec)?;
    let mut object = DynamicObject::new(name, &resource).data(json!({"spec": spec}));
    if object.data["spec"].is_null() {
        object.data = json!({});
    }
    let api = Api::<DynamicObject>::namespaced_with(town.client.clone(), "default", &resource);
    // The former definition is in force a moment after it is installed.
    let stored = || async {
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => true,
            Err(kube::Error::Api(error)) => error.reason == "AlreadyExists",
            Err(_) => false,
        }
    };
    wait::until(&format!("{name} to be stored"), BOUND, stored).await
}

/// Returns the message of the object's condition Accepted, if that is True.
async fn accepted(town: &Town, (ingress, name, _): Stored) -> Option<String> {
    let resource = resource(ingress);
    let api = Api::<DynamicObject>::namespaced_with(town.client.clone(), "default", &resource);
    let stored = api.get(name).await.ok()?;
    let conditions = stored.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let accepted = conditions.iter().find(|one| one["type"] == "Accepted" && one["status"] == "True")?;
    accepted["message"].as_str().map(str::to_owned)
}

/// Returns the note of the event that tells the conditions of an object.
async fn told(town: &Town, (ingress, name, _): Stored) -> Option<String> {
    let kind = resource(ingress).kind;
    let events = Api::<Event>::namespaced(town.client.clone(), "default");
    let all = events.list(&ListParams::default()).await.ok()?;
    let of = |event: &Event| event.regarding.clone().unwrap_or_default();
    let mut own = all
        .into_iter()
        .filter(|event| of(event).kind.as_ref() == Some(&kind) && of(event).name.as_deref() == Some(name));
    own.find_map(|event| event.note.filter(|note| note.contains("spec")))
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_from_before_the_schema_are_served_beside_others_without_sense() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    install_former_definitions(&town).await?;
    for object in GOOD.into_iter().chain(BAD) {
        store(&town, object).await?;
    }
    replace_definitions(&town).await?;
    let binding = kustomize::deploy().join("components/secrets/binding.yaml");
    town.apply(&fs::read_to_string(binding)?).await?;
    town.start_hub()?;
    town.start_agent(0)?;
    let (bob, alice) = (member(&town, (1, 1), "bob").await?, member(&town, (1, 2), "alice").await?);
    let _application = Greeter::start(&bob.netns, "bob", loopback(6000))?;
    for port in [9090, 9091] {
        let answered =
            || matches!(greeting(&alice.netns, loopback(port)), Ok(Some((name, _))) if name == "bob");
        wait::wait_until(&format!("bob at port {port}"), BOUND, answered)?;
    }
    for object in GOOD {
        let what = format!("{} to be accepted", object.1);
        let text = wait::eventually(&what, BOUND, || accepted(&town, object)).await?;
        println!("{}: {text}", object.1);
    }
    for (object, field) in [(BAD[0], "spec.listenport"), (BAD[1], "spec.targetport"), (BAD[3], "spec.rbac")] {
        let what = format!("an event of {}", object.1);
        let note = wait::eventually(&what, BOUND, || told(&town, object)).await?;
        ensure!(note.contains(field), "{}: {note}", object.1);
    }
    let log = town.hub.as_ref().context("a hub")?.log();
    for (_, name, _) in BAD {
        let tried = log
            .lines()
            .filter(|line| line.contains("can't be written") && line.contains(&format!("name=\"{name}\"")));
        ensure!(tried.count() <= 1, "the status of {name} is tried again and again");
    }
    ensure!(!log.contains("can't write conditions, trying again"), "a status is tried again and again");
    let mine = alice.admin.listeners().await?;
    ensure!(mine.len() == 2, "flat and nested: {mine:?}");
    let listeners = bob.admin.listeners().await?;
    ensure!(listeners.len() == 2, "flat and nested without TLS: {listeners:?}");
    Ok(())
}
