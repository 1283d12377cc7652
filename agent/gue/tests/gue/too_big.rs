//! The answer to packets that are too big.

use portreeve_gue::too_big::{ANSWER, answer};

use super::*;

#[test]
fn answer_quotes_the_packet_and_tells_what_would_pass() {
    let packet = packet(Transport::Udp, PUBLIC, ENDPOINT, 1425);
    let answer = answer(&packet).unwrap();
    assert_eq!(answer.len(), ANSWER);
    assert_eq!(answer[..10], [0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1]);
    assert_eq!((&answer[12..16], &answer[16..20]), (&ENDPOINT.ip().octets()[..], &PUBLIC.ip().octets()[..]));
    assert_eq!(answer[20..22], [3, 4]);
    assert_eq!(answer[24..28], [0, 0, 0x05, 0x78], "1,400 bytes");
    assert_eq!(answer[28..], packet[..28]);
    assert_eq!((checksum(&answer[..20]), checksum(&answer[20..])), (0, 0));
}

#[test]
fn packet_that_is_shorter_than_its_quotation_gets_none() {
    assert_eq!(answer(&[0x45; 27]), None);
}

#[test]
fn checksum_is_that_of_the_example_and_odd_bytes_count_as_high_ones() {
    assert_eq!(checksum(&bytes(INNER)[..20]), 0);
    assert_eq!(checksum(&[0x12]), !0x1200);
    assert_eq!(checksum(&[0xff, 0xff, 0x00, 0x01]), !1);
    assert_eq!(checksum(&[]), !0);
}
