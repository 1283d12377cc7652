//! The place of a name's entry in a stream's state ([`Place`]).

/// The place of a name's entry in a stream's array of entries.
///
/// It is valid while the entry exists. Places are reused; the round tells a later entry in the same place apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Index into the array.
    pub(crate) at: u32,
    /// How often the place was given up before this entry.
    pub(crate) round: u32,
}
