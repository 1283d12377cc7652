//! The node's report: what it says of proxies, and when it is written.

use super::*;

#[test]
fn report_tells_start_back_off_usage_and_versions_of_a_proxy() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("a", 1, &["10.0.0.9"]));
    rig.accept_all(&gateway("gw"));
    let told = |rig: &mut Rig, change: fn(&mut State)| {
        let mut all = kept(keeper::Phase::Running);
        change(all.get_mut("gw").unwrap().state.as_mut().unwrap());
        rig.report(&all).proxies.remove(0)
    };
    let second = |time: Option<Time>| time.map(|Time(at)| at.as_second());
    let proxy = told(&mut rig, |state| {
        state.started_ms = Some(1_700_000_000_900);
        state.usage = Some(Usage { resident: 70 << 20, cpu_ms: 12_345 });
    });
    assert_eq!((second(proxy.started), proxy.backoff_until), (Some(1_700_000_000), None));
    assert_eq!((proxy.rss_bytes, proxy.cpu_seconds), (Some(70 << 20), Some(12)));
    let served = rig.world.open(&gateway("gw"), &Announced::default()).unwrap();
    for ty in [Envoy::Cluster, Envoy::Endpoint, Envoy::Listener] {
        let version = served.snapshot(|snap| {
            Version::of_set(snap.iter(ty).map(|(name, one)| (name, one.version()))).to_string()
        });
        assert_eq!(proxy.acked_versions.get(&format!("{ty:?}")), Some(&version));
    }
    let proxy = told(&mut rig, |state| {
        (state.envoy_pid, state.started_ms) = (None, Some(1_700_000_000_900));
        state.backoff_until_ms = Some(1_700_000_001_000);
    });
    assert_eq!((proxy.started, second(proxy.backoff_until)), (None, Some(1_700_000_001)));
    assert_eq!((proxy.rss_bytes, proxy.cpu_seconds), (None, None));
}

#[test]
fn end_by_the_oom_killer_is_told_with_its_limit_and_no_other_signal_is() {
    let mut rig = Rig::new();
    for (signal, oom, limit, told) in [
        (9, true, Some(512 << 20), "killed for lack of memory (OOM), limit 512 MiB"),
        (9, true, Some(1000), "killed for lack of memory (OOM), limit 1000 bytes"),
        (9, true, None, "killed for lack of memory (OOM)"),
        (9, false, Some(512 << 20), "signal 9"),
        (11, true, Some(512 << 20), "signal 11"),
    ] {
        let mut all = kept(keeper::Phase::Backoff);
        let state = all.get_mut("gw").unwrap().state.as_mut().unwrap();
        state.last_exit = Some(keeper::Exit::Signal(signal));
        (state.out_of_memory, state.memory_limit) = (oom, limit);
        assert_eq!(rig.report(&all).proxies[0].last_exit.as_deref(), Some(told));
        assert_eq!(
            trouble(("gw", &all["gw"]), (&rig.world, 0)),
            Some(format!("Envoy ends by itself: {told}"))
        );
    }
}

#[test]
fn envoy_that_lives_and_never_connects_is_told_after_ten_seconds() {
    let (rig, nobody) = (Rig::new(), Rig::alone().world);
    let told = |change: fn(&mut State), world, seconds: u64| {
        let mut all = kept(keeper::Phase::Starting);
        let state = all.get_mut("gw").unwrap().state.as_mut().unwrap();
        (state.started_ms, state.last_exit, state.restarts) = (Some(1_000_000), None, 0);
        change(state);
        let present = (world, 1_000_000 + seconds * 1000);
        let refusal = of_proxies(&all, Available { envoy: true, l7mp: false }, present)
            .into_values()
            .next()
            .unwrap()
            .refusal
            .clone();
        let told = trouble(("gw", &all["gw"]), present).unwrap_or_default();
        assert_eq!(told, refusal);
        told.contains("(process 7) was started more than 10 s ago and has not connected")
    };
    assert!(told(|_| {}, &nobody, 11) && !told(|_| {}, &nobody, 9));
    assert!(told(|state| state.phase = keeper::Phase::Running, &nobody, 11), "its admin interface answers");
    assert!(!told(|state| state.serves = true, &nobody, 11));
    assert!(!told(|state| state.protocol = 2, &nobody, 11), "that keeper does not tell");
    assert!(!told(|_| {}, &rig.world, 11), "it has a stream");
}

#[test]
fn what_changes_all_the_time_is_no_reason_to_write_the_report() {
    let at = |s| Timestamp::from_second(s).unwrap();
    let mut rig = Rig::new();
    let first = rig.report(&kept(keeper::Phase::Running));
    let mut pace = Pace::default();
    pace.written(first.clone(), at(100));
    let mut next = first.clone();
    let proxy = &mut next.proxies[0];
    (proxy.rss_bytes, proxy.cpu_seconds, proxy.udp_sessions) = (Some(1), Some(2), Some(3));
    proxy.acked_versions.insert("Listener".into(), Version(1).to_string());
    assert_eq!(pace.wait(&next, at(110)), Duration::from_secs(50), "they go with the next write");
    next.proxies[0].started = Some(Time(at(105)));
    assert_eq!(pace.wait(&next, at(110)), Duration::ZERO);
}

#[test]
fn report_names_kept_proxies_and_other_proxies_only_when_they_refuse_something() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("a", 1, &["10.0.0.9"]));
    rig.world.apply_pod(mk_pod("p", "gw"));
    let pod = ProxyId::Pod("p".into());
    rig.connect(&pod);
    rig.accept_all(&pod);
    rig.accept_all(&gateway("gw"));
    let report = rig.report(&kept(keeper::Phase::Running));
    let [proxy] = report.proxies.as_slice() else { panic!("{:?}", report.proxies) };
    assert_eq!(
        (proxy.name.as_str(), proxy.phase, proxy.pid, proxy.epoch),
        ("gw", Phase::Running, Some(7), Some(2))
    );
    assert_eq!((proxy.restarts, proxy.last_exit.as_deref()), (Some(3), Some("signal 9")));
    assert_eq!((proxy.listeners, proxy.clusters, proxy.nack.as_deref()), (Some(1), Some(1), None));
    assert_eq!(report.conditions[0].reason, "Programmed");
    rig.refuse(&pod, "A/ns/a/l", "no");
    let report = rig.report(&kept(keeper::Phase::Running));
    let told: Vec<_> = report.proxies.iter().map(|p| (p.name.as_str(), p.nack.as_deref())).collect();
    assert_eq!(told, [("gw", None), ("ns/p", Some("listener A/ns/a/l: no"))]);
    assert_eq!(report.conditions[0].reason, "Nacked");
}

#[test]
fn report_is_written_at_once_for_a_phase_else_every_five_seconds_and_every_minute_without_news() {
    let at = |s| Timestamp::from_second(s).unwrap();
    let mut rig = Rig::new();
    let first = rig.report(&kept(keeper::Phase::Running));
    let mut pace = Pace::default();
    assert_eq!(pace.wait(&first, at(100)), Duration::ZERO);
    pace.written(first.clone(), at(100));
    assert_eq!(pace.wait(&first, at(101)), Duration::from_secs(59));
    let news = NodeReportStatus { agent_version: "next".into(), ..first.clone() };
    assert_eq!(pace.wait(&news, at(101)), Duration::from_secs(4));
    assert_eq!(pace.wait(&news, at(105)), Duration::ZERO);
    let fallen = rig.report(&kept(keeper::Phase::Backoff));
    assert_eq!(pace.wait(&fallen, at(101)), Duration::ZERO);
    assert_eq!(pace.wait(&first, at(50)), Duration::from_secs(60), "a clock that was set back is no reason");
}
