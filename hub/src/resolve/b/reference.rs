//! References to objects by name, in all spellings of API B: [`Reference`].

use portreeve_api::b::{route, rule, target, virtual_service};
use portreeve_api::kind::Kind;
use portreeve_xds::Name;

/// The end of fully specified names: `worker.default.virtualservice.cluster.local`.
const DOMAIN: &str = ".cluster.local";

/// Each kind with its lower-case name and its plural.
const KINDS: [(&Kind, &str, &str); 4] = [
    (&virtual_service::KIND, "virtualservice", "virtualservices"),
    (&target::KIND, "target", "targets"),
    (&route::KIND, "route", "routes"),
    (&rule::KIND, "rule", "rules"),
];

/// A reference to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The object's kind. `None`: whatever kind has an object of that name.
    pub kind: Option<&'static Kind>,
    /// The object's namespace.
    pub namespace: Name,
    /// The object's name.
    pub name: Name,
    /// Whether the text is a name alone, which may also be that of an object in the proxy's own configuration.
    pub short: bool,
}

// === impl Reference ===

impl Reference {
    /// Reads a reference of an object in this namespace. Accepted are a name, a fully specified name, a path
    /// (`/l7mp.io/v1/Target/default/worker`) and a link (`/apis/l7mp.io/v1/namespaces/default/targets/worker`).
    pub fn parse(text: &str, namespace: &str) -> Self {
        let full = Self::of_path(text).or_else(|| Self::of_domain(text));
        full.unwrap_or_else(|| Self {
            kind: None,
            namespace: namespace.into(),
            name: text.into(),
            short: true,
        })
    }

    /// Returns the text under which other objects find those that refer to the object.
    pub fn key(&self) -> Name {
        format!("{}/{}", self.namespace, self.name).into()
    }

    /// Returns whether the object may be of this kind.
    pub fn may_be(&self, kind: &Kind) -> bool {
        self.kind.is_none_or(|own| own == kind)
    }

    fn of_path(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let (kind, namespace, name) = match parts.as_slice() {
            ["", "l7mp.io", _version, kind, namespace, name] => {
                (KINDS.iter().find(|(of, _, _)| of.name == *kind)?.0, namespace, name)
            }
            ["", "apis", "l7mp.io", _version, "namespaces", namespace, plural, name] => {
                (KINDS.iter().find(|(_, _, of)| of == plural)?.0, namespace, name)
            }
            _ => return None,
        };
        Self::of(kind, namespace, name)
    }

    fn of_domain(text: &str) -> Option<Self> {
        let mut parts = text.strip_suffix(DOMAIN)?.rsplitn(3, '.');
        let (kind, namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
        Self::of(KINDS.iter().find(|(_, of, _)| *of == kind)?.0, namespace, name)
    }

    fn of(kind: &'static Kind, namespace: &str, name: &str) -> Option<Self> {
        let whole = !namespace.is_empty() && !name.is_empty();
        whole.then(|| Self { kind: Some(kind), namespace: namespace.into(), name: name.into(), short: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_names_the_same_object() {
        let full =
            Reference { kind: Some(&target::KIND), namespace: "ns".into(), name: "a.b".into(), short: false };
        for text in [
            "/l7mp.io/v1/Target/ns/a.b",
            "/apis/l7mp.io/v1/namespaces/ns/targets/a.b",
            "a.b.ns.target.cluster.local",
        ] {
            assert_eq!(Reference::parse(text, "own"), full, "{text}");
        }
        let vsvc = Reference::parse("worker.default.virtualservice.cluster.local", "own");
        assert_eq!((vsvc.kind, &*vsvc.key()), (Some(&virtual_service::KIND), "default/worker"));
    }

    #[test]
    fn every_other_text_is_a_name_in_the_own_namespace() {
        for text in [
            "worker",
            "ingress-metric-counter",
            "/l7mp.io/v1/Other/ns/a",
            "/l7mp.io/v1/Target/ns/",
            "a.ns.svc.cluster.local",
            "virtualservice.cluster.local",
            "/apis/l7mp.io/v1/namespaces/ns/targets",
        ] {
            let read = Reference::parse(text, "own");
            assert_eq!((read.kind, &*read.namespace, &*read.name, read.short), (None, "own", text, true));
        }
    }
}
