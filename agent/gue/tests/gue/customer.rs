//! Which tunnels a customer's node has.

use std::collections::BTreeSet;
use std::net::IpAddr;

use portreeve_api::c::load_balancer;
use portreeve_api::c::remote_endpoint::RemoteEndpoint;
use portreeve_gue::customer::{Customer, Endpoint, Facts};
use serde_json::{Value, json};

use super::*;

const OWN: &str = "192.168.1.25";

fn own() -> IpAddr {
    OWN.parse().unwrap()
}

fn balancer(change: impl FnOnce(&mut Value)) -> Option<Facts> {
    let end = json!({"epic-address": "192.168.1.40", "epic-port": {"port": 6080}, "tunnel-id": 4});
    let other = json!({"epic-address": "192.168.1.40", "tunnel-id": 5});
    let mut value = json!({
        "apiVersion": "epic.acnodal.io/v1",
        "kind": "LoadBalancer",
        "metadata": {"name": "web", "namespace": "epic-a", "labels": {"owning-servicegroup": "gold"}},
        "spec": {
            "public-address": "192.168.77.2", "public-ports": [{"port": 80}], "service-id": 3,
            "tunnel-key": "AAECAwQFBgcICQoLDA0ODw==",
        },
        "status": {"gue-tunnel-endpoints": {OWN: end, "192.168.1.26": other}},
    });
    change(&mut value);
    Facts::of(&load_balancer::LoadBalancer::parse(value).unwrap().0, own())
}

fn endpoint(node: &str, port: u16, status: Value) -> Option<Endpoint> {
    let spec = json!({"cluster": "x", "address": "10.244.1.5", "node-address": node, "port": {"port": port}});
    let meta = json!({"name": "e", "namespace": "epic-a", "labels": {"owning-loadbalancer": "web"}});
    let (api, kind) = ("epic.acnodal.io/v1", "RemoteEndpoint");
    let value = json!({"apiVersion": api, "kind": kind, "metadata": meta, "spec": spec, "status": status});
    let (object, _) = RemoteEndpoint::parse(value).unwrap();
    Endpoint::of("epic-a", &object.form().unwrap(), object.status.as_ref(), own())
}

fn object(name: &str) -> (String, String) {
    ("epic-a".to_owned(), name.to_owned())
}

#[test]
fn node_has_the_tunnels_of_load_balancers_with_endpoints_on_it() {
    let mut customer = Customer::default();
    customer.set_load_balancer(object("web"), balancer(|_| {}));
    assert!(customer.tunnels().is_empty(), "no endpoint is on the node");
    customer.set_endpoint("RemoteEndpoint", object("one"), endpoint(OWN, 8080, json!({"group-id": 1})));
    customer.set_endpoint("Endpoint", object("one"), endpoint(OWN, 8081, json!({"group-id": 1})));
    let all = customer.tunnels();
    let (tunnel, public) = &all[&4];
    let ports: Vec<u16> = tunnel.endpoints.iter().map(|(_, at)| at.port()).collect();
    assert_eq!((all.len(), tunnel.ids, tunnel.epic, *public), (1, IDS, EPIC, *PUBLIC.ip()));
    assert_eq!((tunnel.key, ports), (key(), vec![8080, 8081]));

    customer.keep_endpoints("Endpoint", &BTreeSet::new());
    assert_eq!(customer.tunnels()[&4].0.endpoints.len(), 1, "the other kind's stays");
    customer.set_endpoint("RemoteEndpoint", object("one"), None);
    assert!(customer.tunnels().is_empty());
    customer.set_endpoint("RemoteEndpoint", object("one"), endpoint(OWN, 8080, json!({"group-id": 1})));
    customer.keep_load_balancers(&BTreeSet::from([object("other")]));
    assert!(customer.tunnels().is_empty());
}

#[test]
fn what_is_not_complete_or_on_another_node_is_left_out() {
    assert!(balancer(|_| {}).is_some());
    let changes: [fn(&mut Value); 6] = [
        |one| one["spec"]["public-address"] = json!(""),
        |one| one["spec"]["service-id"] = json!(0),
        |one| one["spec"]["tunnel-key"] = json!(""),
        |one| one["spec"]["true-ingress"] = json!(false),
        |one| one["status"]["gue-tunnel-endpoints"][OWN]["tunnel-id"] = json!(0),
        |one| one["status"] = json!({}),
    ];
    for change in changes {
        assert_eq!(balancer(change), None);
    }
    assert!(endpoint(OWN, 80, json!({"group-id": 1})).is_some());
    for (node, status) in
        [("192.168.1.26", json!({"group-id": 1})), (OWN, json!({})), ("", json!({"group-id": 1}))]
    {
        assert_eq!(endpoint(node, 80, status), None, "{node}");
    }
}
