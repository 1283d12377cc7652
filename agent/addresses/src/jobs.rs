//! Runs the background work: [`Jobs`]. It alone waits for the API server and for answers of other machines.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::task::{JoinError, JoinSet};

use crate::leases::Leases;
use crate::links::{Interface, Links};
use crate::work::{Job, Probed};

/// The result of a job.
#[derive(Debug)]
pub enum Done {
    /// The addresses were probed.
    Probed(BTreeMap<IpAddr, Probed>),
    /// The address was claimed, or not, because its Lease changed meanwhile.
    Claimed(IpAddr, Result<bool>),
    /// The claim was given up, or not, because its Lease changed meanwhile.
    Given(IpAddr, Result<bool>),
}

/// The running jobs. They are cancelled on drop.
pub struct Jobs {
    links: Arc<Links>,
    leases: Arc<Leases>,
    set: JoinSet<Done>,
}

// === impl Jobs ===

impl Jobs {
    /// Creates an empty set.
    pub fn new(links: Links, leases: Arc<Leases>) -> Self {
        Self { links: Arc::new(links), leases, set: JoinSet::new() }
    }

    /// Starts a job. `versions` are those of the Leases by which it was decided.
    pub fn start(&mut self, job: Job, versions: &BTreeMap<IpAddr, String>) {
        let (links, leases) = (self.links.clone(), self.leases.clone());
        match job {
            Job::Probe(addresses) => {
                self.set.spawn(async move { Done::Probed(probe(&links, &addresses).await) });
            }
            Job::Claim(address) => {
                let version = versions.get(&address).cloned();
                self.set.spawn(async move {
                    Done::Claimed(address, leases.take(address, version.as_deref()).await)
                });
            }
            Job::Give(address) => {
                let version = versions.get(&address).cloned();
                self.set.spawn(async move {
                    let given = match version {
                        Some(version) => leases.give(address, &version).await,
                        None => Ok(false),
                    };
                    Done::Given(address, given)
                });
            }
        }
    }

    /// Waits for the next job to end. Never returns while none runs. Nothing is lost if it is cancelled.
    ///
    /// # Errors
    /// Returns an error if a job panicked.
    pub async fn next(&mut self) -> Result<Done> {
        match self.set.join_next().await {
            Some(ended) => result(ended),
            None => std::future::pending().await,
        }
    }

    /// Returns a job that has ended, without waiting.
    ///
    /// # Errors
    /// Returns an error if a job panicked.
    pub fn ended(&mut self) -> Result<Option<Done>> {
        self.set.try_join_next().map(result).transpose()
    }

    /// Cancels all jobs, and waits for their end.
    pub async fn cancel(&mut self) {
        self.set.shutdown().await;
    }
}

fn result(ended: Result<Done, JoinError>) -> Result<Done> {
    ended.context("probing, claiming or giving up an address")
}

/// Finds out which of these addresses other machines of their links have. A node that can't reach the API server still has its
/// addresses, and an address may be some machine's own.
async fn probe(links: &Links, addresses: &BTreeSet<IpAddr>) -> BTreeMap<IpAddr, Probed> {
    let mut results = BTreeMap::new();
    let mut by_interface: BTreeMap<u32, (Interface, BTreeSet<IpAddr>)> = BTreeMap::new();
    for address in addresses {
        match links.interface_for(*address).await {
            Ok(interface) => {
                by_interface
                    .entry(interface.index)
                    .or_insert((interface, BTreeSet::new()))
                    .1
                    .insert(*address);
            }
            Err(error) => drop(results.insert(*address, Probed::Failed(format!("{error:#}")))),
        }
    }
    let probed = by_interface.into_values().map(|(interface, addresses)| async move {
        let found = links.answering(&interface, &addresses).await;
        addresses.into_iter().map(|address| (address, probed(&found, address))).collect::<Vec<_>>()
    });
    results.extend(futures::future::join_all(probed).await.into_iter().flatten());
    results
}

/// Returns the result for one address.
fn probed(found: &Result<BTreeMap<IpAddr, [u8; 6]>>, address: IpAddr) -> Probed {
    match found {
        Ok(owners) => owners.get(&address).map_or(Probed::Free, |mac| Probed::Foreign(*mac)),
        Err(error) => Probed::Failed(format!("{error:#}")),
    }
}
