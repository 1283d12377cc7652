//! Random bytes, and good packets with random faults.

use std::time::Instant;

use portreeve_gue::client::{Client, Tunnel};
use portreeve_gue::ipv4::Packet;
use portreeve_gue::too_big::answer;
use portreeve_gue::wire::{Message, read};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

/// How many cases are tried, unless the variable `PORTREEVE_GUE_CASES` says another number.
const CASES: usize = 10_000;

fn cases() -> usize {
    std::env::var("PORTREEVE_GUE_CASES").map_or(CASES, |number| number.parse().unwrap())
}

/// Returns a good packet, a good ping, or random bytes, with a few random faults.
fn some(random: &mut SmallRng) -> Vec<u8> {
    let mut payload = match random.random_range(0..4) {
        0 => (0..random.random_range(0..64)).map(|_| random.random()).collect(),
        1 => bytes(PING),
        2 => bytes(&format!("{DATA_HEADER}{INNER}")),
        _ => data(IDS, key(), &reply()),
    };
    for _ in 0..random.random_range(0..3) {
        if payload.is_empty() {
            break;
        }
        let at = random.random_range(0..payload.len());
        payload[at] = random.random();
    }
    if random.random_ratio(1, 4) {
        payload.truncate(random.random_range(0..=payload.len()));
    }
    payload
}

#[test]
fn no_bytes_are_a_panic_and_only_the_key_opens() {
    let seed = rand::random();
    let mut random = SmallRng::seed_from_u64(seed);
    let mut gateway = Gateway::new(false);
    gateway.put(&"a".into(), mk_load_balancer()).unwrap();
    let mut client = Client::new();
    let (now, endpoints) = (Instant::now(), BTreeSet::from([(Transport::Udp, ENDPOINT)]));
    client.put(TUNNEL, Tunnel { ids: IDS, key: key(), epic: EPIC, endpoints }, now);
    let (mut taken, mut counted) = ([0; 2], portreeve_gue::dropped::Counts::default());
    let cases = cases();
    for _ in 0..cases {
        let payload = some(&mut random);
        let has_key = payload.get(8..24) == Some(&KEY);
        let (at_gateway, at_client) =
            (gateway.receive(NODE, &payload, 0).map(drop), client.receive(EPIC, &payload, now).map(drop));
        for (taken, answer) in taken.iter_mut().zip([at_gateway, at_client]) {
            match answer {
                Ok(()) => *taken += 1,
                Err(dropped) => counted.add(dropped),
            }
            assert!(has_key || answer.is_err(), "seed {seed}: {payload:02x?}");
        }
        let _ = (Packet::read(&payload), answer(&payload), checksum(&payload));
        let _ = (gateway.send(&payload), client.send(&payload, now));
    }
    assert!(taken.iter().all(|taken| *taken > 0), "seed {seed}: {taken:?}");
    let sum: u64 = Dropped::ALL.iter().map(|one| counted.of(*one)).sum();
    assert_eq!(sum + taken.iter().sum::<u64>(), 2 * cases as u64, "seed {seed}");
}

#[test]
fn what_is_read_is_written_the_same() {
    let seed = rand::random();
    let mut random = SmallRng::seed_from_u64(seed);
    for _ in 0..cases() {
        let payload = some(&mut random);
        let written = match read(&payload) {
            Ok(Message::Data(header, inner)) => [&header.header()[..], inner].concat(),
            Ok(Message::Ping(ping)) => [&ping.write()[..], payload.get(28..).unwrap_or_default()].concat(),
            Err(_) => continue,
        };
        assert_eq!(written, payload, "seed {seed}");
    }
}

#[test]
fn reasons_have_names_of_their_own() {
    let names: BTreeSet<&str> = Dropped::ALL.iter().map(|one| one.name()).collect();
    assert_eq!(names.len(), Dropped::ALL.len());
    for (at, one) in Dropped::ALL.iter().enumerate() {
        assert_eq!(*one as usize, at);
    }
}
