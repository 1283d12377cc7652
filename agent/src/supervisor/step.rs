//! What to do next about one proxy: a pure function of what is wanted and what is there. Entry point: [`next`].

/// What is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    /// An attached keeper; whether it was told what is wanted or has it already.
    Attached { told: bool },
    /// A keeper that is not attached yet.
    Alive,
    /// A keeper that should have attached long ago: hung, or dialling another socket.
    Deaf,
    /// No keeper, and none may be started yet.
    Resting,
    /// No keeper.
    Nothing,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing to do, or nothing that could be done now.
    Wait,
    /// Tell the attached keeper what is wanted.
    Tell,
    /// End the keeper by a signal.
    Signal,
    /// Start a keeper.
    Spawn,
    /// Remove the directory, and then [`Self::Drop`].
    Remove,
    /// Take the proxy from the roster.
    Drop,
}

/// The next step; `run` is whether the proxy is to run ([`None`]: nobody said).
pub(super) fn next(run: Option<bool>, there: There) -> Step {
    match (run, there) {
        (None, There::Nothing | There::Resting) => Step::Drop,
        (None, _) | (_, There::Attached { told: true } | There::Alive) => Step::Wait,
        (Some(_), There::Attached { told: false }) => Step::Tell,
        // An Envoy that serves is not ended because its keeper is not heard.
        (Some(true), There::Deaf) => Step::Wait,
        (Some(false), There::Deaf) => Step::Signal,
        (Some(true), There::Nothing) => Step::Spawn,
        (Some(true), There::Resting) => Step::Wait,
        (Some(false), There::Nothing | There::Resting) => Step::Remove,
    }
}

#[cfg(test)]
mod tests {
    use super::There::{Alive, Attached, Deaf, Nothing, Resting};
    use super::{Step, next};

    #[test]
    fn every_wish_meets_everything_that_may_be_there() {
        for (run, there, expected) in [
            (Some(true), Attached { told: false }, Step::Tell),
            (Some(true), Attached { told: true }, Step::Wait),
            (Some(true), Alive, Step::Wait), // of an earlier agent: it attaches by itself
            (Some(true), Deaf, Step::Wait),
            (Some(true), Resting, Step::Wait),
            (Some(true), Nothing, Step::Spawn),
            (Some(false), Attached { told: false }, Step::Tell),
            (Some(false), Attached { told: true }, Step::Wait),
            (Some(false), Alive, Step::Wait),
            (Some(false), Deaf, Step::Signal),
            (Some(false), Resting, Step::Remove),
            (Some(false), Nothing, Step::Remove),
            (None, Attached { told: false }, Step::Wait),
            (None, Alive, Step::Wait),
            (None, Deaf, Step::Wait),
            (None, Nothing, Step::Drop), // its directory stays: it may be wanted yet
        ] {
            assert_eq!(next(run, there), expected, "{run:?} {there:?}");
        }
    }
}
