//! The hub's responses: an incomplete or undecodable one changes nothing.

use super::*;

fn slices(shards: usize, pods: &[&[u8]]) -> Vec<(String, Vec<u8>)> {
    let slice = |(i, pods): (usize, &&[u8])| {
        (names::slice_name(W, shards, i).to_string(), mk_slice(pods).encode_to_vec())
    };
    pods.iter().enumerate().map(slice).collect()
}

#[test]
fn plan_is_published_with_its_whole_group_and_not_before() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("call", 1, 2000, group()));
    assert!(rig.listeners(&gateway()).is_empty());
    rig.put(PlanType::Group, W, &plan::Group { shards: 2, ..Default::default() });
    rig.put(PlanType::Slice, &names::slice_name(W, 2, 0), &mk_slice(&[1]));
    assert!(rig.listeners(&gateway()).is_empty());
    rig.put(PlanType::Slice, &names::slice_name(W, 2, 1), &mk_slice(&[2]));
    assert_eq!(rig.listeners(&gateway()), ["A/ns/call/l"]);
    assert_eq!(rig.names(&gateway(), Envoy::Cluster).unwrap(), ["A/ns/call/c"]);
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.1", "10.0.1.2"]);
}

#[test]
fn group_without_shards_is_not_an_empty_group() {
    let mut rig = Rig::new();
    rig.put_group(&[1]);
    rig.put_plan(&mk_plan("call", 1, 2000, group()));
    rig.put(PlanType::Group, W, &plan::Group::default());
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.1"]);
}

#[test]
fn last_endpoint_leaves_and_the_empty_assignment_stays() {
    let mut rig = Rig::new();
    rig.put_group(&[1]);
    rig.put_plan(&mk_plan("call", 1, 2000, group()));
    rig.put_group(&[]);
    assert_eq!(rig.endpoints("call"), Some(vec![]));
    assert_eq!(rig.listeners(&gateway()), ["A/ns/call/l"]);
}

#[test]
fn pod_that_its_own_node_saw_go_leaves_without_the_hub_and_comes_back_with_its_uid_alone() {
    let mut rig = Rig::new();
    rig.world.set_node("n");
    rig.put_group(&[1, 2]);
    rig.put_plan(&mk_plan("call", 1, 2000, group()));
    rig.world.apply_pod(mk_pod("uid-1", "w"));
    rig.world.delete_pod(&"uid-1".into());
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.2"]);
    // A hub that has not seen the deletion yet does not bring the pod back.
    rig.put_group(&[1, 2, 3]);
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.2", "10.0.1.3"]);
    rig.world.apply_pod(mk_pod("uid-1", "w"));
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.1", "10.0.1.2", "10.0.1.3"]);
    rig.world.delete_pod(&"uid-1".into());
    rig.put_group(&[2]);
    rig.put_group(&[1, 2]);
    assert_eq!(
        rig.endpoints("call").unwrap(),
        ["10.0.1.1", "10.0.1.2"],
        "once the hub has taken it out, its word counts"
    );
    let before = rig.world.translated();
    rig.world.delete_pod(&"uid-7".into());
    assert_eq!(rig.world.translated(), before, "nobody uses it");
}

#[test]
fn list_of_the_nodes_pods_is_newer_than_what_was_kept_and_older_than_what_the_hub_says() {
    let kept = |node: &str| {
        let mut slice = mk_slice(&[1, 2]);
        slice.endpoints.iter_mut().for_each(|endpoint| endpoint.node = node.into());
        slice.encode_to_vec()
    };
    // Node of the pods, whether the hub sends them again, and the number of endpoints left after an empty
    // list.
    for (node, heard, left) in [("n", false, 0), ("other", false, 2), ("n", true, 2)] {
        let mut rig = Rig::new();
        rig.world.set_node("n");
        rig.put_plan(&mk_plan("call", 1, 2000, group()));
        rig.put(PlanType::Group, W, &plan::Group { shards: 1, ..Default::default() });
        let (name, body) = (names::slice_name(W, 1, 0), Bytes::from(kept(node)));
        let sent = vec![(name, Version::of(&body), body)];
        match heard {
            true => drop(rig.world.apply_feed(PlanType::Slice, &sent, &[])),
            false => drop(rig.world.restore_feed(&BTreeMap::from([(PlanType::Slice, sent)]), true)),
        }
        assert_eq!(rig.endpoints("call").unwrap().len(), 2);
        rig.world.reset_pods(Vec::new());
        assert_eq!(rig.endpoints("call").unwrap().len(), left, "{node} {heard}");
    }
}

#[test]
fn growth_over_two_responses_publishes_nothing_in_between() {
    let mut rig = Rig::new();
    rig.put_group(&[1, 2, 3]);
    rig.put_plan(&mk_plan("call", 1, 2000, group()));
    let mut watched = rig.watch(Envoy::Endpoint);
    watched.watch.request(
        Request { subscribe: vec!["A/ns/call/c".into()], ..Request::new(Kind::Known(Envoy::Endpoint)) },
        Instant::now(),
    );
    watched.next();
    let grown = slices(2, &[&[1, 3], &[2, 4]]);
    let grown: Vec<_> = grown.iter().map(|(name, body)| (name.as_str(), body.clone())).collect();
    rig.respond(PlanType::Slice, &grown, &[&names::slice_name(W, 1, 0)]).unwrap();
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.1", "10.0.1.2", "10.0.1.3"]);
    assert!(watched.next().is_empty());
    rig.put(PlanType::Group, W, &plan::Group { shards: 2, ..Default::default() });
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.4"]);
    assert_eq!(watched.next().len(), 1);
}

#[test]
fn edit_that_names_a_group_that_is_not_there_yet_keeps_the_previous_version() {
    let mut rig = Rig::new();
    rig.put_group(&[1]);
    rig.put_plan(&mk_plan("call", 1, 2000, group()));
    rig.put_plan(&mk_plan("call", 1, 2001, From::Group("ns/app=v".into())));
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.1"]);
    rig.put_group(&[1, 2]);
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.1"], "the old group is not the Plan's any more");
    rig.put(PlanType::Slice, &names::slice_name("ns/app=v", 1, 0), &mk_slice(&[7]));
    rig.put(PlanType::Group, "ns/app=v", &plan::Group { shards: 1, ..Default::default() });
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.7"]);
}

#[test]
fn removed_plan_takes_all_its_resources_along() {
    let mut rig = Rig::new();
    rig.put_group(&[1]);
    rig.put_plan(&mk_plan("call", 1, 2000, group()));
    rig.put_plan(&mk_plan("stays", 1, 2001, group()));
    rig.remove(PlanType::Plan, "A/ns/call");
    for ty in [Envoy::Cluster, Envoy::Endpoint] {
        assert_eq!(rig.names(&gateway(), ty).unwrap(), ["A/ns/stays/c"]);
    }
    assert_eq!(rig.listeners(&gateway()), ["A/ns/stays/l"]);
    assert!(rig.world.plan("A/ns/call").is_none());
}

#[test]
fn removed_group_leaves_the_plans_that_name_it_as_they_were() {
    let mut rig = Rig::new();
    rig.put_group(&[1]);
    rig.put_plan(&mk_plan("call", 1, 2000, group()));
    rig.remove(PlanType::Slice, &names::slice_name(W, 1, 0));
    rig.remove(PlanType::Group, W);
    rig.world.apply_pod(mk_pod("p", "other"));
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.1"]);
}

#[test]
fn response_that_cannot_be_decoded_is_refused_whole() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("old", 1, 2000, ip("10.0.0.9")));
    rig.put_plan(&mk_plan("gone", 1, 2001, ip("10.0.0.9")));
    let held = rig.world.held().clone();
    let good = mk_plan("new", 1, 2002, ip("10.0.0.9")).encode_to_vec();
    let upsert = [("A/ns/new", good), ("A/ns/bad", vec![0xff, 0xff, 0xff])];
    let refused = rig.respond(PlanType::Plan, &upsert, &["A/ns/gone"]).unwrap_err();
    assert!(refused.contains("A/ns/bad"), "{refused}");
    assert_eq!(*rig.world.held(), held);
    assert_eq!(rig.listeners(&gateway()), ["A/ns/gone/l", "A/ns/old/l"]);
    assert!(rig.world.plan("A/ns/gone").is_some());
}

#[test]
fn same_response_again_sends_nothing() {
    let mut rig = Rig::new();
    rig.put_group(&[1]);
    rig.put_plan(&mk_plan("call", 1, 2000, group()));
    let mut watched = rig.watch(Envoy::Listener);
    rig.put_plan(&mk_plan("call", 1, 2000, group()));
    rig.put_group(&[1]);
    assert!(watched.next().is_empty());
}

#[test]
fn what_is_held_is_told_by_version() {
    let mut rig = Rig::new();
    let plan = mk_plan("call", 1, 2000, group());
    rig.put_plan(&plan);
    let key = (PlanType::Plan, Name::from("A/ns/call"));
    assert_eq!(rig.world.held()[&key], Version::of(&plan.encode_to_vec()));
    rig.remove(PlanType::Plan, "A/ns/call");
    assert!(!rig.world.held().contains_key(&key));
}

#[test]
fn world_is_complete_after_a_response_of_every_type() {
    let mut rig = Rig::new();
    for ty in PlanType::ALL.iter().filter(|ty| **ty != PlanType::NodeProxy) {
        assert!(!rig.world.complete(), "before {ty:?}");
        rig.respond(*ty, &[], &[]).unwrap();
    }
    assert!(rig.world.complete());
}

#[test]
fn plan_with_tls_is_published_with_its_secrets_and_keeps_them_when_they_go() {
    let mut rig = Rig::new();
    let mut plan = mk_plan("call", 1, 2000, group());
    let tls = |name: &str| plan::Tls { certificate: name.into(), ..Default::default() };
    plan.listeners[0].socket.as_mut().unwrap().set_protocol(plan::Protocol::Tcp);
    plan.clusters[0].socket.get_or_insert_default().set_protocol(plan::Protocol::Tcp);
    plan.listeners[0].tls = Some(tls("ns/web/tls.crt"));
    rig.put_group(&[1]);
    rig.put_plan(&plan);
    assert!(rig.listeners(&gateway()).is_empty());
    let pair = |key: &'static str| plan::Secret { private_key: key.into(), ..Default::default() };
    rig.put(PlanType::Secret, "ns/other/tls.crt", &pair("other"));
    assert!(rig.listeners(&gateway()).is_empty());
    rig.put(PlanType::Secret, "ns/web/tls.crt", &pair("one"));
    assert_eq!(rig.listeners(&gateway()), ["A/ns/call/l"]);
    let names = ["A/ns/call/l/server-certificate"];
    assert_eq!(rig.names(&gateway(), Envoy::Secret).unwrap(), names);
    let before = rig.version((Envoy::Secret, names[0]));
    rig.put(PlanType::Secret, "ns/web/tls.crt", &pair("two"));
    assert_ne!(rig.version((Envoy::Secret, names[0])), before);
    rig.remove(PlanType::Secret, "ns/web/tls.crt");
    assert_eq!(rig.listeners(&gateway()), ["A/ns/call/l"]);
    assert_eq!(rig.names(&gateway(), Envoy::Secret).unwrap(), names);
}
