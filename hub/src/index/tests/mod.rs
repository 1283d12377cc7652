//! Tests of the index: builders, and [`Fleet`], which holds what each node's agent was sent.

use std::collections::{BTreeMap, BTreeSet};

use portreeve_api::a::virtual_service::{KIND, VirtualService};
use portreeve_api::own::node_proxy::{self, NodeProxy};
use portreeve_api::pod::Pod;
use portreeve_api::refs::ObjectRef;
use portreeve_api::{PlanType, plan};
use portreeve_xds::{Changes, Resource};
use prost::Message;
use serde_json::{Value, json};
use std::sync::Arc;

use super::{Index, Labels, Name, Taken};
use crate::object::Object;
use crate::selection::SelectorScope;

mod cost;
mod endpoints;
mod health;
mod kinds;
mod lookups;
mod named;
mod namespaces;
mod plans;
mod proxies;
mod random;
mod restricted;
mod secrets;
mod selected;
mod sources;
mod things;
mod verdicts;

/// The grace of the tests, in milliseconds.
const GRACE_MS: i64 = 1_000;

fn mk_index() -> Index {
    attached(Index::new(SelectorScope::Namespace, GRACE_MS))
}

/// Attaches the nodes of the tests.
fn attached(mut index: Index) -> Index {
    let numbered = (0..=9).map(|i| format!("n{i}"));
    let named = ["n", "a", "b", "c", "edge", "far", "gw", "here", "there"].map(str::to_owned);
    numbered.chain(named).for_each(|node| index.attach(&node.as_str().into()));
    index
}

/// "a=1,b=2" as labels.
fn mk_labels(text: &str) -> Labels {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// A ready pod of namespace `ns`; its uid is its name, its address follows from it.
fn mk_pod(name: &str, labels: &str, node: &str) -> Pod {
    let number = name.bytes().fold(1u32, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into()));
    Pod {
        uid: name.into(),
        namespace: "ns".into(),
        name: name.into(),
        labels: mk_labels(labels),
        node: (!node.is_empty()).then(|| node.into()),
        ips: vec![std::net::Ipv4Addr::from(0x0a00_0000 | (number & 0x00ff_ffff)).into()],
        ready: true,
        host_network: false,
        created_ms: 10,
        terminating_ms: 0,
        finished: false,
        node_proxy: None,
        service_account: String::new(),
        static_uid: None,
        l7mp: None,
        extra: BTreeMap::new(),
    }
}

/// A VirtualService of namespace `ns` for the pods with `workload`, with one listener for each of `upstreams`.
fn mk_vs(name: &str, workload: &str, upstreams: &[&str]) -> VirtualService {
    let listener = |(i, labels): (usize, &&str)| {
        let endpoint = json!({"name": "e", "host": {"selector": mk_labels(labels)}, "port": 9});
        let cluster = json!({"name": format!("c{i}"), "service_discovery": "eds", "endpoints": [endpoint]});
        json!({"name": format!("l{i}"), "udp": {"port": 2000 + i, "cluster": cluster}})
    };
    let listeners: Vec<Value> = upstreams.iter().enumerate().map(listener).collect();
    let spec = json!({"selector": mk_labels(workload), "listeners": listeners});
    let meta = json!({"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "generation": 1});
    VirtualService::parse(json!({
        "apiVersion": "servicemesh.l7mp.io/v1", "kind": "VirtualService", "metadata": meta, "spec": spec,
    }))
    .unwrap()
    .0
}

/// A VirtualService that no rule of its kind allows.
fn mk_bad_vs(name: &str) -> VirtualService {
    let mut bad = mk_vs(name, "app=gw", &["app=w"]);
    bad.spec.listeners[0].udp.as_mut().unwrap().port = 0;
    bad
}

fn mk_proxy(name: &str, nodes: &str, labels: &str, allowed: Value) -> NodeProxy {
    let spec =
        json!({"nodeSelector": mk_labels(nodes), "labels": mk_labels(labels), "allowedNamespaces": allowed});
    NodeProxy::parse(json!({
        "apiVersion": "portreeve.dev/v1alpha1", "kind": "NodeProxy", "metadata": {"name": name}, "spec": spec,
    }))
    .unwrap()
    .0
}

/// The complete list of NodeProxies.
fn reset_proxies(index: &mut Index, proxies: &[NodeProxy], now_ms: i64) {
    let listed = proxies.iter().map(Object::reference).collect();
    index.keep_objects(&node_proxy::KIND, None, &listed, now_ms);
    proxies.iter().for_each(|proxy| index.apply_object(proxy, now_ms));
}

fn key(name: &str) -> ObjectRef {
    ObjectRef::namespaced(&KIND, "ns", name)
}

/// What an agent holds.
type Held = BTreeMap<(PlanType, Name), Arc<Resource>>;

/// The agents of all nodes: each has applied every change that it was sent.
#[derive(Default)]
pub struct Fleet {
    held: BTreeMap<Name, Held>,
}

// === impl Fleet ===

impl Fleet {
    /// Sends what is pending; answers with the nodes that were sent something.
    fn follow(&mut self, index: &mut Index) -> Vec<String> {
        let taken = taken(index);
        for (node, changes) in &taken {
            take_in(self.held.entry(node.clone()).or_default(), changes);
        }
        taken.keys().map(ToString::to_string).collect()
    }

    /// The names of a type that a node holds.
    fn names(&self, node: &str, ty: PlanType) -> Vec<String> {
        let held = self.held.get(node).into_iter().flatten();
        held.filter(|((t, _), _)| *t == ty).map(|((_, name), _)| name.to_string()).collect()
    }

    fn plans(&self, node: &str) -> Vec<String> {
        self.names(node, PlanType::Plan)
    }

    /// Uids of a group's endpoints on a node, those that are to go with a "-"; none when the node has no such group.
    fn group(&self, node: &str, name: &str) -> Option<Vec<String>> {
        let held = self.held.get(node)?;
        let group = plan::Group::decode(held.get(&(PlanType::Group, name.into()))?.body()).unwrap();
        let mut uids = Vec::new();
        for shard in 0..group.shards as usize {
            let slice = portreeve_api::names::slice_name(name, group.shards as usize, shard);
            let slice = held.get(&(PlanType::Slice, slice)).expect("a slice that the group lists is there");
            let endpoints = plan::EndpointSlice::decode(slice.body()).unwrap().endpoints;
            uids.extend(endpoints.iter().map(|e| match e.terminating_ms {
                0 => e.uid.clone(),
                _ => format!("-{}", e.uid),
            }));
        }
        uids.sort();
        Some(uids)
    }

    /// Every agent holds what one that connects now would be sent.
    fn assert_complete(&self, index: &Index, nodes: &[&str]) {
        for node in nodes {
            let mut fresh = Held::new();
            take_in(&mut fresh, &index.all_of(&(*node).into()));
            let held = self.held.get(*node).cloned().unwrap_or_default();
            assert_eq!(held, fresh, "node {node}");
        }
    }
}

/// The changes of each attached node since the last call.
fn taken(index: &mut Index) -> BTreeMap<Name, Changes<PlanType>> {
    let taken = index.take().into_iter();
    let taken = taken.map(|(node, Taken { own, shared, .. })| (node.clone(), sent(&node, &own, &shared)));
    taken.filter(|(_, changes)| !changes.is_empty()).collect()
}

/// What a node is sent of its own changes and of those of its class: all but its own Health.
fn sent(node: &Name, own: &Changes<PlanType>, shared: &Changes<PlanType>) -> Changes<PlanType> {
    let needed = |ty: PlanType, name: &Name| ty != PlanType::Health || name != node;
    let upsert = shared.upsert.iter().filter(|(ty, one)| needed(*ty, one.name()));
    let remove = shared.remove.iter().filter(|(ty, name)| needed(*ty, name));
    Changes {
        upsert: upsert.chain(&own.upsert).cloned().collect(),
        remove: remove.chain(&own.remove).cloned().collect(),
    }
}

fn take_in(held: &mut Held, changes: &Changes<PlanType>) {
    for (ty, name) in &changes.remove {
        held.remove(&(*ty, name.clone()));
    }
    for (ty, resource) in &changes.upsert {
        held.insert((*ty, resource.name().clone()), resource.clone());
    }
}
