//! Parses `resolv.conf`. Entry point: [`ResolvConf::parse`].
//!
//! Parsing is lenient, like the C library's: unusable parts are skipped. `search`, `domain` and `ndots` are ignored,
//! because the search list belongs to the resource's namespace, not to this process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Maximum number of servers; the C library's `MAXNS`.
const SERVERS: usize = 3;

/// Minimum and maximum of `timeout`, in seconds. The maximum is the C library's.
const TIMEOUT: (u64, u64) = (1, 30);

/// Minimum and maximum of `attempts`. The maximum is the C library's.
const ATTEMPTS: (usize, usize) = (1, 5);

/// The servers, and how to query them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// One to three servers, in the order in which they are queried.
    pub servers: Vec<IpAddr>,
    /// Whether the file names no usable server; then `servers` is the C library's default, 127.0.0.1.
    pub is_default: bool,
    /// Timeout of one server.
    pub timeout: Duration,
    /// Number of queries to a silent server.
    pub attempts: usize,
    /// Whether queries use EDNS, which allows longer answers.
    pub edns0: bool,
}

// === impl ResolvConf ===

impl Default for ResolvConf {
    fn default() -> Self {
        Self {
            servers: vec![Ipv4Addr::LOCALHOST.into()],
            is_default: true,
            timeout: Duration::from_secs(5),
            attempts: 2,
            edns0: false,
        }
    }
}

impl ResolvConf {
    /// Parses the file's content. A missing file counts as empty.
    pub fn parse(content: &[u8]) -> Self {
        let mut conf = Self::default();
        let mut servers = Vec::new();
        for line in lines(content, &['#', ';']) {
            let mut words = line.split(blank).filter(|word| !word.is_empty());
            match words.next() {
                Some("nameserver") => servers.extend(words.next().and_then(address)),
                Some("options") => words.for_each(|word| conf.option(word)),
                _ => {}
            }
        }
        servers.truncate(SERVERS);
        if !servers.is_empty() {
            conf.servers = servers;
            conf.is_default = false;
        }
        conf
    }

    fn option(&mut self, word: &str) {
        let (name, value) = word.split_once(':').unwrap_or((word, ""));
        match (name, value.parse::<u64>()) {
            ("timeout", Ok(seconds)) => {
                self.timeout = Duration::from_secs(seconds.clamp(TIMEOUT.0, TIMEOUT.1));
            }
            ("attempts", Ok(times)) => {
                let times = usize::try_from(times).unwrap_or(usize::MAX);
                self.attempts = times.clamp(ATTEMPTS.0, ATTEMPTS.1);
            }
            ("edns0", _) => self.edns0 = true,
            _ => {}
        }
    }
}

/// Returns the lines of a file without comments. Invalid UTF-8 is replaced.
pub(super) fn lines(content: &[u8], comment: &[char]) -> Vec<String> {
    let text = String::from_utf8_lossy(content);
    let text = text.trim_start_matches('\u{feff}');
    let uncommented = |line: &str| line.split(comment).next().unwrap_or_default().to_string();
    text.split(['\n', '\r']).map(uncommented).collect()
}

/// Returns whether a character separates words: white space, or NUL, which a crash leaves in files.
pub(super) fn blank(c: char) -> bool {
    c.is_whitespace() || c == '\0'
}

/// Returns a server's address; `None` if it can't be queried. Only link-local addresses need a scope (`%eth0`), and the
/// resolver can't send to them.
fn address(word: &str) -> Option<IpAddr> {
    let (ip, scope) = word.split_once('%').map_or((word, None), |(ip, scope)| (ip, Some(scope)));
    let ip: IpAddr = ip.parse().ok()?;
    match ip.to_canonical() {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => None,
        IpAddr::V4(_) if scope.is_some() => None,
        // The host itself, which answers from its loopback address.
        IpAddr::V4(ip) if ip.is_unspecified() => Some(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => Some(Ipv6Addr::LOCALHOST.into()),
        ip => Some(ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(content: &[u8]) -> Vec<String> {
        let conf = ResolvConf::parse(content);
        let servers = conf.servers.iter().map(IpAddr::to_string).collect();
        if conf.is_default { Vec::new() } else { servers }
    }

    #[test]
    fn every_usable_server_is_taken_and_what_is_not_understood_is_passed_over() {
        let long = [b"search ".as_slice(), &[b'a'; 100_000], b"\nnameserver 10.0.0.1\n"].concat();
        let table: [(&[u8], &[&str]); 21] = [
            (b"nameserver 10.0.0.1\nnameserver fd00::1\n", &["10.0.0.1", "fd00::1"]),
            (b"nameserver 10.0.0.1", &["10.0.0.1"]),
            (b"nameserver\t10.0.0.1 \r\nnameserver 10.0.0.2\r\n", &["10.0.0.1", "10.0.0.2"]),
            (b"  nameserver 10.0.0.1\n", &["10.0.0.1"]),
            (b"# nameserver 10.0.0.1\n;nameserver 10.0.0.2\nnameserver 10.0.0.3", &["10.0.0.3"]),
            (b"nameserver 10.0.0.1 # the first\nnameserver 10.0.0.2;last", &["10.0.0.1", "10.0.0.2"]),
            (b"\xef\xbb\xbfnameserver 10.0.0.1\n", &["10.0.0.1"]),
            (b"\xff\xfe\n\0\0\0\0nameserver 10.0.0.1\0\n", &["10.0.0.1"]),
            (b"nameserver 10.0.0.1 10.0.0.2\n", &["10.0.0.1"]),
            (b"nameserver\nnameserver 300.1.1.1\nnameserver dns.example\nnameserver 10.0.0.1", &["10.0.0.1"]),
            (b"nameservers 10.0.0.9\nNAMESERVER 10.0.0.8\nlookup file bind\nnameserver 10.0.0.1", &["10.0.0.1"]),
            (b"nameserver ::ffff:10.0.0.1", &["10.0.0.1"]),
            (b"nameserver fd00::1%eth0\nnameserver fe80::1%eth0\nnameserver 10.0.0.1%eth0", &["fd00::1"]),
            (b"nameserver 0.0.0.0\nnameserver ::", &["127.0.0.1", "::1"]),
            (
                b"nameserver 10.0.0.1\nnameserver x\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4",
                &["10.0.0.1", "10.0.0.2", "10.0.0.3"],
            ),
            (&long, &["10.0.0.1"]),
            (b"search -- lan ..\ndomain \nsortlist 1.2.3.4\nnameserver 10.0.0.1", &["10.0.0.1"]),
            (b"", &[]),
            (b"\0\0\0\0", &[]),
            (b"options ndots:5\nsearch calls.svc.cluster.local\n", &[]),
            (b"nameserver 10.0.0.1\rnameserver 10.0.0.2", &["10.0.0.1", "10.0.0.2"]),
        ];
        for (content, expected) in table {
            assert_eq!(servers(content), expected, "{}", String::from_utf8_lossy(content));
        }
    }

    #[test]
    fn without_a_server_it_is_the_default_of_the_c_library() {
        let conf = ResolvConf::parse(b"nameserver fe80::1%eth0\noptions attempts:4\n");
        assert_eq!((conf.is_default, conf.attempts), (true, 4));
        assert_eq!(conf.servers, [IpAddr::from([127, 0, 0, 1])]);
        assert_eq!(ResolvConf::parse(b""), ResolvConf::default());
    }

    #[test]
    fn options_are_bounded_and_unknown_ones_passed_over() {
        let table: [(&str, (u64, usize, bool)); 7] = [
            ("options", (5, 2, false)),
            ("options timeout:2 attempts:3 edns0", (2, 3, true)),
            ("options timeout:0 attempts:0", (1, 1, false)),
            ("options timeout:99999999999 attempts:18446744073709551615", (30, 5, false)),
            ("options timeout: attempts:-1 ndots:x trust-ad rotate no-tld-query", (5, 2, false)),
            ("options timeout:3\noptions attempts:1", (3, 1, false)),
            ("options timeout:99999999999999999999999 timeout:4", (4, 2, false)),
        ];
        for (content, (seconds, attempts, edns0)) in table {
            let conf = ResolvConf::parse(content.as_bytes());
            let expected = (Duration::from_secs(seconds), attempts, edns0);
            assert_eq!((conf.timeout, conf.attempts, conf.edns0), expected, "{content}");
        }
    }
}
