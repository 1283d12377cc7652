//! Ethernet frames that tell all neighbours of a link which MAC an address has now: [`arp`] for IPv4,
//! [`neighbour_advertisement`] for IPv6.
//!
//! A neighbour that has the address in its cache with another MAC sends to that MAC until its entry expires, mostly for
//! 30 s and more. These frames correct the entry at once.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Length of an ARP frame without padding, which the driver adds.
pub const ARP_LENGTH: usize = 42;

const BROADCAST: [u8; 6] = [0xff; 6];
/// The Ethernet address of the IPv6 group of all nodes (RFC 2464 section 7).
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
/// The IPv6 group of all nodes on the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Neighbours reject messages that a router could have forwarded (RFC 4861 section 7.1.2).
pub(crate) const HOP_LIMIT: u8 = 255;
pub(crate) const ICMPV6: u8 = 58;

/// Returns the gratuitous ARP frames for an address: a request and a reply, both as broadcasts from the address about
/// the address.
///
/// Some neighbours update their caches only from requests and some only from replies, so both are sent (RFC 5944
/// section 4.6). The reply's target is the MAC itself: Linux takes no other reply as gratuitous.
pub fn arp(mac: [u8; 6], address: Ipv4Addr) -> [[u8; ARP_LENGTH]; 2] {
    [arp_frame(1, mac, ([0; 6], address), address), arp_frame(2, mac, (mac, address), address)]
}

/// Returns the ARP probe for an address: a request from no address, which changes no neighbour's cache (RFC 5227 section
/// 2.1.1).
pub fn arp_probe(mac: [u8; 6], address: Ipv4Addr) -> [u8; ARP_LENGTH] {
    arp_frame(1, mac, ([0; 6], address), Ipv4Addr::UNSPECIFIED)
}

/// Returns who sent an ARP frame: its address and its MAC. `None` for anything else, and for probes.
pub fn arp_sender(frame: &[u8]) -> Option<(Ipv4Addr, [u8; 6])> {
    let head = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0];
    let known = frame.get(12..21)? == head && matches!(frame.get(21)?, 1 | 2);
    let mac: [u8; 6] = frame.get(22..28)?.try_into().ok()?;
    let address: [u8; 4] = frame.get(28..32)?.try_into().ok()?;
    (known && address != [0; 4]).then(|| (address.into(), mac))
}

/// Returns the unsolicited Neighbour Advertisement for an address (RFC 4861 section 7.2.6) as an Ethernet frame of 86
/// bytes.
///
/// It goes from the address to all nodes, with the Override flag, so that neighbours replace the MAC that they have, and
/// without the Solicited and Router flags.
pub fn neighbour_advertisement(mac: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    let message = advertisement(mac, address);
    let mut frame = ethernet(ALL_NODES_MAC, mac, 0x86dd);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend([0, message.len() as u8, ICMPV6, HOP_LIMIT]);
    frame.extend(address.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}

/// Returns an ARP frame (RFC 826) from `mac` and `sender` to a target.
fn arp_frame(
    operation: u8,
    mac: [u8; 6],
    (target, address): ([u8; 6], Ipv4Addr),
    sender: Ipv4Addr,
) -> [u8; ARP_LENGTH] {
    let mut bytes = ethernet(BROADCAST, mac, 0x0806);
    // Ethernet (1) with 6 bytes, IPv4 with 4 bytes.
    bytes.extend([0, 1, 0x08, 0, 6, 4, 0, operation]);
    bytes.extend(mac);
    bytes.extend(sender.octets());
    bytes.extend(target);
    bytes.extend(address.octets());
    let mut frame = [0; ARP_LENGTH];
    frame.copy_from_slice(&bytes);
    frame
}

/// Returns an Ethernet header.
pub(crate) fn ethernet(destination: [u8; 6], source: [u8; 6], kind: u16) -> Vec<u8> {
    [&destination[..], &source[..], &kind.to_be_bytes()[..]].concat()
}

/// Returns the ICMPv6 message, with its checksum.
fn advertisement(mac: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    // Type 136, code 0, checksum, flags (only Override) and reserved bits.
    let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend(address.octets());
    // The Target Link-Layer Address option: type 2, one unit of 8 bytes.
    message.extend([2, 1]);
    message.extend(mac);
    let sum = checksum(address, ALL_NODES, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// Returns the checksum of an ICMPv6 message whose checksum field is 0, with its pseudo-header (RFC 8200 section 8.1);
/// 0 for a message that has its valid checksum.
pub(crate) fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let pseudo = [
        &source.octets()[..],
        &destination.octets()[..],
        &(message.len() as u32).to_be_bytes()[..],
        &[0, 0, 0, ICMPV6][..],
    ];
    let words = pseudo.iter().flat_map(|part| part.chunks(2)).chain(message.chunks(2));
    let mut sum: u32 =
        words.map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x02, 0xab, 0xcd, 0x01, 0x02, 0x03];

    #[test]
    fn arp_request_is_about_its_sender() {
        let [request, _] = arp(MAC, Ipv4Addr::new(192, 0, 2, 7));
        let golden = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0xab, 0xcd, 0x01, 0x02, 0x03, 0x08,
            0x06, // Ethernet
            0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01, // request
            0x02, 0xab, 0xcd, 0x01, 0x02, 0x03, 192, 0, 2, 7, // sender
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 192, 0, 2, 7, // target
        ];
        assert_eq!(request, golden);
    }

    #[test]
    fn arp_reply_is_a_broadcast_about_its_sender() {
        let [_, reply] = arp(MAC, Ipv4Addr::new(192, 0, 2, 7));
        let golden = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0xab, 0xcd, 0x01, 0x02, 0x03, 0x08,
            0x06, // Ethernet
            0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x02, // reply
            0x02, 0xab, 0xcd, 0x01, 0x02, 0x03, 192, 0, 2, 7, // sender
            0x02, 0xab, 0xcd, 0x01, 0x02, 0x03, 192, 0, 2, 7, // target
        ];
        assert_eq!(reply, golden);
    }

    #[test]
    fn advertisement_goes_to_all_nodes_and_overrides() {
        let frame = neighbour_advertisement(MAC, "2001:db8::7".parse().unwrap());
        let golden = [
            0x33, 0x33, 0x00, 0x00, 0x00, 0x01, 0x02, 0xab, 0xcd, 0x01, 0x02, 0x03, 0x86,
            0xdd, // Ethernet
            0x60, 0x00, 0x00, 0x00, 0x00, 0x20, 0x3a, 0xff, // IPv6: 32 bytes of ICMPv6, hop limit 255
            0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x07, // source
            0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, // destination
            0x88, 0x00, 0x29, 0x70, 0x20, 0x00, 0x00, 0x00, // type, code, checksum, flags
            0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x07, // target
            0x02, 0x01, 0x02, 0xab, 0xcd, 0x01, 0x02, 0x03, // target link-layer address
        ];
        assert_eq!(frame, golden);
    }

    #[test]
    fn advertisements_have_valid_checksums() {
        let addresses = ["2001:db8::7", "fd77::1:2", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::1"];
        for (address, mac) in addresses.iter().zip([MAC, [0xff; 6], [0xff; 6], [0; 6]]) {
            let address: Ipv6Addr = address.parse().unwrap();
            let message = &neighbour_advertisement(mac, address)[54..];
            assert_eq!(checksum(address, ALL_NODES, message), 0, "{address}");
        }
    }

    /// The example of RFC 1071 section 3, behind a pseudo-header whose sum is 0x3a + 8.
    #[test]
    fn checksum_folds_carries() {
        let message = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        let none = Ipv6Addr::UNSPECIFIED;
        assert_eq!(checksum(none, none, &message), !(0xddf2 + 0x3a + 8));
    }

    #[test]
    fn probe_tells_no_address_and_answers_tell_theirs() {
        let address = Ipv4Addr::new(192, 0, 2, 7);
        let probe = arp_probe(MAC, address);
        assert_eq!(arp_sender(&probe), None);
        assert_eq!((&probe[28..32], &probe[38..42]), (&[0; 4][..], &address.octets()[..]));
        for frame in arp(MAC, address) {
            assert_eq!(arp_sender(&frame), Some((address, MAC)));
            for length in 0..32 {
                assert_eq!(arp_sender(&frame[..length]), None);
            }
            for at in 12..22 {
                let mut other = frame;
                other[at] ^= 0x80;
                assert_eq!(arp_sender(&other), None, "{at}");
            }
        }
    }
}
