//! One slice of a group ([`Slice`]).

use std::ops::Range;
use std::sync::Arc;

use portreeve_api::{PlanType, plan};
use portreeve_xds::Resource;
use prost::Message;

use super::matches::Name;

/// An encoded endpoint.
#[derive(Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub uid: Name,
    /// The node; empty if it is on none.
    pub node: Name,
    /// The endpoint as a field of an encoded slice. A slice's bytes are those of its endpoints one after another.
    pub field: Box<[u8]>,
}

/// Endpoints of a group. Their bytes are kept only in the resource.
pub struct Slice {
    resource: Arc<Resource>,
    /// Sorted by uid.
    members: Vec<Member>,
}

struct Member {
    uid: Name,
    node: Name,
    /// The size of the endpoint's field in the resource's body, in bytes.
    size: u32,
}

// === impl Endpoint ===

impl Endpoint {
    /// Encodes an endpoint. Its `node` is passed in, because the endpoints on one node share the node's name.
    pub fn encode(uid: Name, node: Name, endpoint: plan::Endpoint) -> Self {
        let slice = plan::EndpointSlice { endpoints: vec![endpoint], unread_sources: Vec::new() };
        Self { uid, node, field: slice.encode_to_vec().into() }
    }
}

// === impl Slice ===

impl Slice {
    /// Encodes a slice of these endpoints, which are sorted by uid.
    pub fn new(name: Name, endpoints: &[Endpoint], unread: &[String]) -> Self {
        let fields: Vec<&[u8]> = endpoints.iter().map(|one| &*one.field).collect();
        let member = |one: &Endpoint| Member {
            uid: one.uid.clone(),
            node: one.node.clone(),
            size: one.field.len() as u32,
        };
        Self {
            resource: encode(name, &fields.concat(), unread),
            members: endpoints.iter().map(member).collect(),
        }
    }

    /// The slice as agents are sent it.
    pub fn resource(&self) -> &Arc<Resource> {
        &self.resource
    }

    /// The number of endpoints.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns whether it has exactly this endpoint under a uid.
    pub fn holds(&self, uid: &Name, endpoint: Option<&Endpoint>) -> bool {
        let held = self.find(uid).ok().map(|at| &self.resource.body()[self.range(at)]);
        held == endpoint.map(|one| &*one.field)
    }

    /// The node of an endpoint. `None` if the slice doesn't have it.
    pub fn node_of(&self, uid: &Name) -> Option<&Name> {
        self.find(uid).ok().map(|at| &self.members[at].node)
    }

    /// Adds or replaces an endpoint; `None` removes it.
    pub fn set(&mut self, uid: &Name, endpoint: Option<Endpoint>) {
        let (at, range) = match self.find(uid) {
            Ok(at) => (at, self.range(at)),
            Err(at) => (at, self.start(at)..self.start(at)),
        };
        let held = usize::from(self.members.get(at).is_some_and(|held| held.uid == *uid));
        let field = endpoint.as_ref().map(|one| &*one.field).unwrap_or_default();
        let body = self.resource.body();
        let body = [&body[..range.start], field, &body[range.end..]].concat();
        self.resource = Resource::new(PlanType::Slice, self.resource.name().clone(), &body);
        let member =
            endpoint.map(|Endpoint { uid, node, field }| Member { uid, node, size: field.len() as u32 });
        self.members.reserve_exact(1 - held);
        self.members.splice(at..at + held, member);
    }

    /// Sets the sources that were not read yet.
    pub fn set_unread(&mut self, unread: &[String]) {
        let end = self.start(self.members.len());
        self.resource = encode(self.resource.name().clone(), &self.resource.body()[..end], unread);
    }

    /// The endpoints, in the order of their uids.
    pub fn into_endpoints(self) -> Vec<Endpoint> {
        let (mut rest, mut endpoints) = (self.resource.body(), Vec::with_capacity(self.members.len()));
        for Member { uid, node, size } in self.members {
            let (field, behind) = rest.split_at(size as usize);
            endpoints.push(Endpoint { uid, node, field: field.into() });
            rest = behind;
        }
        endpoints
    }

    fn find(&self, uid: &Name) -> Result<usize, usize> {
        self.members.binary_search_by(|held| held.uid.cmp(uid))
    }

    /// Where the endpoint at a position begins in the body.
    fn start(&self, at: usize) -> usize {
        self.members[..at].iter().map(|held| held.size as usize).sum()
    }

    fn range(&self, at: usize) -> Range<usize> {
        let start = self.start(at);
        start..start + self.members[at].size as usize
    }
}

fn encode(name: Name, fields: &[u8], unread: &[String]) -> Arc<Resource> {
    let end = plan::EndpointSlice { endpoints: Vec::new(), unread_sources: unread.to_vec() }.encode_to_vec();
    Resource::new(PlanType::Slice, name, &[fields, &end].concat())
}
