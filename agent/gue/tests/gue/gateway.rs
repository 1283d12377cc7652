//! EPIC's end of the tunnels.

use portreeve_gue::gateway::{Conflict, Known, LONGEST, Outer, Way};

use super::*;

const NAME: &str = "epic-a/web";

/// A gateway with the example's load balancer.
fn mk_gateway(strict: bool) -> Gateway {
    let mut gateway = Gateway::new(strict);
    gateway.put(&NAME.into(), mk_load_balancer()).unwrap();
    gateway
}

fn ping(gateway: &mut Gateway, from: SocketAddrV4, ids: Ids) -> Result<bool, Dropped> {
    let payload = Ping { ids, key: key(), tunnel: TUNNEL }.write();
    match gateway.receive(from, &payload, 1)? {
        Received::Ping { tunnel: TUNNEL, moved } => Ok(moved),
        other => panic!("{other:?}"),
    }
}

fn passes(gateway: &mut Gateway, from: SocketAddrV4, payload: &[u8]) -> Result<bool, Dropped> {
    match gateway.receive(from, payload, 2)? {
        Received::Inner { packet, foreign } => {
            assert_eq!(packet, &payload[24..24 + reply().len()]);
            Ok(foreign)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn pings_teach_where_a_tunnel_leads_and_data_never_does() {
    let mut gateway = mk_gateway(false);
    let out = packet(Transport::Udp, PUBLIC, ENDPOINT, 8);
    assert_eq!(gateway.send(&out), Err(Dropped::NoPeer));
    assert_eq!(ping(&mut gateway, NODE, IDS), Ok(true));
    let header = Data { ids: IDS, key: key() }.header();
    assert_eq!(gateway.send(&out), Ok(Outer { way: Way { from: Some(*EPIC.ip()), to: NODE }, header }));
    assert_eq!(ping(&mut gateway, NODE, IDS), Ok(false));
    // Behind a NAT, the port changes.
    let elsewhere = SocketAddrV4::new(*NODE.ip(), 1024);
    assert_eq!(passes(&mut gateway, elsewhere, &data(IDS, key(), &reply())), Ok(true));
    assert_eq!(gateway.send(&out).unwrap().way.to, NODE);
    assert_eq!(ping(&mut gateway, elsewhere, IDS), Ok(true));
    assert_eq!(gateway.send(&out).unwrap().way.to, elsewhere);
    assert_eq!(passes(&mut gateway, elsewhere, &data(IDS, key(), &reply())), Ok(false));
}

#[test]
fn strict_gateway_takes_data_only_from_where_the_last_ping_was_from() {
    let mut gateway = mk_gateway(true);
    let payload = data(IDS, key(), &reply());
    assert_eq!(passes(&mut gateway, NODE, &payload), Err(Dropped::Peer));
    ping(&mut gateway, NODE, IDS).unwrap();
    assert_eq!(passes(&mut gateway, NODE, &payload), Ok(false));
    assert_eq!(passes(&mut gateway, EPIC, &payload), Err(Dropped::Peer));
}

#[test]
fn packets_of_strangers_are_dropped_for_their_reason() {
    let mut gateway = mk_gateway(false);
    let foreign = TunnelKey::from([9; 16]);
    let other = SocketAddrV4::new(*ENDPOINT.ip(), 8081);
    let ids = Ids { group: 1, service: 4 };
    let spoofed = packet(Transport::Udp, other, PUBLIC, 0);
    let misdirected = packet(Transport::Udp, ENDPOINT, other, 0);
    for (payload, dropped) in [
        (data(IDS, foreign, &reply()), Dropped::Key),
        (data(ids, key(), &reply()), Dropped::Ids),
        (data(IDS, key(), &spoofed), Dropped::Source),
        (data(IDS, key(), &packet(Transport::Tcp, ENDPOINT, PUBLIC, 0)), Dropped::Source),
        (data(IDS, key(), &misdirected), Dropped::Destination),
        (Ping { ids: IDS, key: foreign, tunnel: TUNNEL }.write().to_vec(), Dropped::Key),
        (Ping { ids: IDS, key: key(), tunnel: 5 }.write().to_vec(), Dropped::Tunnel),
        (Ping { ids, key: key(), tunnel: TUNNEL }.write().to_vec(), Dropped::Ids),
    ] {
        assert_eq!(gateway.receive(NODE, &payload, 0), Err(dropped));
    }
    assert!(gateway.peers().is_empty());
}

#[test]
fn ids_of_the_last_good_ping_are_those_of_the_packets_to_its_end() {
    let mut gateway = mk_gateway(false);
    let tunnel = 0x0001_0203;
    let endpoints = BTreeMap::from([((Transport::Udp, ENDPOINT), tunnel)]);
    let tunnels = BTreeMap::from([(tunnel, EPIC)]);
    gateway.put(&NAME.into(), LoadBalancer { tunnels, endpoints, ..mk_load_balancer() }).unwrap();
    let out = packet(Transport::Udp, PUBLIC, ENDPOINT, 8);
    for ids in [IDS, Ids { group: 1, service: 0x203 }, Ids { group: 1, service: 3 }] {
        gateway.receive(NODE, &Ping { ids, key: key(), tunnel }.write(), 0).unwrap();
        assert_eq!(gateway.send(&out).unwrap().header, Data { ids, key: key() }.header());
        assert_eq!(passes(&mut gateway, NODE, &data(ids, key(), &reply())), Ok(false));
    }
}

#[test]
fn only_endpoints_are_sent_to_and_no_more_than_fits() {
    let mut gateway = mk_gateway(false);
    ping(&mut gateway, NODE, IDS).unwrap();
    let of = |bytes: usize| packet(Transport::Udp, PUBLIC, ENDPOINT, bytes - 24);
    assert!(gateway.send(&of(LONGEST)).is_ok());
    assert_eq!(gateway.send(&of(LONGEST + 1)), Err(Dropped::TooBig));
    let other = packet(Transport::Tcp, PUBLIC, ENDPOINT, 0);
    assert_eq!(gateway.send(&other), Err(Dropped::Destination));
    assert_eq!(gateway.send(&packet(Transport::Udp, NODE, ENDPOINT, 0)), Err(Dropped::Source));
}

#[test]
fn what_is_learned_stays_while_the_load_balancer_has_the_tunnel() {
    let mut gateway = mk_gateway(false);
    ping(&mut gateway, NODE, IDS).unwrap();
    let name: Arc<str> = NAME.into();
    // The endpoint is another one on the same node.
    let moved = SocketAddrV4::new(Ipv4Addr::new(10, 244, 1, 6), 8080);
    let endpoints = BTreeMap::from([((Transport::Udp, moved), TUNNEL)]);
    gateway.put(&name, LoadBalancer { endpoints, ..mk_load_balancer() }).unwrap();
    assert!(gateway.send(&packet(Transport::Udp, PUBLIC, moved, 0)).is_ok());
    let (tunnels, endpoints) = (BTreeMap::new(), BTreeMap::new());
    gateway.put(&name, LoadBalancer { tunnels, endpoints, ..mk_load_balancer() }).unwrap();
    assert!(gateway.peers().is_empty());
    // A new key ends the old one's packets.
    gateway.put(&name, mk_load_balancer()).unwrap();
    ping(&mut gateway, NODE, IDS).unwrap();
    gateway.put(&name, LoadBalancer { key: TunnelKey::from([9; 16]), ..mk_load_balancer() }).unwrap();
    assert_eq!(passes(&mut gateway, NODE, &data(IDS, key(), &reply())), Err(Dropped::Key));
    gateway.remove(NAME);
    assert!(gateway.peers().is_empty());
}

#[test]
fn gateway_resumes_flows_by_what_another_one_learned() {
    let mut gateway = mk_gateway(false);
    let peer = |at, since_ms| Peer { at, ids: IDS, since_ms };
    gateway.learn(5, peer(NODE, 9));
    assert!(gateway.peers().is_empty(), "no load balancer has this tunnel");
    gateway.learn(TUNNEL, peer(NODE, 9));
    gateway.learn(TUNNEL, peer(EPIC, 8));
    let out = packet(Transport::Udp, PUBLIC, ENDPOINT, 8);
    assert_eq!(gateway.send(&out).unwrap().way.to, NODE);
    gateway.learn(TUNNEL, peer(EPIC, 10));
    assert_eq!(gateway.send(&out).unwrap().way.to, EPIC);
    // Own pings count until another gateway hears later ones from elsewhere.
    let payload = Ping { ids: IDS, key: key(), tunnel: TUNNEL }.write();
    for (now, since_ms) in [(20, 20), (30, 20)] {
        gateway.receive(NODE, &payload, now).unwrap();
        let known = Known { peer: peer(NODE, since_ms), heard_ms: Some(now) };
        assert_eq!(gateway.peers()[&TUNNEL], known);
    }
    gateway.learn(TUNNEL, peer(EPIC, 25));
    assert_eq!(gateway.send(&out).unwrap().way.to, NODE);
    gateway.learn(TUNNEL, peer(EPIC, 31));
    assert_eq!(gateway.peers()[&TUNNEL], Known { peer: peer(EPIC, 31), heard_ms: None });
}

#[test]
fn accounts_may_share_the_addresses_of_endpoints() {
    let mut gateway = mk_gateway(false);
    ping(&mut gateway, NODE, IDS).unwrap();
    let (ids, key) = (Ids { group: 2, service: 1 }, TunnelKey::from([9; 16]));
    let address = Ipv4Addr::new(192, 168, 77, 3);
    let endpoints = BTreeMap::from([((Transport::Udp, ENDPOINT), 5)]);
    let tunnels = BTreeMap::from([(5, EPIC)]);
    gateway.put(&"epic-b/web".into(), LoadBalancer { ids, key, address, tunnels, endpoints }).unwrap();
    let theirs = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 26), 6080);
    gateway.receive(theirs, &Ping { ids, key, tunnel: 5 }.write(), 1).unwrap();
    for (address, to) in [(*PUBLIC.ip(), NODE), (address, theirs)] {
        let packet = packet(Transport::Udp, SocketAddrV4::new(address, 40000), ENDPOINT, 8);
        assert_eq!(gateway.send(&packet).map(|outer| outer.way.to), Ok(to));
    }
    // One's endpoint sends nothing to the other's address.
    let spoofed = packet(Transport::Udp, ENDPOINT, SocketAddrV4::new(address, 40000), 8);
    assert_eq!(gateway.receive(NODE, &data(IDS, super::key(), &spoofed), 2), Err(Dropped::Destination));
}

#[test]
fn second_load_balancer_with_a_key_or_an_address_is_refused_and_costs_the_first_nothing() {
    let mut gateway = mk_gateway(false);
    ping(&mut gateway, NODE, IDS).unwrap();
    let (other, key) = (Arc::from("epic-b/web"), TunnelKey::from([9; 16]));
    let address = Ipv4Addr::new(192, 168, 77, 3);
    let refused = gateway.put(&other, LoadBalancer { address, ..mk_load_balancer() });
    assert_eq!(refused, Err(Conflict::Key(NAME.into())));
    let refused = gateway.put(&other, LoadBalancer { key, ..mk_load_balancer() });
    assert_eq!(refused, Err(Conflict::Address(NAME.into())));
    assert!(refused.unwrap_err().to_string().contains("load balancer epic-a/web"));
    gateway.remove(&other);
    assert!(gateway.send(&packet(Transport::Udp, PUBLIC, ENDPOINT, 8)).is_ok());
    // What the first one leaves is free.
    gateway.put(&NAME.into(), LoadBalancer { key, address, ..mk_load_balancer() }).unwrap();
    gateway.put(&other, mk_load_balancer()).unwrap();
}
