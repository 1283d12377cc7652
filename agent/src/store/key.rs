//! The key of each file of the store ([`Key`]), and the file's name.

use portreeve_api::PlanType;
use portreeve_xds::Name;
use xxhash_rust::xxh3::xxh3_128;

use portreeve_agent_core::claims::Owner;
use portreeve_agent_core::translate::ProxyKind;
use portreeve_agent_core::world::{Host, ProxyId};

/// The subject of a file. Changes are written in the order of the keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The highest watermark seen. First in order: no resource on disk may be newer than the watermark.
    Watermark,
    /// A resource of the hub.
    Resource(PlanType, Name),
    /// A pod of this node, by its uid.
    Pod(Name),
    /// A host name's addresses.
    Host(Host),
    /// The resources that a proxy accepted of a Plan.
    Accepted(Owner),
    /// The latest epoch in which this node's agents reported.
    Epoch,
    /// When a hub was last heard.
    Heard,
    /// The mark that the hub has sent everything. Last in order, because it covers all other files.
    Complete,
}

/// Separates the parts of a key's text. No name contains it.
const SEPARATOR: char = '\0';

// === impl Key ===

impl Key {
    /// Returns the number of the key's kind in the file header. Numbers are never reused.
    pub fn kind(&self) -> u32 {
        match self {
            Self::Watermark => 1,
            Self::Complete => 2,
            Self::Pod(_) => 3,
            Self::Host(_) => 4,
            Self::Accepted(_) => 5,
            Self::Epoch => 6,
            Self::Heard => 7,
            Self::Resource(ty, _) => match ty {
                PlanType::Secret => 16,
                PlanType::Health => 17,
                PlanType::Slice => 18,
                PlanType::Group => 19,
                PlanType::Probe => 20,
                PlanType::NodeProxy => 21,
                PlanType::Plan => 22,
            },
        }
    }

    /// Returns the key's text, unique within its kind.
    pub fn text(&self) -> String {
        match self {
            Self::Watermark | Self::Epoch | Self::Heard | Self::Complete => String::new(),
            Self::Resource(_, name) | Self::Pod(name) => name.to_string(),
            Self::Host((namespace, host)) => format!("{namespace}{SEPARATOR}{host}"),
            Self::Accepted(owner) => text_of(owner),
        }
    }

    /// Parses a key from its kind and text; `None` if the kind is unknown or the text is invalid.
    pub fn read(kind: u32, text: &str) -> Option<Self> {
        let resource = |ty| Some(Self::Resource(ty, text.into()));
        match kind {
            1 => Some(Self::Watermark),
            2 => Some(Self::Complete),
            3 => Some(Self::Pod(text.into())),
            4 => text.split_once(SEPARATOR).map(|(ns, host)| Self::Host((ns.into(), host.into()))),
            5 => owner(text).map(Self::Accepted),
            6 => Some(Self::Epoch),
            7 => Some(Self::Heard),
            16 => resource(PlanType::Secret),
            17 => resource(PlanType::Health),
            18 => resource(PlanType::Slice),
            19 => resource(PlanType::Group),
            20 => resource(PlanType::Probe),
            21 => resource(PlanType::NodeProxy),
            22 => resource(PlanType::Plan),
            _ => None,
        }
    }

    /// Returns the file's name: the kind's name and a hash of the text, because names may be long and contain
    /// slashes.
    pub fn file(&self) -> String {
        format!("{}-{:032x}", self.word(), xxh3_128(self.text().as_bytes()))
    }

    /// Returns the name of the key's kind.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Watermark => "watermark",
            Self::Complete => "complete",
            Self::Pod(_) => "pod",
            Self::Host(_) => "host",
            Self::Accepted(_) => "accepted",
            Self::Epoch => "epoch",
            Self::Heard => "heard",
            Self::Resource(ty, _) => match ty {
                PlanType::Secret => "secret",
                PlanType::Health => "health",
                PlanType::Slice => "slice",
                PlanType::Group => "group",
                PlanType::Probe => "probe",
                PlanType::NodeProxy => "nodeproxy",
                PlanType::Plan => "plan",
            },
        }
    }
}

/// Returns an owner's text. It starts with the kind of proxy, except for Envoy, because version 0.1.0 knew no
/// other kind.
fn text_of(owner: &Owner) -> String {
    let kind = match owner.kind {
        ProxyKind::Envoy => String::new(),
        other => format!("{}{SEPARATOR}", other.word()),
    };
    let (place, name) = match &owner.proxy {
        ProxyId::Node(name) => ("node", name),
        ProxyId::Pod(uid) => ("pod", uid),
    };
    format!("{kind}{place}{SEPARATOR}{name}{SEPARATOR}{}", owner.plan)
}

fn owner(text: &str) -> Option<Owner> {
    let named = text.split_once(SEPARATOR).and_then(|(first, rest)| {
        let kind = ProxyKind::ALL.into_iter().find(|kind| kind.word() == first)?;
        Some((kind, rest))
    });
    let (kind, text) = named.unwrap_or((ProxyKind::Envoy, text));
    let mut parts = text.splitn(3, SEPARATOR);
    let (place, name, plan) = (parts.next()?, parts.next()?, parts.next()?);
    let proxy = match place {
        "node" => ProxyId::Node(name.into()),
        "pod" => ProxyId::Pod(name.into()),
        _ => return None,
    };
    Some(Owner { kind, proxy, plan: plan.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_xds::ResourceType;
    use std::collections::BTreeSet;

    fn all() -> Vec<Key> {
        let mut keys: Vec<Key> = PlanType::ALL.iter().map(|ty| Key::Resource(*ty, "A/ns/n".into())).collect();
        for kind in ProxyKind::ALL {
            let owner =
                |id: fn(Name) -> ProxyId| Owner { kind, proxy: id("gw".into()), plan: "A/ns/n".into() };
            keys.extend([ProxyId::Node, ProxyId::Pod].map(|id| Key::Accepted(owner(id))));
        }
        keys.extend([Key::Watermark, Key::Epoch, Key::Heard, Key::Complete, Key::Pod("uid".into())]);
        keys.push(Key::Host(("ns".into(), "host".into())));
        keys
    }

    #[test]
    fn every_key_is_read_back_and_has_a_file_of_its_own() {
        let mut files = BTreeSet::new();
        for key in all() {
            assert_eq!(Key::read(key.kind(), &key.text()), Some(key.clone()));
            assert!(files.insert(key.file()), "{key:?}");
            assert!(key.file().len() < 64, "{}", key.file());
        }
    }

    #[test]
    fn what_is_no_key_is_none() {
        for (kind, text) in
            [(0, "x"), (4, "no separator"), (5, "node\0gw"), (5, "what\0gw\0plan"), (5, "l7mp\0node\0gw")]
        {
            assert_eq!(Key::read(kind, text), None, "{kind} {text:?}");
        }
    }

    #[test]
    fn envoys_have_the_keys_of_version_0_1_0_and_no_other_kind_shares_them() {
        let text = |kind| {
            Key::Accepted(Owner { kind, proxy: ProxyId::Node("gw".into()), plan: "A/ns/n".into() }).text()
        };
        assert_eq!(text(ProxyKind::Envoy), "node\0gw\0A/ns/n");
        assert_eq!(text(ProxyKind::L7mp), "l7mp\0node\0gw\0A/ns/n");
    }

    #[test]
    fn watermark_is_written_first_and_completeness_last() {
        let mut keys = all();
        keys.sort();
        assert_eq!((keys.first(), keys.last()), (Some(&Key::Watermark), Some(&Key::Complete)));
    }
}
