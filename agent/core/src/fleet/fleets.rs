//! All fleets of a node, one per kind of proxy: [`Fleets`].

use std::any::Any;

use super::Fleet;
use super::memory::Memory;
use super::presence::Presence;
use super::roster::Roster;
use super::standing::Standing;
use crate::translate::{ProxyKind, ProxyModel};

/// A fleet as a trait object, independent of its resource type.
pub trait AnyFleet: Roster + Memory + Presence + Standing + Any + Send {}

impl<T: ProxyModel> AnyFleet for Fleet<T> {}

/// All fleets of a node. The default has none.
#[derive(Default)]
pub struct Fleets(Vec<Box<dyn AnyFleet>>);

// === impl Fleets ===

impl Fleets {
    /// Adds an empty fleet of one more kind.
    #[must_use]
    pub fn with<T: ProxyModel>(mut self) -> Self {
        self.0.push(Box::new(Fleet::<T>::default()));
        self
    }

    /// Returns all fleets.
    pub fn all(&self) -> impl Iterator<Item = &dyn AnyFleet> {
        self.0.iter().map(Box::as_ref)
    }

    /// Returns all fleets, mutably.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut dyn AnyFleet> {
        self.0.iter_mut().map(Box::as_mut)
    }

    /// Returns the fleet of a kind; `None` if this agent does not serve that kind.
    pub fn of(&self, kind: ProxyKind) -> Option<&dyn AnyFleet> {
        self.all().find(|fleet| fleet.kind() == kind)
    }

    /// Like [`Self::of`], mutably.
    pub fn of_mut(&mut self, kind: ProxyKind) -> Option<&mut dyn AnyFleet> {
        self.all_mut().find(|fleet| fleet.kind() == kind)
    }

    /// Returns the fleet with this resource type; `None` if this agent does not serve it.
    pub fn typed<T: ProxyModel>(&self) -> Option<&Fleet<T>> {
        self.0.iter().find_map(|fleet| (fleet.as_ref() as &dyn Any).downcast_ref())
    }

    /// Like [`Self::typed`], mutably.
    pub fn typed_mut<T: ProxyModel>(&mut self) -> Option<&mut Fleet<T>> {
        self.0.iter_mut().find_map(|fleet| (fleet.as_mut() as &mut dyn Any).downcast_mut())
    }
}
