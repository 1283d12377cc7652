//! Translates all resources of one Plan: [`translate`].

use std::collections::BTreeSet;

use portreeve_api::model::{self, Balancer, Cluster, Protocol};
use portreeve_xds::Resource;
use serde::Serialize;

use super::objects::{self, Insertion, Listener, LoadBalancer, Rules};
use super::{L7mp, endpoints, rules, spec, support};
use crate::translate::bind::Families;
use crate::translate::model::{Output, Translation};
use crate::translate::outcome::Remark;
use crate::translate::request::{Lookup, Request, qualified};

/// The kind of proxy in messages.
const PROXY: &str = "an l7mp proxy";

/// The API whose objects are made for l7mp.
const API: &str = "B";

/// The path of the client's address in a session's metadata.
const SOURCE_ADDRESS: &str = "/IP/src_addr";

/// Translates a Plan for a proxy; `None` while a group that it needs is not known yet.
pub fn translate(request: &Request<'_>, lookup: &dyn Lookup) -> Option<Translation<L7mp>> {
    let plan = request.plan;
    let mut done = Translation::default();
    let mut used = BTreeSet::new();
    for opened in plan.listeners.iter().filter(|one| !request.denied.contains(&one.name)) {
        match listener(request, opened, &mut used) {
            Ok(body) => done.outputs.extend(output(L7mp::Listener, request, &opened.name, &body)),
            Err(text) => done.remarks.push(Remark { at: opened.name.clone(), text }),
        }
    }
    for (index, list) in plan.rule_lists.iter().enumerate() {
        let name = format!("rule-{index}");
        match insertion(request, list, &mut used) {
            Ok(body) => done.outputs.extend(output(L7mp::Rule, request, &name, &body)),
            Err(text) => done.remarks.push(Remark { at: name, text }),
        }
    }
    // A Plan without listeners and rules defines clusters for the rules of other Plans.
    let shared = plan.listeners.is_empty() && plan.rule_lists.is_empty();
    let served = |one: &&Cluster| one.elsewhere.is_none() && (shared || used.contains(&one.name));
    for one in plan.clusters.iter().filter(served) {
        match cluster(one) {
            Ok(body) => {
                let found = endpoints::of(request, one, lookup, &mut done.census)?;
                done.outputs.extend(output(L7mp::Cluster, request, &one.name, &body));
                done.outputs.extend(output(L7mp::Endpoints, request, &one.name, &found));
            }
            // The listeners that lead to it have the same remark.
            Err(text) if shared => done.remarks.push(Remark { at: one.name.clone(), text }),
            Err(_) => {}
        }
    }
    Some(done)
}

fn output<B: Serialize>(ty: L7mp, request: &Request<'_>, name: &str, body: &B) -> Option<Output<L7mp>> {
    let name = match ty {
        L7mp::Cluster | L7mp::Endpoints => request.cluster_name(name),
        L7mp::Rule | L7mp::Listener => qualified(request.plan, name),
    };
    // The bodies have only text keys, so they can always be written.
    let body = serde_json::to_vec(body).ok()?;
    Some((ty, Resource::new(ty, name, &body)))
}

fn listener(
    request: &Request<'_>,
    opened: &model::Listener,
    used: &mut BTreeSet<String>,
) -> Result<Listener, String> {
    let lacks = support::listener(request.plan, opened);
    if let Some(text) = lacks.told("the listener", PROXY) {
        return Err(text);
    }
    let udp = opened.socket.as_ref().is_some_and(|socket| socket.protocol == Protocol::Udp);
    if udp && request.families == Families::V6 {
        return Err("the proxy has no IPv4 address, and l7mp has no UDP over IPv6".into());
    }
    let spec = opened.socket.as_ref().and_then(spec::of).ok_or("it has no protocol")?;
    let rules = match opened.rules.as_slice() {
        [only] if only.is_reference() => Rules::List(only.apply.clone().unwrap_or_default()),
        these => Rules::These(all(request, these, used)?),
    };
    let options = opened.options.clone().unwrap_or_default();
    let track = options.track.map(|track| track.as_secs());
    // l7mp ends no idle session. Only API B asks for sessions that outlive their listener.
    let ends_sessions = options.remove_orphan_sessions || request.plan.origin.api != API;
    Ok(Listener { spec, track, rules, ends_sessions })
}

fn insertion(
    request: &Request<'_>,
    list: &model::RuleList,
    used: &mut BTreeSet<String>,
) -> Result<Insertion, String> {
    let rule = list.rule.as_ref().ok_or("it is missing")?;
    let mut rules = all(request, std::slice::from_ref(rule), used)?;
    let rule = rules.pop().ok_or("it is missing")?;
    Ok(Insertion { list: list.list.clone(), position: list.position, rule })
}

/// Returns rules, if every cluster of the Plan that they lead to can be given to the proxy.
fn all(
    request: &Request<'_>,
    these: &[model::Rule],
    used: &mut BTreeSet<String>,
) -> Result<Vec<objects::Rule>, String> {
    let mut leads = BTreeSet::new();
    let rules = these.iter().map(|one| rules::of(request, one, &mut leads)).collect::<Result<_, _>>()?;
    for one in leads.iter().filter_map(|name| request.plan.cluster(name)) {
        cluster(one)?;
    }
    used.extend(leads);
    Ok(rules)
}

fn cluster(cluster: &Cluster) -> Result<objects::Cluster, String> {
    if let Some(text) = support::cluster(cluster).told(&format!("cluster {}", cluster.name), PROXY) {
        return Err(text);
    }
    let spec = spec::of_cluster(cluster).ok_or("it has no protocol")?;
    let loadbalancer = match &cluster.balancer {
        Some(Balancer::SourceAddress) => {
            Some(LoadBalancer { policy: "ConsistentHash".into(), key: Some(SOURCE_ADDRESS.into()) })
        }
        Some(Balancer::MetadataPath(key)) => {
            let key = Some(key.clone()).filter(|key| !key.is_empty());
            Some(LoadBalancer { policy: "ConsistentHash".into(), key })
        }
        _ => None,
    };
    Ok(objects::Cluster { spec, loadbalancer })
}
