//! Plans with tunnels: for which proxies they are kept, what is told of them, and where proxies connect from.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use portreeve_agent_core::status::of_plan;
use portreeve_agent_core::world::TunnelState;
use portreeve_api::model::TunnelPeer;

use super::*;

/// A Plan with a tunnel 4, through which its endpoint is reached.
fn mk_tunnelled(port: u32) -> plan::Plan {
    let address = |ip: &str, port| Some(plan::Address { ip: ip.into(), port });
    let endpoint = plan::TunnelledEndpoint {
        protocol: plan::Protocol::Udp.into(),
        at: address("10.0.0.9", 6000),
        tunnel: 4,
    };
    let tunnels = plan::Tunnels {
        group_id: 1,
        service_id: 3,
        key: vec![7; 16].into(),
        public_address: "203.0.113.7".into(),
        tunnels: vec![plan::Tunnel { id: 4, epic: address("203.0.113.7", 6080), peer: None }],
        endpoints: vec![endpoint],
    };
    let mut plan = plan::Plan { tunnels: Some(tunnels), ..mk_plan("web", 1, port, ip("10.0.0.9")) };
    plan.needs = vec!["tunnels".into()];
    for cluster in &mut plan.clusters {
        let socket = cluster.socket.get_or_insert_default();
        socket.set_scope(plan::Scope::Floating);
        socket.bind = address("203.0.113.7", 0);
    }
    plan
}

fn mk_rig() -> (Rig, Name) {
    let mut rig = Rig::new();
    for ty in PlanType::ALL {
        rig.respond(*ty, &[], &[]).unwrap();
    }
    let plan = mk_tunnelled(5000);
    rig.put_plan(&plan);
    (rig, name_of(&plan))
}

fn states(heard: bool) -> BTreeMap<u32, TunnelState> {
    let peer = TunnelPeer { at: "198.51.100.9:1024".parse().unwrap(), ids: (1, 3), since_ms: 5 };
    [(4, TunnelState { peer, heard }), (9, TunnelState { peer, heard })].into()
}

#[test]
fn tunnels_are_those_of_proxies_on_the_nodes_network_alone() {
    let (mut rig, name) = mk_rig();
    rig.remove(PlanType::NodeProxy, "gw");
    rig.world.apply_pod(mk_pod("pod", "gw"));
    rig.world.open_envoy(&pod_id("pod")).unwrap();
    assert!(rig.world.tunnel_plans().is_empty(), "a pod has a network of its own");
    assert!(of_plan(&rig.world, &name).unwrap().tunnels.is_empty());
}

#[test]
fn state_of_a_tunnel_is_told_with_its_plan_until_the_role_is_silent() {
    let (mut rig, name) = mk_rig();
    let plans = rig.world.tunnel_plans();
    assert_eq!(plans.keys().collect::<Vec<_>>(), [&name]);
    let told = |rig: &Rig| {
        let tunnels = of_plan(&rig.world, &name).unwrap().tunnels;
        tunnels
            .into_iter()
            .map(|one| (one.id, one.peer.map(|peer| peer.since_ms), one.heard))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&rig), [(4, None, false)]);
    rig.world.take_touched();
    rig.world.set_tunnel_states(states(true));
    assert_eq!(told(&rig), [(4, Some(5), true)]);
    assert_eq!(rig.world.take_touched(), BTreeSet::from([name.clone()]));
    rig.world.set_tunnel_states(states(true));
    assert!(rig.world.take_touched().is_empty(), "nothing changed");
    rig.world.silence_tunnels();
    assert_eq!(told(&rig), [(4, Some(5), false)]);
    assert!(Arc::ptr_eq(&plans, &rig.world.tunnel_plans()), "the role's file changes nothing of its own");

    rig.put_plan(&mk_tunnelled(5001));
    assert!(!Arc::ptr_eq(&plans, &rig.world.tunnel_plans()), "its ports are others");
    rig.remove(PlanType::NodeProxy, "gw");
    assert!(rig.world.tunnel_plans().is_empty());
}

#[test]
fn proxies_connect_from_the_public_address_also_while_another_node_has_it() {
    let (mut rig, _) = mk_rig();
    let view = rig.world.open_envoy(&gateway()).unwrap();
    let decode = |one: &Arc<Resource>| Cluster::decode(one.body()).unwrap();
    let cluster = view.snapshot(|s| s.get(Envoy::Cluster, "A/ns/web/c").map(decode)).unwrap();
    let bind = cluster.upstream_bind_config.unwrap();
    let address = bind.source_address.unwrap();
    assert_eq!((address.address.as_str(), bind.freebind.map(|yes| yes.value)), ("203.0.113.7", Some(true)));
    assert_eq!(address.port_specifier, Some(PortSpecifier::PortValue(0)));
    rig.put_plan(&mk_plan("plain", 2, 5001, ip("10.0.0.9")));
    let plain = view.snapshot(|s| s.get(Envoy::Cluster, "A/ns/plain/c").map(decode)).unwrap();
    assert_eq!(plain.upstream_bind_config, None);
}
