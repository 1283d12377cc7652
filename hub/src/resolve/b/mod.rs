//! API B: VirtualService, Target and Rule → Plan, and what they have in common. A VirtualService becomes a listener, a
//! Target a cluster, and a Rule a rule for one of the proxies' own rule lists. Routes, and Targets without a selector,
//! become part of the Plans that use them.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::conditions::Reason;
use portreeve_api::kind::Kind;
use portreeve_api::model as plan;
use portreeve_api::model::{Plan, ProxyKind};

use crate::lookup::Lookup;
use crate::object::{Rejection, Resolved};
use crate::resolve::origin;
use crate::selection::{PodSelection, Selection};

mod clusters;
mod hops;
mod json_socket;
mod model;
mod pods;
mod reference;
pub mod route;
pub mod rule;
mod rules;
pub mod target;
#[cfg(test)]
mod tests;
pub mod virtual_service;

/// The field by which Targets find the Routes, and the VirtualServices with other listeners than JSONSocket, that lead to
/// them or to those Routes.
const USES: &str = "uses";

/// The same for VirtualServices with JSONSocket listeners.
const JSON_SOCKET_USES: &str = "uses by JSONSocket";

/// The annotation of an object with the TCP port at which the pods of its endpoint selectors are checked.
pub const HEALTH_PORT_ANNOTATION: &str = "portreeve.dev/health-check-port";

/// The name of a Target's cluster in its Plan.
const CLUSTER: &str = "cluster";

/// The state of one object's resolution.
struct Resolving<'l, 'a> {
    origin: plan::Origin,
    lookup: &'l mut Lookup<'a>,
    groups: Vec<Selection>,
    clusters: BTreeMap<String, plan::Cluster>,
    warnings: Vec<(Reason, String)>,
    missing: Vec<String>,
    /// Whether the sessions come from JSONSocket listeners, so that their labels are under `/JSONSocket`.
    json_socket: bool,
    /// The port of the health check of the pods that endpoint selectors select. `None`: they are not checked.
    health_port: Option<NonZeroU16>,
}

// === impl Resolving ===

impl<'l, 'a> Resolving<'l, 'a> {
    fn new(kind: &Kind, meta: &ObjectMeta, lookup: &'l mut Lookup<'a>) -> Result<Self, Rejection> {
        Ok(Self {
            origin: origin::of(kind, meta),
            lookup,
            groups: Vec::new(),
            clusters: BTreeMap::new(),
            warnings: Vec::new(),
            missing: Vec::new(),
            json_socket: false,
            health_port: health_port(meta)?,
        })
    }

    fn warn(&mut self, reason: Reason, text: String) {
        self.warnings.push((reason, text));
    }

    /// Adds a warning for each unknown field.
    fn warn_of_unknown(&mut self, fields: Vec<String>) {
        self.warnings.extend(fields.into_iter().map(|text| (Reason::UnknownField, text)));
    }

    /// Notes a reference that leads to nothing.
    fn miss(&mut self, text: String) {
        if !self.missing.contains(&text) {
            self.missing.push(text);
        }
    }

    /// Completes the result for the proxies in these pods.
    fn finish(
        self,
        workload: PodSelection,
        listeners: Vec<plan::Listener>,
        rule_lists: Vec<plan::RuleList>,
    ) -> Resolved {
        let workload = Selection::Pods(workload);
        let plan = Plan {
            workload: plan::Workload {
                namespace: workload.namespace().map(ToString::to_string),
                selector: workload.requirements(),
                proxy_name: None,
                node_name: None,
                proxy_kind: Some(ProxyKind::L7mp),
                other_kinds: true,
                service_group: None,
            },
            dns_namespace: self.origin.namespace.clone(),
            origin: self.origin,
            listeners,
            clusters: self.clusters.into_values().collect(),
            rule_lists,
            needs: Vec::new(),
            envoy: Vec::new(),
            pod_bridge: None,
            tunnels: None,
        };
        let (groups, warnings, missing) = (self.groups, self.warnings, self.missing);
        Resolved { plan, workload, groups, warnings, missing, told: Vec::new() }
    }
}

/// Returns the port of the health check that an object's annotation sets for the pods of its endpoint selectors.
fn health_port(meta: &ObjectMeta) -> Result<Option<NonZeroU16>, Rejection> {
    let annotation = meta.annotations.as_ref().and_then(|all| all.get(HEALTH_PORT_ANNOTATION));
    let Some(text) = annotation else { return Ok(None) };
    let port = text.parse().map_err(|_| {
        Rejection::invalid(format!("metadata.annotations[{HEALTH_PORT_ANNOTATION}]: {text:?} is not a port"))
    })?;
    Ok(Some(port))
}
