//! Ranges of addresses, and the text of every refusal (C18).

use std::net::IpAddr;

use portreeve_api::c::range::{Range, RangeError};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn range(text: &str) -> Range {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn both_forms_of_a_range_use_both_ends() {
    for (text, first, last, size) in [
        ("192.0.2.10-192.0.2.20", "192.0.2.10", "192.0.2.20", 11),
        (" 192.0.2.10 - 192.0.2.20 ", "192.0.2.10", "192.0.2.20", 11),
        ("192.0.2.7-192.0.2.7", "192.0.2.7", "192.0.2.7", 1),
        ("10.0.0.254-10.0.1.1", "10.0.0.254", "10.0.1.1", 4),
        ("192.0.2.0/24", "192.0.2.0", "192.0.2.255", 256),
        (" 192.0.2.0 / 24 ", "192.0.2.0", "192.0.2.255", 256),
        ("192.0.2.77/24", "192.0.2.0", "192.0.2.255", 256),
        ("192.168.77.0/29", "192.168.77.0", "192.168.77.7", 8),
        ("192.168.77.5/29", "192.168.77.0", "192.168.77.7", 8),
        ("192.0.2.7/32", "192.0.2.7", "192.0.2.7", 1),
        ("0.0.0.0/0", "0.0.0.0", "255.255.255.255", 1 << 32),
        ("fd00::-fd00::ff", "fd00::", "fd00::ff", 256),
        ("fd00::10/124", "fd00::10", "fd00::1f", 16),
        ("fd00::fffe-fd00::1:0", "fd00::fffe", "fd00::1:0", 3),
        ("2001:db8::/64", "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", 1 << 64),
        ("2001:db8::5-2001:db8::1:0", "2001:db8::5", "2001:db8::1:0", 0xfffc),
        ("2001:db8::1/128", "2001:db8::1", "2001:db8::1", 1),
        ("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", u128::MAX),
    ] {
        let range = range(text);
        assert_eq!((range.first(), range.last(), range.size()), (ip(first), ip(last), size), "{text}");
        assert!(range.contains(ip(first)) && range.contains(ip(last)), "{text}");
        assert_eq!(Range::new(ip(first), ip(last)), Ok(range), "{text}");
        assert_eq!(range.to_string(), format!("{first}-{last}"), "{text}");
        assert_eq!(range.to_string().parse(), Ok(range), "the text is read back");
    }
}

#[test]
fn texts_that_are_no_range_are_refused() {
    let form = |text: &str| RangeError::Form { text: text.to_owned() };
    let address =
        |text: &str, part: &str| RangeError::Address { text: text.to_owned(), part: part.to_owned() };
    let length = |at: &str, length: &str, most| RangeError::Length {
        address: ip(at),
        length: length.to_owned(),
        most,
    };
    let ends = |first: &str, last: &str| (ip(first), ip(last));
    let backwards = |(first, last)| RangeError::Backwards { first, last };
    let families = |(first, last)| RangeError::Families { first, last };
    let mapped = |at: &str, plain: &str| RangeError::Mapped { address: ip(at), plain: ip(plain) };
    for (text, error) in [
        ("", form("")),
        ("192.0.2.1", form("192.0.2.1")),
        ("-", address("-", "")),
        ("a-b", address("a-b", "a")),
        ("a-192.0.2.1", address("a-192.0.2.1", "a")),
        ("192.0.2.1-", address("192.0.2.1-", "")),
        ("192.0.2.1 -\t192.0.2.2", address("192.0.2.1 -\t192.0.2.2", "\t192.0.2.2")),
        ("192.0.2.1-192.0.2.3-192.0.2.5", address("192.0.2.1-192.0.2.3-192.0.2.5", "192.0.2.3-192.0.2.5")),
        ("192.0.2/24", address("192.0.2/24", "192.0.2")),
        ("/8", address("/8", "")),
        ("192.0.2.0/33", length("192.0.2.0", "33", 32)),
        ("192.0.2.0/+8", length("192.0.2.0", "+8", 32)),
        ("192.0.2.0/", length("192.0.2.0", "", 32)),
        ("192.0.2.0/256", length("192.0.2.0", "256", 32)),
        ("2001:db8::/129", length("2001:db8::", "129", 128)),
        ("192.0.2.2-192.0.2.1", backwards(ends("192.0.2.2", "192.0.2.1"))),
        ("192.0.2.2-2001:db8::", families(ends("192.0.2.2", "2001:db8::"))),
        ("::ffff:192.0.2.0/120", mapped("::ffff:192.0.2.0", "192.0.2.0")),
        ("::1-::ffff:192.0.2.0", mapped("::ffff:192.0.2.0", "192.0.2.0")),
    ] {
        assert_eq!(text.parse::<Range>(), Err(error), "{text}");
    }
}

#[test]
fn refusal_names_the_text_and_says_what_to_write() {
    let parse = |text: &str| text.parse::<Range>().map_err(|error: RangeError| error.to_string());
    for (text, error) in [
        (
            "192.0.2.1",
            "\"192.0.2.1\" is no range of addresses: write FROM-TO or a CIDR, for example 192.0.2.10-192.0.2.20 or \
             192.0.2.0/28",
        ),
        (
            "192.0.2.1-x",
            "\"192.0.2.1-x\" is no range of addresses, because \"x\" is no address: write FROM-TO or a CIDR of IPv4 or IPv6",
        ),
        ("192.0.2.0/40", "192.0.2.0/40 is no CIDR: its prefix length must be a number from 0 to 32"),
        (
            "192.0.2.2-192.0.2.1",
            "192.0.2.2-192.0.2.1 is empty, because it ends before it begins: write the lower address first",
        ),
        ("192.0.2.2-::1", "192.0.2.2-::1 mixes IPv4 and IPv6: use a ServicePrefix for each"),
        (
            "::ffff:192.0.2.0/120",
            "::ffff:192.0.2.0 is an IPv4 address in IPv6 notation: write IPv4 ranges in IPv4, as 192.0.2.0",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err(), error);
    }
}

#[test]
fn ranges_overlap_where_they_share_an_address() {
    for (one, other, overlap) in [
        ("10.0.0.2-10.0.0.8", "10.0.0.8-10.0.0.9", true),
        ("10.0.0.2-10.0.0.8", "10.0.0.9-10.0.0.15", false),
        ("10.0.0.0/24", "10.0.0.7-10.0.0.7", true),
        ("10.0.0.0/24", "10.0.1.0/24", false),
        ("fd00::/64", "fd00::5-fd00::6", true),
        ("0.0.0.0/0", "::/0", false),
    ] {
        assert_eq!(range(one).overlaps(&range(other)), overlap, "{one} {other}");
        assert_eq!(range(other).overlaps(&range(one)), overlap, "{one} {other}");
    }
}

#[test]
fn range_contains_the_addresses_between_its_ends() {
    for (text, address, inside) in [
        ("10.0.0.2-10.0.0.8", "10.0.0.1", false),
        ("10.0.0.2-10.0.0.8", "10.0.0.5", true),
        ("10.0.0.2-10.0.0.8", "10.0.0.9", false),
        ("10.0.0.254-10.0.1.1", "10.0.0.255", true),
        ("10.0.0.254-10.0.1.1", "10.0.1.0", true),
        ("0.0.0.0/0", "::1", false),
        ("::/0", "10.0.0.1", false),
    ] {
        assert_eq!(range(text).contains(ip(address)), inside, "{text} {address}");
    }
}
