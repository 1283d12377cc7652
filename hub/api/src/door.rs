//! Parsing of objects from a watch or a file: JSON becomes a typed object, or an error that names the field. Unknown
//! fields cause warnings and never errors, so that manifests of newer and older versions still work.
//! `serde_path_to_error` and `serde_ignored` provide the field paths; both crates are small and written by serde's
//! author.

use kube::Resource;
use kube::core::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::identifiers::{is_dns_label, is_dns_subdomain};

/// Maximum length of a namespace's name, in characters.
const MAX_NAMESPACE: usize = 63;

/// The reason why an object can't be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct ParseError {
    /// The field, for example `spec.listeners[0].udp.port`; `.` for the object itself.
    pub path: String,
    /// The problem with the field.
    pub message: String,
}

/// Reads an object of kind `K`. Returns it with a warning for each unknown field.
///
/// # Errors
/// Returns an error for the first field that is missing or has the wrong type, for an `apiVersion` or `kind` other than
/// those of `K`, and for a `metadata.name` or `metadata.namespace` that an API server would reject.
pub fn parse<K>(mut value: Value) -> Result<(K, Vec<String>), ParseError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    expect(&mut value, "apiVersion", &K::api_version(&()))?;
    expect(&mut value, "kind", &K::kind(&()))?;
    // serde would take the items of a list in the order of the fields.
    if value.get("spec").is_some_and(Value::is_array) {
        return Err(ParseError { path: "spec".into(), message: "must be an object, is a list".into() });
    }
    let mut warnings = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let mut note =
        |path: serde_ignored::Path<'_>| warnings.push(format!("{}: unknown field, ignored", render(&path)));
    let ignoring = serde_ignored::Deserializer::new(value, &mut note);
    let tracking = serde_path_to_error::Deserializer::new(ignoring, &mut track);
    let mut parsed =
        K::deserialize(tracking).map_err(|error| locate(&track.path().to_string(), &error.to_string()))?;
    // An empty namespace counts as none, as in an API server.
    parsed.meta_mut().namespace.take_if(|namespace| namespace.is_empty());
    check_names(parsed.meta())?;
    Ok((parsed, warnings))
}

/// Applies the API server's rules for names to objects from files too, since names become parts of resource names and
/// of file paths.
fn check_names(meta: &ObjectMeta) -> Result<(), ParseError> {
    let error = |field: &str, message: String| Err(ParseError { path: format!("metadata.{field}"), message });
    let name = meta.name.as_deref().unwrap_or_default();
    if name.is_empty() {
        return error("name", "must not be empty".into());
    }
    if !is_dns_subdomain(name) {
        let rule = "lower-case letters, digits, - and ., at most 253 characters, each part with a letter or a digit at both ends";
        return error("name", format!("must be {rule}; is {name:?}"));
    }
    match meta.namespace.as_deref() {
        Some(namespace) if namespace.len() > MAX_NAMESPACE || !is_dns_label(namespace) => {
            let rule = "lower-case letters, digits and -, at most 63 characters, with a letter or a digit at both ends";
            error("namespace", format!("must be {rule}; is {namespace:?}"))
        }
        _ => Ok(()),
    }
}

/// Checks and removes a constant field that the typed object doesn't keep.
fn expect(value: &mut Value, field: &str, wanted: &str) -> Result<(), ParseError> {
    let found = value.as_object_mut().and_then(|fields| fields.remove(field));
    match found.as_ref().and_then(Value::as_str) {
        Some(found) if found == wanted => Ok(()),
        Some(found) => {
            Err(ParseError { path: field.into(), message: format!("must be {wanted}, is {found}") })
        }
        None => Err(ParseError { path: field.into(), message: format!("must be {wanted}") }),
    }
}

/// Serde reports a missing field at its parent. This function returns the path of the field itself.
fn locate(path: &str, message: &str) -> ParseError {
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    match (path, missing) {
        (".", Some(field)) => ParseError { path: field.into(), message: "is required".into() },
        (_, Some(field)) => ParseError { path: format!("{path}.{field}"), message: "is required".into() },
        (_, None) => ParseError { path: path.into(), message: message.into() },
    }
}

fn render(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", render(parent)),
        Path::Map { parent, key } => match render(parent) {
            empty if empty.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            render(parent)
        }
    }
}
