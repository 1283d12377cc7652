//! API D: IngressListener and EgressListener → Plan, and what both have in common. Each object becomes one listener and one
//! cluster of its Plan, for the proxies of a name in the object's own namespace.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::conditions::Reason;
use portreeve_api::d::Layer;
use portreeve_api::kind::Kind;
use portreeve_api::model::{self, Balancer, EndpointSource, Plan, Protocol, ProxyKind, Selector, Socket};
use portreeve_api::names;
use portreeve_api::pod::PROXY_NAME_ANNOTATION;
use portreeve_api::refs::{ClusterPath, SecretName, SecretPart};
use portreeve_xds::Name;

use crate::lookup::Lookup;
use crate::object::Resolved;
use crate::resolve::origin;
use crate::selection::{PodSelection, Selection};
use crate::settings::Settings;

pub mod egress;
pub mod ingress;
mod material;
#[cfg(test)]
mod tests;

/// How long a connection to an endpoint may take, as in the replaced control plane.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The protocols that HTTP offers in the TLS handshake.
const HTTP_SERVER_ALPN: [&str; 2] = ["h2", "http/1.1"];

/// The annotations of pods that these objects read.
fn annotations(settings: &Settings) -> Vec<String> {
    vec![settings.cluster_name_annotation.clone(), PROXY_NAME_ANNOTATION.to_owned()]
}

/// The state of one object's resolution.
struct Resolving<'l, 'a> {
    origin: model::Origin,
    lookup: &'l mut Lookup<'a>,
    groups: Vec<Selection>,
    warnings: Vec<(Reason, String)>,
    missing: Vec<String>,
}

// === impl Resolving ===

impl<'l, 'a> Resolving<'l, 'a> {
    fn new(kind: &Kind, meta: &ObjectMeta, lookup: &'l mut Lookup<'a>) -> Self {
        let origin = origin::of(kind, meta);
        Self { origin, lookup, groups: Vec::new(), warnings: Vec::new(), missing: Vec::new() }
    }

    fn warn(&mut self, reason: Reason, text: impl Into<String>) {
        self.warnings.push((reason, text.into()));
    }

    /// Warns of a value of `layer` or `lbpolicy` that is neither tcp nor http.
    fn remark_on_layer(&mut self, layer: &Layer, field: &str) {
        if let Layer::Other(value) = layer {
            self.warn(
                Reason::Unsupported,
                format!("{field}: {value:?} is neither tcp nor http; TCP is served, as for tcp"),
            );
        }
    }

    /// Warns of a cluster whose name reaches proxies escaped.
    fn remark_on_name(&mut self, cluster: &str) {
        if !names::is_plain(cluster) {
            let form = names::proxy_part(cluster);
            let text = format!("cluster {cluster}: proxies know it as {form}; give it a plain name");
            self.warn(Reason::EscapedName, text);
        }
    }

    /// Returns the group of a cluster's pods: those that are ready, or with `unready` all that have an address.
    fn group(&mut self, cluster: &str, unready: bool) -> Name {
        let key = self.lookup.cluster_name_annotation();
        let selection = Selection::Pods(PodSelection::of_cluster(key, cluster, unready));
        let name = selection.name();
        self.groups.push(selection);
        name
    }

    /// Returns the name of a Secret's part, and notes what it lacks. `field` names the Secret in the object.
    fn secret(&mut self, name: &str, part: SecretPart, field: &str) -> Name {
        let namespace = Name::from(self.origin.namespace.as_str());
        // All keys are asked for at once, also of a Secret that is not known yet, so that it is read once.
        let asked = part.keys().iter().map(|key| (*key, self.content(&namespace, name, key)));
        let contents: BTreeMap<&str, Option<&[u8]>> = asked.collect();
        let content = |key: &str| contents.get(key).copied().flatten();
        let problems: Vec<String> = match self.lookup.secret(&namespace, &name.into()) {
            None => vec!["does not exist".into()],
            Some(_) => part.keys().iter().filter_map(|key| material::flaw(key, content)).collect(),
        };
        for problem in problems {
            let told = format!("{field}: Secret {namespace}/{name} {problem}");
            // A client's Secret may be looked up for both of its parts.
            if !self.missing.contains(&told) {
                self.missing.push(told);
            }
        }
        SecretName::new(namespace, name, part).to_string().into()
    }

    fn content(&mut self, namespace: &Name, name: &str, key: &str) -> Option<&'a [u8]> {
        Some(self.lookup.secret_content(namespace, &name.into(), key)?.as_slice())
    }

    /// Completes the result. The Plan has one listener, which forwards to the cluster.
    fn finish(self, proxy_name: String, mut listener: model::Listener, cluster: model::Cluster) -> Resolved {
        let Self { origin, lookup: _, groups, warnings, missing } = self;
        let namespace = origin.namespace.clone();
        listener.rules.push(model::Rule::forward(&cluster.name));
        let workload =
            Selection::Named { namespace: namespace.as_str().into(), proxy_name: proxy_name.clone() };
        let plan = Plan {
            workload: model::Workload {
                namespace: Some(namespace.clone()),
                selector: Selector::default(),
                proxy_name: Some(proxy_name),
                node_name: None,
                proxy_kind: Some(ProxyKind::Envoy),
                other_kinds: false,
                service_group: None,
            },
            dns_namespace: namespace,
            origin,
            listeners: vec![listener],
            clusters: vec![cluster],
            rule_lists: Vec::new(),
            needs: Vec::new(),
            envoy: Vec::new(),
            pod_bridge: None,
            tunnels: None,
        };
        Resolved { plan, workload, groups, warnings, missing, told: Vec::new() }
    }
}

/// Returns a listener that forwards all its connections.
fn listener(name: &str, socket: Socket, http: bool) -> model::Listener {
    model::Listener {
        name: name.into(),
        socket: Some(socket),
        rules: Vec::new(),
        tls: None,
        sources: None,
        http,
        options: None,
        needs: Vec::new(),
    }
}

/// Returns a cluster with one entry of endpoints.
fn cluster(listener: &str, name: &str, source: EndpointSource, http: bool) -> model::Cluster {
    model::Cluster {
        name: ClusterPath::new(listener, name).to_string(),
        socket: Some(Socket::new(Protocol::Tcp, None)),
        endpoints: vec![source],
        balancer: Some(Balancer::RoundRobin),
        health_check: None,
        tls: None,
        http,
        connect_timeout: Some(CONNECT_TIMEOUT),
        needs: Vec::new(),
        elsewhere: None,
    }
}
