//! What programs wait for that create objects of the l7mp mesh: an annotation on each object that is applied, and the entry in
//! the status of its owners.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, ResourceExt};
use portreeve_api::b::virtual_service::VirtualService;
use portreeve_tests::l7mp::{Proxy, Settings};
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::wait;
use serde_json::{Value, json};

const ANNOTATION: &str = "portreeve.dev/applied-generation";

/// The name of an object in the proxy.
fn full(name: &str) -> String {
    format!("/l7mp.io/v1/VirtualService/default/{name}")
}

/// A VirtualService whose sessions are echoed.
fn echo(name: &str, app: &str, port: u16, more: Value) -> String {
    object(&json!({"name": name, "namespace": "default"}), app, port, more)
}

/// The same, for the workers, with owners that are told.
fn child(more: Value, owners: &Value) -> String {
    let meta = json!({"name": "call", "namespace": "default", "ownerReferences": owners});
    object(&meta, "worker", 8003, more).replace("\"selector\"", "\"updateOwners\":true,\"selector\"")
}

fn object(meta: &Value, app: &str, port: u16, more: Value) -> String {
    let mut rule = json!({"action": {"route": {"destination": {"spec": {"Echo": {}}}}}});
    if !more.is_null() {
        rule["match"] = more;
    }
    let spec = json!({
        "selector": {"matchLabels": {"app": app}},
        "listener": {"spec": {"UDP": {"port": port}}, "rules": [rule]},
    });
    format!(
        "{}\n---\n",
        json!({"apiVersion": "l7mp.io/v1", "kind": "VirtualService", "metadata": meta, "spec": spec})
    )
}

fn services(town: &Town) -> Api<VirtualService> {
    Api::namespaced(town.client.clone(), "default")
}

fn annotation(object: &VirtualService) -> Option<&str> {
    object.metadata.annotations.as_ref()?.get(ANNOTATION).map(String::as_str)
}

/// Waits until an object has this annotation, and returns the object.
async fn applied(town: &Town, name: &str, generation: &str) -> Result<VirtualService> {
    let what = format!("generation {generation} of {name} to be applied");
    wait::seen(services(town), wait::named(name), (&what, BOUND), |object: &VirtualService| {
        (annotation(object) == Some(generation)).then(|| object.clone())
    })
    .await
}

/// Waits until an object has a condition with one of these reasons, and returns the object.
async fn told(town: &Town, name: &str, type_: &str, reasons: &[&str]) -> Result<VirtualService> {
    let what = format!("{type_} of {name}: {reasons:?}");
    wait::seen(services(town), wait::named(name), (&what, BOUND), |object: &VirtualService| {
        let conditions = object.status.as_ref().map(|status| status.conditions.as_slice());
        let is = |one: &Condition| one.type_ == type_ && reasons.contains(&one.reason.as_str());
        conditions.unwrap_or_default().iter().any(is).then(|| object.clone())
    })
    .await
}

/// A condition of a rule.
fn above(port: u16) -> Value {
    json!({"op": "more", "path": "/UDP/src_port", "value": port})
}

/// Whether the objects of this type in the proxy hold a text.
async fn holds(proxy: &Proxy, objects: &str, text: &str) -> Result<bool> {
    Ok(proxy.get(objects).await?.to_string().contains(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn object_is_annotated_once_every_proxy_confirmed_its_newest_generation() -> Result<()> {
    let town = Town::start(1).await?;
    let worker = town.mesh_worker(1, 1, "app: worker").await?;
    town.apply(&echo("call", "worker", 8001, Value::Null)).await?;
    let waiting = told(&town, "call", "Programmed", &["Unreachable"]).await?;
    ensure!(annotation(&waiting).is_none(), "{:?}", waiting.metadata.annotations);

    let proxy = Proxy::start(&worker.netns, Settings { strict: true, ..Settings::default() })?;
    applied(&town, "call", "1").await?;
    ensure!(holds(&proxy, "listeners", "8001").await?, "it is not opened");
    town.apply(&echo("call", "worker", 8001, above(5999))).await?;
    let call = applied(&town, "call", "2").await?;
    ensure!(holds(&proxy, "rules", "5999").await?, "the proxy has the former rule");

    // A refused object is not annotated, and one that no proxy has to confirm is.
    town.apply(&echo("refused", "worker", 8003, json!({"op": "no such operator"}))).await?;
    told(&town, "refused", "Accepted", &["Invalid"]).await?;
    town.apply(&echo("nobody", "nobody", 8004, Value::Null)).await?;
    applied(&town, "nobody", "1").await?;
    ensure!(annotation(&services(&town).get("refused").await?).is_none(), "it is refused");
    let later = services(&town).get("call").await?;
    ensure!(
        later.metadata.resource_version == call.metadata.resource_version,
        "the hub wrote again what was there: {:?}",
        later.metadata
    );
    Ok(())
}

/// A definition of a kind with a status of any content.
fn definition(kind: &str) -> String {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let plural = format!("{}s", kind.to_lowercase());
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.media.example")},
        "spec": {
            "group": "media.example", "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": any, "status": any}}},
            }],
        },
    });
    format!("{definition}\n---\n")
}

/// The rights that `deploy/README.md` names for a kind of owner.
const RIGHTS: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: portreeve-hub-owners}
rules:
- {apiGroups: [media.example], resources: [calls], verbs: [get]}
- {apiGroups: [media.example], resources: [calls/status], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: portreeve-hub-owners}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: portreeve-hub-owners}
subjects:
- {kind: ServiceAccount, name: portreeve-hub, namespace: portreeve}
";

/// An object of a custom kind.
fn custom(kind: &str, name: &str) -> String {
    format!(
        "apiVersion: media.example/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: default}}\n---\n"
    )
}

fn customs(town: &Town, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "media.example".into(),
        version: "v1".into(),
        api_version: "media.example/v1".into(),
        kind: kind.into(),
        plural: format!("{}s", kind.to_lowercase()),
    };
    Api::namespaced_with(town.client.clone(), "default", &resource)
}

fn reference(api_version: &str, kind: &str, (name, uid): (&str, &str)) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid})
}

/// Waits until a VirtualService has this entry of its child `call`.
async fn entry(town: &Town, owner: &str, wanted: Option<i64>) -> Result<VirtualService> {
    let what = format!("{wanted:?} of the child in the status of {owner}");
    wait::seen(services(town), wait::named(owner), (&what, BOUND), |object: &VirtualService| {
        let children = object.status.as_ref().and_then(|status| status.children.as_ref());
        let found = children.and_then(|children| children.applied.get(&full("call")).copied());
        (found == wanted).then(|| object.clone())
    })
    .await
}

/// Waits until an object of a custom kind has this entry of its child `call`.
async fn custom_entry(town: &Town, owner: &str, wanted: Value) -> Result<()> {
    let (api, path) = (customs(town, "Call"), full("call"));
    wait::until(&format!("{wanted} in the status of {owner}"), BOUND, || async {
        api.get(owner).await.is_ok_and(|found| found.data["status"]["children"]["applied"][&path] == wanted)
    })
    .await
}

/// The texts of the events on owners that can't be told.
async fn notes(town: &Town) -> Vec<String> {
    let events = Api::<Event>::namespaced(town.client.clone(), "default");
    let events = events.list(&ListParams::default()).await.map(|listed| listed.items).unwrap_or_default();
    let ours = events.into_iter().filter(|event| event.reason.as_deref() == Some("OwnerNotTold"));
    ours.filter_map(|event| event.note).collect()
}

/// A uid that no object has.
fn made_up(number: u8) -> String {
    format!("00000000-0000-0000-0000-00000000000{number}")
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_are_told_of_an_applied_child_until_it_is_deleted() -> Result<()> {
    let town = Town::start(1).await?;
    let worker = town.mesh_worker(1, 1, "app: worker").await?;
    let _proxy = Proxy::start(&worker.netns, Settings { strict: true, ..Settings::default() })?;
    town.apply(&[definition("Call"), definition("Note"), RIGHTS.into()].concat()).await?;
    let own = [echo("owner", "nobody", 8001, Value::Null), echo("namesake", "nobody", 8002, Value::Null)];
    let others = [custom("Call", "a"), custom("Note", "n")];
    let stored = || async { town.apply(&others.concat()).await.is_ok() };
    wait::until("the custom kinds to be served", BOUND, stored).await?;
    town.apply(&own.concat()).await?;
    let uid = |object: &DynamicObject| object.uid().unwrap_or_default();
    let (call, note) = (customs(&town, "Call").get("a").await?, customs(&town, "Note").get("n").await?);
    let owner = services(&town).get("owner").await?.uid().unwrap_or_default();
    let owners = json!([
        reference("l7mp.io/v1", "VirtualService", ("owner", &owner)),
        reference("l7mp.io/v1", "VirtualService", ("namesake", &made_up(1))),
        reference("l7mp.io/v1", "Target", ("nobody", &made_up(2))),
        reference("media.example/v1", "Call", ("a", &uid(&call))),
        reference("media.example/v1", "Note", ("n", &uid(&note))),
        reference("nowhere.example/v1", "Nothing", ("x", &made_up(3))),
    ]);

    town.apply(&child(Value::Null, &owners)).await?;
    applied(&town, "call", "1").await?;
    entry(&town, "owner", Some(1)).await?;
    custom_entry(&town, "a", json!(1)).await?;
    town.apply(&child(above(1), &owners)).await?;
    entry(&town, "owner", Some(2)).await?;
    custom_entry(&town, "a", json!(2)).await?;

    // The hub's own writes leave the entry alone.
    town.apply(&echo("owner", "nobody", 8005, Value::Null)).await?;
    applied(&town, "owner", "2").await?;
    let told = entry(&town, "owner", Some(2)).await?;
    let conditions = told.status.unwrap_or_default().conditions;
    ensure!(conditions.iter().any(|one| one.observed_generation == Some(2)), "{conditions:?}");

    // Owners that can't be told are named where the author of the object looks.
    for part in ["grant it get of notes.media.example and patch", "the API server has no such kind"] {
        let found = || async { notes(&town).await.into_iter().find(|note| note.contains(part)) };
        println!("{}", wait::eventually(part, BOUND, found).await?);
    }
    ensure!(notes(&town).await.len() == 2, "{:?}", notes(&town).await);
    ensure!(entry(&town, "namesake", None).await?.metadata.generation == Some(1));

    town.delete(&child(above(1), &owners)).await?;
    entry(&town, "owner", None).await?;
    custom_entry(&town, "a", Value::Null).await?;
    let log = town.hub.as_ref().context("the hub runs")?.log();
    let lines: Vec<&str> =
        log.lines().filter(|line| line.contains("owners of this kind can't be told")).collect();
    ensure!(lines.len() == 2, "one line for each kind: {lines:?}");
    ensure!(!log.contains("can't tell an owner"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_others_changed_or_left_behind_are_put_right() -> Result<()> {
    let mut town = Town::start(1).await?;
    town.apply(&echo("owner", "nobody", 8001, Value::Null)).await?;
    let owner = services(&town).get("owner").await?.uid().unwrap_or_default();
    let call = child(Value::Null, &json!([reference("l7mp.io/v1", "VirtualService", ("owner", &owner))]));
    town.apply(&call).await?;
    entry(&town, "owner", Some(1)).await?;
    let none = Patch::Merge(json!({"status": {"children": null}}));
    services(&town).patch_status("owner", &PatchParams::default(), &none).await?;
    entry(&town, "owner", Some(1)).await?;

    town.hub.take().context("the hub runs")?.kill();
    town.delete(&call).await?;
    ensure!(entry(&town, "owner", Some(1)).await?.status.is_some(), "nobody has removed it");
    town.start_hub()?;
    entry(&town, "owner", None).await.map(drop)
}
