//! Rejections in state of the world: the last accepted version stays in the set (cases 15 and 16).

use portreeve_xds::EnvoyType::{Cluster, Endpoint, Listener};
use portreeve_xds::{EnvoyType, Event, Request, Response};

use crate::peer::{Peer, answering, names, res, show};

fn bodies(response: &Response<EnvoyType>) -> Vec<String> {
    let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    response.resources.iter().map(|one| format!("{}={}", one.name(), text(one.body()))).collect()
}

fn answer(response: &Response<EnvoyType>) -> Request<EnvoyType> {
    let Some(ty) = response.ty else { panic!("of no known type: {response:?}") };
    answering(names(ty, if ty == Endpoint { &["a", "b"] } else { &[] }), response)
}

fn ack(peer: &mut Peer, response: &Response<EnvoyType>) {
    peer.session.request(answer(response), &peer.snap, peer.now);
}

fn nack(peer: &mut Peer, response: &Response<EnvoyType>, text: &str) {
    let error_detail = Some(text.into());
    let req = Request { error_detail, version_info: String::new(), ..answer(response) };
    peer.session.request(req, &peer.snap, peer.now);
}

fn accepted(names_and_texts: &[(&str, &str)]) -> Peer {
    let mut peer = Peer::sotw();
    peer.change(names_and_texts.iter().map(|(name, text)| res(Listener, name, text)).collect(), &[]);
    peer.session.request(names(Listener, &[]), &peer.snap, peer.now);
    let response = peer.pull().remove(0);
    ack(&mut peer, &response);
    peer
}

#[test]
fn rejected_version_is_replaced_by_the_last_good_one() {
    let mut peer = accepted(&[("a", "1"), ("b", "1")]);
    peer.change(vec![res(Listener, "a", "2"), res(Listener, "b", "2")], &[]);
    let response = peer.pull().remove(0);
    nack(&mut peer, &response, "Error adding/updating listener(s) a: no");
    let again = peer.pull();
    assert_eq!(bodies(&again[0]), ["a=1", "b=2"]);
    assert_eq!(again.len(), 1);
    ack(&mut peer, &again[0]);
    assert!(peer.pull().is_empty());
    peer.change(vec![res(Listener, "a", "3")], &[]);
    assert_eq!(bodies(&peer.pull()[0]), ["a=3", "b=2"]);
}

#[test]
fn rejected_new_resource_is_left_out() {
    let mut peer = accepted(&[("a", "1")]);
    peer.change(vec![res(Listener, "bad", "1"), res(Listener, "c", "1")], &[]);
    let response = peer.pull().remove(0);
    nack(&mut peer, &response, "Error adding/updating listener(s) bad: no");
    let again = peer.pull().remove(0);
    assert_eq!(show(&again), "Listener +a +c");
    ack(&mut peer, &again);
    peer.change(vec![res(Listener, "c", "2")], &[]);
    assert_eq!(bodies(&peer.pull()[0]), ["a=1", "c=2"], "still left out");
}

#[test]
fn resource_removed_after_its_rejection_leaves_the_set() {
    let mut peer = accepted(&[("a", "1"), ("b", "1")]);
    peer.change(vec![res(Listener, "a", "2")], &[]);
    let response = peer.pull().remove(0);
    nack(&mut peer, &response, "no");
    peer.change(vec![], &[(Listener, "a")]);
    assert_eq!(bodies(peer.pull().last().unwrap()), ["b=1"]);
}

#[test]
fn halves_of_a_rejected_set_keep_the_accepted_versions() {
    let mut peer = accepted(&[("good", "1")]);
    let upsert = (0..8).map(|i| res(Listener, &format!("n{i}"), "1")).collect();
    peer.change(upsert, &[]);
    let mut named = Vec::new();
    let mut last = Vec::new();
    for _ in 0..60 {
        let Some(response) = peer.session.next(&peer.snap, peer.now) else { break };
        let set = bodies(&response);
        assert!(set.contains(&"good=1".to_string()), "never without the good one: {set:?}");
        if set.contains(&"n5=1".to_string()) {
            nack(&mut peer, &response, "INVALID_ARGUMENT");
        } else {
            ack(&mut peer, &response);
            last = set;
        }
        named.extend(peer.session.events().into_iter().filter_map(|event| match event {
            Event::Nacked { names, .. } => Some(names),
            _ => None,
        }));
    }
    assert_eq!(named.concat(), ["n5".into()]);
    assert_eq!(last.len(), 8, "all but the culprit: {last:?}");
}

#[test]
fn rejected_assignment_is_withheld_and_the_rest_sent_again() {
    let mut peer = Peer::sotw();
    peer.change(vec![res(Endpoint, "a", "1"), res(Endpoint, "b", "1")], &[]);
    peer.session.request(names(Endpoint, &["a", "b"]), &peer.snap, peer.now);
    let response = peer.pull().remove(0);
    nack(&mut peer, &response, "a: no");
    let again = peer.pull();
    assert_eq!(again.iter().map(show).collect::<Vec<_>>(), ["Endpoint +b"]);
    ack(&mut peer, &again[0]);
    assert!(peer.pull().is_empty());
}

#[test]
fn rejection_of_a_single_resource_is_not_repeated() {
    let mut peer = Peer::sotw();
    peer.change(vec![res(Cluster, "a", "1")], &[]);
    peer.session.request(names(Cluster, &[]), &peer.snap, peer.now);
    let response = peer.pull().remove(0);
    nack(&mut peer, &response, "whatever");
    assert!(peer.pull().is_empty(), "the same content is not sent in a loop");
}
