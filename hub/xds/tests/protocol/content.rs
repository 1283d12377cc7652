//! The content of responses (case 24): names, nonces, bytes and encoding.

use std::collections::HashSet;

use bytes::Bytes;
use portreeve_xds::EnvoyType::{Cluster, Endpoint};
use portreeve_xds::encode::{encode, encoded_len};
use portreeve_xds::{EnvoyType, Response};

use crate::peer::{Peer, about, names, res, subscribe};

/// Top-level length-delimited fields of a protobuf message.
fn fields(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    while let [tag, rest @ ..] = bytes {
        assert_eq!(tag & 7, 2, "length-delimited");
        let (mut len, mut shift, mut at) = (0usize, 0, 0);
        loop {
            len |= usize::from(rest[at] & 0x7f) << shift;
            (shift, at) = (shift + 7, at + 1);
            if rest[at - 1] < 0x80 {
                break;
            }
        }
        all.push((tag >> 3, rest[at..at + len].to_vec()));
        bytes = &rest[at + len..];
    }
    all
}

fn encoded(response: &Response<EnvoyType>) -> Bytes {
    let mut out = Vec::new();
    encode(response, &mut out);
    assert_eq!(out.len(), encoded_len(response));
    out.into()
}

fn field(all: &[(u8, Vec<u8>)], number: u8) -> Vec<String> {
    let found = all.iter().filter(|(field, _)| *field == number);
    found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

#[test]
fn nonces_are_set_and_unique_on_a_stream() {
    let mut peer = Peer::delta();
    peer.says(about(Cluster));
    peer.says(subscribe(Endpoint, &["a"]));
    let mut nonces = HashSet::new();
    for round in 0..50 {
        let text = round.to_string();
        peer.change(vec![res(Cluster, "a", &text), res(Endpoint, "a", &text)], &[]);
        for response in peer.pull() {
            assert!(!response.nonce.is_empty());
            assert!(nonces.insert(response.nonce.clone()), "seen before");
            peer.ack(&response);
        }
    }
    assert_eq!(nonces.len(), 100);
}

#[test]
fn delta_response_carries_names_versions_and_removals() {
    let mut peer = Peer::delta();
    let long = "x".repeat(300);
    peer.change(vec![res(Endpoint, "a", &long)], &[]);
    peer.session.request(subscribe(Endpoint, &["a", "b"]), &peer.snap, peer.now);
    let mut response = peer.pull().remove(0);
    response.system_version = Some("w7".into());
    let all = fields(&encoded(&response));
    assert_eq!(field(&all, 1), ["w7"]);
    assert_eq!(field(&all, 4), ["type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"]);
    assert_eq!(field(&all, 5).concat(), response.nonce);
    assert_eq!(field(&all, 6), ["b"]);
    let resource = all.iter().find(|(number, _)| *number == 2).map(|(_, value)| fields(value)).unwrap();
    assert_eq!(field(&resource, 1), [response.resources[0].version().to_string()]);
    assert_eq!(field(&resource, 3), ["a"]);
    let any = resource.iter().find(|(number, _)| *number == 2).map(|(_, value)| fields(value)).unwrap();
    assert_eq!(field(&any, 1), ["type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"]);
    assert_eq!(field(&any, 2), [long]);
}

#[test]
fn state_of_the_world_response_carries_the_bare_messages() {
    let mut peer = Peer::sotw();
    peer.change(vec![res(Cluster, "a", "body")], &[]);
    peer.session.request(names(Cluster, &[]), &peer.snap, peer.now);
    let response = peer.pull().remove(0);
    let all = fields(&encoded(&response));
    assert_eq!(field(&all, 1), [response.version.to_string()]);
    assert_eq!(field(&all, 5).concat(), response.nonce);
    let any = all.iter().find(|(number, _)| *number == 2).map(|(_, value)| fields(value)).unwrap();
    assert_eq!(field(&any, 2), ["body"]);
}

#[test]
fn bytes_of_a_resource_are_one_allocation_for_all_streams() {
    let mut first = Peer::delta();
    first.change(vec![res(Cluster, "a", "1")], &[]);
    let mut second = Peer { snap: first.snap.clone(), ..Peer::sotw() };
    first.session.request(about(Cluster), &first.snap, first.now);
    second.session.request(names(Cluster, &[]), &second.snap, second.now);
    let (one, other) = (first.pull().remove(0), second.pull().remove(0));
    assert_eq!(one.resources[0].body().as_ptr(), other.resources[0].body().as_ptr());
}

#[test]
fn state_of_two_streams_is_never_mixed() {
    let mut first = Peer::delta();
    first.change(vec![res(Cluster, "a", "1"), res(Endpoint, "a", "1")], &[]);
    let mut second = Peer { snap: first.snap.clone(), ..Peer::delta() };
    assert_eq!(first.says(about(Cluster)), ["Cluster +a"]);
    assert_eq!(second.says(subscribe(Endpoint, &["a"])), ["Endpoint +a"]);
    first.change(vec![res(Endpoint, "a", "2")], &[]);
    assert!(first.hears().is_empty());
}
