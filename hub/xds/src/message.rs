//! The protocol's messages as plain data ([`Request`], [`Response`]), and what a stream learns from its client ([`Event`]).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::resource::{Name, Resource, ResourceType, Version};

/// The two variants of the transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// Incremental xDS.
    Delta,
    /// State of the world.
    Sotw,
}

/// The type that a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind<T> {
    /// A type of this server.
    Known(T),
    /// Any other type URL.
    Unknown(Arc<str>),
}

/// The identity that a client claims (`envoy.config.core.v3.Node`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// `node.id`.
    pub id: String,
    /// `node.cluster`.
    pub cluster: String,
    /// The string fields of `node.metadata`.
    pub metadata: BTreeMap<String, String>,
}

/// One request of either variant. Fields of the other variant are empty.
#[derive(Clone, Debug)]
pub struct Request<T> {
    /// The type asked about.
    pub kind: Kind<T>,
    /// `response_nonce`: the response that this request answers; empty if it answers none.
    pub nonce: String,
    /// Delta: `resource_names_subscribe`.
    pub subscribe: Vec<String>,
    /// Delta: `resource_names_unsubscribe`.
    pub unsubscribe: Vec<String>,
    /// Delta: `initial_resource_versions`, name and version.
    pub initial: Vec<(String, String)>,
    /// State of the world: `resource_names`.
    pub names: Vec<String>,
    /// State of the world: `version_info`, the version of the last accepted response.
    pub version_info: String,
    /// `error_detail.message`: set if the client rejects the response with this nonce.
    pub error_detail: Option<String>,
    /// The node, usually on the first request only.
    pub node: Option<Node>,
}

/// One response of either variant.
#[derive(Clone, Debug)]
pub struct Response<T> {
    /// The variant, and so the message.
    pub variant: Variant,
    /// The type; `None` for a type URL that this server does not have.
    pub ty: Option<T>,
    /// `type_url`.
    pub type_url: Cow<'static, str>,
    /// `nonce`, unique on its stream.
    pub nonce: String,
    /// State of the world: `version_info`, a hash over the names and versions that the client has after this response.
    pub version: Version,
    /// Delta: `system_version_info`, the watermark of the view.
    pub system_version: Option<Arc<str>>,
    /// New and changed resources, each name once.
    pub resources: Arc<[Arc<Resource>]>,
    /// Delta: `removed_resources`.
    pub removed: Vec<Name>,
}

/// What a request tells about the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// The client accepted a response, or claimed resources in its first request.
    Acked {
        /// The type of the response.
        ty: T,
        /// Names and versions that were accepted.
        resources: Versions,
        /// Names whose removal was accepted.
        removed: Vec<Name>,
        /// The first request claimed these. They answer no response of this stream.
        claimed: bool,
    },
    /// The client rejected a response.
    Nacked {
        /// The type of the response.
        ty: T,
        /// The known culprits; empty while they are being isolated.
        names: Vec<Name>,
        /// The rejected version of each name, in the order of `names`.
        versions: Vec<Version>,
        /// The client's text, one line of at most 1 KiB; a constant for secret types.
        detail: String,
        /// Whether the same bytes will be sent again.
        transient: bool,
    },
    /// The client asked for a type that this server does not have, for the first time on this stream.
    Unknown {
        /// The type URL.
        type_url: Arc<str>,
    },
}

/// Names of resources of a client, with their versions.
#[derive(Clone, Debug)]
pub enum Versions {
    /// Those of resources that were sent.
    Of(Arc<[Arc<Resource>]>),
    /// Those that the client names.
    These(Vec<(Name, Version)>),
}

// === impl Versions ===

impl Versions {
    /// The names with their versions.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, Version)> {
        let (sent, named): (&[_], &[_]) = match self {
            Self::Of(sent) => (sent, &[]),
            Self::These(named) => (&[], named),
        };
        let sent = sent.iter().map(|one: &Arc<Resource>| (one.name(), one.version()));
        sent.chain(named.iter().map(|(name, version): &(Name, Version)| (name, *version)))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl PartialEq for Versions {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Versions {}

impl From<Vec<(Name, Version)>> for Versions {
    fn from(named: Vec<(Name, Version)>) -> Self {
        Self::These(named)
    }
}

// === impl Kind ===

impl<T: ResourceType> Kind<T> {
    /// Returns the kind of a type URL.
    pub fn of(url: &str) -> Self {
        T::from_type_url(url).map_or_else(|| Self::Unknown(url.into()), Self::Known)
    }
}

// === impl Request ===

impl<T> Request<T> {
    /// An empty request about `kind`.
    pub fn new(kind: Kind<T>) -> Self {
        Self {
            kind,
            nonce: String::new(),
            subscribe: Vec::new(),
            unsubscribe: Vec::new(),
            initial: Vec::new(),
            names: Vec::new(),
            version_info: String::new(),
            error_detail: None,
            node: None,
        }
    }
}

impl<T: ResourceType> Request<T> {
    /// Whether a stream's first request comes from a client without resources: it is about a type with a legacy wildcard and
    /// claims no version. (An Envoy that reconnects during a change may start with another type.)
    pub fn begins_anew(&self) -> bool {
        let whole = matches!(self.kind, Kind::Known(ty) if ty.legacy_wildcard());
        whole && self.claims_nothing()
    }

    /// Whether the request claims no version of a resource.
    pub fn claims_nothing(&self) -> bool {
        self.initial.is_empty() && self.version_info.is_empty()
    }
}
