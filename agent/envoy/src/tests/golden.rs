//! Compares translations with the texts under `golden/`. `UPDATE=1 cargo test` rewrites them: review the
//! difference.

use super::*;
use std::path::Path;

pub(super) fn assert_golden(name: &str, done: &Translation<Envoy>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/golden").join(format!("{name}.txt"));
    let text = dump::text(done);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if text != expected {
        let differing = text.lines().zip(expected.lines()).position(|(now, then)| now != then);
        let at = differing.unwrap_or_else(|| text.lines().count().min(expected.lines().count()));
        let (now, then) = (text.lines().nth(at), expected.lines().nth(at));
        panic!(
            "{}, line {}:\n  now  {now:?}\n  then {then:?}\nUPDATE=1 writes it anew",
            path.display(),
            at + 1
        );
    }
}

#[test]
fn keyed_gateway_with_three_pods() {
    let plan = mk_udp(key("call-1"), vec![(group(), 2001)]);
    assert_golden("keyed_gateway", &run(&plan, Families::V4, &mk_fixture(mk_pods(3))));
}

#[test]
fn worker_that_forwards_to_its_own_loopback() {
    let plan = mk_udp(key("call-1"), vec![(From::Ip("127.0.0.1".into()), 1234)]);
    assert_golden("worker_loopback", &run(&plan, Families::V4, &Fixture::default()));
}

#[test]
fn unkeyed_cluster_of_address_name_and_pods() {
    let sources = vec![(From::Ip("192.0.2.1".into()), 9), (From::Host("echo".into()), 9), (group(), 9)];
    let plan = mk_udp(Policy::SourceAddress(true), sources);
    let mut fixture = mk_fixture(mk_pods(2));
    fixture.hosts.insert("echo".into(), vec!["198.51.100.7".parse().unwrap()]);
    assert_golden("unkeyed_mixed", &run(&plan, Families::V4, &fixture));
}

#[test]
fn tcp_pipe() {
    let mut plan = mk_plan();
    add_pipe(&mut plan, "web", (plan::Protocol::Tcp, 8080), Policy::SourceAddress(true), vec![(group(), 80)]);
    assert_golden("tcp", &run(&plan, Families::V4, &mk_fixture(mk_pods(1))));
}

#[test]
fn keyed_tcp_pipe() {
    let mut plan = mk_plan();
    add_pipe(&mut plan, "web", (plan::Protocol::Tcp, 8080), key("call-1"), vec![(group(), 80)]);
    assert_golden("tcp_keyed", &run(&plan, Families::V4, &mk_fixture(mk_pods(2))));
}

#[test]
fn ipv6_and_both_families() {
    let plan = mk_udp(Policy::SourceAddress(true), vec![(group(), 9)]);
    let fixture = mk_fixture(mk_pods(1));
    assert_golden("families_v6", &run(&plan, Families::V6, &fixture));
    assert_golden("families_dual", &run(&plan, Families::Dual, &fixture));
    assert_golden("families_dual_v6_first", &run(&plan, Families::DualV6First, &fixture));
}

#[test]
fn terminating_pod_in_an_unkeyed_cluster() {
    let mut pods = mk_pods(2);
    pods[0].terminating_ms = Some(300);
    let plan = mk_udp(Policy::SourceAddress(true), vec![(group(), 9)]);
    assert_golden("unkeyed_terminating", &run(&plan, Families::V4, &mk_fixture(pods)));
}

#[test]
fn terminating_pod_in_a_keyed_cluster_of_an_older_and_of_a_younger_object() {
    // The object was created at 200.
    for (name, terminating_ms) in [("keyed_terminating_older", 201), ("keyed_terminating_younger", 199)] {
        let mut pods = mk_pods(3);
        pods[2].terminating_ms = Some(terminating_ms);
        let plan = mk_udp(key("call-1"), vec![(group(), 9)]);
        assert_golden(name, &run(&plan, Families::V4, &mk_fixture(pods)));
    }
}

#[test]
fn empty_group_is_an_empty_assignment() {
    let plan = mk_udp(key("call-1"), vec![(group(), 9)]);
    assert_golden("empty_group", &run(&plan, Families::V4, &mk_fixture(Vec::new())));
}

#[test]
fn listeners_on_loopback_and_on_one_address() {
    let mut plan = mk_udp(Policy::SourceAddress(true), vec![(group(), 9)]);
    let sources = vec![(group(), 9)];
    add_pipe(&mut plan, "web", (plan::Protocol::Tcp, 8080), Policy::SourceAddress(true), sources.clone());
    add_pipe(&mut plan, "sip", (plan::Protocol::Udp, 5060), Policy::SourceAddress(true), sources);
    for listener in &mut plan.listeners[..2] {
        listener.socket.as_mut().unwrap().set_scope(plan::Scope::Loopback);
    }
    let fixture = mk_fixture(mk_pods(1));
    let socket = plan.listeners[2].socket.as_mut().unwrap();
    socket.set_scope(plan::Scope::Floating);
    socket.bind = Some(plan::Address { ip: "192.0.2.1".into(), port: 0 });
    assert_golden("bound_floating", &run(&plan, Families::V4, &fixture));
    let socket = plan.listeners[2].socket.as_mut().unwrap();
    socket.set_scope(plan::Scope::Address);
    assert_golden("bound_v4", &run(&plan, Families::V4, &fixture));
    assert_golden("bound_dual", &run(&plan, Families::Dual, &fixture));
    assert_golden("bound_dual_v6_first", &run(&plan, Families::DualV6First, &fixture));
}
