//! Merges packets of a flow into what the device takes at once: [`Merged`].

use portreeve_gue::ipv4::{Flow, Packet, Transport};
use tun_rs::AsyncDevice;

use crate::offload::{IPV4, LARGEST, TCP, UDP, VIRTIO, Virtio, place, pseudo, seal, sum};

/// The most packets of UDP that the kernel takes as one.
const MOST: usize = 64;

/// TCP flags of packets that can be merged: `ACK`, and on the last one `PSH`.
const ACK: u8 = 0x10;
const PUSH: u8 = 0x08;

/// Packets for a device, some of them merged.
#[derive(Debug)]
pub struct Merged {
    groups: Vec<Group>,
    number: usize,
    offloads: bool,
    /// The device takes merged packets of UDP, as since Linux 6.2.
    udp: bool,
}

/// Packets of a flow.
#[derive(Debug, Default)]
struct Group {
    /// What precedes the first one, the first one, and what is in the others.
    bytes: Vec<u8>,
    flow: Option<Flow>,
    shape: Shape,
    packets: usize,
    /// No other packet can follow.
    full: bool,
}

/// What decides whether a packet can follow another one.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    /// The length of the headers.
    headers: usize,
    /// The number of bytes after them.
    size: usize,
    /// No other packet can follow.
    last: bool,
}

// === impl Merged ===

impl Merged {
    /// Creates an empty list of packets for a device.
    pub fn of(device: &AsyncDevice) -> Self {
        Self::new(device.tcp_gso(), device.udp_gso())
    }

    /// Creates an empty list of packets for a device with or without offloads, and those of UDP.
    fn new(offloads: bool, udp: bool) -> Self {
        Self { groups: Vec::new(), number: 0, offloads, udp }
    }

    /// Adds a packet. Packets of one flow stay in order.
    pub fn push(&mut self, packet: &[u8]) {
        let read = Packet::read(packet).ok().filter(|_| self.offloads);
        let flow = read.map(|read| read.flow());
        let merges = |read: &Packet| self.udp || read.transport == Transport::Tcp;
        let shape = read.filter(merges).and_then(|read| Shape::of(packet, &read));
        if let (Some(flow), Some(shape)) = (flow, shape) {
            let before = self.groups[..self.number].iter_mut().rev();
            let before = before.into_iter().find(|group| group.flow == Some(flow));
            if before.is_some_and(|before| before.append(packet, shape)) {
                return;
            }
        }
        if self.number == self.groups.len() {
            self.groups.push(Group::default());
        }
        self.groups[self.number].begin(packet, flow, shape);
        self.number += 1;
    }

    /// Returns what the device takes, and removes it with the next packet after [`Merged::clear`].
    pub fn finish(&mut self) -> impl Iterator<Item = &[u8]> {
        let from = if self.offloads { 0 } else { VIRTIO };
        self.groups[..self.number].iter_mut().map(move |group| &group.finish()[from..])
    }

    /// Removes all packets.
    pub fn clear(&mut self) {
        self.number = 0;
    }
}

// === impl Group ===

impl Group {
    fn begin(&mut self, packet: &[u8], flow: Option<Flow>, shape: Option<Shape>) {
        self.bytes.clear();
        self.bytes.resize(VIRTIO, 0);
        self.bytes.extend_from_slice(packet);
        (self.flow, self.packets) = (flow, 1);
        self.full = shape.is_none_or(|shape| shape.last);
        self.shape = shape.unwrap_or_default();
    }

    /// Adds a packet of the same flow if it can follow.
    fn append(&mut self, packet: &[u8], shape: Shape) -> bool {
        let (own, first) = (self.shape, &self.bytes[VIRTIO..]);
        let fits = !self.full
            && shape.headers == own.headers
            && shape.size <= own.size
            && first.len() + shape.size <= LARGEST
            && is_alike(first, packet, own.headers);
        let follows = || match self.flow {
            Some((Transport::Tcp, ..)) => sequence(packet) == next(first, own.headers),
            _ => self.packets < MOST,
        };
        // The kernel trusts the checksums of merged packets.
        let is_right = || (self.packets > 1 || sum(first, IPV4) == 0xffff) && sum(packet, IPV4) == 0xffff;
        if !fits || !follows() || !is_right() {
            return false;
        }
        self.bytes.extend_from_slice(&packet[shape.headers..]);
        self.packets += 1;
        self.full = shape.last || shape.size < own.size;
        if let (Some((Transport::Tcp, ..)), true) = (self.flow, shape.last) {
            self.bytes[VIRTIO + IPV4 + 13] |= PUSH;
        }
        true
    }

    /// Returns what the device takes.
    fn finish(&mut self) -> &[u8] {
        let Some((transport, ..)) = self.flow.filter(|_| self.packets > 1) else { return &self.bytes };
        let (virtio, packet) = self.bytes.split_at_mut(VIRTIO);
        seal(packet, IPV4);
        if transport == Transport::Udp {
            let length = u16::try_from(packet.len() - IPV4).unwrap_or(u16::MAX);
            packet[IPV4 + 4..IPV4 + 6].copy_from_slice(&length.to_be_bytes());
        }
        let (place, sum) = (place(transport), pseudo(packet, IPV4));
        packet[IPV4 + place..][..2].copy_from_slice(&sum.to_be_bytes());
        let several = Some((transport, self.shape.size));
        virtio.copy_from_slice(&Virtio { missing: Some((IPV4, place)), several }.write(self.shape.headers));
        &self.bytes
    }
}

// === impl Shape ===

impl Shape {
    /// Returns a packet's shape. `None`: it stays alone.
    fn of(packet: &[u8], read: &Packet) -> Option<Self> {
        let (rest, last) = match (packet.get(IPV4..)?, read.transport) {
            ([.., _, _], Transport::Tcp) if packet.len() >= IPV4 + TCP => {
                let flags = packet[IPV4 + 13];
                let length = usize::from(packet[IPV4 + 12] >> 4) * 4;
                (length, (flags & !PUSH == ACK && length >= TCP).then_some(flags & PUSH != 0)?)
            }
            ([_, _, _, _, high, low, a, b, ..], Transport::Udp) => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                // Without a checksum, nothing tells whether it is right.
                let merges = length == packet.len() - IPV4 && (*a, *b) != (0, 0);
                (UDP, merges.then_some(false)?)
            }
            _ => return None,
        };
        let headers = IPV4 + rest;
        let size = packet.len().checked_sub(headers).filter(|size| *size > 0)?;
        (read.header == IPV4 && read.length == packet.len()).then_some(Self { headers, size, last })
    }
}

/// Returns whether two packets of a flow have the same type of service, flags, time to live, and TCP acknowledgement and options.
fn is_alike(a: &[u8], b: &[u8], headers: usize) -> bool {
    let of_tcp = |packet: &[u8]| packet[9] == 6;
    let same = (a[1], a[6], a[8]) == (b[1], b[6], b[8]);
    same && (!of_tcp(a) || (a[28..32] == b[28..32] && a[IPV4 + TCP..headers] == b[IPV4 + TCP..headers]))
}

/// Returns the TCP sequence number.
fn sequence(packet: &[u8]) -> u32 {
    u32::from_be_bytes([packet[IPV4 + 4], packet[IPV4 + 5], packet[IPV4 + 6], packet[IPV4 + 7]])
}

/// Returns the TCP sequence number that follows.
fn next(packet: &[u8], headers: usize) -> u32 {
    sequence(packet).wrapping_add((packet.len() - headers) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::samples::{Sample, TCP_SAMPLE, UDP_SAMPLE};

    fn merged(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut merged = Merged::new(true, true);
        packets.iter().for_each(|packet| merged.push(packet));
        let all = merged.finish().map(<[u8]>::to_vec).collect();
        merged.clear();
        assert_eq!(merged.finish().count(), 0);
        all
    }

    fn alone(packet: &[u8]) -> Vec<u8> {
        [&[0; VIRTIO][..], packet].concat()
    }

    #[test]
    fn segments_become_what_they_were_made_of() {
        let cases = [TCP_SAMPLE, Sample { options: 12, ..TCP_SAMPLE }, UDP_SAMPLE]
            .into_iter()
            .flat_map(|sample| [(2800, 1400), (2801, 1400), (300, 7), (64_000, 1401)].map(|of| (sample, of)));
        for (sample, (length, size)) in cases {
            let whole = Sample { length, ..sample };
            let segments: Vec<_> =
                (0..length.div_ceil(size)).map(|index| whole.segment(index, size).packet()).collect();
            let expected = [&whole.virtio(Some(size))[..], &whole.without_checksum(&whole.packet())].concat();
            assert_eq!(merged(&segments), [expected], "{whole:?} by {size}");
        }
    }

    #[test]
    fn packets_that_differ_stay_apart_and_in_order() {
        let [tcp, udp] = [TCP_SAMPLE, UDP_SAMPLE].map(|sample| Sample { length: 101, flags: ACK, ..sample });
        let after = Sample { sequence: tcp.sequence + 101, ..tcp };
        let change = |sample: Sample, at: usize| {
            let mut packet = sample.packet();
            packet[at] ^= 0x08;
            packet
        };
        let cases = [
            ("a gap", tcp.packet(), Sample { sequence: tcp.sequence + 102, ..tcp }.packet()),
            ("a longer one", tcp.packet(), Sample { length: 102, ..after }.packet()),
            ("after PSH", Sample { flags: ACK | PUSH, ..tcp }.packet(), after.packet()),
            ("FIN", tcp.packet(), Sample { flags: ACK | 1, ..after }.packet()),
            ("nothing in it", tcp.packet(), Sample { length: 0, ..after }.packet()),
            ("options", tcp.packet(), Sample { options: 12, ..after }.packet()),
            ("another port", tcp.packet(), Sample { port: 81, ..after }.packet()),
            ("time to live", tcp.packet(), Sample { ttl: 63, ..after }.packet()),
            ("acknowledgement", tcp.packet(), Sample { acknowledged: 9, ..after }.packet()),
            ("a wrong checksum, first", change(tcp, 60), after.packet()),
            ("a wrong checksum, second", tcp.packet(), change(after, 60)),
            ("a wrong checksum, UDP", udp.packet(), change(udp, 60)),
            ("a longer one, UDP", udp.packet(), Sample { length: 102, ..udp }.packet()),
        ];
        for (name, first, second) in cases {
            assert_eq!(merged(&[first.clone(), second.clone()]), [alone(&first), alone(&second)], "{name}");
        }
        let mut unchecked = udp.packet();
        unchecked[26..28].fill(0);
        assert_eq!(merged(&[unchecked.clone(), unchecked.clone()]), [alone(&unchecked), alone(&unchecked)]);
    }

    #[test]
    fn flows_are_merged_beside_each_other_and_a_short_or_64th_packet_is_the_last() {
        let [a, b] = [80, 81].map(|port| Sample { port, length: 100, ..UDP_SAMPLE }.packet());
        let short = Sample { length: 99, ..UDP_SAMPLE }.packet();
        let lengths = |packets: &[Vec<u8>]| merged(packets).iter().map(Vec::len).collect::<Vec<_>>();
        let one = VIRTIO + 28;
        assert_eq!(lengths(&[a.clone(), b.clone(), a.clone(), b.clone()]), [one + 200, one + 200]);
        assert_eq!(lengths(&[a.clone(), short, a.clone()]), [one + 199, one + 100]);
        assert_eq!(lengths(&vec![a.clone(); 65]), [one + 6400, one + 100]);
        let mut without_offloads = Merged::new(false, false);
        (0..2).for_each(|_| without_offloads.push(&a));
        assert!(without_offloads.finish().eq([&a[..], &a[..]]));
        let mut of_tcp = Merged::new(true, false);
        (0..2).for_each(|_| of_tcp.push(&a));
        assert!(of_tcp.finish().eq([&alone(&a)[..], &alone(&a)]));
    }
}
