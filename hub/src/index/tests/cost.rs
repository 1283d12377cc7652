//! What an event costs, counted in entries looked at: it must not grow with the cluster.

use super::health::{mk_checked, mk_health};
use super::*;

const SERVICES: usize = 10;
const PODS_OF_A_NODE: usize = 10;
const PODS_OF_A_GROUP: usize = 100;

fn member(i: usize, of: usize) -> Pod {
    // Groups lie across the nodes, as replicas do.
    let group = i % (of / PODS_OF_A_GROUP);
    mk_pod(&format!("pod-{i}"), &format!("app=app-{group},tier=all"), &format!("node-{}", i / PODS_OF_A_NODE))
}

fn mk_cluster(pods: usize) -> Index {
    let mut index = mk_index();
    (0..pods.div_ceil(PODS_OF_A_NODE)).for_each(|i| index.attach(&format!("node-{i}").as_str().into()));
    let nodes =
        (0..pods.div_ceil(PODS_OF_A_NODE)).map(|i| (format!("node-{i}").into(), mk_labels("kind=node")));
    // And one without pods, so that it is as far from the groups in every cluster.
    index.reset_nodes(nodes.chain([("edge".into(), mk_labels("kind=node"))]).collect(), 0);
    index.reset_pods(None, (0..pods).map(|i| member(i, pods)).collect(), 0);
    for i in 0..SERVICES {
        index.apply(&mk_vs(&format!("v{i}"), "role=gateway", &[&format!("app=app-{i}")]));
    }
    for i in 0..3 {
        index.apply_pod(mk_pod(&format!("gw-{i}"), "role=gateway", &format!("node-{i}")), 0);
    }
    for i in 0..pods.div_ceil(PODS_OF_A_NODE) {
        let node = format!("node-{i}");
        index.set_health(&node.as_str().into(), Some(&mk_health(&node, 1)));
    }
    index.take();
    index.take_verdicts();
    index
}

/// Entries that some events look at, and the nodes that each is sent to.
fn costs(pods: usize) -> Vec<(&'static str, u64, usize)> {
    let mut index = mk_cluster(pods);
    let mut costs = Vec::new();
    let mut measure = |what, event: &mut dyn FnMut(&mut Index)| {
        let before = index.visited();
        event(&mut index);
        let visited = index.visited() - before;
        costs.push((what, visited, taken(&mut index).len()));
    };
    measure("health of a node", &mut |i| i.set_health(&"node-0".into(), Some(&mk_health("node-0", 2))));
    measure("pod becomes unready", &mut |i| i.apply_pod(Pod { ready: false, ..member(3, pods) }, 0));
    measure("the same pod again", &mut |i| i.apply_pod(Pod { ready: false, ..member(3, pods) }, 0));
    measure("pod is deleted", &mut |i| i.delete_pod(&"pod-3".into(), 0));
    measure("pod that nobody selects", &mut |i| i.apply_pod(mk_pod("new", "tier=all", "node-1"), 0));
    measure("new VirtualService", &mut |i| i.apply(&mk_vs("new", "role=gateway", &["app=app-4,tier=all"])));
    measure("changed VirtualService", &mut |i| i.apply(&mk_vs("new", "role=gateway", &["app=app-5"])));
    measure("deleted VirtualService", &mut |i| i.delete(&key("new")));
    measure("VirtualService with checks", &mut |i| {
        i.apply(&mk_checked("checked", "app=app-6", &[(1000, 7)]))
    });
    measure("probed pod becomes unready", &mut |i| i.apply_pod(Pod { ready: false, ..member(6, pods) }, 0));
    measure("probed pod becomes ready", &mut |i| i.apply_pod(member(6, pods), 0));
    measure("node's label", &mut |i| i.apply_node("edge".into(), mk_labels("kind=node,edge=yes"), 0));
    measure("NodeProxy of one node", &mut |i| {
        i.apply_proxy(&mk_proxy("x", "edge=yes", "role=gateway", json!({"from": "All"})), 0)
    });
    measure("node's label again", &mut |i| i.apply_node("edge".into(), mk_labels("kind=node"), 0));
    measure("end of grace", &mut |i| drop(i.tick(10 * GRACE_MS)));
    costs
}

#[test]
fn event_cost_does_not_grow_with_the_cluster() {
    let (small, large) = (costs(1_000), costs(100_000));
    for ((what, of_small, nodes), (_, of_large, nodes_of_large)) in small.iter().zip(&large) {
        assert_eq!(nodes, nodes_of_large, "{what}");
        assert!(
            of_large.abs_diff(*of_small) <= 8,
            "{what}: {of_small} entries at 1,000 pods, {of_large} at 100,000"
        );
        println!("{what}: {of_large} entries, sent to {nodes_of_large} nodes");
        // Who is new to a group of 100 endpoints is told of the health of 100 nodes, and who leaves it forgets them.
        let told = match *what {
            "NodeProxy of one node" | "end of grace" => 2 * (SERVICES + 1) * PODS_OF_A_GROUP,
            "changed VirtualService" | "new VirtualService" | "VirtualService with checks" => {
                3 * PODS_OF_A_GROUP
            }
            _ => 0,
        } as u64;
        assert!(*of_large <= 400 + told, "{what}: {of_large} entries");
    }
    let cost_of =
        |what: &str| large.iter().find(|(w, ..)| *w == what).map(|(_, cost, nodes)| (*cost, *nodes)).unwrap();
    assert_eq!(cost_of("the same pod again"), (0, 0));
    assert_eq!(cost_of("pod that nobody selects").1, 0);
    assert!(cost_of("pod that nobody selects").0 <= 2, "{large:?}");
    assert_eq!(cost_of("pod becomes unready").1, 3, "only to the gateways");
    assert_eq!(cost_of("health of a node").1, 2, "only to the gateways, less the one on that node");
    assert!(cost_of("health of a node").0 <= 40, "{large:?}");
    assert_eq!(cost_of("probed pod becomes ready").1, 3, "the node itself is one of the gateways'");
}

#[test]
fn selectors_that_share_a_common_label_are_looked_up_under_the_rare_one() {
    let mut index = mk_index();
    for i in 0..200 {
        let workload = format!("app=common,zz-call=call-{i}");
        index.apply(&mk_vs(&format!("v{i}"), &workload, &["app=w"]));
    }
    let before = index.visited();
    index.apply_pod(mk_pod("p", "app=common,zz-call=call-7", "n1"), 0);
    assert!(index.visited() - before < 20, "{} entries", index.visited() - before);
    assert_eq!(index.take().len(), 1);
}

#[test]
fn objects_with_the_same_proxies_share_the_list_of_their_nodes() {
    let mut index = mk_index();
    for i in 0..3 {
        index.apply(&mk_vs(&format!("v{i}"), "app=gw", &["app=w"]));
    }
    let nodes = |index: &Index| {
        let of = |name: &str| index.subject(&key(name)).and_then(|subject| subject.served).unwrap().nodes;
        assert!(Arc::ptr_eq(&of("v0"), &of("v1")) && Arc::ptr_eq(&of("v1"), &of("v2")));
        of("v0").iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(nodes(&index), [""; 0]);
    index.apply_pod(mk_pod("p1", "app=gw", "n1"), 0);
    index.apply_pod(mk_pod("p2", "app=gw", "n1"), 0);
    index.apply_pod(mk_pod("p3", "app=gw", "n2"), 0);
    assert_eq!(nodes(&index), ["n1", "n2"]);
    index.delete_pod(&"p1".into(), 0);
    index.delete_pod(&"p3".into(), 0);
    assert_eq!(nodes(&index), ["n1"], "without those in their grace period");
    index.apply_pod(mk_pod("p3", "app=gw", "n2"), 0);
    assert_eq!(nodes(&index), ["n1", "n2"]);
}

/// Entries that are looked at when a NodeProxy's nodes go from one to `nodes`, until all of them have their changes.
fn cost_of_widening(nodes: usize) -> u64 {
    let mut index = mk_cluster(nodes * PODS_OF_A_NODE);
    index.apply_proxy(&mk_proxy("x", "kind=none", "role=gateway", json!({"from": "All"})), 0);
    index.take();
    let before = index.visited();
    index.apply_proxy(&mk_proxy("x", "kind=node", "role=gateway", json!({"from": "All"})), 0);
    // Every node has the proxy, its Plans with a group of four slices each, and the Health of the groups' nodes.
    let told = taken(&mut index);
    assert_eq!(told.len(), nodes + 1);
    let new = &told[&Name::from("edge")];
    assert_eq!((new.upsert.len(), new.remove.len()), (1 + 6 * SERVICES + PODS_OF_A_GROUP, 0));
    index.visited() - before
}

#[test]
fn nodes_that_come_to_a_proxy_together_are_told_together() {
    let (small, large) = (cost_of_widening(1_000), cost_of_widening(2_000));
    // For each node its Plans and groups; what the groups hold, once for all. Each group's hundred places for each node
    // would be a million entries.
    let per_node = (2 * SERVICES + 2) as u64;
    assert!(small <= 1_000 * per_node + 4_000, "{small} entries for 1,000 nodes");
    assert!(large - small <= 1_000 * per_node, "{} entries for 1,000 nodes more", large - small);
}

#[test]
fn a_changed_pod_keeps_its_first_uid_everywhere() {
    let mut index = mk_index();
    index.apply_pod(mk_pod("w", "app=w", "n1"), 0);
    let first = index.selections.uid_of(&"w".into());
    let held = Arc::strong_count(&first);
    for (labels, ready) in [("app=w", false), ("app=w,new=label", false), ("app=w", true)] {
        index.apply_pod(Pod { ready, ..mk_pod("w", labels, "n1") }, 0);
    }
    assert!(Arc::ptr_eq(&first, &index.selections.uid_of(&"w".into())), "a second copy of the uid is kept");
    assert_eq!(Arc::strong_count(&first), held, "another part of the index keeps another copy");
}
