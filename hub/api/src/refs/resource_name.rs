//! Which of a proxy's resources is meant: [`ResourceName`].

use std::fmt;
use std::str::FromStr;

use portreeve_xds::Name;

use super::{NotAReference, PlanName};
use crate::names;

/// The name of a listener, cluster or assignment in a proxy: `PLAN/PART`. The part may hold slashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName {
    text: Name,
    /// The length of the Plan's name.
    plan: usize,
}

// === impl ResourceName ===

impl ResourceName {
    /// The name of what a user calls `name` within a Plan's object; see [`names::proxy_part`].
    pub fn new(plan: &PlanName, name: &str) -> Self {
        Self { text: Self::of(plan.as_name(), name), plan: plan.as_name().len() }
    }

    /// Its Plan's name.
    pub fn plan(&self) -> &str {
        &self.text[..self.plan]
    }

    /// Its name within the Plan, in the form that [`names::proxy_part`] gives.
    pub fn part(&self) -> &str {
        &self.text[self.plan + 1..]
    }

    /// Its text, as the proxy knows it.
    pub fn as_name(&self) -> &Name {
        &self.text
    }

    /// The name of what a user calls `name`, as [`ResourceName::new`] gives it, from the text of a Plan's name.
    pub fn of(plan: &str, name: &str) -> Name {
        format!("{plan}/{}", names::proxy_part(name)).into()
    }

    /// What the names of all resources of a Plan begin with, and no other name does.
    pub fn start_of(plan: &str) -> String {
        format!("{plan}/")
    }

    /// Whether a cluster's name is `LISTENER/CLUSTER` with this listener, by the names that the proxy knows.
    pub fn is_cluster_of(cluster: &str, listener: &str) -> bool {
        cluster.strip_prefix(listener).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The Plan's name in the name of a proxy's resource, or the whole text where it is no such name.
    pub fn plan_of(text: &str) -> &str {
        Self::plan_in(text).unwrap_or(text)
    }

    /// The Plan's name in the name of a proxy's resource. `None`: the text is no such name.
    pub fn plan_in(text: &str) -> Option<&str> {
        let end = PlanName::length(text)?;
        (end + 1 < text.len()).then(|| &text[..end])
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for ResourceName {
    type Err = NotAReference;

    /// # Errors
    /// The text has not this form.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Self::plan_in(text) {
            Some(plan) => Ok(Self { text: text.into(), plan: plan.len() }),
            None => {
                Err(NotAReference::new(text, "the name of a proxy's resource, as A/namespace/name/listener"))
            }
        }
    }
}
