//! Updates the resources of a fleet's proxies after a change of the world.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portreeve_api::PlanType;
use portreeve_api::model::Plan;
use portreeve_api::refs::{ProxyId, ResourceName};
use portreeve_xds::{Changes, Name, Resource};

use super::Fleet;
use super::contribution::{Contribution, Findings};
use super::facts::Facts;
use super::inputs::Inputs;
use super::surroundings::{Fault, Surroundings};
use crate::claims::Owner;
use crate::claims::strangers::{Taken, held_back};
use crate::translate::{Lookup, ProxyModel, Request, qualified};

/// A Plan on a proxy that takes it.
struct Part<'a> {
    id: &'a ProxyId,
    name: &'a Name,
    facts: &'a Facts,
    plan: &'a Plan,
}

/// The changes of one proxy's view.
struct Update<T> {
    changes: Changes<T>,
    /// The set of withheld names changed.
    withheld: bool,
}

impl<T> Default for Update<T> {
    fn default() -> Self {
        Self { changes: Changes::default(), withheld: false }
    }
}

// === impl Fleet ===

impl<T: ProxyModel> Fleet<T> {
    /// See [`super::Roster::refresh`].
    pub(super) fn bring_up_to_date(
        &mut self,
        dirty: BTreeSet<(ProxyId, Name)>,
        around: &mut Surroundings<'_>,
    ) {
        let mut all: BTreeMap<ProxyId, Update<T>> = BTreeMap::new();
        for (id, plan) in dirty {
            let update = all.entry(id.clone()).or_default();
            self.refresh_one((&id, &plan), update, around);
        }
        for (id, update) in all {
            let Some(proxy) = self.proxies.get(&id) else { continue };
            proxy.view.apply(update.changes);
            if update.withheld {
                proxy.withhold();
            }
        }
        self.clear_refusals();
    }

    fn refresh_one(
        &mut self,
        (id, name): (&ProxyId, &Name),
        update: &mut Update<T>,
        around: &mut Surroundings<'_>,
    ) {
        self.translated += 1;
        let Some(proxy) = self.proxies.get_mut(id) else { return };
        let before = proxy.plans.remove(name).unwrap_or_default();
        let facts = proxy.facts.clone();
        let now = match around.plans.get(name) {
            Some(plan) if facts.takes(plan) => {
                self.contribution(&Part { id, name, facts: &facts, plan }, &before, around)
            }
            None if !around.heard || around.refused.contains_key(&(PlanType::Plan, name.clone())) => {
                self.last_accepted(id, name)
            }
            _ => {
                self.forget(id, name);
                Contribution::default()
            }
        };
        let gone = before.missing_in(&now);
        if !around.routers.is_empty() {
            let new = now.missing_in(&before);
            let clusters = gone.iter().chain(&new).filter(|(ty, _)| *ty == T::CLUSTER);
            let routers = clusters.filter_map(|(_, cluster)| around.routers.get(cluster));
            around.touched.extend(routers.flatten().cloned());
        }
        update.changes.remove.extend(gone);
        update.changes.upsert.extend(now.new_since(&before));
        update.withheld |= before.withheld != now.withheld;
        for (listener, text) in now.findings.faults().difference(&before.findings.faults()) {
            let (proxy, listener) = (facts.title.clone(), ResourceName::of(name, listener));
            around.news.push(Fault { proxy, listener, text: text.clone() });
        }
        if !before.is_empty() || !now.is_empty() {
            around.touched.insert(name.clone());
        }
        if let (false, Some(proxy)) = (now.is_empty(), self.proxies.get_mut(id)) {
            proxy.plans.insert(name.clone(), now);
        }
    }

    /// A Plan's part of a proxy that takes it.
    fn contribution(
        &mut self,
        part: &Part<'_>,
        before: &Contribution<T>,
        around: &mut Surroundings<'_>,
    ) -> Contribution<T> {
        let Part { id, name, facts, plan } = *part;
        let owner = Owner { kind: T::KIND, proxy: id.clone(), plan: name.clone() };
        let denied = around.claims.denied(&owner);
        let mut taken = self.taken(part, before, around);
        taken.retain(|listener, _| !denied.contains_key(listener));
        let names = denied.keys().chain(held_back(&taken)).cloned().collect();
        let called = self.ledgers.get(id).map(|ledger| ledger.former_names(name, plan)).unwrap_or_default();
        let request = Request {
            plan,
            families: facts.families,
            streams: &facts.announced.streams,
            denied: &names,
            running: &self.running(part),
            defaults: around.defaults,
            called: &called,
        };
        match T::translate(&request, around.lookup) {
            Some(done) => {
                let mut made = Contribution::of(done);
                let made_of = around.versions.get(name).copied();
                made.findings = Findings { denied, taken, made_of, ..made.findings };
                self.amended((id, name), (&request, around.lookup), made)
            }
            // A source of the Plan is not known yet: the previous resources stay, except for listeners that
            // lost their port.
            None => {
                let mut last = before.clone();
                if last.resources.is_empty() {
                    last = self.last_accepted(id, name);
                }
                last.deny(plan, denied, taken);
                last
            }
        }
    }

    /// Returns the Plan's listeners on a NodeProxy whose ports are held by other processes.
    fn taken(
        &self,
        part: &Part<'_>,
        before: &Contribution<T>,
        around: &mut Surroundings<'_>,
    ) -> BTreeMap<String, Taken> {
        if !matches!(part.id, ProxyId::Node(_)) {
            return BTreeMap::new();
        }
        let mut taken = around.strangers.taken(part.facts.wishes(part.plan));
        for (listener, one) in taken.iter_mut().filter(|(_, one)| one.by.unsure) {
            let key = (T::LISTENER, qualified(part.plan, listener));
            one.by.beside |= before.resources.contains_key(&key) || self.has_accepted(part, &key);
        }
        taken
    }

    /// Merges a new translation with what the proxy accepted, see [`super::ledger::Ledger::amend`].
    fn amended(
        &mut self,
        (id, name): (&ProxyId, &Name),
        (request, lookup): (&Request<'_>, &dyn Lookup),
        mut made: Contribution<T>,
    ) -> Contribution<T> {
        let inputs = Inputs::new(request, made.findings.made_of.unwrap_or_default()).with_peers(lookup);
        let ledger = self.ledgers.entry(id.clone()).or_default();
        let mut changed = ledger.amend(name, inputs, &mut made);
        // A proxy keeps what may be newer than the store. It is not sent that again, so it won't accept it again.
        if let Some(answers) = self.answers.get(id).filter(|_| !self.caught_up) {
            let has = |(key, one): &(&(T, Name), &Arc<Resource>)| {
                answers.accepted.get(*key) == Some(&one.version())
            };
            for (key, one) in made.resources.iter().filter(has) {
                changed |= ledger.accept(name, key, one.version());
            }
        }
        if changed {
            self.unsaved.insert((id.clone(), name.clone()));
        }
        made
    }

    /// Returns the names of a Plan's listeners of which the proxy accepted a version.
    fn running(&self, part: &Part<'_>) -> BTreeSet<String> {
        let key = |name: &String| (T::LISTENER, ResourceName::of(part.name, name));
        let names = part.plan.listeners.iter().map(|listener| &listener.name);
        names.filter(|name| self.has_accepted(part, &key(name))).cloned().collect()
    }

    /// Returns whether the proxy accepted any version of this resource.
    fn has_accepted(&self, part: &Part<'_>, key: &(T, Name)) -> bool {
        self.ledgers.get(part.id).is_some_and(|ledger| ledger.has_accepted(part.name, key))
    }

    /// Returns what a proxy last accepted of a Plan; empty if that is unknown. Resources whose secrets are not known are
    /// withheld.
    fn last_accepted(&self, id: &ProxyId, name: &Name) -> Contribution<T> {
        let mut last = self.ledgers.get(id).and_then(|ledger| ledger.whole(name)).unwrap_or_default();
        last.withhold();
        last
    }

    /// Forgets a Plan that no longer applies to this proxy.
    fn forget(&mut self, id: &ProxyId, name: &Name) {
        if self.ledgers.get_mut(id).is_some_and(|ledger| ledger.forget(name)) {
            self.unsaved.insert((id.clone(), name.clone()));
        }
    }

    /// Removes rejections that ended although the proxy has nothing new to accept.
    fn clear_refusals(&mut self) {
        for (id, ledger) in &mut self.ledgers {
            for key in ledger.take_cleared() {
                if let Some(answers) = self.answers.get_mut(id) {
                    answers.refused.remove(&key);
                }
            }
        }
    }
}
