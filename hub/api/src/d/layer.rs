//! The protocol of a listener of API D: [`Layer`].

/// The schema's pattern for the fields `layer` and `lbpolicy`.
pub(super) const PATTERN: &str = "^(tcp|http)?$";

/// The rule of the fields `layer` and `lbpolicy`.
pub(super) const RULE: &str = "must be tcp or http";

/// What a listener carries (`layer` of an IngressListener, `lbpolicy` of an EgressListener).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// TCP connections; also for an empty or missing field.
    Tcp,
    /// HTTP.
    Http,
    /// A value that only objects from before the schema can have. As in the replaced control plane it means TCP.
    Other(String),
}

// === impl Layer ===

impl Layer {
    pub(super) fn read(field: Option<&str>) -> Self {
        match field.unwrap_or_default() {
            "" | "tcp" => Self::Tcp,
            "http" => Self::Http,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Returns whether HTTP is carried.
    pub fn is_http(&self) -> bool {
        *self == Self::Http
    }
}
