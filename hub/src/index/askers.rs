//! The questions that each object asked ([`Askers`]).

use std::collections::{BTreeSet, HashMap};

use portreeve_api::refs::ObjectRef;

use super::matches::Name;
use crate::keyed_sets::KeyedSets;
use crate::lookup::{Question, WantedSecrets};

/// The questions that each object asked when it was last resolved.
#[derive(Default)]
pub struct Askers {
    by_question: KeyedSets<Question, ObjectRef>,
    by_asker: HashMap<ObjectRef, BTreeSet<Question>>,
    /// The Secrets among the questions.
    secrets: WantedSecrets,
    /// The number of requests for a Secret or a key so far.
    requests: u64,
}

// === impl Askers ===

impl Askers {
    /// Replaces the questions of an object. Returns the Secrets, by namespace and name, that are asked for anew or no
    /// longer, as a whole or one of their keys.
    pub fn set(&mut self, asker: &ObjectRef, asked: BTreeSet<Question>) -> BTreeSet<(Name, Name)> {
        let before = self.by_asker.remove(asker).unwrap_or_default();
        let mut secrets = BTreeSet::new();
        for new in asked.difference(&before) {
            if self.by_question.insert(new.clone(), asker.clone()) {
                secrets.extend(self.want_secret(new));
            }
        }
        for old in before.difference(&asked) {
            if self.by_question.remove(old, asker) {
                secrets.extend(self.drop_secret(old));
            }
        }
        if !asked.is_empty() {
            self.by_asker.insert(asker.clone(), asked);
        }
        secrets
    }

    /// Returns the objects that asked any of these questions.
    pub fn of<'q>(&self, questions: impl IntoIterator<Item = &'q Question>) -> BTreeSet<ObjectRef> {
        questions.into_iter().flat_map(|question| self.by_question.of(question)).cloned().collect()
    }

    /// Returns whether an object asked this question.
    pub fn asks(&self, question: &Question) -> bool {
        self.by_question.of(question).next().is_some()
    }

    /// The Secrets that objects ask for, each with the keys whose content they ask for.
    pub fn wanted_secrets(&self) -> &WantedSecrets {
        &self.secrets
    }

    /// Handles a question that no object asked before. Returns the Secret that it is about, if any.
    fn want_secret(&mut self, question: &Question) -> Option<(Name, Name)> {
        let (at, key) = secret_of(question)?;
        self.requests += 1;
        let wanted = self.secrets.entry(at.clone()).or_default();
        wanted.keys.extend(key.cloned());
        wanted.request = self.requests;
        Some(at)
    }

    /// Handles a question that no object asks any more. Returns the Secret that it is about, if any.
    fn drop_secret(&mut self, question: &Question) -> Option<(Name, Name)> {
        let (at, key) = secret_of(question)?;
        match (key, self.secrets.get_mut(&at)) {
            (Some(key), Some(wanted)) => {
                wanted.keys.remove(key);
            }
            (Some(_), None) => {}
            (None, _) => {
                self.secrets.remove(&at);
            }
        }
        Some(at)
    }
}

/// Returns the Secret that a question is about, and the key if it is about the content of one. Whoever asks for a key's
/// content also asks for the Secret.
fn secret_of(question: &Question) -> Option<((Name, Name), Option<&Name>)> {
    match question {
        Question::Secret(namespace, name) => Some(((namespace.clone(), name.clone()), None)),
        Question::SecretContent(namespace, name, key) => Some(((namespace.clone(), name.clone()), Some(key))),
        Question::Object(_)
        | Question::Listing(_)
        | Question::Namespace(_)
        | Question::Service(..)
        | Question::Several(_)
        | Question::Allocation(_) => None,
    }
}
