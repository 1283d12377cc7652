//! Which background work each address has, and which may begin: [`Work`]. Pure: the time is passed in, and the caller runs the
//! jobs.
//!
//! An address that this node should take is probed first: an address of another machine of the link is left to it. It is claimed
//! once the probe shows that it is free.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::pauses::Pauses;

/// Maximum number of jobs at once.
pub const AT_ONCE: usize = 16;

/// Maximum number of jobs that probe, and of addresses that one of them probes. A probe takes as long for many addresses as for
/// one, but their frames must fit into the interface's queue.
const PROBES: usize = 4;
const TOGETHER: usize = 64;

/// How long the result of a probe counts. An address that can't be claimed in this time is probed again.
const VALID: Duration = Duration::from_secs(1);

/// Pauses of an address that another machine has: the first one and the longest. That machine may be a node whose process is
/// gone: when it dies, too, the address should be away for no longer than in any takeover.
const FOREIGN: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(1)];

/// Pauses of an address whose probe or request failed: the first one and the longest.
const FAILED: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];

/// A piece of background work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Ask the link which of these addresses other machines have.
    Probe(BTreeSet<IpAddr>),
    /// Claim an address for this node.
    Claim(IpAddr),
    /// Give up this node's claim of an address.
    Give(IpAddr),
}

/// The result of probing an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// No other machine has it.
    Free,
    /// The machine with this MAC has it.
    Foreign([u8; 6]),
    /// It couldn't be probed, for this reason.
    Failed(String),
}

/// What the running job of an address does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Probing,
    Claiming,
    Giving,
}

/// The background work.
#[derive(Debug)]
pub struct Work {
    /// The addresses that are in a job.
    busy: BTreeMap<IpAddr, Doing>,
    /// Number of jobs that probe.
    probes: usize,
    /// Addresses that no other machine has, and since when that is known. They may be claimed.
    free: BTreeMap<IpAddr, Instant>,
    /// Addresses that other machines have.
    foreign: Pauses,
    /// Addresses whose last job failed.
    failed: Pauses,
}

// === impl Work ===

impl Work {
    /// Forgets the results of all addresses but these.
    pub fn retain(&mut self, keep: impl Fn(IpAddr) -> bool) {
        self.foreign.retain(&keep);
        self.failed.retain(&keep);
    }

    /// Tells whether an address's claim may be given up now.
    pub fn may_give(&self, address: IpAddr, now: Instant) -> bool {
        !self.busy.contains_key(&address) && !self.failed.lasts(address, now)
    }

    /// Tells whether an address's claim is being given up. The address must stay off the interfaces.
    pub fn is_giving(&self, address: IpAddr) -> bool {
        self.busy.get(&address) == Some(&Doing::Giving)
    }

    /// Returns the jobs that begin now, to take addresses, and to give up the claims of others, which are off the interfaces.
    pub fn begin(&mut self, take: &BTreeSet<IpAddr>, give: &BTreeSet<IpAddr>, now: Instant) -> Vec<Job> {
        let is_valid = |since: &Instant| now.saturating_duration_since(*since) < VALID;
        self.free.retain(|address, since| take.contains(address) && is_valid(since));
        let give = give.iter().copied().filter(|address| self.may_give(*address, now));
        let give: Vec<IpAddr> = give.take(self.room()).collect();
        let mut jobs: Vec<Job> = give.iter().map(|address| Job::Give(*address)).collect();
        self.busy.extend(give.into_iter().map(|address| (address, Doing::Giving)));
        let claim: Vec<IpAddr> = self.free.keys().copied().take(self.room()).collect();
        for address in claim {
            self.free.remove(&address);
            self.busy.insert(address, Doing::Claiming);
            jobs.push(Job::Claim(address));
        }
        let probe = take.iter().copied().filter(|address| self.may_probe(*address, now));
        let probe: Vec<IpAddr> = probe.collect();
        for together in probe.chunks(TOGETHER).take(self.room().min(PROBES - self.probes)) {
            self.probes += 1;
            self.busy.extend(together.iter().map(|address| (*address, Doing::Probing)));
            jobs.push(Job::Probe(together.iter().copied().collect()));
        }
        jobs
    }

    /// Records the end of a job that probed.
    pub fn end_probe(&mut self, results: &BTreeMap<IpAddr, Probed>, now: Instant) {
        self.probes -= 1;
        for (address, result) in results {
            self.busy.remove(address);
            match result {
                Probed::Free => {
                    self.foreign.forget(*address);
                    self.free.insert(*address, now);
                }
                Probed::Foreign(_) => {
                    self.failed.forget(*address);
                    self.foreign.begin(*address, now);
                }
                Probed::Failed(_) => self.failed.begin(*address, now),
            }
        }
    }

    /// Records the end of a job that claimed an address or gave a claim up, and whether it succeeded.
    pub fn end_request(&mut self, address: IpAddr, succeeded: bool, now: Instant) {
        self.busy.remove(&address);
        if succeeded {
            self.failed.forget(address);
        } else {
            self.failed.begin(address, now);
        }
    }

    fn may_probe(&self, address: IpAddr, now: Instant) -> bool {
        let rests = self.foreign.lasts(address, now) || self.failed.lasts(address, now);
        !rests && !self.busy.contains_key(&address) && !self.free.contains_key(&address)
    }

    /// Returns how many more jobs may begin.
    fn room(&self) -> usize {
        let requests = self.busy.values().filter(|doing| **doing != Doing::Probing).count();
        AT_ONCE.saturating_sub(self.probes + requests)
    }
}

impl Default for Work {
    /// No work.
    fn default() -> Self {
        Self {
            busy: BTreeMap::new(),
            probes: 0,
            free: BTreeMap::new(),
            foreign: Pauses::new(FOREIGN[0], FOREIGN[1]),
            failed: Pauses::new(FAILED[0], FAILED[1]),
        }
    }
}

#[cfg(test)]
mod tests;
