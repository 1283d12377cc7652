//! Accepted resources of several kinds of proxies, in files of version 0.1.0 and of this version.

use std::fs;

use portreeve_agent_core::claims::Owner;
use portreeve_agent_core::fleet::{Accepted, Kept};
use portreeve_agent_core::translate::ProxyKind;
use portreeve_agent_core::world::ProxyId;
use portreeve_envoy::Envoy;

use super::*;

/// Files of version 0.1.0: a cluster, an assignment and a listener of one Plan, for a NodeProxy and for a
/// pod.
const FILES: [(&str, &str); 2] = [
    (
        "accepted-2a836fd91dfc1d255f10ea6870a80b1e",
        "707273746174650a0100000005000000110000006c000000a1a133540497077a6e6f646500677700412f6e732f63616c6c0a280801120b412f6e732f\
         63616c6c2f6c190700000000000000220562797465732905000000000000000a1f0802120b412f6e732f63616c6c2f6c1907000000000000002205\
         62797465730a1f0803120b412f6e732f63616c6c2f6c19070000000000000022056279746573",
    ),
    (
        "accepted-6ba164018abee00a08ca8c7089e3ff64",
        "707273746174650a0100000005000000110000006c000000d5a23be58252942b706f640075696400412f6e732f63616c6c0a280801120b412f6e732f\
         63616c6c2f6c190700000000000000220562797465732905000000000000000a1f0802120b412f6e732f63616c6c2f6c1907000000000000002205\
         62797465730a1f0803120b412f6e732f63616c6c2f6c19070000000000000022056279746573",
    ),
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digits).collect()
}

fn owners(kind: ProxyKind) -> [Owner; 2] {
    let owner = |proxy| Owner { kind, proxy, plan: "A/ns/call".into() };
    [owner(ProxyId::Node("gw".into())), owner(ProxyId::Pod("uid".into()))]
}

/// The content of the files.
fn accepted() -> Vec<Kept> {
    let of = |ty| Accepted {
        sources: (ty == Envoy::Cluster).then_some(5),
        ..Accepted::new(ty, "A/ns/call/l".into(), 7, b"bytes")
    };
    [Envoy::Cluster, Envoy::Endpoint, Envoy::Listener].map(|ty| of(ty).kept().unwrap()).into()
}

#[test]
fn files_of_version_0_1_0_are_what_envoys_accepted_and_are_written_the_same_today() {
    let directory = tempfile::tempdir().unwrap();
    for (name, hex) in FILES {
        fs::write(directory.path().join(name), bytes(hex)).unwrap();
    }
    let (saver, restored) = open(directory.path()).unwrap();
    assert!(saver.problems().is_empty(), "{:?}", saver.problems());
    assert_eq!(restored.accepted, owners(ProxyKind::Envoy).map(|owner| (owner, accepted())));
    let today = tempfile::tempdir().unwrap();
    let (saver, _) = open(today.path()).unwrap();
    for (owner, all) in restored.accepted {
        saver.put(Key::Accepted(owner), Content::Accepted(all));
    }
    saver.flush(BOUND).unwrap();
    for (name, hex) in FILES {
        assert_eq!(fs::read(today.path().join(name)).unwrap(), bytes(hex), "{name}");
    }
}

#[test]
fn same_names_of_two_kinds_are_kept_in_files_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let (saver, _) = open(directory.path()).unwrap();
    let other = [Kept { number: 9, body: b"other".as_slice().into(), ..accepted()[0].clone() }];
    for owner in owners(ProxyKind::Envoy) {
        saver.put(Key::Accepted(owner), Content::Accepted(accepted()));
    }
    for owner in owners(ProxyKind::L7mp) {
        saver.put(Key::Accepted(owner), Content::Accepted(other.to_vec()));
    }
    saver.flush(BOUND).unwrap();
    let (_, mut restored) = open(directory.path()).unwrap();
    restored.accepted.sort_by(|(one, _), (other, _)| one.cmp(other));
    let envoys = owners(ProxyKind::Envoy).map(|owner| (owner, accepted()));
    let others = owners(ProxyKind::L7mp).map(|owner| (owner, other.to_vec()));
    assert_eq!(restored.accepted, [envoys, others].concat());
}
