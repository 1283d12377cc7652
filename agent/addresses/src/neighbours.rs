//! The question which machine of a link has an IPv6 address: [`solicitation`] asks it, and [`owner`] reads the answers. (For
//! IPv4, see [`crate::frames::arp_probe`].)
//!
//! The question is that of duplicate address detection (RFC 4862 section 5.4): a Neighbour Solicitation from the unspecified
//! address, which changes no neighbour's cache. A machine that has the address answers to all nodes. A machine that is about to
//! take it asks the same question.

use std::net::Ipv6Addr;

use crate::frames::{HOP_LIMIT, ICMPV6, checksum, ethernet};

/// The nonce of these solicitations (RFC 3971 section 5.3.2). It tells nodes of the cluster apart from other machines: which of
/// the nodes takes an address is decided by its Lease, and they mustn't scare each other off.
const NONCE: [u8; 6] = *b"PRTRVE";

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// The flag of an advertisement that answers a solicitation with a source.
const SOLICITED: u8 = 0x40;

const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
const NONCE_OPTION: u8 = 14;

/// Offsets in a frame: the IPv6 header, and the ICMPv6 message.
const IPV6: usize = 14;
const MESSAGE: usize = 54;
/// Length of a message without options.
const HEAD: usize = 24;

/// A Neighbour Solicitation or Advertisement that every receiver must accept (RFC 4861 sections 7.1.1 and 7.1.2).
struct Neighbour<'a> {
    kind: u8,
    flags: u8,
    /// The address that it is about.
    target: Ipv6Addr,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    options: &'a [u8],
}

/// Returns the group that machines with an address join for solicitations of it (RFC 4291 section 2.7.1).
pub(crate) fn group(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// Returns the Neighbour Solicitation for an address, as an Ethernet frame of 86 bytes.
pub fn solicitation(mac: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    let group = group(address);
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(address.octets());
    // One unit of 8 bytes.
    message.extend([NONCE_OPTION, 1]);
    message.extend(NONCE);
    let sum = checksum(Ipv6Addr::UNSPECIFIED, group, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let [.., a, b, c, d] = group.octets();
    let mut frame = ethernet([0x33, 0x33, a, b, c, d], mac, 0x86dd);
    frame.extend([0x60, 0, 0, 0, 0, message.len() as u8, ICMPV6, HOP_LIMIT]);
    frame.extend(Ipv6Addr::UNSPECIFIED.octets());
    frame.extend(group.octets());
    frame.extend(message);
    frame
}

/// Returns the address that the sender of a frame has or is about to take, and the sender's MAC. `None` for other frames, for
/// invalid ones, and for those of [`solicitation`].
pub fn owner(frame: &[u8]) -> Option<(Ipv6Addr, [u8; 6])> {
    let mac: [u8; 6] = frame.get(6..12)?.try_into().ok()?;
    let neighbour = Neighbour::read(frame)?;
    neighbour.is_owners().then_some((neighbour.target, mac))
}

// === impl Neighbour ===

impl<'a> Neighbour<'a> {
    /// Reads a frame. Returns `None` for other frames and for invalid ones.
    fn read(frame: &'a [u8]) -> Option<Self> {
        let header = frame.get(IPV6..MESSAGE)?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let is_icmp = frame[12..14] == [0x86, 0xdd] && header[0] >> 4 == 6 && header[6] == ICMPV6;
        // A frame may end with padding, which is not part of the message.
        let message = frame.get(MESSAGE..MESSAGE + length).filter(|message| message.len() >= HEAD)?;
        let address = |bytes: &[u8]| Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?));
        let (source, destination) = (address(&header[8..24])?, address(&header[24..40])?);
        let found = Self {
            kind: message[0],
            flags: message[4],
            target: address(&message[8..HEAD])?,
            source,
            destination,
            options: &message[HEAD..],
        };
        let is_valid = header[7] == HOP_LIMIT
            && message[1] == 0
            && checksum(source, destination, message) == 0
            && !found.target.is_multicast()
            && are_whole(found.options);
        (is_icmp && is_valid).then_some(found)
    }

    /// Tells whether the sender has the target or is about to take it.
    fn is_owners(&self) -> bool {
        match self.kind {
            ADVERTISEMENT => self.flags & SOLICITED == 0 || !self.destination.is_multicast(),
            SOLICITATION => {
                self.source.is_unspecified()
                    && self.destination == group(self.target)
                    && self.option(SOURCE_LINK_LAYER_ADDRESS).is_none()
                    && self.option(NONCE_OPTION).is_none_or(|nonce| nonce != NONCE)
            }
            _ => false,
        }
    }

    /// Returns the content of the first option of a type.
    fn option(&self, kind: u8) -> Option<&'a [u8]> {
        let mut rest = self.options;
        while let [found, units, ..] = rest {
            let (option, behind) = rest.split_at_checked(usize::from(*units) * 8)?;
            if *found == kind {
                return option.get(2..);
            }
            rest = behind;
        }
        None
    }
}

/// Tells whether no option is empty or longer than the message.
fn are_whole(mut options: &[u8]) -> bool {
    while let [_, units, ..] = options {
        match options.split_at_checked(usize::from(*units) * 8) {
            Some((_, behind)) if *units > 0 => options = behind,
            Some(_) | None => return false,
        }
    }
    options.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::neighbour_advertisement;

    const MAC: [u8; 6] = [0x02, 0xab, 0xcd, 0x01, 0x02, 0x03];

    fn address() -> Ipv6Addr {
        "2001:db8::1:203:7".parse().unwrap()
    }

    /// Changes bytes of a frame (offset, value), and gives it its valid checksum.
    fn mk_changed(frame: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
        let mut changed = frame.to_vec();
        changes.iter().for_each(|(at, value)| changed[*at] = *value);
        let read = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&changed[at..at + 16]).unwrap());
        let (source, destination) = (read(22), read(38));
        changed[56..58].copy_from_slice(&[0, 0]);
        let end = (MESSAGE + usize::from(changed[19])).min(changed.len());
        let sum = checksum(source, destination, &changed[MESSAGE..end]);
        changed[56..58].copy_from_slice(&sum.to_be_bytes());
        changed
    }

    /// The solicitation of another machine: without a nonce, so 8 bytes shorter.
    fn mk_foreign_solicitation() -> Vec<u8> {
        mk_changed(&solicitation(MAC, address())[..78], &[(19, 24)])
    }

    #[test]
    fn solicitation_goes_from_no_address_to_the_group_of_the_address() {
        let golden = [
            0x33, 0x33, 0xff, 0x03, 0x00, 0x07, 0x02, 0xab, 0xcd, 0x01, 0x02, 0x03, 0x86,
            0xdd, // Ethernet
            0x60, 0x00, 0x00, 0x00, 0x00, 0x20, 0x3a, 0xff, // IPv6: 32 bytes of ICMPv6, hop limit 255
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // source
            0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0xff, 0x03, 0x00, 0x07, // destination
            0x87, 0x00, 0x41, 0xe7, 0x00, 0x00, 0x00, 0x00, // type, code, checksum, reserved
            0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x02, 0x03, 0x00, 0x07, // target
            0x0e, 0x01, 0x50, 0x52, 0x54, 0x52, 0x56, 0x45, // nonce
        ];
        assert_eq!(solicitation(MAC, address()), golden);
    }

    #[test]
    fn advertisements_and_solicitations_of_other_machines_tell_their_owner() {
        let advertisement = neighbour_advertisement(MAC, address());
        let mut padded = advertisement.clone();
        padded.extend([0xff; 9]);
        // An answer to a solicitation with a source goes to that source alone.
        let to_one = [(38, 0xfe), (39, 0x80), (58, 0x60)];
        let foreign = mk_foreign_solicitation();
        let table = [
            ("unsolicited advertisement", advertisement.clone()),
            ("padding", padded),
            ("solicited advertisement", mk_changed(&advertisement, &to_one)),
            ("advertisement without options", mk_changed(&advertisement[..78], &[(19, 24)])),
            ("solicitation", foreign),
            ("other nonce", mk_changed(&solicitation(MAC, address()), &[(85, 0)])),
        ];
        for (what, frame) in table {
            assert_eq!(owner(&frame), Some((address(), MAC)), "{what}");
        }
        assert_eq!(owner(&solicitation(MAC, address())), None, "which node takes it is decided by its Lease");
    }

    #[test]
    fn solicitations_that_look_for_a_neighbour_tell_no_owner() {
        let foreign = mk_foreign_solicitation();
        let looking = mk_changed(&foreign, &[(22, 0xfe), (23, 0x80), (37, 9)]);
        assert_eq!(owner(&looking), None, "a source");
        let with_mac = mk_changed(&solicitation(MAC, address()), &[(78, SOURCE_LINK_LAYER_ADDRESS)]);
        assert_eq!(owner(&with_mac), None, "a source link-layer address without a source");
        assert_eq!(owner(&mk_changed(&foreign, &[(53, 8)])), None, "another group");
    }

    #[test]
    fn invalid_frames_tell_no_owner() {
        let frames = [neighbour_advertisement(MAC, address()), mk_foreign_solicitation()];
        for frame in &frames {
            for length in 0..frame.len() {
                assert_eq!(owner(&frame[..length]), None, "{length} bytes");
            }
            for at in 22..frame.len() {
                let mut broken = frame.clone();
                broken[at] ^= 0x01;
                assert_eq!(owner(&broken), None, "wrong checksum at {at}");
            }
            let table: [(&str, &[(usize, u8)]); 9] = [
                ("IPv4", &[(12, 0x08), (13, 0x00)]),
                ("version", &[(14, 0x40)]),
                ("length of 0", &[(19, 0)]),
                ("length over the frame's", &[(18, 0xff)]),
                ("other protocol", &[(20, 17)]),
                ("hop limit: forwarded by a router", &[(21, 254)]),
                ("other message", &[(54, 134)]),
                ("code", &[(55, 1)]),
                ("target is a group", &[(62, 0xff)]),
            ];
            for (what, changes) in table {
                assert_eq!(owner(&mk_changed(frame, changes)), None, "{what}");
            }
        }
        let solicited_to_all = mk_changed(&frames[0], &[(58, 0x60)]);
        assert_eq!(owner(&solicited_to_all), None);
    }

    #[test]
    fn broken_options_make_a_frame_invalid() {
        let frame = neighbour_advertisement(MAC, address());
        for (units, valid) in [(0, false), (1, true), (2, false), (255, false)] {
            assert_eq!(owner(&mk_changed(&frame, &[(79, units)])).is_some(), valid, "{units}");
        }
        for cut in 1..8 {
            let short = mk_changed(&frame[..86 - cut], &[(19, 32 - cut as u8)]);
            assert_eq!(owner(&short), None, "{cut} bytes are missing");
        }
    }

    #[test]
    fn random_bytes_are_read_without_a_panic() {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let frame = neighbour_advertisement(MAC, address());
        for _ in 0..20_000 {
            let changes = [0; 4].map(|_| (12 + usize::from(next()) % (frame.len() - 12), next()));
            let changed = mk_changed(&frame, &changes);
            let target = owner(&changed).map(|(target, _)| target.octets());
            assert!(target.is_none_or(|target| target == changed[62..78]));
        }
    }
}
