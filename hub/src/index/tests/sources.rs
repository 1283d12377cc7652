//! Pods of other Kubernetes clusters: which groups they join, and what becomes of them when their source can't be read.

use portreeve_api::conditions::{ConditionType, Reason, Status};
use portreeve_api::d::egress_listener::EgressListener;
use portreeve_api::d::ingress_listener::IngressListener;
use portreeve_api::pod::{PROXY_NAME_ANNOTATION, annotation_attribute};

use super::*;
use crate::selection::{PodSelection, Selection};

const SOURCE_GRACE_MS: i64 = 60_000;

fn group(cluster: &str, unready: bool) -> String {
    let pods = PodSelection::of_cluster("cluster-name.envoy.uw.io", cluster, unready);
    Selection::Pods(pods).name().to_string()
}

fn mk_egress(name: &str, cluster: &str) -> EgressListener {
    let spec = json!({"nodename": "web", "listenport": 9090, "target": {"cluster": cluster, "port": 80}});
    EgressListener::parse(mk_object("EgressListener", name, &spec)).unwrap().0
}

fn mk_ingress(name: &str, cluster: &str) -> IngressListener {
    let spec = json!({"nodename": "web", "listenport": 8080, "targetport": 80, "rbac": {"cluster": cluster}});
    IngressListener::parse(mk_object("IngressListener", name, &spec)).unwrap().0
}

fn mk_object(kind: &str, name: &str, spec: &Value) -> Value {
    let meta = json!({"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "generation": 1});
    let version = format!("{}.envoy.uw.systems/v1alpha1", kind.to_lowercase());
    json!({"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec})
}

/// A ready pod on node "a" of its own cluster, with the labels and the proxy's name of pods of ours.
fn mk_member(name: &str, cluster: &str) -> Pod {
    let pairs =
        [("annotation:cluster-name.envoy.uw.io", cluster), ("annotation:portreeve.dev/proxy-name", "web")];
    let extra = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    Pod { extra, ..mk_pod(name, "app=gw", "a") }
}

/// A pod of ours in a cluster.
fn mk_own(cluster: &str) -> Pod {
    let extra = [("annotation:cluster-name.envoy.uw.io".to_owned(), cluster.to_owned())].into();
    Pod { extra, ..mk_pod("own", "app=gw", "a") }
}

/// A pod on node "a" whose annotation names its proxy.
fn mk_web() -> Pod {
    let extra = [(annotation_attribute(PROXY_NAME_ANNOTATION), "web".to_owned())].into();
    Pod { extra, ..mk_pod("web", "", "a") }
}

/// An index with a pod "web" on node "a", both kinds of listeners for cluster "bar", an EgressListener for cluster "foo",
/// and the sources aws and gcp, which were not read yet.
fn mk_bed() -> Index {
    let mut index = mk_index();
    index.set_source_grace(SOURCE_GRACE_MS);
    index.apply_pod(mk_web(), 0);
    index.apply_object(&mk_egress("bar", "bar"), 0);
    index.apply_object(&mk_ingress("bar-in", "bar"), 0);
    index.apply_object(&mk_egress("foo", "foo"), 0);
    index.add_source(&"aws".into(), 0);
    index.add_source(&"gcp".into(), 0);
    index
}

/// The same, after both sources were read: gcp with the pods `p` and `q` of cluster "bar".
fn mk_read() -> Index {
    let mut index = mk_bed();
    index.reset_source(&"aws".into(), Vec::new());
    index.reset_source(&"gcp".into(), vec![mk_member("p", "bar"), mk_member("q", "bar")]);
    index
}

/// Status, reason and message of an object's ResolvedRefs.
fn resolved(
    index: &mut Index,
    kind: &'static portreeve_api::kind::Kind,
    name: &str,
) -> (Status, Reason, String) {
    index.take_verdicts();
    let subject = index.subject(&ObjectRef::namespaced(kind, "ns", name)).unwrap();
    let conditions = subject.status(&[], std::time::Duration::ZERO).conditions;
    let one = conditions.into_iter().find(|one| one.type_ == ConditionType::ResolvedRefs).unwrap();
    (one.status, one.reason, one.message)
}

fn of_egress(index: &mut Index, name: &str) -> (Status, Reason, String) {
    resolved(index, &portreeve_api::d::egress_listener::KIND, name)
}

fn of_ingress(index: &mut Index, name: &str) -> (Status, Reason, String) {
    resolved(index, &portreeve_api::d::ingress_listener::KIND, name)
}

#[test]
fn one_cluster_name_in_two_sources_is_one_cluster_of_all_their_pods() {
    let (mut index, mut fleet) = (mk_bed(), Fleet::default());
    index.apply_pod(mk_own("bar"), 0);
    // Both sources have a pod with the uid of one of ours.
    index.reset_source(&"aws".into(), vec![mk_member("own", "bar"), mk_member("other", "foo")]);
    index.reset_source(&"gcp".into(), vec![Pod { ready: false, ..mk_member("own", "bar") }]);
    fleet.follow(&mut index);
    assert_eq!(fleet.group("a", &group("bar", false)).unwrap(), ["aws/own", "own"]);
    assert_eq!(fleet.group("a", &group("bar", true)).unwrap(), ["aws/own", "gcp/own", "own"]);
    assert_eq!(fleet.group("a", &group("foo", false)).unwrap(), ["aws/other"]);
    index.delete_pod(&"own".into(), 0);
    index.apply_source_pod(&"gcp".into(), &mk_member("own", "bar"));
    index.apply_source_pod(&"aws".into(), &mk_member("own", "foo"));
    fleet.follow(&mut index);
    assert_eq!(fleet.group("a", &group("bar", false)).unwrap(), ["gcp/own"]);
    assert_eq!(fleet.group("a", &group("foo", false)).unwrap(), ["aws/other", "aws/own"]);
    index.apply_source_pod(&"gcp".into(), &Pod { finished: true, ..mk_member("own", "bar") });
    fleet.follow(&mut index);
    assert_eq!(fleet.group("a", &group("bar", true)).unwrap(), [""; 0], "it has ended");
    index.delete_source_pod(&"aws".into(), "own");
    index.apply_source_pod(&"aws".into(), &Pod { extra: BTreeMap::new(), ..mk_member("other", "foo") });
    fleet.follow(&mut index);
    assert_eq!(fleet.group("a", &group("foo", false)).unwrap(), [""; 0]);
    fleet.assert_complete(&index, &["a"]);
}

#[test]
fn pods_of_sources_are_in_groups_of_clusters_only_and_on_no_node() {
    let (mut index, mut fleet) = (mk_bed(), Fleet::default());
    // It selects the labels that the sources' pods have.
    index.apply_object(&mk_vs("labels", "role=web", &["app=gw"]), 0);
    index.apply_pod(Pod { labels: mk_labels("role=web"), ..mk_web() }, 0);
    index.apply_pod(mk_pod("own", "app=gw", "a"), 0);
    index.reset_source(
        &"gcp".into(),
        vec![mk_member("p", "bar"), Pod { node: Some("b".into()), ..mk_member("q", "bar") }],
    );
    assert_eq!(fleet.follow(&mut index), ["a"]);
    assert_eq!(fleet.plans("b"), [""; 0]);
    assert_eq!(
        fleet.plans("a"),
        ["A/ns/labels", "D/EgressListener/ns/bar", "D/EgressListener/ns/foo", "D/IngressListener/ns/bar-in"]
    );
    assert_eq!(fleet.group("a", "ns/app=gw").unwrap(), ["own"]);
    assert_eq!(index.selections.pods().len(), 2);
    // Its node is none of ours, and its own node's health is none of theirs.
    let held = &fleet.held["a"];
    let slices = held.iter().filter(|((ty, name), _)| *ty == PlanType::Slice && name.contains("bar"));
    let endpoints =
        slices.flat_map(|(_, slice)| plan::EndpointSlice::decode(slice.body()).unwrap().endpoints);
    let nodes: Vec<String> = endpoints.map(|endpoint| endpoint.node).collect();
    assert_eq!(nodes, [""; 4], "two pods in two groups");
    // The list of the own pods removes none of theirs, and theirs none of ours.
    index.reset_pods(
        None,
        vec![Pod { labels: mk_labels("role=web"), ..mk_web() }, mk_pod("own", "app=gw", "a")],
        0,
    );
    index.reset_source(&"aws".into(), Vec::new());
    fleet.follow(&mut index);
    assert_eq!(fleet.group("a", &group("bar", false)).unwrap(), ["gcp/p", "gcp/q"]);
    index.reset_source(&"gcp".into(), Vec::new());
    fleet.follow(&mut index);
    assert_eq!(fleet.group("a", "ns/app=gw").unwrap(), ["own"]);
}

#[test]
fn lost_source_keeps_its_pods_for_the_grace_and_tells_the_objects_concerned() {
    let (mut index, mut fleet) = (mk_read(), Fleet::default());
    fleet.follow(&mut index);
    let good = (Status::True, Reason::ResolvedRefs, String::new());
    assert_eq!(of_egress(&mut index, "bar"), good);
    index.source_failed(&"gcp".into(), "connection refused", 1_000);
    index.source_failed(&"gcp".into(), "timeout", 2_000);
    assert!(fleet.follow(&mut index).is_empty());
    let message = "source gcp can't be read since 1970-01-01T00:00:01Z (connection refused): its 2 pods stay until \
                   1970-01-01T00:01:01Z";
    assert_eq!(of_egress(&mut index, "bar"), (Status::True, Reason::SourceLost, message.into()));
    assert_eq!(of_ingress(&mut index, "bar-in"), (Status::True, Reason::SourceLost, message.into()));
    assert_eq!(of_egress(&mut index, "foo").1, Reason::NoEndpoints, "it has no pod of gcp");
    assert!(!of_egress(&mut index, "foo").2.contains("gcp"));
    // An object that is created now is told too.
    index.apply_object(&mk_egress("late", "bar"), 0);
    assert_eq!(of_egress(&mut index, "late").1, Reason::SourceLost);

    assert_eq!(index.deadline(), Some(61_000));
    assert!(index.tick(60_999).is_empty() && fleet.follow(&mut index) == ["a"], "the new object alone");
    assert_eq!(fleet.group("a", &group("bar", false)).unwrap(), ["gcp/p", "gcp/q"]);
    assert_eq!(index.tick(61_000), ["gcp".into()]);
    assert_eq!(index.deadline(), None);
    fleet.follow(&mut index);
    assert_eq!(fleet.group("a", &group("bar", false)).unwrap(), [""; 0]);
    assert_eq!(fleet.group("a", &group("bar", true)).unwrap(), [""; 0]);
    let (status, reason, message) = of_egress(&mut index, "bar");
    assert_eq!((status, reason), (Status::False, Reason::NoEndpoints));
    let told = "source gcp can't be read since 1970-01-01T00:00:01Z (connection refused): its 2 pods were withdrawn at \
                1970-01-01T00:01:01Z";
    assert!(message.ends_with(told), "{message}");
    // With another pod of ours its endpoints are not all gone.
    index.apply_pod(mk_own("bar"), 0);
    assert_eq!(of_egress(&mut index, "bar"), (Status::False, Reason::SourceLost, told.into()));
    assert!(!of_egress(&mut index, "foo").2.contains("gcp"));
    fleet.follow(&mut index);
    fleet.assert_complete(&index, &["a"]);
}

#[test]
fn source_that_is_back_replaces_its_pods_and_is_told_no_more() {
    let (mut index, mut fleet) = (mk_read(), Fleet::default());
    let good = (Status::True, Reason::ResolvedRefs, String::new());
    index.source_failed(&"gcp".into(), "away", 1_000);
    assert_eq!(of_egress(&mut index, "bar").1, Reason::SourceLost);
    index.reset_source(&"gcp".into(), vec![mk_member("q", "bar"), mk_member("r", "bar")]);
    fleet.follow(&mut index);
    assert_eq!(fleet.group("a", &group("bar", false)).unwrap(), ["gcp/q", "gcp/r"]);
    assert_eq!(
        (of_egress(&mut index, "bar"), of_ingress(&mut index, "bar-in")),
        (good.clone(), good.clone())
    );
    assert_eq!(index.deadline(), None);
    // After a withdrawal too.
    index.source_failed(&"gcp".into(), "away", 100_000);
    index.tick(200_000);
    assert_eq!(of_egress(&mut index, "bar").1, Reason::NoEndpoints);
    index.source_failed(&"gcp".into(), "still away", 200_001);
    assert_eq!(index.deadline(), None, "it is withdrawn once");
    index.reset_source(&"gcp".into(), vec![mk_member("p", "bar")]);
    fleet.follow(&mut index);
    assert_eq!(fleet.group("a", &group("bar", false)).unwrap(), ["gcp/p"]);
    assert_eq!(of_egress(&mut index, "bar"), good);
    index.source_failed(&"gcp".into(), "away", 300_000);
    assert!(of_egress(&mut index, "bar").2.contains("its pod stays"), "it is counted anew");
}

#[test]
fn source_that_was_never_read_concerns_every_cluster() {
    let (mut index, mut fleet) = (mk_bed(), Fleet::default());
    fleet.follow(&mut index);
    index.reset_source(&"aws".into(), vec![mk_member("p", "bar")]);
    assert_eq!(of_egress(&mut index, "bar").1, Reason::ResolvedRefs, "it may answer in a moment");
    index.source_failed(&"gcp".into(), "away", 5_000);
    let told = "source gcp could not be read yet, since 1970-01-01T00:00:00Z (away): nodes keep those of its pods that they \
                know until 1970-01-01T00:01:00Z";
    assert_eq!(of_egress(&mut index, "bar"), (Status::True, Reason::SourceLost, told.into()));
    assert_eq!(of_egress(&mut index, "foo"), (Status::Unknown, Reason::SourceLost, told.into()));
    index.tick(60_000);
    let told = "source gcp could not be read yet, since 1970-01-01T00:00:00Z (away): its pods were withdrawn at \
                1970-01-01T00:01:00Z";
    assert_eq!(of_egress(&mut index, "bar"), (Status::False, Reason::SourceLost, told.into()));
    assert_eq!(of_egress(&mut index, "foo").1, Reason::NoEndpoints);
    index.reset_source(&"gcp".into(), vec![mk_member("p", "bar")]);
    assert_eq!(of_egress(&mut index, "bar").1, Reason::ResolvedRefs);
    assert!(!of_egress(&mut index, "foo").2.contains("gcp"));
}

#[test]
fn removed_source_takes_its_pods_along() {
    let (mut index, mut fleet) = (mk_read(), Fleet::default());
    index.source_failed(&"gcp".into(), "away", 0);
    index.remove_source(&"gcp".into());
    fleet.follow(&mut index);
    assert_eq!(fleet.group("a", &group("bar", true)).unwrap(), [""; 0]);
    assert!(!of_egress(&mut index, "bar").2.contains("gcp"));
    // What its watch still brings is ignored.
    index.apply_source_pod(&"gcp".into(), &mk_member("p", "bar"));
    index.reset_source(&"gcp".into(), vec![mk_member("p", "bar")]);
    index.source_failed(&"gcp".into(), "away", 0);
    fleet.follow(&mut index);
    assert_eq!(fleet.group("a", &group("bar", true)).unwrap(), [""; 0]);
    assert_eq!(index.sources().len(), 1);
    index.add_source(&"gcp".into(), 0);
    index.reset_source(&"gcp".into(), vec![mk_member("p", "bar")]);
    fleet.follow(&mut index);
    assert_eq!(fleet.group("a", &group("bar", true)).unwrap(), ["gcp/p"]);
}

#[test]
fn pod_of_a_source_goes_only_to_nodes_that_use_its_cluster_and_resolves_nothing() {
    let (mut index, mut fleet) = (mk_read(), Fleet::default());
    for node in 0..100 {
        index.apply_pod(
            Pod { namespace: "far".into(), ..mk_pod(&format!("n{node}"), "", &format!("n{node}")) },
            0,
        );
    }
    fleet.follow(&mut index);
    let (resolutions, visited) = (index.resolutions(), index.visited());
    index.apply_source_pod(&"gcp".into(), &mk_member("new", "bar"));
    assert_eq!(fleet.follow(&mut index), ["a"]);
    assert_eq!(index.resolutions(), resolutions);
    assert!(index.visited() - visited < 20, "{}", index.visited() - visited);
    index.apply_source_pod(&"gcp".into(), &mk_member("new", "unused"));
    assert_eq!(fleet.follow(&mut index), ["a"]);
    index.apply_source_pod(&"gcp".into(), &mk_member("newer", "unused"));
    assert!(fleet.follow(&mut index).is_empty());
}
