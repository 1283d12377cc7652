//! State of the world (cases 3, 7, 11 to 13, 17, 18, 25).

use portreeve_xds::EnvoyType::{Cluster, Endpoint, Listener, Route};
use portreeve_xds::{Request, Variant};

use crate::peer::{Peer, answering, eds_cluster, names, res};

fn two_clusters() -> Peer {
    let mut peer = Peer::sotw();
    peer.change(vec![res(Cluster, "a", "1"), res(Cluster, "b", "1")], &[]);
    peer
}

#[test]
fn full_set_is_sent_on_every_change_of_a_full_state_type() {
    let mut peer = two_clusters();
    assert_eq!(peer.says(names(Cluster, &[])), ["Cluster +a +b"]);
    peer.change(vec![res(Cluster, "a", "2")], &[]);
    assert_eq!(peer.hears(), ["Cluster +a +b"]);
    peer.change(vec![], &[(Cluster, "b")]);
    assert_eq!(peer.hears(), ["Cluster +a"]);
}

#[test]
fn only_changed_endpoints_are_sent() {
    let mut peer = Peer::sotw();
    peer.change(vec![res(Endpoint, "a", "1"), res(Endpoint, "b", "1")], &[]);
    assert_eq!(peer.says(names(Endpoint, &["a", "b"])), ["Endpoint +a +b"]);
    peer.change(vec![res(Endpoint, "b", "2")], &[]);
    assert_eq!(peer.hears(), ["Endpoint +b"]);
}

#[test]
fn wildcard_over_nothing_is_answered_empty() {
    let mut peer = Peer::sotw();
    assert_eq!(peer.says(names(Cluster, &[])), ["Cluster"]);
}

#[test]
fn ack_is_not_answered() {
    let mut peer = two_clusters();
    peer.session.request(names(Cluster, &[]), &peer.snap, peer.now);
    let response = peer.pull().remove(0);
    assert!(peer.says(answering(names(Cluster, &[]), &response)).is_empty());
    assert_eq!(peer.acked().len(), 2);
}

#[test]
fn names_added_at_the_same_version_are_sent() {
    let mut peer = Peer::sotw();
    peer.change(vec![res(Endpoint, "a", "1"), res(Endpoint, "b", "1")], &[]);
    peer.session.request(names(Endpoint, &["a"]), &peer.snap, peer.now);
    let response = peer.pull().remove(0);
    assert_eq!(peer.says(answering(names(Endpoint, &["a", "b"]), &response)), ["Endpoint +b"]);
}

#[test]
fn names_added_to_a_full_state_type_bring_the_full_set() {
    let mut peer = two_clusters();
    peer.session.request(names(Cluster, &["a"]), &peer.snap, peer.now);
    let response = peer.pull().remove(0);
    assert_eq!(peer.says(answering(names(Cluster, &["a", "b"]), &response)), ["Cluster +a +b"]);
}

#[test]
fn dropped_names_are_not_answered_and_no_longer_sent() {
    let mut peer = Peer::sotw();
    peer.change(vec![res(Endpoint, "a", "1"), res(Endpoint, "b", "1")], &[]);
    peer.session.request(names(Endpoint, &["a", "b"]), &peer.snap, peer.now);
    let response = peer.pull().remove(0);
    assert!(peer.says(answering(names(Endpoint, &["a"]), &response)).is_empty());
    peer.change(vec![res(Endpoint, "a", "2"), res(Endpoint, "b", "2")], &[]);
    assert_eq!(peer.hears(), ["Endpoint +a"]);
}

#[test]
fn wildcard_then_name_then_neither_leaves_nothing() {
    let mut peer = two_clusters();
    let step = |peer: &mut Peer, asked: &[&str]| {
        let nonce = peer.session.next(&peer.snap, peer.now).map(|response| response.nonce);
        assert!(nonce.is_none(), "settled before the next step");
        peer.says(names(Cluster, asked))
    };
    assert_eq!(step(&mut peer, &[]), ["Cluster +a +b"]);
    let mut asks = |asked: &[&str]| {
        // Each of these requests answers the last response.
        let last = (1..20).rev().map(|n| n.to_string());
        last.flat_map(|nonce| peer.says(Request { nonce, ..names(Cluster, asked) })).collect::<Vec<_>>()
    };
    assert_eq!(asks(&["*", "a"]).len(), 1, "a is asked for by name");
    assert!(asks(&["a"]).is_empty());
    assert!(asks(&[]).is_empty(), "no names no longer means all");
    peer.change(vec![res(Cluster, "a", "2"), res(Cluster, "b", "2")], &[]);
    assert!(peer.hears().is_empty());
}

#[test]
fn stale_nonce_is_not_answered_and_its_names_are_not_lost() {
    let mut peer = Peer::sotw();
    peer.change(vec![res(Endpoint, "a", "1"), res(Endpoint, "b", "1")], &[]);
    peer.session.request(names(Endpoint, &["a"]), &peer.snap, peer.now);
    let first = peer.pull().remove(0);
    peer.session.request(answering(names(Endpoint, &["a"]), &first), &peer.snap, peer.now);
    assert_eq!(peer.acked().len(), 1);
    peer.change(vec![res(Endpoint, "a", "2")], &[]);
    let second = peer.pull().remove(0);
    assert!(peer.says(answering(names(Endpoint, &["a", "b"]), &first)).is_empty());
    assert!(peer.acked().is_empty(), "a stale request acknowledges nothing newer");
    assert_eq!(peer.says(answering(names(Endpoint, &["a", "b"]), &second)), ["Endpoint +b"]);
}

#[test]
fn reconnect_without_change_sends_nothing() {
    let mut peer = two_clusters();
    peer.change(vec![res(Endpoint, "a", "1"), res(Endpoint, "b", "1")], &[]);
    peer.session.request(names(Cluster, &[]), &peer.snap, peer.now);
    peer.session.request(names(Endpoint, &["a", "b"]), &peer.snap, peer.now);
    let responses = peer.pull();
    let mut peer = peer.reconnected(Variant::Sotw);
    for (response, asked) in responses.iter().zip([vec![], vec!["a", "b"]]) {
        let req =
            Request { nonce: String::new(), ..answering(names(response.ty.unwrap(), &asked), response) };
        assert!(peer.says(req).is_empty());
    }
}

#[test]
fn version_after_partial_updates_is_the_full_sets() {
    let mut peer = Peer::sotw();
    peer.change(vec![res(Endpoint, "a", "1"), res(Endpoint, "b", "1")], &[]);
    peer.says(names(Endpoint, &["a", "b"]));
    peer.change(vec![res(Endpoint, "b", "2")], &[]);
    let last = peer.pull().remove(0);
    let mut peer = peer.reconnected(Variant::Sotw);
    let req = Request { nonce: String::new(), ..answering(names(Endpoint, &["a", "b"]), &last) };
    assert!(peer.says(req).is_empty());
}

#[test]
fn reconnect_with_another_version_gets_the_full_set() {
    let mut peer = two_clusters();
    let req = Request { version_info: "old".into(), ..names(Cluster, &[]) };
    assert_eq!(peer.says(req), ["Cluster +a +b"]);
}

#[test]
fn vanished_or_missing_assignment_becomes_an_empty_one() {
    let mut peer = Peer::sotw();
    peer.change(vec![res(Endpoint, "a", "1")], &[]);
    assert_eq!(peer.says(names(Endpoint, &["a", "none"])), ["Endpoint +a +none"]);
    peer.change(vec![], &[(Endpoint, "a")]);
    assert_eq!(peer.hears(), ["Endpoint +a"]);
}

#[test]
fn missing_route_is_not_answered_and_is_sent_when_it_exists() {
    let mut peer = Peer::sotw();
    assert!(peer.says(names(Route, &["r"])).is_empty());
    peer.change(vec![res(Route, "r", "1")], &[]);
    assert_eq!(peer.hears(), ["Route +r"]);
}

#[test]
fn cluster_stays_in_the_set_until_the_listener_removal_was_acked() {
    let mut peer = Peer::sotw();
    peer.change(vec![eds_cluster("a", "1"), res(Listener, "l", "1")], &[]);
    for ty in [Cluster, Listener] {
        peer.session.request(names(ty, &[]), &peer.snap, peer.now);
    }
    peer.pass(portreeve_xds::session::COMPANION_WAIT);
    let mut first = peer.pull();
    peer.pass(portreeve_xds::session::COMPANION_WAIT);
    first.extend(peer.pull());
    for response in &first {
        peer.says(answering(names(response.ty.unwrap(), &[]), response));
    }
    peer.change(vec![res(Cluster, "b", "1")], &[(Cluster, "a"), (Listener, "l")]);
    let responses = peer.pull();
    let shown: Vec<String> = responses.iter().map(crate::peer::show).collect();
    assert_eq!(shown, ["Cluster +a +b", "Listener"]);
    peer.says(answering(names(Cluster, &[]), &responses[0]));
    assert_eq!(peer.says(answering(names(Listener, &[]), &responses[1])), ["Cluster +b"]);
}
