//! What the kernel says before each packet of a device that has offloads ([`Virtio`]), and checksums of whole packets.

use portreeve_gue::ipv4::Transport;
use tun_rs::checksum;

/// Number of bytes of what precedes a packet.
pub const VIRTIO: usize = tun_rs::VIRTIO_NET_HDR_LEN;

/// The longest packet of a device with offloads.
pub const LARGEST: usize = 65_535;

/// The IPv4 header without options.
pub const IPV4: usize = 20;

/// The UDP header.
pub const UDP: usize = 8;

/// The TCP header without options.
pub const TCP: usize = 20;

/// The checksum of the packet is the sender's part of it only: the sum of the addresses, the protocol and the length.
const NEEDS_CHECKSUM: u8 = 1;
const SEGMENTS_TCP: u8 = 1;
const SEGMENTS_UDP: u8 = 5;
/// Stands beside [`SEGMENTS_TCP`].
const CONGESTION: u8 = 0x80;

/// What precedes a packet (struct `virtio_net_hdr`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Virtio {
    /// Where the bytes begin that the missing checksum covers, and the place of it after that. `None`: none is missing.
    pub missing: Option<(usize, usize)>,
    /// The packet is several, with this many bytes each after headers.
    pub several: Option<(Transport, usize)>,
}

// === impl Virtio ===

impl Virtio {
    /// Reads what precedes a packet.
    pub fn read(bytes: [u8; VIRTIO]) -> Self {
        let [flags, kind, _, _, a, b, c, d, e, f] = bytes;
        let number = |pair| usize::from(u16::from_ne_bytes(pair));
        let missing = (flags & NEEDS_CHECKSUM != 0).then(|| (number([c, d]), number([e, f])));
        let transport = match kind & !CONGESTION {
            SEGMENTS_TCP => Some(Transport::Tcp),
            SEGMENTS_UDP => Some(Transport::Udp),
            _ => None,
        };
        let several = transport.map(|transport| (transport, number([a, b])));
        Self { missing, several: several.filter(|(_, size)| *size > 0) }
    }

    /// Returns the bytes for a packet whose headers have this length.
    pub fn write(self, headers: usize) -> [u8; VIRTIO] {
        let pair = |number: usize| u16::try_from(number).unwrap_or(u16::MAX).to_ne_bytes();
        let (mut bytes, [h, i]) = ([0; VIRTIO], pair(headers));
        if let Some((start, place)) = self.missing {
            bytes[0] = NEEDS_CHECKSUM;
            bytes[6..8].copy_from_slice(&pair(start));
            bytes[8..10].copy_from_slice(&pair(place));
        }
        if let Some((transport, size)) = self.several {
            bytes[1] = if transport == Transport::Tcp { SEGMENTS_TCP } else { SEGMENTS_UDP };
            bytes[2..4].copy_from_slice(&[h, i]);
            bytes[4..6].copy_from_slice(&pair(size));
        }
        bytes
    }
}

/// Returns where a protocol has its checksum in its header.
pub fn place(transport: Transport) -> usize {
    match transport {
        Transport::Tcp => 16,
        Transport::Udp => 6,
    }
}

/// Returns the sum over what a transport protocol's checksum covers in an IPv4 packet. Over a right checksum, it is `0xffff`.
pub fn sum(packet: &[u8], header: usize) -> u16 {
    checksum(&packet[header..], u64::from(pseudo(packet, header)))
}

/// Returns the sum of addresses, protocol and length.
pub fn pseudo(packet: &[u8], header: usize) -> u16 {
    checksum(&packet[12..20], u64::from(packet[9]) + (packet.len() - header) as u64)
}

/// Writes the checksum of an IPv4 header, and the length of the packet.
pub fn seal(packet: &mut [u8], header: usize) {
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[10..12].fill(0);
    let of_header = !checksum(&packet[..header], 0);
    packet[10..12].copy_from_slice(&of_header.to_be_bytes());
}

/// Returns the checksum of a sum, as UDP writes it: 0 would mean that there is none.
pub fn written(sum: u16) -> [u8; 2] {
    match !sum {
        0 => [0xff; 2],
        checksum => checksum.to_be_bytes(),
    }
}

#[cfg(test)]
pub mod samples {
    //! Packets for tests, with checksums from elsewhere than the code under test.

    use portreeve_gue::ipv4::checksum;

    use super::*;

    /// What a packet is made of.
    #[derive(Clone, Copy, Debug)]
    pub struct Sample {
        pub transport: Transport,
        pub port: u16,
        pub ttl: u8,
        pub id: u16,
        pub sequence: u32,
        pub acknowledged: u32,
        pub flags: u8,
        /// Number of bytes of TCP options, of what follows the headers, and of the flow before that.
        pub options: usize,
        pub length: usize,
        pub before: usize,
    }

    pub const TCP_SAMPLE: Sample = Sample {
        transport: Transport::Tcp,
        port: 80,
        ttl: 64,
        id: 0xffff,
        sequence: 0xffff_ff00,
        acknowledged: 7,
        flags: 0x18,
        options: 0,
        length: 5,
        before: 0,
    };
    pub const UDP_SAMPLE: Sample = Sample { transport: Transport::Udp, ..TCP_SAMPLE };

    // === impl Sample ===

    impl Sample {
        fn headers(&self) -> usize {
            IPV4 + if self.transport == Transport::Tcp { TCP + self.options } else { UDP }
        }

        /// Returns the whole packet.
        pub fn packet(&self) -> Vec<u8> {
            let mut packet = vec![0; IPV4];
            let total = self.headers() + self.length;
            (packet[0], packet[6], packet[8]) = (0x45, 0x40, self.ttl);
            packet[2..4].copy_from_slice(&(total as u16).to_be_bytes());
            packet[4..6].copy_from_slice(&self.id.to_be_bytes());
            packet[9] = if self.transport == Transport::Tcp { 6 } else { 17 };
            packet[12..20].copy_from_slice(&[203, 0, 113, 7, 10, 244, 1, 5]);
            let of_header = checksum(&packet).to_be_bytes();
            packet[10..12].copy_from_slice(&of_header);
            packet.extend(40_000_u16.to_be_bytes().into_iter().chain(self.port.to_be_bytes()));
            match self.transport {
                Transport::Tcp => {
                    packet.extend(
                        self.sequence.to_be_bytes().into_iter().chain(self.acknowledged.to_be_bytes()),
                    );
                    packet.extend([((TCP + self.options) / 4 * 16) as u8, self.flags, 1, 2, 0, 0, 0, 0]);
                    packet.extend(vec![1; self.options]);
                }
                Transport::Udp => packet.extend(((UDP + self.length) as u32 * 0x1_0000).to_be_bytes()),
            }
            packet.extend((0..self.length).map(|index| ((self.before + index) % 251) as u8));
            let covered = [&self.addresses(&packet)[..], &packet[IPV4..]].concat();
            let at = IPV4 + place(self.transport);
            packet[at..at + 2].copy_from_slice(&written(!checksum(&covered)));
            packet
        }

        fn addresses(&self, packet: &[u8]) -> Vec<u8> {
            let length = ((packet.len() - IPV4) as u16).to_be_bytes();
            [&packet[12..20], &[0, packet[9]], &length].concat()
        }

        /// Returns a packet with only the sender's part of the checksum.
        pub fn without_checksum(&self, packet: &[u8]) -> Vec<u8> {
            let (mut packet, at) = (packet.to_vec(), IPV4 + place(self.transport));
            let part = !checksum(&self.addresses(&packet));
            packet[at..at + 2].copy_from_slice(&part.to_be_bytes());
            packet
        }

        /// Returns what precedes such a packet, which may consist of segments of a size.
        pub fn virtio(&self, size: Option<usize>) -> [u8; VIRTIO] {
            let several = size.map(|size| (self.transport, size));
            Virtio { missing: Some((IPV4, place(self.transport))), several }.write(self.headers())
        }

        /// Returns the segment of a number that is made of the packet.
        pub fn segment(&self, index: usize, size: usize) -> Self {
            let before = index * size;
            let length = size.min(self.length - before);
            let is_last = before + length == self.length;
            let flags = self.flags & if is_last { 0xff } else { !0x09 };
            let (id, sequence) =
                (self.id.wrapping_add(index as u16), self.sequence.wrapping_add(before as u32));
            Self { id, sequence, flags, length, before, ..*self }
        }
    }
}
