//! Small desired states for tests.

use std::collections::BTreeSet;

use portreeve_agent_core::translate::l7mp::objects::{
    Cluster, Endpoint, Endpoints, Hop, Insertion, Listener, Retry, Route, Rule, Rules,
};
use portreeve_xds::Version;
use serde::Serialize;
use serde_json::{Value, json};

use crate::actual::{Actual, ListenerSeen};
use crate::desired::{ClusterEntry, Desired};
use crate::making::{Ground, remake};
use crate::slot::Slot;
use crate::steps::{Picture, Sessions, Step, plan};
use crate::wanted::{Good, Refusals, Wanted};

pub(crate) fn mk_version(body: &impl Serialize) -> Version {
    Version::of(&serde_json::to_vec(body).unwrap())
}

pub(crate) fn mk_udp(port: u16) -> Value {
    json!({"protocol": "UDP", "port": port})
}

/// A rule that sends every session to a cluster resource.
pub(crate) fn mk_rule(cluster: &str) -> Rule {
    mk_rule_to(Hop::Cluster(cluster.into()))
}

pub(crate) fn mk_rule_to(destination: Hop) -> Rule {
    let retry = Retry { retry_on: "never".into(), num_retries: 1, timeout: 2000 };
    let route = Route { destination, ingress: Vec::new(), egress: Vec::new(), retry };
    Rule { route: Some(route), ..Rule::default() }
}

pub(crate) fn mk_listener(port: u16, rules: Vec<Rule>) -> Listener {
    let spec = mk_udp(port).as_object().unwrap().clone();
    Listener { spec, track: None, rules: Rules::These(rules), ends_sessions: true }
}

pub(crate) fn put_listener(desired: &mut Desired, name: &str, listener: Listener) {
    desired.listeners.insert(name.into(), (mk_version(&listener), listener.into()));
}

pub(crate) fn put_insertion(desired: &mut Desired, name: &str, position: u32, rule: Rule) {
    let insertion = Insertion { list: "theirs".into(), position, rule };
    desired.insertions.insert(name.into(), (mk_version(&insertion), insertion.into()));
}

pub(crate) fn put_cluster(desired: &mut Desired, name: &str, port: u16, addresses: &[&str]) {
    let cluster = Cluster { spec: mk_udp(port).as_object().unwrap().clone(), loadbalancer: None };
    let endpoints = addresses.iter().map(|&at| Endpoint { address: at.to_owned(), weight: None }).collect();
    let endpoints = Endpoints { endpoints };
    let (version, endpoints_version) = (mk_version(&cluster), mk_version(&endpoints));
    let (cluster, endpoints) = (cluster.into(), endpoints.into());
    desired.clusters.insert(name.into(), ClusterEntry { version, cluster, endpoints_version, endpoints });
}

/// A listener `l` on port 1 that sends every session to cluster `c` with one endpoint.
pub(crate) fn mk_desired() -> Desired {
    let mut desired = Desired::default();
    put_cluster(&mut desired, "c", 9, &["10.0.0.1"]);
    put_listener(&mut desired, "l", mk_listener(1, vec![mk_rule("c")]));
    desired
}

/// A proxy with a listener on UDP port 7, a cluster `meter` and a rule list `theirs` of its own configuration.
pub(crate) fn mk_own() -> Actual {
    let mut own = Actual::default();
    let seen = ListenerSeen { list: "theirs".into(), slot: Some(Slot::Udp(7)) };
    own.clusters.insert("meter".into(), Default::default());
    own.listeners.insert("their-listener".into(), seen);
    own.lists.insert("theirs".into(), vec!["their-rule".into()]);
    own.rules.insert("their-rule".into(), Some("their-route".into()));
    own.routes.insert("their-route".into(), vec!["meter".into()]);
    own.reindex();
    own
}

/// The objects of all desired resources.
pub(crate) fn mk_wanted(desired: &Desired, actual: &Actual, refusals: &Refusals) -> Wanted {
    let (mut wanted, mut dirty) = (Wanted::default(), desired.keys().collect());
    let good = Good::new();
    remake(&mut wanted, &mut dirty, Ground { desired, actual, refusals, good: &good });
    wanted
}

/// The steps for all resources.
pub(crate) fn mk_plan(desired: &Desired, wanted: &Wanted, actual: &Actual, sessions: &Sessions) -> Vec<Step> {
    let keys = desired.keys().chain(actual.keys()).collect();
    plan(&keys, Picture { desired, wanted, actual, sessions, apart: &BTreeSet::new() })
}
