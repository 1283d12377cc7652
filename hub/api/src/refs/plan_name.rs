//! The name of a Plan: [`PlanName`].

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use portreeve_xds::Name;

use super::{NotAReference, ObjectRef};
use crate::kind::Api;
use crate::plan;

/// A Plan's name: the text form of the object that the Plan was made from, see [`ObjectRef`].
///
/// Parsing only checks the form `API/[KIND/]NAMESPACE/NAME`, where a kind begins with a capital letter, and not whether
/// the kind is known: an agent also serves Plans of kinds that only a newer hub knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanName(Name);

// === impl PlanName ===

impl PlanName {
    /// Returns the name of the Plan made from this object. Names of API A omit the kind.
    pub(crate) fn of([api, kind, namespace, name]: [&str; 4]) -> Self {
        let text = match api == Api::A.letter() {
            true => format!("{api}/{namespace}/{name}"),
            false => format!("{api}/{kind}/{namespace}/{name}"),
        };
        Self(text.into())
    }

    /// Returns the length of the Plan's name at the beginning of a text: the name of a Plan, or of a proxy's resource.
    /// `None` for any other text.
    pub(super) fn length(text: &str) -> Option<usize> {
        let mut slashes = text.match_indices('/').map(|(at, _)| at);
        let api = slashes.next()?;
        let kind = text[api + 1..].starts_with(|first: char| first.is_ascii_uppercase());
        let namespace = if kind { slashes.next()? } else { api };
        let name = slashes.next()?;
        let end = slashes.next().unwrap_or(text.len());
        let ends = [api, namespace, name, end];
        let whole = api > 0 && ends[1..].windows(2).all(|pair| pair[1] > pair[0] + 1);
        whole.then_some(end)
    }

    /// The name's text, which is also the name of the Plan resource.
    pub fn as_name(&self) -> &Name {
        &self.0
    }
}

impl From<&plan::Origin> for PlanName {
    /// Returns the name of the Plan made from this object. Names of API A omit the kind.
    fn from(origin: &plan::Origin) -> Self {
        let plan::Origin { api, kind, namespace, name, .. } = origin;
        Self::of([api, kind, namespace, name])
    }
}

impl From<&ObjectRef> for PlanName {
    fn from(object: &ObjectRef) -> Self {
        Self(object.to_string().into())
    }
}

impl Borrow<str> for PlanName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PlanName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PlanName {
    type Err = NotAReference;

    /// # Errors
    /// Returns an error if the text doesn't have this form.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Self::length(text) {
            Some(length) if length == text.len() => Ok(Self(text.into())),
            _ => Err(NotAReference::new(text, "a Plan's name, as A/namespace/name")),
        }
    }
}
