//! One resource that a proxy accepted: [`Accepted`] with its type, [`Kept`] as the store holds it.

use std::sync::Arc;

use bytes::Bytes;
use portreeve_xds::{Name, Resource, ResourceType};

use crate::translate::ProxyModel;

/// A resource that a proxy accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted<T> {
    /// The resource's type.
    pub ty: T,
    /// Hash of the inputs that the resource was made from.
    pub inputs: u64,
    /// Hash of a cluster's endpoint sources. `None` if an agent version that did not record it accepted the
    /// resource.
    pub sources: Option<u64>,
    /// The resource.
    pub resource: Arc<Resource>,
}

/// An accepted resource in the form that the store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The type's number in the store, see [`ProxyModel::number`].
    pub number: u32,
    /// The resource's name.
    pub name: Name,
    /// See [`Accepted::inputs`].
    pub inputs: u64,
    /// See [`Accepted::sources`].
    pub sources: Option<u64>,
    /// The resource's bytes.
    pub body: Bytes,
}

/// Lets a resource own its bytes, so that [`Bytes`] can share them without a copy.
struct Body(Arc<Resource>);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.0.body()
    }
}

// === impl Accepted ===

impl<T: ProxyModel> Accepted<T> {
    /// Builds a resource from its bytes, without sources.
    pub fn new(ty: T, name: Name, inputs: u64, body: &[u8]) -> Self {
        Self { ty, inputs, sources: None, resource: ty.resource(name, body) }
    }

    /// Returns the resource's type and name.
    pub fn key(&self) -> (T, Name) {
        (self.ty, self.resource.name().clone())
    }

    /// Returns the form for the store; `None` for types that are not stored.
    pub fn kept(&self) -> Option<Kept> {
        let (name, body) = (self.resource.name().clone(), Bytes::from_owner(Body(self.resource.clone())));
        Some(Kept { number: self.ty.number()?, name, inputs: self.inputs, sources: self.sources, body })
    }

    /// Rebuilds a resource from the store; `None` if this agent version does not know its type.
    pub fn of_kept(kept: &Kept) -> Option<Self> {
        let ty = <T as ResourceType>::ALL.iter().find(|ty| ty.number() == Some(kept.number))?;
        let accepted = Self::new(*ty, kept.name.clone(), kept.inputs, &kept.body);
        Some(Self { sources: kept.sources, ..accepted })
    }
}
