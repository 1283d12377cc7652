//! What becomes of API B's objects: hops, labels, selectors and both documented examples.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ServiceSpec;
use portreeve_api::model::{Elsewhere, Source};
use serde_json::{Value, json};

use super::*;
use crate::lookup::{Answers, Fact};
use crate::object::Object;
use crate::settings::Settings;

mod fields;
mod mesh;
mod other_kinds;

/// The objects that resolvers look up.
#[derive(Default)]
struct World {
    answers: Answers,
    objects: Vec<Box<dyn Object>>,
}

impl World {
    /// Reads the objects of a manifest.
    fn of(text: &str) -> Self {
        let mut world = Self::default();
        for document in serde_yaml::Deserializer::from_str(text) {
            let value = <Value as serde::Deserialize>::deserialize(document).unwrap();
            if value["kind"] == "Service" {
                let spec: ServiceSpec = serde_json::from_value(value["spec"].clone()).unwrap();
                let name = value["metadata"]["name"].as_str().unwrap();
                world.answers.set_service(("default".into(), name.into()), Some(Arc::new(spec)));
                continue;
            }
            world.put(value);
        }
        world
    }

    fn put(&mut self, value: Value) {
        let group =
            |row: &crate::row::Row| format!("{}/{}", (row.resource)().group, (row.resource)().version);
        let is = |row: &&crate::row::Row| value["kind"] == row.kind.name && value["apiVersion"] == group(row);
        let row = crate::kinds::ALL.into_iter().find(is).unwrap();
        let (object, warnings) = (row.read)(value.clone()).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(object.violations(), [], "{value}");
        let found_by = object.found_by().unwrap_or_default();
        let fact = Fact { object: object.shared(), essence: object.essence(), found_by };
        self.answers.put(&object.reference(), fact);
        self.objects.push(object);
    }

    fn try_resolve(&self, reference: &str) -> Result<Resolved, Rejection> {
        let mut objects = self.objects.iter().rev();
        let object = objects.find(|object| object.reference().to_string() == reference);
        let object = object.unwrap_or_else(|| panic!("no {reference}"));
        let crate::object::Role::Root(root) = object.role() else { panic!("{reference} opens nothing") };
        let settings = Settings::default();
        root.resolve(&mut Lookup::new(&self.answers, &settings))
    }

    fn resolve(&self, reference: &str) -> Resolved {
        let resolved = self.try_resolve(reference).unwrap();
        let sent = Plan::try_from(portreeve_api::plan::Plan::from(&resolved.plan));
        assert_eq!(sent.as_ref(), Ok(&resolved.plan), "{reference}");
        resolved
    }
}

/// Writes a cluster in one line: where it is, or its protocol, port, endpoints and balancer.
fn told(resolved: &Resolved, name: &str) -> String {
    let cluster =
        resolved.plan.cluster(name).unwrap_or_else(|| panic!("no {name} in {:?}", resolved.plan.clusters));
    match &cluster.elsewhere {
        Some(Elsewhere::Plan(resource)) => return format!("plan {resource}"),
        Some(Elsewhere::Proxy(own)) => return format!("own {own}"),
        None => {}
    }
    let socket = cluster.socket.as_ref().unwrap();
    let mut words = vec![format!("{:?}", socket.protocol)];
    words.extend(
        socket
            .transport
            .iter()
            .map(|under| format!("over {:?} {:?}", under.protocol, under.port.map(|port| port.get()))),
    );
    words.extend(socket.port.iter().map(ToString::to_string));
    words.extend(socket.settings.iter().map(|(key, value)| format!("{key}={value}")));
    words.extend(
        socket.header.iter().map(|field| format!("header {:?}", field.from.as_deref().unwrap_or_default())),
    );
    for endpoint in &cluster.endpoints {
        words.push(match &endpoint.from {
            Source::Group(name) => format!("pods {name}"),
            Source::Address(ip) | Source::Loopback(ip) => ip.to_string(),
            Source::Host(name) | Source::File(name) => name.clone(),
            Source::Unknown => "unknown".into(),
        });
    }
    words.extend(cluster.balancer.iter().map(|balancer| format!("{balancer:?}")));
    words.join(" ")
}

fn mk_object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "l7mp.io/v1", "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

/// A VirtualService with a UDP port whose only rule leads to this destination.
fn mk_call(destination: &str) -> Value {
    mk_object(
        "VirtualService",
        "call",
        json!({
            "selector": {"matchLabels": {"app": "gateway"}},
            "listener": {"spec": {"UDP": {"port": 8000}}, "rules": [{"action": {"route": {"destinationRef": destination}}}]},
        }),
    )
}

const SECOND_EXAMPLE: &str = "
apiVersion: v1
kind: Service
metadata: {name: gateway-svc}
spec: {selector: {app: gateway}}
---
apiVersion: v1
kind: Service
metadata: {name: worker-svc}
spec: {selector: {app: worker}}
---
apiVersion: l7mp.io/v1
kind: Target
metadata: {name: worker-target, namespace: default}
spec:
  selector: {serviceName: gateway-vsvc}
  serviceName: worker-vsvc
  loadbalancer: {policy: ConsistentHash, key: /labels/session_id}
---
apiVersion: l7mp.io/v1
kind: VirtualService
metadata: {name: gateway-vsvc, namespace: default}
spec: {selector: {serviceName: gateway-svc}, udp: {port: 7999}}
---
apiVersion: l7mp.io/v1
kind: Route
metadata: {name: gateway-route, namespace: default}
spec: {destination: worker-target, retry: {retry_on: always, num_retries: 3, timeout: 2000}}
---
apiVersion: l7mp.io/v1
kind: Target
metadata: {name: sync-target, namespace: default}
spec: {selector: {serviceName: worker-svc}, sync: {query: /labels/session_id}}
---
apiVersion: l7mp.io/v1
kind: Target
metadata: {name: transcoder-target, namespace: default}
spec:
  selector: {serviceName: worker-svc}
  jsonsocket: {transport: {udp: {port: 19001}}}
  endpoints: [{spec: {address: 127.0.0.1}}]
---
apiVersion: l7mp.io/v1
kind: VirtualService
metadata: {name: worker-vsvc, namespace: default}
spec:
  selector: {serviceName: worker-svc}
  jsonsocket: {transport: {udp: {port: 19000}}}
  rules: [{action: {route: {destination: sync-target, ingress: [transcoder-target]}}}]
---
apiVersion: l7mp.io/v1
kind: VirtualService
metadata: {name: user-a, namespace: default}
spec:
  selector: {serviceName: gateway-svc}
  udp: {port: 8001, connect: {address: 192.168.0.1, port: 8001}}
  rules: [{action: {rewrite: [{path: /labels/session_id, value: '1'}], route: gateway-route}}]
  options: {removeOrphanSessions: true}
";

#[test]
fn second_example_works_as_its_author_meant_it() {
    let world = World::of(SECOND_EXAMPLE);
    let user = world.resolve("B/VirtualService/default/user-a");
    assert_eq!(&*user.workload.name(), "default/app=gateway");
    let rule = &user.plan.listeners[0].rules[0];
    assert_eq!(
        (rule.rewrites[0].path.as_str(), rule.rewrites[0].value_json.as_str()),
        ("/labels/session_id", "\"1\"")
    );
    let route = rule.route.as_ref().unwrap();
    assert_eq!(told(&user, &route.destination), "plan B/Target/default/worker-target/cluster");
    assert_eq!(route.retry.as_ref().unwrap().on.as_deref(), Some("always"));
    assert!(user.plan.listeners[0].options.as_ref().unwrap().remove_orphan_sessions);

    // The gateways' Target: the workers' protocol and pods, and the labels travel.
    let worker = world.resolve("B/Target/default/worker-target");
    assert_eq!(&*worker.workload.name(), "default/app=gateway");
    assert_eq!(
        told(&worker, "cluster"),
        "JsonSocket over Udp Some(19000) header \"/labels\" pods default/app=worker MetadataPath(\"/labels/session_id\")"
    );
    // At the workers the labels are under /JSONSocket.
    assert_eq!(
        told(&world.resolve("B/Target/default/sync-target"), "cluster"),
        "Sync query=/JSONSocket/labels/session_id"
    );
    assert_eq!(
        told(&world.resolve("B/Target/default/transcoder-target"), "cluster"),
        "JsonSocket over Udp Some(19001) header \"/JSONSocket/labels\" 127.0.0.1"
    );
    let served = world.resolve("B/VirtualService/default/worker-vsvc");
    let route = served.plan.listeners[0].rules[0].route.as_ref().unwrap();
    assert_eq!(told(&served, &route.destination), "plan B/Target/default/sync-target/cluster");
    assert_eq!(told(&served, &route.ingress[0]), "plan B/Target/default/transcoder-target/cluster");
    for reference in ["B/VirtualService/default/user-a", "B/VirtualService/default/worker-vsvc"] {
        assert_eq!(world.resolve(reference).missing, Vec::<String>::new());
    }
}

#[test]
fn first_example_reaches_a_socket_through_a_websocket() {
    let world = World::of("
apiVersion: v1
kind: Service
metadata: {name: gateway-svc}
spec: {selector: {app: gateway}}
---
apiVersion: v1
kind: Service
metadata: {name: worker-svc}
spec: {selector: {app: worker}, ports: [{port: 9999, protocol: UDP}]}
---
apiVersion: l7mp.io/v1
kind: VirtualService
metadata: {name: transcoder-vsvc, namespace: default}
spec:
  selector: {matchLabels: {app: transcoder}}
  websocket: {port: 8888}
  rules: [{action: {route: {destination: {unixdomainsocket: {filename: /run/echo.sock}}}}}]
---
apiVersion: l7mp.io/v1
kind: VirtualService
metadata: {name: gateway-vsvc, namespace: default}
spec:
  selector: {serviceName: gateway-svc}
  udp: {port: 9001}
  rules:
  - match: {op: and, apply: [{op: test, path: /IP/src_addr, value: 10.0.0.1}, {op: more, path: /UDP/src_port, value: 8999}]}
    action: {route: {destination: worker-svc, ingress: [transcoder-vsvc]}}
");
    let gateway = world.resolve("B/VirtualService/default/gateway-vsvc");
    let rule = &gateway.plan.listeners[0].rules[0];
    assert_eq!((rule.rewrites[0].path.as_str(), rule.rewrites[0].value_json.as_str()), ("/HTTP", "{}"));
    let route = rule.route.as_ref().unwrap();
    assert_eq!(told(&gateway, &route.destination), "Udp 9999 pods default/app=worker");
    assert_eq!(told(&gateway, &route.ingress[0]), "Websocket 8888 pods default/app=transcoder");
    let transcoder = world.resolve("B/VirtualService/default/transcoder-vsvc");
    let route = transcoder.plan.listeners[0].rules[0].route.as_ref().unwrap();
    assert_eq!(told(&transcoder, &route.destination), "Unix /run/echo.sock");
    assert!(
        !transcoder.plan.listeners[0].options.as_ref().unwrap().remove_orphan_sessions,
        "the document's default"
    );
}

#[test]
fn name_is_that_of_a_target_then_a_virtual_service_then_a_service_then_the_proxys_own() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: worker}\nspec: {selector: {app: w}, ports: [{port: 80, targetPort: 8080}]}\n";
    let mut world = World::of(service);
    world.put(mk_call("worker"));
    let destination = |world: &World| told(&world.resolve("B/VirtualService/default/call"), "default/worker");
    assert_eq!(destination(&world), "Tcp 8080 pods default/app=w");
    let stub = json!({"selector": {"matchLabels": {"app": "v"}}, "tcp": {"port": 9}});
    world.put(mk_object("VirtualService", "worker", stub));
    assert_eq!(destination(&world), "Tcp 9 pods default/app=v");
    world.put(mk_object("Target", "worker", json!({"cluster": {"spec": {"Echo": {}}}})));
    assert_eq!(destination(&world), "Echo", "a Target without a selector is part of the Plan");
    let whole = json!({"selector": {"matchLabels": {"app": "gateway"}}, "cluster": {"spec": {"Echo": {}}}});
    world.put(mk_object("Target", "worker", whole));
    assert_eq!(destination(&world), "plan B/Target/default/worker/cluster");

    let mut world = World::default();
    world.put(mk_call("ingress-metric-counter"));
    let call = world.resolve("B/VirtualService/default/call");
    assert_eq!(told(&call, "ingress-metric-counter"), "own ingress-metric-counter");
    assert_eq!(call.missing, Vec::<String>::new());
    for full in [
        "/l7mp.io/v1/Target/default/none",
        "/apis/l7mp.io/v1/namespaces/default/targets/none",
        "none.default.target.cluster.local",
    ] {
        let mut world = World::default();
        world.put(mk_call(full));
        let missing = world.resolve("B/VirtualService/default/call").missing;
        assert_eq!(
            missing,
            [format!("spec.listener.rules[0].action.route.destination: {full} does not exist")]
        );
    }
}

#[test]
fn missing_service_route_and_pods_are_told_by_field_and_name() {
    let call = |selector: Value, route: Value| {
        mk_object(
            "VirtualService",
            "call",
            json!({
                "selector": selector,
                "listener": {"spec": {"UDP": {"port": 1}}, "rules": [{"action": {"route": route}}]},
            }),
        )
    };
    let echo = || json!({"destination": {"spec": {"Echo": {}}}});
    for (object, text) in [
        (
            call(json!({"matchService": "none"}), echo()),
            "spec.selector: neither a Service nor a VirtualService default/none exists",
        ),
        (
            call(json!({"matchService": "bare"}), echo()),
            "spec.selector: Service default/bare has no selector",
        ),
        (
            call(json!({"matchLabels": {"a": "b"}}), json!("none")),
            "spec.listener.rules[0].action.route: Route default/none does not exist",
        ),
        (
            call(json!({"matchLabels": {"a": "b"}}), json!({"destination": {"serviceName": "none"}})),
            "spec.listener.rules[0].action.route.destination: neither a VirtualService nor a Service none exists",
        ),
    ] {
        let mut world = World::of("apiVersion: v1\nkind: Service\nmetadata: {name: bare}\nspec: {}\n");
        world.put(object);
        let missing = world.resolve("B/VirtualService/default/call").missing;
        assert!(missing.len() == 1 && missing[0].starts_with(text), "{missing:?}, not {text}");
    }
}

#[test]
fn peer_of_several_proxies_is_waited_for() {
    let mut world = World::default();
    let udp = json!({"port": 1, "connect": {"address": "10.0.0.1", "port": 2}});
    world.put(mk_object("VirtualService", "call", json!({
        "selector": {"matchLabels": {"app": "gateway"}},
        "listener": {"spec": {"UDP": udp}, "rules": [{"action": {"route": {"destination": {"spec": {"Echo": {}}}}}}]},
    })));
    let mode = |world: &World| {
        let resolved = world.resolve("B/VirtualService/default/call");
        let socket = resolved.plan.listeners[0].socket.clone().unwrap();
        (socket.settings.get("mode").cloned(), resolved.warnings.len())
    };
    assert_eq!(mode(&world), (None, 0));
    world.answers.set_several(&"default/app=gateway".into(), true);
    assert_eq!(mode(&world), (Some("server".into()), 1));
}

#[test]
fn rule_leads_to_inline_clusters_and_the_proxys_own_and_health_checks_come_by_annotation() {
    let mut world = World::default();
    let mut rule = mk_object(
        "Rule",
        "r",
        json!({
            "selector": {"matchLabels": {"app": "l7mp-worker"}}, "rulelist": "worker-rtp-rulelist", "position": 0,
            "rule": {
                "match": {"op": "test", "path": "/JSONSocket/labels/callid", "value": "1"},
                "action": {"route": {
                    "destination": {"name": "c", "spec": {"UDP": {"port": 10000}}, "endpoints": [{"selector": {"matchLabels": {"app": "w"}}}]},
                    "ingress": [{"clusterRef": "ingress-metric-counter"}],
                    "retry": {"retry_on": "always", "num_retries": 0, "timeout": 250},
                }},
            },
        }),
    );
    rule["metadata"]["annotations"] = json!({"portreeve.dev/health-check-port": "1233"});
    world.put(rule.clone());
    let resolved = world.resolve("B/Rule/default/r");
    let list = &resolved.plan.rule_lists[0];
    let route = list.rule.as_ref().unwrap().route.as_ref().unwrap();
    assert_eq!((list.list.as_str(), list.position), ("worker-rtp-rulelist", 0));
    assert_eq!(told(&resolved, &route.destination), "Udp 10000 pods default/app=w");
    assert_eq!(told(&resolved, &route.ingress[0]), "own ingress-metric-counter");
    assert_eq!(route.retry.as_ref().unwrap().on.as_deref(), Some("never"), "no retries");
    let checked = resolved.plan.cluster(&route.destination).unwrap();
    assert_eq!(checked.endpoints[0].health_port.map(|port| port.get()), Some(1233));
    assert!(checked.health_check.is_some());

    rule["metadata"]["annotations"] = json!({"portreeve.dev/health-check-port": "none"});
    let mut world = World::default();
    world.put(rule);
    let text = world.try_resolve("B/Rule/default/r").unwrap_err().message;
    assert_eq!(text, "metadata.annotations[portreeve.dev/health-check-port]: \"none\" is not a port");
}
