//! Waits for companions that the client has not subscribed to yet, and for answers; and that there are no other waits.

use std::time::Duration;

use portreeve_xds::EnvoyType::{Cluster, Endpoint, Listener};
use portreeve_xds::session::{COMPANION_WAIT, REMOVAL_GRACE};

use crate::peer::{Peer, eds_cluster, established, res, subscribe, unsubscribe};

#[test]
fn rejected_cluster_delays_no_later_listener() {
    let mut peer = established();
    peer.change(vec![eds_cluster("b", "1"), res(Endpoint, "b", "1")], &[]);
    let sent = peer.pull();
    peer.nack(&sent[0], "Error adding/updating cluster(s) b: no");
    peer.settle();
    peer.pass(COMPANION_WAIT * 10);
    peer.settle();
    // Much later, and unrelated to b.
    peer.change(vec![eds_cluster("a", "2"), res(Listener, "m", "1")], &[]);
    assert_eq!(peer.hears(), ["Cluster +a", "Endpoint +a", "Listener +m"]);
}

#[test]
fn cluster_removed_before_its_assignment_was_subscribed_delays_no_later_listener() {
    let mut peer = established();
    peer.change(vec![eds_cluster("b", "1"), res(Endpoint, "b", "1")], &[]);
    peer.settle();
    peer.change(vec![], &[(Cluster, "b"), (Endpoint, "b")]);
    peer.pass(REMOVAL_GRACE * 10);
    peer.settle();
    peer.change(vec![eds_cluster("a", "2"), res(Listener, "m", "1")], &[]);
    assert_eq!(peer.hears(), ["Cluster +a", "Endpoint +a", "Listener +m"]);
}

#[test]
fn cluster_is_not_removed_before_the_listener_that_leaves_it_was_sent() {
    let mut peer = established();
    // The client is slow: four updates of its listener are unanswered.
    for text in ["2", "3", "4", "5"] {
        peer.change(vec![res(Listener, "l", text)], &[]);
        assert_eq!(peer.hears(), ["Listener +l"]);
    }
    // The listener moves from cluster a to b.
    peer.says(subscribe(Endpoint, &["b"]));
    peer.change(
        vec![eds_cluster("b", "1"), res(Endpoint, "b", "1"), res(Listener, "l", "to b")],
        &[(Cluster, "a")],
    );
    assert_eq!(peer.hears(), ["Cluster +b", "Endpoint +b"]);
    peer.pass(REMOVAL_GRACE);
    assert_eq!(peer.hears(), Vec::<String>::new(), "the client's listener still refers to cluster a");
}

#[test]
fn listener_follows_a_changed_cluster_and_its_assignment_at_once() {
    let mut peer = established();
    peer.change(vec![eds_cluster("a", "2"), res(Listener, "m", "1")], &[]);
    assert_eq!(peer.hears(), ["Cluster +a", "Endpoint +a", "Listener +m"]);
}

#[test]
fn rejected_cluster_is_not_waited_for_repeatedly() {
    let mut peer = established();
    peer.change(vec![eds_cluster("b", "1"), res(Endpoint, "b", "1")], &[]);
    let sent = peer.pull();
    peer.nack(&sent[0], "Error adding/updating cluster(s) b: no");
    peer.settle();
    let mut held = 0;
    for round in 0..10 {
        peer.pass(Duration::from_secs(60));
        peer.settle();
        let text = format!("round {round}");
        peer.change(vec![eds_cluster("a", &text), res(Listener, "l", &text)], &[]);
        held += usize::from(!peer.settle().contains(&"Listener +l".to_string()));
        peer.pass(COMPANION_WAIT);
        peer.settle();
    }
    assert_eq!(held, 0, "of ten changes, minutes apart");
}

/// A client that was sent cluster b and has not asked for its assignment.
fn with_unasked_companion() -> Peer {
    let mut peer = established();
    peer.change(vec![eds_cluster("b", "1"), res(Endpoint, "b", "1")], &[]);
    peer
}

/// How long a listener that changes now waits.
fn listener_goes_at_once(peer: &mut Peer) {
    peer.change(vec![res(Listener, "m", "1")], &[]);
    assert!(peer.hears().contains(&"Listener +m".to_string()));
}

#[test]
fn companion_of_a_rejected_cluster_is_not_waited_for() {
    let mut peer = with_unasked_companion();
    let sent = peer.pull();
    peer.nack(&sent[0], "Error adding/updating cluster(s) b: no");
    listener_goes_at_once(&mut peer);
}

#[test]
fn companion_of_a_removed_cluster_is_not_waited_for() {
    let mut peer = with_unasked_companion();
    peer.settle();
    peer.change(vec![], &[(Cluster, "b"), (Endpoint, "b")]);
    assert_eq!(peer.settle(), ["Cluster -b"]);
    listener_goes_at_once(&mut peer);
}

#[test]
fn unsubscribed_companion_is_not_waited_for() {
    let mut peer = established();
    peer.change(vec![eds_cluster("a", "2")], &[]);
    // The cluster was sent, and the client unsubscribes from the assignment before it is sent.
    assert!(peer.session.next(&peer.snap, peer.now).is_some());
    peer.session.request(unsubscribe(Endpoint, &["a"]), &peer.snap, peer.now);
    listener_goes_at_once(&mut peer);
}

#[test]
fn new_companion_does_not_prolong_the_wait_for_an_earlier_one() {
    let mut peer = with_unasked_companion();
    peer.settle();
    let half = COMPANION_WAIT / 2;
    peer.pass(half);
    peer.change(vec![res(Listener, "m", "1")], &[]);
    assert_eq!(peer.session.deadline(), Some(peer.now + half));
    assert!(peer.hears().is_empty());
    peer.pass(half);
    assert_eq!(peer.hears(), ["Listener +m"]);
}

#[test]
fn grace_of_a_removal_begins_when_the_listener_that_leaves_it_was_sent() {
    let mut peer = established();
    let mut sent = Vec::new();
    for text in ["2", "3", "4", "5"] {
        peer.change(vec![res(Listener, "l", text)], &[]);
        sent.extend(peer.pull());
    }
    peer.change(vec![res(Listener, "l", "none")], &[(Cluster, "a")]);
    peer.pass(REMOVAL_GRACE * 5);
    assert!(peer.hears().is_empty());
    assert_eq!(peer.session.deadline(), None, "nothing happens without an answer");
    peer.ack(&sent[0]);
    assert_eq!(peer.hears(), ["Listener +l"]);
    assert_eq!(peer.session.deadline(), Some(peer.now + REMOVAL_GRACE));
    peer.pass(REMOVAL_GRACE);
    assert_eq!(peer.hears(), ["Cluster -a"]);
}

#[test]
fn each_removal_has_its_own_grace() {
    let mut peer = established();
    peer.says(subscribe(Endpoint, &["b"]));
    peer.change(vec![eds_cluster("b", "1"), res(Endpoint, "b", "1"), res(Listener, "m", "to b")], &[]);
    peer.settle();
    peer.change(vec![res(Listener, "l", "leaves a")], &[(Cluster, "a")]);
    assert_eq!(peer.hears(), ["Listener +l"]);
    peer.pass(REMOVAL_GRACE / 2);
    peer.change(vec![res(Listener, "m", "leaves b")], &[(Cluster, "b")]);
    assert_eq!(peer.hears(), ["Listener +m"]);
    peer.pass(REMOVAL_GRACE / 2);
    assert_eq!(peer.hears(), ["Cluster -a"], "the other one's listener was sent half a grace ago");
    peer.pass(REMOVAL_GRACE / 2);
    assert_eq!(peer.hears(), ["Cluster -b"]);
}

#[test]
fn cancelled_removal_waits_again_when_it_is_repeated() {
    let mut peer = established();
    peer.change(vec![res(Listener, "l", "leaves a")], &[(Cluster, "a")]);
    assert_eq!(peer.hears(), ["Listener +l"]);
    peer.change(vec![eds_cluster("a", "2"), res(Listener, "l", "to a")], &[]);
    assert_eq!(peer.hears()[0], "Cluster +a");
    peer.pass(REMOVAL_GRACE - Duration::from_millis(1));
    peer.change(vec![res(Listener, "l", "leaves it again")], &[(Cluster, "a")]);
    assert_eq!(peer.hears(), ["Listener +l"]);
    peer.pass(Duration::from_millis(1));
    assert!(peer.hears().is_empty(), "the grace is that of the second removal");
}
