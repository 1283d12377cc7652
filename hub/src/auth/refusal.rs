//! The reasons for refusing an agent: a message for the agent and a name for the metrics ([`Refusal`]).

use tonic::Status;

/// Maximum length of a text from the client that is quoted, in characters.
const LONGEST: usize = 120;

/// The reason why a stream is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request has no token.
    #[error("this hub needs a token: start the agent with --hub-token and an https:// address of the hub")]
    Missing,
    /// The token is not a ServiceAccount token.
    #[error("the token is not a ServiceAccount token: {0}")]
    Malformed(&'static str),
    /// The token has expired.
    #[error(
        "the token expired {0} s ago: the agent must read it again from the file that the kubelet renews"
    )]
    Expired(i64),
    /// The token isn't valid yet.
    #[error("the token is not valid for another {0} s: compare the clocks of hub and API server")]
    Early(i64),
    /// The token has another audience.
    #[error("the token is for the audience {has}, not for {wanted}: set the audience of the projected token")]
    Audience {
        /// The token's audiences.
        has: String,
        /// The hub's audience.
        wanted: &'static str,
    },
    /// The token belongs to another ServiceAccount.
    #[error("the token belongs to {is}, but agents use {wanted} (--agent-service-account)")]
    Account {
        /// The token's user.
        is: String,
        /// The agents' user.
        wanted: String,
    },
    /// The token isn't bound to a node.
    #[error("the token is not bound to a pod on a node: mount it as a projected volume")]
    Unbound,
    /// The token belongs to another node.
    #[error("the token belongs to node {token}, but the agent claims to be node {said}")]
    OtherNode {
        /// The node that the token is bound to.
        token: String,
        /// The node that the stream claims.
        said: String,
    },
    /// The signature is not the issuer's.
    #[error("the token's signature is wrong: {0}")]
    Forged(&'static str),
    /// The API server rejects the token.
    #[error("the API server rejects the token: {0}")]
    Rejected(String),
    /// The token can't be verified now.
    #[error("the token can't be verified now: {0}")]
    Unknown(String),
}

// === impl Refusal ===

impl Refusal {
    /// The name of the reason in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed(_) => "malformed",
            Self::Expired(_) => "expired",
            Self::Early(_) => "early",
            Self::Audience { .. } => "audience",
            Self::Account { .. } => "account",
            Self::Unbound => "unbound",
            Self::OtherNode { .. } => "other-node",
            Self::Forged(_) => "forged",
            Self::Rejected(_) => "rejected",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let words = refusal.to_string();
        match refusal {
            Refusal::OtherNode { .. } | Refusal::Account { .. } => Self::permission_denied(words),
            Refusal::Unknown(_) => Self::unavailable(words),
            _ => Self::unauthenticated(words),
        }
    }
}

/// Shortens a text from a client so that it fits into a log line and a header.
pub fn shortened(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { '?' } else { c });
    let mut short: String = printable.take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_agent_learns_the_code_and_both_names() {
        let status = Status::from(Refusal::OtherNode { token: "n1".into(), said: "n2".into() });
        assert_eq!(status.code(), tonic::Code::PermissionDenied);
        assert!(status.message().contains("n1") && status.message().contains("n2"));
        assert_eq!(Status::from(Refusal::Missing).code(), tonic::Code::Unauthenticated);
        assert_eq!(Status::from(Refusal::Unknown("x".into())).code(), tonic::Code::Unavailable);
    }

    #[test]
    fn strangers_text_is_bounded_and_stays_on_its_line() {
        assert_eq!(shortened("a\nb"), "a?b");
        assert_eq!(shortened(&"é".repeat(500)).chars().count(), LONGEST + 1);
    }
}
