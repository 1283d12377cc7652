//! The protocol's messages as plain data: what a stream hears ([`Request`]), says ([`Response`]) and learns ([`Event`]).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::budget::Load;
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

/// Who a client says it is (`envoy.config.core.v3.Node`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// `node.id`.
    pub id: String,
    /// `node.cluster`.
    pub cluster: String,
    /// The string fields of `node.metadata`.
    pub metadata: BTreeMap<String, String>,
}

/// One request of either variant; the fields of the other variant stay empty.
#[derive(Clone, Debug)]
pub struct Request<T> {
    /// The type asked about.
    pub kind: Kind<T>,
    /// `response_nonce`: empty for a request that answers nothing.
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
    /// `error_detail.message`: set when the response of `nonce` was rejected.
    pub error_detail: Option<String>,
    /// The node, usually on the first request only.
    pub node: Option<Node>,
}

/// One response of either variant.
#[derive(Clone, Debug)]
pub struct Response<T> {
    /// Which message this is.
    pub variant: Variant,
    /// The type; `None` for a type URL that this server does not have.
    pub ty: Option<T>,
    /// `type_url`.
    pub type_url: Cow<'static, str>,
    /// `nonce`, unique per stream.
    pub nonce: String,
    /// State of the world: `version_info`, a hash over the names and versions that the client then has.
    pub version: Version,
    /// Delta: `system_version_info`, the watermark of the view.
    pub system_version: Option<Arc<str>>,
    /// What is new, each name once.
    pub resources: Vec<Arc<Resource>>,
    /// Delta: `removed_resources`.
    pub removed: Vec<Name>,
}

/// What a stream learned from its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// The client applied these, or said when it came (back) that it has them.
    Acked {
        /// The type of the response.
        ty: T,
        /// Names and versions that were accepted.
        resources: Vec<(Name, Version)>,
        /// Names whose removal was accepted.
        removed: Vec<Name>,
        /// It answers no response of this stream: the client said so when it came (back).
        claimed: bool,
    },
    /// The client refused a response.
    Nacked {
        /// The type of the response.
        ty: T,
        /// The culprits that are known for sure; empty while they are being isolated.
        names: Vec<Name>,
        /// The version of each of them that was refused, in their order.
        versions: Vec<Version>,
        /// The client's text, at most 1 KiB; a constant for secret types.
        detail: String,
        /// Whether the same bytes will be tried again.
        transient: bool,
    },
    /// A type that this server does not have was asked for.
    Unknown {
        /// Its URL.
        type_url: Arc<str>,
    },
}

// === impl Kind ===

impl<T: ResourceType> Kind<T> {
    /// The kind behind a type URL.
    pub fn of(url: &str) -> Self {
        T::from_type_url(url).map_or_else(|| Self::Unknown(url.into()), Self::Known)
    }
}

// === impl Node ===

impl Node {
    /// What a server remembers of it.
    pub(crate) fn load(&self) -> Load {
        let fields = self.metadata.iter();
        let texts = fields.map(|(name, text)| Load { names: 1, bytes: name.len() + text.len() });
        texts.fold(Load { names: 0, bytes: self.id.len() + self.cluster.len() }, Load::plus)
    }
}

// === impl Request ===

impl<T> Request<T> {
    /// A request that says nothing yet about `kind`.
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
    /// Whether a stream's first request is that of a client that has nothing: it begins with a type that it asks for
    /// as a whole, and names no version. (Envoy that comes back in the middle of a change may begin with others.)
    pub fn begins_anew(&self) -> bool {
        let whole = matches!(self.kind, Kind::Known(ty) if ty.legacy_wildcard());
        whole && self.initial.is_empty() && self.version_info.is_empty()
    }
}
