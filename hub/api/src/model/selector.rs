//! [`Selector`]: requirements on labels and fields. All of them are ANDed and mean what they mean in Kubernetes (`In`,
//! `NotIn`, `Exists`, `DoesNotExist`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::flaw::{self, Flaw};
use crate::plan as proto;

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

// === impl Selector ===

impl Selector {
    /// Whether `labels` meet every label requirement. Field requirements are not looked at, see [`Self::matches_fields`].
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let admits = |one: &Requirement| one.test.admits(labels.get(&one.key).map(String::as_str));
        self.labels.iter().all(admits)
    }

    /// Whether the object's fields meet every field requirement; `field` gives the text at a dotted path, `None` where the
    /// object has nothing.
    pub fn matches_fields(&self, field: impl Fn(&str) -> Option<String>) -> bool {
        self.fields.iter().all(|one| one.test.admits(field(&one.key).as_deref()))
    }

    /// Whether there is no requirement at all: everything matches.
    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// A text that is equal for selectors of equal meaning up to the order of requirements and values, and different for
    /// others: `k=v,k2=v2`, `k in (a,b)`, `k!=v`, `k notin (a,b)`, `k`, `!k`, fields as `field:path=v`, and `*` for everything.
    /// Characters outside of `A-Za-z0-9._/-` are written as `%XX`, so no value can imitate another requirement.
    pub fn canonical(&self) -> String {
        if self.is_everything() {
            return "*".to_owned();
        }
        let labels = self.labels.iter().map(|requirement| requirement.canonical(""));
        let fields = self.fields.iter().map(|requirement| requirement.canonical("field:"));
        let parts: BTreeSet<String> = labels.chain(fields).collect();
        parts.into_iter().collect::<Vec<_>>().join(",")
    }

    /// The pairs to look up in an index of label pairs: whatever matches carries at least one of them. They are those of the
    /// `In` requirement with the fewest values. `None`: no requirement names a value, so everything must be looked at.
    /// An empty list: nothing can match.
    pub fn first_pairs(&self) -> Option<Vec<(&str, &str)>> {
        let equal = self.labels.iter().filter_map(|one| match &one.test {
            Test::In(values) => Some((one.key.as_str(), values)),
            Test::NotIn(_) | Test::Exists | Test::DoesNotExist => None,
        });
        let (key, values) = equal.min_by_key(|(_, values)| values.len())?;
        Some(values.iter().map(|value| (key, value.as_str())).collect())
    }
}

impl TryFrom<proto::Selector> for Selector {
    type Error = Flaw;

    /// # Errors
    /// A requirement whose operator is not known to this version or does not fit its values: it could not be told what
    /// matches.
    fn try_from(message: proto::Selector) -> Result<Self, Flaw> {
        let proto::Selector { labels, fields } = message;
        let of = |list: &str, all: Vec<proto::Requirement>| {
            let one = |message: proto::Requirement| {
                let of = format!("{list}[{}]", message.key);
                Requirement::try_from(message).map_err(|flaw| flaw.under(&of))
            };
            all.into_iter().map(one).collect::<Result<_, _>>()
        };
        Ok(Self { labels: of("labels", labels)?, fields: of("fields", fields)? })
    }
}

impl From<&Selector> for proto::Selector {
    fn from(selector: &Selector) -> Self {
        let Selector { labels, fields } = selector;
        Self { labels: flaw::written(labels), fields: flaw::written(fields) }
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

impl TryFrom<proto::Requirement> for Requirement {
    type Error = Flaw;

    /// # Errors
    /// The operator is not known to this version, or does not fit the values.
    fn try_from(message: proto::Requirement) -> Result<Self, Flaw> {
        use proto::Operator;
        let proto::Requirement { key, operator, values } = message;
        let values: BTreeSet<String> = values.into_iter().collect();
        let test = match (Operator::try_from(operator), values.is_empty()) {
            (Ok(Operator::In), false) => Test::In(values),
            (Ok(Operator::NotIn), false) => Test::NotIn(values),
            (Ok(Operator::Exists), true) => Test::Exists,
            (Ok(Operator::DoesNotExist), true) => Test::DoesNotExist,
            (Ok(Operator::In | Operator::NotIn), true) => {
                return Err(Flaw::new("values", "are missing: the operator needs some"));
            }
            (Ok(Operator::Exists | Operator::DoesNotExist), false) => {
                return Err(Flaw::new("values", "are there: the operator takes none"));
            }
            (Ok(Operator::Unspecified) | Err(_), _) => return Err(Flaw::unknown("operator", operator)),
        };
        Ok(Self { key, test })
    }
}

impl From<&Requirement> for proto::Requirement {
    fn from(requirement: &Requirement) -> Self {
        use proto::Operator;
        let (operator, values) = match &requirement.test {
            Test::In(values) => (Operator::In, values.iter().cloned().collect()),
            Test::NotIn(values) => (Operator::NotIn, values.iter().cloned().collect()),
            Test::Exists => (Operator::Exists, Vec::new()),
            Test::DoesNotExist => (Operator::DoesNotExist, Vec::new()),
        };
        Self { key: requirement.key.clone(), operator: operator.into(), values }
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
