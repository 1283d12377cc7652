//! What the tunnels look at in IPv4 packets: [`Packet::read`], and the checksum ([`checksum`]).

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::dropped::Dropped;

/// The transport protocols that pass tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A transport protocol, a source and a destination.
pub type Flow = (Transport, SocketAddrV4, SocketAddrV4);

/// The ends of a packet, and what else is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it is from.
    pub source: SocketAddrV4,
    /// Where it goes.
    pub destination: SocketAddrV4,
    /// Its transport protocol.
    pub transport: Transport,
    /// Number of bytes of its IPv4 header, with options.
    pub header: usize,
    /// Number of bytes of the whole packet.
    pub length: usize,
    /// Whether it must not be divided.
    pub dont_fragment: bool,
    /// The type of service.
    pub tos: u8,
}

/// The header without options.
const SHORTEST: usize = 20;

// === impl Packet ===

impl Packet {
    /// Reads the beginning of a packet.
    ///
    /// # Errors
    /// Returns why it doesn't pass tunnels: it is no whole IPv4 packet, a fragment, or neither TCP nor UDP.
    pub fn read(packet: &[u8]) -> Result<Self, Dropped> {
        let [first, tos, length_high, length_low, _, _, flags, offset, _, protocol, _, _, rest @ ..] = packet
        else {
            return Err(Dropped::Inner);
        };
        let header = usize::from(first & 0x0f) * 4;
        let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
        if first >> 4 != 4 || header < SHORTEST || header + 4 > length || length > packet.len() {
            return Err(Dropped::Inner);
        }
        if (flags & 0x3f, *offset) != (0, 0) {
            return Err(Dropped::Fragment);
        }
        let transport = match protocol {
            6 => Transport::Tcp,
            17 => Transport::Udp,
            _ => return Err(Dropped::Transport),
        };
        let [a, b, c, d, e, f, g, h, ..] = *rest else { return Err(Dropped::Inner) };
        let Some(&[i, j, k, l]) = packet.get(header..header + 4) else { return Err(Dropped::Inner) };
        Ok(Self {
            source: SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([i, j])),
            destination: SocketAddrV4::new(Ipv4Addr::new(e, f, g, h), u16::from_be_bytes([k, l])),
            transport,
            header,
            length,
            dont_fragment: flags & 0x40 != 0,
            tos: *tos,
        })
    }

    /// Returns what is the same in all packets from one program to another.
    pub fn flow(&self) -> Flow {
        (self.transport, self.source, self.destination)
    }
}

/// Returns the checksum of the Internet protocols (RFC 1071) of these bytes. Over bytes that contain their own checksum, it is 0.
pub fn checksum(bytes: &[u8]) -> u16 {
    let (words, odd) = bytes.as_chunks::<2>();
    let words = words.iter().map(|word| u64::from(u16::from_be_bytes(*word)));
    let odd = odd.first().map(|byte| u64::from(*byte) << 8);
    let mut sum: u64 = words.chain(odd).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}
