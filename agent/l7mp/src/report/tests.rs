use super::*;
use crate::action::Action;
use crate::desired::Desired;
use crate::names;
use crate::samples::*;
use crate::steps::{Picture, Sessions, plan};
use crate::wanted::{Good, Refusals};

/// Returns the proxy after all steps whose actions match. Each object has a step of its own.
fn mk_after(desired: &Desired, wanted: &Wanted, done: impl Fn(&Action) -> bool) -> Actual {
    let mut actual = mk_own();
    let (keys, sessions) = (desired.keys().collect(), Sessions::default());
    let picture = Picture { desired, wanted, actual: &actual, sessions: &sessions, apart: &keys };
    let steps = plan(&keys, picture);
    steps.iter().filter(|step| done(&step.action)).for_each(|step| actual.apply(&step.action));
    actual
}

fn mk_made(desired: &Desired) -> Wanted {
    mk_wanted(desired, &mk_own(), &Refusals::new())
}

/// The news of all resources.
fn all(report: &mut Report, desired: &Desired, wanted: &Wanted, actual: &Actual) -> Vec<Answer> {
    all_with(report, &Refusals::new(), (desired, wanted, actual))
}

fn all_with(
    report: &mut Report,
    refusals: &Refusals,
    (desired, wanted, actual): (&Desired, &Wanted, &Actual),
) -> Vec<Answer> {
    let good = Good::new();
    let ground = Ground { desired, actual, refusals, good: &good };
    let gone: Vec<Key> = report.keys().filter(|key| desired.version(key).is_none()).cloned().collect();
    desired.keys().chain(gone).filter_map(|key| report.of(&key, ground, wanted)).collect()
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
    let wanted = mk_made(&desired);
    type Case = (fn(&Action) -> bool, &'static [&'static str]);
    let table: [Case; 4] = [
        (|_| false, &[]),
        (|action| matches!(action, Action::AddCluster { .. }), &["+Cluster c"]),
        (|action| !matches!(action, Action::AddListener { .. }), &["+Cluster c", "+Endpoints c"]),
        (|_| true, &["+Cluster c", "+Endpoints c", "+Listener l"]),
    ];
    for (done, expected) in table {
        let answers = all(&mut Report::default(), &desired, &wanted, &mk_after(&desired, &wanted, done));
        assert_eq!(words(&answers), expected);
    }
}

#[test]
fn nothing_is_told_twice_except_to_a_new_connection() {
    let desired = mk_desired();
    let wanted = mk_made(&desired);
    let actual = mk_after(&desired, &wanted, |_| true);
    let mut report = Report::default();
    assert_eq!(all(&mut report, &desired, &wanted, &actual).len(), 3);
    assert!(all(&mut report, &desired, &wanted, &actual).is_empty());
    report.disconnected();
    assert_eq!(all(&mut report, &desired, &wanted, &actual).len(), 3);
}

#[test]
fn removal_is_told_when_nothing_is_left_even_if_the_connection_was_lost_between() {
    let desired = mk_desired();
    let wanted = mk_made(&desired);
    let actual = mk_after(&desired, &wanted, |_| true);
    let mut report = Report::default();
    all(&mut report, &desired, &wanted, &actual);
    report.disconnected();
    let (empty, nothing) = (Desired::default(), Wanted::default());
    assert!(all(&mut report, &empty, &nothing, &actual).is_empty());
    let gone = all(&mut report, &empty, &nothing, &mk_own());
    assert_eq!(words(&gone), ["-Cluster c", "-Endpoints c", "-Listener l"]);
    assert!(all(&mut report, &empty, &nothing, &mk_own()).is_empty());
}

#[test]
fn refusals_and_waits_are_told_with_their_reasons() {
    let mut desired = mk_desired();
    put_listener(&mut desired, "m", mk_listener(2, vec![mk_rule("missing")]));
    put_insertion(&mut desired, "r", 0, mk_rule("c"));
    let key = Key::new(Kind::Cluster, "c");
    let refusals = Refusals::from([(key.clone(), (desired.version(&key).unwrap(), "no".into()))]);
    let wanted = mk_wanted(&desired, &mk_own(), &refusals);
    let answers = all_with(&mut Report::default(), &refusals, (&desired, &wanted, &mk_own()));
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
    let wanted = mk_made(&desired);
    let mut actual = mk_after(&desired, &wanted, |_| true);
    actual.lists.iter_mut().filter(|(name, _)| names::is_own(name)).for_each(|(_, rules)| rules.reverse());
    let answers = all(&mut Report::default(), &desired, &wanted, &actual);
    assert_eq!(words(&answers), ["+Cluster c", "+Endpoints c"]);
}
