//! [`Plan`]: the configuration that one custom resource requests from the proxies that it selects.

use bytes::Bytes;
use portreeve_xds::Name;

use super::flaw::{self, Flaw, UnreadablePlan};
use super::{Cluster, EnvoyBody, EnvoyResource, Listener, RuleList, Tunnels, Workload};
use crate::plan as proto;
use crate::refs::PlanName;

/// The configuration that one custom resource requests from the proxies that it selects (message `Plan`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The object that the Plan was made from.
    pub origin: Origin,
    /// The proxies that the Plan is for.
    pub workload: Workload,
    /// The ports that the Plan opens.
    pub listeners: Vec<Listener>,
    /// The destinations of its listeners. Their names are unique in the Plan.
    pub clusters: Vec<Cluster>,
    /// Rules for lists that the proxies own (API B).
    pub rule_lists: Vec<RuleList>,
    /// The namespace whose search list resolves host names of its endpoints.
    pub dns_namespace: String,
    /// Features, added after version 0.1.0, that all listeners rely on. An agent that doesn't know one of them opens none of
    /// the listeners.
    pub needs: Vec<String>,
    /// What an Envoy gets in place of what is built from the listener or cluster of the same name (API C).
    pub envoy: Vec<EnvoyResource>,
    /// The Plan is for pods of its own, and agents report the interface of their node that leads to such a pod (API C). Of
    /// several, it is the one of this bridge. `None`: nothing is reported.
    pub pod_bridge: Option<String>,
    /// The endpoints that are reached through GUE tunnels (API C). `None`: none is.
    pub tunnels: Option<Tunnels>,
}

/// The entry of [`Plan::needs`] of a Plan with resources in [`Plan::envoy`].
pub const TEMPLATE: &str = "template";

/// The entry of [`Plan::needs`] of a Plan with [`Plan::tunnels`].
pub const TUNNELS: &str = "tunnels";

/// The object that a Plan was made from (message `Origin`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The API's letter. An agent also serves Plans of APIs that only a newer hub knows.
    pub api: String,
    /// The object's Kubernetes kind.
    pub kind: String,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The object's UID; empty for an object without one.
    pub uid: String,
    /// The object's creation, in milliseconds since the Unix epoch. `None`: not known; sorts before every known time.
    pub created_ms: Option<i64>,
}

// === impl Plan ===

impl Plan {
    /// The Plan's name. It is also the name of its resource, and the prefix of the names of everything made from it.
    pub fn name(&self) -> PlanName {
        PlanName::from(&self.origin)
    }

    /// Returns the cluster with this name.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// Returns the bytes of a listener that a template made.
    pub fn envoy_listener(&self, name: &str) -> Option<&Bytes> {
        self.envoy_body(name, |body| if let EnvoyBody::Listener(bytes) = body { Some(bytes) } else { None })
    }

    /// Returns the bytes of a cluster that a template made.
    pub fn envoy_cluster(&self, name: &str) -> Option<&Bytes> {
        self.envoy_body(name, |body| if let EnvoyBody::Cluster(bytes) = body { Some(bytes) } else { None })
    }

    /// Returns the bytes of a cluster's assignment that a template made.
    pub fn envoy_assignment(&self, name: &str) -> Option<&Bytes> {
        self.envoy_body(name, |body| if let EnvoyBody::Assignment(bytes) = body { Some(bytes) } else { None })
    }

    fn envoy_body(&self, name: &str, of_type: fn(&EnvoyBody) -> Option<&Bytes>) -> Option<&Bytes> {
        let bodies = self.envoy.iter().filter(|one| one.name == name).filter_map(|one| one.body.as_ref());
        bodies.filter_map(of_type).next()
    }

    /// Returns the names of the Secret resources that its listeners and clusters refer to. A name may be repeated.
    pub fn secrets(&self) -> impl Iterator<Item = &Name> {
        let of_listeners = self.listeners.iter().filter_map(|listener| listener.tls.as_ref());
        let of_clusters = self.clusters.iter().filter_map(|cluster| cluster.tls.as_ref());
        of_listeners.chain(of_clusters).flat_map(|tls| tls.certificate.iter().chain(&tls.authority))
    }
}

impl TryFrom<proto::Plan> for Plan {
    type Error = UnreadablePlan;

    /// # Errors
    /// Returns the first invalid field, or an origin or a workload that is missing or unknown to this version.
    fn try_from(message: proto::Plan) -> Result<Self, UnreadablePlan> {
        let proto::Plan {
            origin,
            workload,
            listeners,
            clusters,
            rule_lists,
            dns_namespace,
            needs,
            envoy,
            pod_bridge,
            tunnels,
        } = message;
        let origin: Origin = match origin.ok_or_else(|| Flaw::missing("origin")).and_then(Origin::try_from) {
            Ok(origin) => origin,
            Err(flaw) => return Err(UnreadablePlan { plan: String::new(), flaw }),
        };
        let read = || {
            let workload = workload.ok_or_else(|| Flaw::missing("workload"))?;
            Ok(Self {
                origin: origin.clone(),
                workload: Workload::try_from(workload).map_err(|flaw| flaw.under("workload"))?,
                listeners: flaw::all(listeners)?,
                clusters: flaw::all(clusters)?,
                rule_lists: flaw::all(rule_lists)?,
                dns_namespace,
                needs,
                envoy: flaw::all(envoy)?,
                pod_bridge,
                tunnels: tunnels.map(Tunnels::try_from).transpose()?,
            })
        };
        read().map_err(|flaw| UnreadablePlan { plan: PlanName::from(&origin).to_string(), flaw })
    }
}

impl From<&Plan> for proto::Plan {
    fn from(plan: &Plan) -> Self {
        let Plan {
            origin,
            workload,
            listeners,
            clusters,
            rule_lists,
            dns_namespace,
            needs,
            envoy,
            pod_bridge,
            tunnels,
        } = plan;
        Self {
            origin: Some(origin.into()),
            workload: Some(workload.into()),
            listeners: flaw::written(listeners),
            clusters: flaw::written(clusters),
            rule_lists: flaw::written(rule_lists),
            dns_namespace: dns_namespace.clone(),
            needs: needs.clone(),
            envoy: flaw::written(envoy),
            pod_bridge: pod_bridge.clone(),
            tunnels: tunnels.as_ref().map(Into::into),
        }
    }
}

// === impl Origin ===

impl TryFrom<proto::Origin> for Origin {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if the API, the namespace or the name is empty.
    fn try_from(message: proto::Origin) -> Result<Self, Flaw> {
        let proto::Origin { api, namespace, name, uid, created_ms, kind } = message;
        Ok(Self {
            api: flaw::full("origin.api", api)?,
            kind,
            namespace: flaw::full("origin.namespace", namespace)?,
            name: flaw::full("origin.name", name)?,
            uid,
            created_ms: (created_ms != 0).then_some(created_ms),
        })
    }
}

impl From<&Origin> for PlanName {
    /// The name of the Plan that was made from this object.
    fn from(origin: &Origin) -> Self {
        let Origin { api, kind, namespace, name, uid: _, created_ms: _ } = origin;
        Self::of([api, kind, namespace, name])
    }
}

impl From<&Origin> for proto::Origin {
    fn from(origin: &Origin) -> Self {
        let Origin { api, kind, namespace, name, uid, created_ms } = origin.clone();
        Self { api, namespace, name, uid, created_ms: created_ms.unwrap_or_default(), kind }
    }
}
