//! Objects of four kinds that look one another up ([`Thing`]). What a root asks is written in its spec, and each answer becomes
//! a listener of its Plan, so that the Plan tells what the root was told.

use std::any::Any;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::conditions::{self, ConditionType, Reason, Status};
use portreeve_api::kind::{Api, Kind, Purpose};
use portreeve_api::model;
use portreeve_api::violation::Violation;

use super::*;
use crate::lookup::{FoundBy, Lookup, SecretBytes};
use crate::object::{Rejection, Resolved, Role, Root, Told};
use crate::selection::{PodSelection, Selection};
use crate::services::{Names, Services};

const fn kind(name: &'static str, prefix: &'static str, purpose: Purpose) -> Kind {
    Kind { api: Api::E, name, namespaced: true, prefix, purpose }
}

/// Opens listeners, and asks.
pub static GATE: Kind = kind("Gate", "E/Gate", Purpose::Listeners);
/// Opens listeners too, and looks at Gates.
pub static TWIN: Kind = kind("Twin", "E/Twin", Purpose::Listeners);
/// Is found by the Gate that it names.
pub static PATH: Kind = kind("Path", "E/Path", Purpose::Part);
/// Is found by its own name.
pub static POLICY: Kind = kind("Policy", "E/Policy", Purpose::Part);

/// The keys that a Secret for TLS must have.
const KEYS: [&str; 2] = ["tls.crt", "tls.key"];

/// An object of one of these kinds.
#[derive(Clone, Debug)]
pub struct Thing {
    kind: &'static Kind,
    meta: ObjectMeta,
    spec: Value,
}

/// An index with a gateway's pod on node "a", and what that node was sent.
pub struct Bed {
    pub index: Index,
    pub fleet: Fleet,
}

/// An object of namespace `ns`.
pub fn mk_thing(kind: &'static Kind, name: &str, spec: Value) -> Thing {
    let meta = json!({"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "generation": 1});
    Thing { kind, meta: serde_json::from_value(meta).unwrap(), spec }
}

/// The reference to an object of namespace `ns`.
pub fn thing_key(kind: &'static Kind, name: &str) -> ObjectRef {
    ObjectRef::namespaced(kind, "ns", name)
}

/// The names of the listeners of an object's Plan on a node.
pub fn answers(fleet: &Fleet, node: &str, key: &ObjectRef) -> Vec<String> {
    let held = fleet.held.get(node).and_then(|held| held.get(&(PlanType::Plan, key.to_string().into())));
    let plan = held.map(|resource| plan::Plan::decode(resource.body()).unwrap());
    plan.into_iter().flat_map(|plan| plan.listeners).map(|listener| listener.name).collect()
}

/// The text that a key of a Secret holds.
fn content(bytes: Option<&SecretBytes>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8_lossy(bytes.as_slice()).into_owned())
}

// === impl Bed ===

impl Bed {
    pub fn new() -> Self {
        let mut index = mk_index();
        index.apply_pod(mk_pod("gw", "app=gw", "a"), 0);
        Self { index, fleet: Fleet::default() }
    }

    pub fn put(&mut self, kind: &'static Kind, name: &str, spec: Value) {
        self.index.apply_object(&mk_thing(kind, name, spec), 0);
    }

    /// What a root was told, as the node has it.
    pub fn told(&mut self, kind: &'static Kind, name: &str) -> Vec<String> {
        self.fleet.follow(&mut self.index);
        answers(&self.fleet, "a", &thing_key(kind, name))
    }

    /// How many objects a change resolves.
    pub fn cost(&mut self, change: impl FnOnce(&mut Index)) -> u64 {
        let before = self.index.resolutions();
        change(&mut self.index);
        self.index.resolutions() - before
    }

    pub fn rejection(&self, kind: &'static Kind, name: &str) -> Option<String> {
        let verdict = self.index.subject(&thing_key(kind, name))?.verdict;
        verdict.rejection.map(|rejection| rejection.message)
    }
}

// === impl Thing ===

impl Thing {
    fn text(&self, field: &str) -> Option<&str> {
        self.spec.get(field).and_then(Value::as_str)
    }

    /// The answers to all that the spec asks.
    fn ask(&self, lookup: &mut Lookup<'_>) -> Vec<String> {
        let ns: Name = "ns".into();
        let mut told = Vec::new();
        let value = |thing: &Thing| thing.text("value").unwrap_or("-").to_owned();
        for (field, kind) in [("policy", &POLICY), ("gate", &GATE)] {
            if let Some(name) = self.text(field) {
                let found = lookup.object::<Thing>(&thing_key(kind, name)).map(value);
                told.push(format!("{field} {}", found.as_deref().unwrap_or("missing")));
            }
        }
        if let Some(gate) = self.text("paths") {
            let found = lookup.listed::<Thing>(&PATH, "gate", gate);
            told.extend(found.into_iter().map(|(at, path)| format!("path {} {}", at.name, value(path))));
        }
        if let Some(name) = self.text("namespace") {
            let labels = lookup.namespace(&name.into());
            told.push(format!("namespace {:?}", labels.and_then(|labels| labels.get("team"))));
        }
        if let Some(name) = self.text("service") {
            let ports = lookup.service(&ns, &name.into()).map(|spec| spec.ports.iter().flatten().count());
            told.push(format!("service {ports:?}"));
        }
        if let Some(name) = self.text("secret") {
            told.push(format!("secret {:?}", lookup.secret(&ns, &name.into()).map(|facts| facts.keys.len())));
            let key = self.text("key");
            told.extend(
                key.map(|key| format!("{key} {:?}", content(lookup.secret_content(&ns, &name.into(), key)))),
            );
        }
        told
    }

    /// The keys that the Secret of the spec's TLS lacks.
    fn lacks(&self, lookup: &mut Lookup<'_>) -> Vec<String> {
        let Some(name) = self.text("tls") else { return Vec::new() };
        let lacks = |key: &&str| lookup.secret_content(&"ns".into(), &name.into(), key).is_none();
        KEYS.into_iter().filter(lacks).map(str::to_owned).collect()
    }

    /// The listener with the spec's TLS.
    fn secured(&self) -> Option<plan::Listener> {
        let certificate = format!("ns/{}/tls.crt", self.text("tls")?);
        let tls = Some(plan::Tls { certificate, ..Default::default() });
        Some(plan::Listener { name: "secured".into(), tls, ..Default::default() })
    }

    /// The groups that the spec names.
    fn groups(&self) -> Vec<Selection> {
        let pods = |pods| Selection::Pods(PodSelection { namespace: Some("ns".into()), ..pods });
        let annotation = self.text("annotated").map(|value| {
            pods(PodSelection { annotation: Some(("join".into(), value.into())), ..PodSelection::default() })
        });
        let service = |name: &str| Selection::Service { namespace: "ns".into(), name: name.into() };
        let listed = self.text("members_of").map(|name| {
            pods(PodSelection { service: Some(("ns".into(), name.into())), ..PodSelection::default() })
        });
        let objects = self.text("objects").map(|_| Selection::Objects(self.reference()));
        let groups = [annotation, self.text("slices").map(service), listed, objects];
        groups.into_iter().flatten().collect()
    }
}

impl Object for Thing {
    fn kind(&self) -> &'static Kind {
        self.kind
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }

    fn violations(&self) -> Vec<Violation> {
        let bad = self.text("bad").map(|why| Violation { path: "spec.bad".into(), message: why.into() });
        bad.into_iter().collect()
    }

    fn role(&self) -> Role<'_> {
        match self.text("endpoint_of") {
            _ if self.kind.purpose == Purpose::Listeners => Role::Root(self),
            None => Role::Part,
            Some(gate) => {
                let ips = vec![self.text("value").unwrap_or_default().to_owned()];
                let endpoint = plan::Endpoint { ips, ready: true, ..Default::default() };
                Role::Endpoint(vec![thing_key(&GATE, gate)], endpoint)
            }
        }
    }

    fn found_by(&self) -> Option<Vec<FoundBy>> {
        let gate = self.text("of").map(|gate| ("gate", Name::from(gate)));
        (self.kind != &TWIN).then(|| gate.into_iter().collect())
    }

    fn shared(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::new(self.clone())
    }

    fn route(&mut self, _services: &Services<'_>, _names: &mut Names) -> Vec<String> {
        Vec::new()
    }

    fn to_value(&self) -> serde_json::Result<Value> {
        Ok(json!({"metadata": serde_json::to_value(&self.meta)?, "spec": self.spec}))
    }

    fn boxed(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }
}

impl Root for Thing {
    fn resolve(&self, lookup: &mut Lookup<'_>) -> Result<Resolved, Rejection> {
        let told = self.ask(lookup);
        if let [first, ..] = self.violations().as_slice() {
            return Err(Rejection::of_violations(std::slice::from_ref(first)));
        }
        let labels = mk_labels(self.text("workload").unwrap_or("app=gw"));
        let workload = Selection::of_labels(&labels, "ns", lookup.scope());
        let listener = |name| plan::Listener { name, ..Default::default() };
        let sent = plan::Plan {
            origin: Some(plan::Origin {
                api: "E".into(),
                kind: self.kind.name.into(),
                namespace: "ns".into(),
                name: self.meta.name.clone().unwrap_or_default(),
                ..Default::default()
            }),
            workload: Some(plan::Workload {
                namespace: "ns".into(),
                selector: Some((&workload.requirements()).into()),
                ..Default::default()
            }),
            listeners: told.into_iter().map(listener).chain(self.secured()).collect(),
            ..Default::default()
        };
        let plan = model::Plan::try_from(sent).expect("what was built here makes sense");
        let accepted = conditions::Verdict {
            type_: ConditionType::Accepted,
            status: Status::True,
            reason: Reason::Accepted,
            message: self.text("value").unwrap_or_default().to_owned(),
            generation: Some(1),
        };
        let paths = self.text("paths").map(|gate| lookup.listed::<Thing>(&PATH, "gate", gate));
        let tell = |(about, _): (&ObjectRef, _)| Told { about: about.clone(), part: vec![accepted.clone()] };
        let told = paths.into_iter().flatten().map(tell).collect();
        let missing = self.text("lacks").map(str::to_owned).into_iter().chain(self.lacks(lookup)).collect();
        Ok(Resolved { plan, workload, groups: self.groups(), warnings: Vec::new(), missing, told })
    }
}
