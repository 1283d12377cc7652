//! The wire form of [`Selector`].

use std::collections::BTreeSet;

use super::flaw::{self, Flaw};
use crate::plan as proto;
use crate::selector::{Requirement, Selector, Test};

// === impl Selector ===

impl TryFrom<proto::Selector> for Selector {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if a requirement's operator is unknown to this version or does not fit its values. Such a selector's
    /// matches can't be determined.
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

impl TryFrom<proto::Requirement> for Requirement {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if the operator is unknown to this version or does not fit the values.
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
