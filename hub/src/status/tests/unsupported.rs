//! What is said of an object that some of its proxies can't express.

use super::*;

const LACK: &str = "pod/ns/gw, l: the listener asks for rules[0].apply, which …";

/// A word in which `lacks` of the refusing proxies can't express a part.
fn lacking(node: &str, counts: [u32; 4], lacks: u32) -> PlanReport {
    with(word(node, counts), |status| {
        status.unsupported = lacks;
        status.unsupported_text = LACK.into();
    })
}

fn said(words: &[PlanReport]) -> [Condition; 2] {
    let said = mk_subject(&["a", "b"]).status(words, PATIENCE);
    [ConditionType::Accepted, ConditionType::Programmed].map(|type_| condition(&said, type_).clone())
}

#[test]
fn object_that_a_proxy_can_not_express_is_not_accepted_and_the_proxy_is_named() {
    let [accepted, programmed] = said(&[word("a", [1, 1, 0, 0]), lacking("b", [2, 1, 1, 0], 1)]);
    assert_eq!((accepted.status, accepted.reason), (Status::False, Reason::UnsupportedByProxy));
    assert_eq!(accepted.message, format!("node b: {LACK}"));
    assert_eq!((programmed.status, programmed.reason), (Status::False, Reason::UnsupportedByProxy));
    assert_eq!(programmed.message, format!("wanted 3, acked 2, refused 1; node b: {LACK}"));

    let [accepted, _] = said(&[lacking("a", [2, 0, 2, 0], 2), lacking("b", [1, 0, 1, 0], 1)]);
    assert_eq!(accepted.message, format!("node a: {LACK} (and 2 more proxies)"));
}

#[test]
fn rejection_by_a_proxy_is_said_before_what_another_can_not_express() {
    let [accepted, programmed] = said(&[lacking("a", [1, 0, 1, 0], 1), word("b", [1, 0, 1, 0])]);
    assert_eq!(accepted.reason, Reason::UnsupportedByProxy);
    assert_eq!(programmed.reason, Reason::Nacked);
    assert!(programmed.message.ends_with("node b: nodeproxy/gw, listener A/ns/o/l: no"), "{programmed:?}");
}

#[test]
fn word_on_an_earlier_version_says_nothing_about_this_one() {
    let old = with(lacking("b", [1, 0, 1, 0], 1), |status| status.version = 1);
    let [accepted, _] = said(&[word("a", [1, 1, 0, 0]), old]);
    assert_eq!((accepted.status, accepted.reason), (Status::True, Reason::Accepted));
}

#[test]
fn remarks_on_the_object_follow_what_a_proxy_can_not_express() {
    let mut subject = mk_subject(&["a"]);
    subject.verdict.warnings = vec![(Reason::ShortInterval, "100 ms is short".into())];
    let said = subject.status(&[lacking("a", [1, 0, 1, 0], 1)], PATIENCE);
    let accepted = condition(&said, ConditionType::Accepted);
    assert_eq!(accepted.reason, Reason::UnsupportedByProxy);
    assert_eq!(accepted.message, format!("node a: {LACK}; 100 ms is short"));
}
