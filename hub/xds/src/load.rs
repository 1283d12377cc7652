//! How much a peer makes a server remember ([`Load`]).

/// Names that a peer makes the server remember.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Number of names. A name counts once for each type.
    pub names: usize,
    /// Their total length, bytes.
    pub bytes: usize,
}

// === impl Load ===

impl Load {
    /// Returns the load of these names.
    pub(crate) fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().fold(Self::default(), |load, name| load.plus(Self { names: 1, bytes: name.len() }))
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { names: self.names.saturating_add(other.names), bytes: self.bytes.saturating_add(other.bytes) }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self { names: self.names.saturating_sub(other.names), bytes: self.bytes.saturating_sub(other.bytes) }
    }
}
