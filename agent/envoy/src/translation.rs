//! Translates all resources of one Plan: [`translate`].

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::Envoy;
use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use portreeve_agent_core::translate::candidates;
use portreeve_agent_core::translate::model::Translation;
use portreeve_agent_core::translate::outcome::{Census, Remark};
use portreeve_agent_core::translate::request::{Lookup, Request};
use portreeve_api::model::Cluster;
use portreeve_xds::Resource;
use prost::Message;

use super::unbuilt::Unbuilt;
use super::{assignment, cluster, listener, support, tls};

/// Translates a Plan for a proxy; `None` while a group, secret or host name that it needs is not known yet.
pub fn translate(request: &Request<'_>, lookup: &dyn Lookup) -> Option<Translation<Envoy>> {
    let mut done = Translation::default();
    let mut used = BTreeSet::new();
    for listener in &request.plan.listeners {
        if request.denied.contains(&listener.name) {
            continue;
        }
        match listener::build(request, listener, lookup) {
            Ok(built) => {
                used.insert(built.cluster.clone());
                done.outputs.extend(of_secrets(built.secrets));
                done.outputs.push((Envoy::Listener, built.resource));
            }
            Err(Unbuilt::Waiting) => return None,
            Err(Unbuilt::Refused(text)) => {
                let runs = request.running.contains(&listener.name);
                let routes = listener.rules.iter().filter(|_| runs).filter_map(|rule| rule.route.as_ref());
                used.extend(routes.map(|route| route.destination.clone()));
                done.remarks.push(Remark { at: listener.name.clone(), text });
            }
        }
    }
    let lists = support::rule_lists(request.plan);
    done.remarks.extend(lists.map(|list| Remark {
        at: format!("rule list {list}"),
        text: "an Envoy has no rule lists: take the rule out of the object".into(),
    }));
    let served = |cluster: &&Cluster| used.contains(&cluster.name) && support::cluster(cluster).is_empty();
    for cluster in request.plan.clusters.iter().filter(served) {
        let endpoints = candidates::candidates(request, cluster, lookup)?;
        let name = request.cluster_name(&cluster.name);
        let body = assignment::build(request.plan, cluster, &name, endpoints);
        count(&mut done.census, cluster, &body);
        let tls = match &cluster.tls {
            Some(tls) => Some(tls::client(&name, tls, request.streams, lookup)?),
            None => None,
        };
        let (socket, secrets) = tls.map(|tls| (tls.socket, tls.secrets)).unzip();
        done.outputs.extend(of_secrets(secrets.unwrap_or_default()));
        done.outputs.push((Envoy::Cluster, cluster::build(cluster, &name, request, socket)));
        done.outputs.push((Envoy::Endpoint, Resource::new(Envoy::Endpoint, name, &body.encode_to_vec())));
    }
    Some(done)
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
