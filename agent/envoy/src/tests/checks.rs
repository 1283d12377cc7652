//! Health in translations: failed endpoints keep their place as UNHEALTHY, and the proxy itself checks
//! loopback addresses.

use super::golden::assert_golden;
use super::*;

fn mk_check(path: &str) -> plan::HealthCheck {
    plan::HealthCheck {
        interval_ms: 500,
        timeout_ms: 100,
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        http_path: path.into(),
    }
}

/// A Plan with one UDP listener whose sources are all checked at port 1233.
fn mk_checked(policy: Policy, sources: Vec<(From, u32)>) -> plan::Plan {
    let mut plan = mk_udp(policy, sources);
    plan.clusters[0].health_check = Some(mk_check(""));
    plan.clusters[0].endpoints.iter_mut().for_each(|source| source.health_port = 1233);
    plan
}

fn failing(pods: Vec<Endpoint>, failed: &[&str]) -> Fixture {
    Fixture { failed: failed.iter().map(|f| (*f).to_owned()).collect(), ..mk_fixture(pods) }
}

#[test]
fn failed_winner_of_a_key_keeps_its_place_and_is_unhealthy() {
    let plan = mk_checked(key("call-1"), vec![(group(), 9)]);
    let before = shown(&run(&plan, Families::V4, &mk_fixture(mk_pods(3))), "rtp-c");
    let uid = format!("uid-{}:1233", address(&before[0]).rsplit_once('.').unwrap().1);
    let done = run(&plan, Families::V4, &failing(mk_pods(3), &[&uid]));
    let after = shown(&done, "rtp-c");
    assert_eq!(after[0], before[0].replace("0 ", "0 !"));
    assert_eq!(after[1..], before[1..]);
    assert_golden("keyed_failed", &done);
}

#[test]
fn failed_endpoint_takes_no_session_even_while_its_pod_terminates() {
    let mut pods = mk_pods(3);
    pods[1].terminating_ms = Some(300);
    let plan = mk_checked(Policy::SourceAddress(true), vec![(group(), 9)]);
    let done = run(&plan, Families::V4, &failing(pods, &["uid-1:1233", "uid-2:1233"]));
    assert_eq!(shown(&done, "rtp-c"), ["0 !10.0.0.1:9", "0 !10.0.0.2:9", "0 10.0.0.3:9"]);
}

#[test]
fn terminating_pods_are_degraded_only_while_one_that_can_be_used_stays() {
    let plan = mk_checked(Policy::SourceAddress(true), vec![(group(), 9)]);
    // Terminating pods, failed pods, and the expected endpoints.
    for (leaving, failed, expected) in [
        (&[1][..], &[][..], ["0 ~10.0.0.1:9", "0 10.0.0.2:9", "0 10.0.0.3:9"]),
        (&[1, 2], &[], ["0 ~10.0.0.1:9", "0 ~10.0.0.2:9", "0 10.0.0.3:9"]),
        (&[1, 2, 3], &[], ["0 10.0.0.1:9", "0 10.0.0.2:9", "0 10.0.0.3:9"]),
        (&[1, 2], &[3], ["0 10.0.0.1:9", "0 10.0.0.2:9", "0 !10.0.0.3:9"]),
        (&[1, 2, 3], &[1], ["0 !10.0.0.1:9", "0 10.0.0.2:9", "0 10.0.0.3:9"]),
        (&[1], &[2, 3], ["0 10.0.0.1:9", "0 !10.0.0.2:9", "0 !10.0.0.3:9"]),
    ] {
        let mut pods = mk_pods(3);
        leaving.iter().for_each(|i: &usize| pods[i - 1].terminating_ms = Some(300));
        let checks: Vec<String> = failed.iter().map(|i: &usize| format!("uid-{i}:1233")).collect();
        let checks: Vec<&str> = checks.iter().map(String::as_str).collect();
        let done = run(&plan, Families::V4, &failing(pods, &checks));
        assert_eq!(shown(&done, "rtp-c"), expected, "{leaving:?} {failed:?}");
    }
}

#[test]
fn pods_that_nobody_checks_take_no_new_session_once_what_is_known_of_them_is_too_old() {
    let spread = Policy::SourceAddress(true);
    // Stale pods, terminating pods, and the expected endpoints.
    let cases = [
        (vec![], None, ["0 10.0.0.1:9", "0 10.0.0.2:9", "0 10.0.0.3:9"]),
        // With another endpoint, stale ones keep their sessions by being DEGRADED. Without one, they keep
        // them because there is no alternative.
        (vec![1, 2], None, ["0 ~10.0.0.1:9", "0 ~10.0.0.2:9", "0 10.0.0.3:9"]),
        (vec![1, 2, 3], None, ["0 !10.0.0.1:9", "0 !10.0.0.2:9", "0 !10.0.0.3:9"]),
        (vec![1, 2], Some(300), ["0 ~10.0.0.1:9", "0 ~10.0.0.2:9", "0 10.0.0.3:9"]),
        (vec![1, 2, 3], Some(300), ["0 !10.0.0.1:9", "0 !10.0.0.2:9", "0 !10.0.0.3:9"]),
    ];
    for (stale, leaving, expected) in cases {
        let mut pods = mk_pods(3);
        pods[2].terminating_ms = leaving;
        let mut fixture = mk_fixture(pods);
        fixture.stale = stale.iter().map(|i: &u8| format!("uid-{i}")).collect();
        let plain = mk_udp(spread.clone(), vec![(group(), 9)]);
        assert_eq!(shown(&run(&plain, Families::V4, &fixture), "rtp-c"), expected, "{stale:?} {leaving:?}");
    }
}

#[test]
fn checked_pods_addresses_and_calls_are_as_good_however_old_the_word_is() {
    let (spread, all) = (Policy::SourceAddress(true), ["uid-1", "uid-2", "uid-3"]);
    let checked = mk_checked(spread.clone(), vec![(group(), 9)]);
    let call = mk_udp(key("call-1"), vec![(group(), 9)]);
    let address = mk_udp(spread, vec![(From::Ip("10.0.0.1".into()), 9)]);
    for plan in [checked, call, address] {
        let fresh = mk_fixture(mk_pods(3));
        let stale = Fixture { stale: all.map(String::from).into(), ..mk_fixture(mk_pods(3)) };
        let of = |fixture| shown(&run(&plan, Families::V4, fixture), "rtp-c");
        assert_eq!(of(&stale), of(&fresh));
    }
}

#[test]
fn terminating_pod_of_an_older_object_stays_healthy_until_its_check_fails() {
    let mut pods = mk_pods(1);
    pods[0].terminating_ms = Some(300);
    let plan = mk_checked(key("call-1"), vec![(group(), 9)]);
    assert_eq!(shown(&run(&plan, Families::V4, &mk_fixture(pods.clone())), "rtp-c"), ["0 10.0.0.1:9"]);
    let done = run(&plan, Families::V4, &failing(pods, &["uid-1:1233"]));
    assert_eq!(shown(&done, "rtp-c"), ["0 !10.0.0.1:9"]);
}

#[test]
fn verdicts_count_only_where_the_plan_asks_for_them() {
    let fixture = || failing(mk_pods(1), &["uid-1:1233", "192.0.2.1:1233"]);
    let sources = || vec![(group(), 9), (From::Ip("192.0.2.1".into()), 9)];
    let count = |plan: &plan::Plan| {
        shown(&run(plan, Families::V4, &fixture()), "rtp-c").iter().filter(|e| e.contains('!')).count()
    };
    let mut plan = mk_checked(Policy::SourceAddress(true), sources());
    assert_eq!(count(&plan), 2);
    plan.clusters[0].health_check = Some(mk_check("/healthcheck"));
    assert_eq!(count(&plan), 0, "another check");
    plan.clusters[0].health_check = None;
    assert_eq!(count(&plan), 0, "no check");
    assert_eq!(count(&mk_udp(Policy::SourceAddress(true), sources())), 0, "no port");
}

#[test]
fn loopback_is_checked_by_the_proxy_and_by_nobody_else() {
    let loopback = From::Ip("127.0.0.1".into());
    let plan = mk_checked(key("call-1"), vec![(loopback.clone(), 1234)]);
    assert_golden("loopback_checked", &run(&plan, Families::V4, &failing(vec![], &["127.0.0.1:1233"])));
    let mut mixed = mk_checked(Policy::SourceAddress(true), vec![(loopback.clone(), 1234), (group(), 9)]);
    mixed.clusters[0].health_check = Some(mk_check("/healthcheck"));
    let text = dump::text(&run(&mixed, Families::V4, &mk_fixture(mk_pods(2))));
    let count = |wanted: &str| text.lines().filter(|line| line.trim() == wanted).count();
    assert_eq!(count("disable_active_health_check: true,"), 2, "the pods");
    assert_eq!(count("port_value: 1233,"), 1, "the loopback address");
    assert_eq!(count("path: \"/healthcheck\","), 1);
    let unchecked = mk_udp(key("call-1"), vec![(loopback, 1234)]);
    assert!(
        !dump::text(&run(&unchecked, Families::V4, &Fixture::default()))
            .contains("health_check_config: Some")
    );
}
