//! Objects of API C on a real API server: what it stores unchanged, what its definitions refuse and in which words. The
//! samples are those of the API's own tests.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::{DynamicObject, Status};
use kube::{Api, Client, ResourceExt as _};
use portreeve_api::c::labels;
use portreeve_api::c::load_balancer::LoadBalancer;
use portreeve_api::c::remote_endpoint::RemoteEndpoint;
use portreeve_hub::kinds;
use portreeve_tests::controlplane::ControlPlane;
use portreeve_tests::{kustomize, manifest, town};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The files with samples, and the fields that the definitions' defaults add to their specs.
const FILES: [(&str, &[&str]); 3] = [
    ("document.yaml", &[]),
    ("e1.yaml", &["spec.multus-bridge"]),
    (
        "later.yaml",
        &[
            "spec.base.gue-endpoint.epic-port",
            "spec.base.gue-ingress-nics",
            "spec.can-be-shared",
            "spec.envoy-image",
        ],
    ),
];
/// The namespaces that the samples and their changes name.
const NAMESPACES: [&str; 4] = ["epic", "epic-sample", "epic-root", "epic-other"];

/// The API server's words for a broken rule of a definition, by a part of the programs' words for it.
const WORDS: [(&str, &str); 10] = [
    ("the EPIC object's name must be \"epic\"", "the EPIC object's name must be \"epic\""),
    ("is required", "Required value"),
    ("must be from", "should be "),
    ("must be at least", "should be greater than or equal to"),
    ("must not be empty", "at least 1 chars long"),
    ("at most 15 characters", "may not be more than 15 bytes"),
    ("can't parse", "must be of type ipv4"),
    ("an address, a slash", "must be of type cidr"),
    ("must be", "should match"),
    ("no range of addresses", "should match"),
];

/// A change of a sample, and the rule that it breaks.
#[derive(Deserialize)]
struct Row {
    kind: String,
    at: String,
    value: Value,
    path: String,
    reason: String,
    /// Whether only the programs check the rule.
    #[serde(default)]
    hub: bool,
}

fn text(file: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hub/api/tests/epic").join(file);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

fn samples(file: &str) -> Result<Vec<Value>> {
    kustomize::objects(&text(file)?)
}

/// Returns E1's first sample of a kind, without finalizers, which nothing removes here.
fn sample(kind: &str) -> Result<Value> {
    let found = samples("e1.yaml")?.into_iter().find(|object| object["kind"] == kind);
    let mut found = found.with_context(|| format!("no {kind}"))?;
    found["metadata"].as_object_mut().context("metadata")?.remove("finalizers");
    Ok(found)
}

/// Returns a sample with a value at a JSON pointer, whose parents exist. Null removes the field.
fn with(mut object: Value, pointer: &str, value: Value) -> Result<Value> {
    let (parent, key) = pointer.rsplit_once('/').context("a pointer")?;
    match (object.pointer_mut(parent).with_context(|| format!("no parent of {pointer}"))?, value) {
        (Value::Object(fields), Value::Null) => drop(fields.remove(key)),
        (Value::Array(items), value) => items[key.parse::<usize>()?] = value,
        (parent, value) => parent[key] = value,
    }
    Ok(object)
}

fn api(client: &Client, kind: &str, namespace: &str) -> Result<Api<DynamicObject>> {
    let mut rows = kinds::ALL.into_iter().map(|row| (row.kind.name, (row.resource)()));
    let found = rows.find(|(name, resource)| *name == kind && resource.group == "epic.acnodal.io");
    let resource = found.with_context(|| format!("no kind {kind}"))?.1;
    Ok(Api::namespaced_with(client.clone(), namespace, &resource))
}

/// Returns an object and the API for it.
fn read(client: &Client, object: Value) -> Result<(Api<DynamicObject>, DynamicObject)> {
    let object: DynamicObject = serde_json::from_value(object)?;
    let kind = object.types.as_ref().context("a kind")?.kind.as_str();
    Ok((api(client, kind, &object.namespace().context("a namespace")?)?, object))
}

/// Returns a server with the definitions and the samples' namespaces.
async fn server() -> Result<(ControlPlane, Client)> {
    let plane = town::api_server().await?;
    let client = plane.client()?;
    for name in NAMESPACES {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        manifest::apply(&client, &namespace.to_string()).await?;
    }
    Ok((plane, client))
}

/// Returns the paths of the fields that only `stored` has.
///
/// # Errors
/// Returns an error that names a field with another value.
fn added(given: &Value, stored: &Value, path: &str) -> Result<Vec<String>> {
    match (given, stored) {
        (Value::Object(given), Value::Object(stored)) => {
            let mut all = Vec::new();
            for (name, value) in stored {
                let path = format!("{path}.{name}");
                match given.get(name) {
                    Some(given) => all.extend(added(given, value, &path)?),
                    None => all.push(path),
                }
            }
            let lost = given.keys().find(|name| !stored.contains_key(*name));
            ensure!(lost.is_none(), "{path} has lost {lost:?}");
            Ok(all)
        }
        (Value::Array(given), Value::Array(stored)) if given.len() == stored.len() => {
            let items = given.iter().zip(stored).enumerate();
            let all = items.map(|(at, (given, stored))| added(given, stored, &format!("{path}[{at}]")));
            Ok(all.collect::<Result<Vec<_>>>()?.concat())
        }
        _ if given == stored => Ok(Vec::new()),
        _ => bail!("{path} is {stored}, not {given}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_of_each_version_are_taken_strictly_and_read_back_unchanged() -> Result<()> {
    let (_plane, client) = server().await?;
    let mut count = 0;
    for (file, defaults) in FILES {
        let mut found = Vec::new();
        for object in samples(file)? {
            let yaml = object.to_string();
            let title = format!("{file}: {} {}", object["kind"], object["metadata"]["name"]);
            manifest::apply_strictly(&client, &yaml).await.with_context(|| title.clone())?;
            let (api, named) = read(&client, object.clone())?;
            let stored = api.get(&named.name_any()).await?;
            let spec = object.get("spec").cloned().unwrap_or_else(|| json!({}));
            found.extend(added(&spec, &stored.data["spec"], "spec").with_context(|| title.clone())?);
            for field in ["labels", "finalizers"] {
                let stored = serde_json::to_value(&stored.metadata)?;
                ensure!(object["metadata"][field] == stored[field], "{title}: {stored}");
            }
            if object.get("status").is_some() {
                let stored = manifest::apply_status(&client, &yaml).await.with_context(|| title.clone())?;
                ensure!(stored[0].data["status"] == object["status"], "{title}: {:?}", stored[0].data);
            }
            count += 1;
        }
        ensure!(found == defaults, "{file}: defaults add {found:?}");
    }
    ensure!(count == 16, "{count} samples");
    Ok(())
}

// === impl Row ===

impl Row {
    fn title(&self) -> String {
        format!("{} {} {}: {}", self.kind, self.at, self.value, self.reason)
    }

    /// Returns whether the server refuses this field alone, in the words for this rule.
    fn is_told_by(&self, answer: &Status) -> bool {
        let Some((_, words)) = WORDS.iter().find(|(ours, _)| self.reason.contains(ours)) else {
            return false;
        };
        let causes = answer.details.iter().flat_map(|details| &details.causes);
        let mut causes = causes.filter(|cause| !cause.message.contains("rules were not checked")).peekable();
        // A rule for the whole object names no field.
        let whole = self.path.starts_with("metadata.");
        let named = |field: &str, message: &str| {
            field == self.path || message.contains(&format!("{:?}", self.path)) || whole
        };
        let said = answer.message.contains(words);
        said && causes.peek().is_some() && causes.all(|cause| named(&cause.field, &cause.message))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_break_a_rule_are_refused_or_are_the_hubs_to_refuse() -> Result<()> {
    let (_plane, client) = server().await?;
    let rows: Vec<Row> = serde_yaml::from_str(&text("refused.yaml")?)?;
    let (mut refused, mut stored) = (0, 0);
    for row in &rows {
        let given = with(sample(&row.kind)?, &row.at, row.value.clone())?;
        let (api, object) = read(&client, given)?;
        let name = object.name_any();
        match (api.create(&PostParams::default(), &object).await, row.hub) {
            (Err(kube::Error::Api(answer)), false) if row.is_told_by(&answer) => refused += 1,
            (Ok(_), true) => {
                let found = api.get(&name).await?;
                added(&object.data["spec"], &found.data["spec"], "spec").with_context(|| row.title())?;
                api.delete(&name, &DeleteParams::default()).await?;
                stored += 1;
            }
            (answer, _) => bail!("{}: {answer:?}", row.title()),
        }
    }
    println!("{refused} refused, {stored} that only the hub refuses");
    ensure!(refused > 40 && stored > 10, "{refused} and {stored} of {}", rows.len());
    Ok(())
}

/// A field that holds an id, with the value that stands for none, an id and another one.
struct Id {
    kind: &'static str,
    field: &'static str,
    unset: Value,
    set: Value,
    other: Value,
}

// === impl Id ===

impl Id {
    /// Changes the field of an object, and checks the server's answer.
    async fn change(
        &self,
        api: &Api<DynamicObject>,
        name: &str,
        (to, allowed): (&Value, bool),
    ) -> Result<()> {
        let field = self.field;
        let change = Patch::Merge(json!({"spec": {field: to}}));
        match api.patch(name, &PatchParams::default(), &change).await {
            Ok(stored) => {
                ensure!(allowed && stored.data["spec"][field] == *to, "to {to}: {:?}", stored.data);
            }
            Err(error) => {
                let said = error.to_string();
                let words =
                    [format!("spec.{field}: Invalid value"), format!("{field} can't change once it is set")];
                ensure!(!allowed && words.iter().all(|words| said.contains(words)), "to {to}: {said}");
            }
        }
        Ok(())
    }

    /// Gives an id to an object that begins with `first`, and tries to change it.
    async fn lives(&self, client: &Client, first: &Value) -> Result<()> {
        let object = with(sample(self.kind)?, &format!("/spec/{}", self.field), first.clone())?;
        let (api, object) = read(client, object)?;
        let name = object.name_any();
        api.create(&PostParams::default(), &object).await?;
        for value in [&self.unset, &Value::Null, first, &self.set, &self.set] {
            self.change(&api, &name, (value, true)).await?;
        }
        for value in [&self.other, &self.unset, &Value::Null] {
            self.change(&api, &name, (value, false)).await?;
        }
        api.delete(&name, &DeleteParams::default()).await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_given_once_and_stay() -> Result<()> {
    let (_plane, client) = server().await?;
    let [set, other] = ["AAECAwQFBgcICQoLDA0ODw==", "AQECAwQFBgcICQoLDA0ODw=="].map(|key| json!(key));
    let number = |kind, field| Id { kind, field, unset: json!(0), set: json!(1), other: json!(2) };
    for id in [
        number("Account", "group-id"),
        number("LoadBalancer", "service-id"),
        Id { kind: "LoadBalancer", field: "tunnel-key", unset: json!(""), set, other },
    ] {
        for first in [&Value::Null, &id.unset] {
            id.lives(&client, first).await.with_context(|| format!("{} {}, {first}", id.kind, id.field))?;
        }
    }
    Ok(())
}

/// Returns E1's sample of a kind with labels that begin with `prefix`, of groups of the kind `group`.
fn spelt(kind: &str, prefix: &str, group: &str) -> Result<Value> {
    let object = sample(kind)?;
    let labels = object["metadata"]["labels"].as_object().context("labels")?;
    let spelt = |name: &String| format!("{prefix}{}", name.replace("servicegroup", &group.to_lowercase()));
    let labels: Map<_, _> = labels.iter().map(|(name, value)| (spelt(name), value.clone())).collect();
    let object = with(object, "/metadata/labels", json!(labels))?;
    if kind == "ServiceGroup" { with(object, "/kind", json!(group)) } else { Ok(object) }
}

#[tokio::test(flavor = "multi_thread")]
async fn e1_objects_are_read_alike_in_all_spellings_of_their_labels() -> Result<()> {
    let (_plane, client) = server().await?;
    let balancers = Api::<LoadBalancer>::namespaced(client.clone(), "epic-sample");
    let endpoints = Api::<RemoteEndpoint>::namespaced(client.clone(), "epic-sample");
    let groups = ["ServiceGroup", "LBServiceGroup"];
    for (prefix, group) in ["", labels::PREFIX].map(|prefix| groups.map(|group| (prefix, group))).concat() {
        let title = format!("{prefix:?}, {group}");
        for kind in ["ServiceGroup", "LoadBalancer", "RemoteEndpoint"] {
            let object = spelt(kind, prefix, group)?;
            let stored = manifest::apply_strictly(&client, &object.to_string()).await?;
            let stored = serde_json::to_value(&stored[0].metadata.labels)?;
            ensure!(stored == object["metadata"]["labels"], "{title}: {stored}");
        }
        let form = |error| anyhow::anyhow!("{title}: {error:?}");
        let balancer = balancers.get("sample-web").await?.form().map_err(form)?;
        let named = |name: &str| Ok(Some(name.to_owned()));
        ensure!(balancer.group == named("sample"), "{title}: {:?}", balancer.group);
        ensure!(balancer.service_prefix == named("non-default"), "{title}: {:?}", balancer.service_prefix);
        let endpoint = endpoints.get("10-244-1-5-8080-tcp-0123456789abcdef").await?;
        ensure!(endpoint.cluster() == named("uid-ns-web"), "{title}: {:?}", endpoint.cluster());
        let endpoint = endpoint.form().map_err(form)?;
        ensure!(endpoint.load_balancer == named("sample-web"), "{title}: {:?}", endpoint.load_balancer);
    }
    Ok(())
}
