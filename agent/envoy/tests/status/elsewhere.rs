//! Plans whose rules lead to a cluster that another Plan defines.

use super::*;

/// The cluster's name in the proxy.
const TARGET: &str = "A/ns/target/c";

/// A Plan that defines only a cluster, for proxies with this label.
fn mk_target(app: &str) -> plan::Plan {
    let mut plan = mk_plan("target", 1, &["10.0.0.9"]);
    plan.listeners.clear();
    plan.workload.as_mut().unwrap().selector = Some((&selector::from_map(&labels(app))).into());
    plan
}

/// A Plan whose listener leads to that cluster.
fn mk_call() -> plan::Plan {
    let mut plan = mk_plan("call", 2, &[]);
    plan.clusters[0].elsewhere = Some(plan::cluster::Elsewhere::OtherPlan(TARGET.into()));
    plan
}

#[test]
fn plan_is_acked_when_the_proxy_runs_the_cluster_of_the_other_plan_too() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_target("gw"));
    rig.put_plan(&mk_call());
    rig.accept(&gateway("gw"), &[Envoy::Listener]);
    assert_eq!(rig.counts("call"), [1, 0, 0, 0, 0], "its cluster is still out");
    rig.accept(&gateway("gw"), &[Envoy::Cluster]);
    assert_eq!(rig.counts("call"), [1, 1, 0, 0, 0], "without a change of its own");
}

#[test]
fn plan_whose_cluster_another_plan_gives_to_other_proxies_says_which() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_target("other"));
    rig.put_plan(&mk_call());
    rig.accept_all(&gateway("gw"));
    let status = rig.status("call");
    assert_eq!((status.acked, status.nacked), (0, 1));
    let text = "nodeproxy/gw: waits for A/ns/target/c, which this proxy does not have: let the selector of A/ns/target \
                match the proxy, or lead no rule there";
    assert_eq!(status.refusal, text);

    rig.put_plan(&mk_target("gw"));
    assert_eq!(rig.counts("call"), [1, 0, 0, 0, 0], "the cluster is on its way");
    rig.accept_all(&gateway("gw"));
    assert_eq!(rig.counts("call"), [1, 1, 0, 0, 0]);
    assert_eq!(rig.status("call").refusal, "");

    rig.put_plan(&mk_target("other"));
    rig.accept_all(&gateway("gw"));
    assert_eq!(rig.counts("call"), [1, 0, 1, 0, 0], "the cluster was taken away");
    rig.world.apply_feed(PlanType::Plan, &[], &["A/ns/target".into()]).unwrap();
    assert_eq!(rig.counts("call"), [1, 0, 1, 0, 0], "and is gone");
}

#[test]
fn change_of_a_cluster_that_is_there_touches_no_plan_that_leads_to_it() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_target("gw"));
    rig.put_plan(&mk_call());
    rig.accept_all(&gateway("gw"));
    rig.world.take_touched();
    let mut target = mk_target("gw");
    target.clusters[0].endpoints.clear();
    rig.put_plan(&target);
    rig.accept(&gateway("gw"), &[Envoy::Cluster, Envoy::Endpoint]);
    let touched: Vec<_> = rig.world.take_touched().into_iter().map(|name| name.to_string()).collect();
    assert_eq!(touched, ["A/ns/target"]);
}
