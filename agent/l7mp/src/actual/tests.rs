use super::*;
use serde_json::json;

fn mk_answers() -> Answers {
    Answers {
        listeners: json!([{"name": "api", "spec": {"protocol": "HTTP", "port": 1234}, "rules": "api-RuleList-0",
            "options": {"track": 0}}]),
        clusters: json!([
            {"name": "c", "spec": {"protocol": "UDP", "port": 9}, "loadbalancer": {"policy": "Trivial"},
             "endpoints": [{"name": "c/10.0.0.1", "spec": {"address": "10.0.0.1"}, "weight": 1}]},
            {"name": "echo", "spec": {"protocol": "Echo"},
             "endpoints": [{"name": "echo", "spec": {"address": "<VIRTUAL>"}}]},
        ]),
        lists: json!([{"name": "api-RuleList-0", "rules": ["r"]}]),
        rules: json!([{"name": "r", "match": {"match": "*"}, "action": {"route": "o"}},
            {"name": "s", "match": {"match": "*"}, "action": {"apply": "api-RuleList-0"}}]),
        routes: json!([{"name": "o", "destination": "c", "ingress": ["echo"], "egress": [],
            "retry": {"retry_on": "never", "num_retries": 1, "timeout": 2000}}]),
    }
}

#[test]
fn answers_of_the_proxy_are_read() {
    let actual = Actual::read(mk_answers()).unwrap();
    assert_eq!(actual.listeners["api"].slot, Some(Slot::Tcp(1234)));
    assert_eq!(actual.clusters["c"], [("c/10.0.0.1".to_owned(), 1.0)].into());
    assert!(actual.clusters["echo"].is_empty());
    assert_eq!(actual.rules["r"].as_deref(), Some("o"));
    assert_eq!(actual.rules["s"], None);
    assert_eq!(actual.routes["o"], ["c", "echo"]);
    assert_eq!(actual.witness(), None);
}

#[test]
fn answer_of_another_shape_is_an_error() {
    let answers = Answers { rules: json!({"message": "OK"}), ..mk_answers() };
    assert!(Actual::read(answers).is_err());
}

#[test]
fn objects_of_the_driver_are_witnesses_and_no_part_of_the_proxys_own_configuration() {
    let mut actual = Actual::default();
    actual.clusters.insert("portreeve/c@1".into(), BTreeMap::new());
    actual.lists.insert("portreeve/l@1-RuleList-1".into(), Vec::new());
    assert!(
        !actual.has_foreign_cluster("portreeve/c@1") && !actual.has_foreign_list("portreeve/l@1-RuleList-1")
    );
    assert_eq!(actual.witness(), Some(("clusters", "portreeve/c@1")));
}
