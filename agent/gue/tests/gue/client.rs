//! The customer's end of the tunnels.

use std::time::{Duration, Instant};

use portreeve_gue::client::{Client, FIRST, IDLE, SESSIONS, Tunnel};
use portreeve_gue::gateway::{Outer, Way};

use super::*;

fn mk_tunnel() -> Tunnel {
    Tunnel { ids: IDS, key: key(), epic: EPIC, endpoints: BTreeSet::from([(Transport::Udp, ENDPOINT)]) }
}

fn mk_client(now: Instant) -> Client {
    let mut client = Client::new();
    client.put(TUNNEL, mk_tunnel(), now);
    client
}

/// A packet from behind EPIC.
fn request(from: SocketAddrV4) -> Vec<u8> {
    data(IDS, key(), &packet(Transport::Udp, from, ENDPOINT, 8))
}

#[test]
fn replies_go_back_through_the_tunnel_and_other_packets_their_own_way() {
    let now = Instant::now();
    let mut client = mk_client(now);
    assert_eq!(client.send(&reply(), now), Ok(None));
    let payload = request(PUBLIC);
    assert_eq!(client.receive(EPIC, &payload, now), Ok(&payload[24..]));
    let header = Data { ids: IDS, key: key() }.header();
    assert_eq!(client.send(&reply(), now), Ok(Some(Outer { way: Way { from: None, to: EPIC }, header })));
    let elsewhere = packet(Transport::Udp, ENDPOINT, EPIC, 0);
    assert_eq!(client.send(&elsewhere, now), Ok(None));
    let big = packet(Transport::Udp, ENDPOINT, PUBLIC, 1425);
    assert_eq!(client.send(&big, now), Err(Dropped::TooBig));
    client.remove(TUNNEL);
    assert_eq!(client.send(&reply(), now), Ok(None), "the tunnel is gone");
}

#[test]
fn what_epic_does_not_send_is_dropped_for_its_reason() {
    let now = Instant::now();
    let mut client = mk_client(now);
    let other = SocketAddrV4::new(*ENDPOINT.ip(), 8081);
    let inner = packet(Transport::Udp, PUBLIC, ENDPOINT, 0);
    for (payload, dropped) in [
        (data(IDS, TunnelKey::from([9; 16]), &inner), Dropped::Key),
        (data(Ids { group: 1, service: 4 }, key(), &inner), Dropped::Ids),
        (data(IDS, key(), &packet(Transport::Udp, PUBLIC, other, 0)), Dropped::Destination),
        (bytes(PING), Dropped::ControlType),
    ] {
        assert_eq!(client.receive(EPIC, &payload, now), Err(dropped));
    }
    let halves = data(Ids { group: 0, service: 4 }, key(), &inner);
    assert!(client.receive(EPIC, &halves, now).is_ok());
}

#[test]
fn sessions_end_when_they_are_idle_for_an_hour_and_no_sooner() {
    let now = Instant::now();
    let mut client = mk_client(now);
    client.receive(EPIC, &request(PUBLIC), now).unwrap();
    let nearly = now + IDLE - Duration::from_secs(1);
    assert!(client.send(&reply(), nearly).unwrap().is_some());
    assert!(client.send(&reply(), nearly + IDLE - Duration::from_secs(1)).unwrap().is_some(), "it was used");
    assert_eq!(client.send(&reply(), nearly + IDLE + IDLE), Ok(None));
    assert_eq!(client.sessions(), 0);
}

#[test]
fn session_that_was_used_longest_ago_makes_room() {
    let now = Instant::now();
    let mut client = mk_client(now);
    let from = |port: u16| SocketAddrV4::new(*PUBLIC.ip(), port);
    for port in 1..=u16::MAX {
        client.receive(EPIC, &request(from(port)), now).unwrap();
    }
    let reply_to = |to| packet(Transport::Udp, ENDPOINT, to, 0);
    assert!(client.send(&reply_to(from(1)), now).unwrap().is_some());
    assert_eq!(client.sessions(), SESSIONS.get());
    let newest = SocketAddrV4::new(Ipv4Addr::new(192, 168, 77, 3), 1);
    client.receive(EPIC, &request(newest), now).unwrap();
    assert_eq!(client.sessions(), SESSIONS.get());
    let stands = |client: &mut Client, to| client.send(&reply_to(to), now).unwrap().is_some();
    assert!(stands(&mut client, newest) && stands(&mut client, from(1)) && stands(&mut client, from(3)));
    assert!(!stands(&mut client, from(2)));
}

#[test]
fn each_tunnel_is_pinged_at_once_soon_again_and_then_every_25_seconds() {
    let begun = Instant::now();
    let mut client = mk_client(begun);
    let ping: [u8; 28] = bytes(PING).try_into().unwrap();
    let mut now = begun;
    for pause in [500, 1000, 2000, 4000, 8000, 16_000, 25_000, 25_000, 25_000] {
        assert_eq!(client.pings(now), [(EPIC, ping)]);
        let next = now + Duration::from_millis(pause);
        assert_eq!((client.pings(now), client.next_ping()), (Vec::new(), Some(next)));
        now = next;
    }
    // Other endpoints are no reason to ping, another end of EPIC's is.
    let later = now - Duration::from_secs(1);
    client.put(TUNNEL, Tunnel { endpoints: BTreeSet::new(), ..mk_tunnel() }, later);
    assert_eq!(client.pings(later), Vec::new());
    client.put(TUNNEL, Tunnel { epic: NODE, ..mk_tunnel() }, later);
    assert_eq!(client.pings(later), [(NODE, ping)]);
    assert_eq!(client.next_ping(), Some(later + FIRST), "not twice");
    client.remove(TUNNEL);
    assert_eq!(client.next_ping(), None);
}

#[test]
fn replies_go_to_the_node_of_epics_that_the_request_is_from() {
    let now = Instant::now();
    let mut client = mk_client(now);
    let second = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 41), 6080);
    client.put(5, Tunnel { epic: second, ..mk_tunnel() }, now);
    let strange = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 42), 6080);
    for (from, to) in [(second, second), (EPIC, EPIC), (strange, EPIC)] {
        client.receive(from, &request(PUBLIC), now).unwrap();
        assert_eq!(client.send(&reply(), now).unwrap().map(|outer| outer.way.to), Some(to));
    }
    client.remove(TUNNEL);
    client.receive(EPIC, &request(PUBLIC), now).unwrap();
    assert_eq!(
        client.send(&reply(), now).unwrap().map(|outer| outer.way.to),
        Some(second),
        "the one that is left"
    );
    client.remove(5);
    assert_eq!(client.receive(EPIC, &request(PUBLIC), now), Err(Dropped::Key));
}
