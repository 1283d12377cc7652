//! The hub's Prometheus metrics, computed from its state at each scrape. Entry point: [`of`].

use portreeve_runtime::metrics::Family;

use crate::epic::Usage;
use crate::feed::Feed;
use crate::index::SourceState;
use crate::reports::{Desk, Tally};
use crate::served::{Served, Share};

/// Returns all metric families of a hub. `leads` tells whether it holds the lease.
pub fn of(feed: &Feed, desk: &Desk, leads: bool, pools: &[Usage]) -> Vec<Family> {
    let exhausted = [("exhausted", feed.exhausted_streams())];
    let refused = feed.door().refusals().into_iter().chain(exhausted);
    let refused = refused.map(|(reason, count)| (reason, count as f64));
    let mut all = vec![
        Family::gauge("portreeve_hub_leader", "1 for the hub that writes conditions")
            .value(f64::from(u8::from(leads))),
        Family::counter("portreeve_hub_refused_agents", "Refused agents, by reason").each("reason", refused),
    ];
    let (served, tally) = (feed.served(), desk.tally());
    let streams = [("feed", served.streams), ("reports", tally.streams)];
    let streams = streams.map(|(kind, count)| (kind, count as f64));
    all.push(Family::gauge("portreeve_hub_streams", "Streams of agents, by type").each("kind", streams));
    all.push(Family::histogram(
        "portreeve_hub_convergence_seconds",
        "From an object's new generation to its last wanted proxy's acknowledgement",
        feed.course(|course| course.spent().clone()),
    ));
    all.extend(published(&served));
    all.extend(watched(&served));
    all.extend(sources(&served));
    all.extend(reported(tally));
    all.extend(addresses(pools));
    all
}

/// Metrics of the address pools of API C, under the names of the original's (seed C.3 "Address").
fn addresses(pools: &[Usage]) -> Vec<Family> {
    let sizes = pools.iter().map(|(pool, size, _)| (pool.clone(), *size as f64));
    let in_use = pools.iter().map(|(pool, _, in_use)| (pool.clone(), *in_use as f64));
    vec![
        Family::gauge("epic_address_pool_size", "Number of addresses of a pool").each("pool", sizes),
        Family::gauge("epic_addresses_in_use", "Number of a pool's addresses that are in use")
            .each("pool", in_use),
    ]
}

/// Metrics of the watched objects.
fn watched(served: &Served) -> Vec<Family> {
    let census = &served.census;
    let others = [("pod", census.pods), ("node", census.nodes), ("namespace", census.namespaces)];
    let objects = census.objects.iter().copied().chain(others).map(|(kind, count)| (kind, count as f64));
    let seen = served.seen.kinds().map(|(kind, revision)| (kind, revision as f64));
    let heard = served.pulse.beats().map(|(kind, beat)| (kind, beat.heard_ms as f64 / 1000.0));
    let failures = served.pulse.beats().map(|(kind, beat)| (kind, beat.failures as f64));
    vec![
        Family::gauge("portreeve_hub_objects", "Watched objects").each("kind", objects),
        Family::gauge("portreeve_hub_refused_objects", "Custom resources whose newest version is rejected")
            .value(census.refused as f64),
        Family::gauge("portreeve_hub_watermark", "Highest resourceVersion seen of each watched kind")
            .each("kind", seen),
        Family::gauge(
            "portreeve_hub_watch_last_event_timestamp_seconds",
            "Time of the last event of the watch of a kind, since 1970",
        )
        .each("kind", heard),
        Family::counter("portreeve_hub_watch_failures", "Failures of the watch of a kind")
            .each("kind", failures),
    ]
}

/// Metrics of the sources, which are other Kubernetes clusters.
fn sources(served: &Served) -> Vec<Family> {
    let of = |value: fn(&SourceState) -> f64| {
        served.census.sources.iter().map(move |source| (source.name.to_string(), value(source)))
    };
    vec![
        Family::gauge("portreeve_hub_source_pods", "Pods of a source that are members of clusters")
            .each("source", of(|source| source.pods as f64)),
        Family::gauge(
            "portreeve_hub_source_lost_timestamp_seconds",
            "Since when a source can't be read, since 1970; 0: it can be read",
        )
        .each("source", of(|source| source.lost_ms.unwrap_or_default() as f64 / 1000.0)),
        Family::gauge(
            "portreeve_hub_source_withdrawn",
            "1 if a source could not be read for so long that its pods were withdrawn",
        )
        .each("source", of(|source| f64::from(u8::from(source.withdrawn)))),
        Family::gauge(
            "portreeve_hub_refused_sources",
            "Sources that were given but are not used as given now",
        )
        .value(served.census.refused_sources as f64),
    ]
}

/// Metrics of what agents are served.
fn published(served: &Served) -> Vec<Family> {
    let of = |count: fn(&Share) -> usize| {
        served.agents.iter().map(move |(node, share)| (node.to_string(), count(share) as f64))
    };
    vec![
        Family::gauge("portreeve_hub_plans", "Served Plans").value(served.census.plans as f64),
        Family::gauge("portreeve_hub_groups", "Groups of endpoints").value(served.census.groups as f64),
        Family::gauge("portreeve_hub_agents", "Nodes whose agent is connected to this hub")
            .value(served.agents.len() as f64),
        Family::gauge("portreeve_hub_node_resources", "Resources of a node")
            .each("node", of(|share| share.resources)),
        Family::gauge("portreeve_hub_node_resource_bytes", "Size of the resources of a node")
            .each("node", of(|share| share.bytes)),
        Family::counter("portreeve_hub_published_resources", "Resources published to agents")
            .value(served.pushed as f64),
        Family::counter("portreeve_hub_pushes", "Published changes, each of one node's resources")
            .value(served.pushes as f64),
    ]
}

fn reported(tally: Tally) -> Vec<Family> {
    let nodes = [("heard", tally.heard), ("silent", tally.silent)].map(|(state, n)| (state, n as f64));
    let proxies = [
        ("wanted", tally.plans.wanted),
        ("acked", tally.plans.acked),
        ("refused", tally.plans.refused),
        ("unreachable", tally.plans.unreachable),
    ];
    let proxies = proxies.map(|(state, count)| (state, count as f64));
    let kept = [("running", tally.plans.running), ("failing", tally.plans.failing)]
        .map(|(state, n)| (state, n as f64));
    vec![
        Family::gauge(
            "portreeve_hub_behind_seconds",
            "How much longer agents may be silent because this hub is late; 0: it is not late",
        )
        .value(tally.stretch.as_secs_f64()),
        Family::gauge("portreeve_hub_waiting_verdicts", "Nodes whose verdicts wait to be published")
            .value(tally.waiting as f64),
        Family::gauge(
            "portreeve_hub_overdue_verdicts_seconds",
            "How long the verdicts that are published next have been due",
        )
        .value(tally.overdue.as_secs_f64()),
        Family::gauge("portreeve_hub_nodes", "Nodes by whether their agent reports").each("state", nodes),
        Family::gauge("portreeve_hub_plan_proxies", "Proxies by state, once for each of their Plans")
            .each("state", proxies),
        Family::gauge("portreeve_hub_node_proxies", "NodeProxies by state, once for each of their nodes")
            .each("state", kept),
        Family::gauge("portreeve_hub_port_conflicts", "Listeners that lost their port to an older object")
            .value(tally.plans.conflicts as f64),
    ]
}
