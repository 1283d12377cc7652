//! What is said of the interface that leads to a load balancer's pod.

use portreeve_api::report;
use serde_json::json;

use super::*;

fn leading(word: PlanReport, index: u32) -> PlanReport {
    with(word, |status| {
        status.interface = Some(report::Interface { index, name: format!("veth{index}") });
    })
}

#[test]
fn interface_is_told_until_a_proxy_runs_without_one() {
    let of = |index: Value, name: Value| Fields::from([("proxy-ifindex", index), ("proxy-ifname", name)]);
    let (running, starting, away) =
        (word("a", [1, 1, 0, 0]), word("a", [1, 0, 0, 0]), word("a", [1, 0, 0, 1]));
    let none = word("b", [0, 0, 0, 0]);
    let old = |word| with(word, |status| status.version = VERSION - 1);
    for (reports, expected) in [
        (vec![leading(running.clone(), 7)], of(json!(7), json!("veth7"))),
        (vec![none.clone(), leading(starting.clone(), 7)], of(json!(7), json!("veth7"))),
        (vec![running.clone()], of(Value::Null, Value::Null)),
        (vec![none.clone()], of(Value::Null, Value::Null)),
        (Vec::new(), of(Value::Null, Value::Null)),
        // It isn't known.
        (vec![starting], Fields::new()),
        (vec![none, away], Fields::new()),
        (vec![old(running.clone())], Fields::new()),
        (vec![old(leading(running, 7))], Fields::new()),
    ] {
        assert_eq!(interface(&mk_served(&["a"]), &reports), expected, "{reports:?}");
    }
}
