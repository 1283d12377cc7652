//! The owner of a socket, as far as it is known: [`Whose`].

/// The owner of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whose {
    /// A proxy of this node.
    Ours,
    /// Either no visible process holds it, or no proxy can open the same port, which Envoy reports itself.
    Unknown,
    /// This process holds it. `certain`: a second check found the same. A proxy whose keeper was just killed has no
    /// keeper until it ends.
    Stranger { who: String, certain: bool },
    /// The agent can't read who holds it, and the keepers haven't told. `guess`: they weren't asked yet.
    Unread { guess: bool },
}

// === impl Whose ===

impl Whose {
    /// Returns whether later checks can't find out more.
    pub(super) fn is_settled(&self) -> bool {
        match self {
            Self::Ours | Self::Unknown => true,
            Self::Stranger { certain, .. } => *certain,
            Self::Unread { .. } => false,
        }
    }
}
