//! What is said of the tunnels of a load balancer.

use portreeve_api::plan;
use portreeve_api::report::TunnelStatus;
use serde_json::json;

use super::*;

/// A node's report on tunnels: of each its number, the last byte of the other end's address (0: not known), since when it is
/// there, and whether pings come.
fn reporting(node: &str, tunnels: &[(u32, u8, i64, bool)]) -> PlanReport {
    let tunnels = tunnels.iter().map(|(id, last, since_ms, heard)| {
        let at = Some(plan::Address { ip: format!("198.51.100.{last}"), port: 6080 });
        let peer = plan::TunnelPeer { at, group_id: 1, service_id: 3, since_ms: *since_ms };
        TunnelStatus { id: *id, peer: (*last > 0).then_some(peer), heard: *heard }
    });
    let tunnels = tunnels.collect();
    let word = word(node, [1, 1, 0, 0]);
    with(word, |status| (status.tunnels, status.endpoints, status.healthy) = (tunnels, 2, 2))
}

/// The numbers of the tunnels with the last bytes of their other ends.
fn ends(reports: &[PlanReport]) -> Option<Vec<(u64, String)>> {
    let fields = peers(&mk_served(&["a", "b"]), reports);
    let all = fields.get("tunnel-peers")?.as_array()?.clone();
    Some(
        all.iter()
            .map(|one| (one["tunnel-id"].as_u64().unwrap(), one["address"].as_str().unwrap().into()))
            .collect(),
    )
}

#[test]
fn other_end_is_the_one_that_was_learned_last_on_whichever_node() {
    let end = |id: u64, last: u8| (id, format!("198.51.100.{last}"));
    for (reports, expected) in [
        (vec![reporting("a", &[(4, 1, 10, true), (5, 2, 10, false)])], Some(vec![end(4, 1), end(5, 2)])),
        (
            vec![reporting("a", &[(4, 1, 10, false)]), reporting("b", &[(4, 2, 20, true)])],
            Some(vec![end(4, 2)]),
        ),
        (
            vec![reporting("a", &[(4, 2, 20, true)]), reporting("b", &[(4, 1, 10, false)])],
            Some(vec![end(4, 2)]),
        ),
        // Nothing is known, so what is stored stays.
        (vec![reporting("a", &[(4, 0, 0, false)])], None),
        (Vec::new(), None),
        // A node that doesn't have the Plan.
        (vec![reporting("c", &[(4, 1, 10, true)])], None),
    ] {
        assert_eq!(ends(&reports), expected, "{reports:?}");
    }
    let all = peers(&mk_served(&["a"]), &[reporting("a", &[(4, 1, 1500, true)])]);
    let entry = json!([{
        "tunnel-id": 4, "address": "198.51.100.1", "port": 6080, "group-id": 1, "service-id": 3,
        "since": "1970-01-01T00:00:01.5Z",
    }]);
    assert_eq!(all["tunnel-peers"], entry);
}

#[test]
fn tunnels_without_pings_make_it_unhealthy_or_degraded() {
    let counted = "2 of 2 endpoints healthy; pings come through";
    for (reports, status, reason, text) in [
        (
            vec![reporting("a", &[(4, 1, 1, true)]), reporting("b", &[(4, 1, 1, false)])],
            Status::True,
            Reason::Healthy,
            format!("{counted} 1 of 1 tunnels"),
        ),
        (
            vec![reporting("a", &[(4, 1, 1, true), (5, 0, 0, false)])],
            Status::True,
            Reason::Degraded,
            format!("{counted} 1 of 2 tunnels, none for 75 s through 5"),
        ),
        (
            vec![reporting("a", &[(4, 1, 1, false), (5, 0, 0, false)])],
            Status::False,
            Reason::Unhealthy,
            format!("{counted} 0 of 2 tunnels, none for 75 s through 4, 5"),
        ),
        (vec![reporting("a", &[])], Status::True, Reason::Healthy, "2 of 2 endpoints healthy".to_owned()),
    ] {
        let told = mk_subject(&["a", "b"]).status(&reports, Duration::ZERO).conditions;
        let healthy = told.into_iter().find(|one| one.type_ == ConditionType::Healthy).unwrap();
        assert_eq!((healthy.status, healthy.reason, healthy.message), (status, reason, text));
    }
}
