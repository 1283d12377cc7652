//! The payload of the tunnels' UDP datagrams: [`read`], [`Data::header`] and [`Ping::write`]. All numbers are big-endian.
//!
//! | offset | data | ping |
//! |---|---|---|
//! | 0 | `05`: version 0, no control, 5 words follow the first | `26`: control, 6 words |
//! | 1 | `04`: IPv4 | `01`: a ping |
//! | 2 | `a000`: a group field, and a key of 128 bits | the same |
//! | 4 | group and service, 16 bits each | the same |
//! | 8 | key | the same |
//! | 24 | inner packet | tunnel, 32 bits |

use portreeve_api::c::tunnel_key::TunnelKey;

use crate::dropped::Dropped;

/// Number of bytes before the inner packet.
pub const HEADER: usize = 24;

/// Number of bytes of a ping.
pub const PING: usize = 28;

/// What data begins with.
const DATA_START: [u8; 4] = [0x05, 0x04, 0xa0, 0x00];

/// What a ping begins with.
const PING_START: [u8; 4] = [0x26, 0x01, 0xa0, 0x00];

/// What pings began with until December 2020. They name no tunnel.
const OLD_PING_START: [u8; 4] = [0x25, 0x01, 0xa0, 0x00];

/// Number of bytes before the inner packet in the version of December 2023, which has the tunnel in place of ids and key.
const KEYLESS: usize = 8;

/// The numbers by which a packet names its load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ids {
    /// The account's number.
    pub group: u16,
    /// The load balancer's number in its account.
    pub service: u16,
}

/// The payload of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A packet that passes the tunnel.
    Data(Data, &'a [u8]),
    /// A word from the customer's end, from which EPIC learns where that is.
    Ping(Ping),
}

/// What precedes a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data {
    /// The load balancer.
    pub ids: Ids,
    /// The load balancer's key.
    pub key: TunnelKey,
}

/// A ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// The load balancer.
    pub ids: Ids,
    /// The load balancer's key.
    pub key: TunnelKey,
    /// The tunnel.
    pub tunnel: u32,
}

/// Reads the payload of a datagram.
///
/// # Errors
/// Returns why it is neither data nor a ping.
pub fn read(payload: &[u8]) -> Result<Message<'_>, Dropped> {
    let (start, rest) = payload.split_first_chunk::<4>().ok_or(Dropped::Short)?;
    if start[0] >> 6 != 0 {
        return Err(Dropped::Version);
    }
    match *start {
        DATA_START => {
            let (ids, key, inner) = common(rest).ok_or(Dropped::Short)?;
            Ok(Message::Data(Data { ids, key }, inner))
        }
        PING_START if payload.len() == KEYLESS => Err(Dropped::Keyless),
        PING_START => {
            let (ids, key, rest) = common(rest).ok_or(Dropped::Short)?;
            // What follows is of a later version.
            let tunnel = rest.first_chunk().ok_or(Dropped::Short)?;
            Ok(Message::Ping(Ping { ids, key, tunnel: u32::from_be_bytes(*tunnel) }))
        }
        OLD_PING_START => Err(Dropped::OldPing),
        _ => Err(strange(*start)),
    }
}

/// Reads what data and pings have in common after their first word. Returns it with the rest.
fn common(rest: &[u8]) -> Option<(Ids, TunnelKey, &[u8])> {
    let (ids, rest) = rest.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_first_chunk::<16>()?;
    let [a, b, c, d] = *ids;
    let ids = Ids { group: u16::from_be_bytes([a, b]), service: u16::from_be_bytes([c, d]) };
    Some((ids, TunnelKey::from(*key), rest))
}

/// Returns why data is dropped whose key no load balancer has: it may be of the version without keys.
pub fn unknown_key(payload: &[u8]) -> Dropped {
    match payload.get(KEYLESS..) {
        Some(inner @ [0x45..=0x4f, _, high, low, ..])
            if usize::from(u16::from_be_bytes([*high, *low])) == inner.len() =>
        {
            Dropped::Keyless
        }
        _ => Dropped::Key,
    }
}

/// Returns why a packet with this first word is not read.
fn strange([first, _, flags @ ..]: [u8; 4]) -> Dropped {
    let control = first & 0x20 != 0;
    let length = if control { PING_START[0] } else { DATA_START[0] } & 0x1f;
    match (first & 0x1f == length, flags == DATA_START[2..], control) {
        (false, ..) => Dropped::HeaderLength,
        (_, false, _) => Dropped::Flags,
        (.., true) => Dropped::ControlType,
        (.., false) => Dropped::Protocol,
    }
}

// === impl Data ===

impl Data {
    /// Returns the bytes that precede the inner packet.
    pub fn header(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        write(&mut bytes, DATA_START, self.ids, &self.key);
        bytes
    }
}

// === impl Ping ===

impl Ping {
    /// Returns the bytes of the ping.
    pub fn write(&self) -> [u8; PING] {
        let mut bytes = [0; PING];
        write(&mut bytes, PING_START, self.ids, &self.key);
        bytes[HEADER..].copy_from_slice(&self.tunnel.to_be_bytes());
        bytes
    }
}

fn write(bytes: &mut [u8], start: [u8; 4], ids: Ids, key: &TunnelKey) {
    bytes[..4].copy_from_slice(&start);
    bytes[4..6].copy_from_slice(&ids.group.to_be_bytes());
    bytes[6..8].copy_from_slice(&ids.service.to_be_bytes());
    bytes[8..HEADER].copy_from_slice(key.bytes());
}

// === impl Ids ===

impl Ids {
    /// Returns the ids that a client of August 2021 has for a tunnel: its halves. Some cut the low half to 8 bits.
    pub fn of_tunnel(tunnel: u32) -> [Self; 2] {
        let [a, b, c, d] = tunnel.to_be_bytes();
        let group = u16::from_be_bytes([a, b]);
        [Self { group, service: u16::from_be_bytes([c, d]) }, Self { group, service: d.into() }]
    }
}
