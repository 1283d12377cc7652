//! The name of a proxy's resource: [`ResourceName`].

use std::fmt;
use std::str::FromStr;

use portreeve_xds::Name;

use super::{NotAReference, PlanName};
use crate::names;

/// The name of a listener, cluster or assignment in a proxy: `PLAN/PART`. The part may contain slashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName {
    text: Name,
    /// The length of the Plan's name in bytes.
    plan: usize,
}

// === impl ResourceName ===

impl ResourceName {
    /// Creates the name of a Plan's resource that its author calls `name`, see [`names::proxy_part`].
    pub fn new(plan: &PlanName, name: &str) -> Self {
        Self { text: Self::of(plan.as_name(), name), plan: plan.as_name().len() }
    }

    /// The Plan's name.
    pub fn plan(&self) -> &str {
        &self.text[..self.plan]
    }

    /// The name within the Plan, as returned by [`names::proxy_part`].
    pub fn part(&self) -> &str {
        &self.text[self.plan + 1..]
    }

    /// The name's text, as the proxy gets it.
    pub fn as_name(&self) -> &Name {
        &self.text
    }

    /// Like [`ResourceName::new`], from the text of a Plan's name.
    pub fn of(plan: &str, name: &str) -> Name {
        format!("{plan}/{}", names::proxy_part(name)).into()
    }

    /// Returns the prefix that the names of all resources of a Plan have, and no other name has.
    pub fn start_of(plan: &str) -> String {
        format!("{plan}/")
    }

    /// Returns whether a cluster's name is `LISTENER/CLUSTER` with this listener. Both names are those in the proxy.
    pub fn is_cluster_of(cluster: &str, listener: &str) -> bool {
        cluster.strip_prefix(listener).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Returns the Plan's name in the name of a proxy's resource, or the whole text if it isn't one.
    pub fn plan_of(text: &str) -> &str {
        Self::plan_in(text).unwrap_or(text)
    }

    /// Returns the Plan's name in the name of a proxy's resource, or `None` if the text isn't one.
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
    /// Returns an error if the text doesn't have this form.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Self::plan_in(text) {
            Some(plan) => Ok(Self { text: text.into(), plan: plan.len() }),
            None => {
                Err(NotAReference::new(text, "the name of a proxy's resource, as A/namespace/name/listener"))
            }
        }
    }
}
