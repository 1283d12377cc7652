//! The resources that a fleet's proxies accepted, including those accepted from an earlier agent process:
//! [`Memory`]. The handlers of ACKs and NACKs are here too.

use std::collections::BTreeSet;

use portreeve_api::refs::{ProxyId, ResourceName};
use portreeve_xds::{Name, Version, Versions};

use super::Fleet;
use super::accepted::{Accepted, Kept};
use super::ledger::Ledger;
use crate::translate::ProxyModel;

/// What to store for a Plan on a proxy; an empty list deletes the entry.
pub type Unsaved = (ProxyId, Name, Vec<Kept>);

/// The resources that a fleet's proxies accepted, independent of their kind.
pub trait Memory {
    /// Restores what a proxy accepted of a Plan from an earlier agent process. Returns `false` and restores
    /// nothing if a resource's type is unknown to this agent version.
    fn restore(&mut self, id: ProxyId, plan: Name, all: &[Kept]) -> bool;

    /// Returns whether any accepted resource of this proxy is recorded.
    fn remembers(&self, id: &ProxyId) -> bool;

    /// Returns the Plans of which a proxy accepted resources.
    fn plans_of(&self, id: &ProxyId) -> Vec<Name>;

    /// Returns the Plans of which any proxy accepted resources.
    fn plans(&self) -> BTreeSet<Name>;

    /// Forgets the proxies for which `keep` returns `false`.
    fn keep(&mut self, keep: &dyn Fn(&ProxyId) -> bool);

    /// Returns the entries that changed since the last call.
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
    /// Records ACKs of these versions. Returns the Plans to refresh.
    pub fn accept(&mut self, id: &ProxyId, ty: T, resources: &Versions) -> BTreeSet<Name> {
        let mut dirty = BTreeSet::new();
        let Some(ledger) = self.ledgers.get_mut(id) else { return dirty };
        for (name, version) in resources.iter() {
            let (plan, key) = (ResourceName::plan_of(name), (ty, name.clone()));
            if ledger.accept(plan, &key, version) {
                self.unsaved.insert((id.clone(), plan.into()));
            }
            if ledger.take_put_off(&key, version) {
                dirty.insert(Name::from(plan));
            }
        }
        dirty
    }

    /// Records transient rejections of these listener versions. They are sent again. Until then, the versions
    /// that the proxy runs keep their endpoints. Returns the Plans to refresh.
    pub fn put_off(&mut self, id: &ProxyId, ty: T, resources: &[(Name, Version)]) -> BTreeSet<Name> {
        let mut dirty = BTreeSet::new();
        let Some(ledger) = self.ledgers.get_mut(id).filter(|_| ty == T::LISTENER) else { return dirty };
        for (name, version) in resources {
            ledger.put_off((ty, name.clone()), *version);
            dirty.insert(ResourceName::plan_of(name).into());
        }
        dirty
    }

    /// Records rejections of these versions' content, with the proxy's error message `text`. The last
    /// accepted versions are served until the translation changes. Returns the Plans to refresh.
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

    /// Returns whether a proxy runs an earlier version of a resource because it rejected the newest.
    pub fn is_refused(&self, id: &ProxyId, ty: T, name: &Name) -> bool {
        self.ledgers.get(id).is_some_and(|ledger| ledger.refused(&(ty, name.clone())))
    }

    /// Handles a restart of a proxy, which then has no resources: it gets this agent's translations, and its
    /// earlier ACKs and NACKs are forgotten.
    pub fn restart(&mut self, id: &ProxyId) {
        self.answers.remove(id);
        if let Some(ledger) = self.ledgers.get_mut(id) {
            ledger.unpin();
        }
    }
}
