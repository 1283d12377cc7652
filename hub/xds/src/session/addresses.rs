//! Which resource holds which address at the client ([`Addresses`]), and the order in which resources may exchange addresses.
//!
//! Envoy 1.40 rejects a listener whose address another listener still holds. It applies the removals of a response first and
//! then its resources one by one, and a listener may change its address in place. So the resource that frees an address goes
//! before the one that takes it. In a cycle, one member is removed first, in a response of its own.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::resource::{Name, Resource};

/// The addresses of the client's resources, as far as this stream knows them.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    by_name: HashMap<Name, Held>,
    /// Address to the names whose last sent version has it.
    by_address: HashMap<Name, Vec<Name>>,
    /// Names that the client has in a version of an earlier stream. Their addresses are not known.
    unknown: BTreeSet<Name>,
    /// An address was freed since the last [`Addresses::take_freed`].
    freed: bool,
}

/// The address of one resource.
#[derive(Debug)]
struct Held {
    /// The address of the last sent version.
    now: Name,
    /// The address of the accepted version. It applies again if the last sent version is rejected.
    accepted: Option<Name>,
}

/// The order in which resources must be sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// Indexes into the resources. A resource that frees an address comes before the one that takes it.
    pub(super) indexes: Vec<usize>,
    /// Names that must be removed first.
    pub(super) first: BTreeSet<Name>,
}

// === impl Addresses ===

impl Addresses {
    /// Records that a version with this address was sent.
    pub(super) fn sent(&mut self, name: &Name, address: &Name) {
        let held = self.by_name.get(name).map(|held| (held.now.clone(), held.accepted.clone()));
        match held {
            Some((now, _)) if now == *address => {}
            Some((now, accepted)) => self.put(name, address.clone(), accepted.or(Some(now))),
            None => self.put(name, address.clone(), None),
        }
    }

    /// Records that the client had an unknown version of this name when the stream began.
    pub(super) fn unknown(&mut self, name: &Name) {
        if !self.by_name.contains_key(name) {
            self.unknown.insert(name.clone());
        }
    }

    /// Records that the client accepted a version with this address.
    pub(super) fn confirmed(&mut self, name: &Name, address: &Name) {
        if let Some(held) = self.by_name.get_mut(name).filter(|held| held.now == *address) {
            self.freed |= held.accepted.take().is_some();
            self.unknown.remove(name);
        }
    }

    /// Records that the client rejected the last sent version.
    pub(super) fn rejected(&mut self, name: &Name) {
        let Some(held) = self.by_name.get(name) else { return };
        match held.accepted.clone() {
            Some(accepted) => self.put(name, accepted, None),
            None => self.drop_held(name),
        }
    }

    /// Records that the client no longer has this name.
    pub(super) fn released(&mut self, name: &Name) {
        self.freed |= self.by_name.contains_key(name);
        self.drop_held(name);
        self.unknown.remove(name);
    }

    /// Whether an address was freed since the last call.
    pub(super) fn take_freed(&mut self) -> bool {
        std::mem::take(&mut self.freed)
    }

    /// Returns the names whose addresses are not known, and forgets them.
    pub(super) fn take_unknown(&mut self) -> BTreeSet<Name> {
        std::mem::take(&mut self.unknown)
    }

    /// Returns the order for these resources; `None` if any order will do, as for types without addresses. `elsewhere` tells
    /// whether a holder that is not among them will free its address.
    pub(super) fn order(
        &self,
        resources: &[Arc<Resource>],
        elsewhere: impl Fn(&Name, &Name) -> bool,
    ) -> Option<Order> {
        // Hot path: every endpoint change gets here.
        if resources.iter().all(|one| self.holder(one).is_none()) {
            return None;
        }
        let mut order = Order::default();
        let indexes: HashMap<&Name, usize> =
            resources.iter().enumerate().map(|(index, one)| (one.name(), index)).collect();
        let mut next = vec![None; resources.len()];
        for (index, one) in resources.iter().enumerate() {
            let (Some(holder), Some(address)) = (self.holder(one), one.address()) else { continue };
            match indexes.get(holder) {
                Some(at) => next[index] = (resources[*at].address() != Some(address)).then_some(*at),
                None if elsewhere(holder, address) => drop(order.first.insert(holder.clone())),
                None => {}
            }
        }
        follow(&next, |index, cyclic| match cyclic {
            true => drop(order.first.insert(resources[index].name().clone())),
            false => order.indexes.push(index),
        });
        Some(order)
    }

    /// The other resource that holds this one's address.
    fn holder(&self, resource: &Resource) -> Option<&Name> {
        let held = self.by_address.get(resource.address()?)?;
        held.iter().find(|name| *name != resource.name())
    }

    fn put(&mut self, name: &Name, now: Name, accepted: Option<Name>) {
        self.drop_held(name);
        self.by_address.entry(now.clone()).or_default().push(name.clone());
        self.by_name.insert(name.clone(), Held { now, accepted });
    }

    fn drop_held(&mut self, name: &Name) {
        let Some(held) = self.by_name.remove(name) else { return };
        if let Some(names) = self.by_address.get_mut(&held.now) {
            names.retain(|one| one != name);
            if names.is_empty() {
                self.by_address.remove(&held.now);
            }
        }
    }
}

/// Visits each index after the index that `next` gives for it. In each cycle, one index is also visited as cyclic.
fn follow(next: &[Option<usize>], mut visit: impl FnMut(usize, bool)) {
    let (mut seen, mut done) = (vec![false; next.len()], vec![false; next.len()]);
    for start in 0..next.len() {
        let mut path = Vec::new();
        let mut at = Some(start);
        while let Some(index) = at.filter(|index| !done[*index]) {
            if std::mem::replace(&mut seen[index], true) {
                visit(index, true);
                break;
            }
            path.push(index);
            at = next[index];
        }
        for index in path.into_iter().rev() {
            done[index] = true;
            visit(index, false);
        }
    }
}
