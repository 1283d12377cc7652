//! What becomes of LoadBalancers: listeners on the public address, endpoints by port name and cluster, and what keeps one
//! closed.

use portreeve_api::kind::Kind;
use portreeve_api::model::{Plan, Source};
use portreeve_api::refs::ObjectRef;
use portreeve_api::{c, plan};
use serde_json::{Value, json};

use crate::lookup::{Answers, Fact, Lookup};
use crate::object::{Object, Rejection, Resolved, Role};
use crate::settings::Settings;

mod pods;
mod template;
mod tunnels;

const NAMESPACE: &str = "epic-a";

/// The objects that resolvers look up.
#[derive(Default)]
struct World {
    pub answers: Answers,
    objects: Vec<Box<dyn Object>>,
}

// === impl World ===

impl World {
    fn put(mut self, kind: &Kind, (namespace, name): (&str, &str), value: Value) -> Self {
        let row = crate::kinds::row(kind).unwrap();
        let resource = (row.resource)();
        let mut value = value;
        value["apiVersion"] = resource.api_version.into();
        value["kind"] = resource.kind.into();
        value["metadata"]["namespace"] = namespace.into();
        value["metadata"]["name"] = name.into();
        let (object, warnings) = (row.read)(value).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        let found_by = object.found_by().unwrap_or_default();
        let fact = Fact { object: object.shared(), essence: object.essence(), found_by };
        self.answers.put(&object.reference(), fact);
        self.objects.push(object);
        self
    }

    fn group(self, namespace: &str, name: &str) -> Self {
        self.put(&c::service_group::KIND, (namespace, name), json!({"spec": {"can-be-shared": true}}))
    }

    fn load_balancer(self, name: &str, labels: Value, spec: Value) -> Self {
        let value = json!({"metadata": {"labels": labels}, "spec": spec});
        self.put(&c::load_balancer::KIND, (NAMESPACE, name), value)
    }

    /// An endpoint of the load balancer `web`: its cluster, address and named port.
    fn endpoint(self, name: &str, cluster: &str, address: &str, port: Value) -> Self {
        let labels = json!({"epic.acnodal.io/owning-loadbalancer": "web"});
        let spec = json!({"cluster": cluster, "address": address, "node-address": "", "port": port});
        let value = json!({"metadata": {"labels": labels}, "spec": spec});
        self.put(&c::remote_endpoint::KIND, (NAMESPACE, name), value)
    }

    fn resolve(&self, name: &str) -> Result<Resolved, Rejection> {
        let reference = ObjectRef::namespaced(&c::load_balancer::KIND, NAMESPACE, name);
        let object = self.objects.iter().find(|object| object.reference() == reference).unwrap();
        let Role::Root(root) = object.role() else { panic!("{name} opens nothing") };
        let settings = Settings::default();
        root.resolve(&mut Lookup::new(&self.answers, &settings))
    }

    /// Resolves the load balancer `web`. Its Plan must be the same after it was sent.
    fn web(&self) -> Resolved {
        let resolved = self.resolve("web").unwrap();
        assert_eq!(Plan::try_from(plan::Plan::from(&resolved.plan)).as_ref(), Ok(&resolved.plan));
        resolved
    }
}

fn labels() -> Value {
    json!({"owning-servicegroup": "gold"})
}

fn tcp_and_udp() -> Value {
    json!([{"name": "http", "port": 80}, {"name": "sip", "protocol": "UDP", "port": 5060}])
}

/// Writes each listener with its address, and each endpoint with its port and weight.
fn told(resolved: &Resolved) -> Vec<String> {
    let listeners = resolved.plan.listeners.iter().map(|listener| {
        let socket = listener.socket.as_ref().unwrap();
        let bind = socket.bind.unwrap();
        let to = &listener.rules[0].route.as_ref().unwrap().destination;
        let cluster = resolved.plan.clusters.iter().find(|cluster| cluster.name == *to).unwrap();
        let endpoints = cluster.endpoints.iter().map(|one| {
            let Source::Address(ip) = one.from else { panic!("{:?}", one.from) };
            let weight = one.weight.map(|weight| format!(" x{weight}")).unwrap_or_default();
            format!("{ip}:{}{weight}", one.port.unwrap())
        });
        let (name, endpoints) = (&listener.name, endpoints.collect::<Vec<_>>().join(", "));
        format!("{name} {:?} {}:{} -> {endpoints}", socket.scope, bind.ip.unwrap(), bind.port.unwrap())
    });
    listeners.collect()
}

#[test]
fn each_port_listens_on_the_public_address_and_leads_to_endpoints_of_its_name_and_protocol() {
    let spec = json!({
        "public-address": "203.0.113.7", "public-ports": tcp_and_udp(), "upstream-clusters": ["x"],
    });
    let world = World::default()
        .group(NAMESPACE, "gold")
        .load_balancer("web", labels(), spec)
        .endpoint("one", "x", "10.1.0.1", json!({"name": "http", "port": 8080}))
        .endpoint("two", "x", "10.1.0.2", json!({"name": "sip", "port": 5061, "protocol": "udp"}))
        .endpoint("three", "x", "10.1.0.3", json!({"name": "sip", "port": 5061, "protocol": "tcp"}))
        .endpoint("four", "gone", "10.1.0.4", json!({"name": "http", "port": 8080}));
    let resolved = world.web();
    assert_eq!(resolved.missing, Vec::<String>::new());
    assert_eq!(
        told(&resolved),
        [
            "tcp-80 Floating 203.0.113.7:80 -> 10.1.0.1:8080",
            "udp-5060 Floating 203.0.113.7:5060 -> 10.1.0.2:5061"
        ]
    );
    let workload = resolved.workload.name();
    assert_eq!(&*workload, "epic-a/epic.acnodal.io/owning-servicegroup=gold");
}

#[test]
fn clusters_share_alike_however_many_endpoints_they_have() {
    let spec = json!({
        "public-address": "2001:db8::7", "public-ports": [{"port": 80}], "upstream-clusters": ["x", "y"],
    });
    let port = json!({"port": 8080});
    let world = World::default()
        .group(NAMESPACE, "gold")
        .load_balancer("web", labels(), spec)
        .endpoint("one", "x", "10.1.0.1", port.clone())
        .endpoint("two", "x", "10.1.0.2", port.clone())
        .endpoint("three", "y", "10.1.0.3", port);
    assert_eq!(
        told(&world.web()),
        ["tcp-80 Floating 2001:db8::7:80 -> 10.1.0.1:8080 x5000, 10.1.0.2:8080 x5000, 10.1.0.3:8080 x10000"]
    );
}

#[test]
fn document_form_is_served_too_with_its_group_in_epic() {
    let spec = json!({
        "public-address": "203.0.113.7", "public-ports": [{"port": 80}], "service-group": "gold",
    });
    let endpoint = json!({
        "load-balancer": "web", "address": "10.1.0.1", "node-address": "", "port": {"port": 8080},
    });
    let id = "2f1a9a36-45a5-4f4c-9d7c-2f6f1a0a8b11";
    let world = World::default().group("epic", "gold").load_balancer("web", json!({}), spec).put(
        &c::endpoint::KIND,
        (NAMESPACE, id),
        json!({"spec": endpoint}),
    );
    assert_eq!(told(&world.web()), ["tcp-80 Floating 203.0.113.7:80 -> 10.1.0.1:8080"]);
}

#[test]
fn objects_of_another_account_are_never_seen() {
    let spec = json!({"public-address": "203.0.113.7", "public-ports": [{"port": 80}]});
    let endpoint = json!({"load-balancer": "web", "address": "10.1.0.1", "port": {"port": 8080}});
    let world = World::default().group("epic-b", "gold").load_balancer("web", labels(), spec).put(
        &c::endpoint::KIND,
        ("epic-b", "e"),
        json!({"spec": endpoint}),
    );
    let resolved = world.web();
    assert_eq!(
        resolved.missing,
        ["there is no ServiceGroup or LBServiceGroup gold in namespace epic-a or epic"]
    );
    assert_eq!(told(&resolved), ["tcp-80 Floating 203.0.113.7:80 -> "]);
}

#[test]
fn load_balancer_without_address_or_group_says_what_it_waits_for() {
    let ports = json!([{"port": 80}]);
    let without = json!({"public-address": "", "public-ports": ports});
    let with = json!({"public-address": "203.0.113.7", "public-ports": ports});
    let differing = json!({"owning-servicegroup": "gold", "epic.acnodal.io/owning-servicegroup": "silver"});
    for (labels, spec, text) in [
        (labels(), without, "spec.public-address is empty: the leading hub sets it"),
        (json!({}), with.clone(), "no group is named"),
        (differing, with, "differ: give the same name, or only one of them"),
    ] {
        let world = World::default().group(NAMESPACE, "gold").load_balancer("web", labels, spec);
        let missing = world.web().missing;
        assert!(missing.len() == 1 && missing[0].contains(text), "{missing:?}");
    }
}

#[test]
fn address_of_an_older_load_balancer_is_not_opened_twice() {
    let spec = json!({"public-address": "203.0.113.7", "public-ports": [{"port": 80}]});
    let mut world = World::default().group(NAMESPACE, "gold");
    for (name, created) in
        [("old", "2026-01-01T00:00:00Z"), ("a", "2026-01-02T00:00:00Z"), ("b", "2026-01-02T00:00:00Z")]
    {
        let meta = json!({"labels": labels(), "creationTimestamp": created});
        let value = json!({"metadata": meta, "spec": spec});
        world = world.put(&c::load_balancer::KIND, (NAMESPACE, name), value);
    }
    assert_eq!(world.resolve("old").unwrap().missing, Vec::<String>::new());
    for name in ["a", "b"] {
        let missing = world.resolve(name).unwrap().missing;
        assert!(
            missing.len() == 1 && missing[0].contains("belongs to LoadBalancer epic-a/old"),
            "{missing:?}"
        );
    }
}

#[test]
fn group_may_name_its_gateways_by_labels() {
    let group = json!({
        "metadata": {"annotations": {"portreeve.dev/gateways": "tier=edge, zone=a"}},
        "spec": {"can-be-shared": true},
    });
    let spec = json!({"public-address": "203.0.113.7", "public-ports": [{"port": 80}]});
    let world = World::default().put(&c::lb_service_group::KIND, (NAMESPACE, "gold"), group).load_balancer(
        "web",
        labels(),
        spec,
    );
    assert_eq!(&*world.web().workload.name(), "epic-a/tier=edge,zone=a");
}

#[test]
fn endpoint_repeats_an_older_one_of_the_same_load_balancer_and_spec() {
    let put = |world: World, name: &str, second: &str, port: u16| {
        let labels = json!({"epic.acnodal.io/owning-loadbalancer": "web"});
        let meta = json!({"labels": labels, "creationTimestamp": format!("2026-01-01T00:00:{second}Z")});
        let spec = json!({"cluster": "x", "address": "10.1.0.1", "node-address": "", "port": {"port": port}});
        world.put(&c::remote_endpoint::KIND, (NAMESPACE, name), json!({"metadata": meta, "spec": spec}))
    };
    let world = put(World::default(), "late", "02", 80);
    let world = put(put(put(world, "first", "01", 80), "same-second", "01", 80), "other", "00", 81);
    let settings = Settings::default();
    for (name, repeats) in
        [("first", None), ("late", Some("first")), ("same-second", Some("first")), ("other", None)]
    {
        let key = ObjectRef::namespaced(&c::remote_endpoint::KIND, NAMESPACE, name);
        let found = super::endpoint::duplicate(&mut Lookup::new(&world.answers, &settings), &key);
        assert_eq!(found.as_deref(), repeats, "{name}");
    }
}
