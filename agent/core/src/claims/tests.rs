//! Claims: which listener gets a port, and which owners are notified.

use super::*;
use crate::translate::Families;

fn owner(proxy: &str, plan: &str) -> Owner {
    Owner { kind: ProxyKind::Envoy, proxy: ProxyId::Node(proxy.into()), plan: plan.into() }
}

fn wish(number: u32, transport: Transport, listener: &str) -> Wish {
    let port = Port { netns: "host".into(), transport, number };
    Wish { port, bind: Bind::wildcard(Families::V4), listener: listener.into() }
}

/// UDP port 5000 of one address.
fn at(ip: &str) -> Wish {
    Wish { bind: Bind::one(ip.parse().unwrap()), ..wish(5000, Transport::Udp, ip) }
}

#[test]
fn the_older_object_wins_and_the_other_is_told_who() {
    let mut claims = Claims::default();
    claims.set(&owner("gw", "young"), 20, vec![wish(5000, Transport::Udp, "y")]);
    let shifted = claims.set(&owner("gw", "old"), 10, vec![wish(5000, Transport::Udp, "o")]);
    assert_eq!(shifted, BTreeSet::from([owner("gw", "young")]));
    let denied = claims.denied(&owner("gw", "young"));
    assert_eq!((&*denied["y"].winner, denied["y"].winner_listener.as_str()), ("old", "o"));
    assert!(claims.denied(&owner("gw", "old")).is_empty());
}

#[test]
fn when_the_winner_goes_the_next_has_the_port() {
    let mut claims = Claims::default();
    claims.set(&owner("gw", "a"), 10, vec![wish(5000, Transport::Udp, "a")]);
    claims.set(&owner("other", "b"), 20, vec![wish(5000, Transport::Udp, "b")]);
    let shifted = claims.set(&owner("gw", "a"), 10, Vec::new());
    assert_eq!(shifted, BTreeSet::from([owner("other", "b")]));
    assert!(claims.denied(&owner("other", "b")).is_empty());
}

#[test]
fn udp_and_tcp_share_a_number_and_namespaces_share_nothing() {
    let mut claims = Claims::default();
    claims.set(&owner("gw", "a"), 10, vec![wish(53, Transport::Udp, "u"), wish(53, Transport::Tcp, "t")]);
    let mut other = wish(53, Transport::Udp, "pod");
    other.port.netns = "uid".into();
    claims.set(&owner("gw", "b"), 20, vec![other]);
    assert!(claims.denied(&owner("gw", "a")).is_empty());
    assert!(claims.denied(&owner("gw", "b")).is_empty());
}

#[test]
fn two_listeners_of_one_object_on_one_port_leave_the_first() {
    let mut claims = Claims::default();
    claims.set(&owner("gw", "a"), 10, vec![wish(53, Transport::Udp, "x"), wish(53, Transport::Udp, "y")]);
    assert_eq!(claims.denied(&owner("gw", "a")).into_keys().collect::<Vec<_>>(), ["y"]);
}

#[test]
fn all_who_wait_hear_of_another_winner() {
    let mut claims = Claims::default();
    for (plan, created) in [("a", 10), ("b", 20), ("c", 30)] {
        claims.set(&owner("gw", plan), created, vec![wish(5000, Transport::Udp, plan)]);
    }
    assert_eq!(&*claims.denied(&owner("gw", "c"))["c"].winner, "a");
    let shifted = claims.set(&owner("gw", "a"), 10, Vec::new());
    assert_eq!(shifted, BTreeSet::from([owner("gw", "b"), owner("gw", "c")]));
    assert_eq!(&*claims.denied(&owner("gw", "c"))["c"].winner, "b");
}

#[test]
fn loser_that_comes_or_goes_is_of_no_interest_to_the_winner() {
    let mut claims = Claims::default();
    claims.set(&owner("gw", "a"), 10, vec![wish(5000, Transport::Udp, "a")]);
    assert!(claims.set(&owner("gw", "b"), 20, vec![wish(5000, Transport::Udp, "b")]).is_empty());
    assert!(claims.set(&owner("gw", "b"), 20, Vec::new()).is_empty());
}

#[test]
fn equal_age_is_decided_by_name() {
    let mut claims = Claims::default();
    claims.set(&owner("gw", "A/ns/b"), 10, vec![wish(5000, Transport::Udp, "l")]);
    claims.set(&owner("gw", "A/ns/a"), 10, vec![wish(5000, Transport::Udp, "l")]);
    assert!(claims.denied(&owner("gw", "A/ns/a")).is_empty());
    assert_eq!(claims.denied(&owner("gw", "A/ns/b")).len(), 1);
}

#[test]
fn dropped_proxy_leaves_every_port_to_the_others() {
    let mut claims = Claims::default();
    for (plan, port) in [("a", 1), ("b", 2)] {
        claims.set(&owner("gone", plan), 10, vec![wish(port, Transport::Udp, plan)]);
        claims.set(&owner("stays", plan), 20, vec![wish(port, Transport::Udp, plan)]);
    }
    assert_eq!(
        claims.drop_proxy(ProxyKind::Envoy, &owner("gone", "").proxy),
        BTreeSet::from([owner("stays", "a"), owner("stays", "b")])
    );
    assert!(claims.denied(&owner("stays", "a")).is_empty());
    assert!(claims.drop_proxy(ProxyKind::Envoy, &owner("gone", "").proxy).is_empty());
}

#[test]
fn listeners_on_two_addresses_share_a_port_and_one_on_the_wildcard_shares_it_with_none() {
    let any = || wish(5000, Transport::Udp, "any");
    let cases = [
        (at("127.0.0.1"), at("127.0.0.2"), false),
        (at("127.0.0.1"), at("127.0.0.1"), true),
        (at("127.0.0.1"), any(), true),
        (any(), at("127.0.0.1"), true),
        (any(), at("::1"), false),
        (any(), any(), true),
        (Wish { bind: Bind::wildcard(Families::Dual), ..any() }, at("::1"), true),
        (Wish { bind: Bind::loopback(Families::Dual), ..any() }, at("::1"), true),
        (Wish { bind: Bind::loopback(Families::Dual), ..any() }, at("127.0.0.2"), false),
    ];
    for (old, young, clash) in cases {
        let told = format!("{} and {}", old.bind, young.bind);
        let mut claims = Claims::default();
        claims.set(&owner("gw", "old"), 10, vec![old]);
        claims.set(&owner("gw", "young"), 20, vec![young]);
        assert!(claims.denied(&owner("gw", "old")).is_empty(), "{told}");
        assert_eq!(claims.denied(&owner("gw", "young")).len(), usize::from(clash), "{told}");
    }
}

#[test]
fn loser_of_a_port_keeps_no_other_from_it() {
    let mut claims = Claims::default();
    claims.set(&owner("gw", "a"), 10, vec![at("127.0.0.1")]);
    claims.set(&owner("gw", "b"), 20, vec![wish(5000, Transport::Udp, "any")]);
    claims.set(&owner("gw", "c"), 30, vec![at("127.0.0.2")]);
    assert_eq!(&*claims.denied(&owner("gw", "b"))["any"].winner, "a");
    assert!(claims.denied(&owner("gw", "c")).is_empty());
    let shifted = claims.set(&owner("gw", "a"), 10, Vec::new());
    assert_eq!(shifted, BTreeSet::from([owner("gw", "b"), owner("gw", "c")]));
    assert!(claims.denied(&owner("gw", "b")).is_empty());
    assert_eq!(&*claims.denied(&owner("gw", "c"))["127.0.0.2"].winner, "b");
}

#[test]
fn loser_on_one_address_is_told_which() {
    let mut claims = Claims::default();
    claims.set(&owner("gw", "a"), 10, vec![at("127.0.0.1")]);
    claims.set(&owner("gw", "b"), 20, vec![at("127.0.0.1")]);
    let told = claims.denied(&owner("gw", "b"))["127.0.0.1"].to_string();
    assert!(told.starts_with("udp port 5000 of 127.0.0.1 is taken by the older a/127.0.0.1 on "), "{told}");
}

#[test]
fn claim_of_the_youngest_is_judged_alone() {
    let mut claims = Claims::default();
    for i in 0..1_000 {
        let one = wish(5000, Transport::Udp, "l");
        let port = one.port.clone();
        assert!(claims.set(&owner("gw", &format!("o{i}")), i, vec![one]).is_empty());
        assert_eq!(claims.queues[&port].judged, i as usize + 1);
    }
    assert_eq!(&*claims.denied(&owner("gw", "o999"))["l"].winner, "o0");
}

#[test]
fn losers_hear_of_the_winners_other_listener() {
    let mut claims = Claims::default();
    claims.set(&owner("gw", "old"), 10, vec![wish(5000, Transport::Udp, "a")]);
    claims.set(&owner("gw", "young"), 20, vec![wish(5000, Transport::Udp, "y")]);
    let shifted = claims.set(&owner("gw", "old"), 10, vec![wish(5000, Transport::Udp, "b")]);
    assert_eq!(shifted, BTreeSet::from([owner("gw", "young")]));
    assert_eq!(claims.denied(&owner("gw", "young"))["y"].winner_listener, "b");
}

#[test]
fn random_changes_lead_to_what_claims_made_anew_say() {
    let (mut claims, mut state) = (Claims::default(), BTreeMap::new());
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut roll = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for _ in 0..3_000 {
        let who = owner(["gw", "other"][roll(2) as usize], &format!("o{}", roll(5)));
        let address = ["10.0.0.1", "10.0.0.2", "10.0.0.3"][roll(3) as usize];
        let wishes = match roll(4) {
            0 => Vec::new(),
            1 => vec![wish(5000, Transport::Udp, &format!("w{}", roll(2)))],
            2 => vec![at(address), wish(5000, Transport::Tcp, "t")],
            _ => vec![at(address), at("10.0.0.4")],
        };
        let created = roll(3) as i64;
        let denied = |claims: &Claims, state: &BTreeMap<Owner, _>| {
            state.keys().map(|owner| (owner.clone(), claims.denied(owner))).collect::<BTreeMap<_, _>>()
        };
        let before = denied(&claims, &state);
        let shifted = claims.set(&who, created, wishes.clone());
        state.insert(who.clone(), (created, wishes));
        let mut anew = Claims::default();
        for (owner, (created, wishes)) in &state {
            anew.set(owner, *created, wishes.clone());
        }
        let now = denied(&claims, &state);
        assert_eq!(now, denied(&anew, &state));
        let differs =
            now.iter().filter(|(owner, denied)| before.get(*owner) != Some(denied) && **owner != who);
        for (owner, _) in differs {
            assert!(shifted.contains(owner), "{owner:?} is not told");
        }
    }
}
