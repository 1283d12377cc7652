//! Properties of translations that the golden texts do not show.

use super::*;

#[test]
fn equal_input_gives_equal_bytes_and_the_order_of_pods_does_not_matter() {
    for policy in [key("call-1"), Policy::SourceAddress(true)] {
        let plan = mk_udp(policy, vec![(group(), 9)]);
        let mut pods = mk_pods(40);
        let first = run(&plan, Families::V4, &mk_fixture(pods.clone()));
        pods.reverse();
        pods.swap(3, 17);
        let second = run(&plan, Families::V4, &mk_fixture(pods));
        assert_eq!(first.outputs, second.outputs);
    }
}

#[test]
fn change_of_endpoints_changes_the_assignment_only() {
    let plan = mk_udp(key("call-1"), vec![(group(), 9)]);
    let versions = |pods| {
        let done = run(&plan, Families::V4, &mk_fixture(mk_pods(pods)));
        done.outputs.iter().map(|(ty, r)| (*ty, r.version())).collect::<BTreeMap<_, _>>()
    };
    let (three, four) = (versions(3), versions(4));
    let differ: Vec<_> = three.keys().filter(|ty| three[ty] != four[ty]).collect();
    assert_eq!(differ, [&Envoy::Endpoint]);
}

#[test]
fn every_cluster_has_its_assignment_as_companion() {
    let mut plan = mk_udp(key("call-1"), vec![(group(), 9)]);
    add_pipe(&mut plan, "web", (plan::Protocol::Tcp, 80), Policy::SourceAddress(true), vec![(group(), 80)]);
    let done = run(&plan, Families::V4, &mk_fixture(Vec::new()));
    let names = |wanted| {
        let of_type = done.outputs.iter().filter(move |(ty, _)| *ty == wanted);
        of_type.map(|(_, r)| r.name().clone()).collect::<BTreeSet<_>>()
    };
    assert_eq!(names(Envoy::Cluster).len(), 2);
    assert_eq!(names(Envoy::Cluster), names(Envoy::Endpoint));
    for (_, resource) in done.outputs.iter().filter(|(ty, _)| *ty == Envoy::Cluster) {
        assert_eq!(resource.companion(), Some(resource.name()));
    }
}

#[test]
fn nothing_is_said_while_a_group_or_a_name_is_unknown() {
    for source in [group(), From::Host("echo".into())] {
        let plan = mk_udp(key("k"), vec![(From::Ip("10.0.0.1".into()), 9), (source, 9)]);
        let request = Request {
            plan: &read(&plan),
            families: Families::V4,
            streams: &Streams::Aggregated,
            denied: &BTreeSet::new(),
            running: &BTreeSet::new(),
            defaults: Defaults::default(),
            called: &BTreeMap::new(),
        };
        assert!(translate(&request, &Fixture::default()).is_none());
    }
}

#[test]
fn denied_listener_takes_its_cluster_along_unless_another_uses_it() {
    let mut plan = mk_udp(key("k"), vec![(group(), 9)]);
    let names = |plan: &plan::Plan| {
        let denied = BTreeSet::from(["rtp-l".to_owned()]);
        let request = Request {
            plan: &read(plan),
            families: Families::V4,
            streams: &Streams::Aggregated,
            denied: &denied,
            running: &BTreeSet::new(),
            defaults: Defaults::default(),
            called: &BTreeMap::new(),
        };
        let done = translate(&request, &mk_fixture(mk_pods(1))).unwrap();
        done.outputs.iter().map(|(ty, r)| format!("{ty:?} {}", r.name())).collect::<Vec<_>>()
    };
    assert_eq!(names(&plan), [""; 0]);
    let mut second = plan.listeners[0].clone();
    second.name = "second".into();
    plan.listeners.push(second);
    assert_eq!(
        names(&plan),
        ["Listener A/ns/call/second", "Cluster A/ns/call/rtp-c", "Endpoint A/ns/call/rtp-c"]
    );
}

#[test]
fn listener_that_an_envoy_cannot_express_is_remarked_on_and_the_others_stand() {
    let mut plan = mk_udp(key("k"), vec![(group(), 9)]);
    let bend: [fn(&mut plan::Listener); 6] = [
        |l| l.socket.as_mut().unwrap().set_protocol(plan::Protocol::Jsonsocket),
        |l| l.rules.clear(),
        |l| l.rules[0].match_json = "{}".into(),
        |l| l.rules[0].route.as_mut().unwrap().ingress.push("t".into()),
        |l| l.rules[0].route.as_mut().unwrap().destination = "nowhere".into(),
        |l| l.socket = None,
    ];
    for (at, bend) in bend.into_iter().enumerate() {
        let mut bad = plan.listeners[0].clone();
        bad.name = format!("bad-{at}");
        bend(&mut bad);
        plan.listeners.push(bad);
    }
    let done = run(&plan, Families::V4, &mk_fixture(mk_pods(1)));
    assert_eq!(done.outputs.len(), 3);
    let at: Vec<_> = done.remarks.iter().map(|remark| remark.at.as_str()).collect();
    assert_eq!(at, ["bad-0", "bad-1", "bad-2", "bad-3", "bad-4", "bad-5"]);
}

#[test]
fn endpoints_are_of_the_family_that_the_proxy_prefers() {
    let only_v6 = Endpoint { ips: mk_ips(&["fd00::9"]), ..mk_pods(1)[0].clone() };
    let pods = || vec![mk_pods(1)[0].clone(), only_v6.clone()];
    let cases = [
        (Families::V4, vec!["0 10.0.0.1:9"]),
        (Families::V6, vec!["0 fd00::1:9", "0 fd00::9:9"]),
        (Families::Dual, vec!["0 10.0.0.1:9", "0 fd00::9:9"]),
        (Families::DualV6First, vec!["0 fd00::1:9", "0 fd00::9:9"]),
    ];
    for (families, expected) in cases {
        let plan = mk_udp(Policy::SourceAddress(true), vec![(group(), 9)]);
        assert_eq!(shown(&run(&plan, families, &mk_fixture(pods())), "rtp-c"), expected, "{families:?}");
    }
}

#[test]
fn name_of_both_families_is_one_host() {
    let fixture = || {
        let addresses = ["10.0.0.1", "10.0.0.2", "fd00::1"].map(|ip| ip.parse().unwrap()).to_vec();
        Fixture { hosts: BTreeMap::from([("echo".into(), addresses)]), ..Default::default() }
    };
    let cases = [
        (Families::V4, vec!["0 10.0.0.1:9", "0 10.0.0.2:9"]),
        (Families::Dual, vec!["0 10.0.0.1:9", "0 10.0.0.2:9"]),
        (Families::DualV6First, vec!["0 fd00::1:9"]),
        (Families::V6, vec!["0 fd00::1:9"]),
    ];
    for (families, expected) in cases {
        let plan = mk_udp(Policy::SourceAddress(true), vec![(From::Host("echo".into()), 9)]);
        assert_eq!(shown(&run(&plan, families, &fixture()), "rtp-c"), expected, "{families:?}");
    }
}

#[test]
fn name_that_does_not_exist_empties_the_cluster() {
    let plan = mk_udp(key("k"), vec![(From::Host("echo".into()), 9)]);
    let fixture = Fixture { hosts: BTreeMap::from([("echo".into(), Vec::new())]), ..Default::default() };
    assert!(shown(&run(&plan, Families::V4, &fixture), "rtp-c").is_empty());
}

#[test]
fn address_of_a_family_that_the_proxy_lacks_is_left_out_but_its_loopback_is_not() {
    let cases = [
        ("fd00::1", Families::V4, 0),
        ("fd00::1", Families::Dual, 1),
        ("10.0.0.1", Families::V6, 0),
        ("127.0.0.1", Families::V6, 1),
        ("::1", Families::V4, 1),
    ];
    for (ip, families, expected) in cases {
        let plan = mk_udp(key("k"), vec![(From::Ip(ip.into()), 9)]);
        assert_eq!(
            shown(&run(&plan, families, &Fixture::default()), "rtp-c").len(),
            expected,
            "{ip} {families:?}"
        );
    }
}

#[test]
fn pods_that_share_an_address_are_one_endpoint_whatever_their_order() {
    let leaving = Endpoint { uid: "old".into(), terminating_ms: Some(150), ..mk_pods(1)[0].clone() };
    let staying = Endpoint { uid: "new".into(), created_ms: Some(140), ..mk_pods(1)[0].clone() };
    for pods in [vec![leaving.clone(), staying.clone()], vec![staying, leaving]] {
        for policy in [key("k"), Policy::SourceAddress(true)] {
            let plan = mk_udp(policy, vec![(group(), 9)]);
            assert_eq!(
                shown(&run(&plan, Families::V4, &mk_fixture(pods.clone())), "rtp-c"),
                ["0 10.0.0.1:9"]
            );
        }
    }
}

#[test]
fn hosts_that_are_hashed_carry_their_address_as_hash_key() {
    let (pods, fixture) = (mk_pods(2), mk_fixture(mk_pods(2)));
    // Two ports of the same pods: their clusters hash to the same pods.
    for port in [9, 10] {
        let plan = mk_udp(Policy::SourceAddress(true), vec![(group(), port)]);
        let text = dump::text(&run(&plan, Families::V4, &fixture));
        assert_eq!(
            (text.matches("\"envoy.lb\"").count(), text.matches("\"hash_key\"").count()),
            (2, 2),
            "{text}"
        );
        assert!(pods.iter().all(|pod| text.contains(&format!("\"{}\"", pod.ips[0]))), "{text}");
        assert!(!text.contains(&format!("\"10.0.0.1:{port}\"")), "the port would part the clusters");
    }
}

#[test]
fn one_pod_under_two_ports_is_two_endpoints_without_a_common_hash_key() {
    let plan = mk_udp(Policy::SourceAddress(true), vec![(group(), 9), (group(), 10)]);
    let done = run(&plan, Families::V4, &mk_fixture(mk_pods(1)));
    assert_eq!(shown(&done, "rtp-c"), ["0 10.0.0.1:9", "0 10.0.0.1:10"]);
    assert!(!dump::text(&done).contains("hash_key"));
}

#[test]
fn terminating_pod_takes_no_new_session() {
    let mut pods = mk_pods(2);
    pods[1].terminating_ms = Some(300);
    let plan = mk_udp(Policy::SourceAddress(true), vec![(group(), 9)]);
    assert_eq!(
        shown(&run(&plan, Families::V4, &mk_fixture(pods)), "rtp-c"),
        ["0 10.0.0.1:9", "0 ~10.0.0.2:9"]
    );
}

#[test]
fn silent_defaults_of_envoy_are_stated() {
    let plan = mk_udp(key("k"), vec![(group(), 9)]);
    let text = dump::text(&run(&plan, Families::V4, &mk_fixture(mk_pods(1))));
    let count = |wanted: &str| text.lines().filter(|line| line.trim() == wanted).count();
    assert_eq!(count("value: 9000,"), 2, "datagrams on both sides");
    assert_eq!(count("name: 10,"), 1, "answers larger than the MTU");
    assert_eq!(text.matches("healthy_panic_threshold: Some(").count(), 1);
    assert_eq!(count("value: 0.0,"), 1, "no panic");
    assert_eq!(count("value: 1000000,"), 8, "four limits for each of two priorities");
    assert_eq!(count("value: 100000,"), 1, "overprovisioning");
    assert_eq!(count("ignore_health_on_host_removal: true,"), 1, "a removed host goes, healthy or not");
    assert_eq!(text.matches("initial_fetch_timeout: Some(").count(), 1);
}

#[test]
fn names_that_reach_a_proxy_hold_no_separator_whatever_the_user_wrote() {
    for name in ["z, A/ns/o/b", "z\nA/x/o/l: x", "é (s) z", "100%"] {
        let mut plan = mk_plan();
        add_pipe(&mut plan, name, (plan::Protocol::Udp, 2000), key("k"), vec![(group(), 9)]);
        let done = run(&plan, Families::V4, &mk_fixture(mk_pods(1)));
        let names: Vec<_> = done.outputs.iter().map(|(_, resource)| resource.name().clone()).collect();
        assert_eq!(names.len(), 3);
        for name in names {
            assert!(name.starts_with("A/ns/call/") && name.bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(!name.contains(','), "{name}");
        }
    }
}
