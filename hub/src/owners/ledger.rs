//! What each owner is to be told of its children, and when: [`Ledger`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use portreeve_api::refs::ObjectRef;

use super::{Children, Owner};

/// How long a failed write waits for its next attempt.
const AGAIN: Duration = Duration::from_secs(2);

/// How long a write to an owner that the hub can't write waits for its next attempt.
const UNWRITABLE: Duration = Duration::from_secs(60);

/// How long the removal of a deleted child is tried. A hub that doesn't lead forgets it after this time, because another one
/// has done it.
const REMOVAL: Duration = Duration::from_secs(120);

/// For each child the generation that is applied. `None`: the child's entry is removed.
pub type Entries = BTreeMap<ObjectRef, Option<i64>>;

/// The entries of all owners.
#[derive(Default)]
pub struct Ledger {
    /// The children that ask for their owners to be told.
    pub(super) children: HashMap<ObjectRef, Child>,
    /// What each owner is to be told of each child.
    pub(super) accounts: HashMap<Owner, BTreeMap<ObjectRef, Entry>>,
    due: BTreeSet<(Instant, Owner)>,
    due_of: HashMap<Owner, Instant>,
}

/// An object that asks for its owners to be told.
#[derive(Default)]
pub(super) struct Child {
    owners: BTreeSet<Owner>,
    /// The last generation that was applied.
    applied: Option<i64>,
}

/// What an owner is to be told of one child.
pub(super) struct Entry {
    /// The generation. `None`: the entry is removed.
    intended: Option<i64>,
    /// Since when this is intended.
    since: Instant,
    /// Whether the owner has it.
    written: bool,
    /// Whether the child's author was told that the owner can't be written.
    complained: bool,
}

// === impl Ledger ===

impl Ledger {
    /// Sets the owners that a child asks to be told. Returns whether the child is new, so that its applied generation is not
    /// known.
    pub fn set_owners(&mut self, child: &ObjectRef, owners: BTreeSet<Owner>, now: Instant) -> bool {
        if owners.is_empty() {
            self.forget(child, now);
            return false;
        }
        let is_new = !self.children.contains_key(child);
        let known = self.children.entry(child.clone()).or_default();
        let (applied, before) = (known.applied, std::mem::replace(&mut known.owners, owners.clone()));
        before.difference(&owners).for_each(|gone| self.intend(gone, child, None, now));
        if applied.is_some() {
            owners.difference(&before).for_each(|owner| self.intend(owner, child, applied, now));
        }
        is_new
    }

    /// Records the generation of a child that is applied. While none is, owners keep the last one.
    pub fn set_applied(&mut self, child: &ObjectRef, applied: Option<i64>, now: Instant) {
        let Some(known) = self.children.get_mut(child).filter(|known| known.applied != applied) else {
            return;
        };
        if applied.is_none() {
            return;
        }
        known.applied = applied;
        let owners = known.owners.clone();
        owners.iter().for_each(|owner| self.intend(owner, child, applied, now));
    }

    /// Removes a child, and its entries from its owners.
    pub fn forget(&mut self, child: &ObjectRef, now: Instant) {
        let Some(known) = self.children.remove(child) else { return };
        known.owners.iter().for_each(|owner| self.intend(owner, child, None, now));
    }

    /// Compares what an owner was told with the entries seen in its status, because another client may have overwritten them.
    /// Entries of children that are gone and of which nothing is known here are removed: no hub ran when they were deleted.
    pub fn observe(&mut self, owner: &Owner, seen: &Children, gone: &[ObjectRef], now: Instant) {
        let mut differs = false;
        for (child, entry) in self.accounts.get_mut(owner).into_iter().flatten() {
            if entry.written && entry.intended != seen.get(child).copied() {
                (entry.written, differs) = (false, true);
            }
        }
        if differs && !self.due_of.contains_key(owner) {
            // The event may be older than the last write.
            self.set_due(owner, Some(now + AGAIN));
        }
        for child in gone {
            if !self.accounts.get(owner).is_some_and(|account| account.contains_key(child)) {
                self.intend(owner, child, None, now);
            }
        }
    }

    /// Takes the owners that are due, at most `most`, with the entries that they lack.
    pub fn take(&mut self, most: usize, now: Instant) -> Vec<(Owner, Entries)> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((_, owner)) = self.due.first().filter(|(at, _)| *at <= now).cloned()
        {
            self.set_due(&owner, None);
            self.expire(&owner, now);
            let account = self.accounts.get(&owner).into_iter().flatten();
            let lacking = account.filter(|(_, entry)| !entry.written);
            let entries: Entries = lacking.map(|(child, entry)| (child.clone(), entry.intended)).collect();
            taken.extend((!entries.is_empty()).then_some((owner, entries)));
        }
        taken
    }

    /// Records that an owner has these entries, or that there is no such owner.
    pub fn written(&mut self, owner: &Owner, entries: &Entries) {
        let Some(account) = self.accounts.get_mut(owner) else { return };
        for (child, told) in entries {
            if let Some(entry) = account.get_mut(child).filter(|entry| entry.intended == *told) {
                entry.written = true;
            }
        }
        account.retain(|_, entry| !entry.written || entry.intended.is_some());
        if account.is_empty() {
            self.accounts.remove(owner);
            self.set_due(owner, None);
        }
    }

    /// Records that a write failed.
    pub fn failed(&mut self, owner: &Owner, now: Instant) {
        self.set_due(owner, Some(now + AGAIN));
    }

    /// Records that the hub can't write the owner. Removals are given up. Returns the children whose authors were not told
    /// yet.
    pub fn unwritable(&mut self, owner: &Owner, now: Instant) -> Vec<ObjectRef> {
        let Some(account) = self.accounts.get_mut(owner) else { return Vec::new() };
        account.retain(|_, entry| entry.intended.is_some());
        let new = account.iter_mut().filter(|(_, entry)| !entry.written && !entry.complained);
        let complain = |(child, entry): (&ObjectRef, &mut Entry)| {
            entry.complained = true;
            child.clone()
        };
        let new = new.map(complain).collect();
        match account.is_empty() {
            true => drop(self.accounts.remove(owner)),
            false => self.set_due(owner, Some(now + UNWRITABLE)),
        }
        new
    }

    /// Forgets removals that are older than two minutes.
    pub fn expire_all(&mut self, now: Instant) {
        let overdue = self.due.iter().take_while(|(at, _)| *at + REMOVAL <= now);
        let overdue: Vec<Owner> = overdue.map(|(_, owner)| owner.clone()).collect();
        overdue.iter().for_each(|owner| self.expire(owner, now));
    }

    /// Returns when the next owner is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    fn intend(&mut self, owner: &Owner, child: &ObjectRef, intended: Option<i64>, now: Instant) {
        let entry = Entry { intended, since: now, written: false, complained: false };
        self.accounts.entry(owner.clone()).or_default().insert(child.clone(), entry);
        let due = self.due_of.get(owner).map_or(now, |due| (*due).min(now));
        self.set_due(owner, Some(due));
    }

    fn expire(&mut self, owner: &Owner, now: Instant) {
        let Some(account) = self.accounts.get_mut(owner) else { return };
        account.retain(|_, entry| entry.intended.is_some() || entry.since + REMOVAL > now);
        if account.is_empty() {
            self.accounts.remove(owner);
            self.set_due(owner, None);
        }
    }

    fn set_due(&mut self, owner: &Owner, due: Option<Instant>) {
        if let Some(old) = self.due_of.remove(owner) {
            self.due.remove(&(old, owner.clone()));
        }
        if let Some(new) = due {
            self.due.insert((new, owner.clone()));
            self.due_of.insert(owner.clone(), new);
        }
    }
}
