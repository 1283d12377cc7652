//! Pauses between attempts, one per address: [`Pauses`]. Pure: the time is passed in.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The addresses whose last attempt failed. Each pause is twice as long as the address's previous one.
#[derive(Debug)]
pub struct Pauses {
    first: Duration,
    longest: Duration,
    of: BTreeMap<IpAddr, Pause>,
}

#[derive(Debug)]
struct Pause {
    length: Duration,
    until: Instant,
}

// === impl Pauses ===

impl Pauses {
    /// Creates pauses that grow from `first` to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, of: BTreeMap::new() }
    }

    /// Begins the next pause of an address.
    pub fn begin(&mut self, address: IpAddr, now: Instant) {
        let length = self.of.get(&address).map_or(self.first, |pause| pause.length * 2).min(self.longest);
        self.of.insert(address, Pause { length, until: now + length });
    }

    /// Tells whether an address has a pause.
    pub fn lasts(&self, address: IpAddr, now: Instant) -> bool {
        self.of.get(&address).is_some_and(|pause| now < pause.until)
    }

    /// Forgets an address: its next pause is the first one again.
    pub fn forget(&mut self, address: IpAddr) {
        self.of.remove(&address);
    }

    /// Forgets all addresses but these.
    pub fn retain(&mut self, keep: impl Fn(IpAddr) -> bool) {
        self.of.retain(|address, _| keep(*address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
    const S: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    fn mk_pauses() -> Pauses {
        Pauses::new(S, 10 * S)
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let (mut pauses, mut now) = (mk_pauses(), Instant::now());
        assert!(!pauses.lasts(A, now));
        for length in [1, 2, 4, 8, 10, 10, 10] {
            pauses.begin(A, now);
            assert!(pauses.lasts(A, now) && pauses.lasts(A, now + length * S - MS), "{length}");
            assert!(!pauses.lasts(A, now + length * S), "{length}");
            now += length * S + 3 * MS;
        }
    }

    #[test]
    fn addresses_pause_on_their_own() {
        let (mut pauses, now) = (mk_pauses(), Instant::now());
        pauses.begin(A, now);
        pauses.begin(A, now);
        assert!(!pauses.lasts(B, now));
        pauses.begin(B, now);
        assert!(pauses.lasts(A, now + S) && !pauses.lasts(B, now + S));
    }

    #[test]
    fn forgotten_address_begins_again_with_the_first_pause() {
        let (mut pauses, now) = (mk_pauses(), Instant::now());
        let forget: [fn(&mut Pauses); 2] =
            [|pauses| pauses.forget(A), |pauses| pauses.retain(|address| address != A)];
        for forget in forget {
            for address in [A, A, B] {
                pauses.begin(address, now);
            }
            forget(&mut pauses);
            assert!(!pauses.lasts(A, now) && pauses.lasts(B, now));
            pauses.begin(A, now);
            assert!(!pauses.lasts(A, now + S));
            pauses.forget(B);
        }
    }
}
