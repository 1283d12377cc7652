use portreeve_agent_core::translate::l7mp::objects::Hop;

use portreeve_xds::Version;

use super::*;
use crate::samples::*;

fn hold<T: std::fmt::Debug>(made: &Result<T, Hold>) -> &Hold {
    made.as_ref().unwrap_err()
}

fn text<T: std::fmt::Debug>(made: &Result<T, Hold>) -> &str {
    match hold(made) {
        Hold::Refused(text) => text,
        Hold::Waiting(_) => panic!("{made:?}"),
    }
}

fn of(desired: &Desired) -> Wanted {
    mk_wanted(desired, &mk_own(), &Refusals::new())
}

#[test]
fn rules_name_changes_with_its_cluster_and_the_listeners_does_not() {
    let before = of(&mk_desired());
    let mut desired = mk_desired();
    put_cluster(&mut desired, "c", 10, &[]);
    let after = of(&desired);
    let (before, after) = (before.listeners["l"].as_ref().unwrap(), after.listeners["l"].as_ref().unwrap());
    assert_eq!(before.name, after.name);
    assert_ne!(before.rules, after.rules);
}

#[test]
fn endpoints_do_not_change_their_clusters_name() {
    let mut desired = mk_desired();
    let before = of(&desired).clusters["c"].as_ref().unwrap().name.clone();
    put_cluster(&mut desired, "c", 9, &["10.0.0.7"]);
    let after = of(&desired);
    let after = after.clusters["c"].as_ref().unwrap();
    assert_eq!(after.name, before);
    assert_eq!(after.endpoints.keys().collect::<Vec<_>>(), [&format!("{before}/10.0.0.7")]);
}

#[test]
fn missing_and_refused_clusters_are_waited_for() {
    let mut desired = mk_desired();
    put_listener(&mut desired, "l", mk_listener(1, vec![mk_rule("missing")]));
    put_listener(&mut desired, "m", mk_listener(2, vec![mk_rule("c")]));
    let version = desired.clusters["c"].version;
    let refusals = Refusals::from([(Key::new(Kind::Cluster, "c"), (version, "no".to_owned()))]);
    let wanted = mk_wanted(&desired, &mk_own(), &refusals);
    assert_eq!(hold(&wanted.listeners["l"]), &Hold::Waiting("missing".into()));
    assert_eq!(hold(&wanted.listeners["m"]), &Hold::Waiting("c".into()));
    assert_eq!(text(&wanted.clusters["c"]), "no");
}

#[test]
fn refusal_of_another_version_does_not_count() {
    let refusals = Refusals::from([(Key::new(Kind::Cluster, "c"), (Version(1), "no".to_owned()))]);
    assert!(mk_wanted(&mk_desired(), &mk_own(), &refusals).clusters["c"].is_ok());
}

#[test]
fn what_the_proxys_own_configuration_lacks_is_named() {
    let mut desired = Desired::default();
    put_listener(&mut desired, "own", mk_listener(1, vec![mk_rule_to(Hop::Own("metre".into()))]));
    let apply = objects_rule_apply("nowhere");
    put_listener(&mut desired, "apply", mk_listener(2, vec![apply]));
    let mut listed = mk_listener(3, Vec::new());
    listed.rules = Rules::List("no-list".into());
    put_listener(&mut desired, "list", listed);
    let wanted = of(&desired);
    for (name, missing) in [("own", "metre"), ("apply", "nowhere"), ("list", "no-list")] {
        let text = text(&wanted.listeners[name]);
        assert!(text.contains(name) && text.contains(&format!("{missing:?}")), "{text}");
    }
}

fn objects_rule_apply(list: &str) -> portreeve_agent_core::translate::l7mp::objects::Rule {
    portreeve_agent_core::translate::l7mp::objects::Rule { apply: Some(list.into()), ..Default::default() }
}

#[test]
fn own_parts_of_the_proxy_can_be_named() {
    let mut desired = Desired::default();
    put_listener(&mut desired, "own", mk_listener(1, vec![mk_rule_to(Hop::Own("meter".into()))]));
    put_insertion(&mut desired, "r", 0, mk_rule_to(Hop::Own("meter".into())));
    let wanted = of(&desired);
    assert!(wanted.listeners["own"].is_ok() && wanted.insertions["r"].is_ok());
}

#[test]
fn taken_ports_are_refused_by_their_owners_name() {
    let mut desired = Desired::default();
    put_listener(&mut desired, "a", mk_listener(7, Vec::new()));
    put_listener(&mut desired, "b", mk_listener(8, Vec::new()));
    put_listener(&mut desired, "c", mk_listener(8, Vec::new()));
    let mut tcp = mk_listener(8, Vec::new());
    tcp.spec.insert("protocol".into(), "TCP".into());
    put_listener(&mut desired, "d", tcp);
    let wanted = of(&desired);
    assert!(
        text(&wanted.listeners["a"])
            .contains("UDP port 7 of the proxy, which the proxy's own listener \"their-listener\"")
    );
    assert!(text(&wanted.listeners["c"]).contains("which listener b has"));
    assert!(wanted.listeners["b"].is_ok() && wanted.listeners["d"].is_ok());
}

#[test]
fn connected_listeners_are_known() {
    let connect = json!({"address": "10.0.0.1", "port": 5});
    let table = [
        (json!({"protocol": "UDP", "port": 1, "connect": connect}), true),
        (json!({"protocol": "UDP", "port": 1, "connect": connect, "options": {"mode": "singleton"}}), true),
        (json!({"protocol": "UDP", "port": 1, "connect": connect, "options": {"mode": "server"}}), false),
        (json!({"protocol": "UDP", "port": 1, "connect": {"address": "10.0.0.1"}}), false),
        (json!({"protocol": "UDP", "port": 1}), false),
    ];
    for (spec, connected) in table {
        let mut listener = mk_listener(1, Vec::new());
        listener.spec = spec.as_object().unwrap().clone();
        let mut desired = Desired::default();
        put_listener(&mut desired, "l", listener);
        assert_eq!(of(&desired).listeners["l"].as_ref().unwrap().connected, connected, "{spec}");
    }
}
