//! The name of a cluster within its object: [`ClusterPath`].

use std::fmt;
use std::str::FromStr;

use super::NotAReference;

/// A cluster's name within its object, `LISTENER/CLUSTER`. Clusters of different listeners may have the same name. The
/// name doesn't depend on other listeners, so editing them never renames this cluster. A slash in the listener's name
/// is escaped, so the form is unique.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterPath {
    /// The listener's name, as the user wrote it.
    pub listener: String,
    /// The cluster's name, as the user wrote it.
    pub cluster: String,
}

// === impl ClusterPath ===

impl ClusterPath {
    /// Creates the path of a listener's cluster.
    pub fn new(listener: &str, cluster: &str) -> Self {
        Self { listener: listener.to_owned(), cluster: cluster.to_owned() }
    }
}

impl fmt::Display for ClusterPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.listener.replace('%', "%25").replace('/', "%2F"), self.cluster)
    }
}

impl FromStr for ClusterPath {
    type Err = NotAReference;

    /// # Errors
    /// Returns an error if the text has no slash, or if the part before it has an escape other than that of a slash or
    /// a percent sign.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotAReference::new(text, "a cluster's name within its object, as listener/cluster");
        let (escaped, cluster) = text.split_once('/').ok_or_else(wrong)?;
        let listener = escaped.replace("%2F", "/").replace("%25", "%");
        let path = Self { listener, cluster: cluster.to_owned() };
        // Other escapes are rejected: they have no inverse.
        if path.to_string() == text { Ok(path) } else { Err(wrong()) }
    }
}
