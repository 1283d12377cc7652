//! References by fields and labels (C17), and names (C8, C19).

use std::collections::BTreeSet;

use portreeve_api::c::endpoint_form::EndpointForm;
use portreeve_api::c::endpoint_name::remote_endpoint_name;
use portreeve_api::c::labels::Reference;
use portreeve_api::c::load_balancer::LoadBalancer;
use portreeve_api::c::names::{account_of_namespace, namespace_of_account};
use portreeve_api::c::port::{Port, Transport};
use portreeve_api::c::remote_endpoint::RemoteEndpoint;
use portreeve_api::c::{endpoint::Endpoint, service_group::ServiceGroup};
use portreeve_api::identifiers::is_dns_subdomain;
use serde_json::{Value, json};

use super::{sample, with};

/// Returns the name of the group that a load balancer with this field and these labels refers to.
fn group(field: Value, labels: Value) -> Reference {
    let object = with(sample("e1.yaml", "LoadBalancer"), "/spec/service-group", field);
    LoadBalancer::parse(with(object, "/metadata/labels", labels)).unwrap().0.group()
}

#[test]
fn every_spelling_names_the_group() {
    for (field, labels) in [
        (json!("g"), json!(null)),
        (json!("g"), json!({"owning-servicegroup": "g", "epic.acnodal.io/owning-servicegroup": "g"})),
        (json!(null), json!({"epic.acnodal.io/owning-servicegroup": "g"})),
        (json!(null), json!({"owning-servicegroup": "g"})),
        (json!(null), json!({"epic.acnodal.io/owning-lbservicegroup": "g"})),
        (json!(null), json!({"owning-lbservicegroup": "g", "owning-servicegroup": ""})),
        (json!(""), json!({"owning-servicegroup": "g", "owning-loadbalancer": "other"})),
    ] {
        assert_eq!(group(field.clone(), labels.clone()), Ok(Some("g".into())), "{field} {labels}");
    }
    assert_eq!(group(json!(null), json!({"owning-account": "a"})), Ok(None));
}

#[test]
fn spellings_that_disagree_are_both_named() {
    let (bare, prefixed) = ("owning-servicegroup", "epic.acnodal.io/owning-servicegroup");
    for (field, labels, first, second) in [
        (json!("a"), json!({bare: "b"}), "spec.service-group", bare),
        (json!("a"), json!({prefixed: "b"}), "spec.service-group", prefixed),
        (json!("a"), json!({prefixed: "a", bare: "b"}), "spec.service-group", bare),
        (json!(null), json!({prefixed: "a", bare: "b"}), prefixed, bare),
        (json!(null), json!({"owning-lbservicegroup": "b", bare: "a"}), bare, "owning-lbservicegroup"),
    ] {
        let error = group(field, labels).unwrap_err();
        let path =
            |of: &str| if of.starts_with("spec") { of.to_owned() } else { format!("metadata.labels[{of}]") };
        assert_eq!((&error.first.path, &error.second.path), (&path(first), &path(second)));
        assert_eq!((error.first.name.as_str(), error.second.name.as_str()), ("a", "b"));
        let text = format!(
            "{} \"a\" and {} \"b\" differ: give the same name, or only one of them",
            path(first),
            path(second)
        );
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn other_references_have_the_same_spellings() {
    for prefix in ["", "epic.acnodal.io/"] {
        let labels = |names: &[&str]| -> Value {
            names
                .iter()
                .map(|name| (format!("{prefix}owning-{name}"), json!("x")))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let named = || Ok(Some("x".to_owned()));
        let of = |kind: &str, all: Value| with(sample("e1.yaml", kind), "/metadata/labels", all);
        let object =
            LoadBalancer::parse(of("LoadBalancer", labels(&["account", "serviceprefix"]))).unwrap().0;
        assert_eq!((object.account(), object.service_prefix()), (named(), named()));
        let object =
            ServiceGroup::parse(of("ServiceGroup", labels(&["account", "serviceprefix"]))).unwrap().0;
        assert_eq!((object.account(), object.service_prefix()), (named(), named()));
        let object = of("RemoteEndpoint", labels(&["loadbalancer", "cluster"]));
        let object = RemoteEndpoint::parse(object).unwrap().0;
        assert_eq!(object.load_balancer(), named());
        let error = object.cluster().unwrap_err();
        assert_eq!((error.first.name.as_str(), error.second.name.as_str()), ("uid-ns-web", "x"));
        let document =
            with(sample("document.yaml", "Endpoint"), "/metadata/labels", labels(&["loadbalancer"]));
        let object = Endpoint::parse(document.clone()).unwrap().0;
        let error = object.load_balancer().unwrap_err();
        assert_eq!((error.first.path.as_str(), error.second.name.as_str()), ("spec.load-balancer", "x"));
        // The object is served all the same: its condition ResolvedRefs tells.
        assert_eq!(object.form().unwrap().load_balancer, Err(error));
        let labelled = Endpoint::parse(with(document, "/spec/load-balancer", Value::Null)).unwrap().0;
        assert_eq!(labelled.load_balancer(), named());
    }
    let e1 = RemoteEndpoint::parse(sample("e1.yaml", "RemoteEndpoint")).unwrap().0;
    assert_eq!(e1.cluster(), Ok(Some("uid-ns-web".into())));
}

#[test]
fn namespaces_and_accounts_are_named_after_each_other() {
    for (namespace, account) in [
        ("epic-acme-widgets", Some("acme-widgets")),
        ("epic-epic", Some("epic")),
        ("epic-epic-a", Some("epic-a")),
        ("epic", None),
        ("epic-", None),
        ("epic--a", None),
        ("epic-a.b", None),
        ("default", None),
        ("an-epic-a", None),
    ] {
        assert_eq!(account_of_namespace(namespace), account, "{namespace}");
        assert!(account.is_none_or(|account| namespace_of_account(account) == namespace));
    }
    assert_eq!(account_of_namespace(&namespace_of_account(&"a".repeat(58))).map(str::len), Some(58));
    assert_eq!(account_of_namespace(&namespace_of_account(&"a".repeat(59))), None);
}

fn mk_endpoint(address: &str, transport: Transport, port: u16) -> EndpointForm {
    EndpointForm {
        address: address.parse().unwrap(),
        port: Port { name: "http".into(), transport, port: port.try_into().unwrap() },
        cluster: Some("c".into()),
        node_address: Some([192, 168, 1, 25].into()),
        load_balancer: Ok(Some("lb".into())),
    }
}

#[test]
fn endpoint_is_named_after_its_address_port_and_protocol() {
    for (address, transport, port, start) in [
        ("10.244.1.5", Transport::Tcp, 8080, "10-244-1-5-8080-tcp-"),
        ("10.244.1.5", Transport::Udp, 1, "10-244-1-5-1-udp-"),
        ("fd00:0:0::5", Transport::Udp, 53, "fd00--5-53-udp-"),
        ("::1", Transport::Tcp, 80, "0--1-80-tcp-"),
        ("FD00::", Transport::Tcp, 80, "fd00---80-tcp-"),
    ] {
        let name = remote_endpoint_name("uid", &mk_endpoint(address, transport, port));
        let digits = name.strip_prefix(start).unwrap_or_else(|| panic!("{name} is not after {start}"));
        assert!(
            digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
            "{name}"
        );
        assert!(is_dns_subdomain(&name), "{name}");
    }
    // Names of stored objects depend on it: it never changes.
    let name = remote_endpoint_name("uid", &mk_endpoint("10.244.1.5", Transport::Tcp, 8080));
    assert_eq!(name, "10-244-1-5-8080-tcp-f1aff2ecdbf692ca");
}

#[test]
fn names_differ_exactly_where_specs_do() {
    let first = mk_endpoint("10.244.1.5", Transport::Tcp, 8080);
    let other = |change: fn(&mut EndpointForm)| {
        let mut changed = first.clone();
        change(&mut changed);
        changed
    };
    let all = [
        first.clone(),
        other(|one| one.cluster = None),
        other(|one| one.cluster = Some(String::new())),
        other(|one| one.cluster = Some("d".into())),
        other(|one| one.node_address = None),
        other(|one| one.node_address = Some([192, 168, 1, 26].into())),
        other(|one| one.port.name = String::new()),
        other(|one| one.port.name = "https".into()),
        other(|one| one.port.transport = Transport::Udp),
        other(|one| one.port.port = 8081.try_into().unwrap()),
        other(|one| one.address = [10, 244, 1, 6].into()),
    ];
    let names: BTreeSet<_> = all.iter().map(|one| remote_endpoint_name("uid", one)).collect();
    assert_eq!(names.len(), all.len());
    assert!(!names.contains(&remote_endpoint_name("uid-2", &first)));
    // The load balancer is known by its UID: the way in which the object names it doesn't count.
    let renamed = other(|one| one.load_balancer = Ok(None));
    assert_eq!(remote_endpoint_name("uid", &renamed), remote_endpoint_name("uid", &first));
}
