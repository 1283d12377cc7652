//! The questions that each object asked ([`Askers`]).

use std::collections::{BTreeSet, HashMap};

use portreeve_api::refs::ObjectRef;

use super::matches::Name;
use crate::lookup::Question;

/// The questions that each object asked when it was last resolved.
#[derive(Default)]
pub struct Askers {
    by_question: HashMap<Question, BTreeSet<ObjectRef>>,
    by_asker: HashMap<ObjectRef, BTreeSet<Question>>,
}

// === impl Askers ===

impl Askers {
    /// Replaces the questions of an object. Returns those that no object asks any more.
    pub fn set(&mut self, asker: &ObjectRef, asked: BTreeSet<Question>) -> Vec<Question> {
        let before = self.by_asker.remove(asker).unwrap_or_default();
        for new in asked.difference(&before) {
            self.by_question.entry(new.clone()).or_default().insert(asker.clone());
        }
        let dropped = before.difference(&asked).filter(|question| self.drop(question, asker));
        let dropped = dropped.cloned().collect();
        if !asked.is_empty() {
            self.by_asker.insert(asker.clone(), asked);
        }
        dropped
    }

    /// Returns the objects that asked any of these questions.
    pub fn of<'q>(&self, questions: impl IntoIterator<Item = &'q Question>) -> BTreeSet<ObjectRef> {
        let askers = questions.into_iter().filter_map(|question| self.by_question.get(question));
        askers.flatten().cloned().collect()
    }

    /// The Secrets, by namespace and name, that at least one object asks for.
    pub fn secrets(&self) -> BTreeSet<(Name, Name)> {
        let secret = |question: &Question| match question {
            Question::Secret(namespace, name) => Some((namespace.clone(), name.clone())),
            _ => None,
        };
        self.by_question.keys().filter_map(secret).collect()
    }

    /// Removes an asker from a question. Returns true if no other object asks the question.
    fn drop(&mut self, question: &Question, asker: &ObjectRef) -> bool {
        let Some(askers) = self.by_question.get_mut(question) else { return false };
        askers.remove(asker);
        let unasked = askers.is_empty();
        if unasked {
            self.by_question.remove(question);
        }
        unasked
    }
}
