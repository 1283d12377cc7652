//! What is said of an object's way to its proxies: `Programmed` and `Healthy`, from what the agents of all its nodes
//! reported. Pure; the clock is passed in. Entry point: [`Subject::said`]; when it is written: [`Board`].

mod board;
mod contributions;
mod healthy;
mod programmed;
mod running;
#[cfg(test)]
mod tests;
mod word;

use std::time::Duration;

use portreeve_api::conditions::{self, ConditionType, Reason, Status};

use crate::subject::{Of, Subject};

pub use board::Board;
pub use contributions::Parts;
pub use word::{PATIENCE, Word};

/// What an object's conditions are to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// The conditions.
    pub conditions: Vec<conditions::Verdict>,
    /// Proxies have yet to answer: another word is sure to come.
    pub pending: bool,
    /// Of a NodeProxy: its nodes, and those of them on which it runs.
    pub nodes: Option<(usize, usize)>,
    /// What other objects contribute. No kind has a place for it yet.
    pub parts: Parts,
}

// === impl Subject ===

impl Subject {
    /// All conditions. `waited` is how long the present version has been served, or the nodes have been as they are.
    pub fn said(&self, words: &[Word], waited: Duration) -> Said {
        let mut conditions = crate::conditions::said(&self.verdict);
        if self.of == Of::Part {
            return Said { conditions, ..Said::default() };
        }
        let Some(served) = &self.served else {
            conditions.push(programmed::nothing_served(&self.verdict));
            return Said { conditions, ..Said::default() };
        };
        if self.of == Of::NodeProxy {
            conditions.retain(|one| one.type_ != ConditionType::ResolvedRefs);
            let (runs, ready) = running::running(served, words, waited);
            let pending = runs.reason == Reason::Pending;
            conditions.push(runs);
            let nodes = Some((served.nodes.len(), ready));
            return Said { conditions, pending, nodes, ..Said::default() };
        }
        let programmed = programmed::programmed(served, words, waited);
        let pending = programmed.reason == Reason::Pending;
        let unresolved = conditions.iter().find(|one| one.type_ == ConditionType::ResolvedRefs);
        let unresolved = unresolved.filter(|one| one.status == Status::False).map(|one| one.message.clone());
        conditions.push(programmed);
        conditions.extend(healthy::healthy(served, words, unresolved));
        Said { conditions, pending, ..Said::default() }
    }
}

// === impl Said ===

impl Said {
    /// The generation that all proxies have, if they have one.
    pub fn programmed(&self) -> Option<i64> {
        let found = self.conditions.iter().find(|one| one.type_ == ConditionType::Programmed)?;
        found.generation.filter(|_| found.status == Status::True)
    }
}

/// Whether proxies still run something of a Plan that was withdrawn and can be waited for.
pub fn lingers(words: &[Word]) -> bool {
    words.iter().any(|word| word.reachable && word.status.wanted > word.status.unreachable)
}
