//! Why an agent is not let in, in words for the agent and a reason for the tally ([`Refusal`]).

use tonic::Status;

/// The longest part of a refusal that a stranger chose, characters.
const LONGEST: usize = 120;

/// Why a stream is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no token.
    #[error("this hub needs a token: start the agent with --hub-token and an https:// address of the hub")]
    Missing,
    /// It is no ServiceAccount token at all.
    #[error("the token is no ServiceAccount token: {0}")]
    Malformed(&'static str),
    /// Its time is over.
    #[error("the token expired {0} s ago: the agent must read it anew from the file that the kubelet keeps")]
    Expired(i64),
    /// Its time has not come.
    #[error("the token is not valid for another {0} s: compare the clocks of hub and API server")]
    Early(i64),
    /// It is for somebody else.
    #[error("the token is for the audience {has}, not for {wanted}: set the audience of the projected token")]
    Audience {
        /// Its audiences.
        has: String,
        /// The hub's.
        wanted: &'static str,
    },
    /// It is of another account.
    #[error("the token is of {is}, agents are {wanted} (--agent-service-account)")]
    Account {
        /// Whose it is.
        is: String,
        /// The agents'.
        wanted: String,
    },
    /// It does not say on which node it is used.
    #[error("the token is not bound to a pod on a node: mount it as a projected volume")]
    Unbound,
    /// It is another node's.
    #[error("the token is of node {token}, the agent says that it is node {said}")]
    OtherNode {
        /// The node that the token is bound to.
        token: String,
        /// The node that the stream claims.
        said: String,
    },
    /// The signature is not the issuer's.
    #[error("the token's signature is wrong: {0}")]
    Forged(&'static str),
    /// The API server does not accept it.
    #[error("the API server refuses the token: {0}")]
    Rejected(String),
    /// Nobody can say.
    #[error("the token can't be checked now: {0}")]
    Unknown(String),
}

// === impl Refusal ===

impl Refusal {
    /// The tally's name for it.
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

/// A stranger's text, fit for a log line and a header.
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
