//! Removed assignments (case 25), and requests with empty names.

use portreeve_xds::EnvoyType::{Cluster, Endpoint, Listener};

use crate::peer::{Peer, answering, names, res, subscribe, unsubscribe};

/// A client that has assignment a and is subscribed to it.
fn with_assignment() -> Peer {
    let mut peer = Peer::delta();
    peer.change(vec![res(Endpoint, "a", "1")], &[]);
    peer.says(subscribe(Endpoint, &["a"]));
    peer
}

#[test]
fn removed_assignment_is_emptied_and_then_removed_in_a_response_of_its_own() {
    let mut peer = with_assignment();
    peer.change(vec![], &[(Endpoint, "a")]);
    let sent = peer.pull();
    let (emptied, removed) = (&sent[0], &sent[1]);
    assert_eq!(sent.len(), 2);
    assert_eq!((emptied.resources[0].body(), emptied.removed.len()), (&b"\n\x01a"[..], 0), "only a name");
    assert_eq!((removed.resources.len(), &*removed.removed[0]), (0, "a"));
    sent.iter().for_each(|response| peer.ack(response));
    assert!(peer.hears().is_empty());
}

#[test]
fn assignment_that_returns_after_its_removal_is_sent() {
    let mut peer = with_assignment();
    peer.change(vec![], &[(Endpoint, "a")]);
    peer.settle();
    peer.change(vec![res(Endpoint, "a", "1")], &[]);
    assert_eq!(peer.settle(), ["Endpoint +a"]);
}

#[test]
fn assignment_that_returns_before_its_removal_was_sent_is_not_removed() {
    let mut peer = with_assignment();
    peer.change(vec![], &[(Endpoint, "a")]);
    assert!(peer.session.next(&peer.snap, peer.now).is_some(), "the empty one");
    peer.change(vec![res(Endpoint, "a", "2")], &[]);
    assert_eq!(peer.settle(), ["Endpoint +a"]);
}

#[test]
fn emptied_assignment_that_was_unsubscribed_is_not_removed_again() {
    let mut peer = with_assignment();
    peer.change(vec![], &[(Endpoint, "a")]);
    let emptied = peer.session.next(&peer.snap, peer.now).unwrap();
    peer.ack(&emptied);
    assert!(peer.says(unsubscribe(Endpoint, &["a"])).is_empty());
}

#[test]
fn state_of_the_world_empties_a_removed_assignment_and_sends_no_removal() {
    let mut peer = Peer::sotw();
    peer.change(vec![res(Endpoint, "a", "1")], &[]);
    peer.says(names(Endpoint, &["a"]));
    peer.change(vec![], &[(Endpoint, "a")]);
    assert_eq!(peer.hears(), ["Endpoint +a"]);
}

#[test]
fn empty_name_is_ignored() {
    let mut peer = Peer::sotw();
    assert!(peer.says(names(Endpoint, &[""])).is_empty(), "no assignment without a name");
    peer.change(vec![res(Endpoint, "a", "1")], &[]);
    assert_eq!(peer.says(names(Endpoint, &["", "a"])), ["Endpoint +a"]);

    let mut peer = Peer::delta();
    assert!(peer.says(subscribe(Endpoint, &[""])).is_empty());
    assert!(peer.says(unsubscribe(Endpoint, &[""])).is_empty());
}

#[test]
fn empty_name_asks_for_nothing_where_an_empty_list_asks_for_all() {
    let mut peer = Peer::sotw();
    peer.change(vec![res(Listener, "l", "1"), res(Cluster, "c", "1")], &[]);
    assert!(!peer.says(names(Listener, &[""])).contains(&"Listener +l".to_string()));
    let all = peer.says(names(Cluster, &[]));
    assert_eq!(all, ["Cluster +c"]);
}

#[test]
fn names_beside_an_empty_one_are_kept_through_the_answer() {
    let mut peer = Peer::sotw();
    peer.change(vec![res(Endpoint, "a", "1")], &[]);
    peer.session.request(names(Endpoint, &["a", ""]), &peer.snap, peer.now);
    let sent = peer.pull().remove(0);
    assert!(peer.says(answering(names(Endpoint, &["a", ""]), &sent)).is_empty());
    peer.change(vec![res(Endpoint, "a", "2")], &[]);
    assert_eq!(peer.hears(), ["Endpoint +a"]);
}
