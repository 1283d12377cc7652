//! How far a hub has seen: the highest resourceVersion of each watched kind. Content hashes have no order, so this
//! is what keeps an agent from being taken back in time by a replica that lags.

use std::fmt;
use std::str::FromStr;

/// A kind that the hub watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// API A's VirtualServices.
    VirtualServices,
    /// NodeProxies.
    NodeProxies,
    /// Pods.
    Pods,
    /// Nodes.
    Nodes,
    /// Namespaces.
    Namespaces,
}

/// The highest resourceVersion seen of each kind; 0: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermark {
    /// Of objects and their deletions: what others are held to.
    seen: [u64; Kind::ALL.len()],
    /// Of lists, which hold all that was before them. A replica that listed earlier, and has had nothing to see since, does not
    /// know that it is as far: so nobody is held to these.
    listed: [u64; Kind::ALL.len()],
}

// === impl Kind ===

impl Kind {
    /// Every kind, in the order of its number.
    pub const ALL: [Kind; 5] =
        [Kind::VirtualServices, Kind::NodeProxies, Kind::Pods, Kind::Nodes, Kind::Namespaces];

    /// How it is called in a watermark and in metrics.
    pub fn letters(self) -> &'static str {
        match self {
            Kind::VirtualServices => "vs",
            Kind::NodeProxies => "npx",
            Kind::Pods => "pods",
            Kind::Nodes => "nodes",
            Kind::Namespaces => "namespaces",
        }
    }
}

// === impl Watermark ===

impl Watermark {
    /// Records a revision of a kind; an older one changes nothing.
    pub fn raise(&mut self, kind: Kind, revision: u64) {
        let seen = &mut self.seen[kind as usize];
        *seen = revision.max(*seen);
    }

    /// Records the revision of a kind's complete list.
    pub fn list(&mut self, kind: Kind, revision: u64) {
        let listed = &mut self.listed[kind as usize];
        *listed = revision.max(*listed);
    }

    /// The revision of each kind, by its letters.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Kind::ALL.into_iter().map(|kind| (kind.letters(), self.seen[kind as usize]))
    }

    /// Whether all that `other` has seen was seen here as well.
    pub fn covers(&self, other: &Self) -> bool {
        let mine = self.seen.iter().zip(self.listed).map(|(seen, listed)| listed.max(*seen));
        mine.zip(other.seen).all(|(mine, theirs)| mine >= theirs)
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, kind) in Kind::ALL.into_iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{}={}", kind.letters(), self.seen[kind as usize])?;
        }
        Ok(())
    }
}

impl FromStr for Watermark {
    type Err = String;

    /// Kinds that this version doesn't know are passed over: the other side may be newer.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut read = Self::default();
        for part in text.split(',').filter(|p| !p.is_empty()) {
            let (letters, revision) =
                part.split_once('=').ok_or_else(|| format!("{part:?} is not kind=revision"))?;
            let revision = revision.parse().map_err(|e| format!("{part:?}: {e}"))?;
            if let Some(kind) = Kind::ALL.into_iter().find(|k| k.letters() == letters) {
                read.raise(kind, revision);
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watermark_reads_what_it_writes_and_passes_over_unknown_kinds() {
        let mut mark = Watermark::default();
        mark.raise(Kind::Pods, 7);
        mark.raise(Kind::Pods, 5);
        assert_eq!(mark.to_string(), "vs=0,npx=0,pods=7,nodes=0,namespaces=0");
        assert_eq!(mark.to_string().parse(), Ok(mark));
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
        later.raise(Kind::VirtualServices, 3);
        later.list(Kind::VirtualServices, 9);
        assert!(later.covers(&"vs=8".parse().unwrap()), "the deletion of what it never saw");
        assert!(!later.covers(&"vs=10".parse().unwrap()));
        assert_eq!(later.to_string(), "vs=3,npx=0,pods=0,nodes=0,namespaces=0");
        // One that listed when 3 was the newest, and has had nothing to see since, is as far.
        let earlier: Watermark = "vs=3".parse().unwrap();
        assert!(earlier.covers(&later));
    }
}
