//! Samples of valid and invalid objects, and the example manifests. Each file in `samples/bad` begins with a comment
//! that holds the path of its violation. A second comment marks those that an API server takes, since no schema can say the
//! rule. Other tests send the same files to an API server.
#![allow(clippy::unwrap_used, reason = "a test ends where its files are missing")]

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::cel::Validator;
use portreeve_api::a::virtual_service::VirtualService;
use portreeve_api::d::egress_listener::EgressListener;
use portreeve_api::d::ingress_listener::IngressListener;
use portreeve_api::own::node_proxy::NodeProxy;
use portreeve_api::own::node_report::NodeReport;
use portreeve_api::{Violation, b, crds};
use serde_json::Value;

struct Sample {
    path: PathBuf,
    text: String,
}

fn samples(directory: &str) -> Vec<Sample> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut paths: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", directory.display());
    paths.into_iter().map(|path| Sample { text: fs::read_to_string(&path).unwrap(), path }).collect()
}

impl Sample {
    fn value(&self) -> Value {
        serde_yaml::from_str(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.path.display()))
    }

    fn first_line(&self) -> &str {
        self.text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap()
    }

    /// Returns warnings and violations. A parse error counts as a violation.
    fn judge(&self) -> (Vec<String>, Vec<Violation>) {
        let value = self.value();
        if value["apiVersion"] == "l7mp.io/v1" {
            return self.judge_mesh();
        }
        let judged = match value["kind"].as_str() {
            Some("VirtualService") => {
                VirtualService::parse(value).map(|(object, warn)| (warn, object.validate()))
            }
            Some("IngressListener") => {
                IngressListener::parse(value).map(|(object, warn)| (warn, object.validate()))
            }
            Some("EgressListener") => {
                EgressListener::parse(value).map(|(object, warn)| (warn, object.validate()))
            }
            Some("NodeProxy") => NodeProxy::parse(value).map(|(object, warn)| (warn, object.validate())),
            Some("NodeReport") => NodeReport::parse(value).map(|(_, warn)| (warn, Vec::new())),
            other => panic!("{}: kind {other:?}", self.path.display()),
        };
        judged.unwrap_or_else(|e| (Vec::new(), vec![Violation { path: e.path, message: e.message }]))
    }

    /// The same for API B, whose VirtualService is another kind.
    fn judge_mesh(&self) -> (Vec<String>, Vec<Violation>) {
        let value = self.value();
        let judged = match value["kind"].as_str() {
            Some("VirtualService") => b::virtual_service::VirtualService::parse(value)
                .map(|(object, warn)| (warn, object.validate())),
            Some("Target") => b::target::Target::parse(value).map(|(object, warn)| (warn, object.validate())),
            Some("Route") => b::route::Route::parse(value).map(|(object, warn)| (warn, object.validate())),
            Some("Rule") => b::rule::Rule::parse(value).map(|(object, warn)| (warn, object.validate())),
            other => panic!("{}: kind {other:?}", self.path.display()),
        };
        judged.unwrap_or_else(|e| (Vec::new(), vec![Violation { path: e.path, message: e.message }]))
    }

    /// Evaluates the definition's CEL rules without an API server, and returns whether they hold.
    fn rules_hold(&self) -> bool {
        let mut value = self.value();
        drop_nulls(&mut value);
        let group =
            value["apiVersion"].as_str().and_then(|version| version.split('/').next()).map(str::to_owned);
        let is = |crd: &CustomResourceDefinition| {
            value["kind"] == crd.spec.names.kind.as_str() && group.as_ref() == Some(&crd.spec.group)
        };
        let crd = crds::all().into_iter().find(is).unwrap();
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        Validator::new().validate(&schema["openAPIV3Schema"], &value, None).is_ok()
    }
}

/// Removes nulls, as the API server does before it evaluates rules.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[test]
fn good_samples_pass_without_a_word() {
    for sample in samples("tests/samples/good") {
        assert_eq!(sample.judge(), (vec![], vec![]), "{}", sample.path.display());
        assert!(sample.rules_hold(), "{}", sample.path.display());
    }
}

#[test]
fn bad_samples_break_exactly_the_rule_that_they_name() {
    for sample in samples("tests/samples/bad") {
        let (_, violations) = sample.judge();
        let mut paths: Vec<_> = violations.iter().map(|violation| violation.path.as_str()).collect();
        paths.dedup();
        assert_eq!(paths, [sample.first_line()], "{}: {violations:?}", sample.path.display());
    }
}

#[test]
fn rules_of_the_definition_reject_the_samples_that_break_them() {
    let by_rule = [
        "both-address-and-selector",
        "both-udp-and-tcp",
        "egress-names-without-authority",
        "egress-no-target",
        "egress-two-clusters",
        "egress-two-ports",
        "ingress-sans-without-tls",
        "ingress-sans-without-validation",
        "ingress-to-itself",
        "ingress-two-clusters",
        "ingress-two-sans",
        "ingress-validation-without-secret",
        "mesh-rule-no-list",
        "mesh-rule-no-rule",
        "mesh-rule-no-selector",
        "mesh-service-listener-and-block",
        "mesh-service-no-port",
        "mesh-service-no-selector",
        "mesh-service-rules-outside",
        "mesh-service-two-ports",
        "mesh-target-cluster-and-link",
        "mesh-target-endpoints-outside",
        "mesh-target-nothing",
        "mesh-target-two-protocols",
        "neither-address-nor-selector",
        "neither-udp-nor-tcp",
        "node-proxy-extra-bootstrap-node",
        "node-proxy-list-without-names",
        "node-proxy-names-without-list",
        "node-proxy-selector-missing",
    ];
    for sample in samples("tests/samples/bad") {
        let name = sample.path.file_stem().and_then(|stem| stem.to_str()).unwrap();
        if by_rule.contains(&name) {
            assert!(!sample.rules_hold(), "{name}");
        }
    }
}

#[test]
fn manifests_of_the_original_documents_are_accepted_as_they_are() {
    for sample in samples("../../deploy/examples/seed-a") {
        if sample.value()["kind"] == "VirtualService" {
            assert_eq!(sample.judge(), (vec![], vec![]), "{}", sample.path.display());
            assert!(sample.rules_hold(), "{}", sample.path.display());
        }
    }
}

#[test]
fn good_samples_survive_writing_and_reading() {
    for sample in samples("tests/samples/good") {
        let value = sample.value();
        if value["apiVersion"] == "servicemesh.l7mp.io/v1" && value["kind"] == "VirtualService" {
            let (object, _) = VirtualService::parse(value).unwrap();
            let (again, warnings) = VirtualService::parse(serde_json::to_value(&object).unwrap()).unwrap();
            assert_eq!((again, warnings), (object, vec![]), "{}", sample.path.display());
        }
    }
}
