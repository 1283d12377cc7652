//! Listeners that exchange addresses: each address is freed before it is taken, with a removal first only in cycles.

use std::sync::Arc;

use portreeve_xds::EnvoyType::Listener;
use portreeve_xds::{EnvoyType, Request, Resource, Variant};

use crate::peer::{Peer, about, names, res};

/// A listener with this address. Its body contains the address.
fn at(name: &str, address: &str) -> (EnvoyType, Arc<Resource>) {
    (Listener, Resource::with_address(Listener, name, address.as_bytes(), address))
}

/// A client of this variant with these listeners.
fn established(variant: Variant, all: &[(&str, &str)]) -> Peer {
    let mut peer = Peer::new(variant);
    peer.change(all.iter().map(|(name, address)| at(name, address)).collect(), &[]);
    let first = if variant == Variant::Delta { about(Listener) } else { names(Listener, &[]) };
    peer.session.request(first, &peer.snap, peer.now);
    peer.settle();
    peer
}

fn conflict(name: &str) -> String {
    format!("{name}: error adding listener: '{name}' has duplicate address 'x' as existing listener")
}

#[test]
fn swap_removes_one_listener_and_then_sends_both_in_order() {
    let mut peer = established(Variant::Delta, &[("a", "1"), ("b", "2")]);
    peer.change(vec![at("a", "2"), at("b", "1")], &[]);
    assert_eq!(peer.hears(), ["Listener -a", "Listener +b +a"], "without waiting for an answer");
    let mut peer = established(Variant::Sotw, &[("a", "1"), ("b", "2"), ("c", "3")]);
    peer.change(vec![at("a", "2"), at("b", "1")], &[]);
    assert_eq!(peer.hears(), ["Listener +b +c", "Listener +a +b +c"]);
}

#[test]
fn chain_of_moves_is_one_response_that_starts_at_the_free_address() {
    for variant in [Variant::Delta, Variant::Sotw] {
        let mut peer = established(variant, &[("a", "1"), ("b", "2"), ("c", "3")]);
        peer.change(vec![at("a", "2"), at("b", "3"), at("c", "4")], &[]);
        assert_eq!(peer.hears(), ["Listener +c +b +a"]);
    }
}

#[test]
fn each_cycle_of_addresses_needs_one_removal() {
    let mut peer = established(Variant::Delta, &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")]);
    peer.change(vec![at("a", "2"), at("b", "3"), at("c", "1"), at("d", "5"), at("e", "4")], &[]);
    assert_eq!(peer.hears(), ["Listener -a -d", "Listener +c +b +a +e +d"]);
}

#[test]
fn address_given_to_a_new_name_is_one_response() {
    let mut peer = established(Variant::Delta, &[("a", "1")]);
    peer.change(vec![at("b", "1")], &[(Listener, "a")]);
    assert_eq!(peer.hears(), ["Listener +b -a"], "the client applies removals first");
}

#[test]
fn swapped_names_are_a_cycle_though_the_addresses_stay() {
    let mut peer = established(Variant::Delta, &[("a", "1"), ("b", "2")]);
    peer.change(vec![at("b", "1"), at("a", "2")], &[]);
    assert_eq!(peer.settle(), ["Listener -a", "Listener +b +a"]);
    peer.change(vec![at("b", "2"), at("a", "1")], &[]);
    assert_eq!(peer.settle(), ["Listener -a", "Listener +b +a"], "and back");
}

#[test]
fn rejected_listener_keeps_its_earlier_address() {
    let mut peer = established(Variant::Delta, &[("a", "1"), ("b", "2")]);
    peer.change(vec![at("a", "3")], &[]);
    let moved = peer.pull().remove(0);
    peer.nack(&moved, "Error adding/updating listener(s) a: no good");
    assert!(peer.hears().is_empty());
    peer.change(vec![at("b", "1")], &[]);
    assert_eq!(peer.hears(), ["Listener -a", "Listener +a +b"], "a still has address 1");
}

#[test]
fn conflict_is_retried_at_once_when_an_address_becomes_free() {
    let mut peer = established(Variant::Delta, &[("a", "1")]);
    peer.change(vec![at("b", "2")], &[]);
    let refused = peer.pull().remove(0);
    peer.nack(&refused, &format!("Error adding/updating listener(s) {}", conflict("b")));
    assert!(peer.hears().is_empty());
    peer.change(vec![at("a", "3")], &[]);
    assert_eq!(peer.settle(), ["Listener +a", "Listener +b"]);
}

#[test]
fn listeners_of_an_earlier_stream_that_block_an_address_are_removed() {
    let peer = established(Variant::Delta, &[("a", "1"), ("b", "2")]);
    let mut peer = peer.reconnected(Variant::Delta);
    let initial = [("a", "1"), ("b", "2")]
        .map(|(name, _)| (name.to_string(), peer.snap.get(Listener, name).unwrap().version().to_string()));
    peer.change(vec![at("a", "2"), at("b", "1")], &[]);
    peer.session.request(Request { initial: initial.to_vec(), ..about(Listener) }, &peer.snap, peer.now);
    let sent = peer.pull().remove(0);
    let text = format!("Error adding/updating listener(s) {}\n{}", conflict("a"), conflict("b"));
    peer.nack(&sent, &text);
    assert_eq!(peer.settle(), ["Listener -a -b", "Listener +a +b"]);
    peer.change(vec![res(Listener, "c", "1")], &[]);
    assert_eq!(peer.settle(), ["Listener +c"]);
}

#[test]
fn unchanged_listeners_of_an_earlier_stream_have_known_addresses() {
    let peer = established(Variant::Delta, &[("a", "1"), ("b", "2")]);
    let mut peer = peer.reconnected(Variant::Delta);
    let initial = ["a", "b"]
        .map(|name| (name.to_string(), peer.snap.get(Listener, name).unwrap().version().to_string()));
    peer.session.request(Request { initial: initial.to_vec(), ..about(Listener) }, &peer.snap, peer.now);
    peer.settle();
    peer.change(vec![at("a", "2"), at("b", "1")], &[]);
    assert_eq!(peer.settle(), ["Listener -a", "Listener +b +a"]);
}
