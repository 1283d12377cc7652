//! Answers, flow control and reconnection in delta (cases 14, 17, 18, 21, 22, 23).

use portreeve_xds::EnvoyType::{Cluster, Endpoint, Listener, Secret};
use portreeve_xds::session::MAX_IN_FLIGHT;
use portreeve_xds::{EnvoyType, Event, Request, Resource, Variant};

use crate::peer::{Peer, about, ack, eds_cluster, res, show, subscribe};

/// A reconnecting client's first request, which claims these names at version `text`.
fn holding(ty: EnvoyType, names: &[&str], have: &[(&str, &str)]) -> Request<EnvoyType> {
    let version = |name: &str, text: &str| Resource::new(ty, name, text.as_bytes()).version().to_string();
    let initial = have.iter().map(|(name, text)| (name.to_string(), version(name, text))).collect();
    Request { initial, ..subscribe(ty, names) }
}

#[test]
fn ack_is_not_answered_and_reports_names_and_versions() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Cluster, "a", "1")], &[]);
    peer.session.request(about(Cluster), &peer.snap, peer.now);
    let response = peer.pull().remove(0);
    peer.ack(&response);
    assert!(peer.hears().is_empty());
    assert_eq!(peer.acked(), [("a".into(), response.resources[0].version())]);
}

#[test]
fn removal_is_acked_by_name() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Listener, "l", "1")], &[]);
    peer.session.request(about(Listener), &peer.snap, peer.now);
    peer.settle();
    peer.session.events();
    peer.change(vec![], &[(Listener, "l")]);
    assert_eq!(peer.settle(), ["Listener -l"]);
    let removed = vec!["l".into()];
    assert_eq!(
        peer.session.events(),
        [Event::Acked { ty: Listener, resources: vec![].into(), removed, claimed: false }]
    );
}

#[test]
fn ack_of_a_later_response_acknowledges_the_earlier_ones() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Cluster, "a", "1")], &[]);
    peer.session.request(about(Cluster), &peer.snap, peer.now);
    peer.pull();
    peer.change(vec![res(Cluster, "b", "1")], &[]);
    let second = peer.pull().remove(0);
    peer.ack(&second);
    let names: Vec<_> = peer.acked().into_iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn identical_state_sends_nothing() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Cluster, "a", "1")], &[]);
    peer.says(about(Cluster));
    peer.change(vec![res(Cluster, "a", "1")], &[]);
    assert!(peer.hears().is_empty());
}

#[test]
fn change_reverted_between_two_responses_sends_nothing() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Cluster, "a", "1")], &[]);
    peer.says(about(Cluster));
    peer.change(vec![res(Cluster, "a", "2"), res(Cluster, "b", "1")], &[]);
    peer.change(vec![res(Cluster, "a", "1")], &[(Cluster, "b")]);
    assert!(peer.hears().is_empty());
}

#[test]
fn client_that_does_not_ack_gets_a_few_merged_responses_ending_in_the_newest() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Endpoint, "a", "0")], &[]);
    peer.session.request(subscribe(Endpoint, &["a"]), &peer.snap, peer.now);
    let mut responses = peer.pull();
    for round in 1..=200 {
        peer.change(vec![res(Endpoint, "a", &round.to_string())], &[]);
        responses.extend(peer.pull());
    }
    assert_eq!(responses.len(), MAX_IN_FLIGHT);
    let last = responses.pop().unwrap();
    peer.ack(&last);
    let newest = peer.pull();
    assert_eq!(newest.len(), 1);
    assert_eq!(newest[0].resources[0].body(), b"200");
}

#[test]
fn held_back_cluster_ack_blocks_nothing() {
    let mut peer = Peer::delta();
    peer.change(vec![eds_cluster("a", "1"), res(Endpoint, "a", "1"), res(Listener, "l", "1")], &[]);
    assert_eq!(peer.says(about(Cluster)), ["Cluster +a"]);
    assert_eq!(peer.says(subscribe(Endpoint, &["a"])), ["Endpoint +a"]);
    assert_eq!(peer.says(about(Listener)), ["Listener +l"]);
    let upsert =
        vec![res(Secret, "s", "1"), eds_cluster("b", "1"), res(Listener, "m", "1"), res(Endpoint, "a", "2")];
    peer.says(subscribe(Secret, &["s"]));
    peer.change(upsert, &[]);
    assert_eq!(
        peer.hears(),
        ["Cluster +b", "Endpoint +a", "Secret +s"],
        "the listener waits for b's assignment"
    );
    assert_eq!(peer.says(subscribe(Endpoint, &["b"])), ["Endpoint -b", "Listener +m"]);
}

#[test]
fn reconnect_without_change_sends_no_resource() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Cluster, "a", "1"), res(Endpoint, "a", "1"), res(Endpoint, "b", "1")], &[]);
    let clusters = Request { subscribe: vec![], ..holding(Cluster, &[], &[("a", "1")]) };
    assert_eq!(peer.says(clusters), ["Cluster"], "an empty response says: up to date");
    let endpoints = holding(Endpoint, &["a", "b"], &[("a", "1"), ("b", "1")]);
    assert!(peer.says(endpoints).is_empty());
}

#[test]
fn reconnect_sends_outdated_resources_and_removes_vanished_ones() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Cluster, "a", "1"), res(Cluster, "b", "2"), res(Cluster, "new", "1")], &[]);
    let have = [("a", "1"), ("b", "1"), ("gone", "1")];
    assert_eq!(peer.says(holding(Cluster, &[], &have)), ["Cluster +b +new", "Cluster -gone"]);
    assert_eq!(peer.says(holding(Listener, &["x"], &[("x", "1")])), ["Listener -x"]);
}

#[test]
fn versions_of_another_server_are_outdated() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Cluster, "a", "1")], &[]);
    let initial = vec![("a".to_string(), "17".to_string())];
    assert_eq!(peer.says(Request { initial, ..about(Cluster) }), ["Cluster +a"]);
}

#[test]
fn initial_versions_count_only_in_the_first_request_of_a_type() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Endpoint, "a", "1"), res(Endpoint, "b", "1")], &[]);
    peer.says(subscribe(Endpoint, &["a"]));
    assert_eq!(peer.says(holding(Endpoint, &["b"], &[("b", "1")])), ["Endpoint +b"]);
}

#[test]
fn restarted_server_recognises_the_clients_versions() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Cluster, "a", "1")], &[]);
    peer.session.request(about(Cluster), &peer.snap, peer.now);
    let told = peer.pull().remove(0);
    let initial = vec![("a".to_string(), told.resources[0].version().to_string())];
    let mut peer = peer.reconnected(Variant::Delta);
    assert_eq!(peer.says(Request { initial, ..about(Cluster) }), ["Cluster"]);
}

#[test]
fn resources_that_a_returning_client_claims_count_as_accepted() {
    for variant in [Variant::Delta, Variant::Sotw] {
        let mut peer = Peer::new(variant);
        peer.change(vec![res(Listener, "a", "1")], &[]);
        peer.session.request(about(Listener), &peer.snap, peer.now);
        let told = peer.pull().remove(0);
        assert!(peer.acked().is_empty(), "nothing was answered yet");
        let mut peer = peer.reconnected(variant);
        let version = told.resources[0].version();
        let back = match variant {
            Variant::Delta => Request { initial: vec![("a".into(), version.to_string())], ..about(Listener) },
            Variant::Sotw => Request { version_info: told.version.to_string(), ..about(Listener) },
        };
        peer.says(back);
        assert_eq!(peer.acked(), [("a".into(), version)], "{variant:?}");
    }
}

#[test]
fn client_that_has_a_newer_version_than_a_restarted_server_ends_with_the_newer() {
    for acks in [false, true] {
        let mut peer = Peer::delta();
        peer.change(vec![res(Listener, "a", "1")], &[]);
        peer.session.request(holding(Listener, &[], &[("a", "2")]), &peer.snap, peer.now);
        let older = peer.pull();
        assert_eq!(older.iter().map(show).collect::<Vec<_>>(), ["Listener +a"]);
        if acks {
            peer.session.request(ack(&older[0]), &peer.snap, peer.now);
        }
        peer.change(vec![res(Listener, "a", "2")], &[]);
        assert_eq!(peer.settle(), ["Listener +a"]);
    }
}
