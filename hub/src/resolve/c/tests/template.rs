//! What becomes of LoadBalancers with a template: its listeners and clusters under the LoadBalancer's names, or the reason why
//! it opens nothing.

use portreeve_api::conditions::Reason;
use portreeve_api::model::{EnvoyBody, Protocol, Scope, Source};
use portreeve_template::Descriptors;
use serde_json::{Value, json};

use super::{NAMESPACE, World, c, labels};
use crate::object::Resolved;

const CLUSTER: &str = "
name: '{{.ClusterName}}'
connect_timeout: 1s
type: EDS
";

const LISTENER: &str = "
name: '{{.PortName}}'
address: {socket_address: {address: '::', port_value: {{.Port}}, protocol: {{.Protocol | ToUpper}}}}
filter_chains:
- filters:
  - name: tcp
    typed_config:
      '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
      stat_prefix: x
      weighted_clusters:
        clusters: [{{range .Clusters}}{name: '{{.}}', weight: {{$.ClusterWeight}}},{{end}}]
";

const ENDPOINTS: &str = "
cluster_name: '{{.ClusterName}}'
endpoints:
- lb_endpoints:
{{- range .Endpoints}}
  - endpoint: {address: {socket_address: {address: '{{.Spec.Address}}', port_value: {{.Spec.Port.Port}}}}}
{{- end}}
";

fn template(lists: &[(&str, &str)]) -> Value {
    let mut resources = json!({});
    for (list, value) in lists {
        resources[*list] = json!([{"name": "SET_BY_EPIC", "value": value}]);
    }
    json!({"nodeID": "SET_BY_EPIC", "serialization": "yaml", "envoyAPI": "v3", "envoyResources": resources})
}

/// Load balancer `web` of a group with a template, with two ports and these upstream clusters.
fn world(template: Value, clusters: &[&str]) -> World {
    let group = json!({"spec": {"can-be-shared": true, "envoy-template": template}});
    let ports = json!([{"port": 80}, {"name": "tls", "port": 443}]);
    let spec = json!({"public-address": "203.0.113.7", "public-ports": ports, "upstream-clusters": clusters});
    World::default().put(&c::service_group::KIND, (NAMESPACE, "gold"), group).load_balancer(
        "web",
        labels(),
        spec,
    )
}

/// The type and the bytes of a resource.
type Typed<'a> = (&'static str, &'a [u8]);

/// The JSON of a resource that the Envoy gets.
fn sent(resolved: &Resolved, name: &str, of: fn(&EnvoyBody) -> Option<Typed<'_>>) -> Value {
    let own = resolved.plan.envoy.iter().filter(|one| one.name == name).filter_map(|one| one.body.as_ref());
    let (ty, body) = own.filter_map(of).next().expect("there is one");
    Descriptors::built_in().unwrap().json(ty, body).unwrap()
}

fn listener(body: &EnvoyBody) -> Option<Typed<'_>> {
    let EnvoyBody::Listener(bytes) = body else { return None };
    Some(("envoy.config.listener.v3.Listener", bytes))
}

fn assignment(body: &EnvoyBody) -> Option<Typed<'_>> {
    let EnvoyBody::Assignment(bytes) = body else { return None };
    Some(("envoy.config.endpoint.v3.ClusterLoadAssignment", bytes))
}

#[test]
fn template_makes_the_listeners_and_clusters_under_names_of_the_load_balancer() {
    let world = world(template(&[("clusters", CLUSTER), ("listeners", LISTENER)]), &["x", "y"])
        .endpoint("one", "x", "10.1.0.1", json!({"port": 8080}))
        .endpoint("two", "y", "10.1.0.2", json!({"name": "tls", "port": 8443}));
    let resolved = world.web();
    assert_eq!(resolved.missing, Vec::<String>::new());
    let listeners = resolved.plan.listeners.iter().map(|listener| {
        let socket = listener.socket.as_ref().unwrap();
        assert_eq!((socket.protocol, socket.scope), (Protocol::Tcp, Scope::Floating));
        (listener.name.as_str(), socket.bind.unwrap().port.unwrap().get())
    });
    assert_eq!(listeners.collect::<Vec<_>>(), [("TCP-80", 80), ("TCP-443", 443)]);
    let listener = sent(&resolved, "TCP-80", listener);
    assert_eq!(listener["address"]["socket_address"]["address"], "203.0.113.7");
    let name = resolved.plan.name();
    assert_eq!(listener["name"], format!("{name}/TCP-80"));
    let clusters =
        &listener["filter_chains"][0]["filters"][0]["typed_config"]["weighted_clusters"]["clusters"];
    let wanted =
        json!([{"name": format!("{name}/x"), "weight": 50}, {"name": format!("{name}/y"), "weight": 50}]);
    assert_eq!(*clusters, wanted);
    let sources = resolved.plan.clusters.iter().map(|cluster| {
        let [source] = cluster.endpoints.as_slice() else { panic!("{cluster:?}") };
        let Source::Address(address) = source.from else { panic!("{source:?}") };
        format!("{} {address}:{}", cluster.name, source.port.unwrap())
    });
    assert_eq!(sources.collect::<Vec<_>>(), ["x 10.1.0.1:8080", "y 10.1.0.2:8443"]);
}

#[test]
fn endpoints_that_a_template_lists_are_sent_as_it_lists_them() {
    let lists = [("clusters", CLUSTER), ("endpoints", ENDPOINTS), ("listeners", LISTENER)];
    let world = world(template(&lists), &["x"]).endpoint("one", "x", "10.1.0.1", json!({"port": 8080}));
    let resolved = world.web();
    let assignment = sent(&resolved, "x", assignment);
    assert_eq!(assignment["cluster_name"], format!("{}/x", resolved.plan.name()));
    assert!(assignment.to_string().contains("10.1.0.1"), "{assignment}");
    assert!(resolved.plan.clusters.iter().all(|cluster| cluster.endpoints.is_empty()));
}

#[test]
fn without_an_upstream_cluster_a_template_opens_nothing() {
    let resolved = world(template(&[("clusters", CLUSTER), ("listeners", LISTENER)]), &[]).web();
    assert!(resolved.plan.listeners.is_empty() && resolved.plan.envoy.is_empty());
}

#[test]
fn own_template_of_a_load_balancer_comes_before_that_of_its_group() {
    let group = json!({"spec": {"can-be-shared": true, "envoy-template": template(&[("listeners", "{{")])}});
    let spec = json!({
        "public-address": "203.0.113.7", "public-ports": [{"port": 80}], "upstream-clusters": ["x"],
        "envoy-template": template(&[("clusters", CLUSTER), ("listeners", LISTENER)]),
    });
    let world = World::default().put(&c::service_group::KIND, (NAMESPACE, "gold"), group);
    assert_eq!(world.load_balancer("web", labels(), spec).web().plan.listeners.len(), 1);
}

#[test]
fn template_that_is_refused_opens_nothing() {
    let far = LISTENER.replace("name: '{{.}}'", "name: 'far'");
    let many: Vec<String> = (0..101).map(|at| format!("c{at}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let good = template(&[("clusters", CLUSTER), ("listeners", LISTENER)]);
    let cases = [
        (template(&[("listeners", "{{.Nothing}}")]), &["x"][..], "envoyResources.listeners[0]"),
        (template(&[("clusters", CLUSTER), ("listeners", &far)]), &["x"], "the template has no cluster far"),
        (good, &many, "101 upstream clusters: with a template there are at most 100"),
    ];
    for (template, clusters, wanted) in cases {
        let rejection = world(template, clusters).resolve("web").unwrap_err();
        assert_eq!(rejection.reason, Reason::Unsupported);
        assert!(rejection.message.starts_with("spec.envoy-template of group gold: "), "{rejection}");
        assert!(rejection.message.contains(wanted), "{rejection}");
    }
}

#[test]
fn listeners_of_a_template_are_on_all_addresses_of_own_pods() {
    let template = template(&[("clusters", CLUSTER), ("listeners", LISTENER)]);
    let meta = json!({"annotations": {"portreeve.dev/embodiment": "pod"}});
    let group = json!({"metadata": meta, "spec": {"can-be-shared": true, "envoy-template": template}});
    let spec =
        json!({"public-address": "203.0.113.7", "public-ports": [{"port": 80}], "upstream-clusters": ["x"]});
    let world = World::default().put(&c::service_group::KIND, (NAMESPACE, "gold"), group);
    let resolved = world.load_balancer("web", labels(), spec).web();
    let socket = resolved.plan.listeners[0].socket.clone().unwrap();
    assert_eq!((socket.scope, socket.bind), (Scope::Wildcard, None));
    let listener = sent(&resolved, "TCP-80", listener);
    assert_eq!(listener["address"]["socket_address"]["address"], "0.0.0.0");
}
