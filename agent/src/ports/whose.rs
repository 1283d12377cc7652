//! Whose a socket is, as far as is known: [`Whose`].

/// Whose a socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whose {
    /// One of this node's proxies has it.
    Ours,
    /// No process that can be seen has it, or no proxy can open the port beside it, which Envoy says itself.
    Unknown,
    /// This process was found to have it, and `certain`: also at a second look. A proxy whose keeper was just killed has
    /// no keeper for the moment of its end.
    Stranger { who: String, certain: bool },
    /// The agent can't read who has it, and it is not known from the keepers. `guess`: they were not asked yet.
    Unread { guess: bool },
}

// === impl Whose ===

impl Whose {
    /// Whether later looks find out no more.
    pub(super) fn is_settled(&self) -> bool {
        match self {
            Self::Ours | Self::Unknown => true,
            Self::Stranger { certain, .. } => *certain,
            Self::Unread { .. } => false,
        }
    }
}
