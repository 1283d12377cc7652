//! State of the world while the server's state is incomplete (cases 13 and 32): no response.

use portreeve_xds::EnvoyType::{Cluster, Endpoint, Listener};
use portreeve_xds::{EnvoyType, Request, Withheld};

use crate::peer::{Peer, answering, names, res};

/// A client of a server without any state yet.
fn unknowing() -> Peer {
    let mut peer = Peer::sotw();
    peer.snap.withhold(Withheld::all());
    peer
}

/// The first request of a client that has a set of an earlier stream.
fn returning(ty: EnvoyType, wanted: &[&str]) -> Request<EnvoyType> {
    Request { version_info: "00000000000000ab".into(), ..names(ty, wanted) }
}

fn know(peer: &mut Peer, withheld: Withheld<EnvoyType>) {
    peer.snap.withhold(withheld);
    peer.session.recheck(&peer.snap);
}

#[test]
fn server_with_incomplete_state_deletes_nothing() {
    for ty in [Cluster, Listener] {
        let mut peer = unknowing();
        assert!(peer.says(returning(ty, &[])).is_empty(), "an empty {ty:?} set deletes all");
        peer.change(vec![res(ty, "a", "1")], &[]);
        assert!(peer.hears().is_empty(), "a part of the set deletes the rest");
        know(&mut peer, Withheld::default());
        assert_eq!(peer.hears(), [format!("{ty:?} +a")]);
    }
}

#[test]
fn set_that_is_known_to_be_empty_is_sent() {
    let mut peer = unknowing();
    peer.says(returning(Listener, &[]));
    know(&mut peer, Withheld::default());
    assert_eq!(peer.hears(), ["Listener"]);
}

#[test]
fn no_empty_assignment_is_sent_for_a_withheld_name() {
    let mut peer = unknowing();
    assert!(peer.says(returning(Endpoint, &["a", "b"])).is_empty());
    peer.change(vec![res(Endpoint, "a", "1")], &[]);
    assert_eq!(peer.hears(), ["Endpoint +a"]);
    know(&mut peer, Withheld::default());
    assert_eq!(peer.hears(), ["Endpoint +b"], "now it is known to be empty");
}

#[test]
fn name_that_was_dropped_while_withheld_is_not_answered_later() {
    let mut peer = unknowing();
    peer.change(vec![res(Endpoint, "a", "1")], &[]);
    peer.session.request(returning(Endpoint, &["a", "b"]), &peer.snap, peer.now);
    let sent = peer.pull().remove(0);
    peer.says(answering(names(Endpoint, &["a"]), &sent));
    know(&mut peer, Withheld::default());
    assert!(peer.hears().is_empty());
}

#[test]
fn one_withheld_name_delays_the_full_set_for_clients_that_may_have_it() {
    let unsure = Withheld { names: [(Listener, "unsure".into())].into(), ..Withheld::default() };
    let mut peer = Peer::sotw();
    peer.snap.withhold(unsure.clone());
    peer.change(vec![res(Listener, "a", "1")], &[]);
    assert!(peer.says(returning(Listener, &[])).is_empty());
    know(&mut peer, Withheld::default());
    assert_eq!(peer.hears(), ["Listener +a"]);

    let mut fresh = Peer::sotw();
    fresh.snap.withhold(unsure);
    fresh.change(vec![res(Listener, "a", "1")], &[]);
    assert_eq!(fresh.says(names(Listener, &[])), ["Listener +a"], "it has nothing to lose");
}

#[test]
fn client_that_got_the_full_set_gets_later_changes() {
    let mut peer = Peer::sotw();
    peer.change(vec![res(Listener, "a", "1")], &[]);
    peer.says(names(Listener, &[]));
    know(&mut peer, Withheld { names: [(Listener, "other".into())].into(), ..Withheld::default() });
    peer.change(vec![res(Listener, "a", "2")], &[]);
    assert_eq!(peer.hears(), ["Listener +a"]);
    peer.change(vec![], &[(Listener, "a")]);
    assert_eq!(peer.hears(), ["Listener"], "this server knows that it is gone");
}

#[test]
fn new_client_waits_for_a_type_that_is_withheld_as_a_whole() {
    let mut peer = unknowing();
    assert!(peer.says(names(Listener, &[])).is_empty());
    know(&mut peer, Withheld::default());
    assert_eq!(peer.hears(), ["Listener"]);
}
