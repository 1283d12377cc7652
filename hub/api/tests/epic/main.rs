//! The objects of API C: samples of each version ([`samples`]), refused objects ([`refusals`]), references and names
//! ([`references`]), tunnel keys ([`keys`]), pools ([`ranges`], [`subnets`]) and random objects ([`random`]).
#![allow(clippy::unwrap_used, reason = "a test ends where its files are missing")]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use kube::core::cel::Validator;
use portreeve_api::c::account::Account;
use portreeve_api::c::endpoint::Endpoint;
use portreeve_api::c::epic::Epic;
use portreeve_api::c::lb_service_group::LBServiceGroup;
use portreeve_api::c::load_balancer::LoadBalancer;
use portreeve_api::c::remote_endpoint::RemoteEndpoint;
use portreeve_api::c::service_group::ServiceGroup;
use portreeve_api::c::service_prefix::ServicePrefix;
use portreeve_api::door::ParseError;
use portreeve_api::{Violation, crds};
use serde::Deserialize;
use serde_json::Value;

mod keys;
mod random;
mod ranges;
mod references;
mod refusals;
mod samples;
mod subnets;

/// The files with samples.
const FILES: [&str; 3] = ["document.yaml", "e1.yaml", "later.yaml"];

/// What the programs say about an object.
struct Judged {
    /// The object as it is written back.
    written: Value,
    warnings: Vec<String>,
    violations: Vec<Violation>,
    /// The reasons why it has no form.
    reasons: Vec<Violation>,
}

fn objects(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/epic").join(file);
    let text = fs::read_to_string(path).unwrap();
    serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap()).collect()
}

/// Returns the first sample of a kind in a file.
fn sample(file: &str, kind: &str) -> Value {
    objects(file).into_iter().find(|object| object["kind"] == kind).unwrap()
}

fn judge(value: Value) -> Result<Judged, ParseError> {
    macro_rules! read {
        ($kind:ty) => {
            <$kind>::parse(value).map(|(object, warnings)| Judged {
                written: serde_json::to_value(&object).unwrap(),
                warnings,
                violations: object.validate(),
                reasons: object.form().err().unwrap_or_default(),
            })
        };
    }
    match value["kind"].as_str().unwrap() {
        "EPIC" => read!(Epic),
        "Account" => read!(Account),
        "ServiceGroup" => read!(ServiceGroup),
        "LBServiceGroup" => read!(LBServiceGroup),
        "LoadBalancer" => read!(LoadBalancer),
        "Endpoint" => read!(Endpoint),
        "RemoteEndpoint" => read!(RemoteEndpoint),
        "ServicePrefix" => read!(ServicePrefix),
        other => panic!("kind {other}"),
    }
}

/// The definitions of API C's kinds.
static DEFINITIONS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let all = crds::all().into_iter().map(|crd| serde_json::to_value(crd).unwrap());
    all.filter(|crd| crd["spec"]["group"] == "epic.acnodal.io").collect()
});

/// Returns the definition of a kind.
fn definition(kind: &str) -> &'static Value {
    DEFINITIONS.iter().find(|crd| crd["spec"]["names"]["kind"] == kind).unwrap()
}

/// Returns the schema of a kind.
fn schema(kind: &str) -> &'static Value {
    &definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

/// Returns a sample with a value at a JSON pointer, whose parents exist. Null removes the field.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/");
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("no parent of {pointer}"));
    match (parent, value) {
        (Value::Object(fields), Value::Null) => drop(fields.remove(&key)),
        (Value::Array(items), value) => items[key.parse::<usize>().unwrap()] = value,
        (parent, value) => parent[key] = value,
    }
    object
}

/// Evaluates the rules of a kind's definition without an API server. Returns what they say of a broken one.
fn broken_rules(object: &Value, old: Option<&Value>) -> String {
    let schema = schema(object["kind"].as_str().unwrap());
    Validator::new().validate(schema, object, old).err().map(|errors| errors.to_string()).unwrap_or_default()
}
