//! The endpoints of a cluster: [`of`].

use std::collections::{BTreeMap, BTreeSet};

use portreeve_api::model::{Balancer, Cluster, EndpointSource, Source};

use super::objects::{Endpoint, Endpoints};
use crate::translate::candidates::{self, Candidate};
use crate::translate::outcome::Census;
use crate::translate::request::{Lookup, Request};
use crate::translate::{Families, sources};

/// Returns the endpoints of a cluster and counts them; `None` while a source is not known yet. Endpoints whose health
/// check failed are left out, so that their sessions move to others.
pub fn of(
    request: &Request<'_>,
    cluster: &Cluster,
    lookup: &dyn Lookup,
    census: &mut Census,
) -> Option<Endpoints> {
    match &cluster.balancer {
        Some(Balancer::Key(key)) => return of_key(request, cluster, (key, lookup), census),
        Some(Balancer::SourceAddress) => {
            let found = candidates(request, cluster, lookup)?;
            return Some(counted(cluster, &found, found.iter().filter(|one| !one.failed), census));
        }
        _ => {}
    }
    let mut all: BTreeMap<String, Option<u32>> = BTreeMap::new();
    let (mut total, mut failed) = (0, 0);
    for source in &cluster.endpoints {
        let weight = source.weight.map(Into::into);
        match &source.from {
            // The proxy resolves names itself, at each connection.
            Source::Host(address) | Source::File(address) => {
                total += 1;
                all.insert(address.clone(), weight);
            }
            Source::Group(_) | Source::Address(_) | Source::Loopback(_) => {
                let found = of_source(request, cluster, source, lookup)?;
                total += found.len();
                let healthy = found.iter().filter(|one| !one.failed);
                let addresses: Vec<String> = healthy.map(|one| one.ip.to_string()).collect();
                failed += found.len() - addresses.len();
                all.extend(addresses.into_iter().map(|address| (address, weight)));
            }
            Source::Unknown => {}
        }
    }
    census.add(cluster, count(total), count(failed));
    let endpoints = all.into_iter().map(|(address, weight)| Endpoint { address, weight }).collect();
    Some(Endpoints { endpoints })
}

/// Returns the endpoint that all sessions of a key reach, the same as an Envoy's. Its sessions move to another when its check
/// fails.
fn of_key(
    request: &Request<'_>,
    cluster: &Cluster,
    (key, lookup): (&str, &dyn Lookup),
    census: &mut Census,
) -> Option<Endpoints> {
    let mut found = candidates(request, cluster, lookup)?;
    candidates::rank_for(key, request.plan.origin.created_ms, &mut found);
    let first = found.iter().find(|one| !one.failed);
    Some(counted(cluster, &found, first.into_iter(), census))
}

/// Counts all endpoints and returns some of them.
fn counted<'a>(
    cluster: &Cluster,
    all: &[Candidate],
    some: impl Iterator<Item = &'a Candidate>,
    census: &mut Census,
) -> Endpoints {
    let failed = all.iter().filter(|one| one.failed).count();
    census.add(cluster, count(all.len()), count(failed));
    let addresses: BTreeSet<String> = some.map(|one| one.ip.to_string()).collect();
    let endpoint = |address| Endpoint { address, weight: None };
    Endpoints { endpoints: addresses.into_iter().map(endpoint).collect() }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Returns the endpoints of a cluster. The agent resolves names.
fn candidates(request: &Request<'_>, cluster: &Cluster, lookup: &dyn Lookup) -> Option<Vec<Candidate>> {
    candidates::candidates(&Request { families: v4_first(request.families), ..*request }, cluster, lookup)
}

/// l7mp's UDP is IPv4 only, so IPv4 is preferred wherever there is a choice.
fn v4_first(families: Families) -> Families {
    match families {
        Families::Dual | Families::DualV6First => Families::Dual,
        only => only,
    }
}

fn of_source(
    request: &Request<'_>,
    cluster: &Cluster,
    source: &EndpointSource,
    lookup: &dyn Lookup,
) -> Option<Vec<candidates::Candidate>> {
    let found = sources::found(request.plan, source, lookup)?;
    Some(candidates::of_source(v4_first(request.families), cluster, (source, found), lookup))
}
