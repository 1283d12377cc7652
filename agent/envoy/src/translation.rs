//! Translates all resources of one Plan: [`translate`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::Envoy;
use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use portreeve_agent_core::translate::candidates;
use portreeve_agent_core::translate::model::Translation;
use portreeve_agent_core::translate::outcome::{Census, Remark};
use portreeve_agent_core::translate::request::{Lookup, Request};
use portreeve_api::model::{Cluster, Plan};
use portreeve_xds::Resource;
use prost::Message;

use super::unbuilt::Unbuilt;
use super::{assignment, cluster, listener, routes, support, templated, tls};

/// Translates a Plan for a proxy; `None` while a group, secret or host name that it needs is not known yet.
pub fn translate(request: &Request<'_>, lookup: &dyn Lookup) -> Option<Translation<Envoy>> {
    let mut done = Translation::default();
    let mut used: BTreeMap<String, Option<Duration>> = BTreeMap::new();
    for listener in &request.plan.listeners {
        if request.denied.contains(&listener.name) {
            continue;
        }
        let built = match request.plan.envoy_listener(&listener.name) {
            Some(body) => templated::listener(request.plan, listener, body),
            None => listener::build(request, listener, lookup),
        };
        match built {
            Ok(built) => {
                used.extend(built.clusters);
                done.outputs.extend(of_secrets(built.secrets));
                done.outputs.push((Envoy::Listener, built.resource));
            }
            Err(Unbuilt::Waiting) => return None,
            Err(Unbuilt::Refused(text)) => {
                let runs = request.running.contains(&listener.name);
                let routes = listener.rules.iter().filter(|_| runs).filter_map(|rule| rule.route.as_ref());
                used.extend(routes.map(|route| (route.destination.clone(), None)));
                used.extend(templated::clusters(request.plan).filter(|_| runs));
                done.remarks.push(Remark { at: listener.name.clone(), text });
            }
        }
    }
    let lists = support::rule_lists(request.plan);
    done.remarks.extend(lists.map(|list| Remark {
        at: format!("rule list {list}"),
        text: "an Envoy has no rule lists: take the rule out of the object".into(),
    }));
    let shared = is_shared(request.plan);
    if shared {
        done.remarks.extend(request.plan.clusters.iter().filter_map(|cluster| {
            let text = support::cluster(cluster).told("the cluster", routes::PROXY)?;
            Some(Remark { at: cluster.name.clone(), text })
        }));
    }
    let served = |cluster: &&Cluster| {
        let leads = shared || used.contains_key(&cluster.name);
        leads && cluster.elsewhere.is_none() && support::cluster(cluster).is_empty()
    };
    for cluster in request.plan.clusters.iter().filter(served) {
        let connect_timeout = used.get(&cluster.name).copied().flatten();
        let retried = connect_timeout.map(|_| Cluster { connect_timeout, ..cluster.clone() });
        add_cluster(&mut done, request, retried.as_ref().unwrap_or(cluster), lookup)?;
    }
    Some(done)
}

/// Adds a cluster with its assignment. Returns `None` while something that it needs is not known yet.
fn add_cluster(
    done: &mut Translation<Envoy>,
    request: &Request<'_>,
    cluster: &Cluster,
    lookup: &dyn Lookup,
) -> Option<()> {
    let name = request.cluster_name(&cluster.name);
    let (assignment, body) = match request.plan.envoy_assignment(&cluster.name) {
        Some(body) => (ClusterLoadAssignment::decode(&**body).unwrap_or_default(), body.clone()),
        None => {
            let endpoints = candidates::candidates(request, cluster, lookup)?;
            let built = assignment::build(request.plan, cluster, &name, endpoints);
            let body = built.encode_to_vec().into();
            (built, body)
        }
    };
    count(&mut done.census, cluster, &assignment);
    let assignment = (Envoy::Endpoint, Resource::new(Envoy::Endpoint, name.clone(), &body));
    if let Some(body) = request.plan.envoy_cluster(&cluster.name) {
        let asks = cluster::asks_for_endpoints(body);
        done.outputs.push((Envoy::Cluster, cluster::of_bytes(name, body)));
        done.outputs.extend(asks.then_some(assignment));
        return Some(());
    }
    let tls = match &cluster.tls {
        Some(tls) => Some(tls::client(&name, tls, request.streams, lookup)?),
        None => None,
    };
    let (socket, secrets) = tls.map(|tls| (tls.socket, tls.secrets)).unzip();
    done.outputs.extend(of_secrets(secrets.unwrap_or_default()));
    done.outputs.push((Envoy::Cluster, cluster::build(cluster, &name, request, socket)));
    done.outputs.push(assignment);
    Some(())
}

/// Returns whether a Plan only defines clusters, for the listeners of other Plans.
fn is_shared(plan: &Plan) -> bool {
    plan.listeners.is_empty() && plan.rule_lists.is_empty()
}

fn of_secrets(secrets: Vec<Arc<Resource>>) -> impl Iterator<Item = (Envoy, Arc<Resource>)> {
    secrets.into_iter().map(|secret| (Envoy::Secret, secret))
}

fn count(census: &mut Census, cluster: &Cluster, built: &ClusterLoadAssignment) {
    let (mut total, mut bad) = (0, 0);
    for endpoint in built.endpoints.iter().flat_map(|locality| &locality.lb_endpoints) {
        total += 1;
        bad += u32::from(endpoint.health_status() == HealthStatus::Unhealthy);
    }
    census.add(cluster, total, bad);
}
