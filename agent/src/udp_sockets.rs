//! Reads which connected UDP sockets this network namespace has. Entry point: [`sockets`].

use portreeve_agent_core::status::leaving::{Sockets, count};

/// Paths of the kernel's UDP socket tables of this process's network namespace.
const TABLES: [&str; 2] = ["/proc/self/net/udp", "/proc/self/net/udp6"];

/// Returns the connected UDP sockets of this network namespace. An unreadable table counts as empty.
pub fn sockets() -> Sockets {
    let mut all = Sockets::new();
    for table in TABLES {
        count(&std::fs::read_to_string(table).unwrap_or_default(), &mut all);
    }
    all
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, UdpSocket};

    use super::sockets;

    #[test]
    fn own_sockets_are_found() {
        for at in ["127.0.0.1", "::1"] {
            let ip: IpAddr = at.parse().unwrap();
            let Ok(there) = UdpSocket::bind((ip, 0)) else { continue };
            let before = sockets().get(&ip).copied().unwrap_or_default();
            let here = UdpSocket::bind((ip, 0)).unwrap();
            here.connect(there.local_addr().unwrap()).unwrap();
            assert!(sockets()[&ip] > before, "{at}");
        }
    }
}
