//! What API B accepts and refuses.

mod convert;
mod random;
mod spellings;
mod strangers;
mod tables;

use serde_json::{Value, json};

use super::route::Route;
use super::rule::Rule;
use super::target::Target;
use super::virtual_service::VirtualService;
use crate::Violation;

/// The violations of an object, and its form.
type Checked<T> = (Vec<Violation>, Result<T, Vec<Violation>>);

/// Returns the violations of an object, and the reasons why it has no form. An unreadable object has its one violation in both.
fn judge(value: Value) -> (Vec<Violation>, Vec<Violation>) {
    fn both<T>(parsed: Result<Checked<T>, crate::door::ParseError>) -> (Vec<Violation>, Vec<Violation>) {
        match parsed {
            Ok((violations, form)) => (violations, form.err().unwrap_or_default()),
            Err(error) => {
                let violation = vec![Violation { path: error.path, message: error.message }];
                (violation.clone(), violation)
            }
        }
    }
    match value["kind"].as_str() {
        Some("VirtualService") => both(VirtualService::parse(value).map(|(o, _)| (o.validate(), o.form()))),
        Some("Target") => both(Target::parse(value).map(|(o, _)| (o.validate(), o.form()))),
        Some("Route") => both(Route::parse(value).map(|(o, _)| (o.validate(), o.form()))),
        Some("Rule") => both(Rule::parse(value).map(|(o, _)| (o.validate(), o.form()))),
        other => panic!("kind {other:?}"),
    }
}

fn mk_object(kind: &str, spec: Value) -> Value {
    json!({"apiVersion": "l7mp.io/v1", "kind": kind, "metadata": {"name": "sample", "namespace": "default"}, "spec": spec})
}

fn mk_service() -> Value {
    mk_object(
        "VirtualService",
        json!({
            "selector": {"matchLabels": {"app": "gateway"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]},
            "listener": {
                "spec": {"UDP": {"port": 8000, "connect": {"address": "10.0.0.1", "port": 9}, "options": {"mode": "server"}}},
                "rules": [{
                    "match": {"op": "and", "apply": [{"op": "test", "path": "/IP/src_addr", "value": "10.0.0.1", "ignore_case": true}]},
                    "action": {
                        "rewrite": [{"path": "/labels/a", "valueStr": "b"}],
                        "route": {
                            "destinationRef": "worker",
                            "ingress": [{"clusterRef": "in"}, "name", {"cluster": {"spec": {"Echo": {}}}}],
                            "retry": {"retry_on": "always", "num_retries": 3, "timeout": 2000},
                        },
                    },
                }],
                "options": {"track": 60},
            },
            "updateOwners": true,
        }),
    )
}

fn mk_target() -> Value {
    mk_object(
        "Target",
        json!({
            "selector": {"matchFields": [{"key": "spec.nodeName", "operator": "In", "values": ["n"]}]},
            "cluster": {
                "name": "c",
                "spec": {"JSONSocket": {
                    "transport": {"UDP": {"port": 19000, "bind": {"address": "10.0.0.2"}}},
                    "header": [{"path": {"from": "/labels", "to": "/labels"}}, {"set": {"key": "k", "value": "v"}}],
                }},
                "endpoints": [{"name": "e", "spec": {"address": "10.0.0.3", "weight": 2}}, {"selector": {"matchLabels": {"app": "w"}}}],
                "loadbalancer": {"policy": "ConsistentHash", "key": "/labels/a"},
            },
        }),
    )
}

fn mk_route() -> Value {
    mk_object(
        "Route",
        json!({"destination": {"spec": {"TCP": {"port": 1}}}, "egress": [{"cluster": {"spec": {"Logger": {"log_file": "-"}}}}]}),
    )
}

fn mk_rule() -> Value {
    mk_object(
        "Rule",
        json!({
            "selector": {"matchLabels": {"app": "w"}}, "rulelist": "l", "position": 0,
            "rule": {"match": {"op": "defined", "path": "/labels"}, "action": {"route": {"destination": {"spec": {"Sync": {"query": "/a"}}}}}},
        }),
    )
}

/// Replaces the value at a JSON pointer in `spec`.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let pointer = format!("/spec{pointer}");
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match object.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}")) {
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        fields => fields[key] = value,
    }
    object
}
