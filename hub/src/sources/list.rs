//! The sources file ([`parse`]): the replaced control plane's JSON list of Kubernetes clusters.

use std::collections::BTreeSet;
use std::path::PathBuf;

use portreeve_xds::Name;
use serde_json::{Map, Value};

/// The longest name of a source, in bytes.
const LONGEST: usize = 253;

/// An entry of the file: a Kubernetes cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name that logs, metrics and conditions show.
    pub name: Name,
    /// The path of its kubeconfig. `None`: it is the hub's own cluster.
    pub kubeconfig: Option<PathBuf>,
    /// Whether its custom resources and Secrets are to be used. Only the hub's own cluster can be such a source.
    pub listener_source: bool,
}

/// Reads a sources file. As with the replaced control plane, the case of the fields' names doesn't matter, and a missing field
/// is empty or false. The second part of the result are remarks on fields that have no meaning.
///
/// # Errors
/// Returns an error that names the entry, the field and the problem.
pub fn parse(text: &[u8]) -> Result<(Vec<Entry>, Vec<String>), String> {
    let value: Value = serde_json::from_slice(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let items = match value {
        Value::Array(items) => items,
        Value::Null => Vec::new(),
        _ => return Err("it is not a list of {name, kubeconfig, listenersource}".into()),
    };
    let (mut entries, mut remarks, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (index, item) in items.into_iter().enumerate() {
        let at = |problem: String| format!("entry {}: {problem}", index + 1);
        let Value::Object(fields) = item else {
            return Err(at("it is not an object {name, kubeconfig, listenersource}".into()));
        };
        let (entry, unknown) = entry(fields).map_err(at)?;
        remarks.extend(
            unknown.into_iter().map(|field| at(format!("the field {field:?} is unknown and ignored"))),
        );
        if !names.insert(entry.name.clone()) {
            return Err(at(format!("the name {:?} is given twice: give each source its own", entry.name)));
        }
        entries.push(entry);
    }
    Ok((entries, remarks))
}

/// Returns an error if this can't be the name of a source.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("name is empty: give the source a name, which conditions and metrics will show".into());
    }
    if name.len() > LONGEST || name.contains('/') || name.chars().any(char::is_control) {
        return Err(format!(
            "name {name:?} is not allowed: it may have {LONGEST} bytes, and neither slashes nor control characters"
        ));
    }
    Ok(())
}

/// Reads one entry, and returns the names of unknown fields.
fn entry(fields: Map<String, Value>) -> Result<(Entry, Vec<String>), String> {
    let (mut name, mut kubeconfig, mut listener_source) = (String::new(), String::new(), false);
    let mut unknown = Vec::new();
    for (field, value) in fields {
        match field.to_lowercase().as_str() {
            "name" => name = text(&field, value)?,
            "kubeconfig" => kubeconfig = text(&field, value)?,
            "listenersource" => listener_source = truth(&field, &value)?,
            _ => unknown.push(field),
        }
    }
    check_name(&name)?;
    let kubeconfig = (!kubeconfig.is_empty()).then(|| PathBuf::from(kubeconfig));
    Ok((Entry { name: name.into(), kubeconfig, listener_source }, unknown))
}

fn text(field: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        other => Err(format!("{field} must be a string, not {other}")),
    }
}

fn truth(field: &str, value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::Null => Ok(false),
        other => Err(format!("{field} must be true or false, not {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, kubeconfig: &str, listener_source: bool) -> Entry {
        let kubeconfig = (!kubeconfig.is_empty()).then(|| kubeconfig.into());
        Entry { name: name.into(), kubeconfig, listener_source }
    }

    #[test]
    fn files_of_the_replaced_control_plane_are_read_as_they_are() {
        // The content of the ConfigMap in its example, and the file of its first README.
        let config = r#"    [
      {
        "name": "aws",
        "kubeconfig": "/etc/aws/aws.kubeconfig",
        "listenersource": true
      },
      {
        "name": "gcp",
        "kubeconfig": "/etc/gcp/gcp.kubeconfig",
        "listenersource": false
      }
    ]

"#;
        let expected =
            [entry("aws", "/etc/aws/aws.kubeconfig", true), entry("gcp", "/etc/gcp/gcp.kubeconfig", false)];
        assert_eq!(parse(config.as_bytes()).unwrap(), (expected.to_vec(), Vec::new()));
        let first =
            r#"[{"name": "aws", "kubeconfig": "conf/aws"}, {"name": "gcp", "kubeconfig": "conf/gcp"}]"#;
        let expected = [entry("aws", "conf/aws", false), entry("gcp", "conf/gcp", false)];
        assert_eq!(parse(first.as_bytes()).unwrap().0, expected);
    }

    #[test]
    fn names_of_fields_have_any_case_and_missing_fields_are_empty() {
        let text = r#"[{"Name": "a", "kubeConfig": "x", "ListenerSource": null}, {"name": "b", "kubeconfig": null}]"#;
        assert_eq!(parse(text.as_bytes()).unwrap().0, [entry("a", "x", false), entry("b", "", false)]);
        assert_eq!(parse(b"null").unwrap().0, []);
        assert_eq!(parse(b"[]").unwrap().0, []);
        let (_, remarks) = parse(br#"[{"name": "a", "kube-config": "x"}]"#).unwrap();
        assert_eq!(remarks, ["entry 1: the field \"kube-config\" is unknown and ignored"]);
    }

    #[test]
    fn bad_files_are_refused_with_the_entry_and_the_field() {
        for (text, told) in [
            ("", "it is not JSON: EOF"),
            ("[{", "it is not JSON: EOF"),
            ("{}", "it is not a list"),
            ("[3]", "entry 1: it is not an object"),
            (r#"[{"name": "a"}, {"kubeconfig": "x"}]"#, "entry 2: name is empty"),
            (r#"[{"name": "a/b"}]"#, "entry 1: name \"a/b\" is not allowed"),
            (r#"[{"name": "a\n"}]"#, "entry 1: name \"a\\n\" is not allowed"),
            (r#"[{"name": "a"}, {"name": "a"}]"#, "entry 2: the name \"a\" is given twice"),
            (r#"[{"name": 1}]"#, "entry 1: name must be a string, not 1"),
            (r#"[{"name": "a", "kubeconfig": []}]"#, "entry 1: kubeconfig must be a string, not []"),
            (r#"[{"name": "a", "listenersource": "yes"}]"#, "entry 1: listenersource must be true or false"),
        ] {
            let refused = parse(text.as_bytes()).unwrap_err();
            assert!(refused.starts_with(told), "{text}: {refused}");
        }
    }
}
