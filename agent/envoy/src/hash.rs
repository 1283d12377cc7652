//! The value that chooses the endpoint of a rule's sessions: [`Hash`].

use portreeve_api::model::{Balancer, Cluster, Plan, Protocol, Rewrite, Rule};
use serde_json::Value;

use super::predicate;

/// The value whose hash chooses the endpoint of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hash {
    /// None: the cluster's own policy chooses.
    None,
    /// The client's address.
    Source,
    /// A constant.
    Constant(String),
    /// A header of the HTTP request.
    Header(String),
}

/// Returns the value that chooses the endpoint of a rule's sessions; `None` if an Envoy has no such value.
pub fn of(cluster: &Cluster, rule: &Rule, protocol: Protocol) -> Option<Hash> {
    let path = match &cluster.balancer {
        Some(Balancer::SourceAddress) => return Some(Hash::Source),
        Some(Balancer::MetadataPath(path)) if !path.is_empty() => path,
        _ => return Some(Hash::None),
    };
    if path == predicate::SOURCE_ADDRESS {
        return Some(Hash::Source);
    }
    if let Some(text) = rule.rewrites.iter().rev().find(|one| one.path == *path).and_then(constant) {
        return (protocol == Protocol::Udp).then_some(Hash::Constant(text));
    }
    let header = path.strip_prefix("/HTTP/headers/").filter(|_| protocol == Protocol::Websocket);
    header.filter(|name| !name.contains('/')).map(|name| Hash::Header(name.to_owned()))
}

/// Returns the text that a rewrite sets.
fn constant(rewrite: &Rewrite) -> Option<String> {
    match serde_json::from_str(&rewrite.value_json).ok()? {
        Value::String(text) => Some(text).filter(|text| !text.is_empty()),
        _ => None,
    }
}

/// Returns whether a rewrite only sets the constant by which the rule's cluster chooses endpoints.
pub fn is_key(rewrite: &Rewrite, rule: &Rule, plan: &Plan, protocol: Protocol) -> bool {
    let cluster = rule.route.as_ref().and_then(|route| plan.cluster(&route.destination));
    let Some(Balancer::MetadataPath(path)) = cluster.and_then(|cluster| cluster.balancer.as_ref()) else {
        return false;
    };
    protocol == Protocol::Udp && rewrite.path == *path && constant(rewrite).is_some()
}
