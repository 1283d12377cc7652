//! Endpoints of other Kubernetes clusters that a hub has not read since its start. The hub doesn't know them, so this agent keeps
//! those that it has ([`World::keep_unread`]).

use std::collections::{BTreeMap, BTreeSet};

use portreeve_api::{PlanType, names, plan};
use prost::Message;

use super::World;
use super::feed::Sent;

// === impl World ===

impl World {
    /// Adds to slices the endpoints of the sources that they list as unread, as far as this agent has them in the same group. It
    /// has to be called with each response before it is applied and stored, so that they are in the store too.
    pub fn keep_unread(&self, ty: PlanType, upsert: &mut [Sent]) {
        if ty == PlanType::Slice {
            upsert.iter_mut().for_each(|slice| self.complete_slice(slice));
        }
    }

    fn complete_slice(&self, (name, _, body): &mut Sent) {
        let Some((group, shards, index)) = names::parse_slice(name) else { return };
        // An undecodable slice is refused when it is applied.
        let Ok(mut slice) = plan::EndpointSlice::decode(body.clone()) else { return };
        if slice.unread_sources.is_empty() {
            return;
        }
        let sent: BTreeSet<&str> = slice.endpoints.iter().map(|endpoint| &*endpoint.uid).collect();
        let known = self.feed.endpoints_of(group).filter(|endpoint| {
            let unread = slice.unread_sources.iter().any(|source| *source == *endpoint.source);
            unread && names::slice_of(&endpoint.uid, shards) == index && !sent.contains(&*endpoint.uid)
        });
        let kept: BTreeMap<&str, plan::Endpoint> =
            known.map(|endpoint| (&*endpoint.uid, plan::Endpoint::from(endpoint))).collect();
        if !kept.is_empty() {
            slice.endpoints.extend(kept.into_values());
            *body = slice.encode_to_vec().into();
        }
    }
}
