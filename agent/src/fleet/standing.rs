//! How far the proxies of a fleet are with what they are to have: [`Standing`].

use std::collections::BTreeMap;
use std::sync::Arc;

use portreeve_api::model::Plan;
use portreeve_api::refs::{ProxyId, ResourceName};
use portreeve_xds::{Name, Resource, Version};

use super::Fleet;
use super::answers::Answers;
use super::contribution::{Contribution, Findings};
use crate::translate::ProxyModel;

/// How far a proxy is with a Plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It accepted every resource of the Plan's present version.
    Acked,
    /// It refused one, in these words, or can't be told one.
    Refused(String),
    /// It has yet to answer.
    Pending,
    /// It has no stream, and has had none for a while.
    Unreachable,
}

/// A proxy that a Plan is for.
pub struct Stand<'a> {
    /// The proxy, as people know it.
    pub title: &'a str,
    /// How far it is.
    pub progress: Progress,
    /// What is told of the Plan's part; `None` without one.
    pub findings: Option<&'a Findings>,
}

/// What a connected proxy accepted, in sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Listeners.
    pub listeners: usize,
    /// Clusters.
    pub clusters: usize,
    /// One version for all resources of a type, by the type's name.
    pub versions: BTreeMap<String, Version>,
}

/// How far the proxies of a fleet are, whatever their kind.
pub trait Standing {
    /// The proxies that a Plan in this version is for, as far as its workload is known here.
    fn stands(&self, name: &Name, plan: &Plan, version: Version) -> Vec<Stand<'_>>;

    /// Whether any proxy still has something of a Plan.
    fn has_any(&self, plan: &str) -> bool;

    /// What a proxy refuses, or can't be sent, of what it is to have now.
    fn nack(&self, id: &ProxyId) -> Option<String>;

    /// What a proxy accepted; `None` if it is not connected.
    fn report(&self, id: &ProxyId) -> Option<Report>;

    /// What is told of all Plans' parts, by the Plans' names.
    fn findings(&self) -> Vec<(&Name, &Findings)>;
}

impl<T: ProxyModel> Standing for Fleet<T> {
    fn stands(&self, name: &Name, plan: &Plan, version: Version) -> Vec<Stand<'_>> {
        let concerned = self.proxies.iter().filter(|(_, proxy)| proxy.facts.may_take(plan));
        let stands = concerned.map(|(id, proxy)| {
            let part = proxy.plans.get(name);
            let progress = progress((&proxy.facts.title, part), self.answers.get(id), version);
            Stand { title: &proxy.facts.title, progress, findings: part.map(|part| &part.findings) }
        });
        stands.collect()
    }

    fn has_any(&self, plan: &str) -> bool {
        let start = ResourceName::start_of(plan);
        self.answers.values().any(|answers| answers.has_any(&start))
    }

    fn nack(&self, id: &ProxyId) -> Option<String> {
        let (proxy, answers) = self.proxies.get(id).zip(self.answers.get(id))?;
        let wanted = |key: &(T, Name)| {
            proxy.plans.get(ResourceName::plan_of(&key.1)).and_then(|part| part.wanted(key))
        };
        let refused = answers.refused.iter().filter(|(key, r)| wanted(key) == Some(r.version));
        let refused = refused.map(|((ty, name), refusal)| format!("{} {name}: {}", ty.noun(), refusal.text));
        let taken = proxy.plans.iter().flat_map(|(plan, part)| {
            part.findings
                .taken()
                .map(move |(listener, text)| format!("{} {plan}/{listener}: {text}", T::LISTENER.noun()))
        });
        let mut all = refused.chain(taken);
        let first = all.next()?;
        match all.count() {
            0 => Some(first),
            more => Some(format!("{first} (and {more} more)")),
        }
    }

    fn report(&self, id: &ProxyId) -> Option<Report> {
        let answers = self.answers.get(id).filter(|answers| answers.streams > 0)?;
        let mut by_type: BTreeMap<T, Vec<_>> = BTreeMap::new();
        for ((ty, name), version) in &answers.accepted {
            by_type.entry(*ty).or_default().push((name, *version));
        }
        let count = |ty| by_type.get(&ty).map_or(0, Vec::len);
        let (listeners, clusters) = (count(T::LISTENER), count(T::CLUSTER));
        let versions = by_type.into_iter().map(|(ty, set)| (format!("{ty:?}"), Version::of_set(set)));
        Some(Report { listeners, clusters, versions: versions.collect() })
    }

    fn findings(&self) -> Vec<(&Name, &Findings)> {
        let parts = self.proxies.values().flat_map(|proxy| &proxy.plans);
        parts.map(|(plan, part)| (plan, &part.findings)).collect()
    }
}

fn progress<T: ProxyModel>(
    (title, part): (&str, Option<&Contribution<T>>),
    answers: Option<&Answers<T>>,
    version: Version,
) -> Progress {
    let Some(answers) = answers.filter(|answers| answers.is_there()) else { return Progress::Unreachable };
    // Its groups or names are not known completely: what it has is of an earlier version.
    let Some(part) = part.filter(|part| part.findings.made_of == Some(version)) else {
        return Progress::Pending;
    };
    let refused = part.resources.keys().find_map(|key| {
        let refusal = answers.refused.get(key).filter(|refusal| Some(refusal.version) == part.wanted(key))?;
        Some(format!("{title}, {} {}: {}", key.0.noun(), key.1, refusal.text))
    });
    if let Some(text) = refused.or_else(|| unservable(title, &part.findings)) {
        return Progress::Refused(text);
    }
    if !part.findings.taken.is_empty() {
        return Progress::Pending;
    }
    let runs = |(key, resource): (&(T, Name), &Arc<Resource>)| answers.runs(key, resource.version());
    if part.resources.iter().all(runs) { Progress::Acked } else { Progress::Pending }
}

/// Why a proxy can't be told a Plan's part.
fn unservable(title: &str, findings: &Findings) -> Option<String> {
    let inexpressible = || {
        let first = findings.remarks.first()?;
        let others = match findings.remarks.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Some(format!("{title}, {}: {}{others}", first.at, first.text))
    };
    let taken = || findings.taken().next().map(|(listener, text)| format!("{title}, {listener}: {text}"));
    inexpressible().or_else(taken)
}
