//! Make before break, and the assignment that follows every cluster (cases 19, 20, 25).

use std::time::Duration;

use portreeve_xds::EnvoyType::{Cluster, Endpoint, Listener, Route, Secret};
use portreeve_xds::session::{COMPANION_WAIT, REMOVAL_GRACE};
use portreeve_xds::{Request, Session, Variant};

use crate::peer::{Peer, about, eds_cluster, established, names, res, subscribe, unsubscribe};

#[test]
fn changed_cluster_is_followed_by_its_unchanged_assignment() {
    let mut peer = established();
    peer.change(vec![eds_cluster("a", "2")], &[]);
    assert_eq!(peer.hears(), ["Cluster +a", "Endpoint +a"]);
}

#[test]
fn assignment_follows_a_cluster_that_changed_while_the_client_was_away() {
    for clusters_first in [true, false] {
        let mut peer = established();
        let version = |peer: &Peer, ty| peer.snap.get(ty, "a").unwrap().version().to_string();
        let initial = |peer: &Peer, ty| vec![("a".to_string(), version(peer, ty))];
        let clusters = Request { initial: initial(&peer, Cluster), ..about(Cluster) };
        let endpoints = Request { initial: initial(&peer, Endpoint), ..subscribe(Endpoint, &["a"]) };
        peer.change(vec![eds_cluster("a", "2")], &[]);
        let mut peer = peer.reconnected(Variant::Delta);
        let order = if clusters_first { [clusters, endpoints] } else { [endpoints, clusters] };
        let heard: Vec<String> = order.into_iter().flat_map(|req| peer.says(req)).collect();
        assert_eq!(heard, ["Cluster +a", "Endpoint +a"], "clusters first: {clusters_first}");
    }
}

#[test]
fn assignment_follows_a_cluster_in_state_of_the_world_too() {
    let mut peer = Peer::sotw();
    peer.change(vec![eds_cluster("a", "1"), res(Endpoint, "a", "1")], &[]);
    peer.says(names(Cluster, &[]));
    peer.says(names(Endpoint, &["a"]));
    peer.change(vec![eds_cluster("a", "2")], &[]);
    assert_eq!(peer.hears(), ["Cluster +a", "Endpoint +a"]);
}

#[test]
fn missing_assignment_of_a_new_cluster_is_reported_removed() {
    let mut peer = Peer::delta();
    peer.change(vec![eds_cluster("a", "1")], &[]);
    peer.says(about(Cluster));
    assert_eq!(peer.says(subscribe(Endpoint, &["a"])), ["Endpoint -a"]);
}

#[test]
fn additions_are_sent_as_clusters_endpoints_listeners_routes_secrets() {
    let mut peer = established();
    peer.says(subscribe(Endpoint, &["b"]));
    peer.says(subscribe(Route, &["r"]));
    peer.says(subscribe(Secret, &["s"]));
    peer.settle();
    let upsert = vec![
        res(Secret, "s", "1"),
        res(Route, "r", "1"),
        res(Listener, "m", "1"),
        res(Endpoint, "b", "1"),
        eds_cluster("b", "1"),
    ];
    peer.change(upsert, &[]);
    assert_eq!(peer.hears(), ["Cluster +b", "Endpoint +b", "Listener +m", "Route +r", "Secret +s"]);
}

#[test]
fn listener_waits_until_the_client_asks_for_the_assignment() {
    let mut peer = established();
    peer.change(vec![eds_cluster("b", "1"), res(Endpoint, "b", "1"), res(Listener, "m", "1")], &[]);
    assert_eq!(peer.hears(), ["Cluster +b"]);
    assert_eq!(peer.says(subscribe(Endpoint, &["b"])), ["Endpoint +b", "Listener +m"]);
}

#[test]
fn listener_waits_a_quarter_second_at_most() {
    let mut peer = established();
    peer.change(vec![eds_cluster("b", "1"), res(Listener, "m", "1")], &[]);
    assert_eq!(peer.hears(), ["Cluster +b"]);
    assert_eq!(peer.session.deadline(), Some(peer.now + COMPANION_WAIT));
    peer.pass(COMPANION_WAIT);
    assert_eq!(peer.hears(), ["Listener +m"]);
    assert_eq!(peer.session.deadline(), None);
}

#[test]
fn cluster_is_removed_after_the_listener_removal_was_acked() {
    let mut peer = established();
    peer.change(vec![], &[(Cluster, "a"), (Endpoint, "a"), (Listener, "l")]);
    let listener = peer.pull();
    assert_eq!(listener.len(), 1, "the cluster waits: {listener:?}");
    assert_eq!((listener[0].ty, &*listener[0].removed[0]), (Some(Listener), "l"));
    peer.ack(&listener[0]);
    assert_eq!(peer.hears(), ["Cluster -a"], "the assignment stays until its cluster is gone");
    assert!(peer.says(unsubscribe(Endpoint, &["a"])).is_empty());
    peer.pass(REMOVAL_GRACE * 4);
    assert!(peer.hears().is_empty());
}

#[test]
fn cluster_is_removed_after_the_listener_removal_was_rejected() {
    let mut peer = established();
    peer.change(vec![res(Listener, "m", "1")], &[(Cluster, "a"), (Listener, "l")]);
    let listener = peer.pull().remove(0);
    peer.nack(&listener, "Error adding/updating listener(s) m: no");
    assert!(peer.hears().contains(&"Cluster -a".to_string()));
}

#[test]
fn cluster_is_removed_after_a_grace_time_without_an_answer() {
    let mut peer = established();
    peer.change(vec![], &[(Cluster, "a"), (Listener, "l")]);
    assert_eq!(peer.hears(), ["Listener -l"]);
    assert_eq!(peer.session.deadline(), Some(peer.now + REMOVAL_GRACE));
    peer.pass(REMOVAL_GRACE - Duration::from_millis(1));
    assert!(peer.hears().is_empty());
    peer.pass(Duration::from_millis(1));
    assert_eq!(peer.hears(), ["Cluster -a"]);
}

#[test]
fn unreferenced_cluster_is_removed_at_once() {
    let mut peer = established();
    peer.change(vec![], &[(Cluster, "a")]);
    assert_eq!(peer.hears(), ["Cluster -a"]);
}

#[test]
fn cluster_that_returns_while_its_removal_waits_is_not_removed() {
    let mut peer = established();
    peer.change(vec![], &[(Cluster, "a"), (Listener, "l")]);
    assert_eq!(peer.hears(), ["Listener -l"]);
    peer.change(vec![eds_cluster("a", "1")], &[]);
    peer.pass(REMOVAL_GRACE);
    assert!(peer.hears().is_empty());
}

#[test]
fn port_is_handed_over_in_one_response() {
    let mut peer = established();
    peer.change(vec![res(Listener, "m", "1")], &[(Listener, "l")]);
    assert_eq!(peer.hears(), ["Listener +m -l"]);
}

#[test]
fn vanished_assignment_becomes_an_empty_one() {
    let mut peer = established();
    peer.change(vec![], &[(Endpoint, "a")]);
    let response = peer.pull().remove(0);
    assert!(response.removed.is_empty());
    assert_eq!(response.resources[0].body(), b"\x0a\x01a", "only the cluster's name");
    peer.ack(&response);
    assert!(peer.hears().is_empty());
}

#[test]
fn per_type_stream_never_waits_for_other_types() {
    let mut peer = Peer::delta();
    peer.session = Session::new(Variant::Delta, Some(Listener));
    peer.change(vec![eds_cluster("a", "1"), res(Listener, "l", "1")], &[]);
    assert_eq!(peer.says(about(Listener)), ["Listener +l"]);
    assert_eq!(peer.says(about(Cluster)), ["unknown"]);
}

#[test]
fn per_type_cluster_stream_removes_at_once() {
    let mut peer = Peer::delta();
    peer.session = Session::new(Variant::Delta, Some(Cluster));
    peer.change(vec![eds_cluster("a", "1")], &[]);
    peer.says(about(Cluster));
    peer.change(vec![], &[(Cluster, "a")]);
    assert_eq!(peer.hears(), ["Cluster -a"]);
}
