//! What changes cost in requests.

use anyhow::{Result, ensure};
use portreeve_l7mp::Desired;
use portreeve_tests::l7mp::Settings;
use serde_json::json;

use crate::objects::{put_cluster, put_listener, retried, to};
use crate::rig::Rig;

/// Number of listeners.
const LISTENERS: u16 = 200;
/// Requests of a change beside those that change objects: for a look at sessions, and for the rule lists of two listeners.
const AROUND: usize = 3;

fn mk_desired() -> Desired {
    let mut desired = Desired::default();
    put_cluster(&mut desired, "B/T/c", json!({"protocol": "Echo"}), &[]);
    for at in 0..LISTENERS {
        let spec = json!({"protocol": "UDP", "port": 20000 + at});
        put_listener(&mut desired, &format!("B/V/{at}"), spec, vec![to("B/T/c")]);
    }
    desired
}

#[test]
fn each_listener_costs_one_request_and_a_changed_rule_four() -> Result<()> {
    Rig::run_calm(Settings { strict: true, ..Settings::default() }, async |rig| {
        // The driver has read everything back when it has acknowledged something.
        let mut desired = Desired::default();
        put_cluster(&mut desired, "B/T/c", json!({"protocol": "Echo"}), &[]);
        rig.apply(&desired, 2).await?;
        let before = rig.proxy.requests();
        desired = mk_desired();
        rig.apply(&desired, usize::from(LISTENERS)).await?;
        let cost = rig.proxy.requests() - before;
        let expected = usize::from(LISTENERS);
        ensure!((expected..=expected + AROUND).contains(&cost), "{cost} requests for {LISTENERS} listeners");
        let before = rig.proxy.requests();
        let spec = json!({"protocol": "UDP", "port": 20007});
        put_listener(&mut desired, "B/V/7", spec, vec![retried("B/T/c", 7)]);
        rig.apply(&desired, 1).await?;
        desired.listeners.remove("B/V/8" as &str);
        rig.want(&desired);
        rig.told("a removal", |answer| matches!(answer, portreeve_l7mp::Answer::Removed { .. })).await?;
        let cost = rig.proxy.requests() - before;
        // Insert, unlink, delete the rule and its route; delete a listener with its list, rule and route.
        ensure!(
            (8..=8 + AROUND).contains(&cost),
            "{cost} requests for a changed rule and a removed listener"
        );
        Ok(())
    })
}
