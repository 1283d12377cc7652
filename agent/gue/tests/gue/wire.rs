//! The payload, byte by byte.

use portreeve_gue::ipv4::Packet;
use portreeve_gue::wire::{Message, read, unknown_key};

use super::*;

#[test]
fn example_is_written_and_read_as_it_is_documented() {
    let inner = bytes(INNER);
    let payload = bytes(&format!("{DATA_HEADER}{INNER}"));
    assert_eq!(data(IDS, key(), &inner), payload);
    assert_eq!(read(&payload), Ok(Message::Data(Data { ids: IDS, key: key() }, &inner)));
    let packet = Packet::read(&inner).unwrap();
    assert_eq!((packet.source, packet.destination), (PUBLIC, ENDPOINT));
    assert_eq!((packet.transport, packet.header, packet.length), (Transport::Udp, 20, 32));
    assert!(packet.dont_fragment);

    let ping = Ping { ids: IDS, key: key(), tunnel: TUNNEL };
    assert_eq!(ping.write()[..], bytes(PING));
    assert_eq!(read(&bytes(PING)), Ok(Message::Ping(ping)));
}

#[test]
fn everything_else_is_dropped_for_a_reason() {
    let rest = "00010003000102030405060708090a0b0c0d0e0f00000004";
    for (start, dropped) in [
        ("4504a000", Dropped::Version),
        ("8504a000", Dropped::Version),
        ("0004a000", Dropped::HeaderLength),
        ("0604a000", Dropped::HeaderLength),
        ("2701a000", Dropped::HeaderLength),
        ("2501a000", Dropped::OldPing),
        ("2502a000", Dropped::HeaderLength),
        ("2602a000", Dropped::ControlType),
        ("2601a001", Dropped::Flags),
        ("05042000", Dropped::Flags),
        ("0529a000", Dropped::Protocol),
    ] {
        assert_eq!(read(&bytes(&format!("{start}{rest}"))), Err(dropped), "{start}");
    }
    for length in 0..28 {
        let short = &bytes(PING)[..length];
        let expected = if length == 8 { Dropped::Keyless } else { Dropped::Short };
        assert_eq!(read(short), Err(expected), "{length}");
    }
    assert_eq!(read(&bytes(DATA_HEADER)[..23]), Err(Dropped::Short));
}

#[test]
fn packets_without_a_key_are_told_from_those_with_a_wrong_one() {
    let keyless = bytes(&format!("0504a00000000004{INNER}"));
    assert_eq!(unknown_key(&keyless), Dropped::Keyless);
    assert_eq!(unknown_key(&bytes(&format!("{DATA_HEADER}{INNER}"))), Dropped::Key);
    assert_eq!(unknown_key(&keyless[..20]), Dropped::Key);
    // A key that looks like the beginning of a packet counts where it is known.
    let inner = packet(Transport::Udp, ENDPOINT, PUBLIC, 0);
    let length = u8::try_from(16 + inner.len()).unwrap();
    let key = TunnelKey::from([0x45, 0, 0, length, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    let mut gateway = Gateway::new(true);
    gateway.put(&"a".into(), LoadBalancer { key, ..mk_load_balancer() }).unwrap();
    gateway.receive(NODE, &Ping { ids: IDS, key, tunnel: TUNNEL }.write(), 0).unwrap();
    let payload = data(IDS, key, &inner);
    assert_eq!(unknown_key(&payload), Dropped::Keyless);
    assert!(gateway.receive(NODE, &payload, 0).is_ok());
}

#[test]
fn inner_packets_that_do_not_pass_tunnels_are_told_apart() {
    let good = reply();
    assert!(Packet::read(&good).is_ok());
    let with = |at: usize, value: u8| {
        let mut packet = good.clone();
        packet[at] = value;
        Packet::read(&packet).err()
    };
    for (at, value, dropped) in [
        (0, 0x65, Dropped::Inner),
        (0, 0x44, Dropped::Inner),
        (0, 0x4f, Dropped::Inner),
        (3, 0xff, Dropped::Inner),
        (3, 23, Dropped::Inner),
        (6, 0x20, Dropped::Fragment),
        (7, 1, Dropped::Fragment),
        (9, 1, Dropped::Transport),
    ] {
        assert_eq!(with(at, value), Some(dropped), "{at} {value}");
    }
    for length in 0..good.len() {
        assert_eq!(Packet::read(&good[..length]).err(), Some(Dropped::Inner), "{length}");
    }
    // Options precede the ports.
    let mut longer = good.clone();
    (longer[0], longer[3]) = (0x46, longer[3] + 4);
    longer.splice(20..20, [1, 1, 1, 0]);
    let read = Packet::read(&longer).unwrap();
    assert_eq!((read.header, read.source, read.destination), (24, ENDPOINT, PUBLIC));
    // Bytes after the packet are not a part of it.
    let padded = [good.as_slice(), &[0; 9]].concat();
    assert_eq!(Packet::read(&padded).map(|packet| packet.length), Ok(good.len()));
}

#[test]
fn ids_of_a_tunnel_are_its_halves_the_low_one_also_cut() {
    let ids = |group, service| Ids { group, service };
    assert_eq!(Ids::of_tunnel(4), [ids(0, 4), ids(0, 4)]);
    assert_eq!(Ids::of_tunnel(0x0001_0203), [ids(1, 0x203), ids(1, 3)]);
}
