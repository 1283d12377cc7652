//! The address families of this network namespace.

use std::fs;

use portreeve_agent_core::translate::Families;

/// Returns the families that the host can bind. IPv6 counts if an interface other than the loopback has a global
/// address.
pub fn of_host() -> Families {
    let text = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    if has_global_v6(&text) { Families::Dual } else { Families::V4 }
}

/// Returns whether `/proc/net/if_inet6` lists a global address.
fn has_global_v6(text: &str) -> bool {
    // Columns: address, index, prefix length, scope (00: global), flags, device.
    text.lines().any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        matches!(columns.as_slice(), [_, _, _, "00", _, device] if *device != "lo")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_global_address_beside_loopback_counts() {
        let lo = "00000000000000000000000000000001 01 80 10 80       lo\n";
        let link = "fe800000000000000000000000000001 02 40 20 80     eth0\n";
        let global = "fd770000000000000000000000000001 02 40 00 80     eth0\n";
        assert!(!has_global_v6(&format!("{lo}{link}")));
        assert!(has_global_v6(&format!("{lo}{link}{global}")));
    }
}
