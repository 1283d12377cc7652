//! The answer to a packet that is too big for a tunnel: ICMP type 3, code 4 (RFC 1191). Entry point: [`answer`].

use crate::ipv4::checksum;

/// Number of bytes of the packet that the answer quotes: its header without options, and 8 more (seed C.4).
const QUOTED: usize = 28;

/// Number of bytes of an answer.
pub const ANSWER: usize = 20 + 8 + QUOTED;

/// What the sender is told to send at most (seed C.4).
pub const MTU: u16 = 1400;

/// Returns the answer to a packet, from the packet's destination to its source. `None` if the packet is shorter than what would
/// be quoted.
pub fn answer(packet: &[u8]) -> Option<[u8; ANSWER]> {
    let quoted = packet.get(..QUOTED)?;
    let mut answer = [0; ANSWER];
    let length = u16::try_from(ANSWER).unwrap_or_default().to_be_bytes();
    // Version and length of the header, its own length, time to live, ICMP.
    answer[0] = 0x45;
    answer[2..4].copy_from_slice(&length);
    (answer[8], answer[9]) = (64, 1);
    answer[12..16].copy_from_slice(&quoted[16..20]);
    answer[16..20].copy_from_slice(&quoted[12..16]);
    let of_header = checksum(&answer[..20]).to_be_bytes();
    answer[10..12].copy_from_slice(&of_header);
    // Destination unreachable, fragmentation needed.
    (answer[20], answer[21]) = (3, 4);
    answer[26..28].copy_from_slice(&MTU.to_be_bytes());
    answer[28..].copy_from_slice(quoted);
    let of_message = checksum(&answer[20..]).to_be_bytes();
    answer[22..24].copy_from_slice(&of_message);
    Some(answer)
}
