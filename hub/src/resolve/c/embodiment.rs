//! Where the proxies of a load balancer are ([`Embodiment`]): on NodeProxies, or in pods of its own that the hub creates
//! (seed C.6 "Envoys").

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::identifiers::is_dns_label;
use xxhash_rust::xxh3::xxh3_64;

/// The annotation of a load balancer, or of its group for all its load balancers. The load balancer's own counts first.
pub const ANNOTATION: &str = "portreeve.dev/embodiment";

/// What precedes the load balancer's name in the names of its Deployment and container.
const PREFIX: &str = "envoy-";

/// Longest text that stands for a load balancer: the container's name has at most 63 characters.
const LONGEST: usize = 63 - PREFIX.len();

/// Number of characters of a long name that remain, before a `-` and the 16 digits of its hash.
const REMAINING: usize = LONGEST - 17;

/// The TCP port in the pods at which Envoy answers health checks.
pub const HEALTH_PORT: u16 = 1233;

/// Where the proxies of a load balancer are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Embodiment {
    /// On gateways that the group's labels select: NodeProxies, or pods that somebody else creates.
    #[default]
    Node,
    /// In pods of a Deployment that the hub creates for this load balancer.
    Pod,
}

/// An annotation with a value that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metadata.annotations[{ANNOTATION}]: must be node or pod, is {0:?}")]
pub struct Unknown(String);

/// Returns what an object's annotation says. `Ok(None)`: it has none.
///
/// # Errors
/// Returns an error that quotes a value which is neither `node` nor `pod`.
pub fn given(meta: &ObjectMeta) -> Result<Option<Embodiment>, Unknown> {
    let value = meta.annotations.as_ref().and_then(|annotations| annotations.get(ANNOTATION));
    match value.map(String::as_str) {
        None => Ok(None),
        Some("node") => Ok(Some(Embodiment::Node)),
        Some("pod") => Ok(Some(Embodiment::Pod)),
        Some(other) => Err(Unknown(other.to_owned())),
    }
}

/// Returns the labels of a load balancer's own pods, which also select them (C.3).
pub fn labels(load_balancer: &str) -> BTreeMap<String, String> {
    let labels = [("app", "epic"), ("role", "proxy"), ("loadbalancer_cr", &short(load_balancer))];
    labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Returns the name of a load balancer's Deployment and of its container, `envoy-<load balancer>` (C.3).
pub fn name(load_balancer: &str) -> String {
    format!("{PREFIX}{}", short(load_balancer))
}

/// Returns a load balancer's name as it fits into labels and names of containers. A name that is longer, or has dots, is cut,
/// its dots become `-`, and a hash of the whole name follows. Should two load balancers get the same text nevertheless, the
/// later one's condition says that the Deployment isn't its own.
fn short(load_balancer: &str) -> String {
    if load_balancer.len() <= LONGEST && is_dns_label(load_balancer) {
        return load_balancer.to_owned();
    }
    let begin: String = load_balancer.chars().take(REMAINING).collect();
    let begin = begin.replace('.', "-");
    format!("{}-{:016x}", begin.trim_end_matches('-'), xxh3_64(load_balancer.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_labels_and_names_of_containers_and_stay_different() {
        assert_eq!((name("web").as_str(), labels("web")["loadbalancer_cr"].as_str()), ("envoy-web", "web"));
        let kept = "a".repeat(LONGEST);
        assert_eq!(labels(&kept)["loadbalancer_cr"], kept);
        let long = "a".repeat(253);
        let dotted = format!("{}.b", "a".repeat(REMAINING - 1));
        let names = [long.as_str(), &long[1..], "a.b", "a-b", &dotted].map(name);
        for name in &names {
            assert!(name.len() <= 63 && is_dns_label(name), "{name}");
        }
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len(), "{names:?}");
    }
}
