//! LoadBalancer → Plan: a listener for each port on the public address, to the endpoints of that port's name.
//!
//! In pods of the load balancer's own ([`Embodiment::Pod`]) the listeners are on all addresses of the pod: Multus, if it is
//! installed, has put the public address there, and without Multus the pod's own address is the one that traffic can reach.
//! On gateways they are on the public address alone, with `IP_FREEBIND`, because the address moves between nodes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::c::finalizers::Finalized;
use portreeve_api::c::group::GroupForm;
use portreeve_api::c::load_balancer::{DEFINITION, KIND, LoadBalancer, LoadBalancerForm};
use portreeve_api::c::names::DEFAULT_PREFIX;
use portreeve_api::c::port::{Port, Transport};
use portreeve_api::c::service_prefix::MULTUS_BRIDGE;
use portreeve_api::conditions::Reason;
use portreeve_api::kind::Kind;
use portreeve_api::model::{self, EnvoyResource, Plan, ProxyKind, TEMPLATE, TUNNELS, Tunnels};
use portreeve_api::refs::{ObjectRef, PlanName};
use portreeve_api::violation::Violation;
use serde_json::{Value, json};

use super::age::age;
use super::embodiment::{self, Embodiment, HEALTH_PORT};
use super::ports::Served;
use super::template::{self, Made, Template};
use super::tunnels::{self, Reached};
use super::{endpoint, group, prefix};
use crate::lookup::{FoundBy, Lookup};
use crate::object::{self, Custom, Rejection, Resolved, Role, Root};
use crate::resolve::origin;
use crate::row::Row;
use crate::selection::{Selection, SelectorScope};

/// How the hub treats LoadBalancers.
pub const ROW: Row = Row {
    kind: &KIND,
    letters: "cb",
    label: "epic-loadbalancer",
    plural: "loadbalancers",
    watch: "watch of loadbalancers",
    resource: DEFINITION.resource,
    read: object::read::<LoadBalancer>,
    removes: |finalizer| Finalized::LoadBalancer.knows(finalizer),
    annotations: |_| Vec::new(),
    fields: &[],
    services: false,
    announces: false,
    interface: true,
    allocates: true,
};

/// The label of the gateways that serve a group, with the group's name, unless the group names others.
const GROUP_LABEL: &str = "epic.acnodal.io/owning-servicegroup";

/// The field by which load balancers of a public address are found.
pub const ADDRESS: &str = "public-address";

/// The field by which load balancers of a namespace are found.
pub const NAMESPACE: &str = "namespace";

/// The field by which load balancers are found that name a group, in whichever namespace.
pub const GROUP: &str = "group";

impl Custom for LoadBalancer {
    const KIND: &'static Kind = &KIND;

    fn rules(&self) -> Vec<Violation> {
        self.validate()
    }

    fn what_for(&self) -> Role<'_> {
        Role::Root(self)
    }

    fn fields(&self) -> Option<Vec<FoundBy>> {
        let address = self.form().ok().and_then(|form| form.public_address);
        let address = address.map(|address| (ADDRESS, address.to_string().into()));
        let group = self.group().ok().flatten().map(|name| (GROUP, name.into()));
        let namespace = self.metadata.namespace.as_deref().unwrap_or("default");
        Some(address.into_iter().chain(group).chain([(NAMESPACE, namespace.into())]).collect())
    }

    fn status_of_plan(&self) -> Value {
        self.status
            .as_ref()
            .map_or(Value::Null, |status| json!([status.gue_tunnel_endpoints, status.tunnel_peers]))
    }
}

impl Root for LoadBalancer {
    fn resolve(&self, lookup: &mut Lookup<'_>) -> Result<Resolved, Rejection> {
        let form = self.form().map_err(|broken| Rejection::of_violations(&broken))?;
        let mut resolving = Resolving::new(&self.metadata, lookup);
        let proxies = resolving.proxies(&self.metadata, &form)?;
        let address = form.public_address;
        match address {
            Some(address) => resolving.check_owner(self, address),
            None => resolving.note_missing_address(),
        }
        if proxies.embodiment == Embodiment::Pod {
            refuse_health_port(&form)?;
            resolving.warn_of_missing_pods();
        }
        let reached = resolving.reach(self, &form, proxies.embodiment)?;
        let (endpoints, source) = (reached.endpoints, reached.tunnels.as_ref().map(|all| all.public_address));
        let made = match (address, proxies.template(&form)) {
            (Some(address), Some(template)) => {
                let (name, plan) = (&*resolving.origin.name, &PlanName::from(&resolving.origin));
                let address = proxies.address(address);
                let served =
                    template::Served { name, plan, form: &form, address, endpoints: &endpoints, source };
                template::render(&template, &served)?
            }
            (Some(address), None) => {
                let served = Served { clusters: &form.upstream_clusters, endpoints: &endpoints, source };
                let address = proxies.address(address);
                let (listeners, clusters) = form.ports.iter().map(|port| served.open(address, port)).unzip();
                Made { listeners, clusters, envoy: Vec::new() }
            }
            (None, _) => Made::default(),
        };
        Ok(resolving.finish(&proxies, made, reached.tunnels))
    }
}

/// The proxies of a load balancer.
struct Proxies {
    embodiment: Embodiment,
    labels: BTreeMap<String, String>,
    /// The bridge that connects pods with the public address.
    bridge: Option<String>,
    /// The group and its name.
    group: Option<(String, GroupForm)>,
}

/// The state of one object's resolution.
struct Resolving<'l, 'a> {
    origin: model::Origin,
    lookup: &'l mut Lookup<'a>,
    missing: Vec<String>,
    warnings: Vec<(Reason, String)>,
}

// === impl Resolving ===

impl<'l, 'a> Resolving<'l, 'a> {
    fn new(meta: &ObjectMeta, lookup: &'l mut Lookup<'a>) -> Self {
        Self { origin: origin::of(&KIND, meta), lookup, missing: Vec::new(), warnings: Vec::new() }
    }

    /// Returns the proxies, and notes what keeps the group from being found.
    fn proxies(&mut self, meta: &ObjectMeta, form: &LoadBalancerForm) -> Result<Proxies, Rejection> {
        let group = self.group(form);
        let name = form.group.as_ref().ok().and_then(Option::as_deref).unwrap_or_default();
        let embodiment = group::embodiment(meta, group.as_ref()).map_err(Rejection::invalid)?;
        let by_name = || BTreeMap::from([(GROUP_LABEL.to_owned(), name.to_owned())]);
        let (gateways, group) = match group {
            Some(found) => {
                let form = found.form.map_err(|broken| Rejection::of_violations(&broken))?;
                (found.gateways, Some((name.to_owned(), form)))
            }
            None => (None, None),
        };
        let labels = match embodiment {
            Embodiment::Pod => embodiment::labels(&self.origin.name),
            Embodiment::Node => gateways.unwrap_or_else(by_name),
        };
        let bridge = match embodiment {
            Embodiment::Pod => Some(self.bridge(form, group.as_ref().map(|(_, group)| group))),
            Embodiment::Node => None,
        };
        Ok(Proxies { embodiment, labels, bridge, group })
    }

    /// Returns the bridge that connects pods with the public address.
    fn bridge(&mut self, form: &LoadBalancerForm, group: Option<&GroupForm>) -> String {
        let named = group::prefix(form, group).ok().flatten();
        let prefix = prefix::find(self.lookup, named.as_deref().unwrap_or(DEFAULT_PREFIX));
        prefix.map_or_else(|| MULTUS_BRIDGE.to_owned(), |prefix| prefix.multus_bridge)
    }

    /// Returns how the endpoints are reached, and notes what keeps some of them from being served.
    fn reach(
        &mut self,
        of: &LoadBalancer,
        form: &LoadBalancerForm,
        embodiment: Embodiment,
    ) -> Result<Reached, Rejection> {
        let all = endpoint::of(self.lookup, &self.origin.namespace, &self.origin.name);
        if embodiment == Embodiment::Pod {
            return Ok(Reached { endpoints: all, ..Reached::default() });
        }
        let reached = tunnels::of(self.lookup, (of, form), all);
        if let Some(port) = reached.tunnels.as_ref().and_then(|all| tunnels::taken_port(all, form)) {
            let message = format!(
                "spec.public-ports: UDP {port} is the port of the tunnels: choose another one, or set \
                 spec.base.gue-endpoint of EPIC epic/epic"
            );
            return Err(Rejection { reason: Reason::Unsupported, message });
        }
        self.warnings.extend(reached.waiting.iter().map(|text| (Reason::Pending, text.clone())));
        Ok(reached)
    }

    /// Returns the group, or notes what keeps it from being found.
    fn group(&mut self, form: &LoadBalancerForm) -> Option<group::Group> {
        let name = match &form.group {
            Ok(Some(name)) => name,
            Ok(None) => {
                self.missing.push(format!("no group is named: set the label {GROUP_LABEL}"));
                return None;
            }
            Err(disagreement) => {
                self.missing.push(disagreement.to_string());
                return None;
            }
        };
        let namespace = self.origin.namespace.clone();
        let found = group::find(self.lookup, &namespace, name);
        if found.is_none() {
            let text =
                format!("there is no ServiceGroup or LBServiceGroup {name} in namespace {namespace} or epic");
            self.missing.push(text);
        }
        found
    }

    /// Tells why the hub could not create the pods. Those that run serve meanwhile.
    fn warn_of_missing_pods(&mut self) {
        if let Some(why) = self.lookup.unallocated(&self.key()) {
            self.warnings.push((Reason::NotRunning, why.to_owned()));
        }
    }

    /// Notes that an older load balancer has the address. Two never share one (C18).
    fn check_owner(&mut self, of: &LoadBalancer, address: IpAddr) {
        let same = self.lookup.listed::<LoadBalancer>(&KIND, ADDRESS, address.to_string());
        let oldest = same.into_iter().min_by_key(|(key, other)| age(key, &other.metadata));
        let own = age(&self.key(), &of.metadata);
        let Some((key, _)) = oldest.filter(|(key, other)| age(key, &other.metadata) < own) else {
            return;
        };
        self.missing.push(format!(
            "spec.public-address {address} belongs to {}, which is older: set another one, or recreate this object without \
             one to get a free one",
            key.title()
        ));
    }

    /// Notes why there is no address, unless something else that is missing explains it.
    fn note_missing_address(&mut self) {
        if !self.missing.is_empty() {
            return;
        }
        let why = self.lookup.unallocated(&self.key());
        let waits = "spec.public-address is empty: the leading hub sets it to a free address of the pool; without an API \
                     server, set the address that the gateways are to listen on";
        self.missing.push(why.unwrap_or(waits).to_owned());
    }

    fn key(&self) -> ObjectRef {
        ObjectRef::namespaced(&KIND, self.origin.namespace.as_str(), self.origin.name.as_str())
    }

    /// Completes the result.
    fn finish(self, proxies: &Proxies, made: Made, tunnels: Option<Tunnels>) -> Resolved {
        let (Self { origin, lookup, missing, warnings }, Made { listeners, clusters, envoy }) = (self, made);
        let scope = match proxies.embodiment {
            Embodiment::Pod => SelectorScope::Namespace,
            Embodiment::Node => lookup.scope(),
        };
        let workload = Selection::of_labels(&proxies.labels, &origin.namespace, scope);
        let plan = Plan {
            workload: model::Workload {
                namespace: workload.namespace().map(ToString::to_string),
                selector: workload.requirements(),
                proxy_name: None,
                node_name: None,
                proxy_kind: Some(ProxyKind::Envoy),
                other_kinds: false,
                service_group: None,
            },
            dns_namespace: origin.namespace.clone(),
            origin,
            listeners,
            clusters,
            rule_lists: Vec::new(),
            needs: needs(&envoy, tunnels.as_ref()),
            envoy,
            pod_bridge: proxies.bridge.clone(),
            tunnels,
        };
        Resolved { plan, workload, groups: Vec::new(), warnings, missing, told: Vec::new() }
    }
}

/// Returns what agents must know. Those of version 0.1.0 would build listeners from the ports, and send to endpoints without tunnels.
fn needs(envoy: &[EnvoyResource], tunnels: Option<&Tunnels>) -> Vec<String> {
    let template = (!envoy.is_empty()).then_some(TEMPLATE);
    template.into_iter().chain(tunnels.map(|_| TUNNELS)).map(str::to_owned).collect()
}

/// Refuses the port that Envoy itself has in the pods.
fn refuse_health_port(form: &LoadBalancerForm) -> Result<(), Rejection> {
    let is_taken = |port: &Port| port.transport == Transport::Tcp && port.port.get() == HEALTH_PORT;
    if !form.ports.iter().any(is_taken) {
        return Ok(());
    }
    let message = format!(
        "spec.public-ports: TCP {HEALTH_PORT} is the port of health checks in pods: choose another one, or set the annotation \
         {} to node",
        embodiment::ANNOTATION
    );
    Err(Rejection { reason: Reason::Unsupported, message })
}

// === impl Proxies ===

impl Proxies {
    /// Returns the address that listeners bind, on which the sockets' scope depends.
    fn address(&self, public: IpAddr) -> IpAddr {
        match (self.embodiment, public) {
            (Embodiment::Node, _) => public,
            (Embodiment::Pod, IpAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
            (Embodiment::Pod, IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// Returns the template: the load balancer's own copy, or the group's.
    fn template<'a>(&'a self, form: &'a LoadBalancerForm) -> Option<Template<'a>> {
        if let Some(spec) = &form.envoy_template {
            return Some(Template { spec, of: "spec.envoy-template".to_owned() });
        }
        let (name, group) = self.group.as_ref()?;
        let spec = group.envoy_template.as_ref()?;
        Some(Template { spec, of: format!("spec.envoy-template of group {name}") })
    }
}
