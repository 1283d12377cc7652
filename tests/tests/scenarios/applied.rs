//! What programs wait for that create objects of the l7mp mesh: an annotation on each object that is applied.

use anyhow::{Result, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use portreeve_api::b::virtual_service::VirtualService;
use portreeve_tests::l7mp::{Proxy, Settings};
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::wait;
use serde_json::{Value, json};

const ANNOTATION: &str = "portreeve.dev/applied-generation";

/// A VirtualService whose sessions are echoed.
fn echo(name: &str, app: &str, port: u16, more: Value) -> String {
    object(&json!({"name": name, "namespace": "default"}), app, port, more)
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
