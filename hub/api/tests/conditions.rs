//! Setting a condition in a list.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use portreeve_api::conditions::{self, ConditionType, MAX_MESSAGE, Reason, Status, Verdict};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or_else(|error| panic!("{second}: {error}"))
}

fn accepted(status: Status, reason: Reason, message: &str) -> Verdict {
    Verdict {
        type_: ConditionType::Accepted,
        status,
        reason,
        message: message.to_owned(),
        generation: Some(1),
    }
}

fn set_one(first: Verdict) -> Vec<Condition> {
    let mut list = Vec::new();
    assert!(conditions::set(&mut list, first, at(100)));
    list
}

#[test]
fn a_new_condition_is_added_with_the_time_of_now() {
    let list = set_one(accepted(Status::True, Reason::Accepted, ""));
    let [condition] = list.as_slice() else { panic!("{list:?}") };
    let shown = (condition.type_.as_str(), condition.status.as_str(), condition.reason.as_str());
    assert_eq!(shown, ("Accepted", "True", "Accepted"));
    assert_eq!((condition.last_transition_time.0, condition.observed_generation), (at(100), Some(1)));
}

#[test]
fn the_same_verdict_again_differs_in_nothing() {
    let mut list = set_one(accepted(Status::True, Reason::Accepted, "ok"));
    let before = list.clone();
    assert!(!conditions::set(&mut list, accepted(Status::True, Reason::Accepted, "ok"), at(200)));
    assert_eq!(list, before);
}

#[test]
fn a_new_message_reason_or_generation_keeps_the_time_of_transition() {
    let changed = [
        accepted(Status::False, Reason::Invalid, "worse"),
        accepted(Status::False, Reason::PortConflict, "bad"),
        Verdict { generation: Some(2), ..accepted(Status::False, Reason::Invalid, "bad") },
    ];
    for verdict in changed {
        let mut list = set_one(accepted(Status::False, Reason::Invalid, "bad"));
        assert!(conditions::set(&mut list, verdict.clone(), at(200)), "{verdict:?}");
        assert_eq!(list[0].last_transition_time.0, at(100), "{verdict:?}");
    }
}

#[test]
fn a_new_status_moves_the_time_of_transition() {
    let mut list = set_one(accepted(Status::False, Reason::Invalid, "bad"));
    assert!(conditions::set(&mut list, accepted(Status::True, Reason::Accepted, ""), at(200)));
    assert_eq!(list[0].last_transition_time.0, at(200));
    assert_eq!(list.len(), 1);
}

#[test]
fn other_conditions_are_left_alone() {
    let mut list = set_one(accepted(Status::True, Reason::Accepted, ""));
    let foreign = Condition { type_: "example.com/Other".into(), ..list[0].clone() };
    list.push(foreign.clone());
    let healthy = Verdict { type_: ConditionType::Healthy, ..accepted(Status::Unknown, Reason::Pending, "") };
    assert!(conditions::set(&mut list, healthy, at(200)));
    assert_eq!(list[1], foreign);
    let types: Vec<_> = list.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(types, ["Accepted", "example.com/Other", "Healthy"]);
    assert!(conditions::find(&list, ConditionType::Healthy).is_some());
    assert!(conditions::find(&list, ConditionType::Programmed).is_none());
}

#[test]
fn what_is_read_back_from_the_api_server_is_the_same() {
    let mut list = Vec::new();
    let fine = Timestamp::from_millisecond(100_750).unwrap();
    conditions::set(&mut list, accepted(Status::True, Reason::Accepted, "ok"), fine);
    let back: Vec<Condition> = serde_json::from_str(&serde_json::to_string(&list).unwrap()).unwrap();
    assert_eq!(back, list);
}

#[test]
fn a_long_message_is_cut_at_a_character() {
    let list = set_one(accepted(Status::False, Reason::Nacked, &"ä".repeat(MAX_MESSAGE + 1)));
    assert_eq!(list[0].message.chars().count(), MAX_MESSAGE);
    assert!(list[0].message.ends_with("ä…"));
    let exact = "x".repeat(MAX_MESSAGE);
    assert_eq!(set_one(accepted(Status::False, Reason::Nacked, &exact))[0].message, exact);
}

#[test]
fn every_reason_is_a_word_that_the_api_takes() {
    for reason in Reason::ALL {
        let word = reason.to_string();
        assert!(word.starts_with(|c: char| c.is_ascii_uppercase()), "{word}");
        assert!(word.chars().all(|c| c.is_ascii_alphanumeric()), "{word}");
    }
    assert_eq!(Reason::PortConflict.as_str(), "PortConflict");
}
