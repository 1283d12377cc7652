//! What becomes of IngressListeners and EgressListeners: their Plans, as texts under `golden/` (`UPDATE=1` rewrites them),
//! and every combination of fields that lacks sense.

use std::fs;
use std::path::Path;

use portreeve_api::conditions::Reason;
use portreeve_api::model::Source;
use portreeve_api::plan;
use portreeve_api::pod::PROXY_NAME_ANNOTATION;
use serde_json::{Value, json};

use super::*;
use crate::lookup::{Answers, Record, SecretBytes, SecretFacts};
use crate::object::{Rejection, Resolved};
use crate::settings::Settings;

/// An IngressListener with these fields beside those that every one has.
fn ingress(more: &Value) -> Value {
    object("IngressListener", json!({"nodename": "web", "listenport": 8080, "targetport": 80}), more)
}

/// An EgressListener with these fields beside those that every one has.
fn egress(more: &Value) -> Value {
    let target = json!({"cluster": "web", "port": 8080});
    object("EgressListener", json!({"nodename": "bob", "listenport": 9090, "target": target}), more)
}

fn object(kind: &str, mut spec: Value, more: &Value) -> Value {
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let group = kind.to_lowercase();
    let meta =
        json!({"name": "one", "namespace": "ns", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"});
    json!({"apiVersion": format!("{group}.envoy.uw.systems/v1alpha1"), "kind": kind, "metadata": meta, "spec": spec})
}

/// The Secret `whole`, `pair` without an authority, `bare` without keys, and `wrong` whose keys hold no PEM. `gone` does not
/// exist, and others were not read yet.
fn mk_answers() -> Answers {
    let made = rcgen::generate_simple_self_signed(["web".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let whole = [("tls.crt", cert.as_str()), ("tls.key", &key), ("ca.crt", &cert)];
    let mut answers = Answers::default();
    let mut set = |name: &str, data: Option<&[(&str, &str)]>| {
        let pair = |(key, value): &(&str, &str)| (Name::from(*key), SecretBytes::new((*value).into()));
        let facts = data.map(|data| SecretFacts::new("kubernetes.io/tls", data.iter().map(pair).collect()));
        answers.set_secret(("ns".into(), name.into()), facts);
    };
    set("whole", Some(&whole));
    set("pair", Some(&whole[..2]));
    set("bare", Some(&[]));
    set("wrong", Some(&[("tls.crt", ""), ("tls.key", "x"), ("ca.crt", "x")]));
    set("gone", None);
    answers
}

fn outcome(object: Value) -> (Result<Resolved, Rejection>, Record) {
    let row = crate::kinds::ALL.into_iter().find(|row| object["kind"] == row.kind.name).unwrap();
    let (read, warnings) = (row.read)(object).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    let (answers, settings) = (mk_answers(), Settings::default());
    let mut lookup = Lookup::new(&answers, &settings);
    let crate::object::Role::Root(root) = read.role() else { panic!("it opens no listener") };
    let resolved = root.resolve(&mut lookup);
    (resolved, lookup.record())
}

fn resolved(object: Value) -> Resolved {
    outcome(object).0.unwrap()
}

fn reasons(resolved: &Resolved) -> Vec<Reason> {
    resolved.warnings.iter().map(|(reason, _)| *reason).collect()
}

/// Compares a Plan with a text under `golden/`, and with itself after it was sent.
fn assert_golden(name: &str, object: Value) {
    let resolved = resolved(object);
    assert_eq!(resolved.missing, Vec::<String>::new(), "{name}");
    let sent = Plan::try_from(plan::Plan::from(&resolved.plan));
    assert_eq!(sent.as_ref(), Ok(&resolved.plan), "{name}");
    let text = format!("{:#?}\n", resolved.plan);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/resolve/d/golden/{name}.txt"));
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), text, "{}: see UPDATE=1", path.display());
}

#[test]
fn plans_are_those_of_the_golden_texts() {
    let tls = json!({"secret": "whole", "validation": "whole"});
    assert_golden("ingress_flat", ingress(&json!({"rbacallowcluster": "peers"})));
    let rbac = json!({"cluster": "peers", "sans": ["bob", "alice"]});
    assert_golden("ingress_tls", ingress(&json!({"rbac": rbac, "tls": tls})));
    assert_golden("ingress_http", ingress(&json!({"layer": "http", "tls": tls})));
    assert_golden("egress", egress(&json!({})));
    let check = json!({"interval": 1000, "protocol": "TCP", "port": 81, "http": {"path": "/ok"}});
    let tls = json!({"secret": "pair", "validation": "whole", "sans": ["web"], "servername": "web.ns"});
    assert_golden("egress_full", egress(&json!({"lbpolicy": "http", "tls": tls, "health_check": check})));
}

#[test]
fn spellings_make_no_difference_in_the_plan() {
    let tls = json!({"secret": "whole", "validation": "whole"});
    let plan = |more: Value| resolved(ingress(&more)).plan;
    let nested = plan(json!({"rbac": {"cluster": "peers", "sans": ["b", "a"]}, "tls": tls}));
    assert_eq!(plan(json!({"rbac": {"cluster": "peers", "Sans": ["a", "b", "a"]}, "tls": tls})), nested);
    assert_eq!(plan(json!({"rbacallowcluster": "peers", "rbac": {"sans": ["a", "b"]}, "tls": tls})), nested);
    let flat = json!({"target": null, "targetcluster": "web", "targetport": 8080});
    assert_eq!(resolved(egress(&flat)).plan, resolved(egress(&json!({}))).plan);
}

#[test]
fn every_combination_of_an_ingress_listener_is_closed_or_told() {
    let tls = json!({"secret": "whole", "validation": "whole"});
    let by_subject = json!({"sans": ["CN=bob,O=b"]});
    let served: [(Value, &[Reason]); 9] = [
        (json!({"rbac": by_subject, "tls": tls}), &[Reason::ClientSpeaksFirst]),
        (json!({"rbac": by_subject, "tls": tls, "layer": "http"}), &[]),
        (json!({}), &[Reason::OpenToAll]),
        (json!({"rbac": {"cluster": "", "sans": []}}), &[Reason::OpenToAll]),
        (json!({"tls": {"secret": "whole"}}), &[Reason::OpenToAll]),
        (json!({"tls": {"validation": "whole"}}), &[Reason::PlainText, Reason::OpenToAll]),
        (json!({"rbac": {"cluster": "peers"}, "layer": "HTTP"}), &[Reason::Unsupported]),
        (json!({"tls": tls}), &[]),
        (json!({"rbac": {"cluster": "peers", "sans": ["bob"]}, "tls": tls}), &[]),
    ];
    for (more, told) in served {
        assert_eq!(reasons(&resolved(ingress(&more))), told, "{more}");
    }
    for (more, named) in [
        (json!({"rbac": {"sans": ["bob"]}}), "tls.secret and tls.validation"),
        (json!({"rbac": {"sans": ["bob"]}, "tls": {"secret": "whole"}}), "tls.validation"),
        (json!({"rbac": {"sans": ["bob"]}, "tls": {"validation": "whole"}}), "tls.secret"),
        (json!({"listenport": 0}), "spec.listenport"),
        (json!({"targetport": 0}), "spec.targetport"),
        (json!({"nodename": ""}), "spec.nodename"),
        (json!({"rbacallowcluster": ""}), "spec.rbacallowcluster"),
    ] {
        let rejection = outcome(ingress(&more)).0.unwrap_err();
        assert_eq!(rejection.reason, Reason::Invalid, "{more}");
        assert!(rejection.message.contains(named), "{more}: {}", rejection.message);
    }
}

#[test]
fn sources_are_closed_while_nobody_is_in_the_cluster_and_unready_peers_may_connect() {
    let resolved = resolved(ingress(&json!({"rbacallowcluster": "peers"})));
    let sources = resolved.plan.listeners[0].sources.clone().unwrap();
    assert!(sources.restricted);
    assert_eq!(&*sources.groups[0], "@peers/*/annotation%3Acluster-name.envoy.uw.io=peers");
    assert!(resolved.groups[0].has_unready());
    assert_eq!(resolved.groups[0].name(), sources.groups[0]);
}

#[test]
fn clients_must_show_a_certificate_as_soon_as_one_is_validated() {
    let tls = |more: Value| resolved(ingress(&json!({"tls": more}))).plan.listeners[0].tls.clone().unwrap();
    let alone = tls(json!({"secret": "whole"}));
    assert_eq!((alone.authority, alone.require_peer_certificate), (None, false));
    let validated = tls(json!({"secret": "pair", "validation": "whole"}));
    assert_eq!(validated.certificate.as_deref(), Some("ns/pair/tls.crt"));
    assert_eq!(validated.authority.as_deref(), Some("ns/whole/ca.crt"));
    assert!(validated.require_peer_certificate);
}

#[test]
fn servers_are_verified_by_the_clients_own_secret_unless_another_is_named() {
    let tls = |more: Value| resolved(egress(&json!({"tls": more}))).plan.clusters[0].tls.clone().unwrap();
    assert_eq!(tls(json!({"secret": "whole"})).authority.as_deref(), Some("ns/whole/ca.crt"));
    let other = tls(json!({"secret": "pair", "validation": "whole", "sans": ["b", "a"]}));
    assert_eq!(other.authority.as_deref(), Some("ns/whole/ca.crt"));
    assert_eq!(other.peer_names, ["a", "b"]);
    assert_eq!(tls(json!({"validation": "whole"})).certificate, None);
}

#[test]
fn missing_empty_and_wrong_keys_are_named_with_their_secret_and_field() {
    let ingresses: [(Value, &[&str]); 4] = [
        (json!({"secret": "gone"}), &["spec.tls.secret: Secret ns/gone does not exist"]),
        (
            json!({"secret": "bare", "validation": "gone"}),
            &[
                "spec.tls.secret: Secret ns/bare has no key tls.crt",
                "spec.tls.secret: Secret ns/bare has no key tls.key",
                "spec.tls.validation: Secret ns/gone does not exist",
            ],
        ),
        (
            json!({"secret": "wrong"}),
            &[
                "spec.tls.secret: Secret ns/wrong has a key tls.crt that is empty",
                "spec.tls.secret: Secret ns/wrong has a key tls.key that holds no private key in PEM",
            ],
        ),
        (
            json!({"secret": "whole", "validation": "pair"}),
            &["spec.tls.validation: Secret ns/pair has no key ca.crt"],
        ),
    ];
    for (tls, told) in ingresses {
        assert_eq!(resolved(ingress(&json!({"tls": tls}))).missing, told, "{tls}");
    }
    let egresses: [(Value, &[&str]); 3] = [
        (json!({"secret": "gone"}), &["spec.tls.secret: Secret ns/gone does not exist"]),
        (json!({"secret": "pair"}), &["spec.tls.secret: Secret ns/pair has no key ca.crt"]),
        (
            json!({"validation": "wrong"}),
            &["spec.tls.validation: Secret ns/wrong has a key ca.crt that holds no certificate in PEM"],
        ),
    ];
    for (tls, told) in egresses {
        assert_eq!(resolved(egress(&json!({"tls": tls}))).missing, told, "{tls}");
    }
}

#[test]
fn secret_that_was_not_read_yet_keeps_what_is_served() {
    let (_, record) = outcome(ingress(&json!({"tls": {"secret": "unread"}})));
    assert_eq!(record.unknown.as_deref(), Some("Secret ns/unread was not read yet"));
}

#[test]
fn clusters_are_found_by_the_annotation_that_the_hubs_flag_names() {
    let answers = Answers::default();
    let settings = Settings { cluster_name_annotation: "example.com/c".into(), ..Settings::default() };
    let mut lookup = Lookup::new(&answers, &settings);
    let row = &egress::ROW;
    let (object, _) = (row.read)(egress(&json!({}))).unwrap();
    let crate::object::Role::Root(root) = object.role() else { panic!("it opens no listener") };
    let resolved = root.resolve(&mut lookup).unwrap();
    assert_eq!((row.annotations)(&settings), ["example.com/c", PROXY_NAME_ANNOTATION]);
    assert_eq!(&*resolved.groups[0].name(), "*/annotation%3Aexample.com/c=web");
    assert!(
        matches!(&resolved.plan.clusters[0].endpoints[0].from, Source::Group(name) if *name == resolved.groups[0].name())
    );
}

#[test]
fn names_and_intervals_that_need_attention_are_told() {
    let odd = resolved(egress(&json!({"target": {"cluster": "a b", "port": 1}})));
    assert_eq!(reasons(&odd), [Reason::EscapedName]);
    let check = json!({"interval": 100, "protocol": "TCP"});
    assert_eq!(reasons(&resolved(egress(&json!({"health_check": check})))), [Reason::ShortInterval]);
}
