//! Converts the older spellings of API B into objects of `l7mp.io/v1`. Entry point: [`convert`], a pure function.
//!
//! Known are the design document's spelling (`apiVersion: l7mp.io/MSM/v1`, `metadata.selector`, `udp: {port: 8001,}`), that
//! of the document's later edition (`listener: {protocol: UDP, port: 8001}`), and that of the deployed definitions, of which
//! nothing is changed.

mod object;
mod parts;
mod protocol;

use serde_json::Value;

use super::route::Route;
use super::rule::Rule;
use super::target::Target;
use super::virtual_service::VirtualService;
use crate::door::ParseError;
use crate::violation::Violation;

/// The group of the objects that are converted.
const GROUP: &str = "l7mp.io";
/// The only version.
const VERSION: &str = "l7mp.io/v1";
/// The version in the design document, which no API server can have.
const DOCUMENT_VERSION: &str = "l7mp.io/MSM/v1";

/// An object that is valid in `l7mp.io/v1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Converted {
    /// The object.
    pub object: Value,
    /// What was changed, each with its field.
    pub changes: Vec<String>,
    /// What should be checked, such as unknown fields.
    pub warnings: Vec<String>,
}

/// Why a document is not converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is no object of the group `l7mp.io`, but of this version and kind.
    Foreign(String),
    /// These fields have no valid form.
    Broken(Vec<Violation>),
}

/// The changes so far, and the fields that can't be converted.
#[derive(Debug, Default)]
struct Work {
    changes: Vec<String>,
    problems: Vec<Violation>,
}

/// Converts a document.
///
/// # Errors
/// Returns the fields that have no valid form, or that the document belongs to another group.
pub fn convert(mut document: Value) -> Result<Converted, Refusal> {
    let text = |field: &str| document.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if !version.is_empty() && version.split('/').next() != Some(GROUP) {
        return Err(Refusal::Foreign(format!("{kind} of {version}")));
    }
    let mut work = Work::default();
    work.version(&mut document, &version);
    work.selector(&mut document);
    if let Some(spec) = document.get_mut("spec") {
        work.numbers(spec, "spec");
        match kind.as_str() {
            VIRTUAL_SERVICE => work.virtual_service(spec),
            "Target" => work.target(spec),
            "Route" => work.route(spec, "spec"),
            "Rule" => work.inner_rule(spec),
            _ => {}
        }
    }
    if !work.problems.is_empty() {
        return Err(Refusal::Broken(work.problems));
    }
    let warnings = judge(&kind, document.clone()).map_err(Refusal::Broken)?;
    Ok(Converted { object: document, changes: work.changes, warnings })
}

const VIRTUAL_SERVICE: &str = "VirtualService";

/// Reads an object as the hub does. Returns the warnings.
fn judge(kind: &str, object: Value) -> Result<Vec<String>, Vec<Violation>> {
    let unreadable = |error: ParseError| vec![Violation { path: error.path, message: error.message }];
    let (warnings, broken) = match kind {
        VIRTUAL_SERVICE => VirtualService::parse(object).map(|(read, warnings)| (warnings, read.validate())),
        "Target" => Target::parse(object).map(|(read, warnings)| (warnings, read.validate())),
        "Route" => Route::parse(object).map(|(read, warnings)| (warnings, read.validate())),
        "Rule" => Rule::parse(object).map(|(read, warnings)| (warnings, read.validate())),
        other => {
            let message = format!("must be {VIRTUAL_SERVICE}, Target, Route or Rule, is {other:?}");
            return Err(vec![Violation { path: "kind".into(), message }]);
        }
    }
    .map_err(unreadable)?;
    if broken.is_empty() { Ok(warnings) } else { Err(broken) }
}

// === impl Work ===

impl Work {
    fn changed(&mut self, path: &str, what: impl AsRef<str>) {
        self.changes.push(format!("{path}: {}", what.as_ref()));
    }

    fn problem(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Violation { path: path.into(), message: message.into() });
    }

    fn version(&mut self, document: &mut Value, version: &str) {
        match version {
            VERSION => {}
            DOCUMENT_VERSION => {
                document["apiVersion"] = VERSION.into();
                self.changed("apiVersion", format!("{DOCUMENT_VERSION} is {VERSION} now"));
            }
            other => {
                let message = format!("must be {VERSION} or {DOCUMENT_VERSION}, is {other:?}");
                self.problem("apiVersion", message);
            }
        }
    }

    /// Moves the selector from the metadata to the spec.
    fn selector(&mut self, document: &mut Value) {
        let metadata = document.get_mut("metadata").and_then(Value::as_object_mut);
        let Some(selector) = metadata.and_then(|metadata| metadata.remove("selector")) else { return };
        let Some(spec) = document.get_mut("spec").and_then(Value::as_object_mut) else {
            return self.problem("spec", "must be an object, for example spec: {udp: {port: 8001}}");
        };
        if spec.contains_key("selector") {
            return self.problem("metadata.selector", "there is a spec.selector too: keep that alone");
        }
        spec.insert("selector".into(), selector);
        self.changed("metadata.selector", "is spec.selector now");
    }
}
