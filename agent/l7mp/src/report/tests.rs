use super::*;
use crate::action::Action;
use crate::making::make;
use crate::samples::*;
use crate::steps::{Sessions, plan};
use crate::wanted::Refusals;

/// Returns the proxy after all steps whose actions match.
fn mk_after(desired: &Desired, wanted: &Wanted, done: impl Fn(&Action) -> bool) -> Actual {
    let mut actual = mk_own();
    let steps = plan(desired, wanted, &actual, &Sessions::default());
    steps.iter().filter(|step| done(&step.action)).for_each(|step| actual.apply(&step.action));
    actual
}

fn mk_wanted(desired: &Desired) -> Wanted {
    make(desired, &mk_own(), &Refusals::new())
}

/// Short forms of answers.
fn words(answers: &[Answer]) -> Vec<String> {
    let word = |answer: &Answer| match answer {
        Answer::Acked { ty, name, .. } => format!("+{ty:?} {name}"),
        Answer::Nacked { ty, name, text, .. } => format!("!{ty:?} {name}: {text}"),
        Answer::Pending { ty, name, cluster, .. } => format!("?{ty:?} {name} for {cluster}"),
        Answer::Removed { ty, name } => format!("-{ty:?} {name}"),
        Answer::Connected | Answer::Disconnected { .. } => format!("{answer:?}"),
    };
    answers.iter().map(word).collect()
}

#[test]
fn each_resource_is_acknowledged_when_all_of_it_is_there() {
    let desired = mk_desired();
    let wanted = mk_wanted(&desired);
    type Case = (fn(&Action) -> bool, &'static [&'static str]);
    let table: [Case; 4] = [
        (|_| false, &[]),
        (|action| matches!(action, Action::AddCluster { .. }), &["+Cluster c"]),
        (|action| !matches!(action, Action::AddListener { .. }), &["+Cluster c", "+Endpoints c"]),
        (|_| true, &["+Cluster c", "+Endpoints c", "+Listener l"]),
    ];
    for (done, expected) in table {
        let answers = Report::default().all(&desired, &wanted, &mk_after(&desired, &wanted, done));
        assert_eq!(words(&answers), expected);
    }
}

#[test]
fn nothing_is_told_twice_except_to_a_new_connection() {
    let desired = mk_desired();
    let wanted = mk_wanted(&desired);
    let actual = mk_after(&desired, &wanted, |_| true);
    let mut report = Report::default();
    assert_eq!(report.all(&desired, &wanted, &actual).len(), 3);
    assert!(report.all(&desired, &wanted, &actual).is_empty());
    report.disconnected();
    assert_eq!(report.all(&desired, &wanted, &actual).len(), 3);
}

#[test]
fn removal_is_told_when_nothing_is_left_even_if_the_connection_was_lost_between() {
    let desired = mk_desired();
    let wanted = mk_wanted(&desired);
    let actual = mk_after(&desired, &wanted, |_| true);
    let mut report = Report::default();
    report.all(&desired, &wanted, &actual);
    report.disconnected();
    let (empty, nothing) = (Desired::default(), Wanted::default());
    assert!(report.all(&empty, &nothing, &actual).is_empty());
    let gone = report.all(&empty, &nothing, &mk_own());
    assert_eq!(words(&gone), ["-Cluster c", "-Endpoints c", "-Listener l"]);
    assert!(report.all(&empty, &nothing, &mk_own()).is_empty());
}

#[test]
fn refusals_and_waits_are_told_with_their_reasons() {
    let mut desired = mk_desired();
    put_listener(&mut desired, "m", mk_listener(2, vec![mk_rule("missing")]));
    put_insertion(&mut desired, "r", 0, mk_rule("c"));
    let key = Key::new(Kind::Cluster, "c");
    let refusals = Refusals::from([(key.clone(), (desired.version(&key).unwrap(), "no".into()))]);
    let wanted = make(&desired, &mk_own(), &refusals);
    let answers = Report::default().all(&desired, &wanted, &mk_own());
    let expected = [
        "!Cluster c: no",
        "?Endpoints c for c",
        "?Rule r for c",
        "?Listener l for c",
        "?Listener m for missing",
    ];
    assert_eq!(words(&answers), expected);
}

#[test]
fn listener_with_another_rule_order_is_not_acknowledged() {
    let mut desired = mk_desired();
    put_listener(&mut desired, "l", mk_listener(1, vec![mk_rule("c"), mk_rule("c")]));
    let wanted = mk_wanted(&desired);
    let mut actual = mk_after(&desired, &wanted, |_| true);
    actual.lists.iter_mut().filter(|(name, _)| names::is_own(name)).for_each(|(_, rules)| rules.reverse());
    let answers = Report::default().all(&desired, &wanted, &actual);
    assert_eq!(words(&answers), ["+Cluster c", "+Endpoints c"]);
}
