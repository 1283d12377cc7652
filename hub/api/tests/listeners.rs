//! IngressListener and EgressListener: every spelling has one resolved form, and objects from before the schema stay
//! readable or are told what is wrong.
#![allow(clippy::unwrap_used, reason = "a test ends where an object can't be read")]

use std::num::NonZeroU16;
use std::time::Duration;

use portreeve_api::d::Layer;
use portreeve_api::d::egress_listener::{ClientTls, Egress, EgressListener, PodCheck};
use portreeve_api::d::ingress_listener::{Ingress, IngressListener, ServerTls};
use serde_json::{Value, json};

fn ingress(spec: Value) -> IngressListener {
    let (object, warnings) = IngressListener::parse(ingress_object(spec)).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    object
}

fn ingress_object(spec: Value) -> Value {
    json!({"apiVersion": "ingresslistener.envoy.uw.systems/v1alpha1", "kind": "IngressListener",
        "metadata": {"name": "web"}, "spec": spec})
}

fn egress(spec: Value) -> EgressListener {
    let (object, warnings) = EgressListener::parse(egress_object(spec)).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    object
}

fn egress_object(spec: Value) -> Value {
    json!({"apiVersion": "egresslistener.envoy.uw.systems/v1alpha1", "kind": "EgressListener",
        "metadata": {"name": "web"}, "spec": spec})
}

/// Adds fields to those that every IngressListener has.
fn with(more: Value) -> Value {
    joined(json!({"nodename": "web", "listenport": 8080, "targetport": 80}), more)
}

/// Adds fields to those that every EgressListener has.
fn to(more: Value) -> Value {
    joined(json!({"nodename": "bob", "listenport": 9090}), more)
}

fn joined(mut base: Value, more: Value) -> Value {
    base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    base
}

fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

fn mk_ingress() -> Ingress {
    Ingress {
        nodename: "web".into(),
        listen: port(8080),
        target: port(80),
        cluster: None,
        sans: [].into(),
        tls: None,
        layer: Layer::Tcp,
        unused_validation: None,
    }
}

fn mk_egress() -> Egress {
    Egress {
        nodename: "bob".into(),
        listen: port(9090),
        cluster: "web".into(),
        port: port(8080),
        layer: Layer::Tcp,
        tls: None,
        health_check: None,
    }
}

#[test]
fn every_spelling_of_an_ingress_listener_has_the_same_form() {
    let tls = json!({"secret": "web-tls", "validation": "web-ca"});
    let whole = Ingress {
        cluster: Some("peers".into()),
        sans: ["alice".to_owned(), "bob".to_owned()].into(),
        tls: Some(ServerTls { secret: "web-tls".into(), validation: Some("web-ca".into()) }),
        ..mk_ingress()
    };
    let spellings = [
        json!({"rbac": {"cluster": "peers", "sans": ["bob", "alice", "bob"]}, "tls": tls}),
        json!({"rbac": {"cluster": "peers", "Sans": ["alice", "bob"]}, "tls": tls}),
        json!({"rbacallowcluster": "peers", "rbac": {"sans": ["alice", "bob"]}, "tls": tls}),
    ];
    for spelling in spellings {
        assert_eq!(ingress(with(spelling.clone())).form(), Ok(whole.clone()), "{spelling}");
    }
    let flat = Ingress { cluster: Some("peers".into()), ..mk_ingress() };
    assert_eq!(ingress(with(json!({"rbacallowcluster": "peers"}))).form(), Ok(flat));
}

#[test]
fn every_spelling_of_an_egress_listener_has_the_same_form() {
    for spelling in [
        json!({"targetcluster": "web", "targetport": 8080}),
        json!({"target": {"cluster": "web", "port": 8080}}),
        json!({"target": {"cluster": "web"}, "targetport": 8080, "lbpolicy": "tcp"}),
    ] {
        assert_eq!(egress(to(spelling.clone())).form(), Ok(mk_egress()), "{spelling}");
    }
}

#[test]
fn an_object_is_written_as_it_was_spelt() {
    for spec in [
        with(json!({"rbacallowcluster": "peers"})),
        with(json!({"rbac": {"cluster": "", "Sans": ["a"]}, "tls": {"secret": "s", "validation": "v"}})),
        with(json!({"rbac": {"sans": []}, "layer": ""})),
    ] {
        assert_eq!(serde_json::to_value(ingress(spec.clone())).unwrap()["spec"], spec);
    }
    for spec in [
        to(json!({"targetcluster": "web", "targetport": 1, "lbpolicy": "http"})),
        to(json!({"target": {"cluster": "web", "port": 1}, "tls": {"secret": ""}})),
    ] {
        assert_eq!(serde_json::to_value(egress(spec.clone())).unwrap()["spec"], spec);
    }
}

#[test]
fn empty_values_that_the_old_clients_wrote_count_as_absent() {
    let written =
        json!({"rbac": {"cluster": "", "sans": null}, "tls": {"secret": "", "validation": ""}, "layer": ""});
    assert_eq!(ingress(with(written.clone())).form(), Ok(mk_ingress()));
    assert_eq!(ingress(with(written)).validate(), []);
    let written = json!({"target": {"cluster": "web", "port": 8080}, "lbpolicy": "", "tls": {"secret": ""}});
    assert_eq!(egress(to(written)).form(), Ok(mk_egress()));
}

#[test]
fn both_spellings_of_a_field_are_refused_and_named() {
    let tls = json!({"secret": "s", "validation": "v"});
    let ingresses = [
        (json!({"rbacallowcluster": "a", "rbac": {"cluster": "a"}}), ["rbacallowcluster", "rbac.cluster"]),
        (json!({"rbacallowcluster": "a", "rbac": {"cluster": ""}}), ["rbacallowcluster", "rbac.cluster"]),
        (json!({"rbac": {"sans": ["a"], "Sans": ["a"]}, "tls": tls}), ["sans", "Sans"]),
    ];
    for (spec, names) in ingresses {
        let object = ingress(with(spec.clone()));
        assert_eq!(object.form().unwrap_err(), object.validate());
        let [broken] = object.validate().try_into().unwrap();
        assert!(names.iter().all(|name| broken.message.contains(name)), "{spec}: {broken}");
    }
    let egresses = [
        (
            json!({"targetcluster": "a", "target": {"cluster": "a", "port": 1}}),
            ["targetcluster", "target.cluster"],
        ),
        (json!({"targetport": 1, "target": {"cluster": "a", "port": 1}}), ["targetport", "target.port"]),
        (json!({"targetport": 1}), ["targetcluster", "target.cluster"]),
        (json!({"target": {"cluster": "a"}}), ["targetport", "target.port"]),
    ];
    for (spec, names) in egresses {
        let object = egress(to(spec.clone()));
        assert_eq!(object.form().unwrap_err(), object.validate());
        let [broken] = object.validate().try_into().unwrap();
        assert!(names.iter().all(|name| broken.message.contains(name)), "{spec}: {broken}");
    }
}

#[test]
fn what_cannot_be_served_as_it_was_meant_is_refused_also_if_it_is_stored() {
    let secret = json!({"secret": "s"});
    let table = [
        (json!({"nodename": ""}), "spec.nodename"),
        (json!({"nodename": null}), "spec.nodename"),
        (json!({"listenport": 0}), "spec.listenport"),
        (json!({"listenport": 70_000}), "spec.listenport"),
        (json!({"targetport": 0}), "spec.targetport"),
        (json!({"targetport": null}), "spec.targetport"),
        (json!({"targetport": 8080}), "spec"),
        (json!({"rbacallowcluster": ""}), "spec.rbacallowcluster"),
        (json!({"rbac": {"sans": ["a"]}}), "spec"),
        (json!({"rbac": {"sans": ["a"]}, "tls": secret}), "spec"),
        (json!({"rbac": {"sans": [""]}, "tls": {"secret": "s", "validation": "v"}}), "spec.rbac.sans[0]"),
    ];
    for (more, path) in table {
        let broken = ingress(with(more.clone())).form().unwrap_err();
        assert_eq!(broken.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(), [path], "{more}");
    }
    let target = json!({"cluster": "web", "port": 0});
    let table = [
        (json!({"target": target}), "spec.target.port"),
        (json!({"targetport": 0, "targetcluster": "web"}), "spec.targetport"),
        (json!({"targetport": 1, "targetcluster": ""}), "spec.targetcluster"),
        (json!({"targetport": 1, "targetcluster": "a", "tls": {"servername": "a"}}), "spec.tls"),
    ];
    for (more, path) in table {
        let broken = egress(to(more.clone())).form().unwrap_err();
        assert_eq!(broken.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(), [path], "{more}");
    }
}

#[test]
fn what_served_under_the_old_definitions_is_readable_and_new_objects_are_told() {
    let object = ingress(with(json!({"tls": {"validation": "ca"}, "layer": "HTTP"})));
    let old =
        Ingress { layer: Layer::Other("HTTP".into()), unused_validation: Some("ca".into()), ..mk_ingress() };
    assert_eq!(object.form(), Ok(old));
    let paths: Vec<_> = object.validate().into_iter().map(|one| one.path).collect();
    assert_eq!(paths, ["spec.tls", "spec.layer"]);
    let object = egress(to(json!({"targetcluster": "web", "targetport": 8080, "lbpolicy": "random"})));
    assert_eq!(object.form(), Ok(Egress { layer: Layer::Other("random".into()), ..mk_egress() }));
    assert_eq!(object.validate().len(), 1);
}

#[test]
fn wrong_types_of_old_objects_are_named() {
    let table = [
        (json!({"listenport": "8080"}), "spec.listenport"),
        (json!({"targetport": 80.5}), "spec.targetport"),
        (json!({"nodename": 5}), "spec.nodename"),
        (json!({"rbac": []}), "spec.rbac"),
        (json!({"rbac": {"sans": "bob"}}), "spec.rbac.sans"),
        (json!({"tls": "web-tls"}), "spec.tls"),
    ];
    for (more, path) in table {
        let error = IngressListener::parse(ingress_object(with(more.clone()))).unwrap_err();
        assert_eq!(error.path, path, "{more}: {error}");
    }
    let mut bare = ingress_object(json!({}));
    bare.as_object_mut().unwrap().remove("spec");
    assert_eq!(IngressListener::parse(bare).unwrap_err().path, "spec");
    let listed = ingress_object(json!(["web", 8080, 80, null, null, null, null]));
    assert_eq!(IngressListener::parse(listed).unwrap_err().path, "spec");
}

#[test]
fn servers_are_verified_by_the_clients_own_secret_unless_another_is_given() {
    let target = |tls: Value| to(json!({"targetcluster": "web", "targetport": 8080, "tls": tls}));
    let of = |tls: Value| egress(target(tls)).form().unwrap().tls;
    let tls = ClientTls {
        secret: Some("bob".into()),
        validation: "bob".into(),
        sans: [].into(),
        server_name: None,
    };
    assert_eq!(of(json!({"secret": "bob"})), Some(tls.clone()));
    assert_eq!(of(json!({"secret": "", "validation": ""})), None);
    let other = ClientTls {
        validation: "ca".into(),
        sans: ["web".to_owned()].into(),
        server_name: Some("web.ns".into()),
        ..tls.clone()
    };
    let spec = json!({"secret": "bob", "validation": "ca", "sans": ["web", "web"], "servername": "web.ns"});
    assert_eq!(of(spec), Some(other));
    let without = ClientTls { secret: None, validation: "ca".into(), ..tls };
    assert_eq!(of(json!({"validation": "ca"})), Some(without));
}

#[test]
fn health_check_uses_the_targets_port_unless_it_has_its_own() {
    let of = |check: Value| {
        let spec = json!({"targetcluster": "web", "targetport": 8080, "health_check": check});
        egress(to(spec)).form().map(|form| form.health_check.unwrap())
    };
    let check = PodCheck { interval: Duration::from_millis(500), port: port(8080), http_path: None };
    assert_eq!(of(json!({"interval": 500, "protocol": "TCP"})), Ok(check.clone()));
    let http = PodCheck { port: port(81), http_path: Some("/ok".into()), ..check };
    assert_eq!(
        of(json!({"interval": 500, "protocol": "TCP", "port": 81, "http": {"path": "/ok"}})),
        Ok(http)
    );
    let wrong = of(json!({"interval": 5, "protocol": "TCP", "port": 0, "http": {"path": "ok"}})).unwrap_err();
    let paths: Vec<_> = wrong.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(
        paths,
        ["spec.health_check.interval", "spec.health_check.port", "spec.health_check.http.path"]
    );
}
