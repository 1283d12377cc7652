//! The progress of a fleet's proxies with their Plans: [`Standing`].

use std::collections::BTreeMap;
use std::sync::Arc;

use portreeve_api::model::{Elsewhere, Plan};
use portreeve_api::refs::{ProxyId, ResourceName};
use portreeve_xds::{Name, Resource, Version};

use super::Fleet;
use super::answers::Answers;
use super::contribution::{Contribution, Findings};
use super::proxy::Proxy;
use crate::translate::ProxyModel;

/// A proxy's progress with a Plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The proxy accepted every resource of the Plan's current version.
    Acked,
    /// The proxy rejected a resource, or a resource can't be sent to it. Contains the reason.
    Refused(String),
    /// The proxy can't express a part of the Plan, which is not sent to it. Contains the part and the field.
    Inexpressible(String),
    /// The proxy has not answered yet.
    Pending,
    /// The proxy has been disconnected for more than a few seconds.
    Unreachable,
}

/// A proxy that a Plan applies to.
pub struct Stand<'a> {
    /// The proxy.
    pub id: &'a ProxyId,
    /// The proxy's name for messages.
    pub title: &'a str,
    /// The proxy's progress.
    pub progress: Progress,
    /// Findings of the Plan's part; `None` if there is no part.
    pub findings: Option<&'a Findings>,
}

/// A summary of what a connected proxy accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Accepted listeners.
    pub listeners: usize,
    /// Accepted clusters.
    pub clusters: usize,
    /// One combined version for all resources of a type, by the type's name.
    pub versions: BTreeMap<String, Version>,
}

/// The progress of a fleet's proxies, independent of their kind.
pub trait Standing {
    /// Returns the proxies that a Plan in this version applies to, by the workload fields that this agent
    /// supports.
    fn stands(&self, name: &Name, plan: &Plan, version: Version) -> Vec<Stand<'_>>;

    /// Returns whether any proxy still has a resource of a Plan.
    fn has_any(&self, plan: &str) -> bool;

    /// Returns why a proxy rejects, or can't be sent, a resource that it should have now; `None` if there is
    /// no such resource.
    fn nack(&self, id: &ProxyId) -> Option<String>;

    /// Returns a summary of what a proxy accepted; `None` if it is not connected.
    fn report(&self, id: &ProxyId) -> Option<Report>;

    /// Returns the findings of all Plans on all proxies, each with the Plan's name.
    fn findings(&self) -> Vec<(&Name, &Findings)>;
}

impl<T: ProxyModel> Standing for Fleet<T> {
    fn stands(&self, name: &Name, plan: &Plan, version: Version) -> Vec<Stand<'_>> {
        let concerned = self.proxies.iter().filter(|(_, proxy)| proxy.facts.may_take(plan));
        let stands = concerned.map(|(id, proxy)| {
            let part = proxy.plans.get(name);
            let answers = self.answers.get(id);
            let progress = progress((proxy, part), answers, (plan, version));
            Stand { id, title: &proxy.facts.title, progress, findings: part.map(|part| &part.findings) }
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
        let answers = self.answers.get(id).filter(|answers| !answers.streams.is_empty())?;
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
    (proxy, part): (&Proxy<T>, Option<&Contribution<T>>),
    answers: Option<&Answers<T>>,
    (plan, version): (&Plan, Version),
) -> Progress {
    let title = &proxy.facts.title;
    let Some(answers) = answers.filter(|answers| answers.is_there()) else { return Progress::Unreachable };
    // The Plan's groups or host names are not all known: the proxy has resources of an earlier version.
    let Some(part) = part.filter(|part| part.findings.made_of == Some(version)) else {
        return Progress::Pending;
    };
    let refused = part.resources.keys().find_map(|key| {
        let refusal = answers.refused.get(key).filter(|refusal| Some(refusal.version) == part.wanted(key))?;
        Some(format!("{title}, {} {}: {}", key.0.noun(), key.1, refusal.text))
    });
    if let Some(text) = refused {
        return Progress::Refused(text);
    }
    if let Some(text) = inexpressible(title, &part.findings) {
        return Progress::Inexpressible(text);
    }
    if let Some((listener, text)) = part.findings.taken().next() {
        return Progress::Refused(format!("{title}, {listener}: {text}"));
    }
    if !part.findings.taken.is_empty() {
        return Progress::Pending;
    }
    let runs = |(key, resource): (&(T, Name), &Arc<Resource>)| answers.runs(key, resource.version());
    match part.resources.iter().all(runs) {
        true => unmet(proxy, answers, plan).unwrap_or(Progress::Acked),
        false => Progress::Pending,
    }
}

/// Returns the progress of a Plan whose rules lead to a cluster of another Plan that the proxy doesn't run; `None` if it
/// runs all of them.
fn unmet<T: ProxyModel>(proxy: &Proxy<T>, answers: &Answers<T>, plan: &Plan) -> Option<Progress> {
    plan.clusters.iter().find_map(|cluster| {
        let Some(Elsewhere::Plan(name)) = &cluster.elsewhere else { return None };
        let (key, owner) = ((T::CLUSTER, Name::from(name.as_str())), ResourceName::plan_of(name));
        let comes = proxy.plans.get(owner).is_some_and(|part| part.resources.contains_key(&key));
        match (comes, answers.has(&key)) {
            (true, true) => None,
            (true, false) => Some(Progress::Pending),
            (false, _) => Some(Progress::Refused(format!(
                "{}: waits for {name}, which this proxy does not have: let the selector of {owner} match the proxy, or \
                 lead no rule there",
                proxy.facts.title
            ))),
        }
    })
}

// === impl Fleet ===

impl<T: ProxyModel> Fleet<T> {
    /// Returns whether a proxy accepted something from this agent or an earlier one.
    pub fn has_kept(&self, id: &ProxyId) -> bool {
        self.ledgers.get(id).is_some_and(|ledger| ledger.accepted().next().is_some())
    }

    /// Returns whether a connected proxy has answered everything of these Plans since its present stream began. A Plan whose
    /// sources aren't known yet can't be answered.
    pub fn has_answered(
        &self,
        id: &ProxyId,
        plans: &BTreeMap<Name, Arc<Plan>>,
        versions: &BTreeMap<Name, Version>,
    ) -> bool {
        let Some((proxy, answers)) = self.proxies.get(id).zip(self.answers.get(id)) else { return false };
        // This is asked after each answer, so most calls must end here.
        let wanted = || proxy.plans.values().map(|part| part.resources.len()).sum::<usize>();
        if answers.streams.is_empty() || answers.accepted.len() + answers.refused.len() < wanted() {
            return false;
        }
        let answered = |(key, resource): (&(T, Name), &Arc<Resource>)| {
            let refused = answers.refused.get(key).map(|refusal| refusal.version);
            [answers.accepted.get(key).copied(), refused].contains(&Some(resource.version()))
        };
        let settled = |(name, plan): (&Name, &Arc<Plan>)| {
            let version = versions.get(name).copied().unwrap_or_default();
            let progress = progress((proxy, proxy.plans.get(name)), Some(answers), (plan, version));
            progress != Progress::Pending
        };
        let mut taken = plans.iter().filter(|(_, plan)| proxy.facts.takes(plan));
        proxy.plans.values().flat_map(|part| &part.resources).all(answered) && taken.all(settled)
    }
}

/// Returns what a proxy can't express of a Plan; `None` if it can express everything.
fn inexpressible(title: &str, findings: &Findings) -> Option<String> {
    let first = findings.remarks.first()?;
    let others = match findings.remarks.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(format!("{title}, {}: {}{others}", first.at, first.text))
}
