//! Base ids: numbers that separate the Envoys in one network namespace. Entry point: [`choose`].
//!
//! Envoy binds abstract Unix sockets named after `base id * 10 + epoch % 3`. A second Envoy with the same base id exits
//! with "unable to bind domain socket". `/proc/net/unix` lists the sockets of the reader's network namespace.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64;

/// The largest base id. Multiplied by ten, it is far below Envoy's 32-bit limit.
pub const MAX: u32 = 1 << 20;

/// Length of an abstract socket's name in bytes, without the zero byte before it.
pub(crate) const NAME_LENGTH: usize = 107;

const NAMES: [&str; 4] = ["parent_", "child_", "udp_parent_", "udp_child_"];

/// Returns the base ids in use, from the text of `/proc/net/unix`.
pub fn in_use(proc_net_unix: &str) -> BTreeSet<u32> {
    proc_net_unix.lines().filter_map(base_id_of_line).collect()
}

/// Chooses a base id in `1..=MAX` for the proxy with this `key`: `preferred` (its previous one) if it is free,
/// otherwise the first free one starting at the key's hash, so that proxies that start together try different ones.
/// Returns `None` if none is free.
pub fn choose(proc_net_unix: &str, key: &str, preferred: Option<u32>) -> Option<u32> {
    let taken = in_use(proc_net_unix);
    let start = u32::try_from(xxh3_64(key.as_bytes()) % u64::from(MAX)).unwrap_or_default();
    let from_hash = (0..MAX).map(|step| (start + step) % MAX + 1);
    let preferred = preferred.filter(|id| (1..=MAX).contains(id));
    preferred.into_iter().chain(from_hash).find(|id| !taken.contains(id))
}

/// Returns whether the Envoy with this base id and restart epoch exists, so that a later one can hot-restart from it.
pub fn is_bound(proc_net_unix: &str, base_id: u32, epoch: u32) -> bool {
    let name = format!("@{}", socket("parent", base_id, epoch));
    let of = |line: &str| Some(line.split_ascii_whitespace().nth(7)?.trim_end_matches('@') == name);
    proc_net_unix.lines().any(|line| of(line) == Some(true))
}

/// Returns the name of an Envoy's abstract socket: `parent`, where a later Envoy asks it, or `child`, where it gets answers.
/// Envoy pads it with zero bytes to [`NAME_LENGTH`].
pub(crate) fn socket(kind: &str, base_id: u32, epoch: u32) -> String {
    format!("envoy_domain_socket_{kind}_{}", u64::from(base_id) * 10 + u64::from(epoch % 3))
}

fn base_id_of_line(line: &str) -> Option<u32> {
    let name = line.split_ascii_whitespace().nth(7)?.strip_prefix("@envoy_domain_socket_")?;
    let number = NAMES.iter().find_map(|kind| name.strip_prefix(kind))?;
    // The kernel shows an abstract name in its bound length: the digits are followed by '@' for each zero byte.
    let number = number.trim_end_matches('@').parse::<u32>().ok()?;
    Some(number / 10)
}

#[cfg(test)]
mod tests {
    use super::{MAX, choose, in_use, is_bound};

    const HEAD: &str = "Num       RefCount Protocol Flags    Type St Inode Path\n";

    fn mk_line(path: &str) -> String {
        format!("0000000000000000: 00000002 00000000 00000000 0002 01 4242 {path}\n")
    }

    #[test]
    fn every_kind_of_socket_and_every_epoch_takes_the_base_id() {
        for (path, expected) in [
            ("@envoy_domain_socket_parent_70", Some(7)),
            ("@envoy_domain_socket_child_71", Some(7)),
            ("@envoy_domain_socket_udp_parent_72", Some(7)),
            ("@envoy_domain_socket_udp_child_10485760", Some(MAX)),
            ("@envoy_domain_socket_parent_0", Some(0)),
            ("@envoy_domain_socket_parent_70@@@", Some(7)),
            ("@envoy_domain_socket_parent_", None),
            ("@envoy_domain_socket_other_70", None),
            ("/run/envoy_domain_socket_parent_70", None),
            ("", None),
        ] {
            let text = format!("{HEAD}{}", mk_line(path));
            assert_eq!(in_use(&text).into_iter().next(), expected, "{path}");
        }
    }

    #[test]
    fn elder_is_there_while_the_socket_for_its_heir_is() {
        let text = format!("{HEAD}{}", mk_line("@envoy_domain_socket_parent_71@@@"));
        for (base_id, epoch, expected) in
            [(7, 1, true), (7, 4, true), (7, 0, false), (7, 2, false), (8, 1, false)]
        {
            assert_eq!(is_bound(&text, base_id, epoch), expected, "{base_id} {epoch}");
        }
        assert!(!is_bound(&mk_line("@envoy_domain_socket_child_71"), 7, 1));
    }

    #[test]
    fn remembered_id_is_kept_while_it_is_free() {
        assert_eq!(choose(HEAD, "gateway", Some(42)), Some(42));
    }

    #[test]
    fn taken_or_impossible_remembered_id_gives_way_to_the_hash() {
        let fresh = choose(HEAD, "gateway", None);
        let text = mk_line("@envoy_domain_socket_parent_420");
        assert_eq!(choose(&text, "gateway", Some(42)), fresh);
        assert_eq!(choose(HEAD, "gateway", Some(0)), fresh);
        assert_eq!(choose(HEAD, "gateway", Some(MAX + 1)), fresh);
    }

    #[test]
    fn taken_hash_moves_to_the_next_id_and_wraps() {
        let first = choose(HEAD, "gateway", None).unwrap();
        let text = mk_line(&format!("@envoy_domain_socket_child_{}", first * 10 + 2));
        assert_eq!(choose(&text, "gateway", None), Some(first % MAX + 1));
    }

    #[test]
    fn names_spread_over_the_whole_range() {
        let ids: std::collections::BTreeSet<_> =
            (0..1000).filter_map(|number| choose(HEAD, &format!("proxy-{number}"), None)).collect();
        assert!(ids.len() > 990, "{} distinct", ids.len());
        assert!(ids.iter().all(|id| (1..=MAX).contains(id)));
    }
}
