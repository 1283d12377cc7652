//! The sources, which are other Kubernetes clusters whose pods join clusters by annotation ([`Sources`]): which pods each
//! has, and since when it can't be read.

use std::collections::{BTreeMap, HashMap};

use super::matches::Name;
use crate::verdict::Loss;

/// All sources.
#[derive(Default)]
pub struct Sources {
    known: BTreeMap<Name, Source>,
    /// The number of sources that were given but are not used, for metrics.
    pub refused: usize,
}

/// One source.
#[derive(Default)]
struct Source {
    /// Whether its pods were listed since it was added.
    read: bool,
    /// Since when it can't be read, in milliseconds since the Unix epoch. `None` while its watch works. A source is added
    /// as one that can't be read.
    lost_ms: Option<i64>,
    /// Why it can't be read. `None` if no try has failed yet.
    why: Option<String>,
    /// Whether it has been lost for the whole grace, so that its pods were withdrawn.
    withdrawn: bool,
    /// The uids of its members in the index, each with the cluster that the pod joins.
    pods: HashMap<Name, Name>,
    /// The number of members of each cluster. After the withdrawal: the last known number.
    clusters: BTreeMap<Name, usize>,
}

/// The state of a source, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceState {
    /// Its name.
    pub name: Name,
    /// The number of its pods that are members of clusters.
    pub pods: usize,
    /// Since when it can't be read, in milliseconds since the Unix epoch.
    pub lost_ms: Option<i64>,
    /// Whether it was read since it was added.
    pub read: bool,
    /// Whether its pods were withdrawn.
    pub withdrawn: bool,
}

// === impl Sources ===

impl Sources {
    /// Adds a source that can't be read yet. Returns false if it is known.
    pub fn add(&mut self, name: &Name, now_ms: i64) -> bool {
        let new = !self.known.contains_key(name);
        if new {
            self.known.insert(name.clone(), Source { lost_ms: Some(now_ms), ..Source::default() });
        }
        new
    }

    /// Removes a source. All its pods must have been removed.
    pub fn remove(&mut self, name: &Name) {
        self.known.remove(name);
    }

    /// Returns whether a source is known.
    pub fn has(&self, name: &Name) -> bool {
        self.known.contains_key(name)
    }

    /// Sets the cluster that a pod joins; `None` if it is no member of any. Returns the previous cluster.
    pub fn set_pod(&mut self, name: &Name, uid: &Name, cluster: Option<&Name>) -> Option<Name> {
        let source = self.known.get_mut(name)?;
        let before = match cluster {
            Some(cluster) => source.pods.insert(uid.clone(), cluster.clone()),
            None => source.pods.remove(uid),
        };
        if before.as_ref() != cluster {
            if let Some(before) = &before {
                source.count_down(before);
            }
            if let Some(cluster) = cluster {
                *source.clusters.entry(cluster.clone()).or_default() += 1;
            }
        }
        before
    }

    /// The uids of a source's pods.
    pub fn pods_of(&self, name: &Name) -> Vec<Name> {
        self.known.get(name).map(|source| source.pods.keys().cloned().collect()).unwrap_or_default()
    }

    /// Records that a source's pods are about to be listed again: what was counted before the withdrawal is forgotten.
    pub fn begin_list(&mut self, name: &Name) {
        if let Some(source) = self.known.get_mut(name).filter(|source| source.withdrawn) {
            source.clusters.clear();
        }
    }

    /// Records that a source can be read. Returns whether it could not before.
    pub fn found(&mut self, name: &Name) -> bool {
        let Some(source) = self.known.get_mut(name) else { return false };
        (source.read, source.why, source.withdrawn) = (true, None, false);
        source.lost_ms.take().is_some()
    }

    /// Records why a source can't be read. Only the first reason of a loss counts. Returns whether it was not known.
    pub fn lose(&mut self, name: &Name, why: &str, now_ms: i64) -> bool {
        let Some(source) = self.known.get_mut(name) else { return false };
        source.lost_ms.get_or_insert(now_ms);
        let new = source.why.is_none();
        source.why.get_or_insert_with(|| why.to_owned());
        new
    }

    /// Marks the sources whose grace is over as withdrawn, and returns them.
    pub fn take_overdue(&mut self, grace_ms: i64, now_ms: i64) -> Vec<Name> {
        let mut overdue = Vec::new();
        for (name, source) in &mut self.known {
            if source.due(grace_ms).is_some_and(|due| due <= now_ms) {
                source.withdrawn = true;
                source.why.get_or_insert_with(|| "it did not answer".to_owned());
                overdue.push(name.clone());
            }
        }
        overdue
    }

    /// When the first grace ends, in milliseconds since the Unix epoch.
    pub fn deadline(&self, grace_ms: i64) -> Option<i64> {
        self.known.values().filter_map(|source| source.due(grace_ms)).min()
    }

    /// Removes a withdrawn source's pods, and returns their uids and clusters. Their number is remembered.
    pub fn withdraw(&mut self, name: &Name) -> Vec<(Name, Name)> {
        let source = self.known.get_mut(name);
        source.map(|source| source.pods.drain().collect()).unwrap_or_default()
    }

    /// The clusters that have, or before the withdrawal had, members from a source. `None` if the source was not read since
    /// it was added, so that it may have pods of any cluster.
    pub fn clusters_of(&self, name: &Name) -> Option<Vec<Name>> {
        let source = self.known.get(name).filter(|source| source.read)?;
        Some(source.clusters.keys().cloned().collect())
    }

    /// The sources that can't be read and that have, had or may have pods of this cluster.
    pub fn losses(&self, cluster: &str, grace_ms: i64) -> Vec<Loss> {
        let lost = self.known.iter().filter_map(|(name, source)| {
            let (since_ms, why) = (source.lost_ms?, source.why.clone()?);
            let pods = source.clusters.get(cluster).copied();
            (pods.is_some() || !source.read).then(|| Loss {
                source: name.clone(),
                pods,
                since_ms,
                until_ms: since_ms.saturating_add(grace_ms),
                withdrawn: source.withdrawn,
                why,
            })
        });
        lost.collect()
    }

    /// The sources that were not read since they were added, and whose grace is not over.
    pub fn unread(&self) -> Vec<String> {
        let unread = self.known.iter().filter(|(_, source)| !source.read && !source.withdrawn);
        unread.map(|(name, _)| name.to_string()).collect()
    }

    /// The state of each source.
    pub fn states(&self) -> Vec<SourceState> {
        let of = |(name, source): (&Name, &Source)| SourceState {
            name: name.clone(),
            pods: source.pods.len(),
            lost_ms: source.lost_ms,
            read: source.read,
            withdrawn: source.withdrawn,
        };
        self.known.iter().map(of).collect()
    }
}

// === impl Source ===

impl Source {
    /// When its pods are to be withdrawn.
    fn due(&self, grace_ms: i64) -> Option<i64> {
        self.lost_ms.filter(|_| !self.withdrawn).map(|since| since.saturating_add(grace_ms))
    }

    fn count_down(&mut self, cluster: &Name) {
        if let Some(count) = self.clusters.get_mut(cluster) {
            *count -= 1;
            if *count == 0 {
                self.clusters.remove(cluster);
            }
        }
    }
}
