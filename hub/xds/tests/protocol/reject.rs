//! Rejections in delta: the culprits are found, the rest is confirmed (cases 15 and 16).

use std::collections::BTreeSet;
use std::time::Duration;

use portreeve_xds::EnvoyType::{Cluster, Listener, Secret};
use portreeve_xds::{EnvoyType, Event, Name, Response};

use crate::peer::{Peer, about, res, subscribe};

/// How a rejection's text names the culprits.
#[derive(Clone, Copy)]
enum Text {
    All,
    FirstOnly,
    None,
}

fn text(kind: Text, bad: &[&str]) -> String {
    let items: Vec<String> = bad.iter().map(|name| format!("{name}: no such filter")).collect();
    match kind {
        Text::All => format!("Error adding/updating listener(s) {}", items.join("\n")),
        Text::FirstOnly => {
            format!("Error adding/updating listener(s) {}\n{}", items[0], &bad[bad.len() - 1][..4])
        }
        Text::None => "INVALID_ARGUMENT".into(),
    }
}

/// Answers as Envoy does until there are no more responses. Returns their number.
fn answer_all(peer: &mut Peer, bad: &[&str], kind: Text) -> usize {
    let mut count = 0;
    while let Some(response) = peer.session.next(&peer.snap, peer.now) {
        count += 1;
        assert!(count < 200, "no end of trials");
        let hit: Vec<&str> = bad.iter().copied().filter(|name| holds(&response, name)).collect();
        if hit.is_empty() {
            peer.ack(&response);
        } else {
            peer.nack(&response, &text(kind, &hit));
        }
    }
    count
}

fn holds(response: &Response<EnvoyType>, name: &str) -> bool {
    response.resources.iter().any(|one| **one.name() == *name)
}

/// Confirmed and rejected names.
fn outcome(peer: &mut Peer) -> (BTreeSet<Name>, BTreeSet<Name>) {
    let (mut good, mut bad) = (BTreeSet::new(), BTreeSet::new());
    for event in peer.session.events() {
        match event {
            Event::Acked { resources, .. } => good.extend(resources.iter().map(|(name, _)| name.clone())),
            Event::Nacked { names, versions, .. } => {
                assert_eq!(names.len(), versions.len(), "each with its version");
                bad.extend(names);
            }
            Event::Unknown { .. } => panic!("no unknown type was asked for"),
        }
    }
    (good, bad)
}

fn thousand() -> Peer {
    let mut peer = Peer::delta();
    peer.change((0..1000).map(|i| res(Listener, &format!("web-{i}"), "1")).collect(), &[]);
    peer.session.request(about(Listener), &peer.snap, peer.now);
    peer
}

#[test]
fn three_bad_of_a_thousand_are_named_and_the_rest_confirmed() {
    let bad = ["web-10", "web-100", "web-777"];
    for (kind, most) in [(Text::All, 2), (Text::FirstOnly, 4), (Text::None, 80)] {
        let mut peer = thousand();
        let count = answer_all(&mut peer, &bad, kind);
        let (good, named) = outcome(&mut peer);
        assert_eq!(named, bad.iter().map(|name| Name::from(*name)).collect());
        assert_eq!(good.len(), 997);
        assert!(good.is_disjoint(&named));
        assert!(count <= most, "{count} responses");
    }
}

#[test]
fn rejected_resource_is_not_sent_again_until_it_changes() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Listener, "bad", "1"), res(Listener, "good", "1")], &[]);
    peer.session.request(about(Listener), &peer.snap, peer.now);
    answer_all(&mut peer, &["bad"], Text::All);
    peer.change(vec![res(Listener, "good", "2")], &[]);
    assert_eq!(peer.settle(), ["Listener +good"]);
    peer.change(vec![res(Listener, "bad", "2")], &[]);
    assert_eq!(peer.settle(), ["Listener +bad"]);
    let (good, _) = outcome(&mut peer);
    assert!(good.contains("bad"), "the next ACK clears it");
}

#[test]
fn good_rest_of_a_rejected_response_is_sent_once_more_without_the_culprit() {
    let mut peer = Peer::delta();
    peer.change(["a", "bad", "c"].map(|name| res(Cluster, name, "1")).into(), &[]);
    peer.session.request(about(Cluster), &peer.snap, peer.now);
    let response = peer.pull().remove(0);
    peer.nack(&response, "Error adding/updating cluster(s) bad: no");
    assert_eq!(peer.settle(), ["Cluster +a +c"]);
    assert!(peer.settle().is_empty());
}

#[test]
fn rejected_removal_is_sent_again_with_the_rest() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Listener, "old", "1")], &[]);
    peer.session.request(about(Listener), &peer.snap, peer.now);
    peer.settle();
    peer.change(vec![res(Listener, "bad", "1"), res(Listener, "new", "1")], &[(Listener, "old")]);
    let response = peer.pull().remove(0);
    peer.nack(&response, "Error adding/updating listener(s) bad: no");
    assert_eq!(peer.settle(), ["Listener +new -old"]);
}

#[test]
fn rejection_of_an_older_version_does_not_withhold_the_newer_one() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Cluster, "a", "1")], &[]);
    peer.session.request(about(Cluster), &peer.snap, peer.now);
    let first = peer.pull().remove(0);
    peer.change(vec![res(Cluster, "a", "2")], &[]);
    let second = peer.pull().remove(0);
    peer.nack(&first, "Error adding/updating cluster(s) a: no");
    peer.ack(&second);
    assert_eq!(peer.acked(), [("a".into(), second.resources[0].version())]);
    assert!(peer.hears().is_empty());
}

#[test]
fn failed_bind_is_tried_again_unchanged_with_backoff() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Listener, "web", "1"), res(Listener, "other", "1")], &[]);
    peer.session.request(about(Listener), &peer.snap, peer.now);
    let mut response = peer.pull().remove(0);
    let text = "Error adding/updating listener(s) web: cannot bind '0.0.0.0:80': Address already in use";
    for wait in [250, 500, 1000, 2000, 4000, 8000, 8000] {
        peer.nack(&response, text);
        let rest = peer.settle();
        assert!(rest.is_empty() || rest == ["Listener +other"], "{rest:?}");
        let wait = Duration::from_millis(wait);
        assert_eq!(peer.session.deadline(), Some(peer.now + wait));
        peer.pass(wait);
        response = peer.pull().remove(0);
        assert_eq!(response.resources[0].body(), b"1");
    }
    let transient = |event: &Event<EnvoyType>| matches!(event, Event::Nacked { transient: true, .. });
    assert_eq!(peer.session.events().iter().filter(|event| transient(event)).count(), 7);
    peer.ack(&response);
    assert_eq!(peer.session.deadline(), None);
    assert_eq!(peer.acked().len(), 1);
}

#[test]
fn changed_listener_does_not_wait_for_the_retry_of_the_old_one() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Listener, "web", "1")], &[]);
    peer.session.request(about(Listener), &peer.snap, peer.now);
    let response = peer.pull().remove(0);
    peer.nack(&response, "cannot bind");
    peer.change(vec![res(Listener, "web", "2")], &[]);
    assert_eq!(peer.settle(), ["Listener +web"]);
    peer.pass(Duration::from_secs(10));
    assert!(peer.settle().is_empty());
}

#[test]
fn rejected_text_is_cut_and_never_shown_for_secrets() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Secret, "s", "1"), res(Cluster, "c", "1")], &[]);
    for (req, shown) in [(subscribe(Secret, &["s"]), false), (about(Cluster), true)] {
        peer.session.request(req, &peer.snap, peer.now);
        let response = peer.pull().remove(0);
        peer.nack(&response, &"KEY".repeat(2000));
        let Some(Event::Nacked { names, detail, .. }) = peer.session.events().pop() else {
            panic!("no event")
        };
        assert_eq!(names.len(), 1);
        assert_eq!(detail.contains("KEY"), shown);
        assert!(detail.len() <= 1024);
    }
}

#[test]
fn rotation_sends_only_the_secret() {
    let mut peer = Peer::delta();
    peer.change(vec![res(Secret, "s", "1"), res(Secret, "other", "1"), res(Listener, "l", "1")], &[]);
    peer.says(about(Listener));
    peer.says(subscribe(Secret, &["s"]));
    peer.change(vec![res(Secret, "s", "2"), res(Secret, "other", "2")], &[]);
    assert_eq!(peer.hears(), ["Secret +s"]);
}
