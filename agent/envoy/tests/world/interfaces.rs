//! The interface that leads to the pod of a proxy, in the status of Plans that ask for it.

use portreeve_agent_core::status::of_plan;
use portreeve_agent_core::world::Interface;

use super::*;

const UID: &str = "pod";

/// Returns a rig with a Plan that asks for the interface on `br0`, and the pod that it is for, whose Envoy is connected.
fn mk_rig() -> (Rig, Name) {
    let plan = plan::Plan { pod_bridge: Some("br0".into()), ..mk_plan("web", 1, 5000, ip("10.0.0.9")) };
    let mut rig = Rig::new();
    for ty in PlanType::ALL {
        rig.respond(*ty, &[], &[]).unwrap();
    }
    rig.put_plan(&plan);
    rig.put_plan(&mk_plan("other", 2, 5001, ip("10.0.0.9")));
    rig.world.apply_pod(mk_pod(UID, "gw"));
    rig.world.open_envoy(&pod_id(UID)).unwrap();
    (rig, name_of(&plan))
}

fn mk_interface(index: u32, bridge: Option<&str>) -> Interface {
    Interface { index, name: format!("veth{index}"), bridge: bridge.map(str::to_owned) }
}

fn reported(rig: &Rig, plan: &Name) -> Option<(u32, String)> {
    let interface = of_plan(&rig.world, plan).unwrap().interface?;
    Some((interface.index, interface.name))
}

#[test]
fn interface_on_the_bridge_is_reported_or_else_the_first_and_for_no_other_plan() {
    let (mut rig, plan) = mk_rig();
    assert_eq!(reported(&rig, &plan), None);
    for (interfaces, expected) in [
        (vec![mk_interface(7, Some("br0")), mk_interface(3, Some("cni0"))], 7),
        (vec![mk_interface(9, Some("cni0")), mk_interface(8, None)], 8),
        (vec![mk_interface(5, None)], 5),
    ] {
        rig.world.take_touched();
        rig.world.set_interfaces(&UID.into(), interfaces.clone());
        assert_eq!(reported(&rig, &plan), Some((expected, format!("veth{expected}"))));
        assert_eq!(reported(&rig, &"A/ns/other".into()), None);
        assert_eq!(rig.world.take_touched(), BTreeSet::from([plan.clone()]), "only its status may differ");
        rig.world.set_interfaces(&UID.into(), interfaces);
        assert!(rig.world.take_touched().is_empty(), "nothing changed");
    }
}

#[test]
fn interfaces_are_forgotten_with_their_pod() {
    let (mut rig, plan) = mk_rig();
    rig.world.set_interfaces(&UID.into(), vec![mk_interface(7, None)]);
    rig.world.delete_pod(&UID.into());
    rig.world.set_interfaces(&UID.into(), vec![mk_interface(7, None)]);
    rig.world.apply_pod(mk_pod(UID, "gw"));
    rig.world.open_envoy(&pod_id(UID)).unwrap();
    assert_eq!(reported(&rig, &plan), None);
}
