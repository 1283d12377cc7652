//! A hub that is restricted to some namespaces: lists of one leave the others' objects, and NodeProxies of others have no
//! conditions of it.

use super::*;

/// A node with a NodeProxy for all namespaces and, in each of two namespaces, a worker and an object.
fn mk_two() -> (Index, Fleet) {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_node("n1".into(), mk_labels("edge=yes"), 0);
    index.apply_proxy(&mk_proxy("gw", "edge=yes", "app=gw", json!({"from": "All"})), 0);
    for namespace in ["ns", "more"] {
        index.apply(&object_of(namespace));
        index.reset_pods(Some(&namespace.into()), vec![pod_of(namespace)], 0);
    }
    fleet.follow(&mut index);
    (index, fleet)
}

fn object_of(namespace: &str) -> VirtualService {
    let mut object = mk_vs("call", "app=gw", &["app=w"]);
    object.metadata.namespace = Some(namespace.into());
    object
}

fn proxy_key(name: &str) -> ObjectRef {
    ObjectRef::cluster_scoped(&portreeve_api::own::node_proxy::KIND, name)
}

fn pod_of(namespace: &str) -> Pod {
    Pod { namespace: namespace.into(), ..mk_pod(&format!("w-{namespace}"), "app=w", "n1") }
}

#[test]
fn list_of_one_namespace_ends_only_what_is_gone_there() {
    let (mut index, mut fleet) = mk_two();
    assert_eq!(fleet.plans("n1"), ["A/more/call", "A/ns/call"]);
    index.reset_pods(Some(&"more".into()), Vec::new(), 0);
    index.keep_objects(&KIND, Some(&"more".into()), &BTreeSet::new(), 0);
    fleet.follow(&mut index);
    assert_eq!(fleet.plans("n1"), ["A/ns/call"]);
    assert_eq!(index.census().pods, 1);
    index.reset_pods(None, Vec::new(), 0);
    index.keep_objects(&KIND, None, &BTreeSet::new(), 0);
    fleet.follow(&mut index);
    assert_eq!((fleet.plans("n1").len(), index.census().pods), (0, 0));
}

#[test]
fn node_proxy_is_spoken_of_only_where_it_takes_objects_of_no_other_hubs_namespaces() {
    let list = |names: &[&str]| json!({"from": "List", "names": names});
    let table = [
        (json!({"from": "All"}), false),
        (list(&["ns"]), true),
        (list(&["ns", "more"]), true),
        (list(&["ns", "elsewhere"]), false),
        (list(&["elsewhere"]), false),
    ];
    for (allowed, expected) in table {
        let (some, key) = ("ns,more".parse().unwrap(), proxy_key("gw"));
        let mut index = mk_index().restricted(&some);
        let proxy = mk_proxy("gw", "edge=yes", "app=gw", allowed.clone());
        index.apply_proxy(&proxy, 0);
        assert_eq!(index.subject(&key).is_some(), expected, "{allowed}");
        let mut unrestricted = mk_index();
        unrestricted.apply_proxy(&proxy, 0);
        assert!(unrestricted.subject(&key).is_some(), "{allowed}");
    }
}

#[test]
fn labels_of_namespaces_make_a_node_proxy_this_hubs_or_not() {
    let key = proxy_key("gw");
    let mut index = mk_index().restricted(&"ns".parse().unwrap());
    let selector = json!({"matchLabels": {"team": "red"}});
    index.apply_proxy(
        &mk_proxy("gw", "edge=yes", "app=gw", json!({"from": "Selector", "selector": selector})),
        0,
    );
    assert!(index.subject(&key).is_none(), "it takes objects of no namespace");
    for (namespace, labels, expected) in [
        ("ns", "team=red", true),
        ("elsewhere", "team=red", false),
        ("elsewhere", "team=blue", true),
        ("ns", "team=blue", false),
    ] {
        index.take_affected();
        index.apply_namespace(&namespace.into(), mk_labels(labels), 0);
        assert!(index.take_affected().contains(&key), "{namespace} {labels}");
        assert_eq!(index.subject(&key).is_some(), expected, "{namespace} {labels}");
    }
}
