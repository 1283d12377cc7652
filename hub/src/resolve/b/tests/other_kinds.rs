//! What Plans say to proxies of other kinds than l7mp, and warnings on fields that nobody knows.

use portreeve_api::model::{Balancer, Protocol, ProxyKind};

use super::*;

fn mk_target() -> Value {
    mk_object(
        "Target",
        "worker",
        json!({
            "selector": {"matchLabels": {"app": "gateway"}},
            "cluster": {
                "spec": {"UDP": {"port": 9000}},
                "endpoints": [{"spec": {"address": "10.0.0.1"}}],
                "loadbalancer": {"policy": "ConsistentHash", "key": "/labels/call"},
            },
        }),
    )
}

#[test]
fn cluster_of_another_plan_comes_with_what_a_listener_needs_to_know_of_it() {
    let mut world = World::default();
    world.put(mk_target());
    world.put(mk_call("worker"));
    let plan = world.resolve("B/VirtualService/default/call").plan;
    let [cluster] = plan.clusters.as_slice() else { panic!("{:?}", plan.clusters) };
    assert_eq!(cluster.elsewhere, Some(Elsewhere::Plan("B/Target/default/worker/cluster".into())));
    assert_eq!(
        cluster.socket.as_ref().map(|socket| (socket.protocol, socket.port)),
        Some((Protocol::Udp, None))
    );
    assert_eq!(cluster.balancer, Some(Balancer::MetadataPath("/labels/call".into())));
    assert!(cluster.endpoints.is_empty(), "they are in the other Plan");
    assert_eq!((plan.workload.first_kind(), plan.workload.is_for_other_kinds()), (ProxyKind::L7mp, true));
}

#[test]
fn unknown_field_is_a_warning_of_an_accepted_object() {
    let mut world = World::default();
    let mut target = mk_target();
    target["spec"]["cluster"]["loadbalancer"]["kye"] = json!("/a");
    let row = &crate::resolve::b::target::ROW;
    let (object, warnings) = (row.read)(target).unwrap();
    let told = "spec.cluster.loadbalancer.kye: unknown field, ignored";
    assert_eq!((warnings, object.unknown_fields()), (vec![told.to_owned()], vec![told.to_owned()]));
    world.objects.push(object);
    let warnings = world.resolve("B/Target/default/worker").warnings;
    assert_eq!(warnings, [(Reason::UnknownField, told.to_owned())]);
}
