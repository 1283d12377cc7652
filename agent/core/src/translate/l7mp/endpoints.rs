//! The endpoints of a cluster: [`of`].

use std::collections::BTreeMap;

use portreeve_api::model::{Cluster, EndpointSource, Source};

use super::objects::{Endpoint, Endpoints};
use crate::translate::candidates;
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
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    census.add(cluster, count(total), count(failed));
    let endpoints = all.into_iter().map(|(address, weight)| Endpoint { address, weight }).collect();
    Some(Endpoints { endpoints })
}

fn of_source(
    request: &Request<'_>,
    cluster: &Cluster,
    source: &EndpointSource,
    lookup: &dyn Lookup,
) -> Option<Vec<candidates::Candidate>> {
    // l7mp's UDP is IPv4 only, so IPv4 is preferred wherever there is a choice.
    let families = match request.families {
        Families::Dual | Families::DualV6First => Families::Dual,
        only => only,
    };
    let found = sources::found(request.plan, source, lookup)?;
    Some(candidates::of_source(families, cluster, (source, found), lookup))
}
