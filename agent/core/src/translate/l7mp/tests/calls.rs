//! Plans of API A, which are made for Envoys: what an l7mp proxy can express of them, and what not.

use super::*;
use crate::translate::rank;

/// Two listeners of a call, as API A's VirtualService has them: each endpoint has its own port, and the protocol is the
/// listener's.
fn mk_call_of_a(balancer: &Balancer) -> Plan {
    let cluster = |name: &str| Cluster {
        balancer: Some(balancer.clone()),
        health_check: Some(model::HealthCheck::default()),
        connect_timeout: Some(Duration::from_secs(5)),
        ..mk_cluster(name, mk_socket(Protocol::Udp, 0), vec![mk_source(Source::Group("workers".into()))])
    };
    let opened = |port: u16| {
        let rules = vec![Rule::forward(&format!("{port}/c"))];
        model::Listener { name: port.to_string(), ..mk_listener(mk_socket(Protocol::Udp, port), rules) }
    };
    let mut plan =
        mk_plan("VirtualService", vec![opened(1), opened(2)], vec![cluster("1/c"), cluster("2/c")]);
    plan.origin.api = "A".into();
    plan.origin.created_ms = Some(200);
    plan
}

/// Returns the addresses of the endpoints of both clusters.
fn addresses(plan: &Plan, fixture: &Fixture) -> Vec<Vec<String>> {
    let done = run(plan, fixture).unwrap();
    assert!(done.remarks.is_empty(), "{:?}", done.remarks);
    let of = |name: &str| {
        let body = bodies(&done).remove(&(L7mp::Endpoints, format!("A/ns/call/{name}"))).unwrap();
        let all = body["endpoints"].as_array().unwrap().iter();
        all.map(|one| one["address"].as_str().unwrap().to_owned()).collect()
    };
    vec![of("1/c"), of("2/c")]
}

#[test]
fn all_listeners_of_a_key_reach_the_endpoint_that_envoys_choose() {
    let plan = mk_call_of_a(&Balancer::Key("call-1".into()));
    let mut ranked: Vec<IpAddr> = (1..=3).map(|last| IpAddr::from([10, 0, 0, last])).collect();
    rank::order("call-1", &mut ranked, |ip| (false, *ip));
    let ranked: Vec<String> = ranked.iter().map(ToString::to_string).collect();
    let mut fixture = mk_fixture();
    assert_eq!(addresses(&plan, &fixture), vec![vec![ranked[0].clone()]; 2]);

    let uid = |ip: &String| {
        fixture.workers.iter().flatten().find(|one| one.ips[0].to_string() == *ip).unwrap().uid.clone()
    };
    let winner = uid(&ranked[0]);
    fixture.failed.insert(winner.to_string());
    assert_eq!(
        addresses(&plan, &fixture),
        vec![vec![ranked[1].clone()]; 2],
        "until its check succeeds again"
    );
    for worker in fixture.workers.iter_mut().flatten() {
        fixture.failed.insert(worker.uid.to_string());
    }
    assert_eq!(addresses(&plan, &fixture), vec![Vec::<String>::new(); 2]);
}

#[test]
fn pod_that_terminates_keeps_older_calls_and_takes_no_younger_one() {
    let plan = mk_call_of_a(&Balancer::Key("call-1".into()));
    let mut fixture = mk_fixture();
    let winner = addresses(&plan, &fixture)[0][0].clone();
    for (terminating_ms, stays) in [(201, true), (199, false)] {
        for worker in fixture.workers.iter_mut().flatten().filter(|one| one.ips[0].to_string() == winner) {
            worker.terminating_ms = Some(terminating_ms);
        }
        assert_eq!(addresses(&plan, &fixture)[0][0] == winner, stays, "{terminating_ms}");
    }
}

#[test]
fn without_a_key_the_senders_address_chooses() {
    let mut plan = mk_call_of_a(&Balancer::SourceAddress);
    let mut fixture = mk_fixture();
    fixture.failed.insert("a".into());
    assert_eq!(addresses(&plan, &fixture), vec![vec!["10.0.0.1".to_owned(), "10.0.0.3".into()]; 2]);
    let done = run(&plan, &fixture).unwrap();
    assert_eq!((done.census.endpoints, done.census.healthy), (6, 4));
    let all = bodies(&done);
    let cluster = json!({
        "spec": {"protocol": "UDP", "port": 9}, "loadbalancer": {"policy": "ConsistentHash", "key": "/IP/src_addr"},
    });
    assert_eq!(all[&(L7mp::Cluster, "A/ns/call/1/c".into())], cluster);
    let listener = &all[&(L7mp::Listener, "A/ns/call/1".into())];
    assert_eq!(listener["ends_sessions"], json!(true), "l7mp ends no idle session");
    let retry = &listener["rules"]["these"][0]["route"]["retry"];
    assert_eq!(*retry, json!({"retry_on": "never", "num_retries": 1, "timeout": 5000}));
    plan.origin.api = "B".into();
    let done = run(&plan, &fixture).unwrap();
    let listener = &bodies(&done)[&(L7mp::Listener, name("1"))];
    assert_eq!(listener["ends_sessions"], json!(false), "API B has an option for it");
}

#[test]
fn what_an_l7mp_proxy_can_not_express_of_a_call_is_refused_by_its_field() {
    type Change = fn(&mut Plan);
    let table: [(&str, Change); 6] = [
        ("the listener asks for options.idle_timeout_ms,", |plan| {
            let idle_timeout = Some(Duration::from_secs(9));
            plan.listeners[0].options = Some(Options { idle_timeout, ..Options::default() });
        }),
        ("cluster 1/c asks for endpoints with different ports,", |plan| {
            let other = EndpointSource { port: NonZeroU16::new(8), ..mk_source(Source::Host("db".into())) };
            plan.clusters[0].endpoints.push(other);
        }),
        ("cluster 1/c asks for endpoints[e].health_port of a loopback address,", |plan| {
            plan.clusters[0].endpoints[0].from = Source::Loopback(IpAddr::from([127, 0, 0, 1]));
        }),
        ("cluster 1/c asks for balancer.round_robin,", |plan| {
            plan.clusters[0].balancer = Some(Balancer::RoundRobin);
        }),
        ("cluster 1/c asks for http,", |plan| plan.clusters[0].http = true),
        ("the listener asks for http,", |plan| plan.listeners[0].http = true),
    ];
    for (text, change) in table {
        let mut plan = mk_call_of_a(&Balancer::Key("call-1".into()));
        change(&mut plan);
        let done = run(&plan, &mk_fixture()).unwrap();
        let [remark] = done.remarks.as_slice() else { panic!("{text}: {:?}", done.remarks) };
        assert_eq!(remark.at, "1", "{text}");
        assert!(
            remark.text.starts_with(text) && remark.text.contains("give an l7mp proxy"),
            "{}",
            remark.text
        );
        assert_eq!(done.outputs.len(), 3, "{text}: the other listener, its cluster and its endpoints");
    }
}

#[test]
fn proxy_without_ipv4_is_told_that_l7mp_has_no_udp_over_ipv6() {
    let plan = mk_call_of_a(&Balancer::SourceAddress);
    let request = Request {
        plan: &plan,
        families: Families::V6,
        streams: &Streams::Aggregated,
        denied: &BTreeSet::new(),
        running: &BTreeSet::new(),
        defaults: Defaults::default(),
        called: &BTreeMap::new(),
    };
    let done = translate(&request, &mk_fixture()).unwrap();
    assert_eq!((done.outputs.len(), done.remarks.len()), (0, 2));
    assert!(done.remarks[0].text.contains("no UDP over IPv6"));
}
