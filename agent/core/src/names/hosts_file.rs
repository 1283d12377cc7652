//! Parses the hosts file. Entry point: [`parse`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::resolv_conf::{blank, lines};

/// Addresses by fully qualified name, in lower case, without the final dot.
pub type Table = BTreeMap<String, Vec<IpAddr>>;

/// Parses the file's content. Lines without a usable address are skipped; a missing file counts as empty.
pub fn parse(content: &[u8]) -> Table {
    let mut table = Table::new();
    for line in lines(content, &['#']) {
        let mut words = line.split(blank).filter(|word| !word.is_empty());
        let Some(ip) = words.next().and_then(address) else { continue };
        for name in words {
            let addresses = table.entry(name.trim_end_matches('.').to_lowercase()).or_default();
            if !addresses.contains(&ip) {
                addresses.push(ip);
            }
        }
    }
    table.remove("");
    table
}

/// Returns an endpoint's address; `None` if the word isn't one. Proxies can't use a link-local address without its
/// interface.
fn address(word: &str) -> Option<IpAddr> {
    let ip: IpAddr = word.split('%').next()?.parse().ok()?;
    match ip {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => None,
        IpAddr::V6(_) => Some(ip.to_canonical()),
        IpAddr::V4(_) => (!word.contains('%')).then_some(ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file's content, and the expected names with their addresses.
    type Case<'a> = (&'a [u8], &'a [(&'a str, &'a str)]);

    #[test]
    fn every_usable_line_is_taken_and_the_others_are_passed_over() {
        let long = [b"10.0.0.1 a".as_slice(), &b" b".repeat(50_000)].concat();
        let table: [Case<'_>; 13] = [
            (b"10.0.0.1 a b\n10.0.0.2\tc", &[("a", "10.0.0.1"), ("b", "10.0.0.1"), ("c", "10.0.0.2")]),
            (b"10.0.0.1 a\r\n10.0.0.2 b\r\n", &[("a", "10.0.0.1"), ("b", "10.0.0.2")]),
            (b"# 10.0.0.1 a\n10.0.0.2 b # a\n  10.0.0.3 c", &[("b", "10.0.0.2"), ("c", "10.0.0.3")]),
            (b"\xef\xbb\xbf10.0.0.1 A.Example.", &[("a.example", "10.0.0.1")]),
            (b"10.0.0.1 a\nfd00::1 a\n10.0.0.1 a", &[("a", "10.0.0.1 fd00::1")]),
            (b"10.0.0 a\nname b\n10.0.0.1\n\n10.0.0.2 c", &[("c", "10.0.0.2")]),
            (b"fe80::1%eth0 a\nfd00::2%eth0 b\n10.0.0.1%eth0 c", &[("b", "fd00::2")]),
            (b"::ffff:10.0.0.1 a", &[("a", "10.0.0.1")]),
            (b"\0\0\n10.0.0.1\0a\0\n", &[("a", "10.0.0.1")]),
            (b"10.0.0.1 . a", &[("a", "10.0.0.1")]),
            (b"10.0.0.1 \xff\n10.0.0.2 a", &[("a", "10.0.0.2"), ("\u{fffd}", "10.0.0.1")]),
            (&long, &[("a", "10.0.0.1"), ("b", "10.0.0.1")]),
            (b"", &[]),
        ];
        for (content, expected) in table {
            let text = |ips: Vec<IpAddr>| ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ");
            let read: Vec<(String, String)> =
                parse(content).into_iter().map(|(name, ips)| (name, text(ips))).collect();
            let expected: Vec<(String, String)> =
                expected.iter().map(|(name, ips)| (name.to_string(), ips.to_string())).collect();
            assert_eq!(read, expected, "{}", String::from_utf8_lossy(content));
        }
    }
}
