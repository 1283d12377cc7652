//! The verbs of sources: other Kubernetes clusters whose pods join clusters by annotation.
//!
//! Such a pod is an endpoint of the groups of its cluster and of nothing else. It is not among the index's pods, so no other
//! selection can match it; and it has no node here, so no agent takes it for a pod of its own node.

use std::collections::BTreeSet;

use portreeve_api::plan;
use portreeve_api::pod::{Pod, annotation_attribute};
use portreeve_api::refs::ObjectRef;

use super::Index;
use super::matches::Name;
use super::pod::KnownPod;
use super::sources::SourceState;
use crate::selection::{PodSelection, Selection};
use crate::verdict::Loss;

/// A pod of a source as a member of a cluster.
struct Member {
    cluster: Name,
    /// The pod as an endpoint; `None` while it can't take traffic.
    endpoint: Option<plan::Endpoint>,
    /// The pod as a sender of connections.
    peer: plan::Endpoint,
}

// === impl Index ===

impl Index {
    /// Sets how long the pods of a source that can't be read stay members of clusters.
    pub fn set_source_grace(&mut self, grace_ms: i64) {
        self.source_grace_ms = grace_ms;
    }

    /// Adds a source whose pods are not known yet.
    pub fn add_source(&mut self, name: &Name, now_ms: i64) {
        self.sources.add(name, now_ms);
        self.publish_unread();
    }

    /// Removes a source with all its pods.
    pub fn remove_source(&mut self, name: &Name) {
        let concerned = self.concerned_by(name);
        for uid in self.sources.pods_of(name) {
            self.set_source_pod(name, &uid, None);
        }
        self.sources.remove(name);
        self.publish_unread();
        self.verdicts.touch(concerned);
    }

    /// Takes the complete list of a source's pods, which can be read from now on.
    pub fn reset_source(&mut self, name: &Name, pods: Vec<Pod>) {
        let concerned = self.concerned_by(name);
        self.sources.begin_list(name);
        let listed: BTreeSet<Name> = pods.iter().map(|pod| uid_of(name, &pod.uid)).collect();
        for uid in self.sources.pods_of(name).into_iter().filter(|uid| !listed.contains(uid)) {
            self.set_source_pod(name, &uid, None);
        }
        for pod in &pods {
            self.apply_source_pod(name, pod);
        }
        if self.sources.found(name) {
            self.publish_unread();
            self.verdicts.touch(concerned);
            let concerned = self.concerned_by(name);
            self.verdicts.touch(concerned);
        }
    }

    /// Adds or changes a pod of a source.
    pub fn apply_source_pod(&mut self, name: &Name, pod: &Pod) {
        self.set_source_pod(name, &uid_of(name, &pod.uid), self.member_from(name, pod));
    }

    /// Removes a pod of a source, given by its uid in that cluster.
    pub fn delete_source_pod(&mut self, name: &Name, uid: &str) {
        self.set_source_pod(name, &uid_of(name, uid), None);
    }

    /// Records that a source can't be read. Its pods stay members of clusters until the grace is over.
    pub fn source_failed(&mut self, name: &Name, why: &str, now_ms: i64) {
        if self.sources.lose(name, why, now_ms) {
            let concerned = self.concerned_by(name);
            self.verdicts.touch(concerned);
        }
    }

    /// Sets the number of sources that were given but are not used, for metrics.
    pub fn set_refused_sources(&mut self, count: usize) {
        self.sources.refused = count;
    }

    /// The state of each source.
    pub fn sources(&self) -> Vec<SourceState> {
        self.sources.states()
    }

    /// Withdraws the pods of sources whose grace is over, and returns these sources.
    pub(super) fn withdraw_sources(&mut self, now_ms: i64) -> Vec<Name> {
        let overdue = self.sources.take_overdue(self.source_grace_ms, now_ms);
        for name in &overdue {
            for (uid, cluster) in self.sources.withdraw(name) {
                self.leave_cluster(&cluster, &uid);
            }
            let concerned = self.concerned_by(name);
            self.verdicts.touch(concerned);
        }
        self.publish_unread();
        overdue
    }

    /// When [`Index::withdraw_sources`] has work to do next.
    pub(super) fn source_deadline(&self) -> Option<i64> {
        self.sources.deadline(self.source_grace_ms)
    }

    /// The lost sources that concern any of these groups.
    pub(super) fn losses_of<'a>(&self, groups: impl IntoIterator<Item = &'a Name>) -> Vec<Loss> {
        let clusters: BTreeSet<Name> =
            groups.into_iter().filter_map(|group| self.selections.cluster_of(group)).collect();
        clusters.iter().flat_map(|cluster| self.sources.losses(cluster, self.source_grace_ms)).collect()
    }

    /// Tells agents which sources' pods this hub doesn't know, so that they keep those that they have.
    fn publish_unread(&mut self) {
        for (group, changes) in self.groups.set_unread(self.sources.unread()) {
            self.nodes.publish_group(&group, &changes);
        }
    }

    fn set_source_pod(&mut self, name: &Name, uid: &Name, member: Option<Member>) {
        if !self.sources.has(name) {
            return;
        }
        let cluster = member.as_ref().map(|member| &member.cluster);
        let before = self.sources.set_pod(name, uid, cluster);
        if let Some(before) = before.filter(|before| Some(before) != cluster) {
            self.leave_cluster(&before, uid);
        }
        if let Some(Member { cluster, endpoint, peer }) = member {
            let [ready, all] = self.groups_of_cluster(&cluster);
            self.set_listed(&ready, uid, endpoint);
            self.set_listed(&all, uid, Some(peer));
        }
    }

    fn leave_cluster(&mut self, cluster: &Name, uid: &Name) {
        for group in self.groups_of_cluster(cluster) {
            self.set_listed(&group, uid, None);
        }
    }

    /// Returns a pod as a member of the cluster that it joins. `None` if it joins none, has ended, or has no address.
    fn member_from(&self, source: &Name, pod: &Pod) -> Option<Member> {
        let cluster = pod.extra.get(&annotation_attribute(&self.settings.cluster_name_annotation))?;
        if pod.finished {
            return None;
        }
        let here = |endpoint| plan::Endpoint { node: String::new(), source: source.to_string(), ..endpoint };
        let (uid, pod) = (uid_of(source, &pod.uid), KnownPod::new(pod.clone(), &pod.attributes()));
        let (endpoint, peer) = (pod.endpoint(&uid).map(here), here(pod.peer(&uid)?));
        Some(Member { cluster: cluster.as_str().into(), endpoint, peer })
    }

    /// The names of both groups of a cluster: of the pods that take traffic, and of all that may connect.
    fn groups_of_cluster(&self, cluster: &str) -> [Name; 2] {
        let key = &self.settings.cluster_name_annotation;
        [false, true].map(|unready| Selection::Pods(PodSelection::of_cluster(key, cluster, unready)).name())
    }

    /// The objects that use a group with members from a source, or, while it was not read, any group of a cluster.
    fn concerned_by(&self, source: &Name) -> Vec<ObjectRef> {
        let groups: Vec<Name> = match self.sources.clusters_of(source) {
            Some(clusters) => clusters.iter().flat_map(|cluster| self.groups_of_cluster(cluster)).collect(),
            None => self.selections.of_clusters().cloned().collect(),
        };
        groups.iter().flat_map(|group| self.selections.holders_of(group)).collect()
    }
}

/// Returns the uid of a source's pod in the index. Two API servers don't know of each other's uids.
fn uid_of(source: &str, uid: &str) -> Name {
    format!("{source}/{uid}").into()
}
