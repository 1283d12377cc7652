//! The watermark of a hub: the highest resourceVersion of each watch. Content hashes have no order, so the watermark
//! prevents a lagging replica from sending an agent older state than it has seen.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use portreeve_xds::Name;

use crate::kinds;

/// A kind of object that the hub watches: the kinds of the registry in its order, then those in `OTHERS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchedKind(usize);

/// The short names of the watched kinds outside the registry.
const OTHERS: [&str; 5] = ["pods", "nodes", "namespaces", "services", "endpointslices"];

/// The objects of one watch: those of a kind, in all namespaces or in one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watched {
    /// The kind of the objects.
    pub kind: WatchedKind,
    /// The namespace; `None` for all namespaces and for cluster-scoped kinds.
    pub namespace: Option<Name>,
}

/// The highest resourceVersion that each watch has seen; 0 if none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watermark {
    /// Watches of all namespaces.
    whole: [Mark; WatchedKind::COUNT],
    /// Watches of single namespaces, in hubs that are restricted to some. Each has its own revision, because a replica
    /// may be ahead in one namespace and lag in another.
    parts: BTreeMap<Watched, Mark>,
}

/// The revisions of one watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    /// The highest revision of objects and their deletions. Other hubs must have reached it.
    seen: u64,
    /// The highest revision of lists, which include all earlier objects. Other hubs needn't have reached it: a replica
    /// that listed earlier and got no event since doesn't know that it is up to date.
    listed: u64,
}

// === impl WatchedKind ===

impl WatchedKind {
    /// Pods.
    pub const PODS: Self = Self(kinds::ALL.len());
    /// Nodes.
    pub const NODES: Self = Self(kinds::ALL.len() + 1);
    /// Namespaces.
    pub const NAMESPACES: Self = Self(kinds::ALL.len() + 2);
    /// Services. They are watched only if objects of some kind use them.
    pub const SERVICES: Self = Self(kinds::ALL.len() + 3);
    /// EndpointSlices. They are watched only if objects of some kind use them.
    pub const ENDPOINT_SLICES: Self = Self(kinds::ALL.len() + 4);
    /// Number of kinds.
    pub const COUNT: usize = kinds::ALL.len() + OTHERS.len();

    /// Returns the kind of the registry's row at this index.
    pub fn of_row(place: usize) -> Self {
        Self(place)
    }

    /// Returns every kind that is watched.
    pub fn all() -> impl Iterator<Item = Self> {
        let count = if kinds::use_services() { Self::COUNT } else { Self::SERVICES.0 };
        (0..count).map(Self)
    }

    /// Returns the short name in watermarks and metrics.
    pub fn letters(self) -> &'static str {
        match kinds::ALL.get(self.0) {
            Some(row) => row.letters,
            None => OTHERS[self.0 - kinds::ALL.len()],
        }
    }

    /// Returns the index among all kinds.
    pub fn place(self) -> usize {
        self.0
    }
}

// === impl Watched ===

impl From<WatchedKind> for Watched {
    fn from(kind: WatchedKind) -> Self {
        Self { kind, namespace: None }
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.letters())?;
        self.namespace.iter().try_for_each(|namespace| write!(f, "/{namespace}"))
    }
}

impl FromStr for Watched {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (letters, namespace) = match text.split_once('/') {
            Some((letters, namespace)) => (letters, Some(namespace.into())),
            None => (text, None),
        };
        let kind = WatchedKind::all().find(|kind| kind.letters() == letters);
        Ok(Self { kind: kind.ok_or_else(|| format!("{letters:?} is not a known kind"))?, namespace })
    }
}

// === impl Mark ===

impl Mark {
    /// Returns the revision up to which everything was seen.
    fn reach(self) -> u64 {
        self.seen.max(self.listed)
    }
}

// === impl Watermark ===

impl Watermark {
    /// Records a revision of a watch. Returns whether it raised the watermark.
    pub fn raise(&mut self, of: &Watched, revision: u64) -> bool {
        raise(&mut self.mark(of).seen, revision)
    }

    /// Records the revision of a watch's complete list. Returns whether it raised the watermark.
    pub fn list(&mut self, of: &Watched, revision: u64) -> bool {
        raise(&mut self.mark(of).listed, revision)
    }

    /// Returns the highest revision of each kind, with its short name.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let highest =
            |kind| self.parts_of(kind).chain([self.whole[kind.place()]]).map(|mark| mark.seen).max();
        WatchedKind::all().map(move |kind| (kind.letters(), highest(kind).unwrap_or_default()))
    }

    /// Returns whether this hub has seen everything that `other` has seen. Objects that this hub doesn't watch count as
    /// seen.
    pub fn covers(&self, other: &Self) -> bool {
        let whole = WatchedKind::all().all(|kind| self.reach(kind) >= other.whole[kind.place()].seen);
        whole
            && other.parts.iter().all(|(of, theirs)| self.reach_of(of).is_none_or(|mine| mine >= theirs.seen))
    }

    /// Returns the revision up to which everything of a kind was seen in all watched namespaces.
    fn reach(&self, kind: WatchedKind) -> u64 {
        let lowest = self.parts_of(kind).map(Mark::reach).min();
        lowest.unwrap_or_else(|| self.whole[kind.place()].reach())
    }

    /// Like [`Self::reach`], for one namespace. `None` if it isn't watched.
    fn reach_of(&self, of: &Watched) -> Option<u64> {
        match self.parts.get(of) {
            Some(mark) => Some(mark.reach()),
            None if self.parts_of(of.kind).next().is_some() => None,
            None => Some(self.whole[of.kind.place()].reach()),
        }
    }

    fn parts_of(&self, kind: WatchedKind) -> impl Iterator<Item = Mark> {
        self.parts.iter().filter(move |(of, _)| of.kind == kind).map(|(_, mark)| *mark)
    }

    fn mark(&mut self, of: &Watched) -> &mut Mark {
        match of.namespace {
            None => &mut self.whole[of.kind.place()],
            Some(_) => self.parts.entry(of.clone()).or_default(),
        }
    }
}

/// Raises a revision. Returns whether it was lower before.
fn raise(known: &mut u64, revision: u64) -> bool {
    let lower = *known < revision;
    *known = revision.max(*known);
    lower
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, kind) in WatchedKind::all().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{}={}", kind.letters(), self.whole[kind.place()].seen)?;
        }
        self.parts.iter().try_for_each(|(of, mark)| write!(f, ",{of}={}", mark.seen))
    }
}

impl FromStr for Watermark {
    type Err = String;

    /// Unknown kinds are skipped, because the other side may be newer.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut read = Self::default();
        for part in text.split(',').filter(|p| !p.is_empty()) {
            let (of, revision) =
                part.split_once('=').ok_or_else(|| format!("{part:?} is not kind=revision"))?;
            let revision = revision.parse().map_err(|e| format!("{part:?}: {e}"))?;
            if let Ok(of) = of.parse() {
                read.raise(&of, revision);
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of a watermark that are not 0.
    fn seen(mark: &Watermark) -> Vec<String> {
        let text = mark.to_string();
        text.split(',').filter(|part| !part.ends_with("=0")).map(str::to_owned).collect()
    }

    #[test]
    fn watermark_reads_what_it_writes_and_passes_over_unknown_kinds() {
        let mut mark = Watermark::default();
        assert!(mark.raise(&WatchedKind::PODS.into(), 7));
        assert!(!mark.raise(&WatchedKind::PODS.into(), 5));
        assert_eq!(seen(&mark), ["pods=7"]);
        assert_eq!(mark.to_string().parse(), Ok(mark.clone()));
        assert_eq!("pods=7,moons=9".parse(), Ok(mark));
        assert!("pods".parse::<Watermark>().is_err());
    }

    #[test]
    fn a_replica_that_lags_in_one_kind_does_not_cover() {
        let ahead: Watermark = "vs=3,pods=7".parse().unwrap();
        let lagging: Watermark = "vs=9,pods=6".parse().unwrap();
        assert!(!lagging.covers(&ahead));
        assert!(ahead.covers(&"vs=3".parse().unwrap()));
    }

    #[test]
    fn a_list_covers_deletions_before_it_and_holds_nobody_to_itself() {
        let mut later = Watermark::default();
        later.raise(&WatchedKind::of_row(0).into(), 3);
        later.list(&WatchedKind::of_row(0).into(), 9);
        assert!(later.covers(&"vs=8".parse().unwrap()), "the deletion of what it never saw");
        assert!(!later.covers(&"vs=10".parse().unwrap()));
        assert_eq!(seen(&later), ["vs=3"]);
        // A replica that listed at revision 3 and got no event since is up to date.
        let earlier: Watermark = "vs=3".parse().unwrap();
        assert!(earlier.covers(&later));
    }

    #[test]
    fn each_namespace_of_a_restricted_hub_has_its_own_revision() {
        let of = |namespace: &str| Watched { kind: WatchedKind::PODS, namespace: Some(namespace.into()) };
        let mut mark = Watermark::default();
        mark.raise(&of("calls"), 7);
        mark.list(&of("more"), 9);
        assert_eq!(seen(&mark), ["pods/calls=7"]);
        assert!(mark.to_string().ends_with(",pods/calls=7,pods/more=0"), "{mark}");
        assert_eq!(mark.kinds().find(|(kind, _)| *kind == "pods"), Some(("pods", 7)));
        // Ahead in one namespace, behind in the other.
        let other: Watermark = "pods/calls=9,pods/more=3".parse().unwrap();
        assert!(!mark.covers(&other));
        assert!(mark.covers(&"pods/calls=7,pods/more=9".parse().unwrap()));
        assert!(mark.covers(&"pods/elsewhere=20".parse().unwrap()), "it is not watched here");
    }

    #[test]
    fn hub_of_all_namespaces_and_a_restricted_one_follow_each_other() {
        let (mut all, mut some) = (Watermark::default(), Watermark::default());
        all.list(&WatchedKind::PODS.into(), 8);
        some.list(&Watched { kind: WatchedKind::PODS, namespace: Some("calls".into()) }, 8);
        some.list(&Watched { kind: WatchedKind::PODS, namespace: Some("more".into()) }, 6);
        assert!(all.covers(&"pods/calls=8".parse().unwrap()));
        assert!(!all.covers(&"pods/calls=9".parse().unwrap()));
        assert!(some.covers(&"pods=6".parse().unwrap()));
        assert!(!some.covers(&"pods=7".parse().unwrap()), "one namespace was listed before");
    }
}
