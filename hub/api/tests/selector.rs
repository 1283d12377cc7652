//! Label selectors, tested with tables.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use portreeve_api::model::{Requirement, Selector, Test};
use portreeve_api::plan::{self, Operator};
use portreeve_api::selector::{self, SelectorError};
use serde_json::json;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn requirement(key: &str, operator: Operator, values: &[&str]) -> Requirement {
    match operator {
        Operator::In => Requirement::is_in(key, values.iter().copied()),
        Operator::NotIn => Requirement::is_not_in(key, values.iter().copied()),
        Operator::Exists => Requirement { key: key.into(), test: Test::Exists },
        Operator::DoesNotExist => Requirement { key: key.into(), test: Test::DoesNotExist },
        Operator::Unspecified => panic!("no requirement has this operator"),
    }
}

fn mk(requirements: &[(&str, Operator, &[&str])]) -> Selector {
    let labels =
        requirements.iter().map(|(key, operator, values)| requirement(key, *operator, values)).collect();
    Selector { labels, fields: Vec::new() }
}

#[test]
fn each_operator_means_what_it_means_in_kubernetes() {
    use Operator::{DoesNotExist, Exists, In, NotIn};
    let present = labels(&[("app", "w")]);
    let absent = labels(&[]);
    let table: [(Operator, &[&str], bool, bool); 8] = [
        (In, &["w"], true, false),
        (In, &["v", "w"], true, false),
        (In, &["v"], false, false),
        (In, &[], false, false),
        (NotIn, &["w"], false, true),
        (NotIn, &["v"], true, true),
        (Exists, &[], true, false),
        (DoesNotExist, &[], false, true),
    ];
    for (operator, values, on_present, on_absent) in table {
        let selector = mk(&[("app", operator, values)]);
        assert_eq!(selector.matches(&present), on_present, "{operator:?} {values:?} on app=w");
        assert_eq!(selector.matches(&absent), on_absent, "{operator:?} {values:?} without the label");
    }
}

#[test]
fn requirements_are_anded() {
    let both = selector::from_map(&labels(&[("app", "w"), ("tier", "media")]));
    assert!(both.matches(&labels(&[("app", "w"), ("tier", "media"), ("more", "x")])));
    assert!(!both.matches(&labels(&[("app", "w")])));
    assert!(!both.matches(&labels(&[("app", "w"), ("tier", "web")])));
}

#[test]
fn an_empty_selector_matches_everything() {
    let everything = selector::from_map(&labels(&[]));
    assert!(everything.is_everything());
    assert!(everything.matches(&labels(&[])) && everything.matches(&labels(&[("a", "b")])));
    assert_eq!((everything.canonical().as_str(), everything.first_pairs()), ("*", None));
}

#[test]
fn fields_are_matched_apart_from_labels() {
    let fields = vec![requirement("spec.nodeName", Operator::In, &["n1"])];
    let selector = Selector { labels: Vec::new(), fields };
    assert!(selector.matches(&labels(&[])));
    assert!(!selector.is_everything());
    assert!(selector.matches_fields(|path| (path == "spec.nodeName").then(|| "n1".to_owned())));
    assert!(!selector.matches_fields(|_| Some("n2".to_owned())));
    assert!(!selector.matches_fields(|_| None));
    assert_eq!(selector.canonical(), "field:spec.nodeName=n1");
}

#[test]
fn the_canonical_text_is_sorted_and_stable() {
    use Operator::{DoesNotExist, Exists, In, NotIn};
    let table: [(Selector, &str); 9] = [
        (mk(&[("b", In, &["2"]), ("a", In, &["1"])]), "a=1,b=2"),
        (mk(&[("k", In, &["b", "a", "b"])]), "k in (a,b)"),
        (mk(&[("k", In, &[])]), "k in ()"),
        (mk(&[("k", NotIn, &["a"])]), "k!=a"),
        (mk(&[("k", NotIn, &["b", "a"])]), "k notin (a,b)"),
        (mk(&[("k", Exists, &[]), ("gone", DoesNotExist, &[])]), "!gone,k"),
        (mk(&[("k", In, &["1"]), ("k", In, &["1"])]), "k=1"),
        (mk(&[("example.com/app", In, &["a-b_c.d"])]), "example.com/app=a-b_c.d"),
        (mk(&[("k", In, &["1,b=2"])]), "k=1%2Cb%3D2"),
    ];
    for (selector, text) in table {
        assert_eq!(selector.canonical(), text);
    }
}

#[test]
fn unsorted_values_from_the_wire_have_the_same_canonical_text() {
    let values = vec!["b".into(), "a".into()];
    let wire = plan::Requirement { key: "k".into(), operator: Operator::In.into(), values };
    let selector = Selector::try_from(plan::Selector { labels: vec![wire], fields: Vec::new() }).unwrap();
    assert_eq!(selector.canonical(), mk(&[("k", Operator::In, &["a", "b"])]).canonical());
}

#[test]
fn no_value_can_imitate_another_requirement() {
    let one = selector::from_map(&labels(&[("a", "1,b=2")]));
    let two = selector::from_map(&labels(&[("a", "1"), ("b", "2")]));
    assert_ne!(one.canonical(), two.canonical());
    assert_ne!(selector::from_map(&labels(&[("field:a", "1")])).canonical(), "field:a=1");
}

#[test]
fn whatever_matches_carries_one_of_the_first_pairs() {
    use Operator::{Exists, In, NotIn};
    let table = [
        (mk(&[("a", In, &["1", "2"]), ("b", In, &["3"])]), Some(vec![("b", "3")])),
        (mk(&[("a", In, &["2", "1"])]), Some(vec![("a", "1"), ("a", "2")])),
        (mk(&[("a", In, &[]), ("b", In, &["3"])]), Some(vec![])),
        (mk(&[("a", NotIn, &["1"]), ("b", Exists, &[])]), None),
        (mk(&[("a", Exists, &[]), ("b", In, &["3"])]), Some(vec![("b", "3")])),
    ];
    for (selector, pairs) in table {
        assert_eq!(selector.first_pairs(), pairs, "{}", selector.canonical());
    }
}

#[test]
fn a_kubernetes_selector_is_converted_with_its_expressions() {
    let wanted: LabelSelector = serde_json::from_value(json!({
        "matchLabels": {"z": "1"},
        "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["y", "x"]},
            {"key": "b", "operator": "NotIn", "values": ["x"]},
            {"key": "c", "operator": "Exists"},
            {"key": "d", "operator": "DoesNotExist", "values": []},
        ],
    }))
    .unwrap();
    let selector = selector::from_label_selector(&wanted).unwrap();
    assert_eq!(selector.canonical(), "!d,a in (x,y),b!=x,c,z=1");
    assert_eq!(selector.labels.iter().map(|r| r.key.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d", "z"]);
}

#[test]
fn a_kubernetes_selector_that_makes_no_sense_is_refused() {
    let table = [
        (
            json!({"key": "a", "operator": "in", "values": ["x"]}),
            "matchExpressions of a: unknown operator in",
        ),
        (json!({"key": "a", "operator": "In"}), "matchExpressions of a: operator needs values"),
        (
            json!({"key": "a", "operator": "Exists", "values": ["x"]}),
            "matchExpressions of a: operator takes no values",
        ),
        (json!({"key": "a b", "operator": "DoesNotExist"}), "\"a b\" is not a valid label key"),
        (json!({"key": "", "operator": "DoesNotExist"}), "\"\" is not a valid label key"),
        (
            json!({"key": "Example.com/a", "operator": "DoesNotExist"}),
            "\"Example.com/a\" is not a valid label key",
        ),
        (json!({"key": "a/b/c", "operator": "DoesNotExist"}), "\"a/b/c\" is not a valid label key"),
        (json!({"key": "a/", "operator": "DoesNotExist"}), "\"a/\" is not a valid label key"),
        (
            json!({"key": "a", "operator": "NotIn", "values": ["", "x", "y z"]}),
            "\"y z\" is not a valid value of label a",
        ),
    ];
    for (expression, message) in table {
        let wanted: LabelSelector =
            serde_json::from_value(json!({"matchExpressions": [expression]})).unwrap();
        let error: SelectorError = selector::from_label_selector(&wanted).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn keys_and_values_are_as_long_as_those_of_labels() {
    let select = |key: &str, value: &str| {
        let wanted: LabelSelector = serde_json::from_value(json!({"matchLabels": {key: value}})).unwrap();
        selector::from_label_selector(&wanted).is_ok()
    };
    let (fits, long) = ("a".repeat(63), "a".repeat(64));
    let domain = |last: usize| {
        format!("{}.{}/k", "a".repeat(63), vec!["b".repeat(63); 2].join(".") + "." + &"c".repeat(last))
    };
    assert!(select(&fits, &fits) && select(&format!("example.com/{fits}"), "") && select("A_b.c-D", "9"));
    assert!(!select(&long, "x") && !select("k", &long) && !select(&format!("e/{long}"), "x"));
    assert!(select(&domain(61), "x") && !select(&domain(62), "x"));
    assert!(!select("-a", "x") && !select("a.", "x") && !select("k", "_x"));
}
