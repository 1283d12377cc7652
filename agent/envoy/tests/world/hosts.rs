//! Host names: a Plan waits for the first answer, and later answers change only its assignment.

use super::*;

fn host() -> Host {
    ("ns".to_owned(), "echo".to_owned())
}

fn named() -> plan::Plan {
    mk_plan("call", 1, 2000, From::Host("echo".into()))
}

fn addresses(all: &[&str]) -> Vec<IpAddr> {
    all.iter().map(|ip| ip.parse().unwrap()).collect()
}

#[test]
fn plan_waits_for_the_first_answer() {
    let mut rig = Rig::new();
    assert!(rig.put_plan(&named()).hosts);
    assert_eq!(rig.world.wanted_hosts(), BTreeSet::from([host()]));
    assert_eq!(rig.world.addresses_of(&host()), None);
    assert!(rig.listeners(&gateway()).is_empty());
    rig.world.set_host(&host(), addresses(&["10.0.0.2", "10.0.0.1"]));
    assert_eq!(rig.listeners(&gateway()), ["A/ns/call/l"]);
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.0.1", "10.0.0.2"]);
}

#[test]
fn changed_address_changes_the_assignment_only() {
    let mut rig = Rig::new();
    rig.put_plan(&named());
    rig.world.set_host(&host(), addresses(&["10.0.0.1"]));
    let (mut listeners, mut clusters) = (rig.watch(Envoy::Listener), rig.watch(Envoy::Cluster));
    rig.world.set_host(&host(), addresses(&["10.0.0.2"]));
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.0.2"]);
    assert_eq!((listeners.next(), clusters.next()), (vec![], vec![]));
}

#[test]
fn answer_in_another_order_changes_nothing() {
    let mut rig = Rig::new();
    rig.put_plan(&named());
    let version = |rig: &mut Rig| {
        let view = rig.world.open_envoy(&gateway()).unwrap();
        view.snapshot(|s| s.get(Envoy::Endpoint, "A/ns/call/c").map(|r| r.version()))
    };
    rig.world.set_host(&host(), addresses(&["10.0.0.1", "10.0.0.2"]));
    let before = version(&mut rig);
    rig.world.set_host(&host(), addresses(&["10.0.0.2", "10.0.0.1", "10.0.0.2"]));
    assert_eq!(version(&mut rig), before);
}

#[test]
fn name_that_ceases_to_exist_empties_the_cluster() {
    let mut rig = Rig::new();
    rig.put_plan(&named());
    rig.world.set_host(&host(), addresses(&["10.0.0.1"]));
    rig.world.set_host(&host(), Vec::new());
    assert_eq!(rig.endpoints("call"), Some(vec![]));
}

#[test]
fn name_is_wanted_as_long_as_a_plan_names_it() {
    let mut rig = Rig::new();
    rig.put_plan(&named());
    let second = mk_plan("second", 1, 2001, From::Host("echo".into()));
    assert!(!rig.put_plan(&second).hosts, "it is wanted already");
    assert!(!rig.remove(PlanType::Plan, "A/ns/call").hosts);
    assert!(rig.remove(PlanType::Plan, "A/ns/second").hosts);
    assert!(rig.world.wanted_hosts().is_empty());
    rig.world.set_host(&host(), addresses(&["10.0.0.1"]));
    assert_eq!(rig.world.addresses_of(&host()), None, "an answer that nobody waits for is dropped");
}

#[test]
fn names_of_two_namespaces_are_two_names() {
    let mut rig = Rig::new();
    rig.put_plan(&named());
    let mut far = mk_plan("far", 1, 2001, From::Host("echo".into()));
    far.dns_namespace = "far".into();
    rig.put_plan(&far);
    rig.world.set_host(&("far".into(), "echo".into()), addresses(&["10.0.0.7"]));
    assert_eq!((rig.endpoints("call"), rig.endpoints("far").unwrap()), (None, vec!["10.0.0.7".to_owned()]));
}

/// A world that received these Plans before the hub had sent everything.
fn told_of(plans: &[&plan::Plan]) -> Rig {
    let mut rig = Rig::new();
    for plan in plans {
        rig.put_plan(plan);
    }
    for ty in PlanType::ALL {
        rig.respond(*ty, &[], &[]).unwrap();
    }
    rig
}

#[test]
fn proxy_is_not_settled_before_every_name_of_its_plans_had_an_answer_and_others_are() {
    let mut rig = told_of(&[&named()]);
    rig.world.apply_pod(mk_pod("p", "other"));
    assert!(
        rig.world.complete()
            && !rig.world.settled(ProxyKind::Envoy, &gateway(), &Announced::default())
            && rig.world.settled(ProxyKind::Envoy, &pod_id("p"), &Announced::default())
    );
    rig.world.apply_pod(mk_pod("p", "gw"));
    assert!(
        !rig.world.settled(ProxyKind::Envoy, &pod_id("p"), &Announced::default()),
        "it takes the Plan by now"
    );
    rig.world.set_host(&host(), Vec::new());
    assert!(
        rig.world.settled(ProxyKind::Envoy, &gateway(), &Announced::default())
            && rig.world.settled(ProxyKind::Envoy, &pod_id("p"), &Announced::default())
    );
}

#[test]
fn name_that_comes_once_the_hub_has_said_everything_holds_nobody_back() {
    let mut rig = told_of(&[]);
    assert!(rig.world.settled(ProxyKind::Envoy, &gateway(), &Announced::default()));
    rig.put_plan(&named());
    assert!(rig.world.settled(ProxyKind::Envoy, &gateway(), &Announced::default()));
}

#[test]
fn silent_name_keeps_only_the_proxies_of_its_plans_from_knowing_what_is_gone() {
    let mut rig = told_of(&[&named()]);
    rig.world.apply_pod(mk_pod("p", "other"));
    let withheld = |rig: &mut Rig, id: &ProxyId| {
        let view = rig.world.open_envoy(id).unwrap();
        view.snapshot(|s| s.withholds(Envoy::Listener, &"A/ns/gone/l".into()))
    };
    assert!(!withheld(&mut rig, &pod_id("p")) && withheld(&mut rig, &gateway()));
    rig.world.set_host(&host(), Vec::new());
    assert!(!withheld(&mut rig, &gateway()));
}
