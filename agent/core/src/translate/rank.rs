//! Assigns keys to endpoints by rendezvous hashing, with the same result on every node and for every listener
//! of a call.

use std::cmp::Reverse;
use std::net::IpAddr;

use xxhash_rust::xxh3::Xxh3;

/// Returns the weight of an address under a key; the highest weight wins. The port does not count, because
/// all listeners of a call must reach the same pod.
pub fn weight(key: &str, address: IpAddr) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(key.as_bytes());
    hash.update(&[0]);
    hash.update(address.to_string().as_bytes());
    hash.digest()
}

/// Sorts items: those that existed before the key first, then by weight, then by address. `facts` returns
/// whether an item came after the key, and its address.
pub fn order<T>(key: &str, items: &mut [T], facts: impl Fn(&T) -> (bool, IpAddr)) {
    items.sort_by_cached_key(|item| {
        let (late, address) = facts(item);
        (late, Reverse(weight(key, address)), address)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(key: &str, addresses: &[u8], late: u8) -> Vec<u8> {
        let mut items = addresses.to_vec();
        order(key, &mut items, |&i| (i >= late, IpAddr::from([10, 0, 0, i])));
        items
    }

    #[test]
    fn order_does_not_depend_on_the_order_of_input() {
        assert_eq!(ranked("call", &[1, 2, 3, 4], 99), ranked("call", &[4, 2, 1, 3], 99));
    }

    #[test]
    fn the_loss_of_one_endpoint_moves_only_its_own_keys() {
        let all: Vec<u8> = (1..=8).collect();
        let without: Vec<u8> = (1..=8).filter(|&i| i != 3).collect();
        for call in 0..200 {
            let key = format!("call-{call}");
            let before = ranked(&key, &all, 99);
            let after = ranked(&key, &without, 99)[0];
            let expected = if before[0] == 3 { before[1] } else { before[0] };
            assert_eq!(after, expected, "{key}");
        }
    }

    #[test]
    fn an_endpoint_that_came_after_the_key_ranks_behind_all_that_were_there() {
        for call in 0..200 {
            let key = format!("call-{call}");
            let before = ranked(&key, &[1, 2, 3], 4);
            assert_eq!(ranked(&key, &[1, 2, 3, 4, 5], 4)[..3], before[..], "{key}");
        }
    }

    #[test]
    fn keys_spread_over_the_endpoints() {
        let mut counts = [0usize; 9];
        for call in 0..800 {
            counts[usize::from(ranked(&format!("call-{call}"), &[1, 2, 3, 4, 5, 6, 7, 8], 99)[0])] += 1;
        }
        assert!(counts[1..].iter().all(|&n| (60..=140).contains(&n)), "{counts:?}");
    }
}
