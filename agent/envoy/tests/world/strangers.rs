//! Ports that processes other than this node's proxies hold.

use portreeve_agent_core::claims::Transport;
use portreeve_agent_core::translate::bind::Bind;

use super::*;

const UDP: (Transport, u32) = (Transport::Udp, 2000);

fn stranger(beside: bool) -> Stranger {
    let at = vec![Bind::wildcard(Families::V4)];
    Stranger { who: "process 7 (nc)".into(), at, beside, unsure: false }
}

fn part<'a>(rig: &'a Rig, plan: &str) -> &'a Contribution<Envoy> {
    &rig.world.envoys()[&gateway()].plans[plan]
}

#[test]
fn listener_is_not_sent_while_a_stranger_has_its_port_and_is_sent_when_that_is_gone() {
    let mut rig = Rig::new();
    rig.world.set_strangers([(UDP, stranger(false))].into());
    rig.put_plan(&mk_plan("a", 10, 2000, ip("10.0.0.9")));
    rig.put_plan(&mk_plan("b", 10, 2001, ip("10.0.0.9")));
    assert_eq!(rig.listeners(&gateway()), ["A/ns/b/l"]);
    let told: Vec<_> = part(&rig, "A/ns/a").findings.taken().map(|(_, text)| text).collect();
    let wanted = "udp port 2000 is in use by process 7 (nc), which is no proxy of this node: end that process, or choose another port";
    assert_eq!(told, [wanted]);
    let faults = rig.world.take_faults();
    assert_eq!((faults.len(), &*faults[0].listener, &*faults[0].text), (1, "A/ns/a/l", wanted));
    rig.world.set_strangers(Strangers::new());
    assert_eq!(rig.listeners(&gateway()), ["A/ns/a/l", "A/ns/b/l"]);
    assert_eq!(part(&rig, "A/ns/a").findings.taken().count(), 0);
}

#[test]
fn listener_that_is_open_stays_when_a_stranger_joins_and_that_is_told() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("a", 10, 2000, ip("10.0.0.9")));
    rig.world.set_strangers([(UDP, stranger(true))].into());
    assert_eq!(rig.listeners(&gateway()), ["A/ns/a/l"]);
    let told: Vec<_> = part(&rig, "A/ns/a").findings.taken().map(|(_, text)| text).collect();
    assert!(told[0].contains("in use by process 7 (nc) too"), "{told:?}");
}

#[test]
fn tcp_port_and_a_pods_port_of_the_same_number_are_others() {
    let mut rig = Rig::new();
    rig.world.set_strangers([((Transport::Tcp, 2000), stranger(false))].into());
    rig.put_plan(&mk_plan("a", 10, 2000, ip("10.0.0.9")));
    assert_eq!(rig.listeners(&gateway()), ["A/ns/a/l"]);
    rig.world.set_strangers([(UDP, stranger(false))].into());
    rig.world.apply_pod(mk_pod("p", "gw"));
    let pod = ProxyId::Pod("p".into());
    rig.world.open_envoy(&pod).unwrap();
    assert_eq!((rig.listeners(&gateway()), rig.listeners(&pod)), (vec![], vec!["A/ns/a/l".to_owned()]));
}

#[test]
fn listener_behind_a_socket_of_unknown_owner_waits_in_silence_until_that_is_looked_up() {
    let mut rig = Rig::new();
    let unsure = Stranger { unsure: true, ..stranger(false) };
    rig.world.set_strangers([(UDP, unsure.clone())].into());
    assert!(!rig.world.guesses_strangers(), "nobody wants the port");
    rig.put_plan(&mk_plan("a", 10, 2000, ip("10.0.0.9")));
    assert!(rig.world.guesses_strangers() && rig.listeners(&gateway()).is_empty());
    assert!(rig.world.take_faults().is_empty() && part(&rig, "A/ns/a").findings.taken().next().is_none());
    // This is the same result of a scan from before the listener came: the listener still waits.
    rig.world.set_strangers([(UDP, unsure)].into());
    assert!(rig.world.guesses_strangers());
    rig.world.set_strangers(Strangers::new());
    assert!(!rig.world.guesses_strangers());
    assert_eq!(rig.listeners(&gateway()), ["A/ns/a/l"]);
}

#[test]
fn listener_that_runs_stays_while_nobody_has_looked_up_whose_a_socket_on_its_port_is() {
    let unsure = || [(UDP, Stranger { unsure: true, ..stranger(false) })].into();
    let plan = mk_plan("a", 10, 2000, ip("10.0.0.9"));
    let mut rig = Rig::new();
    rig.put_plan(&plan);
    rig.world.set_strangers(unsure());
    assert_eq!(rig.listeners(&gateway()), ["A/ns/a/l"]);
    rig.accept_types(Envoy::ALL);
    // A new agent, which knows from its store what the proxy runs.
    let mut again = Rig { world: World::new(registry::fleets(), Families::V4) };
    for (owner, all) in rig.world.take_unsaved() {
        again.world.restore_accepted(owner, &all);
    }
    again.put(PlanType::NodeProxy, "gw", &mk_node_proxy("gw"));
    again.world.set_strangers(unsure());
    again.put_plan(&plan);
    assert_eq!(again.listeners(&gateway()), ["A/ns/a/l"]);
}

#[test]
fn stranger_on_one_address_holds_back_only_listeners_that_would_share_its_traffic() {
    let at = |text: &str| Bind::one(text.parse().unwrap());
    let stranger = Stranger { at: vec![at("127.0.0.53")], ..stranger(false) };
    let mut rig = Rig::new();
    rig.world.set_strangers([(UDP, stranger)].into());
    let mut plan = mk_plan("a", 10, 2000, ip("10.0.0.9"));
    let mut bind = |address: Option<&str>| {
        let socket = plan.listeners[0].socket.as_mut().unwrap();
        socket.set_scope(if address.is_some() { plan::Scope::Address } else { plan::Scope::Wildcard });
        socket.bind = address.map(|ip| plan::Address { ip: ip.into(), port: 0 });
        rig.put_plan(&plan);
        rig.listeners(&gateway()).len()
    };
    assert_eq!((bind(None), bind(Some("10.0.0.5")), bind(Some("127.0.0.53"))), (0, 1, 0));
}
