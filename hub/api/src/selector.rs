//! Label selectors: matching, conversion from Kubernetes selectors, canonical text and index key of [`Selector`]. All
//! requirements are ANDed. The operators `In`, `NotIn`, `Exists` and `DoesNotExist` mean the same as in Kubernetes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::identifiers::{is_label_key, is_label_value};
use crate::plan::{Operator, Requirement, Selector};

/// The reason why a label selector is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// `operator` is none of `In`, `NotIn`, `Exists` and `DoesNotExist`.
    #[error("matchExpressions of {key}: unknown operator {operator}")]
    UnknownOperator {
        /// The label's key.
        key: String,
        /// The operator found.
        operator: String,
    },
    /// `In` and `NotIn` require values.
    #[error("matchExpressions of {key}: operator needs values")]
    NoValues {
        /// The label's key.
        key: String,
    },
    /// `Exists` and `DoesNotExist` take no values.
    #[error("matchExpressions of {key}: operator takes no values")]
    SomeValues {
        /// The label's key.
        key: String,
    },
    /// A key that no label can have.
    #[error("{key:?} is not a valid label key")]
    BadKey {
        /// The key found.
        key: String,
    },
    /// A value that no label can have.
    #[error("{value:?} is not a valid value of label {key}")]
    BadValue {
        /// The label's key.
        key: String,
        /// The value found.
        value: String,
    },
}

/// Creates the selector that requires every pair of `labels` (`matchLabels`). An empty map matches everything.
pub fn from_map(labels: &BTreeMap<String, String>) -> Selector {
    let equal = |(key, value): (&String, &String)| Requirement::new(key, Operator::In, [value.clone()]);
    Selector { labels: labels.iter().map(equal).collect(), fields: Vec::new() }
}

/// Converts a Kubernetes label selector. Selectors that Kubernetes rejects are rejected: with a key that no label can
/// have, `NotIn` and `DoesNotExist` would match everything.
///
/// # Errors
/// Returns an error for the first expression whose operator is unknown or doesn't fit its values, and for the first key
/// or value that no label can have.
pub fn from_label_selector(selector: &LabelSelector) -> Result<Selector, SelectorError> {
    let mut found = selector.match_labels.as_ref().map(from_map).unwrap_or_default();
    for expression in selector.match_expressions.iter().flatten() {
        let key = expression.key.clone();
        let values = expression.values.clone().unwrap_or_default();
        let operator = match expression.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => return Err(SelectorError::UnknownOperator { key, operator: other.to_owned() }),
        };
        match (operator, values.is_empty()) {
            (Operator::In | Operator::NotIn, true) => return Err(SelectorError::NoValues { key }),
            (Operator::Exists | Operator::DoesNotExist, false) => {
                return Err(SelectorError::SomeValues { key });
            }
            _ => found.labels.push(Requirement::new(key, operator, values)),
        }
    }
    found.labels.iter().try_for_each(possible)?;
    found.labels.sort_by(|a, b| a.order().cmp(&b.order()));
    found.labels.dedup();
    Ok(found)
}

/// Returns an error if no label can have the requirement's key or values.
fn possible(requirement: &Requirement) -> Result<(), SelectorError> {
    let key = || requirement.key.clone();
    if !is_label_key(&requirement.key) {
        return Err(SelectorError::BadKey { key: key() });
    }
    match requirement.values.iter().find(|value| !is_label_value(value)) {
        Some(value) => Err(SelectorError::BadValue { key: key(), value: value.clone() }),
        None => Ok(()),
    }
}

// === impl Selector ===

impl Selector {
    /// Returns whether `labels` meet every label requirement. Field requirements are ignored, see
    /// [`Self::matches_fields`].
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels
            .iter()
            .all(|requirement| requirement.admits(labels.get(&requirement.key).map(String::as_str)))
    }

    /// Returns whether the object's fields meet every field requirement. `field` returns the text at a dotted path, or
    /// `None` if the object doesn't have the field.
    pub fn matches_fields(&self, field: impl Fn(&str) -> Option<String>) -> bool {
        self.fields.iter().all(|requirement| requirement.admits(field(&requirement.key).as_deref()))
    }

    /// Returns whether the selector has no requirements and so matches everything.
    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Returns a text that is equal for two selectors exactly if their requirements and values are equal in any order:
    /// `k=v,k2=v2`, `k in (a,b)`, `k!=v`, `k notin (a,b)`, `k`, `!k`, fields as `field:path=v`, and `*` for everything.
    /// Characters outside `A-Za-z0-9._/-` are written as `%XX`, so that a value can't be read as another requirement.
    pub fn canonical(&self) -> String {
        if self.is_everything() {
            return "*".to_owned();
        }
        let labels = self.labels.iter().map(|requirement| requirement.canonical(""));
        let fields = self.fields.iter().map(|requirement| requirement.canonical("field:"));
        let mut parts: Vec<String> = labels.chain(fields).collect();
        parts.sort();
        parts.dedup();
        parts.join(",")
    }

    /// Returns the pairs to look up in an index of label pairs: every match has at least one of them. They are those of
    /// the `In` requirement with the fewest values. `None` if no requirement names a value and every object has to be
    /// checked. An empty list means that nothing can match.
    pub fn first_pairs(&self) -> Option<Vec<(&str, &str)>> {
        let equal = self.labels.iter().filter(|requirement| requirement.operator() == Operator::In);
        let fewest = equal.min_by_key(|requirement| requirement.values.len())?;
        Some(fewest.values.iter().map(|value| (fewest.key.as_str(), value.as_str())).collect())
    }
}

// === impl Requirement ===

impl Requirement {
    /// Creates a requirement; sorts its values and removes duplicates.
    pub fn new(
        key: impl Into<String>,
        operator: Operator,
        values: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let mut values: Vec<String> = values.into_iter().map(Into::into).collect();
        values.sort();
        values.dedup();
        Self { key: key.into(), operator: operator.into(), values }
    }

    /// Returns whether `found`, the label's value or `None`, meets the requirement. An operator that this version
    /// doesn't know matches nothing.
    fn admits(&self, found: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|v| v == value);
        match self.operator() {
            Operator::In => found.is_some_and(listed),
            Operator::NotIn => !found.is_some_and(listed),
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
            Operator::Unspecified => false,
        }
    }

    fn order(&self) -> (&str, i32, &[String]) {
        (&self.key, self.operator, &self.values)
    }

    fn canonical(&self, prefix: &str) -> String {
        let key = format!("{prefix}{}", escape(&self.key));
        let mut values: Vec<String> = self.values.iter().map(|value| escape(value)).collect();
        values.sort();
        values.dedup();
        match (self.operator(), values.as_slice()) {
            (Operator::In, [one]) => format!("{key}={one}"),
            (Operator::In, many) => format!("{key} in ({})", many.join(",")),
            (Operator::NotIn, [one]) => format!("{key}!={one}"),
            (Operator::NotIn, many) => format!("{key} notin ({})", many.join(",")),
            (Operator::Exists, _) => key,
            (Operator::DoesNotExist, _) => format!("!{key}"),
            (Operator::Unspecified, many) => format!("{key} ?{} ({})", self.operator, many.join(",")),
        }
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"._/-".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
