//! Proxies of an earlier agent whose stored state is older than their own: listeners with peers that changed since, and versions
//! that were never stored.

use super::restore::reborn;
use super::*;

const LISTENER: &str = "A/ns/call/l";
const OTHER: &str = "A/ns/call/other";

/// The names that a response adds and removes.
type Told = (Vec<String>, Vec<String>);

/// A Plan with TCP listener `l`, to which the pods of the tests' only group may connect, and UDP listener `other`.
fn call(port: u32) -> plan::Plan {
    let mut plan = mk_plan("call", 1, port, ip("10.0.0.9"));
    let mut limited = plan.listeners[0].clone();
    plan.listeners[0].name = "other".into();
    limited.socket.as_mut().unwrap().set_protocol(plan::Protocol::Tcp);
    limited.sources = Some(plan::SourcePolicy { groups: vec![W.into()], ..Default::default() });
    limited.rules[0].route.as_mut().unwrap().destination = "tcp".into();
    let mut cluster = plan.clusters[0].clone();
    cluster.name = "tcp".into();
    cluster.socket.as_mut().unwrap().set_protocol(plan::Protocol::Tcp);
    plan.clusters.push(cluster);
    plan.listeners.push(limited);
    plan
}

// === impl Rig ===

impl Rig {
    fn listener(&mut self, name: &str) -> Vec<u8> {
        let view = self.world.open_envoy(&gateway()).unwrap();
        view.snapshot(|s| s.get(Envoy::Listener, name).unwrap().body().to_vec())
    }

    /// Sends the first response of each type of which the hub has nothing.
    fn hear_the_rest(&mut self) {
        for ty in PlanType::ALL.iter().filter(|ty| **ty != PlanType::NodeProxy) {
            self.respond(*ty, &[], &[]).unwrap();
        }
        self.put(PlanType::NodeProxy, "gw", &mk_node_proxy("gw"));
    }

    /// Connects the gateway, which claims these listeners. Returns its stream and the names of what it is sent.
    fn connect(&mut self, claims: &[(&str, Version)]) -> (Watched, Vec<Told>) {
        let view = self.world.open_envoy(&gateway()).unwrap();
        self.world.welcome::<Envoy>(1, &gateway(), Announced::default());
        let mut watched =
            Watched { ty: Envoy::Listener, watch: Watch::new(view, Variant::Delta, Some(Envoy::Listener)) };
        let initial =
            claims.iter().map(|(name, version)| ((*name).to_owned(), version.to_string())).collect();
        watched
            .watch
            .request(Request { initial, ..Request::new(Kind::Known(Envoy::Listener)) }, Instant::now());
        let sent = self.settle(&mut watched);
        (watched, sent)
    }

    /// Lets the gateway answer what it is sent. Returns the names of that.
    fn settle(&mut self, watched: &mut Watched) -> Vec<Told> {
        let sent = watched.next();
        for event in watched.watch.events() {
            self.world.answered(&gateway(), &event);
        }
        sent
    }
}

/// A rig with the group of these pods whose gateway has accepted everything.
fn served(pods: &[u8], port: u32) -> Rig {
    let mut rig = Rig::new();
    rig.put_group(pods);
    rig.put_plan(&call(port));
    rig
}

#[test]
fn listener_that_an_earlier_agent_sent_follows_its_peers_and_leaves_the_others_alone() {
    for (before, after) in [(&[1][..], &[1, 2][..]), (&[1, 2], &[1]), (&[1], &[]), (&[], &[1]), (&[1], &[2])]
    {
        let mut rig = served(before, 2000);
        let (mut again, _) = reborn(&mut rig, &[call(2000)]);
        again.put_group(before);
        let (kept, other) = (again.listener(LISTENER), again.listener(OTHER));
        assert_ne!(kept, rig.listener(LISTENER), "the earlier agent's bytes stay");
        rig.put_group(after);
        again.put_group(after);
        assert_eq!(again.listener(LISTENER), rig.listener(LISTENER), "{before:?} to {after:?}");
        assert_eq!(again.listener(OTHER), other);
    }
}

#[test]
fn peers_in_another_order_are_the_same() {
    let mut rig = served(&[1, 2, 3], 2000);
    let (mut again, _) = reborn(&mut rig, &[call(2000)]);
    again.put_group(&[1, 2, 3]);
    let kept = again.listener(LISTENER);
    again.put_group(&[3, 1, 2]);
    assert_eq!(again.listener(LISTENER), kept);
}

/// The version of a listener of the Plan with this port and these peers.
fn version(pods: &[u8], port: u32) -> Version {
    Version::of(&served(pods, port).listener(LISTENER))
}

#[test]
fn listener_that_was_accepted_but_never_stored_stays_until_the_hub_has_spoken() {
    let newer = version(&[1, 2], 2000);
    let mut rig = served(&[1], 2000);
    let (mut again, _) = reborn(&mut rig, &[call(2000)]);
    again.put_group(&[1]);
    let stored = Version::of(&again.listener(OTHER));
    let (mut stream, sent) = again.connect(&[(LISTENER, newer), (OTHER, stored)]);
    assert_eq!(sent, [(vec![], vec![])], "an empty answer");
    again.put_group(&[1, 2]);
    again.hear_the_rest();
    again.put_plan(&call(2000));
    assert!(again.settle(&mut stream).is_empty(), "the proxy has it");
    let kept = again.world.take_unsaved();
    let accepted = kept.iter().flat_map(|(_, all)| all).filter(|one| *one.name == *LISTENER);
    assert_eq!(accepted.map(|one| Version::of(&one.body)).collect::<Vec<_>>(), [newer], "and it is stored");
}

#[test]
fn listener_that_was_never_stored_gives_way_to_what_the_hub_says() {
    let mut rig = served(&[1], 2000);
    let (mut again, _) = reborn(&mut rig, &[call(2000)]);
    again.put_group(&[1]);
    let stored = Version::of(&again.listener(OTHER));
    let (mut stream, sent) = again.connect(&[(LISTENER, version(&[7], 2000)), (OTHER, stored)]);
    assert_eq!(sent, [(vec![], vec![])]);
    again.hear_the_rest();
    assert_eq!(again.settle(&mut stream), [(vec![LISTENER.to_owned()], vec![])]);
}

#[test]
fn name_without_an_answer_prolongs_the_wait_for_the_hub_no_further_than_its_word() {
    let mut rig = served(&[1], 2000);
    let named = mk_plan("named", 1, 3000, From::Host("worker".into()));
    let (mut again, _) = reborn(&mut rig, &[call(2000), named]);
    again.put_group(&[1]);
    let stored = Version::of(&again.listener(OTHER));
    let (mut stream, sent) = again.connect(&[(LISTENER, version(&[7], 2000)), (OTHER, stored)]);
    assert_eq!(sent, [(vec![], vec![])]);
    again.hear_the_rest();
    assert!(!again.world.envoys()[&gateway()].sure, "nothing is removed yet");
    assert_eq!(again.settle(&mut stream), [(vec![LISTENER.to_owned()], vec![])]);
}

#[test]
fn proxy_that_is_older_than_the_store_is_brought_up_to_it_without_the_hub() {
    let mut rig = served(&[1], 2000);
    let (mut again, earlier) = reborn(&mut rig, &[call(2001)]);
    again.put_group(&[1]);
    let claims = [LISTENER, OTHER].map(|name| {
        let kept = earlier.iter().flat_map(|(_, all)| all).find(|one| *one.name == *name).unwrap();
        (name, Version::of(&kept.body))
    });
    let (_, sent) = again.connect(&claims);
    assert_eq!(sent, [(vec![LISTENER.to_owned(), OTHER.to_owned()], vec![])]);
}
