//! What a proxy has made of each resource ([`Answer`]), told on difference.

use std::collections::BTreeMap;

use portreeve_xds::{Name, Version};

use crate::actual::Actual;
use crate::making::Ground;
use crate::names::{Key, Kind};
use crate::wanted::{Hold, Insertion, Wanted, WantedCluster, WantedListener, WantedRules};

/// News of one proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The proxy is connected and everything was read back. All resources are answered again.
    Connected,
    /// The proxy can't be reached any more, or was restarted and has lost everything.
    Disconnected {
        /// Why.
        text: String,
    },
    /// The proxy confirmed everything of this version.
    Acked {
        /// The resource's kind.
        ty: Kind,
        /// The resource's name.
        name: Name,
        /// The version.
        version: Version,
    },
    /// This version can't be applied. A version that was applied before stays.
    Nacked {
        /// The resource's kind.
        ty: Kind,
        /// The resource's name.
        name: Name,
        /// The version.
        version: Version,
        /// The proxy's words, or what the proxy's own configuration lacks.
        text: String,
    },
    /// This version isn't applied yet because a cluster resource is missing. A version that was applied before stays.
    Pending {
        /// The resource's kind.
        ty: Kind,
        /// The resource's name.
        name: Name,
        /// The version.
        version: Version,
        /// The missing cluster resource.
        cluster: Name,
    },
    /// The proxy has nothing of this resource any more.
    Removed {
        /// The resource's kind.
        ty: Kind,
        /// The resource's name.
        name: Name,
    },
}

/// The state of a resource on the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Acked,
    Nacked(String),
    Pending(Name),
    /// Something is still to be done.
    Underway,
}

/// What was told of each resource.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// `None`: told to an earlier connection, which counts only for removals.
    told: BTreeMap<Key, Option<(Version, Verdict)>>,
}

// === impl Report ===

impl Report {
    /// Forgets what was told, because everything is read again.
    pub(crate) fn disconnected(&mut self) {
        self.told.values_mut().for_each(|told| *told = None);
    }

    /// Returns the resources that were told of.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.told.keys()
    }

    /// Returns the news of one resource.
    pub(crate) fn of(&mut self, key: &Key, ground: Ground<'_>, wanted: &Wanted) -> Option<Answer> {
        let Some(version) = ground.desired.version(key) else { return self.removed(key, ground.actual) };
        let verdict = match ground.refusal(key) {
            Some(text) => Verdict::Nacked(text.clone()),
            None => verdict(key, wanted, ground.actual),
        };
        let now = Some((version, verdict.clone()));
        if verdict == Verdict::Underway || self.told.get(key) == Some(&now) {
            return None;
        }
        self.told.insert(key.clone(), now);
        let Key { kind: ty, name } = key.clone();
        Some(match verdict {
            Verdict::Acked | Verdict::Underway => Answer::Acked { ty, name, version },
            Verdict::Nacked(text) => Answer::Nacked { ty, name, version, text },
            Verdict::Pending(cluster) => Answer::Pending { ty, name, version, cluster },
        })
    }

    /// Tells once that nothing of a resource is left that is not desired.
    fn removed(&mut self, key: &Key, actual: &Actual) -> Option<Answer> {
        if actual.has(key) {
            return None;
        }
        self.told.remove(key)?;
        let Key { kind: ty, name } = key.clone();
        Some(Answer::Removed { ty, name })
    }
}

fn verdict(key: &Key, wanted: &Wanted, actual: &Actual) -> Verdict {
    let name = &key.name;
    match key.kind {
        Kind::Cluster => {
            judge(wanted.clusters.get(name), |made| actual.clusters.contains_key(&made.name).into())
        }
        Kind::Endpoints => match wanted.clusters.get(name) {
            Some(Err(_)) => Verdict::Pending(name.clone()),
            made => judge(made, |made| endpoints(made, actual).into()),
        },
        Kind::Rule => judge(wanted.insertions.get(name), |made| insertion(made, actual).into()),
        Kind::Listener => judge(wanted.listeners.get(name), |made| listener(made, actual).into()),
    }
}

/// Judges a resource's object, or tells what holds the resource back.
fn judge<T>(made: Option<&Result<T, Hold>>, judge: impl Fn(&T) -> Verdict) -> Verdict {
    match made {
        Some(Ok(made)) => judge(made),
        Some(Err(Hold::Refused(text))) => Verdict::Nacked(text.clone()),
        Some(Err(Hold::Waiting(cluster))) => Verdict::Pending(cluster.clone()),
        None => Verdict::Underway,
    }
}

fn endpoints(made: &WantedCluster, actual: &Actual) -> bool {
    let seen = actual.clusters.get(&made.name);
    seen.is_some_and(|seen| {
        seen.len() == made.endpoints.len()
            && made
                .endpoints
                .iter()
                .all(|(name, endpoint)| seen.get(name) == Some(&f64::from(endpoint.weight.unwrap_or(1))))
    })
}

fn insertion(made: &Insertion, actual: &Actual) -> bool {
    let listed = actual.lists_of(&made.rule.name).any(|list| list == made.list);
    listed && actual.rules.contains_key(&made.rule.name)
}

fn listener(made: &WantedListener, actual: &Actual) -> bool {
    let Some(seen) = actual.listeners.get(&made.name) else { return false };
    match &made.rules {
        WantedRules::List(list) => seen.list == *list,
        WantedRules::These(rules) => {
            let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
            let there = names.iter().all(|name| actual.rules.contains_key(*name));
            there && actual.lists.get(&seen.list).is_some_and(|list| *list == names)
        }
    }
}

// === impl Verdict ===

impl From<bool> for Verdict {
    fn from(there: bool) -> Self {
        if there { Self::Acked } else { Self::Underway }
    }
}

#[cfg(test)]
mod tests;
