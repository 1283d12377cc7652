//! The door of the hub's resources: what was written is read back, and what can't be read is named.

use prost::Message;

use super::*;
use crate::plan as proto;

mod flaws;
mod random;

use random::Random;

/// Values of one random number each; enough to meet every variant in every field.
const ROUNDS: u64 = 2_000;

#[test]
fn plan_that_was_written_is_read_back_as_it_was() {
    for seed in 0..ROUNDS {
        let plan = Random::new(seed).plan();
        let bytes = proto::Plan::from(&plan).encode_to_vec();
        let message = proto::Plan::decode(bytes.as_slice()).unwrap();
        assert_eq!(Plan::try_from(message), Ok(plan), "seed {seed}");
    }
}

#[test]
fn node_proxy_that_was_written_is_read_back_as_it_was() {
    for seed in 0..ROUNDS {
        let proxy = Random::new(seed).node_proxy();
        assert_eq!(NodeProxy::try_from(proto::NodeProxy::from(&proxy)), Ok(proxy), "seed {seed}");
    }
}

#[test]
fn node_proxy_of_an_envoy_has_the_bytes_of_version_0_1_0() {
    let envoy = EnvoySettings { concurrency: std::num::NonZeroU32::new(2), ..EnvoySettings::default() };
    let proxy = NodeProxy {
        uid: String::new(),
        labels: Default::default(),
        allowed: Namespaces::All,
        settings: Some(Settings::Envoy(envoy)),
        created_ms: Some(5),
        proxy_name: None,
    };
    // all_namespaces = 4, envoy = 6 with concurrency = 1, created_ms = 7.
    assert_eq!(proto::NodeProxy::from(&proxy).encode_to_vec(), [0x20, 1, 0x32, 2, 0x08, 2, 0x38, 5]);
}

#[test]
fn endpoint_that_was_written_is_read_back_as_it_was() {
    for seed in 0..ROUNDS {
        let endpoint = Random::new(seed).endpoint();
        assert_eq!(Endpoint::try_from(proto::Endpoint::from(&endpoint)), Ok(endpoint), "seed {seed}");
    }
}

#[test]
fn plan_that_was_read_is_written_byte_for_byte() {
    for seed in 0..ROUNDS {
        let bytes = proto::Plan::from(&Random::new(seed).plan()).encode_to_vec();
        let read = Plan::try_from(proto::Plan::decode(bytes.as_slice()).unwrap()).unwrap();
        assert_eq!(proto::Plan::from(&read).encode_to_vec(), bytes, "seed {seed}");
    }
}

#[test]
fn every_protocol_is_known_by_its_number() {
    for number in 1..=16 {
        let protocol = Protocol::from(number);
        assert!(!matches!(protocol, Protocol::Unknown(_)), "{number}");
        assert_eq!(i32::from(protocol), number);
    }
    assert!(proto::Protocol::try_from(17).is_err(), "a new protocol needs a place in the own type");
    assert_eq!(Protocol::from(0), Protocol::Unknown(0));
    for (protocol, name) in [
        (Protocol::Udp, "UDP"),
        (Protocol::JsonSocket, "JSONSocket"),
        (Protocol::Unknown(0), "0"),
        (Protocol::Unknown(99), "99"),
    ] {
        assert_eq!(protocol.name(), name);
    }
}

#[test]
fn source_is_a_loopback_address_exactly_where_the_address_is_one() {
    for (text, loopback) in
        [("127.0.0.1", true), ("127.9.9.9", true), ("::1", true), ("10.0.0.1", false), ("fd00::1", false)]
    {
        let source = Source::of_ip(text.parse().unwrap());
        assert_eq!(matches!(source, Source::Loopback(_)), loopback, "{text}");
    }
}
