//! Listeners by node name: where their Plans go, who may connect, and what a missing Secret closes.

use portreeve_api::d::egress_listener::EgressListener;
use portreeve_api::d::ingress_listener::IngressListener;
use portreeve_api::kind::Kind;
use portreeve_api::pod::{PROXY_NAME_ANNOTATION, annotation_attribute};

use super::*;
use crate::lookup::{SecretBytes, SecretFacts};
use crate::verdict::Refs;

const PLAN: &str = "D/IngressListener/ns/web";
const PEERS: &str = "@peers/*/annotation%3Acluster-name.envoy.uw.io=peers";
/// The group [`PEERS`] in messages.
const TITLE: &str = "the annotation cluster-name.envoy.uw.io: peers in any namespace";
const PODS: &str = "*/annotation%3Acluster-name.envoy.uw.io=peers";

fn mk_ingress(more: Value) -> IngressListener {
    let base = json!({"nodename": "web", "listenport": 8080, "targetport": 80});
    IngressListener::parse(mk_object("IngressListener", base, &more)).unwrap().0
}

fn mk_egress() -> EgressListener {
    let base = json!({"nodename": "web", "listenport": 9090, "target": {"cluster": "peers", "port": 80}});
    EgressListener::parse(mk_object("EgressListener", base, &json!({}))).unwrap().0
}

fn mk_object(kind: &str, mut spec: Value, more: &Value) -> Value {
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let meta = json!({"name": "web", "namespace": "ns", "uid": "uid-web", "generation": 1});
    let version = format!("{}.envoy.uw.systems/v1alpha1", kind.to_lowercase());
    json!({"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec})
}

fn listener(kind: &'static Kind) -> ObjectRef {
    ObjectRef::namespaced(kind, "ns", "web")
}

fn mk_peer(name: &str, node: &str, ready: bool) -> Pod {
    let extra = [("annotation:cluster-name.envoy.uw.io".to_owned(), "peers".to_owned())].into();
    Pod { namespace: "far".into(), extra, ready, ..mk_pod(name, "", node) }
}

fn named_proxy(name: &str, proxy_name: &str, allowed: Value) -> NodeProxy {
    let mut proxy = mk_proxy(name, "edge=yes", "", allowed);
    proxy.spec.proxy_name = Some(proxy_name.into());
    proxy
}

/// The names of pods' proxies by the pods' uids.
fn names(all: &[(&str, &str)]) -> BTreeMap<Name, String> {
    all.iter().map(|(uid, name)| (Name::from(*uid), (*name).to_owned())).collect()
}

/// A pod of the object's namespace on node `a`, whose annotation names its proxy.
fn mk_web() -> Pod {
    let extra = [(annotation_attribute(PROXY_NAME_ANNOTATION), "web".to_owned())].into();
    Pod { extra, ..mk_pod("web", "", "a") }
}

#[test]
fn plan_goes_to_nodes_whose_agents_know_a_proxy_of_its_name_in_its_namespace() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_object(&mk_ingress(json!({})), 0);
    index.apply_pod(mk_pod("one", "", "a"), 0);
    index.apply_pod(mk_pod("other", "", "b"), 0);
    index.apply_pod(Pod { namespace: "far".into(), ..mk_pod("two", "", "c") }, 0);
    let having = |fleet: &Fleet| {
        let nodes = ["a", "b", "c", "d"].into_iter();
        nodes.filter(|node| fleet.plans(node).contains(&PLAN.to_owned())).collect::<Vec<_>>()
    };
    fleet.follow(&mut index);
    assert!(having(&fleet).is_empty(), "nobody announced a name");
    index.set_announced(&"a".into(), names(&[("one", "web")]), 0);
    index.set_announced(&"b".into(), names(&[("other", "shop")]), 0);
    index.set_announced(&"c".into(), names(&[("two", "web")]), 0);
    index.set_announced(&"d".into(), names(&[("one", "web")]), 0);
    fleet.follow(&mut index);
    assert_eq!(having(&fleet), ["a"], "d has no such pod");
    index.set_announced(&"b".into(), names(&[("other", "web"), ("unknown", "web")]), 0);
    fleet.follow(&mut index);
    assert_eq!(having(&fleet), ["a", "b"]);
    index.set_announced(&"a".into(), names(&[]), 0);
    index.apply_pod(Pod { ..mk_pod("unknown", "", "b") }, 0);
    index.delete_pod(&"other".into(), 0);
    index.tick(GRACE_MS);
    fleet.follow(&mut index);
    assert_eq!(having(&fleet), ["b"], "the name was announced before the pod was known here");
    index.delete_node(&"b".into(), 0);
    index.tick(GRACE_MS);
    fleet.follow(&mut index);
    assert!(having(&fleet).is_empty());
    fleet.assert_complete(&index, &["a", "b", "c", "d"]);
}

#[test]
fn names_that_an_agent_sends_when_it_connects_replace_no_reported_ones() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_object(&mk_ingress(json!({})), 0);
    index.apply_pod(mk_pod("one", "", "a"), 0);
    index.apply_pod(mk_pod("two", "", "a"), 0);
    index.set_announced(&"a".into(), names(&[("one", "shop")]), 0);
    index.add_announced(&"a".into(), names(&[("one", "web")]), 0);
    fleet.follow(&mut index);
    assert!(fleet.plans("a").is_empty());
    index.add_announced(&"a".into(), names(&[("two", "web")]), 0);
    fleet.follow(&mut index);
    assert_eq!(fleet.plans("a"), [PLAN]);
}

#[test]
fn annotation_of_a_pod_names_its_proxy_whatever_that_announces() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_object(&mk_ingress(json!({})), 0);
    index.set_announced(&"a".into(), names(&[("web", "shop")]), 0);
    index.apply_pod(mk_web(), 0);
    fleet.follow(&mut index);
    assert_eq!(fleet.plans("a"), [PLAN]);
    index.apply_pod(mk_pod("web", "", "a"), 0);
    index.tick(GRACE_MS);
    fleet.follow(&mut index);
    assert!(fleet.plans("a").is_empty());
}

#[test]
fn plan_goes_to_nodes_with_a_node_proxy_of_its_name() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_node("edge".into(), mk_labels("edge=yes"), 0);
    index.apply_node("none".into(), mk_labels(""), 0);
    index.apply_object(&mk_ingress(json!({})), 0);
    let mut having = |index: &mut Index| {
        fleet.follow(index);
        fleet.assert_complete(index, &["edge", "none"]);
        ["edge", "none"].map(|node| fleet.plans(node).contains(&PLAN.to_owned()))
    };
    index.apply_proxy(&named_proxy("gw", "other", json!({"from": "All"})), 0);
    assert_eq!(having(&mut index), [false, false]);
    index.apply_proxy(&named_proxy("gw", "web", json!({"from": "All"})), 0);
    assert_eq!(having(&mut index), [true, false]);
    index.apply_proxy(&named_proxy("gw", "web", json!({"from": "List", "names": ["far"]})), 0);
    index.tick(GRACE_MS);
    assert_eq!(having(&mut index), [false, false]);
}

#[test]
fn object_whose_name_no_proxy_has_yet_is_no_fault_of_its_namespace() {
    let mut index = mk_index();
    index.apply_pod(Pod { namespace: "far".into(), ..mk_pod("two", "", "b") }, 0);
    index.apply_object(&mk_ingress(json!({})), 0);
    let verdict = index.take_verdicts().remove(0);
    assert_eq!((verdict.rejection, verdict.refs), (None, Refs::Resolved));
}

#[test]
fn pods_that_are_not_ready_may_connect_and_take_no_traffic() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_pod(mk_web(), 0);
    index.apply_object(&mk_ingress(json!({"rbacallowcluster": "peers"})), 0);
    index.apply_object(&mk_egress(), 0);
    index.apply_pod(mk_peer("ready", "b", true), 0);
    index.apply_pod(mk_peer("starting", "b", false), 0);
    fleet.follow(&mut index);
    assert_eq!(fleet.group("a", PEERS).unwrap(), ["ready", "starting"]);
    assert_eq!(fleet.group("a", PODS).unwrap(), ["ready"]);
    index.apply_pod(mk_peer("starting", "b", true), 0);
    index.apply_pod(Pod { extra: BTreeMap::new(), ..mk_peer("ready", "b", true) }, 0);
    fleet.follow(&mut index);
    assert_eq!(fleet.group("a", PEERS).unwrap(), ["starting"]);
    assert_eq!(fleet.group("a", PODS).unwrap(), ["starting"]);
    fleet.assert_complete(&index, &["a", "b"]);
}

#[test]
fn change_of_one_pod_among_1000_nodes_goes_only_to_those_whose_resources_name_its_cluster() {
    const USERS: usize = 7;
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_object(&mk_ingress(json!({"rbacallowcluster": "peers"})), 0);
    for i in 0..1000 {
        let (node, uid) = (format!("n{i:03}"), format!("p{i}"));
        index.attach(&node.as_str().into());
        index.apply_pod(mk_pod(&uid, "", &node), 0);
        let name = if i < USERS { "web" } else { "shop" };
        index.set_announced(&node.as_str().into(), names(&[(&uid, name)]), 0);
    }
    index.apply_pod(mk_peer("one", "n500", true), 0);
    fleet.follow(&mut index);
    let (resolutions, visited) = (index.resolutions(), index.visited());
    index.apply_pod(mk_peer("two", "n600", true), 0);
    let changes = taken(&mut index);
    let bytes = |changes: &Changes<PlanType>| {
        changes.upsert.iter().map(|(_, resource)| resource.body().len()).sum::<usize>()
    };
    let sent: Vec<usize> = changes.values().map(bytes).collect();
    assert_eq!(
        changes.keys().map(|node| &**node).collect::<Vec<_>>(),
        ["n000", "n001", "n002", "n003", "n004", "n005", "n006"]
    );
    assert!(sent.iter().all(|bytes| (1..300).contains(bytes)), "{sent:?}");
    assert_eq!(index.resolutions(), resolutions, "no object asked for a pod");
    assert!(index.visited() - visited < 30, "{}", index.visited() - visited);
}

#[test]
fn cluster_without_pods_is_told_as_nobody_who_may_connect() {
    let mut index = mk_index();
    index.apply_object(&mk_ingress(json!({"rbacallowcluster": "peers"})), 0);
    assert_eq!(index.take_verdicts().remove(0).refs, Refs::Nobody(TITLE.into()));
    index.apply_pod(mk_peer("starting", "b", false), 0);
    assert_eq!(index.take_verdicts().remove(0).refs, Refs::Resolved);
    index.delete_pod(&"starting".into(), 0);
    assert_eq!(index.take_verdicts().remove(0).refs, Refs::Nobody(TITLE.into()));
}

#[test]
fn missing_secret_closes_what_was_open_and_its_return_opens_it() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    let secret = || ("ns".into(), "web-tls".into());
    let made = rcgen::generate_simple_self_signed(["web".to_owned()]).unwrap();
    let contents = [("tls.crt", made.cert.pem()), ("tls.key", made.signing_key.serialize_pem())];
    let keys = |count: usize| {
        let of = |(key, text): &(&str, String)| (Name::from(*key), SecretBytes::new(text.clone().into()));
        Some(SecretFacts::new("kubernetes.io/tls", contents[..count].iter().map(of).collect()))
    };
    let key = listener(&portreeve_api::d::ingress_listener::KIND);
    index.apply_pod(mk_web(), 0);
    index.apply_object(&mk_ingress(json!({"tls": {"secret": "web-tls"}})), 0);
    index.set_secret(secret(), keys(2));
    fleet.follow(&mut index);
    assert_eq!(fleet.plans("a"), [PLAN]);
    index.set_secret(secret(), keys(1));
    fleet.follow(&mut index);
    assert!(fleet.plans("a").is_empty() && index.withheld().names.is_empty(), "agents must not keep it");
    let subject = index.subject(&key).unwrap();
    assert!(subject.served.is_none() && subject.verdict.rejection.is_none());
    let conditions = subject.status(&[], std::time::Duration::ZERO).conditions;
    let told: Vec<String> = conditions
        .iter()
        .map(|one| format!("{}={} {}", one.type_, one.status.as_str(), one.reason))
        .collect();
    assert_eq!(
        told,
        ["Accepted=True OpenToAll", "ResolvedRefs=False RefNotFound", "Programmed=False RefNotFound"]
    );
    assert!(
        conditions[1].message.contains("Secret ns/web-tls has no key tls.key"),
        "{}",
        conditions[1].message
    );
    index.set_secret(secret(), keys(2));
    fleet.follow(&mut index);
    assert_eq!(fleet.plans("a"), [PLAN]);
}

#[test]
fn object_that_is_created_with_a_missing_secret_opens_nothing() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_pod(mk_web(), 0);
    index.apply_object(&mk_ingress(json!({"tls": {"secret": "web-tls"}})), 0);
    assert!(index.withheld().names.contains(&(PlanType::Plan, PLAN.into())), "the Secret was not read yet");
    index.set_secret(("ns".into(), "web-tls".into()), None);
    fleet.follow(&mut index);
    assert!(fleet.plans("a").is_empty() && index.withheld().names.is_empty());
    index.delete_object(&listener(&portreeve_api::d::ingress_listener::KIND), 0);
    assert!(index.wanted_secrets().is_empty());
}

#[test]
fn ingress_and_egress_listener_of_one_name_are_served_side_by_side() {
    let (mut index, mut fleet) = (mk_index(), Fleet::default());
    index.apply_pod(mk_web(), 0);
    index.apply_object(&mk_ingress(json!({})), 0);
    index.apply_object(&mk_egress(), 0);
    fleet.follow(&mut index);
    assert_eq!(fleet.plans("a"), ["D/EgressListener/ns/web", PLAN]);
    index.delete_object(&listener(&portreeve_api::d::ingress_listener::KIND), 0);
    fleet.follow(&mut index);
    assert_eq!(fleet.plans("a"), ["D/EgressListener/ns/web"]);
}
