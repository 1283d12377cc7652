//! The stored state of an earlier agent, and proxies' ACKs and NACKs.

use portreeve_agent_core::fleet::Refusal;
use portreeve_xds::Event;

use super::*;

/// An owner and what to store for it.
pub(super) type Unsaved = (Owner, Vec<Kept>);

const LISTENER: (Envoy, &str) = (Envoy::Listener, "A/ns/call/l");
const CLUSTER: (Envoy, &str) = (Envoy::Cluster, "A/ns/call/c");
const ASSIGNMENT: (Envoy, &str) = (Envoy::Endpoint, "A/ns/call/c");

// === impl Rig ===

impl Rig {
    /// Returns the bytes of a resource on the gateway.
    fn bytes(&mut self, (ty, name): (Envoy, &str)) -> Option<Vec<u8>> {
        self.world.open_envoy(&gateway())?.snapshot(|s| s.get(ty, name).map(|r| r.body().to_vec()))
    }

    pub(super) fn version(&mut self, of: (Envoy, &str)) -> Version {
        Version::of(&self.bytes(of).unwrap())
    }

    /// Lets the gateway accept everything that it is sent. Returns what to store.
    fn accept_all(&mut self) -> Vec<Unsaved> {
        self.accept_types(Envoy::ALL);
        self.world.take_unsaved()
    }

    fn refuse(&mut self, of: (Envoy, &str)) {
        let version = self.version(of);
        self.world.refused(&gateway(), of.0, &[(of.1.into(), version)], "no good");
    }

    fn is_refused(&self) -> bool {
        self.world.fleet().unwrap().is_refused(&gateway(), LISTENER.0, &LISTENER.1.into())
    }

    /// Returns Plans as the store holds them.
    fn kept(&self, plans: &[plan::Plan]) -> BTreeMap<PlanType, Vec<Sent>> {
        let sent = |name: Name, body: Vec<u8>| (name, Version::of(&body), Bytes::from(body));
        let proxy = sent("gw".into(), mk_node_proxy("gw").encode_to_vec());
        let plans = plans.iter().map(|p| sent(name_of(p), p.encode_to_vec()));
        BTreeMap::from([(PlanType::NodeProxy, vec![proxy]), (PlanType::Plan, plans.collect())])
    }
}

/// Returns the same state as another agent version would have stored it, with other bytes for cluster and
/// listener.
fn as_earlier(kept: &[Unsaved]) -> Vec<Unsaved> {
    let earlier = |one: &Kept| {
        let mut body = one.body.to_vec();
        // An unknown field does not change the message's meaning.
        body.extend([0xf8, 0xff, 0xff, 0xff, 0x0f, 0x01]);
        Kept { body: body.into(), sources: None, ..one.clone() }
    };
    kept.iter().map(|(owner, all)| (owner.clone(), all.iter().map(earlier).collect())).collect()
}

/// Returns a world restored from `rig`'s Plans and from what its gateway accepted, with the bytes of another
/// agent version.
pub(super) fn reborn(rig: &mut Rig, plans: &[plan::Plan]) -> (Rig, Vec<Unsaved>) {
    let earlier = as_earlier(&rig.accept_all());
    let mut again = Rig { world: World::new(registry::fleets(), Families::V4) };
    for (owner, all) in &earlier {
        again.world.restore_accepted(owner.clone(), all);
    }
    let (_, errors) = again.world.restore_feed(&rig.kept(plans), true);
    assert!(errors.is_empty(), "{errors:?}");
    (again, earlier)
}

fn accepted(kept: &[Unsaved], (ty, name): (Envoy, &str)) -> Vec<u8> {
    let all = kept.iter().flat_map(|(_, all)| all);
    all.filter(|one| super::ty(one) == ty && *one.name == *name).map(|one| one.body.to_vec()).next().unwrap()
}

fn call(port: u32) -> plan::Plan {
    mk_plan("call", 1, port, ip("10.0.0.9"))
}

#[test]
fn world_that_was_complete_is_complete_and_serves_at_once() {
    let mut rig = Rig::new();
    rig.put_plan(&call(2000));
    let (mut again, _) = reborn(&mut rig, &[call(2000)]);
    assert!(
        again.world.complete()
            && again.world.settled(ProxyKind::Envoy, &gateway(), &Announced::default())
            && !again.world.heard_node_proxies()
    );
    assert_eq!(again.listeners(&gateway()), ["A/ns/call/l"]);
    assert_eq!(again.world.held().len(), 2, "the hub is told what is here");
    let mut incomplete = World::new(registry::fleets(), Families::V4);
    incomplete.restore_feed(&rig.kept(&[]), false);
    assert!(!incomplete.complete());
}

#[test]
fn bytes_that_were_accepted_are_served_again_for_the_same_inputs_and_endpoints_are_fresh() {
    let mut rig = Rig::new();
    rig.put_plan(&call(2000));
    let fresh = rig.bytes(ASSIGNMENT);
    let (mut again, earlier) = reborn(&mut rig, &[call(2000)]);
    for of in [LISTENER, CLUSTER] {
        assert_eq!(again.bytes(of), Some(accepted(&earlier, of)), "{of:?}");
        assert_ne!(again.bytes(of), rig.bytes(of), "{of:?}");
    }
    assert_eq!(again.bytes(ASSIGNMENT), fresh);
}

#[test]
fn hubs_same_word_again_leaves_the_accepted_bytes_and_another_brings_the_new_translation() {
    let mut rig = Rig::new();
    rig.put_plan(&call(2000));
    let (mut again, earlier) = reborn(&mut rig, &[call(2000)]);
    again.put_plan(&call(2000));
    assert_eq!(again.bytes(LISTENER), Some(accepted(&earlier, LISTENER)));
    again.put_plan(&call(2001));
    rig.put_plan(&call(2001));
    for of in [LISTENER, CLUSTER] {
        assert_eq!(again.bytes(of), rig.bytes(of), "{of:?}");
    }
}

#[test]
fn proxy_that_starts_anew_gets_the_new_translation() {
    let mut rig = Rig::new();
    rig.put_plan(&call(2000));
    let (mut again, _) = reborn(&mut rig, &[call(2000)]);
    again.world.restarted::<Envoy>(&gateway());
    for of in [LISTENER, CLUSTER] {
        assert_eq!(again.bytes(of), rig.bytes(of), "{of:?}");
    }
}

#[test]
fn other_inputs_that_come_to_the_same_bytes_are_kept_with_the_new_inputs() {
    let mut rig = Rig::new();
    rig.put_plan(&call(2000));
    let before = rig.accept_all();
    let mut edited = call(2000);
    edited.clusters[0].endpoints[0].port = 10;
    rig.put_plan(&edited);
    let after = rig.world.take_unsaved();
    let inputs = |kept: &[Unsaved]| kept[0].1.iter().find(|a| ty(a) == Envoy::Listener).unwrap().inputs;
    assert_ne!(inputs(&before), inputs(&after));
    assert_eq!(accepted(&before, LISTENER), accepted(&after, LISTENER));
}

#[test]
fn refused_listener_gives_way_to_the_accepted_one_until_the_translation_changes() {
    let mut rig = Rig::new();
    rig.put_plan(&call(2000));
    rig.accept_all();
    let good = rig.bytes(LISTENER);
    rig.put_plan(&call(2001));
    assert_ne!(rig.bytes(LISTENER), good);
    rig.refuse(LISTENER);
    assert_eq!(rig.bytes(LISTENER), good);
    assert!(rig.is_refused());
    rig.accept_all();
    assert!(rig.is_refused(), "the earlier one was accepted");
    rig.put_plan(&call(2001));
    assert_eq!(rig.bytes(LISTENER), good, "the same again is refused again");
    rig.put_plan(&call(2002));
    assert_ne!(rig.bytes(LISTENER), good);
    assert!(!rig.is_refused());
}

#[test]
fn stream_that_refused_is_sent_the_accepted_version_once_and_the_next_translation_after_it() {
    let mut rig = Rig::new();
    rig.put_plan(&call(2000));
    rig.accept_all();
    let good = rig.version(LISTENER);
    let mut watched = rig.watch(Envoy::Listener);
    rig.put_plan(&call(2001));
    let bad = watched.watch.next(Instant::now()).unwrap();
    let no = Request {
        nonce: bad.nonce,
        error_detail: Some("Error adding/updating listener(s) A/ns/call/l: no good".into()),
        ..Request::new(Kind::Known(Envoy::Listener))
    };
    watched.watch.events();
    watched.watch.request(no, Instant::now());
    let Some(Event::Nacked { ty, names, versions, detail, .. }) = watched.watch.events().pop() else {
        panic!("a refusal");
    };
    assert_eq!(versions, [bad.resources[0].version()]);
    let refused: Vec<_> = names.into_iter().zip(versions).collect();
    rig.world.refused(&gateway(), ty, &refused, &detail);
    let again = watched.watch.next(Instant::now()).unwrap();
    assert_eq!(again.resources[0].version(), good);
    watched.request(again.nonce);
    assert!(watched.next().is_empty());
    rig.put_plan(&call(2002));
    assert_eq!(watched.next(), [(vec![LISTENER.1.to_owned()], vec![])]);
}

#[test]
fn edit_that_is_taken_back_ends_the_refusal_though_nothing_is_sent() {
    let mut rig = Rig::new();
    rig.put_plan(&call(2000));
    rig.accept_all();
    rig.put_plan(&call(2001));
    let refused = rig.version(LISTENER);
    rig.refuse(LISTENER);
    let part = &rig.world.envoys()[&gateway()].plans["A/ns/call"];
    assert_eq!(
        part.wanted(&(LISTENER.0, LISTENER.1.into())),
        Some(refused),
        "what is sent is not what is wanted"
    );
    rig.world.restarted::<Envoy>(&gateway());
    assert!(rig.is_refused(), "a new process gets the good one");
    rig.world.welcome::<Envoy>(1, &gateway(), Announced::default());
    let key = (LISTENER.0, Name::from(LISTENER.1));
    let told = |rig: &Rig| rig.world.fleet().unwrap().answers()[&gateway()].refused.get(&key).cloned();
    assert_eq!(told(&rig), Some(Refusal { version: refused, text: "no good".into() }));
    rig.put_plan(&call(2000));
    assert_eq!(told(&rig), None);
}

#[test]
fn refused_listener_without_an_accepted_one_stays_as_it_is() {
    let mut rig = Rig::new();
    rig.put_plan(&call(2000));
    let only = rig.bytes(LISTENER);
    rig.refuse(LISTENER);
    assert_eq!(rig.bytes(LISTENER), only);
}

#[test]
fn late_answer_to_an_earlier_version_is_no_word_on_the_present_one() {
    let mut rig = Rig::new();
    rig.put_plan(&call(2000));
    rig.accept_all();
    rig.put_plan(&call(2001));
    let (earlier, bytes) = (rig.version(LISTENER), rig.bytes(LISTENER));
    rig.put_plan(&call(2002));
    let present = rig.bytes(LISTENER);
    rig.world.accepted(&gateway(), LISTENER.0, &vec![(LISTENER.1.into(), earlier)].into());
    assert_eq!(accepted(&rig.world.take_unsaved(), LISTENER), bytes.unwrap());
    rig.world.refused(&gateway(), LISTENER.0, &[(LISTENER.1.into(), Version(1))], "late");
    assert_eq!(rig.bytes(LISTENER), present);
}

#[test]
fn name_that_an_earlier_agent_did_not_escape_gives_way_to_its_escaped_form() {
    let mut odd = call(2000);
    odd.listeners[0].name = "a, b".into();
    let mut rig = Rig::new();
    rig.put_plan(&odd);
    let raw = |one: &Kept| match ty(one) {
        Envoy::Listener => Kept { name: "A/ns/call/a, b".into(), sources: None, ..one.clone() },
        _ => one.clone(),
    };
    let mut again = Rig { world: World::new(registry::fleets(), Families::V4) };
    for (owner, all) in rig.accept_all() {
        again.world.restore_accepted(owner, &all.iter().map(raw).collect::<Vec<_>>());
    }
    again.world.restore_feed(&rig.kept(&[odd]), true);
    assert_eq!(again.listeners(&gateway()), ["A/ns/call/a%2C%20b"]);
}

#[test]
fn plan_that_cannot_be_made_yet_is_served_as_it_was_accepted() {
    let named = |port| mk_plan("call", 1, port, From::Host("worker".into()));
    let mut rig = Rig::new();
    rig.put_plan(&named(2000));
    rig.world.set_host(&("ns".into(), "worker".into()), vec!["10.0.0.7".parse().unwrap()]);
    let (mut again, earlier) = reborn(&mut rig, &[named(2000)]);
    for of in [LISTENER, CLUSTER, ASSIGNMENT] {
        assert_eq!(again.bytes(of), Some(accepted(&earlier, of)), "{of:?}");
    }
    again.world.set_host(&("ns".into(), "worker".into()), vec!["10.0.0.8".parse().unwrap()]);
    assert_eq!(again.bytes(LISTENER), Some(accepted(&earlier, LISTENER)));
    assert_eq!(again.endpoints("call").unwrap(), ["10.0.0.8"]);
}

#[test]
fn plan_whose_file_is_lost_is_served_as_it_was_accepted_until_the_hub_speaks() {
    let mut rig = Rig::new();
    rig.put_plan(&call(2000));
    let (mut again, earlier) = reborn(&mut rig, &[]);
    assert_eq!(again.bytes(LISTENER), Some(accepted(&earlier, LISTENER)));
    again.respond(PlanType::Slice, &[], &[]).unwrap();
    assert_eq!(again.listeners(&gateway()), ["A/ns/call/l"]);
    again.respond(PlanType::Plan, &[], &[]).unwrap();
    assert!(again.listeners(&gateway()).is_empty());
    assert_eq!(again.world.take_unsaved(), [(owner(gateway(), "A/ns/call"), vec![])]);
}

#[test]
fn removed_plan_and_lost_port_leave_nothing_to_serve_again() {
    let mut rig = Rig::new();
    rig.put_plan(&call(2000));
    rig.accept_all();
    rig.put_plan(&mk_plan("older", 0, 2000, ip("10.0.0.9")));
    let kept = rig.world.take_unsaved();
    let (_, all) = kept.iter().find(|(owner, _)| *owner.plan == *"A/ns/call").unwrap();
    assert!(all.iter().all(|one| ty(one) != Envoy::Listener), "{all:?}");
    rig.remove(PlanType::Plan, "A/ns/call");
    rig.remove(PlanType::Plan, "A/ns/older");
    assert!(rig.world.take_unsaved().iter().all(|(_, all)| all.is_empty()));
}

#[test]
fn pods_and_node_proxies_that_vanished_meanwhile_leave_nothing_behind() {
    let one = Accepted::new(Envoy::Cluster, "A/ns/call/c".into(), 1, b"x").kept().unwrap();
    let mut world = World::new(registry::fleets(), Families::V4);
    for id in [pod_id("stays"), pod_id("gone"), gateway()] {
        world.restore_accepted(owner(id, "A/ns/call"), std::slice::from_ref(&one));
    }
    world.apply_pod(mk_pod("stays", "gw"));
    world.reset_pods(vec![mk_pod("stays", "gw")]);
    assert_eq!(world.take_unsaved(), [(owner(pod_id("gone"), "A/ns/call"), vec![])]);
    world.apply_feed(PlanType::NodeProxy, &[], &[]).unwrap();
    assert_eq!(world.take_unsaved(), [(owner(gateway(), "A/ns/call"), vec![])]);
}

#[test]
fn kept_resource_that_cannot_be_decoded_costs_nothing_else() {
    let rig = Rig::new();
    let mut kept = rig.kept(&[call(2000)]);
    kept.get_mut(&PlanType::Plan).unwrap().push((
        "A/ns/bad".into(),
        Version(1),
        Bytes::from_static(&[0xff; 3]),
    ));
    let mut again = Rig { world: World::new(registry::fleets(), Families::V4) };
    let (_, errors) = again.world.restore_feed(&kept, true);
    assert!(errors.len() == 1 && errors[0].contains("A/ns/bad"), "{errors:?}");
    assert_eq!(again.listeners(&gateway()), ["A/ns/call/l"]);
    assert!(!again.world.held().contains_key(&(PlanType::Plan, "A/ns/bad".into())), "the hub sends it again");
}
