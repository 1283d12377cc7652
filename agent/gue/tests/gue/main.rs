//! The bytes of the tunnels' packets, and what becomes of each.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use portreeve_api::c::tunnel_key::TunnelKey;
use portreeve_gue::dropped::Dropped;
use portreeve_gue::gateway::{Gateway, LoadBalancer, Peer, Received};
use portreeve_gue::ipv4::{Transport, checksum};
use portreeve_gue::wire::{Data, Ids, Ping};

mod client;
mod customer;
mod gateway;
mod hostile;
mod too_big;
mod wire;

/// The load balancer, key and tunnel of the seed's example.
const IDS: Ids = Ids { group: 1, service: 3 };
const KEY: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const TUNNEL: u32 = 4;
/// The ends of the example's packet: the public address with a port, and an endpoint.
const PUBLIC: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 77, 2), 40000);
const ENDPOINT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 244, 1, 5), 8080);
/// The ends of the tunnel.
const EPIC: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 40), 6080);
const NODE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 25), 6080);

/// The example's inner packet, what precedes it in the payload, and a ping.
const INNER: &str = "45000020000140003f112229c0a84d020af401059c401f90000c4b9170696e67";
const DATA_HEADER: &str = "0504a00000010003000102030405060708090a0b0c0d0e0f";
const PING: &str = "2601a00000010003000102030405060708090a0b0c0d0e0f00000004";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|one| u8::try_from(one.to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn key() -> TunnelKey {
    TunnelKey::from(KEY)
}

/// Returns a packet with this many bytes after its ports.
fn packet(transport: Transport, source: SocketAddrV4, destination: SocketAddrV4, more: usize) -> Vec<u8> {
    let mut packet = vec![0; 24 + more];
    let length = u16::try_from(packet.len()).unwrap();
    (packet[0], packet[6], packet[8]) = (0x45, 0x40, 63);
    packet[9] = if transport == Transport::Tcp { 6 } else { 17 };
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[12..16].copy_from_slice(&source.ip().octets());
    packet[16..20].copy_from_slice(&destination.ip().octets());
    packet[20..22].copy_from_slice(&source.port().to_be_bytes());
    packet[22..24].copy_from_slice(&destination.port().to_be_bytes());
    packet
}

/// Returns the payload of a packet through a tunnel.
fn data(ids: Ids, key: TunnelKey, inner: &[u8]) -> Vec<u8> {
    [&Data { ids, key }.header()[..], inner].concat()
}

fn reply() -> Vec<u8> {
    packet(Transport::Udp, ENDPOINT, PUBLIC, 8)
}

fn mk_load_balancer() -> LoadBalancer {
    let endpoints = BTreeMap::from([((Transport::Udp, ENDPOINT), TUNNEL)]);
    let tunnels = BTreeMap::from([(TUNNEL, EPIC)]);
    LoadBalancer { ids: IDS, key: key(), address: *PUBLIC.ip(), tunnels, endpoints }
}
