//! The result of one probe: [`Outcome`].

/// The result of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The probe succeeded.
    Up,
    /// The probe failed, for this reason.
    Down(String),
    /// This host couldn't probe, for this reason. That says nothing about the endpoint.
    Hampered(String),
}
