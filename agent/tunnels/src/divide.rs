//! Divides what a device hands over into packets: [`Handed`].

use portreeve_gue::ipv4::Transport;
use tun_rs::checksum;

use crate::offload::{IPV4, TCP, UDP, VIRTIO, Virtio, place, seal, sum, written};

/// TCP flags: those that only the last segment has, and the one that only the first has.
const LAST: u8 = 0x01 | 0x08;
const FIRST: u8 = 0x80;

/// A packet of the device, of which packets are made.
#[derive(Debug)]
pub struct Handed<'a> {
    packet: &'a [u8],
    form: Form,
    /// How many were made, and the end of the bytes that are in them.
    made: usize,
    taken: usize,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    /// It is one. Its checksum may be missing.
    One(Option<(usize, usize)>),
    /// It is several of this size, after headers: of IPv4, and of both.
    Several { transport: Transport, header: usize, headers: usize, size: usize },
}

// === impl Handed ===

impl<'a> Handed<'a> {
    /// Takes what a device with or without offloads handed over.
    pub fn new(bytes: &'a [u8], offloads: bool) -> Self {
        let (virtio, packet) = match bytes.split_first_chunk::<VIRTIO>() {
            Some((virtio, packet)) if offloads => (Virtio::read(*virtio), packet),
            _ => (Virtio::default(), bytes),
        };
        let several = virtio.several.and_then(|(transport, size)| several(packet, transport, size));
        let form = several.unwrap_or(Form::One(virtio.missing));
        let taken = if let Form::Several { headers, .. } = form { headers } else { 0 };
        Self { packet, form, made: 0, taken }
    }

    /// Returns whether all packets are made.
    pub fn is_done(&self) -> bool {
        self.taken == self.packet.len()
    }

    /// Writes the next packet into a room that has enough of it, and returns the packet's length.
    pub fn next(&mut self, room: &mut [u8]) -> usize {
        match self.form {
            Form::One(missing) => {
                let room = &mut room[..self.packet.len()];
                room.copy_from_slice(self.packet);
                if let Some(at) = missing {
                    complete(room, at);
                }
                self.taken = room.len();
                room.len()
            }
            Form::Several { transport, header, headers, size } => {
                let end = self.packet.len().min(self.taken + size);
                let length = headers + end - self.taken;
                let segment = &mut room[..length];
                segment[..headers].copy_from_slice(&self.packet[..headers]);
                segment[headers..].copy_from_slice(&self.packet[self.taken..end]);
                let before = self.taken - headers;
                self.taken = end;
                number(segment, self.made);
                seal(segment, header);
                match transport {
                    Transport::Tcp => seal_tcp(segment, header, before, self.is_done()),
                    Transport::Udp => seal_udp(segment, header),
                }
                self.made += 1;
                length
            }
        }
    }
}

/// Returns how a packet is divided. `None`: it is not as the kernel makes it.
fn several(packet: &[u8], transport: Transport, size: usize) -> Option<Form> {
    let header = usize::from(packet.first().filter(|first| **first >> 4 == 4)? & 0x0f) * 4;
    let of_transport = match transport {
        Transport::Tcp => usize::from(packet.get(header + 12)? >> 4) * 4,
        Transport::Udp => UDP,
    };
    let headers = header + of_transport;
    let least = if transport == Transport::Tcp { TCP } else { UDP };
    let fits = header >= IPV4 && of_transport >= least && headers < packet.len();
    fits.then_some(Form::Several { transport, header, headers, size })
}

/// Writes a checksum that the kernel left out.
fn complete(packet: &mut [u8], (start, place): (usize, usize)) {
    if start + place + 2 > packet.len() {
        return;
    }
    let checksum = written(checksum(&packet[start..], 0));
    packet[start + place..][..2].copy_from_slice(&checksum);
}

/// Counts on in the IPv4 header's identification.
fn number(segment: &mut [u8], made: usize) {
    let id = u16::from_be_bytes([segment[4], segment[5]]).wrapping_add(made as u16);
    segment[4..6].copy_from_slice(&id.to_be_bytes());
}

/// Writes what differs between segments of TCP, of which this many bytes are before this one.
fn seal_tcp(segment: &mut [u8], header: usize, before: usize, is_last: bool) {
    let tcp = &mut segment[header..];
    let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]).wrapping_add(before as u32);
    tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
    tcp[13] &= if is_last { 0xff } else { !LAST } & if before == 0 { 0xff } else { !FIRST };
    seal_transport(segment, header + place(Transport::Tcp), header);
}

/// Writes what differs between segments of UDP.
fn seal_udp(segment: &mut [u8], header: usize) {
    let length = u16::try_from(segment.len() - header).unwrap_or(u16::MAX);
    segment[header + 4..header + 6].copy_from_slice(&length.to_be_bytes());
    seal_transport(segment, header + place(Transport::Udp), header);
}

fn seal_transport(segment: &mut [u8], at: usize, header: usize) {
    segment[at..at + 2].fill(0);
    let checksum = written(sum(segment, header));
    segment[at..at + 2].copy_from_slice(&checksum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::samples::{Sample, TCP_SAMPLE, UDP_SAMPLE};

    fn divided(bytes: &[u8]) -> Vec<Vec<u8>> {
        let (mut handed, mut room, mut all) = (Handed::new(bytes, true), [0; 4096], Vec::new());
        while !handed.is_done() {
            let length = handed.next(&mut room);
            all.push(room[..length].to_vec());
        }
        all
    }

    #[test]
    fn missing_checksums_are_completed() {
        let cases = [TCP_SAMPLE, UDP_SAMPLE].into_iter().flat_map(|sample| {
            [0, 1, 2, 63, 64, 65, 1399, 1400, 1401].map(|length| Sample { length, ..sample })
        });
        for sample in cases {
            let packet = sample.packet();
            let handed = [&sample.virtio(None)[..], &sample.without_checksum(&packet)].concat();
            assert_eq!(divided(&handed), [packet], "{sample:?}");
        }
    }

    #[test]
    fn packet_with_a_checksum_or_strange_bytes_passes_as_it_is() {
        let packet = UDP_SAMPLE.packet();
        let plain = [&[0; VIRTIO][..], &packet].concat();
        assert_eq!(divided(&plain), std::slice::from_ref(&packet));
        // A device without offloads puts nothing before it.
        let mut room = [0; 4096];
        assert_eq!(Handed::new(&packet, false).next(&mut room), packet.len());
        assert_eq!(room[..packet.len()], packet);
        // The checksum's place is outside, and an IPv6 packet of segments.
        let outside = Virtio { missing: Some((65_000, 65_000)), several: None }.write(28);
        assert_eq!(divided(&[&outside[..], &packet].concat()), std::slice::from_ref(&packet));
        let several = Virtio { missing: None, several: Some((Transport::Udp, 10)) }.write(28);
        let strange = [&several[..], &[0x60; 80]].concat();
        assert_eq!(divided(&strange), [vec![0x60; 80]]);
        for length in 0..=45 {
            let cut = [&TCP_SAMPLE.virtio(Some(10))[..], &TCP_SAMPLE.packet()[..length]].concat();
            assert!(divided(&cut).iter().all(|packet| packet.len() <= length), "{length}");
        }
    }

    #[test]
    fn segments_have_their_headers_and_checksums() {
        let cases =
            [TCP_SAMPLE, Sample { options: 12, ..TCP_SAMPLE }, UDP_SAMPLE].into_iter().flat_map(|sample| {
                [(2800, 1400), (2801, 1400), (1399, 1400), (300, 7), (65_000, 1401)].map(|of| (sample, of))
            });
        for (sample, (length, size)) in cases {
            let whole = Sample { length, ..sample };
            let packet = whole.without_checksum(&whole.packet());
            let segments = divided(&[&whole.virtio(Some(size))[..], &packet].concat());
            assert_eq!(segments.len(), length.div_ceil(size), "{whole:?}");
            for (index, segment) in segments.iter().enumerate() {
                assert_eq!(*segment, whole.segment(index, size).packet(), "{index} of {whole:?} by {size}");
            }
        }
    }
}
