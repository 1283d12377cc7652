//! Which endpoints are reached through tunnels, and what is left out.

use portreeve_api::conditions::Reason;
use portreeve_api::model::{Address, Protocol, Scope, TunnelPeer, Tunnels};
use serde_json::{Value, json};

use super::{NAMESPACE, World, c, labels, tcp_and_udp, told};
use crate::object::Resolved;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODw==";

/// A world with an account that has a number, and EPIC.
fn mk_world() -> World {
    World::default()
        .group(NAMESPACE, "gold")
        .put(&c::account::KIND, (NAMESPACE, "a"), json!({"spec": {"group-id": 1}}))
        .put(&c::epic::KIND, ("epic", "epic"), json!({"spec": {}}))
}

fn spec() -> Value {
    json!({
        "public-address": "203.0.113.7", "public-ports": tcp_and_udp(), "upstream-clusters": ["x"],
        "service-id": 3, "tunnel-key": KEY,
    })
}

/// Tunnels to these nodes of the customer, with these numbers.
fn status(nodes: &[(&str, u32)]) -> Value {
    let end = |id: u32| json!({"epic-address": "203.0.113.7", "epic-port": {"port": 6080}, "tunnel-id": id});
    let ends = nodes.iter().map(|(node, id)| ((*node).to_owned(), end(*id)));
    json!({"gue-tunnel-endpoints": ends.collect::<serde_json::Map<_, _>>()})
}

impl World {
    fn web_of(self, spec: Value, status: Value) -> Self {
        let value = json!({"metadata": {"labels": labels()}, "spec": spec, "status": status});
        self.put(&c::load_balancer::KIND, (NAMESPACE, "web"), value)
    }

    /// An endpoint of the port `http` on a node of the customer.
    fn behind(self, name: &str, node: &str, address: &str) -> Self {
        let labels = json!({"epic.acnodal.io/owning-loadbalancer": "web"});
        let port = json!({"name": "http", "port": 8080});
        let spec = json!({"cluster": "x", "address": address, "node-address": node, "port": port});
        let value = json!({"metadata": {"labels": labels}, "spec": spec});
        self.put(&c::remote_endpoint::KIND, (NAMESPACE, name), value)
    }
}

fn tunnels(resolved: &Resolved) -> &Tunnels {
    resolved.plan.tunnels.as_ref().unwrap()
}

/// Each endpoint behind a tunnel.
fn behind(resolved: &Resolved) -> Vec<String> {
    let all = tunnels(resolved).endpoints.iter();
    all.map(|one| format!("{:?} {} {}", one.protocol, one.at, one.tunnel)).collect()
}

#[test]
fn endpoints_of_a_node_are_behind_the_tunnel_to_it_and_proxies_connect_from_the_public_address() {
    let world = mk_world()
        .web_of(spec(), status(&[("192.0.2.1", 4), ("192.0.2.2", 5), ("192.0.2.3", 6)]))
        .behind("one", "192.0.2.1", "10.244.1.5")
        .behind("two", "192.0.2.2", "10.244.1.6")
        .behind("direct", "", "10.9.0.1");
    let resolved = world.web();
    assert_eq!((resolved.missing.len(), resolved.warnings.len()), (0, 0));
    let all = "tcp-80 Floating 203.0.113.7:80 -> 10.9.0.1:8080, 10.244.1.5:8080, 10.244.1.6:8080";
    assert_eq!(told(&resolved), [all, "udp-5060 Floating 203.0.113.7:5060 -> "]);
    assert_eq!(behind(&resolved), ["Tcp 10.244.1.5:8080 4", "Tcp 10.244.1.6:8080 5"]);
    let of = tunnels(&resolved);
    assert_eq!(
        (of.ids, of.key.to_string(), of.public_address.to_string()),
        ((1, 3), KEY.into(), "203.0.113.7".into())
    );
    let used: Vec<_> = of.tunnels.iter().map(|one| (one.id.get(), one.epic.to_string(), one.peer)).collect();
    assert_eq!(used, [(4, "203.0.113.7:6080".into(), None), (5, "203.0.113.7:6080".into(), None)]);
    assert_eq!(resolved.plan.needs, ["tunnels"]);
    for cluster in &resolved.plan.clusters {
        let socket = cluster.socket.as_ref().unwrap();
        let bind = Some(Address { ip: Some([203, 0, 113, 7].into()), port: None });
        assert_eq!((socket.scope, socket.bind), (Scope::Floating, bind), "{}", cluster.name);
    }
    // The key is in no text for people.
    assert!(!format!("{:?}", resolved.plan).contains(KEY));
}

#[test]
fn other_ends_that_a_gateway_learned_are_in_the_plan() {
    let mut status = status(&[("192.0.2.1", 4)]);
    status["tunnel-peers"] = json!([
        {"tunnel-id": 4, "address": "198.51.100.9", "port": 1024, "group-id": 0, "service-id": 4,
         "since": "2026-11-30T03:03:06.449Z"},
        {"tunnel-id": 9, "address": "198.51.100.9", "port": 1, "group-id": 0, "service-id": 4, "since": "noon"},
    ]);
    let world = mk_world().web_of(spec(), status).behind("one", "192.0.2.1", "10.244.1.5");
    let resolved = world.web();
    let at = "198.51.100.9:1024".parse().unwrap();
    let peer = TunnelPeer { at, ids: (0, 4), since_ms: 1_796_007_786_449 };
    assert_eq!(tunnels(&resolved).tunnels.iter().map(|one| one.peer).collect::<Vec<_>>(), [Some(peer)]);
}

#[test]
fn endpoint_without_its_tunnel_is_left_out_and_the_condition_says_why() {
    let numberless = |field: &str| {
        let mut spec = spec();
        spec.as_object_mut().unwrap().remove(field);
        spec
    };
    let set = "isn't set yet";
    for (world, spec, text) in [
        (mk_world(), spec(), "an endpoint is left out: there is no tunnel to 192.0.2.9 yet"),
        (mk_world(), numberless("service-id"), set),
        (mk_world(), numberless("tunnel-key"), set),
        (World::default().group(NAMESPACE, "gold"), spec(), "create the namespace epic"),
    ] {
        let world = world
            .web_of(spec, status(&[("192.0.2.1", 4)]))
            .behind("lost", "192.0.2.9", "10.244.1.5")
            .behind("direct", "", "10.9.0.1");
        let resolved = world.web();
        assert_eq!(told(&resolved)[0], "tcp-80 Floating 203.0.113.7:80 -> 10.9.0.1:8080");
        assert_eq!(resolved.plan.tunnels, None);
        let [(Reason::Pending, warning)] = resolved.warnings.as_slice() else {
            panic!("{:?}", resolved.warnings)
        };
        assert!(warning.contains(text), "{warning}");
    }
    let mut of_ipv6 = spec();
    of_ipv6["public-address"] = json!("2001:db8::7");
    let world =
        mk_world().web_of(of_ipv6, status(&[("192.0.2.1", 4)])).behind("one", "192.0.2.1", "10.244.1.5");
    let resolved = world.web();
    assert!(told(&resolved)[0].ends_with("-> "), "{:?}", told(&resolved));
    assert!(resolved.warnings[0].1.contains("set spec.true-ingress to false"), "{:?}", resolved.warnings);
    let world = mk_world().web_of(spec(), status(&[("192.0.2.1", 4)])).behind("six", "192.0.2.1", "fd00::5");
    let warning = &world.web().warnings[0].1;
    assert!(warning.contains("fd00::5 is not an IPv4 address"), "{warning}");
}

#[test]
fn no_tunnels_has_what_asks_for_none() {
    let mut direct = spec();
    direct["true-ingress"] = json!(false);
    let world =
        mk_world().web_of(direct, status(&[("192.0.2.1", 4)])).behind("one", "192.0.2.1", "10.244.1.5");
    let resolved = world.web();
    assert!(told(&resolved)[0].ends_with("-> 10.244.1.5:8080"), "{:?}", told(&resolved));
    assert!(resolved.plan.tunnels.is_none() && resolved.plan.needs.is_empty());
    assert!(resolved.plan.clusters.iter().all(|one| one.socket.as_ref().unwrap().bind.is_none()));
}

#[test]
fn port_of_the_tunnels_is_refused_where_they_end_at_the_public_address() {
    let ports = json!([{"name": "http", "port": 6080}, {"name": "sip", "port": 6080, "protocol": "UDP"}]);
    let mut spec = spec();
    spec["public-ports"] = ports;
    let world = |ends: Value| mk_world().web_of(spec.clone(), ends).behind("one", "192.0.2.1", "10.244.1.5");
    let own = world(status(&[("192.0.2.1", 4)])).resolve("web").unwrap_err();
    assert_eq!(own.reason, Reason::Unsupported);
    assert!(
        own.message.starts_with("spec.public-ports: UDP 6080 is the port of the tunnels"),
        "{}",
        own.message
    );
    let mut elsewhere = status(&[("192.0.2.1", 4)]);
    elsewhere["gue-tunnel-endpoints"]["192.0.2.1"]["epic-address"] = json!("192.0.2.254");
    let resolved = world(elsewhere).web();
    assert_eq!(tunnels(&resolved).endpoints[0].protocol, Protocol::Tcp);
}
