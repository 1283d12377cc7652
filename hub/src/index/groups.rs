//! Groups of endpoints, cut into slices so that one pod's change moves one small resource.
//!
//! A pod's slice is its UID's hash modulo the number of shards, a power of two that only grows; a slice's name
//! holds the number, so a grown group's slices never mix with the old ones.

use std::collections::HashMap;
use std::sync::Arc;

use portreeve_api::PlanType;
use portreeve_api::{names, plan};
use portreeve_xds::{Changes, Resource};
use prost::Message;

use super::matches::Name;
use super::places::{self, Counts, Places};
use super::slice::{Endpoint, Slice};

/// The average number of endpoints per slice above which the group gets more slices.
const SLICE_TARGET: usize = 25;

/// All groups that at least one Plan refers to.
#[derive(Default)]
pub struct Groups {
    groups: HashMap<Name, Group>,
    /// The nodes on which the endpoints run.
    pub places: Places,
    /// The sources that were not read yet. The slices of clusters' groups name them.
    unread: Vec<String>,
    visited: u64,
}

/// The effects of one endpoint's change.
#[derive(Default)]
pub struct Moved {
    /// The resources that changed.
    pub changes: Changes<PlanType>,
    /// The node that now has its first endpoint of the group.
    pub came: Option<Name>,
    /// The node that no longer has an endpoint of the group.
    pub went: Option<Name>,
}

struct Group {
    resource: Arc<Resource>,
    slices: Vec<Slice>,
    size: usize,
    nodes: Counts,
    /// Whether it is the group of a cluster, so that pods of sources are members.
    of_cluster: bool,
}

// === impl Groups ===

impl Groups {
    /// The number of groups.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Opens a group with its first endpoints. `of_cluster` tells whether pods of sources are members. Does nothing if the
    /// group is open already.
    pub fn open(
        &mut self,
        name: &Name,
        endpoints: impl Iterator<Item = (Name, plan::Endpoint)>,
        of_cluster: bool,
    ) {
        if !self.groups.contains_key(name) {
            let mut all: Vec<Endpoint> = endpoints.map(|(uid, one)| self.encode(uid, one)).collect();
            all.sort_by(|one, other| one.uid.cmp(&other.uid));
            let group = self.cut(name, all, (1, of_cluster));
            group.nodes.keys().for_each(|node| self.places.add(node, name));
            self.groups.insert(name.clone(), group);
        }
    }

    /// Closes a group that no Plan refers to any more.
    pub fn close(&mut self, name: &Name) {
        let Some(group) = self.groups.remove(name) else { return };
        group.nodes.keys().for_each(|node| self.places.remove(node, name));
    }

    /// Adds or replaces one endpoint; `None` removes it.
    pub fn set(&mut self, name: &Name, uid: &Name, endpoint: Option<plan::Endpoint>) -> Moved {
        let mut moved = Moved::default();
        let endpoint = endpoint.map(|endpoint| self.encode(uid.clone(), endpoint));
        let Some(group) = self.groups.get_mut(name) else { return moved };
        let shards = group.slices.len();
        let slice = &mut group.slices[names::slice_of(uid, shards)];
        if slice.holds(uid, endpoint.as_ref()) {
            return moved;
        }
        let (old, new) = (slice.node_of(uid).cloned(), endpoint.as_ref().map(|one| one.node.clone()));
        if old != new {
            moved.came = new.and_then(|node| places::came(&mut group.nodes, &node));
            moved.went = old.and_then(|node| places::went(&mut group.nodes, &node));
            moved.came.iter().for_each(|node| self.places.add(node, name));
            moved.went.iter().for_each(|node| self.places.remove(node, name));
        }
        let before = slice.len();
        slice.set(uid, endpoint);
        self.visited += before as u64;
        group.size = group.size + slice.len() - before;
        if group.size > SLICE_TARGET * shards {
            moved.changes = self.grow(name);
            return moved;
        }
        moved.changes.upsert.push((PlanType::Slice, slice.resource().clone()));
        moved
    }

    /// The nodes on which a group has endpoints.
    pub fn nodes_of(&self, name: &Name) -> impl Iterator<Item = &Name> {
        self.groups.get(name).into_iter().flat_map(|group| group.nodes.keys())
    }

    /// Returns the resources to send to a node that starts to use the group.
    pub fn resources(&self, name: &Name) -> Vec<(PlanType, Arc<Resource>)> {
        let Some(group) = self.groups.get(name) else { return Vec::new() };
        let slices = group.slices.iter().map(|s| (PlanType::Slice, s.resource().clone()));
        slices.chain([(PlanType::Group, group.resource.clone())]).collect()
    }

    /// The number of endpoints visited since the start, for the tests of cost.
    pub fn visited(&self) -> u64 {
        self.visited
    }

    /// Sets the sources that were not read yet. Returns the changed slices by group.
    pub fn set_unread(&mut self, unread: Vec<String>) -> Vec<(Name, Changes<PlanType>)> {
        if self.unread == unread {
            return Vec::new();
        }
        self.unread = unread;
        let mut changed = Vec::new();
        for (name, group) in self.groups.iter_mut().filter(|(_, group)| group.of_cluster) {
            let mut changes = Changes::default();
            for slice in &mut group.slices {
                self.visited += slice.len() as u64;
                slice.set_unread(&self.unread);
                changes.upsert.push((PlanType::Slice, slice.resource().clone()));
            }
            changed.push((name.clone(), changes));
        }
        changed
    }

    /// Encodes an endpoint. Endpoints on one node share the node's name.
    fn encode(&self, uid: Name, endpoint: plan::Endpoint) -> Endpoint {
        let node = self.places.name_of(&endpoint.node);
        Endpoint::encode(uid, node, endpoint)
    }

    fn grow(&mut self, name: &Name) -> Changes<PlanType> {
        let mut changes = Changes::default();
        let Some(old) = self.groups.remove(name) else { return changes };
        let shards = old.slices.len() * 2;
        changes.remove = old.slices.iter().map(|s| (PlanType::Slice, s.resource().name().clone())).collect();
        let mut all: Vec<Endpoint> = old.slices.into_iter().flat_map(Slice::into_endpoints).collect();
        all.sort_by(|one, other| one.uid.cmp(&other.uid));
        let grown = self.cut(name, all, (shards, old.of_cluster));
        self.visited += grown.size as u64;
        self.groups.insert(name.clone(), grown);
        changes.upsert = self.resources(name);
        changes
    }

    /// Cuts endpoints, sorted by uid, into at least this number of slices.
    fn cut(&self, name: &Name, all: Vec<Endpoint>, (least, of_cluster): (usize, bool)) -> Group {
        let shards = least.max(all.len().div_ceil(SLICE_TARGET).next_power_of_two());
        let (size, nodes) = (all.len(), places::count(all.iter().map(|one| &one.node)));
        let mut parts: Vec<Vec<Endpoint>> = (0..shards).map(|_| Vec::new()).collect();
        for endpoint in all {
            parts[names::slice_of(&endpoint.uid, shards)].push(endpoint);
        }
        let unread = if of_cluster { self.unread.as_slice() } else { &[] };
        let slice =
            |(i, part): (usize, &Vec<_>)| Slice::new(names::slice_name(name, shards, i), part, unread);
        let slices = parts.iter().enumerate().map(slice).collect();
        let body = plan::Group { shards: shards as u32, description: String::new() }.encode_to_vec();
        let resource = Resource::new(PlanType::Group, name.clone(), &body);
        Group { resource, slices, size, nodes, of_cluster }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(i: usize) -> plan::Endpoint {
        plan::Endpoint {
            uid: format!("uid-{i}"),
            ips: vec![format!("10.0.0.{i}")],
            ready: true,
            ..Default::default()
        }
    }

    fn pair(i: usize) -> (Name, plan::Endpoint) {
        (format!("uid-{i}").into(), endpoint(i))
    }

    fn size(groups: &Groups) -> usize {
        groups.groups.get("g").map_or(0, |g| g.size)
    }

    fn set(groups: &mut Groups, i: usize) -> Changes<PlanType> {
        groups.set(&"g".into(), &format!("uid-{i}").into(), Some(endpoint(i))).changes
    }

    #[test]
    fn slice_has_its_endpoints_and_the_sources_that_were_not_read() {
        let mut groups = Groups::default();
        groups.open(&"g".into(), (0..3).map(pair), true);
        groups.set_unread(vec!["a".into(), "b".into()]);
        let changed = set(&mut groups, 3);
        let slice = plan::EndpointSlice::decode(changed.upsert[0].1.body()).unwrap();
        assert_eq!(slice.endpoints, (0..4).map(endpoint).collect::<Vec<_>>());
        assert_eq!(slice.unread_sources, ["a", "b"]);
        let whole = slice.encode_to_vec();
        assert_eq!(
            changed.upsert[0].1.body(),
            whole,
            "the bytes, and so the version, are those of the message"
        );
    }

    #[test]
    fn one_pods_change_moves_one_slice() {
        let mut groups = Groups::default();
        groups.open(&"g".into(), (0..400).map(pair), false);
        let changed = groups.set(&"g".into(), &"uid-7".into(), None).changes;
        assert_eq!((changed.upsert.len(), changed.remove.len()), (1, 0));
        assert_eq!(changed.upsert[0].0, PlanType::Slice);
        assert_eq!(size(&groups), 399);
    }

    #[test]
    fn equal_endpoint_changes_nothing() {
        let mut groups = Groups::default();
        groups.open(&"g".into(), (0..3).map(pair), false);
        assert!(set(&mut groups, 1).upsert.is_empty());
    }

    #[test]
    fn growth_replaces_every_slice_and_the_group_in_one_change() {
        let mut groups = Groups::default();
        groups.open(&"g".into(), (0..SLICE_TARGET).map(pair), false);
        let grown = set(&mut groups, SLICE_TARGET);
        assert_eq!(grown.remove.len(), 1);
        assert_eq!(grown.upsert.len(), 3, "two slices and the group");
        let names: Vec<_> = grown.upsert.iter().map(|(_, r)| r.name().to_string()).collect();
        assert_eq!(names, ["g#2.0", "g#2.1", "g"]);
    }

    #[test]
    fn group_never_shrinks_its_shards_and_says_its_emptiness() {
        let mut groups = Groups::default();
        let count = SLICE_TARGET * 3 / 2;
        groups.open(&"g".into(), (0..count).map(pair), false);
        for i in 0..count {
            groups.set(&"g".into(), &format!("uid-{i}").into(), None);
        }
        assert_eq!(size(&groups), 0);
        assert_eq!(groups.resources(&"g".into()).len(), 3);
    }
}
