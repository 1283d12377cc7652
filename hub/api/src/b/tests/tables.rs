//! What API B refuses: everything that an l7mp proxy would accept and then do wrong, or die of. A row of a table has the
//! pointer of a value in a good object's `spec`, the value that replaces it, the path of the only violation in `spec`, and
//! words of its message.

use serde_json::{Value, json};

use super::{judge, mk_route, mk_rule, mk_service, mk_target, with};

/// Each change of the table breaks exactly one rule of a good object.
fn refuses(good: fn() -> Value, table: &str) {
    assert_eq!(judge(good()), (vec![], vec![]));
    for row in table.lines().filter(|line| !line.is_empty()) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [pointer, value, path, words] = cells[..] else { panic!("{row}") };
        let value = serde_json::from_str(value).unwrap_or_else(|error| panic!("{row}: {error}"));
        let (violations, reasons) = judge(with(good(), pointer, value));
        let mut paths: Vec<&str> = violations.iter().map(|one| one.path.as_str()).collect();
        paths.dedup();
        assert_eq!(paths, [format!("spec{path}")], "{row}: {violations:?}");
        assert!(violations.iter().any(|one| one.message.contains(words)), "{row}: {violations:?}");
        assert_eq!(violations, reasons, "{row}");
    }
}

const LISTENERS: &str = r#"
/listener/spec/UDP/port | 0 | .listener.spec.UDP.port | from 1 to 65535
/listener/spec/UDP/port | 65536 | .listener.spec.UDP.port | from 1 to 65535
/listener/spec/UDP/port | -1 | .listener.spec.UDP.port | from 1 to 65535
/listener/spec/UDP/port | 1.5 | .listener.spec.UDP.port | from 1 to 65535
/listener/spec/UDP/port | "80" | .listener.spec.UDP.port | is "80"
/listener/spec/UDP/port | true | .listener.spec.UDP.port | is true
/listener/spec/UDP/port | [80] | .listener.spec.UDP.port | from 1 to 65535
/listener/spec/UDP/port | null | .listener.spec.UDP.port | is required
/listener/spec/UDP | [] | .listener.spec.UDP | must be an object
/listener/spec/UDP | 1 | .listener.spec.UDP | must be an object
/listener/spec/UDP/options | 1 | .listener.spec.UDP.options | must be an object
/listener/spec/UDP/options/mode | "peer" | .listener.spec.UDP.options.mode | server or singleton
/listener/spec/UDP/options/mode | 1 | .listener.spec.UDP.options.mode | must be a text
/listener/spec/UDP | {"port": 1, "options": {"mode": "singleton"}} | .listener.spec.UDP.options.mode | needs connect
/listener/spec/UDP/connect | "10.0.0.1" | .listener.spec.UDP.connect | must be an object
/listener/spec/UDP/connect/address | "host" | .listener.spec.UDP.connect.address | "host" is not an IP address
/listener/spec/UDP/connect/port | 0 | .listener.spec.UDP.connect.port | from 1 to 65535
/listener/spec | {"UDP": {"port": 1}, "TCP": {"port": 1}} | .listener.spec | several protocols
/listener/spec | {"udp": {"port": 1}} | .listener.spec | needs a protocol
/listener/spec | {"Sync": {"query": "/a"}} | .listener.spec | needs a protocol
/listener/spec | [] | .listener.spec | must be an object
/listener/spec | null | .listener.spec | is required
/listener/spec | {"UnixDomainSocket": {}} | .listener.spec.UnixDomainSocket.filename | is required
/listener/spec | {"JSONSocket": {}} | .listener.spec.JSONSocket.transport | is required
/listener/spec | {"JSONSocket": {"transport": {"Echo": {}}}} | .listener.spec.JSONSocket.transport | can carry
/listener/spec | {"JSONSocket": {"transport": {"UnixDomainSocket": {}}}} | .listener.spec.JSONSocket.transport.UnixDomainSocket.filename | is required
/listener | [] | .listener.spec | is required
/listener | null |  | exactly one of listener
/udp | {"port": 1} |  | exactly one of listener
/rules | [] |  | put them into it
/listener/options | 5 | .listener.options | must be an object
/listener/options/track | -1 | .listener.options.track | whole number
/options | {"removeOrphanSessions": "yes"} | .options.removeOrphanSessions | true or false
/updateOwners | "yes" | .updateOwners | boolean
"#;

#[test]
fn ports_modes_and_peers_of_a_listener_are_checked() {
    refuses(mk_service, LISTENERS);
}

const RULES: &str = r#"
/listener/rules | {} | .listener.rules | must be a list
/listener/rules | "a b" | .listener.rules | white space
/listener/rules/0 | "r" | .listener.rules[0] | must be an object
/listener/rulesRef | "l" | .listener | two forms of one field
/listener/rules/0/action | null | .listener.rules[0].action | is required
/listener/rules/0/action | "route" | .listener.rules[0].action | must be an object
/listener/rules/0/action | {"apply": "a b"} | .listener.rules[0].action.apply | white space
/listener/rules/0/action | {"apply": "l", "rewrite": [{"path": "a", "value": 1}]} | .listener.rules[0].action.rewrite | beside apply
/listener/rules/0/action/apply | "l" | .listener.rules[0].action.apply | beside a route
/listener/rules/0/action/rewrite | {} | .listener.rules[0].action.rewrite | must be a list
/listener/rules/0/action/rewrite/0 | {"value": 1} | .listener.rules[0].action.rewrite[0] | needs a path
/listener/rules/0/action/rewrite/0 | {"path": "/a"} | .listener.rules[0].action.rewrite[0] | needs a value
/listener/rules/0/action/rewrite/0/value | 1 | .listener.rules[0].action.rewrite[0] | two forms of one field
/listener/rules/0/action/rewrite/0/path | 1 | .listener.rules[0].action.rewrite[0].path | must be a text
/listener/rules/0/action/routeRef | "r" | .listener.rules[0].action | two forms of one field
/listener/rules/0/action/route | 5 | .listener.rules[0].action.route | a name or an object
/listener/rules/0/action/route | "a b" | .listener.rules[0].action.route | white space
/listener/rules/0/action/route | "" | .listener.rules[0].action.route | must not be empty
/listener/rules/0/action/route/destination | "d" | .listener.rules[0].action.route | two forms of one field
/listener/rules/0/action/route/destinationRef | null | .listener.rules[0].action.route.destination | is required
/listener/rules/0/action/route/destinationRef | [] | .listener.rules[0].action.route.destinationRef | a name or an object
/listener/rules/0/action/route/destinationRef | {} | .listener.rules[0].action.route.destinationRef | needs a protocol
/listener/rules/0/action/route/ingress | {} | .listener.rules[0].action.route.ingress | must be a list
/listener/rules/0/action/route/ingress/0 | 7 | .listener.rules[0].action.route.ingress[0] | a name or an object
/listener/rules/0/action/route/ingress/0 | {"cluster": null} | .listener.rules[0].action.route.ingress[0] | needs a protocol
/listener/rules/0/action/route/ingress/0 | {"cluster": "a", "clusterRef": "b"} | .listener.rules[0].action.route.ingress[0] | two forms of one field
/listener/rules/0/action/route/retry | "always" | .listener.rules[0].action.route.retry | must be an object
/listener/rules/0/action/route/retry/retry_on | "sometimes" | .listener.rules[0].action.route.retry.retry_on | is "sometimes"
/listener/rules/0/action/route/retry/num_retries | -1 | .listener.rules[0].action.route.retry.num_retries | whole number
/listener/rules/0/action/route/retry/num_retries | "3" | .listener.rules[0].action.route.retry.num_retries | whole number
/listener/rules/0/action/route/retry/timeout | 0 | .listener.rules[0].action.route.retry.timeout | at least 1
/listener/rules/0/action/route/retry/timeout | 1.5 | .listener.rules[0].action.route.retry.timeout | whole number
"#;

#[test]
fn rule_with_both_forms_of_a_field_or_a_useless_one_is_refused() {
    refuses(mk_service, RULES);
}

const PREDICATES: &str = r#"
 | "*" |  | must be an object
 | {"path": "/a"} |  | needs an op
 | {"op": 1, "path": "/a"} | .op | must be a text
 | {"op": "equals", "path": "/a", "value": 1} | .op | "equals" is none of test
 | {"op": "equals"} | .op | "equals" is none of test
 | {"op": "test", "value": 1} |  | test needs a path
 | {"op": "test", "path": "IP", "value": 1} | .path | must begin with /
 | {"op": "test", "path": "", "value": 1} | .path | must not be empty
 | {"op": "test", "path": 1, "value": 1} | .path | must be a text
 | {"op": "test", "path": "/a"} |  | test needs value
 | {"op": "less", "path": "/a", "value": "1"} |  | a number
 | {"op": "more", "path": "/a", "value": [1]} |  | a number
 | {"op": "in", "path": "/a", "value": "a"} |  | a list
 | {"op": "contains", "path": "/a", "value": 1} |  | a text
 | {"op": "starts", "path": "/a", "value": true} |  | a text
 | {"op": "ends", "path": "/a"} |  | a text
 | {"op": "matches", "path": "/a", "value": {}} |  | a text
 | {"op": "contained", "path": "/a", "value": 1} |  | a text or a list
 | {"op": "intersects", "path": "/a", "value": null} |  | a text or a list
 | {"op": "type", "path": "/a", "value": "text"} |  | number, string
 | {"op": "defined"} |  | defined needs a path
 | {"op": "test", "path": "/a", "value": 1, "ignore_case": "yes"} | .ignore_case | true or false
 | {"op": "and"} |  | and needs apply
 | {"op": "or", "apply": []} |  | or needs apply
 | {"op": "not", "apply": [[]]} | .apply[0] | must be an object
 | {"op": "and", "apply": [{"op": "defined", "path": "a"}]} | .apply[0].path | must begin with /
 | {"op": "and", "path": "a", "apply": [{"op": "defined", "path": "/a"}]} | .path | must begin with /
"#;

#[test]
fn predicate_that_never_matches_is_refused() {
    let at = "/listener/rules/0/match";
    let table: Vec<String> = PREDICATES
        .lines()
        .filter_map(|row| row.strip_prefix(" | ")?.split_once('|'))
        .map(|(value, rest)| {
            format!("{at} | {value} | .listener.rules[0].match{}", rest.trim_start_matches(' '))
        })
        .collect();
    refuses(mk_service, &table.join("\n"));
    let mut deep = json!({"op": "defined", "path": "/a"});
    for _ in 0..17 {
        deep = json!({"op": "not", "apply": [deep]});
    }
    let long = json!({"op": "test", "path": "/a", "value": "x".repeat(4096)});
    for (predicate, words) in [(deep, "nested more than 16"), (long, "4096 are allowed")] {
        let (violations, _) = judge(with(mk_service(), at, predicate));
        assert!(violations.len() == 1 && violations[0].message.contains(words), "{violations:?}");
    }
    for predicate in [
        json!({}),
        json!({"op": "test", "path": "/a", "value": null}),
        json!({"op": "type", "path": "/a", "value": "array"}),
        json!({"op": "and", "path": "/a", "apply": [{"op": "undefined", "path": "/b"}]}),
    ] {
        assert_eq!(judge(with(mk_service(), at, predicate.clone())), (vec![], vec![]), "{predicate}");
    }
}

const CLUSTERS: &str = r#"
/cluster | {} | .cluster | needs a protocol
/cluster | {"spec": {"UnixDomainSocket": {}}} | .cluster | needs its filename
/cluster/name | "a b" | .cluster.name | white space
/cluster/spec | {"UDP": {"port": 1}, "Echo": {}} | .cluster.spec | several protocols
/cluster/spec | {"JSONSocket": {}} | .cluster.spec.JSONSocket.transport | is required
/cluster/spec | {"JSONSocket": {"transport": {}}} | .cluster.spec.JSONSocket.transport | can carry
/cluster/spec | {"JSONSocket": {"transport": {"JSONSocket": {}}}} | .cluster.spec.JSONSocket.transport | can carry
/cluster/spec/JSONSocket/header | {} | .cluster.spec.JSONSocket.header | must be a list
/cluster/spec/JSONSocket/header/0 | {} | .cluster.spec.JSONSocket.header[0] | exactly one of path and set
/cluster/spec/JSONSocket/header/0/set | {"key": "a", "value": "b"} | .cluster.spec.JSONSocket.header[0] | exactly one of path and set
/cluster/spec/JSONSocket/header/0/path | {"from": "/a"} | .cluster.spec.JSONSocket.header[0].path | needs from and to
/cluster/spec/JSONSocket/header/0/path | "/a" | .cluster.spec.JSONSocket.header[0].path | must be an object
/cluster/spec/JSONSocket/header/1/set | {"key": "a"} | .cluster.spec.JSONSocket.header[1].set | needs key and value
/cluster/spec/JSONSocket/transport/UDP/bind | "10.0.0.1" | .cluster.spec.JSONSocket.transport.UDP.bind | must be an object
/cluster/endpoints | {} | .cluster.endpoints | must be a list
/cluster/endpoints/0 | {} | .cluster.endpoints[0] | exactly one of spec and selector
/cluster/endpoints/0/selector | {"matchLabels": {"a": "b"}} | .cluster.endpoints[0] | exactly one of spec and selector
/cluster/endpoints/0/spec | {} | .cluster.endpoints[0].spec | needs an address
/cluster/endpoints/0/spec/address | "a b" | .cluster.endpoints[0].spec.address | white space
/cluster/endpoints/0/spec/address | 1 | .cluster.endpoints[0].spec.address | must be a text
/cluster/endpoints/0/spec/filename | "/a" | .cluster.endpoints[0].spec | two forms of one field
/cluster/endpoints/0/spec/weight | 0 | .cluster.endpoints[0].spec.weight | at least 1
/cluster/endpoints/0/name | "a\nb" | .cluster.endpoints[0].name | white space
/cluster/endpoints/1/selector | {} | .cluster.endpoints[1].selector | would select every pod
/cluster/loadbalancer | "Trivial" | .cluster.loadbalancer | must be an object
/cluster/loadbalancer/policy | "RoundRobin" | .cluster.loadbalancer.policy | is "RoundRobin"
/cluster/loadbalancer/policy | null | .cluster.loadbalancer.policy | must be Trivial
/cluster/loadbalancer/key | 1 | .cluster.loadbalancer.key | must be a text
/linkedVirtualService | "v" |  | exclude each other
/udp | {"port": 1} |  | exclude each other
/endpoints | [] |  | no effect beside cluster
/cluster | null |  | needs a cluster
"#;

#[test]
fn cluster_that_reaches_nothing_is_refused() {
    refuses(mk_target, CLUSTERS);
}

#[test]
fn endpoints_of_a_protocol_without_any_would_end_the_proxy_and_are_refused() {
    let protocols = "Echo Discard Stdio Sdtio Logger JSONEncap JSONDecap Metric Prometheus L7mpController";
    for protocol in protocols.split(' ') {
        let row = format!("/cluster/spec | {{\"{protocol}\": {{}}}} | .cluster.endpoints | l7mp ends");
        refuses(mk_target, &row);
    }
    refuses(mk_target, r#"/cluster | {"spec": {"Sync": {}}} | .cluster.spec.Sync.query | is required"#);
}

const SELECTORS: &str = r#"
/selector | [] | .selector | must be an object
/selector | {"matchLabels": {}} | .selector | would select every pod
/selector | {"matchService": "a", "serviceName": "a"} | .selector | two forms of one field
/selector | {"matchService": "a b"} | .selector.matchService | white space
/selector | {"matchLabels": {"a": 1}} | .selector.matchLabels[a] | must be a text
/selector/matchFields | {} | .selector.matchFields | must be a list
/selector/matchFields/0 | 1 | .selector.matchFields[0] | must be an object
/selector/matchFields/0/key | "spec.containers" | .selector.matchFields[0].key | metadata.name, metadata.namespace, spec.nodeName
/selector/matchFields/0/key | null | .selector.matchFields[0] | needs a key
/selector/matchFields/0/operator | "Gt" | .selector.matchFields[0].operator | is "Gt"
/selector/matchFields/0/operator | null | .selector.matchFields[0].operator | must be In, NotIn
/selector/matchFields/0/values | [] | .selector.matchFields[0] | need values
/selector/matchFields/0/values | [1] | .selector.matchFields[0].values[0] | must be a text
"#;

#[test]
fn selector_that_selects_every_pod_or_by_an_unknown_field_is_refused() {
    refuses(mk_target, SELECTORS);
}

const RULE_OBJECTS: &str = r#"
/selector | null | .selector | is required
/rulelist | null | .rulelist | is required
/rule | null | .rule | is required
/rulelist | "a b" | .rulelist | white space
/rulelist | "" | .rulelist | must not be empty
/rule | [] | .rule | must be an object
/position | -1 | .position | -1
/position | "0" | .position | string
"#;

const ROUTES: &str = r#"
/destination | null | .destination | is required
/destinationRef | "d" |  | two forms of one field
/egress | "e" | .egress | must be a list
/retry | [] | .retry | must be an object
"#;

#[test]
fn rule_and_route_name_what_they_lack() {
    refuses(mk_rule, RULE_OBJECTS);
    refuses(mk_route, ROUTES);
}
