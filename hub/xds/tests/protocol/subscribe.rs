//! The meaning of delta subscriptions (cases 1 to 10 and 27).

use portreeve_xds::EnvoyType::{Cluster, Endpoint, Listener, Secret};
use portreeve_xds::{Event, Kind, Node, Request};

use crate::peer::{Peer, about, res, strings, subscribe, unsubscribe};

fn with_clusters(names: &[&str]) -> Peer {
    let mut peer = Peer::delta();
    peer.change(names.iter().map(|name| res(Cluster, name, "1")).collect(), &[]);
    peer
}

#[test]
fn endpoints_requested_first_are_answered_before_any_cluster() {
    let mut peer = with_clusters(&["a"]);
    peer.change(vec![res(Endpoint, "a", "1")], &[]);
    let node = Some(Node { id: "n".into(), ..Node::default() });
    assert_eq!(peer.says(Request { node, ..subscribe(Endpoint, &["a"]) }), ["Endpoint +a"]);
    assert_eq!(peer.says(about(Cluster)), ["Cluster +a"]);
}

#[test]
fn new_client_is_distinguished_from_one_that_returns() {
    assert!(about(Cluster).begins_anew() && about(Listener).begins_anew());
    let comes_back = Request { initial: vec![("a".into(), "1".into())], ..about(Cluster) };
    assert!(!comes_back.begins_anew());
    assert!(!Request { version_info: "1".into(), ..about(Cluster) }.begins_anew());
    assert!(!subscribe(Endpoint, &["a"]).begins_anew(), "in the middle of a change endpoints come first");
}

#[test]
fn first_empty_subscription_of_clusters_and_listeners_means_all() {
    let mut peer = with_clusters(&["a", "b"]);
    peer.change(vec![res(Listener, "l", "1")], &[]);
    assert_eq!(peer.says(about(Cluster)), ["Cluster +a +b"]);
    assert_eq!(peer.says(about(Listener)), ["Listener +l"]);
}

#[test]
fn wildcard_over_nothing_is_answered_with_an_empty_response() {
    let mut peer = Peer::delta();
    assert_eq!(peer.says(about(Cluster)), ["Cluster"]);
    assert_eq!(peer.says(about(Listener)), ["Listener"]);
}

#[test]
fn first_empty_subscription_of_endpoints_means_nothing() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Endpoint, "a", "1")], &[]);
    assert!(peer.says(about(Endpoint)).is_empty());
}

#[test]
fn wildcard_then_name_then_neither_leaves_nothing() {
    let mut peer = with_clusters(&["A", "b"]);
    assert_eq!(peer.says(about(Cluster)), ["Cluster +A +b"]);
    assert_eq!(peer.says(subscribe(Cluster, &["A"])), ["Cluster +A"]);
    peer.change(vec![res(Cluster, "b", "2")], &[]);
    assert_eq!(peer.settle(), ["Cluster +b"], "the wildcard is still on");
    assert!(peer.says(unsubscribe(Cluster, &["*"])).is_empty());
    peer.change(vec![res(Cluster, "A", "3"), res(Cluster, "b", "3")], &[]);
    assert_eq!(peer.settle(), ["Cluster +A"], "only the name is left");
    assert!(peer.says(unsubscribe(Cluster, &["A"])).is_empty());
    peer.change(vec![res(Cluster, "A", "4"), res(Cluster, "b", "4")], &[]);
    assert!(peer.settle().is_empty(), "nothing is not everything");
}

#[test]
fn explicit_wildcard_works_for_any_type() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Endpoint, "a", "1"), res(Endpoint, "b", "1")], &[]);
    assert_eq!(peer.says(subscribe(Endpoint, &["*"])), ["Endpoint +a +b"]);
}

#[test]
fn first_subscription_by_name_is_no_wildcard() {
    let mut peer = with_clusters(&["a", "b"]);
    assert_eq!(peer.says(subscribe(Cluster, &["a"])), ["Cluster +a"]);
    assert!(peer.says(unsubscribe(Cluster, &["a"])).is_empty());
    peer.change(vec![res(Cluster, "a", "2")], &[]);
    assert!(peer.hears().is_empty());
}

#[test]
fn wildcard_on_and_off_in_one_request_sends_nothing_and_names_work_later() {
    let mut peer = with_clusters(&["a", "b"]);
    let both = Request { unsubscribe: strings(&["*"]), ..subscribe(Cluster, &["*"]) };
    assert!(peer.says(both).is_empty());
    assert_eq!(peer.says(subscribe(Cluster, &["b"])), ["Cluster +b"]);
}

#[test]
fn name_unsubscribed_under_a_wildcard_is_answered_by_the_resource() {
    let mut peer = with_clusters(&["a", "b"]);
    peer.says(about(Cluster));
    peer.says(subscribe(Cluster, &["a"]));
    assert_eq!(peer.says(unsubscribe(Cluster, &["a"])), ["Cluster +a"]);
}

#[test]
fn missing_name_unsubscribed_under_a_wildcard_is_answered_by_a_removal() {
    let mut peer = with_clusters(&["a"]);
    peer.says(about(Cluster));
    assert_eq!(peer.says(subscribe(Cluster, &["gone"])), ["Cluster -gone"]);
    assert_eq!(peer.says(unsubscribe(Cluster, &["gone"])), ["Cluster -gone"]);
}

#[test]
fn known_name_subscribed_again_is_sent_again() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Endpoint, "a", "1")], &[]);
    assert_eq!(peer.says(subscribe(Endpoint, &["a"])), ["Endpoint +a"]);
    assert!(peer.settle().is_empty());
    assert_eq!(peer.says(subscribe(Endpoint, &["a"])), ["Endpoint +a"]);
}

#[test]
fn missing_name_is_reported_removed_and_sent_when_it_exists() {
    let mut peer = Peer::delta();
    assert_eq!(peer.says(subscribe(Endpoint, &["a"])), ["Endpoint -a"]);
    peer.change(vec![res(Endpoint, "a", "1")], &[]);
    assert_eq!(peer.hears(), ["Endpoint +a"]);
}

#[test]
fn missing_secret_is_not_answered_and_is_sent_when_it_exists() {
    let mut peer = Peer::delta();
    assert!(peer.says(subscribe(Secret, &["tls"])).is_empty());
    peer.change(vec![res(Secret, "tls", "1")], &[]);
    assert_eq!(peer.hears(), ["Secret +tls"]);
    peer.change(vec![], &[(Secret, "tls")]);
    assert!(peer.hears().is_empty());
}

#[test]
fn unsubscribing_what_was_never_subscribed_is_ignored() {
    let mut peer = with_clusters(&["a"]);
    peer.says(about(Cluster));
    assert!(peer.says(unsubscribe(Cluster, &["a", "phantom"])).is_empty());
    assert!(peer.says(unsubscribe(Endpoint, &["phantom"])).is_empty());
}

#[test]
fn name_given_twice_gives_one_resource() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Endpoint, "a", "1")], &[]);
    assert_eq!(peer.says(subscribe(Endpoint, &["a", "a"])), ["Endpoint +a"]);
    peer.change(vec![res(Endpoint, "a", "2")], &[]);
    assert_eq!(peer.hears(), ["Endpoint +a"]);
}

#[test]
fn unsubscribing_is_not_answered_and_stops_later_changes() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Endpoint, "a", "1"), res(Endpoint, "b", "1")], &[]);
    peer.says(subscribe(Endpoint, &["a", "b"]));
    assert!(peer.says(unsubscribe(Endpoint, &["a"])).is_empty());
    peer.change(vec![res(Endpoint, "a", "2"), res(Endpoint, "b", "2")], &[]);
    assert_eq!(peer.hears(), ["Endpoint +b"]);
}

#[test]
fn stale_nonce_does_not_lose_a_subscription_and_confirms_nothing() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Endpoint, "a", "1"), res(Endpoint, "b", "1")], &[]);
    peer.session.request(subscribe(Endpoint, &["a"]), &peer.snap, peer.now);
    let first = peer.pull().remove(0);
    peer.ack(&first);
    assert_eq!(peer.acked().len(), 1);
    peer.change(vec![res(Endpoint, "a", "2")], &[]);
    assert_eq!(peer.hears(), ["Endpoint +a"]);
    let stale = Request { nonce: first.nonce.clone(), ..subscribe(Endpoint, &["b"]) };
    assert_eq!(peer.says(stale), ["Endpoint +b"]);
    assert!(peer.acked().is_empty());
}

#[test]
fn unknown_type_is_answered_by_does_not_exist_and_the_stream_goes_on() {
    let mut peer = with_clusters(&["a"]);
    let url = "type.googleapis.com/envoy.service.runtime.v3.Runtime";
    let ask = Request { subscribe: strings(&["x", "y"]), ..Request::new(Kind::of(url)) };
    peer.session.request(ask, &peer.snap, peer.now);
    let answers = peer.pull();
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0].type_url.as_ref(), answers[0].removed.len()), (url, 2));
    assert!(peer.session.events().contains(&Event::Unknown { type_url: url.into() }));
    peer.ack(&answers[0]);
    assert!(peer.hears().is_empty(), "its ACK is not answered");
    assert_eq!(peer.says(about(Cluster)), ["Cluster +a"]);
}

#[test]
fn wildcard_of_an_unknown_type_is_answered_empty() {
    let mut peer = Peer::delta();
    assert_eq!(peer.says(Request::new(Kind::Unknown("type.googleapis.com/x".into()))), ["unknown"]);
}
