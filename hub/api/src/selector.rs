//! Requirements on labels and fields: [`Selector`], and its conversion from those of custom resources ([`from_map`],
//! [`from_label_selector`]). All requirements are ANDed. The operators `In`, `NotIn`, `Exists` and `DoesNotExist` mean the same
//! as in Kubernetes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::identifiers::{is_label_key, is_label_value};

/// Requirements on labels and fields (message `Selector`), all ANDed. One without any matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Requirements on labels.
    pub labels: Vec<Requirement>,
    /// Requirements on fields of the object, by dotted path; API B.
    pub fields: Vec<Requirement>,
}

/// A requirement on one label or field (message `Requirement`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// The label's key, or the field's dotted path.
    pub key: String,
    /// What its value must be.
    pub test: Test,
}

/// What a label's or field's value must be (enumeration `Operator`, with the values that it needs).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Test {
    /// One of these.
    In(BTreeSet<String>),
    /// None of these; also met where there is no value.
    NotIn(BTreeSet<String>),
    /// Any value.
    Exists,
    /// No value.
    DoesNotExist,
}

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
    let equal = |(key, value): (&String, &String)| Requirement::is_in(key, [value]);
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
        let values: BTreeSet<String> = expression.values.iter().flatten().cloned().collect();
        let test = match (expression.operator.as_str(), values.is_empty()) {
            ("In" | "NotIn", true) => return Err(SelectorError::NoValues { key }),
            ("Exists" | "DoesNotExist", false) => return Err(SelectorError::SomeValues { key }),
            ("In", false) => Test::In(values),
            ("NotIn", false) => Test::NotIn(values),
            ("Exists", true) => Test::Exists,
            ("DoesNotExist", true) => Test::DoesNotExist,
            (other, _) => return Err(SelectorError::UnknownOperator { key, operator: other.to_owned() }),
        };
        found.labels.push(Requirement { key, test });
    }
    found.labels.iter().try_for_each(possible)?;
    found.labels.sort();
    found.labels.dedup();
    Ok(found)
}

/// Returns an error if no label can have the requirement's key or values.
fn possible(requirement: &Requirement) -> Result<(), SelectorError> {
    let key = || requirement.key.clone();
    if !is_label_key(&requirement.key) {
        return Err(SelectorError::BadKey { key: key() });
    }
    let values = match &requirement.test {
        Test::In(values) | Test::NotIn(values) => values,
        Test::Exists | Test::DoesNotExist => return Ok(()),
    };
    match values.iter().find(|value| !is_label_value(value)) {
        Some(value) => Err(SelectorError::BadValue { key: key(), value: value.clone() }),
        None => Ok(()),
    }
}

// === impl Selector ===

impl Selector {
    /// Returns whether `labels` meet every label requirement. Field requirements are ignored, see
    /// [`Self::matches_fields`].
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.admits(|key| labels.get(key).map(|value| Cow::Borrowed(value.as_str())))
    }

    /// Does the same with labels in another form: `label` returns the value of a key.
    pub fn admits<'l>(&self, label: impl Fn(&str) -> Option<Cow<'l, str>>) -> bool {
        self.labels.iter().all(|one| one.test.admits(label(&one.key).as_deref()))
    }

    /// Returns whether the object's fields meet every field requirement. `field` returns the text at a dotted path, or
    /// `None` if the object doesn't have the field.
    pub fn matches_fields(&self, field: impl Fn(&str) -> Option<String>) -> bool {
        self.fields.iter().all(|one| one.test.admits(field(&one.key).as_deref()))
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
        let parts: BTreeSet<String> = labels.chain(fields).collect();
        parts.into_iter().collect::<Vec<_>>().join(",")
    }

    /// Returns the pairs to look up in an index of label pairs: every match has at least one of them. They are those of
    /// the `In` requirement with the fewest values. `None` if no requirement names a value and every object has to be
    /// checked. An empty list means that nothing can match.
    pub fn first_pairs(&self) -> Option<Vec<(&str, &str)>> {
        let equal = self.labels.iter().filter_map(|one| match &one.test {
            Test::In(values) => Some((one.key.as_str(), values)),
            Test::NotIn(_) | Test::Exists | Test::DoesNotExist => None,
        });
        let (key, values) = equal.min_by_key(|(_, values)| values.len())?;
        Some(values.iter().map(|value| (key, value.as_str())).collect())
    }
}

// === impl Requirement ===

impl Requirement {
    /// A label or field that has one of these values.
    pub fn is_in(key: impl Into<String>, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { key: key.into(), test: Test::In(values.into_iter().map(Into::into).collect()) }
    }

    /// A label or field that has none of these values.
    pub fn is_not_in(key: impl Into<String>, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { key: key.into(), test: Test::NotIn(values.into_iter().map(Into::into).collect()) }
    }

    fn canonical(&self, prefix: &str) -> String {
        let key = format!("{prefix}{}", escape(&self.key));
        let listed = |values: &BTreeSet<String>| {
            let values: BTreeSet<String> = values.iter().map(|value| escape(value)).collect();
            values.into_iter().collect::<Vec<_>>().join(",")
        };
        match &self.test {
            Test::In(values) if values.len() == 1 => format!("{key}={}", listed(values)),
            Test::In(values) => format!("{key} in ({})", listed(values)),
            Test::NotIn(values) if values.len() == 1 => format!("{key}!={}", listed(values)),
            Test::NotIn(values) => format!("{key} notin ({})", listed(values)),
            Test::Exists => key,
            Test::DoesNotExist => format!("!{key}"),
        }
    }
}

// === impl Test ===

impl Test {
    /// Whether `found`, the value if there is one, passes.
    fn admits(&self, found: Option<&str>) -> bool {
        match self {
            Self::In(values) => found.is_some_and(|found| values.contains(found)),
            Self::NotIn(values) => !found.is_some_and(|found| values.contains(found)),
            Self::Exists => found.is_some(),
            Self::DoesNotExist => found.is_none(),
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
