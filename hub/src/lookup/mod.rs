//! A resolver's access to the known facts ([`Lookup`]). Every question is recorded, even if it has no answer, so that
//! exactly the objects that asked are resolved again when an answer changes.

mod answers;
mod question;
mod secret;

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ServiceSpec;
use portreeve_api::kind::Kind;
use portreeve_api::refs::ObjectRef;
use portreeve_xds::Name;

use crate::selection::{Selection, SelectorScope};
use crate::settings::Settings;

pub use answers::{Answers, Fact};
pub use question::{FoundBy, Labels, Listing, Question};
pub use secret::{SecretBytes, SecretFacts, WantedSecret, WantedSecrets};

use secret::KnownSecret;

/// The lookups of one resolver on behalf of one object.
pub struct Lookup<'a> {
    answers: &'a Answers,
    settings: &'a Settings,
    asked: BTreeSet<Question>,
    unknown: Option<String>,
}

/// The questions that a resolver asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The questions.
    pub asked: BTreeSet<Question>,
    /// A text that names a fact which exists but is not known yet. A result without that fact must not be served.
    pub unknown: Option<String>,
}

// === impl Lookup ===

impl<'a> Lookup<'a> {
    /// Creates a lookup in these answers, for an object of a hub with these settings.
    pub fn new(answers: &'a Answers, settings: &'a Settings) -> Self {
        Self { answers, settings, asked: BTreeSet::new(), unknown: None }
    }

    /// Where the selectors of namespaced objects look.
    pub fn scope(&self) -> SelectorScope {
        self.settings.selector_scope
    }

    /// The annotation by which pods join clusters.
    pub fn cluster_name_annotation(&self) -> &'a str {
        &self.settings.cluster_name_annotation
    }

    /// Returns the last acceptable version of an object. `None` if there is no such object, or if it is not of type `T`.
    pub fn object<T: Any>(&mut self, reference: &ObjectRef) -> Option<&'a T> {
        self.ask(Question::Object(reference.clone()));
        if self.answers.is_unreadable(reference) {
            self.miss(format!("{} has no acceptable version", reference.title()));
        }
        self.answers.object(reference)?.downcast_ref()
    }

    /// Returns the objects of a kind that have a value in a field, ordered by reference. Objects without an acceptable
    /// version are left out.
    pub fn listed<T: Any>(
        &mut self,
        kind: &'static Kind,
        field: &'static str,
        value: impl Into<Name>,
    ) -> Vec<(&'a ObjectRef, &'a T)> {
        let listing = Listing { kind, field, value: value.into() };
        let found = self.answers.listed(&listing);
        let found =
            found.filter_map(|(reference, object)| Some((reference, object.downcast_ref()?))).collect();
        self.ask(Question::Listing(listing));
        found
    }

    /// Returns the labels of a namespace. `None` if there is no such namespace.
    pub fn namespace(&mut self, name: &Name) -> Option<&'a Labels> {
        self.ask(Question::Namespace(name.clone()));
        self.answers.namespace(name)
    }

    /// Returns a Service. `None` if there is no such Service.
    pub fn service(&mut self, namespace: &Name, name: &Name) -> Option<&'a ServiceSpec> {
        self.ask(Question::Service(namespace.clone(), name.clone()));
        self.answers.service(namespace, name).map(Arc::as_ref)
    }

    /// Returns whether a selection matches several pods with l7mp proxies.
    pub fn several(&mut self, selection: &Selection) -> bool {
        let name = selection.name();
        self.ask(Question::Several(name.clone()));
        self.answers.several(&name)
    }

    /// Returns why an object didn't get the ids and addresses that it lacks. `None`: nothing is known to be wrong.
    pub fn unallocated(&mut self, object: &ObjectRef) -> Option<&'a str> {
        self.ask(Question::Allocation(object.clone()));
        self.answers.unallocated(object)
    }

    /// Returns the facts about a Secret, without its content. `None` if there is no such Secret, or if it could not be read
    /// so far; the latter is recorded in [`Record::unknown`].
    pub fn secret(&mut self, namespace: &Name, name: &Name) -> Option<&'a SecretFacts> {
        self.known_secret(namespace, name)?.facts()
    }

    /// Returns the content of a key of a Secret. `None` if the Secret lacks the key, or if the content could not be read so
    /// far; the latter is recorded in [`Record::unknown`].
    pub fn secret_content(&mut self, namespace: &Name, name: &Name, key: &str) -> Option<&'a SecretBytes> {
        self.ask(Question::SecretContent(namespace.clone(), name.clone(), key.into()));
        let facts = self.known_secret(namespace, name)?.facts()?;
        let content = facts.content(key);
        if content.is_none() && facts.keys.contains_key(key) {
            self.miss(format!("key {key} of Secret {namespace}/{name} was not read yet"));
        }
        content
    }

    fn known_secret(&mut self, namespace: &Name, name: &Name) -> Option<&'a KnownSecret> {
        self.ask(Question::Secret(namespace.clone(), name.clone()));
        let known = self.answers.secret(namespace, name);
        let doubt = known.map_or_else(
            || KnownSecret::default().doubt(namespace, name),
            |known| known.doubt(namespace, name),
        );
        doubt.into_iter().for_each(|why| self.miss(why));
        known
    }

    /// Returns the recorded questions.
    pub fn record(self) -> Record {
        Record { asked: self.asked, unknown: self.unknown }
    }

    fn ask(&mut self, question: Question) {
        self.asked.insert(question);
    }

    fn miss(&mut self, what: String) {
        self.unknown.get_or_insert(what);
    }
}
