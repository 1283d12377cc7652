//! The endpoints of Services, put together from all EndpointSlices of each Service. Pure. Entry point: [`ServiceSlices`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt;
use portreeve_api::plan;
use portreeve_xds::Name;

use crate::index::Slices;
use crate::keyed_sets::KeyedSets;

/// The label with the name of a slice's Service.
const SERVICE: &str = "kubernetes.io/service-name";

/// An EndpointSlice, reduced to its endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// Its namespace and name.
    pub at: (Name, Name),
    /// The Service, in the same namespace. `None`: it belongs to no Service.
    pub service: Option<Name>,
    /// The endpoints.
    pub endpoints: Slices,
}

/// All EndpointSlices of one watch.
#[derive(Default)]
pub struct ServiceSlices {
    slices: HashMap<(Name, Name), Slice>,
    /// The slices of each Service.
    of_service: KeyedSets<(Name, Name), (Name, Name)>,
}

// === impl Slice ===

impl Slice {
    /// Reduces an EndpointSlice. Slices of host names (`addressType: FQDN`, which no Kubernetes controller creates) count as
    /// empty.
    pub fn from_kube(slice: &EndpointSlice) -> Self {
        let namespace = Name::from(slice.namespace().unwrap_or_default());
        let service = slice.labels().get(SERVICE).map(|name| Name::from(name.as_str()));
        let mut endpoints = Slices::default();
        for endpoint in &slice.endpoints {
            match pod_of(endpoint) {
                Some(uid) => {
                    endpoints.pods.insert(uid);
                }
                None => {
                    let found = endpoint.addresses.iter().filter_map(|text| text.parse().ok());
                    let service = service.as_deref().unwrap_or_default();
                    endpoints.addresses.extend(found.map(|ip| address(endpoint, ip, (&namespace, service))));
                }
            }
        }
        Self { at: (namespace, slice.name_any().into()), service, endpoints }
    }

    fn service(&self) -> Option<(Name, Name)> {
        Some((self.at.0.clone(), self.service.clone()?))
    }
}

/// Returns the uid of the pod that an endpoint is.
fn pod_of(endpoint: &Endpoint) -> Option<Name> {
    let target = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"))?;
    target.uid.as_deref().map(Name::from)
}

/// Returns an endpoint that is no pod. Its uid has a colon, which no pod's has.
fn address(endpoint: &Endpoint, ip: IpAddr, (namespace, service): (&str, &str)) -> plan::Endpoint {
    let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
    plan::Endpoint {
        uid: format!("address:{namespace}/{service}/{ip}"),
        namespace: namespace.to_owned(),
        name: ip.to_string(),
        node: endpoint.node_name.clone().unwrap_or_default(),
        ips: vec![ip.to_string()],
        // Unknown readiness counts as ready.
        ready: ready.unwrap_or(true),
        ..plan::Endpoint::default()
    }
}

// === impl ServiceSlices ===

impl ServiceSlices {
    /// Adds or changes a slice. Returns the Services, by namespace and name, whose endpoints may have changed.
    pub fn apply(&mut self, slice: Slice) -> BTreeSet<(Name, Name)> {
        if self.slices.get(&slice.at) == Some(&slice) {
            return BTreeSet::new();
        }
        let mut changed = self.delete(&slice.at);
        if let Some(service) = slice.service() {
            self.of_service.insert(service.clone(), slice.at.clone());
            changed.insert(service);
        }
        self.slices.insert(slice.at.clone(), slice);
        changed
    }

    /// Removes a slice. Returns the Service that it belonged to.
    pub fn delete(&mut self, at: &(Name, Name)) -> BTreeSet<(Name, Name)> {
        let service = self.slices.remove(at).and_then(|old| old.service());
        if let Some(service) = &service {
            self.of_service.remove(service, at);
        }
        service.into_iter().collect()
    }

    /// Takes the complete list. Returns the Services whose endpoints may have changed.
    pub fn reset(&mut self, slices: Vec<Slice>) -> BTreeSet<(Name, Name)> {
        let listed: BTreeSet<&(Name, Name)> = slices.iter().map(|slice| &slice.at).collect();
        let gone: Vec<_> = self.slices.keys().filter(|at| !listed.contains(at)).cloned().collect();
        let mut changed: BTreeSet<_> = gone.iter().flat_map(|at| self.delete(at)).collect();
        slices.into_iter().for_each(|slice| changed.extend(self.apply(slice)));
        changed
    }

    /// Returns the endpoints of a Service. `None` if it has no slice.
    pub fn of(&self, service: &(Name, Name)) -> Option<Slices> {
        self.of_service.get(service)?;
        let slices = || self.of_service.of(service).filter_map(|at| self.slices.get(at));
        let pods = slices().flat_map(|slice| slice.endpoints.pods.iter().cloned()).collect();
        let addresses = slices().flat_map(|slice| slice.endpoints.addresses.iter().cloned());
        // An address may be in two slices while it moves from one to the other.
        let addresses: BTreeMap<String, plan::Endpoint> =
            addresses.map(|address| (address.uid.clone(), address)).collect();
        Some(Slices { pods, addresses: addresses.into_values().collect() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn mk_slice(name: &str, service: Option<&str>, endpoints: &Value) -> Slice {
        let labels = service.map(|service| json!({SERVICE: service}));
        let slice = json!({
            "addressType": "IPv4", "endpoints": endpoints,
            "metadata": {"name": name, "namespace": "ns", "labels": labels},
        });
        Slice::from_kube(&serde_json::from_value(slice).unwrap())
    }

    fn pod(uid: &str) -> Value {
        json!({"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "uid": uid}})
    }

    fn service(name: &str) -> (Name, Name) {
        ("ns".into(), name.into())
    }

    /// The pods and addresses of a Service.
    fn listed(slices: &ServiceSlices, name: &str) -> Option<Vec<String>> {
        let found = slices.of(&service(name))?;
        let pods = found.pods.iter().map(ToString::to_string);
        let address = |one: &plan::Endpoint| format!("{} {} {}", one.uid, one.node, one.ready);
        Some(pods.chain(found.addresses.iter().map(address)).collect())
    }

    #[test]
    fn endpoints_of_a_service_are_those_of_all_its_slices() {
        let mut slices = ServiceSlices::default();
        let bare = json!({"addresses": ["10.9.9.9"], "nodeName": "a", "conditions": {"ready": false}});
        assert_eq!(slices.apply(mk_slice("s-1", Some("s"), &json!([pod("p"), bare]))), [service("s")].into());
        slices.apply(mk_slice("s-2", Some("s"), &json!([pod("q"), pod("p")])));
        slices.apply(mk_slice("t-1", Some("t"), &json!([])));
        assert_eq!(listed(&slices, "s").unwrap(), ["p", "q", "address:ns/s/10.9.9.9 a false"]);
        assert_eq!(listed(&slices, "t").unwrap(), [""; 0]);
        assert_eq!(listed(&slices, "u"), None);
        slices.delete(&service("s-1"));
        assert_eq!(listed(&slices, "s").unwrap(), ["p", "q"]);
    }

    #[test]
    fn only_services_that_changed_are_reported() {
        let mut slices = ServiceSlices::default();
        let one = mk_slice("s-1", Some("s"), &json!([pod("p")]));
        slices.apply(one.clone());
        slices.apply(mk_slice("t-1", Some("t"), &json!([])));
        assert!(slices.apply(one.clone()).is_empty(), "the same again");
        assert_eq!(slices.reset(vec![one]), [service("t")].into());
        assert_eq!(listed(&slices, "t"), None);
        let moved = slices.apply(mk_slice("s-1", Some("t"), &json!([pod("p")])));
        assert_eq!(moved, [service("s"), service("t")].into());
        assert_eq!(slices.apply(mk_slice("s-1", None, &json!([pod("p")]))), [service("t")].into());
        assert_eq!(listed(&slices, "t"), None);
    }

    #[test]
    fn address_without_readiness_is_ready_and_a_host_name_is_no_address() {
        let mut slices = ServiceSlices::default();
        let endpoints = json!([{"addresses": ["FD00::1"]}, {"addresses": ["db.example.org"]},
            {"addresses": ["10.0.0.2"], "targetRef": {"kind": "Node", "uid": "n"}}]);
        slices.apply(mk_slice("s-1", Some("s"), &endpoints));
        let expected = ["address:ns/s/10.0.0.2  true", "address:ns/s/fd00::1  true"];
        assert_eq!(listed(&slices, "s").unwrap(), expected);
    }
}
