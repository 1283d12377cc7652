//! Two kinds of proxies on one node.

use portreeve_agent_core::fleet::Fleets;
use portreeve_agent_core::translate::{
    Lookup, Output, ProxyModel, Remark, Request as Asked, Translation, qualified,
};

use super::*;

/// The resource types of another kind of proxy: text instead of protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Toy {
    Cluster,
    Endpoints,
    Listener,
}

impl ResourceType for Toy {
    const ALL: &'static [Self] = &[Self::Cluster, Self::Endpoints, Self::Listener];

    fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "toy/cluster",
            Self::Endpoints => "toy/endpoints",
            Self::Listener => "toy/listener",
        }
    }

    fn legacy_wildcard(self) -> bool {
        true
    }

    fn full_state(self) -> bool {
        false
    }
}

impl ProxyModel for Toy {
    const KIND: ProxyKind = ProxyKind::L7mp;
    const LISTENER: Self = Self::Listener;
    const CLUSTER: Self = Self::Cluster;
    const ASSIGNMENT: Self = Self::Endpoints;

    fn noun(self) -> &'static str {
        "toy"
    }

    fn number(self) -> Option<u32> {
        Some(self as u32)
    }

    fn resource(self, name: Name, body: &[u8]) -> Arc<Resource> {
        Resource::new(self, name, body)
    }

    fn target(listener: &[u8]) -> Option<Name> {
        std::str::from_utf8(listener).ok()?.split_once(" to ").map(|(_, target)| target.into())
    }

    fn translate(asked: &Asked<'_>, _: &dyn Lookup) -> Option<Translation<Self>> {
        let mut done = Translation::default();
        for listener in asked.plan.listeners.iter().filter(|one| !asked.denied.contains(&one.name)) {
            let (name, target) = (qualified(asked.plan, &listener.name), asked.cluster_name("c"));
            let Some(port) = listener.socket.as_ref()?.port else {
                done.remarks.push(Remark { at: listener.name.clone(), text: "no port".into() });
                continue;
            };
            let one = |ty: Self, name: Name, text: String| -> Output<Self> {
                (ty, ty.resource(name, text.as_bytes()))
            };
            done.outputs.push(one(Self::Listener, name, format!("{port} to {target}")));
            done.outputs.push(one(Self::Cluster, target.clone(), "cluster".into()));
            done.outputs.push(one(Self::Endpoints, target, "endpoints".into()));
        }
        Some(done)
    }
}

/// A pod on the host's network that declares a toy proxy.
fn mk_toy_pod() -> Pod {
    Pod { host_network: true, l7mp: std::num::NonZeroU16::new(1234), ..mk_pod("p", "gw") }
}

/// A world with Envoys and toy proxies, and a pod `p` on the host's network that has one of each.
fn both() -> Rig {
    let mut rig = Rig { world: World::new(Fleets::default().with::<Envoy>().with::<Toy>(), Families::V4) };
    rig.world.apply_pod(mk_toy_pod());
    rig.world.open::<Envoy>(&pod_id("p"), &Announced::default()).unwrap();
    rig.world.open::<Toy>(&pod_id("p"), &Announced::default()).unwrap();
    rig
}

/// Returns the same Plan for toy proxies.
fn for_toys(mut plan: plan::Plan) -> plan::Plan {
    plan.workload.as_mut().unwrap().set_proxy_kind(plan::ProxyKind::L7mp);
    plan
}

fn toys_listeners(rig: &mut Rig) -> Vec<String> {
    let view = rig.world.open::<Toy>(&pod_id("p"), &Announced::default()).unwrap();
    let mut all: Vec<String> = view.snapshot(|s| {
        s.iter(Toy::Listener).map(|(_, one)| String::from_utf8_lossy(one.body()).into()).collect()
    });
    all.sort();
    all
}

fn toy_accepts_all(rig: &mut Rig) {
    let view = rig.world.open::<Toy>(&pod_id("p"), &Announced::default()).unwrap();
    for ty in Toy::ALL {
        let all: Vec<_> =
            view.snapshot(|s| s.iter(*ty).map(|(name, r)| (name.clone(), r.version())).collect());
        rig.world.accepted(&pod_id("p"), *ty, &all.into());
    }
}

#[test]
fn plan_goes_to_the_proxies_of_its_kind_alone() {
    let mut rig = both();
    rig.put_plan(&mk_plan("envoys", 1, 2000, ip("10.0.0.9")));
    rig.put_plan(&for_toys(mk_plan("toys", 1, 2001, ip("10.0.0.9"))));
    assert_eq!(rig.listeners(&pod_id("p")), ["A/ns/envoys/l"]);
    assert_eq!(toys_listeners(&mut rig), ["2001 to A/ns/toys/c"]);
    let mut edited = mk_plan("toys", 1, 2001, ip("10.0.0.9"));
    rig.put_plan(&edited);
    assert_eq!(rig.listeners(&pod_id("p")), ["A/ns/envoys/l", "A/ns/toys/l"], "it is for Envoys now");
    assert!(toys_listeners(&mut rig).is_empty());
    edited.workload = None;
    rig.put_plan(&edited);
    assert_eq!(rig.listeners(&pod_id("p")), ["A/ns/envoys/l", "A/ns/toys/l"], "that makes no sense");
}

#[test]
fn plan_goes_to_another_kind_only_where_no_proxy_of_its_own_kind_takes_it() {
    let mut rig = Rig { world: World::new(Fleets::default().with::<Envoy>().with::<Toy>(), Families::V4) };
    rig.world.apply_pod(mk_toy_pod());
    let mut for_toys_first = for_toys(mk_plan("toys", 1, 2001, ip("10.0.0.9")));
    for_toys_first.workload.as_mut().unwrap().other_kinds = true;
    rig.put_plan(&mk_plan("call", 1, 2000, ip("10.0.0.9")));
    rig.put_plan(&for_toys_first);
    assert_eq!(toys_listeners(&mut rig), ["2000 to A/ns/call/c", "2001 to A/ns/toys/c"], "there is no Envoy");
    rig.world.open::<Envoy>(&pod_id("p"), &Announced::default()).unwrap();
    assert_eq!(rig.listeners(&pod_id("p")), ["A/ns/call/l"]);
    assert_eq!(toys_listeners(&mut rig), ["2001 to A/ns/toys/c"]);
    rig.world.apply_pod(mk_pod("p", "gw"));
    rig.world.apply_pod(Pod { host_network: true, ..mk_pod("p", "gw") });
    assert_eq!(rig.listeners(&pod_id("p")), ["A/ns/call/l", "A/ns/toys/l"], "there is no toy any more");
    rig.world.delete_pod(&"p".into());
    assert!(rig.world.fleets().all().all(|fleet| fleet.ids().is_empty()));
}

#[test]
fn plan_waits_for_an_envoy_that_had_it_and_has_not_reconnected() {
    let mut rig = both();
    rig.put_plan(&mk_plan("call", 1, 2000, ip("10.0.0.9")));
    rig.world.take_unsaved();
    let view = rig.world.open::<Envoy>(&pod_id("p"), &Announced::default()).unwrap();
    let all: Vec<_> =
        view.snapshot(|s| s.iter(Envoy::Listener).map(|(name, r)| (name.clone(), r.version())).collect());
    rig.world.accepted(&pod_id("p"), Envoy::Listener, &all.into());
    let (owner, kept) = rig.world.take_unsaved().remove(0);

    let mut again = Rig { world: World::new(Fleets::default().with::<Envoy>().with::<Toy>(), Families::V4) };
    assert!(again.world.restore_accepted(owner, &kept));
    again.world.apply_pod(mk_toy_pod());
    again.put_plan(&mk_plan("call", 1, 2000, ip("10.0.0.9")));
    assert!(toys_listeners(&mut again).is_empty(), "the Envoy still runs it");
    assert_eq!(again.listeners(&pod_id("p")), ["A/ns/call/l"]);
}

#[test]
fn proxies_of_two_kinds_share_the_ports_of_a_network() {
    let mut rig = both();
    rig.put_plan(&mk_plan("old", 1, 2000, ip("10.0.0.9")));
    rig.put_plan(&for_toys(mk_plan("young", 2, 2000, ip("10.0.0.9"))));
    assert_eq!(rig.listeners(&pod_id("p")), ["A/ns/old/l"]);
    assert!(toys_listeners(&mut rig).is_empty());
    let faults = rig.world.take_faults();
    assert!(faults.len() == 1 && faults[0].text.contains("taken by the older A/ns/old/l"), "{faults:?}");
    rig.remove(PlanType::Plan, "A/ns/old");
    assert_eq!(toys_listeners(&mut rig), ["2000 to A/ns/young/c"]);
}

#[test]
fn what_two_kinds_accepted_of_one_plan_is_kept_apart() {
    let mut rig = both();
    let plan = mk_plan("call", 1, 2000, ip("10.0.0.9"));
    rig.put_plan(&plan);
    rig.world.take_unsaved();
    let view = rig.world.open::<Envoy>(&pod_id("p"), &Announced::default()).unwrap();
    let all: Vec<_> =
        view.snapshot(|s| s.iter(Envoy::Listener).map(|(name, r)| (name.clone(), r.version())).collect());
    rig.world.accepted(&pod_id("p"), Envoy::Listener, &all.into());
    let kept = rig.world.take_unsaved();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].0.kind, kept[0].1.len()), (ProxyKind::Envoy, 1));
    rig.put_plan(&for_toys(plan));
    toy_accepts_all(&mut rig);
    let kept: BTreeMap<_, _> =
        rig.world.take_unsaved().into_iter().map(|(owner, all)| (owner.kind, all.len())).collect();
    assert_eq!(kept, BTreeMap::from([(ProxyKind::Envoy, 0), (ProxyKind::L7mp, 3)]));
}

#[test]
fn what_a_toy_accepted_is_restored_to_it_and_an_agent_without_toys_takes_nothing() {
    let mut rig = both();
    let plan = for_toys(mk_plan("call", 1, 2000, ip("10.0.0.9")));
    rig.put_plan(&plan);
    toy_accepts_all(&mut rig);
    let kept = rig.world.take_unsaved();
    let (owner, all) = kept.iter().find(|(owner, _)| owner.kind == ProxyKind::L7mp).unwrap();
    let mut again = both();
    assert!(again.world.restore_accepted(owner.clone(), all));
    again.world.apply_pod(Pod { ready: false, ..mk_toy_pod() });
    let known = again.world.fleet::<Toy>().unwrap().answers().len();
    assert_eq!(known, 0, "nobody is presumed yet");
    again.world.presume_all(Instant::now());
    assert!(again.world.fleet::<Toy>().unwrap().answers()[&pod_id("p")].is_there());
    assert!(again.world.fleet::<Envoy>().unwrap().answers().is_empty());
    assert!(
        !World::new(Fleets::default().with::<Envoy>(), Families::V4).restore_accepted(owner.clone(), all)
    );
    let later = [Kept { number: 99, ..all[0].clone() }];
    assert!(!again.world.restore_accepted(owner.clone(), &later), "a type of a later agent");
}

#[test]
fn bare_pods_are_counted_for_each_kind() {
    let fleets = Fleets::default().with::<Envoy>().with::<Toy>();
    let mut rig = Rig { world: World::new(fleets, Families::V4) };
    rig.world.apply_pod(mk_pod("p", "gw"));
    rig.world.open::<Toy>(&pod_id("p"), &Announced::default()).unwrap();
    let bare = |plan: &plan::Plan| {
        let plan = Plan::try_from(plan.clone()).unwrap();
        rig.world.fleets().all().map(|fleet| fleet.bare(&plan)).sum::<usize>()
    };
    let plan = mk_plan("call", 1, 2000, ip("10.0.0.9"));
    let mut for_envoys = plan.clone();
    for_envoys.workload.as_mut().unwrap().set_proxy_kind(plan::ProxyKind::Envoy);
    assert_eq!((bare(&for_envoys), bare(&for_toys(plan.clone()))), (1, 0));
    assert_eq!(bare(&plan), 0, "the toy takes it");
}

#[test]
fn node_proxy_that_becomes_another_kind_leaves_its_fleet() {
    let mut rig = Rig { world: World::new(Fleets::default().with::<Envoy>().with::<Toy>(), Families::V4) };
    rig.put(PlanType::NodeProxy, "gw", &mk_node_proxy("gw"));
    rig.put_plan(&mk_plan("call", 1, 2000, ip("10.0.0.9")));
    assert_eq!(rig.listeners(&gateway()), ["A/ns/call/l"]);
    let settings = Some(plan::node_proxy::Settings::L7mp(plan::L7mpSettings::default()));
    rig.put(PlanType::NodeProxy, "gw", &plan::NodeProxy { settings, ..mk_node_proxy("gw") });
    assert!(rig.world.open::<Envoy>(&gateway(), &Announced::default()).is_none());
    assert!(rig.world.open::<Toy>(&gateway(), &Announced::default()).is_some());
    rig.put(PlanType::NodeProxy, "gw", &mk_node_proxy("gw"));
    assert!(rig.world.open::<Toy>(&gateway(), &Announced::default()).is_none());
    assert_eq!(rig.listeners(&gateway()), ["A/ns/call/l"]);
}

#[test]
fn pod_has_an_l7mp_proxy_while_it_declares_one() {
    let mut rig = Rig { world: World::new(registry::fleets(), Families::V4) };
    let plan = for_toys(mk_plan("call", 1, 2000, ip("10.0.0.9")));
    let bare = |rig: &Rig| {
        let plan = Plan::try_from(plan.clone()).unwrap();
        rig.world.fleets().all().map(|fleet| fleet.bare(&plan)).sum::<usize>()
    };
    let proxies =
        |rig: &Rig| rig.world.l7mp_proxies().into_values().map(|at| at.to_string()).collect::<Vec<_>>();
    rig.world.apply_pod(mk_pod("p", "gw"));
    assert_eq!((bare(&rig), proxies(&rig)), (1, vec![]));
    rig.world.apply_pod(mk_toy_pod());
    assert_eq!((bare(&rig), proxies(&rig)), (0, vec!["10.0.0.1:1234".to_owned()]));
    rig.world.apply_pod(Pod { ips: Vec::new(), ..mk_toy_pod() });
    assert_eq!((bare(&rig), proxies(&rig)), (0, vec![]), "its address is not known");
    rig.world.apply_pod(mk_pod("p", "gw"));
    assert_eq!((bare(&rig), proxies(&rig)), (1, vec![]));
    rig.world.apply_pod(mk_toy_pod());
    rig.world.delete_pod(&"p".into());
    assert_eq!((bare(&rig), proxies(&rig)), (0, vec![]));
}

#[test]
fn l7mp_of_a_node_proxy_is_reached_on_the_loopback_at_its_port() {
    let mut rig = Rig { world: World::new(registry::fleets(), Families::V4) };
    let mut reached = |settings| {
        rig.put(PlanType::NodeProxy, "gw", &plan::NodeProxy { settings, ..mk_node_proxy("gw") });
        rig.world.l7mp_proxies().into_values().map(|at| at.to_string()).collect::<Vec<_>>()
    };
    let l7mp = |api_port| {
        let settings = plan::L7mpSettings { api_port, ..Default::default() };
        Some(plan::node_proxy::Settings::L7mp(settings))
    };
    assert_eq!(reached(None), [""; 0]);
    assert_eq!(reached(l7mp(0)), ["127.0.0.1:1234"]);
    assert_eq!(reached(l7mp(1235)), ["127.0.0.1:1235"]);
    let envoy = plan::node_proxy::Settings::Envoy(plan::EnvoySettings::default());
    assert_eq!(reached(Some(envoy)), [""; 0]);
}
