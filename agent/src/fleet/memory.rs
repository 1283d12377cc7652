//! What the proxies of a fleet accepted, in the life of an earlier agent too: [`Memory`]. What follows when they accept and
//! refuse is here too.

use std::collections::BTreeSet;

use portreeve_api::refs::{ProxyId, ResourceName};
use portreeve_xds::{Name, Version};

use super::Fleet;
use super::accepted::{Accepted, Kept};
use super::ledger::Ledger;
use crate::translate::ProxyModel;

/// What is to be kept of a Plan on a proxy; empty: nothing any more.
pub type Unsaved = (ProxyId, Name, Vec<Kept>);

/// What the proxies of a fleet accepted, whatever their kind.
pub trait Memory {
    /// Takes in what a proxy accepted of a Plan in an earlier agent's life. Returns `false`, and takes nothing, if there is a
    /// resource of a type that this version of the agent does not know.
    fn restore(&mut self, id: ProxyId, plan: Name, all: &[Kept]) -> bool;

    /// Whether anything is known of what a proxy accepted.
    fn remembers(&self, id: &ProxyId) -> bool;

    /// The Plans that a proxy accepted something of.
    fn plans_of(&self, id: &ProxyId) -> Vec<Name>;

    /// The Plans that any proxy accepted something of.
    fn plans(&self) -> BTreeSet<Name>;

    /// Forgets what all other proxies accepted.
    fn keep(&mut self, keep: &dyn Fn(&ProxyId) -> bool);

    /// Takes what is to be kept otherwise than at the last call.
    fn take_unsaved(&mut self) -> Vec<Unsaved>;
}

impl<T: ProxyModel> Memory for Fleet<T> {
    fn restore(&mut self, id: ProxyId, plan: Name, all: &[Kept]) -> bool {
        let Some(all) = all.iter().map(Accepted::of_kept).collect() else { return false };
        self.ledgers.entry(id).or_default().restore(plan, all);
        true
    }

    fn remembers(&self, id: &ProxyId) -> bool {
        self.ledgers.contains_key(id)
    }

    fn plans_of(&self, id: &ProxyId) -> Vec<Name> {
        self.ledgers.get(id).into_iter().flat_map(Ledger::plans).cloned().collect()
    }

    fn plans(&self) -> BTreeSet<Name> {
        self.ledgers.values().flat_map(Ledger::plans).cloned().collect()
    }

    fn keep(&mut self, keep: &dyn Fn(&ProxyId) -> bool) {
        for (id, ledger) in self.ledgers.extract_if(.., |id, _| !keep(id)) {
            self.unsaved.extend(ledger.plans().map(|plan| (id.clone(), plan.clone())));
        }
    }

    fn take_unsaved(&mut self) -> Vec<Unsaved> {
        let unsaved = std::mem::take(&mut self.unsaved);
        let taken = unsaved.into_iter().map(|(id, plan)| {
            let all = self.ledgers.get(&id).map(|ledger| ledger.kept(&plan)).unwrap_or_default();
            (id, plan, all)
        });
        taken.collect()
    }
}

// === impl Fleet ===

impl<T: ProxyModel> Fleet<T> {
    /// A proxy accepted these versions. Returns the Plans that are to be brought up to date.
    pub fn accept(&mut self, id: &ProxyId, ty: T, resources: &[(Name, Version)]) -> BTreeSet<Name> {
        let mut dirty = BTreeSet::new();
        let Some(ledger) = self.ledgers.get_mut(id) else { return dirty };
        for (name, version) in resources {
            let (plan, key) = (ResourceName::plan_of(name), (ty, name.clone()));
            if ledger.accept(plan, &key, *version) {
                self.unsaved.insert((id.clone(), plan.into()));
            }
            if ledger.take_put_off(&key, *version) {
                dirty.insert(Name::from(plan));
            }
        }
        dirty
    }

    /// A proxy refused these versions of listeners for a cause that may pass: they are tried again, and until then the
    /// versions that it runs lead to the endpoints that they had. Returns the Plans that are to be brought up to date.
    pub fn put_off(&mut self, id: &ProxyId, ty: T, resources: &[(Name, Version)]) -> BTreeSet<Name> {
        let mut dirty = BTreeSet::new();
        let Some(ledger) = self.ledgers.get_mut(id).filter(|_| ty == T::LISTENER) else { return dirty };
        for (name, version) in resources {
            ledger.put_off((ty, name.clone()), *version);
            dirty.insert(ResourceName::plan_of(name).into());
        }
        dirty
    }

    /// A proxy refused these versions for what is in them: what it last accepted takes their place, until the
    /// translation is another. `text` are its words. Returns the Plans that are to be brought up to date.
    pub fn refuse(
        &mut self,
        id: &ProxyId,
        ty: T,
        resources: &[(Name, Version)],
        text: &str,
    ) -> BTreeSet<Name> {
        let mut dirty = BTreeSet::new();
        let Some(ledger) = self.ledgers.get_mut(id).filter(|_| ty != T::ASSIGNMENT) else { return dirty };
        for (name, version) in resources {
            let plan = ResourceName::plan_of(name);
            ledger.refuse(plan, &(ty, name.clone()), *version, text);
            self.unsaved.insert((id.clone(), plan.into()));
            dirty.insert(plan.into());
        }
        dirty
    }

    /// Whether a proxy runs on an earlier version of a resource because it refused the present one.
    pub fn is_refused(&self, id: &ProxyId, ty: T, name: &Name) -> bool {
        self.ledgers.get(id).is_some_and(|ledger| ledger.refused(&(ty, name.clone())))
    }

    /// A proxy started anew and has nothing: it gets what this agent makes. What it said before is forgotten.
    pub fn restart(&mut self, id: &ProxyId) {
        self.answers.remove(id);
        if let Some(ledger) = self.ledgers.get_mut(id) {
            ledger.unpin();
        }
    }
}
