use serde_json::{Value, json};

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod as KubePod, Service};

use super::*;

const DOMAIN: &str = "cluster.local";

fn service(spec: Value) -> Service {
    serde_json::from_value(json!({"metadata": {"name": "echo", "namespace": "ns"}, "spec": spec})).unwrap()
}

/// A pod with a port of the name `media`.
fn pod(name: &str, ip: &str, ready: bool, media: i32) -> KubePod {
    let status = if ready { "True" } else { "False" };
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"app": "echo"}},
        "spec": {"containers": [{"name": "c", "ports": [
            {"name": "other", "containerPort": 1, "protocol": "UDP"},
            {"name": "media", "containerPort": 2, "protocol": "TCP"},
            {"name": "media", "containerPort": media, "protocol": "UDP"},
        ]}]},
        "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": status}]},
    }))
    .unwrap()
}

/// Where an endpoint of a UDP listener leads: `address:port` or `address:port/health`, and what is told.
fn reached(spec: Value, pods: &[KubePod], endpoint: Value) -> (Vec<String>, Vec<String>) {
    let object = json!({
        "apiVersion": "servicemesh.l7mp.io/v1", "kind": "VirtualService", "metadata": {"name": "v", "namespace": "ns"},
        "spec": {"selector": {"a": "b"}, "listeners": [{"name": "l", "udp": {"port": 1, "cluster": {
            "name": "c", "service_discovery": "strictdns", "endpoints": [endpoint]}}}]},
    });
    let (mut object, _) = VirtualService::parse(object).unwrap();
    let services = [service(spec)];
    let services = Services::new(&services, pods, DOMAIN);
    let mut names = services.names();
    let told = route(&services, &mut object, &mut names);
    assert_eq!(object.validate(), []);
    let endpoints = &object.spec.listeners[0].udp.as_ref().unwrap().cluster.endpoints;
    let reached = endpoints.iter().flat_map(|endpoint| {
        let host = endpoint.host.address.clone().unwrap();
        let name = host.strip_suffix('.').map_or_else(|| format!("{host}.ns.svc.{DOMAIN}"), str::to_owned);
        let check = endpoint.health_check_port.map(|port| format!("/{port}")).unwrap_or_default();
        let found = names.get(&name).cloned().unwrap_or_default();
        found.into_iter().map(move |ip| format!("{ip}:{}{check}", endpoint.port))
    });
    (reached.collect(), told)
}

#[test]
fn endpoint_of_a_service_reaches_the_ports_that_kube_proxy_would() {
    let pods = [
        pod("a", "10.0.0.1", true, 19_000),
        pod("b", "10.0.0.2", true, 19_000),
        pod("c", "10.0.0.3", false, 7),
    ];
    let endpoint = || json!({"name": "e", "host": {"address": "echo"}, "port": 53});
    let spec = |port: Value| json!({"selector": {"app": "echo"}, "clusterIP": "10.96.0.9", "ports": [{"port": 80}, port]});
    for (what, port, reached_ports) in [
        ("no targetPort", json!({"port": 53, "protocol": "UDP"}), "53"),
        ("a number", json!({"port": 53, "protocol": "UDP", "targetPort": 9000}), "9000"),
        ("a name", json!({"port": 53, "protocol": "UDP", "targetPort": "media"}), "19000"),
    ] {
        let wanted = vec![format!("10.0.0.1:{reached_ports}"), format!("10.0.0.2:{reached_ports}")];
        assert_eq!(reached(spec(port), &pods, endpoint()), (wanted, vec![]), "{what}");
    }
    let headless = json!({"selector": {"app": "echo"}, "clusterIP": "None", "ports": [{"port": 53, "protocol": "UDP", "targetPort": 9000}]});
    assert_eq!(reached(headless, &pods, endpoint()).0, ["10.0.0.1:53", "10.0.0.2:53"]);
    let without =
        json!({"clusterIP": "10.96.0.9", "ports": [{"port": 53, "protocol": "UDP", "targetPort": 9000}]});
    assert_eq!(reached(without, &pods, endpoint()).0, ["10.96.0.9:53"], "somebody else stands behind it");
    let unlisted = json!({"clusterIP": "10.96.0.9", "ports": [{"port": 80}]});
    assert_eq!(reached(unlisted, &pods, endpoint()), (vec!["10.96.0.9:53".into()], vec![]));
    let elsewhere = json!({"name": "e", "host": {"address": "10.0.0.1"}, "port": 53});
    let port = json!({"port": 53, "protocol": "UDP", "targetPort": 9000});
    assert!(reached(spec(port), &pods, elsewhere).1.is_empty());
}

#[test]
fn pods_may_have_different_numbers_for_a_name() {
    let pods = [
        pod("a", "10.0.0.1", true, 19_000),
        pod("b", "10.0.0.2", true, 19_001),
        pod("c", "10.0.0.3", true, 19_000),
    ];
    let spec = json!({"selector": {"app": "echo"}, "ports": [
        {"name": "m", "port": 53, "protocol": "UDP", "targetPort": "media"}, {"name": "h", "port": 80, "targetPort": 8080}]});
    let endpoint = json!({"name": "e", "host": {"address": "echo"}, "port": 53, "health_check_port": 80});
    let (reached, told) = reached(spec, &pods, endpoint);
    assert_eq!(reached, ["10.0.0.1:19000/8080", "10.0.0.3:19000/8080", "10.0.0.2:19001/8080"]);
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn port_that_a_service_does_not_have_leads_nowhere_and_is_told() {
    let pods = [pod("a", "10.0.0.1", true, 19_000)];
    let endpoint = |port: i32| json!({"name": "e", "host": {"address": "echo.ns"}, "port": port});
    for (port, wanted) in [
        (json!({"port": 53, "targetPort": 9000}), "Service echo has no UDP port 53"),
        (json!({"port": 54, "protocol": "UDP"}), "Service echo has no UDP port 53"),
        (
            json!({"port": 53, "protocol": "UDP", "targetPort": "nothing"}),
            "no pod of Service echo has its targetPort",
        ),
    ] {
        let (reached, told) =
            reached(json!({"selector": {"app": "echo"}, "ports": [port]}), &pods, endpoint(53));
        assert!(reached.is_empty(), "{reached:?}");
        assert_eq!(told, [format!("spec.listeners[0].udp.cluster.endpoints[0].port: {wanted}")]);
    }
}

#[test]
fn name_of_a_service_stands_for_the_ready_pods_that_it_selects() {
    let services = [service(json!({"selector": {"app": "echo"}, "clusterIP": "10.96.0.9"}))];
    let pods = [pod("a", "10.0.0.1", true, 1), pod("b", "10.0.0.2", false, 1)];
    let found = Services::new(&services, &pods, DOMAIN).names();
    assert_eq!(found["echo.ns.svc.cluster.local"], ["10.0.0.1".parse::<IpAddr>().unwrap()]);
}

#[test]
fn service_without_selector_stands_for_its_cluster_ip() {
    let services = [service(json!({"clusterIP": "10.96.0.9"}))];
    let found = Services::new(&services, &[], DOMAIN).names();
    assert_eq!(found["echo.ns.svc.cluster.local"], ["10.96.0.9".parse::<IpAddr>().unwrap()]);
}
