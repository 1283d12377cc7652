//! Who may connect: source addresses, TLS, names in certificates, and HTTP.

use envoy_types::pb::envoy::config::listener::v3 as listener;
use portreeve_api::plan::{Protocol, SourcePolicy, Tls};

use super::golden::assert_golden;
use super::*;
use crate::listener::target;

/// A Plan with a TCP listener on port 8443 to port 8080 of the proxy's own host, as an ingress of API D has.
fn mk_ingress() -> plan::Plan {
    let mut plan = mk_plan();
    let sources = vec![(From::Ip("127.0.0.1".into()), 8080)];
    add_pipe(&mut plan, "web", (Protocol::Tcp, 8443), Policy::RoundRobin(true), sources);
    plan
}

/// A Plan with a TCP listener on loopback to a group, as an egress of API D has.
fn mk_egress() -> plan::Plan {
    let mut plan = mk_plan();
    add_pipe(&mut plan, "web", (Protocol::Tcp, 8080), Policy::RoundRobin(true), vec![(group(), 8443)]);
    plan.listeners[0].socket.as_mut().unwrap().set_scope(plan::Scope::Loopback);
    plan
}

/// The ingress with HTTP and mutual TLS.
pub(super) fn mk_http_ingress() -> plan::Plan {
    let mut plan = mk_ingress();
    plan.listeners[0].tls = Some(Tls { alpn: vec!["h2".into(), "http/1.1".into()], ..mk_tls() });
    (plan.listeners[0].http, plan.clusters[0].http) = (true, true);
    plan
}

/// The egress with HTTP and mutual TLS.
pub(super) fn mk_http_egress() -> plan::Plan {
    let mut plan = mk_egress();
    (plan.listeners[0].http, plan.clusters[0].http) = (true, true);
    let (alpn, peer_names) = (vec!["h2".into()], vec!["web.ns".into(), "10.0.0.1".into()]);
    plan.clusters[0].tls = Some(Tls { alpn, peer_names, server_name: "web.ns".into(), ..mk_tls() });
    plan
}

fn mk_tls() -> Tls {
    let (certificate, authority) = ("ns/web/tls.crt".into(), "ns/clients/ca.crt".into());
    Tls { certificate, authority, require_peer_certificate: true, ..Default::default() }
}

/// The group of the tests with one pod, and two secrets.
pub(super) fn mk_known() -> Fixture {
    let pair = Secret {
        certificate_chain: "CHAIN".into(),
        private_key: "KEY".into(),
        authority: Default::default(),
    };
    let authority = Secret { authority: "CA".into(), ..Default::default() };
    let secrets = [("ns/web/tls.crt".into(), pair), ("ns/clients/ca.crt".into(), authority)];
    Fixture { secrets: secrets.into(), ..mk_fixture(mk_pods(1)) }
}

fn policy(groups: &[&str], cidrs: &[&str], principals: &[&str]) -> Option<SourcePolicy> {
    let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect();
    let (groups, cidrs, principals) = (texts(groups), texts(cidrs), texts(principals));
    Some(SourcePolicy { groups, cidrs, principals, restricted: false })
}

fn built(done: &Translation<Envoy>) -> listener::Listener {
    let mut all = done.outputs.iter().filter(|(ty, _)| *ty == Envoy::Listener);
    listener::Listener::decode(all.next().expect("a listener").1.body()).unwrap()
}

/// Returns the golden text's lines of allowed networks.
fn networks(plan: &plan::Plan, known: &Fixture) -> Vec<String> {
    let text = dump::text(&run(plan, Families::V4, known));
    let lines = text.lines().filter_map(|line| line.strip_suffix(" to chain allowed"));
    lines.map(ToOwned::to_owned).collect()
}

#[test]
fn ingress_with_sources_and_mutual_tls() {
    let mut plan = mk_ingress();
    plan.listeners[0].tls = Some(mk_tls());
    plan.listeners[0].sources = policy(&["ns/app=w"], &[], &["spiffe://ns/alice", "bob.example"]);
    assert_golden("ingress_mutual_tls", &run(&plan, Families::Dual, &mk_known()));
}

#[test]
fn ingress_that_admits_subjects() {
    let mut plan = mk_ingress();
    plan.listeners[0].tls = Some(mk_tls());
    plan.listeners[0].sources = policy(&[], &[], &["bob.example", "CN=bob,O=example"]);
    assert_golden("ingress_subject", &run(&plan, Families::V4, &mk_known()));
}

#[test]
fn ingress_of_http() {
    assert_golden("ingress_http", &run(&mk_http_ingress(), Families::V4, &mk_known()));
}

#[test]
fn egress_of_http_with_mutual_tls() {
    assert_golden("egress_http_tls", &run(&mk_http_egress(), Families::Dual, &mk_known()));
}

#[test]
fn egress_of_tcp() {
    assert_golden("egress_tcp", &run(&mk_egress(), Families::V4, &mk_known()));
}

#[test]
fn allowed_networks_are_those_of_the_groups_members_within_the_networks() {
    let mut known = mk_fixture(mk_pods(2));
    known.groups.get_mut("ns/app=w").unwrap()[1].ready = false;
    known.groups.insert(
        "ns/app=x".into(),
        vec![Endpoint { ips: mk_ips(&["::ffff:10.9.0.1"]), ..mk_pods(1).remove(0) }],
    );
    type Case = (&'static [&'static str], &'static [&'static str], &'static [&'static str]);
    let cases: [Case; 5] = [
        (&["ns/app=w"], &[], &["10.0.0.1/32", "10.0.0.2/32", "fd00::1/128", "fd00::2/128"]),
        (&["ns/app=w", "ns/app=x"], &["10.0.0.2/31", "10.9.0.0/16"], &["10.0.0.2/32", "10.9.0.1/32"]),
        (&[], &["10.1.2.3/16", "10.1.0.0/16", "::/0"], &["10.1.0.0/16", "::/0"]),
        (&["ns/app=w"], &["192.0.2.0/24"], &[]),
        (&[], &["0.0.0.0/0"], &["0.0.0.0/0"]),
    ];
    for (groups, cidrs, expected) in cases {
        let mut plan = mk_ingress();
        plan.listeners[0].sources = policy(groups, cidrs, &[]);
        assert_eq!(networks(&plan, &known), expected, "{groups:?} {cidrs:?}");
    }
}

#[test]
fn restricted_listener_without_groups_and_empty_group_admit_nobody() {
    let restricted = SourcePolicy { restricted: true, ..Default::default() };
    for (sources, pods) in [(policy(&["ns/app=w"], &[], &[]), mk_pods(0)), (Some(restricted), mk_pods(1))] {
        let mut plan = mk_ingress();
        plan.listeners[0].sources = sources;
        let done = run(&plan, Families::V4, &mk_fixture(pods));
        assert!(built(&done).filter_chain_matcher.is_some());
        assert!(!dump::text(&done).contains(" to chain "), "{}", dump::text(&done));
    }
}

#[test]
fn change_of_peers_or_secrets_changes_no_filter_chain() {
    let chains = |peers: u8, names: &[&str], key: &'static str| {
        let mut plan = mk_ingress();
        plan.listeners[0].tls = Some(mk_tls());
        plan.listeners[0].sources = policy(&["ns/app=w"], &[], names);
        let mut known = mk_known();
        known.groups.insert("ns/app=w".into(), mk_pods(peers));
        known.secrets.get_mut("ns/web/tls.crt").unwrap().private_key = key.into();
        built(&run(&plan, Families::V4, &known)).filter_chains
    };
    let before = chains(1, &["a.example"], "KEY");
    assert_eq!(before, chains(3, &["a.example"], "KEY"));
    assert_eq!(before, chains(0, &["a.example", "b.example"], "KEY2"));
}

#[test]
fn plan_waits_for_its_groups_and_secrets() {
    let mut plan = mk_ingress();
    plan.listeners[0].sources = policy(&["ns/app=other"], &[], &[]);
    assert!(try_run(&plan, Families::V4, &mk_known()).is_none());
    let mut plan = mk_egress();
    plan.clusters[0].tls = Some(mk_tls());
    assert!(try_run(&plan, Families::V4, &mk_fixture(mk_pods(1))).is_none());
    let mut known = mk_known();
    known.secrets.remove("ns/clients/ca.crt");
    assert!(try_run(&plan, Families::V4, &known).is_none());
    assert!(try_run(&plan, Families::V4, &mk_known()).is_some());
}

#[test]
fn demand_without_its_proof_is_refused_by_name() {
    type Bend = fn(&mut plan::Plan);
    let cases: [(&str, Bend); 8] = [
        ("tls without tls.certificate", |p| {
            p.listeners[0].tls = Some(Tls { certificate: String::new(), ..mk_tls() })
        }),
        ("tls.require_peer_certificate without tls.authority", |p| {
            p.listeners[0].tls = Some(Tls { authority: String::new(), ..mk_tls() })
        }),
        ("sources.principals without tls.authority", |p| p.listeners[0].sources = policy(&[], &[], &["a"])),
        ("sources.principals without tls.authority", |p| {
            let (authority, require_peer_certificate) = (String::new(), false);
            p.listeners[0].tls = Some(Tls { authority, require_peer_certificate, ..mk_tls() });
            p.listeners[0].sources = policy(&[], &[], &["a"]);
        }),
        ("tls.server_name", |p| p.listeners[0].tls = Some(Tls { server_name: "a".into(), ..mk_tls() })),
        ("tls.peer_names", |p| p.listeners[0].tls = Some(Tls { peer_names: vec!["a".into()], ..mk_tls() })),
        ("cluster web-c asks for tls without tls.authority", |p| {
            p.clusters[0].tls = Some(Tls { authority: String::new(), ..mk_tls() })
        }),
        ("cluster web-c is of HTTP/2", |p| p.clusters[0].http = true),
    ];
    for (field, bend) in cases {
        let mut plan = mk_ingress();
        bend(&mut plan);
        let done = run(&plan, Families::V4, &mk_known());
        let [remark] = done.remarks.as_slice() else { panic!("{field}: {:?}", done.remarks) };
        assert!(done.outputs.is_empty() && remark.text.contains(field), "{field}: {}", remark.text);
    }
}

#[test]
fn principals_demand_a_certificate_even_where_the_plan_does_not() {
    let mut plan = mk_ingress();
    plan.listeners[0].tls = Some(Tls { require_peer_certificate: false, ..mk_tls() });
    plan.listeners[0].sources = policy(&[], &[], &["a.example"]);
    let text = dump::text(&run(&plan, Families::V4, &mk_known()));
    let demand = text.split("require_client_certificate").nth(1).unwrap();
    assert!(demand.split("session").next().unwrap().contains("value: true"), "{text}");
}

#[test]
fn cluster_of_every_kind_of_tcp_listener_is_read_from_its_bytes() {
    for (http, principals) in [(false, "a"), (true, "a"), (false, "CN=a"), (true, "CN=a")] {
        let mut plan = mk_ingress();
        plan.listeners[0].tls = Some(mk_tls());
        (plan.listeners[0].http, plan.listeners[0].sources) = (http, policy(&[], &[], &[principals]));
        let done = run(&plan, Families::V4, &mk_known());
        let body = built(&done).encode_to_vec();
        assert_eq!(target(&body).as_deref(), Some("A/ns/call/web-c"), "{http} {principals}");
    }
}

#[test]
fn secret_has_no_content_in_its_debug_text() {
    let known = mk_known();
    let text = format!("{:?}", known.secrets);
    assert!(!text.contains("KEY") && !text.contains("CHAIN"), "{text}");
}
