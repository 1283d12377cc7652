//! Spellings of one object have one form.

use serde_json::{Value, json};

use super::{judge, mk_object, mk_service, mk_target, with};
use crate::b::form::{ActionForm, ClusterForm, PodFilter, Reference, RouteForm, RulesForm};
use crate::b::target::Target;
use crate::b::virtual_service::VirtualService;
use crate::selector::Test;

fn cluster(cluster: Value) -> ClusterForm {
    let object = mk_object("Target", json!({"cluster": cluster}));
    Target::parse(object).unwrap().0.form().unwrap().cluster
}

fn filter(selector: Value) -> PodFilter {
    let object = with(mk_target(), "/selector", selector);
    Target::parse(object).unwrap().0.form().unwrap().filter.unwrap()
}

/// Returns the rewrites and the route of the only rule.
fn rule(action: Value) -> (Vec<(String, String)>, RouteForm) {
    let object = with(mk_service(), "/listener/rules/0/action", action);
    let form = VirtualService::parse(object).unwrap().0.form().unwrap();
    let Some(RulesForm::These(mut rules)) = form.listener.rules else { panic!("no rules") };
    let rule = rules.remove(0);
    let ActionForm::Route(Reference::Inline(route)) = rule.action else { panic!("no route") };
    (rule.rewrites.into_iter().map(|one| (one.path, one.value_json)).collect(), *route)
}

#[test]
fn paths_may_have_slashes_at_both_ends_or_none() {
    for (given, expected) in [
        ("/labels/a", "/labels/a"),
        ("labels/a", "/labels/a"),
        ("HTTP/headers/", "/HTTP/headers"),
        ("/HTTP/headers/", "/HTTP/headers"),
        ("IP/src_addr", "/IP/src_addr"),
    ] {
        let (rewrites, _) =
            rule(json!({"rewrite": [{"path": given, "value": {}}], "route": {"destination": "d"}}));
        assert_eq!(rewrites, [(expected.to_owned(), "{}".to_owned())]);
        let balancer = json!({"policy": "HashRing", "key": given});
        let form = cluster(json!({"spec": {"UDP": {"port": 1}}, "loadbalancer": balancer}));
        assert_eq!(form.balancer.and_then(|balancer| balancer.key).as_deref(), Some(expected), "{given}");
        let form = cluster(json!({"spec": {"Sync": {"query": given}}}));
        let query = form.socket.and_then(|socket| socket.settings.get("query").cloned());
        assert_eq!(query.as_deref(), Some(expected), "{given}");
    }
}

#[test]
fn value_and_value_str_are_json_and_text() {
    for (key, value, expected) in [
        ("value", json!({"a": 1}), r#"{"a":1}"#),
        ("value", json!(false), "false"),
        ("value", json!("1"), r#""1""#),
        ("valueStr", json!("1"), r#""1""#),
        ("valueStr", json!("{}"), r#""{}""#),
        ("valueStr", json!(""), r#""""#),
    ] {
        let mut rewrite = json!({"path": "/a"});
        rewrite[key] = value;
        let (rewrites, _) = rule(json!({"rewrite": [rewrite], "route": {"destination": "d"}}));
        assert_eq!(rewrites, [("/a".to_owned(), expected.to_owned())]);
    }
}

#[test]
fn misspellings_of_the_deployed_definitions_are_known() {
    for operator in ["DoesNotExist", "DoesNotexist"] {
        let selector = json!({"matchExpressions": [{"key": "a", "operator": operator}]});
        assert_eq!(filter(selector).selector.labels[0].test, Test::DoesNotExist, "{operator}");
    }
    let stdio = cluster(json!({"spec": {"Stdio": {}}}));
    assert_eq!(stdio, cluster(json!({"spec": {"Sdtio": {}}})));
    assert!(stdio.socket.is_some());
    // Both spellings at once mean the same protocol.
    let both = mk_object("Target", json!({"cluster": {"spec": {"Stdio": {}, "Sdtio": {}}}}));
    assert_eq!(judge(both), (vec![], vec![]));
}

#[test]
fn entries_of_a_chain_have_one_form_in_every_spelling() {
    let echo = json!({"spec": {"Echo": {}}});
    let chain = |entry: Value| {
        rule(json!({"route": {"destination": "d", "ingress": [entry.clone()], "egress": [entry]}})).1
    };
    let named = Reference::Named("/l7mp.io/v1/Target/default/t".to_owned());
    for entry in ["cluster", "clusterRef"] {
        let route = chain(json!({entry: "/l7mp.io/v1/Target/default/t"}));
        assert_eq!((&route.ingress, &route.egress), (&vec![named.clone()], &vec![named.clone()]), "{entry}");
        let route = chain(json!({entry: echo}));
        assert_eq!(route.ingress, [Reference::Inline(Box::new(cluster(echo.clone())))], "{entry}");
    }
    assert_eq!(chain(json!("/l7mp.io/v1/Target/default/t")).ingress, [named]);
    assert_eq!(chain(echo.clone()).ingress, [Reference::Inline(Box::new(cluster(echo)))]);
}

#[test]
fn both_names_of_a_route_and_of_a_destination_have_one_form() {
    let named = rule(json!({"route": {"destination": "d"}}));
    assert_eq!(named, rule(json!({"route": {"destinationRef": "d"}})));
    assert_eq!(named, rule(json!({"routeRef": {"destination": "d"}})));
}

#[test]
fn file_of_a_unix_domain_socket_becomes_an_endpoint_wherever_it_is() {
    let expected =
        cluster(json!({"spec": {"UnixDomainSocket": {}}, "endpoints": [{"spec": {"filename": "/s"}}]}));
    for twice in [json!([]), json!([{"spec": {"filename": "/s"}}]), json!([{"spec": {"address": "/s"}}])] {
        let form = cluster(json!({"spec": {"UnixDomainSocket": {"filename": "/s"}}, "endpoints": twice}));
        assert_eq!(form, expected, "{twice}");
    }
    let under = json!({"JSONSocket": {"transport": {"UnixDomainSocket": {"filename": "/s"}}}});
    assert_eq!(cluster(json!({"spec": under})).endpoints, expected.endpoints);
}

#[test]
fn document_and_deployed_spelling_of_a_listener_have_one_form() {
    let udp =
        json!({"port": 1, "connect": {"address": "10.0.0.1", "port": 2}, "options": {"mode": "server"}});
    let form = |spec: Value| {
        VirtualService::parse(mk_object("VirtualService", spec)).unwrap().0.form().unwrap().listener
    };
    let selector = json!({"matchLabels": {"a": "b"}});
    let options = json!({"removeOrphanSessions": true});
    let deployed = form(json!({"selector": selector, "listener": {"spec": {"UDP": udp}, "rules": []}}));
    let document = form(json!({"selector": selector, "udp": udp, "rules": [], "options": options}));
    assert!(deployed.server_mode);
    assert_eq!(deployed, document);
}
