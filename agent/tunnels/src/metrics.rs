//! The metrics of EPIC's end ([`of_gateway`]) and of the customer's ([`of_client`]).

use portreeve_gue::client::Client;
use portreeve_gue::dropped::{Counts, Dropped};
use portreeve_gue::gateway::Gateway;
use portreeve_runtime::metrics::Family;
use portreeve_runtime::now_ms;

use crate::end::{Passed, Shared};

/// Returns the metrics of EPIC's end.
pub fn of_gateway(end: &Shared<Gateway>) -> Vec<Family> {
    let now = now_ms();
    let ages = Family::gauge(
        "portreeve_gue_ping_age_seconds",
        "Time since the last good ping of a tunnel, of those that came to this node",
    );
    let (tunnels, ages) = end.with(|end| {
        let known = end.peers().iter();
        let heard =
            known.filter_map(|(tunnel, known)| Some((*tunnel, end.of_tunnel(*tunnel)?, known.heard_ms?)));
        let ages = heard.fold(ages, |ages, (tunnel, of, at)| {
            let labels = vec![("load_balancer".into(), of.to_owned()), ("tunnel".into(), tunnel.to_string())];
            ages.sample(labels, now.saturating_sub(at) as f64 / 1000.0)
        });
        (end.tunnels() as f64, ages)
    });
    let tunnels =
        Family::gauge("portreeve_gue_tunnels", "Tunnels of this node's load balancers").value(tunnels);
    [tunnels, ages].into_iter().chain(common(end.counted())).collect()
}

/// Returns the metrics of the customer's end.
pub fn of_client(end: &Shared<Client>) -> Vec<Family> {
    let (tunnels, sessions) = end.with(|end| (end.tunnels() as f64, end.sessions() as f64));
    let all = [
        Family::gauge("portreeve_gue_tunnels", "Tunnels to EPIC").value(tunnels),
        Family::gauge("portreeve_gue_sessions", "Flows whose replies go into a tunnel").value(sessions),
    ];
    all.into_iter().chain(common(end.counted())).collect()
}

fn common((passed, dropped): (Passed, Counts)) -> [Family; 3] {
    let each = |outward: u64, inward: u64| [("out", outward as f64), ("in", inward as f64)];
    let reasons = Dropped::ALL.map(|reason| (reason.name(), dropped.of(reason) as f64));
    [
        Family::counter("portreeve_gue_packets", "Packets that passed a tunnel, by direction")
            .each("direction", each(passed.outward.packets, passed.inward.packets)),
        Family::counter("portreeve_gue_bytes", "Bytes of these packets without the tunnel's headers")
            .each("direction", each(passed.outward.bytes, passed.inward.bytes)),
        Family::counter("portreeve_gue_dropped", "Packets that were dropped, by reason")
            .each("reason", reasons),
    ]
}
