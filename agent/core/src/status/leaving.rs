//! Counts the sessions that proxies on the host's network still have to terminating endpoints. The counts
//! come from the kernel's UDP socket tables, because Envoy does not count sessions by endpoint. Entry points: [`count`] and [`leaving`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portreeve_api::model::Endpoint;
use portreeve_api::own::node_report::Leaving;

/// Number of connected UDP sockets by remote address.
pub type Sockets = BTreeMap<IpAddr, u32>;

/// Returns each terminating endpoint with sessions, by its pod's name.
pub fn leaving<'a>(endpoints: impl Iterator<Item = &'a Endpoint>, sockets: &Sockets) -> Vec<Leaving> {
    let told = endpoints.filter_map(|endpoint| {
        let sessions: u32 = endpoint.ips.iter().filter_map(|ip| sockets.get(ip)).sum();
        let pod = format!("{}/{}", endpoint.namespace, endpoint.name);
        (sessions > 0).then(|| (pod, i32::try_from(sessions).unwrap_or(i32::MAX)))
    });
    // An endpoint may be in several groups.
    let told: BTreeMap<String, i32> = told.collect();
    told.into_iter().map(|(pod, sessions)| Leaving { pod, sessions }).collect()
}

/// Adds the connected sockets of one of the kernel's tables (`/proc/net/udp`, `/proc/net/udp6`) to `all`.
pub fn count(table: &str, all: &mut Sockets) {
    for line in table.lines().skip(1) {
        let mut words = line.split_whitespace().skip(2);
        let (Some(remote), Some(state)) = (words.next(), words.next()) else { continue };
        // State 01 is "established", as for TCP.
        if let ("01", Some(ip)) = (state, remote.split(':').next().and_then(address)) {
            *all.entry(ip.to_canonical()).or_default() += 1;
        }
    }
}

/// Parses an address in the kernel's format: hexadecimal words of 32 bits, each in the byte order of the
/// machine.
fn address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| text.get(at * 8..at * 8 + 8).and_then(|part| u32::from_str_radix(part, 16).ok());
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?.to_ne_bytes()).into()),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?.to_ne_bytes());
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(name: &str, ips: &[&str]) -> Endpoint {
        Endpoint {
            uid: name.into(),
            namespace: "ns".into(),
            name: name.into(),
            node: "n".into(),
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            created_ms: None,
            terminating_ms: Some(1),
            ready: true,
            source: "".into(),
        }
    }

    #[test]
    fn connected_sockets_are_counted_by_the_address_at_their_other_end() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
             12: 0100007F:8E5C 0B0B007F:4A38 01 00000000:00000000\n\
             13: 0100007F:8E5D 0B0B007F:4A39 01 00000000:00000000\n\
             14: 00000000:4268 00000000:0000 07 00000000:00000000\n\
             15: 0000000000000000FFFF00000100007F:1 0000000000000000FFFF00000B0B007F:2 01 0\n\
             16: x y 01\n\
             17:\n";
        let mut all = Sockets::new();
        count(table, &mut all);
        // The table was written by a little-endian machine.
        if cfg!(target_endian = "little") {
            assert_eq!(all, Sockets::from([("127.0.11.11".parse().unwrap(), 3)]));
        }
    }

    #[test]
    fn only_endpoints_with_sessions_are_told_once() {
        let sockets = Sockets::from([("10.0.0.1".parse().unwrap(), 2), ("fd00::1".parse().unwrap(), 1)]);
        let all = [
            endpoint("a", &["10.0.0.1", "fd00::1"]),
            endpoint("a", &["10.0.0.1", "fd00::1"]),
            endpoint("b", &["10.0.0.2"]),
        ];
        assert_eq!(leaving(all.iter(), &sockets), [Leaving { pod: "ns/a".into(), sessions: 3 }]);
    }
}
