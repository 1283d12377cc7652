//! Why a listener or a cluster's TLS was not built: [`Unbuilt`].

/// Why something was not built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unbuilt {
    /// A group or secret is not known yet.
    Waiting,
    /// A setting is invalid or not supported, with a message for users.
    Refused(String),
}

// === impl Unbuilt ===

impl From<String> for Unbuilt {
    fn from(text: String) -> Self {
        Self::Refused(text)
    }
}

impl From<&str> for Unbuilt {
    fn from(text: &str) -> Self {
        Self::Refused(text.into())
    }
}
