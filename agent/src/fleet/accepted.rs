//! One resource that a proxy accepted ([`Accepted`]), and its form without a type, in which the store keeps it ([`Kept`]).

use std::sync::Arc;

use bytes::Bytes;
use portreeve_xds::{Name, Resource, ResourceType};

use crate::translate::ProxyModel;

/// A resource that a proxy accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted<T> {
    /// Its type.
    pub ty: T,
    /// A digest of what it was made from.
    pub inputs: u64,
    /// A cluster's sources, as a digest; `None` if an earlier version of the agent accepted it, which didn't keep them.
    pub sources: Option<u64>,
    /// The resource.
    pub resource: Arc<Resource>,
}

/// A resource that a proxy accepted, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The type's number, see [`ProxyModel::number`].
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

/// A resource as the owner of its bytes.
struct Body(Arc<Resource>);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.0.body()
    }
}

// === impl Accepted ===

impl<T: ProxyModel> Accepted<T> {
    /// A resource from its bytes, without known sources.
    pub fn new(ty: T, name: Name, inputs: u64, body: &[u8]) -> Self {
        Self { ty, inputs, sources: None, resource: ty.resource(name, body) }
    }

    /// Its type and name.
    pub fn key(&self) -> (T, Name) {
        (self.ty, self.resource.name().clone())
    }

    /// What the store is to keep; `None` for types that are not stored.
    pub fn kept(&self) -> Option<Kept> {
        let (name, body) = (self.resource.name().clone(), Bytes::from_owner(Body(self.resource.clone())));
        Some(Kept { number: self.ty.number()?, name, inputs: self.inputs, sources: self.sources, body })
    }

    /// What the store kept; `None` for a type that this version of the agent does not know.
    pub fn of_kept(kept: &Kept) -> Option<Self> {
        let ty = <T as ResourceType>::ALL.iter().find(|ty| ty.number() == Some(kept.number))?;
        let accepted = Self::new(*ty, kept.name.clone(), kept.inputs, &kept.body);
        Some(Self { sources: kept.sources, ..accepted })
    }
}
