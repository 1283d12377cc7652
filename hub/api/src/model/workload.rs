//! [`Workload`]: the proxies that a Plan is for.

use super::flaw::{self, Flaw};
use crate::plan as proto;
use crate::selector::Selector;

/// The proxies that a Plan is for (message `Workload`). A proxy must match every field that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The namespace of the proxies' pods. `None`: all namespaces.
    pub namespace: Option<String>,
    /// Labels and pod fields that the proxies must have.
    pub selector: Selector,
    /// The proxy's name within the namespace; API D. It is the name that the pod's annotation
    /// [`crate::pod::PROXY_NAME_ANNOTATION`] or the NodeProxy sets, else the `node.id` that the proxy announces.
    pub proxy_name: Option<String>,
    /// The Kubernetes node that the proxy must be on.
    pub node_name: Option<String>,
    /// The kind of proxy that the Plan is for. `None`: Envoys, and other kinds as with `other_kinds`.
    pub proxy_kind: Option<ProxyKind>,
    /// Whether proxies of other kinds take the Plan too, where no proxy of its kind in the same network namespace takes it.
    pub other_kinds: bool,
    /// The group that the proxies' pods must belong to; API B.
    pub service_group: Option<String>,
}

/// A kind of proxy (enumeration `ProxyKind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyKind {
    /// Envoy, configured by xDS.
    Envoy,
    /// The l7mp proxy, configured by REST.
    L7mp,
}

// === impl Workload ===

impl Workload {
    /// Returns the kind of proxy that the Plan is for first.
    pub fn first_kind(&self) -> ProxyKind {
        self.proxy_kind.unwrap_or(ProxyKind::Envoy)
    }

    /// Returns whether proxies of other kinds take the Plan too, where none of the first kind does.
    pub fn is_for_other_kinds(&self) -> bool {
        self.other_kinds || self.proxy_kind.is_none()
    }
}

impl TryFrom<proto::Workload> for Workload {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if the selector is missing or unreadable, or if this version doesn't know the kind of proxy. In both
    /// cases the proxies that the Plan is for can't be determined.
    fn try_from(message: proto::Workload) -> Result<Self, Flaw> {
        let proto::Workload {
            namespace,
            selector,
            proxy_name,
            node_name,
            proxy_kind,
            other_kinds,
            service_group,
        } = message;
        let selector = selector.ok_or_else(|| Flaw::missing("selector"))?;
        Ok(Self {
            namespace: flaw::text(namespace),
            selector: selector.try_into().map_err(|flaw: Flaw| flaw.under("selector"))?,
            proxy_name: flaw::text(proxy_name),
            node_name: flaw::text(node_name),
            proxy_kind: ProxyKind::read(proxy_kind)?,
            other_kinds,
            service_group: flaw::text(service_group),
        })
    }
}

impl From<&Workload> for proto::Workload {
    fn from(workload: &Workload) -> Self {
        let Workload { namespace, selector, proxy_name, node_name, proxy_kind, other_kinds, service_group } =
            workload;
        Self {
            namespace: namespace.clone().unwrap_or_default(),
            selector: Some(selector.into()),
            proxy_name: proxy_name.clone().unwrap_or_default(),
            node_name: node_name.clone().unwrap_or_default(),
            proxy_kind: ProxyKind::written(*proxy_kind).into(),
            other_kinds: *other_kinds,
            service_group: service_group.clone().unwrap_or_default(),
        }
    }
}

// === impl ProxyKind ===

impl ProxyKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Envoy, Self::L7mp];

    /// Returns the kind's name in the files of an agent's store, so it never changes.
    pub fn word(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::L7mp => "l7mp",
        }
    }

    fn read(number: i32) -> Result<Option<Self>, Flaw> {
        match proto::ProxyKind::try_from(number) {
            Ok(proto::ProxyKind::Unspecified) => Ok(None),
            Ok(proto::ProxyKind::Envoy) => Ok(Some(Self::Envoy)),
            Ok(proto::ProxyKind::L7mp) => Ok(Some(Self::L7mp)),
            Err(_) => Err(Flaw::unknown("proxy_kind", number)),
        }
    }

    fn written(kind: Option<Self>) -> proto::ProxyKind {
        match kind {
            None => proto::ProxyKind::Unspecified,
            Some(Self::Envoy) => proto::ProxyKind::Envoy,
            Some(Self::L7mp) => proto::ProxyKind::L7mp,
        }
    }
}
