//! Plans, executed on a model of the proxy that checks each step.

use super::*;
use crate::action::ListenerRules;
use crate::names;
use crate::samples::*;
use crate::wanted::Refusals;
use serde_json::json;

/// Executes plans until nothing is left, and returns all steps. Each step must be safe when it is executed.
fn settle(desired: &Desired, actual: &mut Actual) -> Vec<Action> {
    settle_with(desired, actual, &Sessions::default())
}

fn settle_with(desired: &Desired, actual: &mut Actual, sessions: &Sessions) -> Vec<Action> {
    let mut done = Vec::new();
    let mut known = sessions.clone();
    for _ in 0..5 {
        actual.reindex();
        let wanted = mk_wanted(desired, actual, &Refusals::new());
        let steps = mk_plan(desired, &wanted, actual, &known);
        known.deaf.clear();
        if steps.is_empty() {
            return done;
        }
        for Step { action, .. } in steps {
            assert!(actual.is_safe(&action), "{action:?} after {done:?}");
            match &action {
                Action::ReadList { listener } => name_list(listener, actual),
                _ => actual.apply(&action),
            }
            complete(actual, &action);
            done.push(action);
        }
    }
    panic!("never settles: {done:?}");
}

/// Gives a list the name that the proxy would have given.
fn name_list(listener: &str, actual: &mut Actual) {
    let answer = json!({"name": listener, "spec": {"protocol": "UDP", "port": 1}, "rules": format!("{listener}-RuleList-4")});
    actual.read_list(answer).unwrap();
}

fn name_lists(actual: &mut Actual) {
    for listener in actual.listeners.keys().filter(|name| names::is_own(name)).cloned().collect::<Vec<_>>() {
        name_list(&listener, actual);
    }
}

/// A listener must lead every session somewhere: its list, the rules in it, their routes and clusters exist.
fn complete(actual: &Actual, after: &Action) {
    for seen in actual.listeners.values() {
        for rule in &actual.lists[&seen.list] {
            let route = actual.rules.get(rule).unwrap_or_else(|| panic!("no {rule} after {after:?}"));
            for cluster in route.iter().flat_map(|route| &actual.routes[route]) {
                assert!(actual.clusters.contains_key(cluster), "no {cluster} after {after:?}");
            }
        }
    }
}

/// Short forms of steps, without names.
fn verbs(steps: &[Action]) -> Vec<&'static str> {
    steps.iter().map(verb).collect()
}

fn verb(action: &Action) -> &'static str {
    match action {
        Action::AddCluster { .. } => "+cluster",
        Action::AddEndpoint { .. } => "+endpoint",
        Action::DeleteEndpoint { recursive: true, .. } => "-endpoint!",
        Action::DeleteEndpoint { .. } => "-endpoint",
        Action::DeleteCluster { recursive: true, .. } => "-cluster!",
        Action::DeleteCluster { .. } => "-cluster",
        Action::AddListener { rules: ListenerRules::List(_), .. } => "+listener of list",
        Action::AddListener { .. } => "+listener",
        Action::DeleteListener { recursive: true, .. } => "-listener!",
        Action::DeleteListener { .. } => "-listener",
        Action::AddList { .. } => "+list",
        Action::DeleteList { .. } => "-list",
        Action::Insert { .. } => "insert",
        Action::Unlink { .. } => "unlink",
        Action::AddRule { .. } => "+rule",
        Action::DeleteRule { .. } => "-rule",
        Action::AddRoute { .. } => "+route",
        Action::DeleteRoute { .. } => "-route",
        Action::ReadList { .. } => "read",
    }
}

#[test]
fn listener_comes_last_and_with_its_rules_in_one_request() {
    let mut actual = mk_own();
    let steps = settle(&mk_desired(), &mut actual);
    assert_eq!(verbs(&steps), ["+listener"]);
    assert!(settle(&mk_desired(), &mut actual).is_empty());
}

#[test]
fn everything_of_the_drivers_goes_and_nothing_else() {
    let mut actual = mk_own();
    let mut desired = mk_desired();
    put_insertion(&mut desired, "r", 0, mk_rule("c"));
    settle(&desired, &mut actual);
    let steps = settle(&Desired::default(), &mut actual);
    let expected = ["unlink", "-rule", "-route", "read", "-listener", "-list", "-rule", "-route", "-cluster"];
    assert_eq!(verbs(&steps), expected);
    assert_eq!(actual, mk_own());
}

#[test]
fn changed_rule_comes_before_the_old_one_goes_and_the_listener_stays() {
    let mut actual = mk_own();
    let mut desired = mk_desired();
    settle(&desired, &mut actual);
    put_cluster(&mut desired, "d", 9, &[]);
    put_listener(&mut desired, "l", mk_listener(1, vec![mk_rule("d")]));
    let steps = settle(&desired, &mut actual);
    assert_eq!(verbs(&steps), ["+cluster", "read", "insert", "unlink", "-rule", "-route"]);
    desired.clusters.remove("c");
    assert_eq!(verbs(&settle(&desired, &mut actual)), ["-cluster"]);
}

#[test]
fn changed_cluster_takes_its_rules_along() {
    let mut actual = mk_own();
    let mut desired = mk_desired();
    settle(&desired, &mut actual);
    put_cluster(&mut desired, "c", 10, &["10.0.0.1"]);
    let steps = settle(&desired, &mut actual);
    let expected = ["+cluster", "+endpoint", "read", "insert", "unlink", "-rule", "-route", "-cluster"];
    assert_eq!(verbs(&steps), expected);
}

#[test]
fn rules_are_brought_into_order_by_position() {
    let names = ["c0", "c1", "c2", "c3"];
    let table: [(&[usize], &[usize]); 6] = [
        (&[0, 1], &[2, 1]),
        (&[0], &[0, 1, 2]),
        (&[0, 1, 2], &[0]),
        (&[0, 1, 2], &[1, 2]),
        (&[0, 1], &[2, 3]),
        (&[], &[0, 1]),
    ];
    for (before, after) in table {
        let mut desired = Desired::default();
        names.iter().for_each(|name| put_cluster(&mut desired, name, 9, &[]));
        let mk_rules = |list: &[usize]| list.iter().map(|at| mk_rule(names[*at])).collect();
        put_listener(&mut desired, "l", mk_listener(1, mk_rules(before)));
        let mut actual = mk_own();
        settle(&desired, &mut actual);
        put_listener(&mut desired, "l", mk_listener(1, mk_rules(after)));
        let steps = settle(&desired, &mut actual);
        let wanted = mk_wanted(&desired, &actual, &Refusals::new());
        let crate::wanted::WantedRules::These(rules) = &wanted.listeners["l"].as_ref().unwrap().rules else {
            panic!("these")
        };
        let list = &actual.lists[&actual.listeners[&wanted.listeners["l"].as_ref().unwrap().name].list];
        assert_eq!(
            *list,
            rules.iter().map(|rule| rule.name.clone()).collect::<Vec<_>>(),
            "{before:?} {after:?}"
        );
        assert!(!verbs(&steps).contains(&"-listener"), "{steps:?}");
    }
}

#[test]
fn listener_with_another_spec_leaves_its_port_first() {
    let mut actual = mk_own();
    let mut desired = mk_desired();
    settle(&desired, &mut actual);
    let mut other = mk_listener(1, vec![mk_rule("c")]);
    other.track = Some(3);
    put_listener(&mut desired, "l", other);
    assert_eq!(
        verbs(&settle(&desired, &mut actual)),
        ["read", "+list", "-listener", "+listener of list", "-list"]
    );
}

#[test]
fn listener_on_another_port_is_there_before_the_old_one_goes() {
    let mut actual = mk_own();
    let mut desired = mk_desired();
    settle(&desired, &mut actual);
    put_listener(&mut desired, "l", mk_listener(2, vec![mk_rule("c")]));
    assert_eq!(
        verbs(&settle(&desired, &mut actual)),
        ["+list", "+listener of list", "read", "-listener", "-list"]
    );
}

#[test]
fn listeners_can_swap_their_ports() {
    let mut actual = mk_own();
    let mut desired = mk_desired();
    put_listener(&mut desired, "m", mk_listener(2, vec![mk_rule("c")]));
    settle(&desired, &mut actual);
    put_listener(&mut desired, "l", mk_listener(2, vec![mk_rule("c")]));
    put_listener(&mut desired, "m", mk_listener(1, vec![mk_rule("c")]));
    settle(&desired, &mut actual);
    assert_eq!(actual.listeners.keys().filter(|name| names::is_own(name)).count(), 2);
}

#[test]
fn endpoints_join_before_others_leave() {
    let mut actual = mk_own();
    let mut desired = mk_desired();
    settle(&desired, &mut actual);
    put_cluster(&mut desired, "c", 9, &["10.0.0.2"]);
    assert_eq!(verbs(&settle(&desired, &mut actual)), ["+endpoint", "-endpoint!"]);
}

#[test]
fn endpoint_with_another_weight_keeps_its_sessions() {
    let mut actual = mk_own();
    let mut desired = mk_desired();
    settle(&desired, &mut actual);
    std::sync::Arc::make_mut(&mut desired.clusters.get_mut("c").unwrap().endpoints).endpoints[0].weight =
        Some(5);
    assert_eq!(verbs(&settle(&desired, &mut actual)), ["-endpoint", "+endpoint"]);
}

#[test]
fn insertion_takes_its_position_and_its_successor_the_same() {
    let mut actual = mk_own();
    let mut desired = mk_desired();
    put_insertion(&mut desired, "r", 1, mk_rule("c"));
    settle(&desired, &mut actual);
    assert_eq!(names::rule_resource(&actual.lists["theirs"][1]), Some(("r", 1)));
    // Somebody puts another rule in front.
    actual.lists.get_mut("theirs").unwrap().insert(0, "their-rule".into());
    put_cluster(&mut desired, "c", 10, &[]);
    settle(&desired, &mut actual);
    let own: Vec<bool> = actual.lists["theirs"].iter().map(|rule| names::is_own(rule)).collect();
    assert_eq!(own, [false, false, true]);
}

#[test]
fn insertion_beyond_the_end_of_the_list_is_the_last() {
    let mut actual = mk_own();
    let mut desired = mk_desired();
    put_insertion(&mut desired, "r", 9, mk_rule("c"));
    settle(&desired, &mut actual);
    assert_eq!(actual.lists["theirs"].len(), 2);
}

#[test]
fn listener_that_waits_keeps_its_former_version() {
    let mut actual = mk_own();
    let mut desired = mk_desired();
    settle(&desired, &mut actual);
    put_listener(&mut desired, "l", mk_listener(2, vec![mk_rule("missing")]));
    assert_eq!(verbs(&settle(&desired, &mut actual)), Vec::<&str>::new());
    desired.clusters.remove("c");
    assert_eq!(verbs(&settle(&desired, &mut actual)), Vec::<&str>::new());
}

#[test]
fn absent_resources_that_are_kept_stay() {
    let mut actual = mk_own();
    settle(&mk_desired(), &mut actual);
    let all = Desired { keep_all: true, ..Desired::default() };
    assert!(settle(&all, &mut actual).is_empty());
}

#[test]
fn deaf_listener_is_made_again_with_its_rules() {
    let mut actual = mk_own();
    settle(&mk_desired(), &mut actual);
    let name = actual.listeners.keys().find(|name| names::is_own(name)).unwrap().clone();
    name_lists(&mut actual);
    let sessions = Sessions { deaf: [name].into(), ..Sessions::default() };
    let steps = settle_with(&mk_desired(), &mut actual, &sessions);
    assert_eq!(verbs(&steps), ["-listener", "+listener of list"]);
}

#[test]
fn lost_parts_are_made_again() {
    type Case = (fn(&mut Actual), &'static [&'static str]);
    let table: [Case; 5] = [
        (|actual| actual.lists.values_mut().for_each(Vec::clear), &["insert"]),
        (|actual| actual.rules.retain(|name, _| !names::is_own(name)), &["+rule"]),
        (|actual| actual.routes.retain(|name, _| !names::is_own(name)), &["+route"]),
        (
            |actual| actual.listeners.retain(|name, _| !names::is_own(name)),
            &["+list", "+listener of list", "-list"],
        ),
        (
            |actual| actual.lists.retain(|name, _| !names::is_own(name)),
            &["-listener", "+list", "+listener of list"],
        ),
    ];
    for (lose, expected) in table {
        let mut actual = mk_own();
        settle(&mk_desired(), &mut actual);
        name_lists(&mut actual);
        lose(&mut actual);
        actual.reindex();
        let wanted = mk_wanted(&mk_desired(), &actual, &Refusals::new());
        let steps = mk_plan(&mk_desired(), &wanted, &actual, &Sessions::default());
        let steps: Vec<Action> = steps.into_iter().map(|step| step.action).collect();
        assert_eq!(verbs(&steps), expected);
    }
}

#[test]
fn orphans_of_a_half_failed_request_are_used_and_the_rest_removed() {
    let mut actual = mk_own();
    let desired = mk_desired();
    settle(&desired, &mut actual);
    name_lists(&mut actual);
    actual.listeners.retain(|name, _| !names::is_own(name));
    let steps = settle(&desired, &mut actual);
    let Action::AddList { rules, .. } = &steps[0] else { panic!("{steps:?}") };
    assert!(rules[0].rule_exists && rules[0].route_exists);
    assert_eq!(verbs(&steps), ["+list", "+listener of list", "-list"]);
}

#[test]
fn proxy_ends_the_sessions_itself_only_where_they_cannot_be_read() {
    let mut actual = mk_own();
    settle(&mk_desired(), &mut actual);
    name_lists(&mut actual);
    let mut other = mk_desired();
    put_cluster(&mut other, "c", 10, &[]);
    let unread = Sessions { recursive: true, ..Sessions::default() };
    let steps = settle_with(&other, &mut actual.clone(), &unread);
    assert_eq!(verbs(&steps).last(), Some(&"-cluster!"));
    let steps = settle_with(&Desired::default(), &mut actual, &unread);
    assert_eq!(verbs(&steps), ["-listener!", "-list", "-rule", "-route", "-cluster"]);
}
