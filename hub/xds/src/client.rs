//! The client's side of an incremental stream as a synchronous struct ([`ClientSession`]), and the receiver of its resources
//! ([`Sink`]).

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as WireResource,
};
use envoy_types::pb::google::rpc::Status as WireStatus;

use crate::message::Node;
use crate::resource::{Name, ResourceType, Version};
use crate::wire::to_node;

/// gRPC's INVALID_ARGUMENT, the code of a rejection.
const REJECTED: i32 = 3;

/// One new or changed resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upsert {
    /// Its name.
    pub name: Name,
    /// The server's version; the body's hash if the server's text is not a [`Version`].
    pub version: Version,
    /// The encoded message.
    pub body: Bytes,
}

/// One response. It must be applied as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta<T> {
    /// The type of its resources.
    pub ty: T,
    /// New and changed resources.
    pub upsert: Vec<Upsert>,
    /// Names that were removed or do not exist.
    pub removed: Vec<Name>,
    /// The server's `system_version_info`; `None` if it is empty.
    pub watermark: Option<Arc<str>>,
}

/// Receives a client's resources.
pub trait Sink<T: ResourceType>: Send + 'static {
    /// Returns this client's node. Called for each connection.
    fn node(&self) -> Node;

    /// Returns the resources that are here already, so that the server sends only differences. Called for each connection.
    fn known(&self) -> Vec<(T, Name, Version)>;

    /// Applies one response. An error rejects it. The error's text goes to the server and should name the culprits as
    /// `NAME: reason`, one per line.
    ///
    /// # Errors
    /// Why the response can't be applied. None of its resources counts as known then.
    fn apply(&mut self, delta: Delta<T>) -> Result<(), String>;

    /// Called with `true` when a server has sent its first response on a new stream, with `false` when that stream has ended.
    fn connected(&mut self, connected: bool);

    /// Returns the types to subscribe to.
    fn types(&self) -> Vec<T> {
        T::ALL.to_vec()
    }

    /// Returns headers for each connection's call, such as `authorization`.
    fn headers(&self) -> http::HeaderMap {
        http::HeaderMap::new()
    }
}

/// The client's side of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientSession<T> {
    types: PhantomData<T>,
}

/// A parsed response.
#[derive(Debug)]
pub enum Reading<T> {
    /// It must be applied, then answered.
    Delta(Delta<T>),
    /// It is malformed, for this reason.
    Broken(String),
}

// === impl ClientSession ===

impl<T: ResourceType> ClientSession<T> {
    /// Starts a stream.
    pub fn new() -> Self {
        Self { types: PhantomData }
    }

    /// Returns the first requests. They subscribe to all resources of each type and claim those that are known.
    pub fn open(
        &self,
        node: &Node,
        types: &[T],
        known: Vec<(T, Name, Version)>,
    ) -> Vec<DeltaDiscoveryRequest> {
        let mut requests: Vec<DeltaDiscoveryRequest> = types
            .iter()
            .map(|ty| DeltaDiscoveryRequest {
                type_url: ty.type_url().into(),
                resource_names_subscribe: vec!["*".into()],
                ..DeltaDiscoveryRequest::default()
            })
            .collect();
        for (ty, name, version) in known {
            if let Some(at) = types.iter().position(|one| *one == ty) {
                requests[at].initial_resource_versions.insert(name.to_string(), version.to_string());
            }
        }
        if let Some(first) = requests.first_mut() {
            first.node = Some(to_node(node));
        }
        requests
    }

    /// Parses a response.
    pub fn read(&self, response: DeltaDiscoveryResponse) -> Reading<T> {
        let Some(ty) = T::from_type_url(&response.type_url) else {
            return Reading::Broken(format!("unknown type {}", response.type_url));
        };
        let upsert = response.resources.into_iter().map(|resource| read_resource(ty, resource)).collect();
        let upsert = match upsert {
            Ok(upsert) => upsert,
            Err(why) => return Reading::Broken(why),
        };
        let removed = response.removed_resources.into_iter().map(Name::from).collect();
        let watermark = Some(response.system_version_info).filter(|text| !text.is_empty()).map(Arc::from);
        Reading::Delta(Delta { ty, upsert, removed, watermark })
    }

    /// Builds the ACK or NACK of the response with this type URL and nonce.
    pub fn answer(&self, type_url: &str, nonce: &str, result: Result<(), String>) -> DeltaDiscoveryRequest {
        let rejected = |message| WireStatus { code: REJECTED, message, ..WireStatus::default() };
        DeltaDiscoveryRequest {
            type_url: type_url.into(),
            response_nonce: nonce.into(),
            error_detail: result.err().map(rejected),
            ..DeltaDiscoveryRequest::default()
        }
    }
}

fn read_resource<T: ResourceType>(ty: T, resource: WireResource) -> Result<Upsert, String> {
    let WireResource { name, version, resource, .. } = resource;
    let Some(any) = resource else { return Err(format!("{name}: no content")) };
    if any.type_url != ty.type_url() {
        return Err(format!("{name}: of type {}", any.type_url));
    }
    let body = Bytes::from(any.value);
    let version = version.parse().unwrap_or_else(|_| Version::of(&body));
    Ok(Upsert { name: name.into(), version, body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EnvoyType;

    fn session() -> ClientSession<EnvoyType> {
        ClientSession::new()
    }

    #[test]
    fn first_requests_ask_for_all_types_with_the_node_once() {
        let known = vec![(EnvoyType::Endpoint, Name::from("a"), Version(7))];
        let node = Node { id: "n".into(), ..Node::default() };
        let requests = session().open(&node, EnvoyType::ALL, known);
        assert_eq!(requests.len(), 5);
        assert_eq!(requests.iter().filter(|one| one.node.is_some()).count(), 1);
        assert!(requests.iter().all(|one| one.resource_names_subscribe == ["*"]));
        assert_eq!(requests[1].initial_resource_versions["a"], Version(7).to_string());
    }

    #[test]
    fn response_of_another_type_is_broken() {
        let response = DeltaDiscoveryResponse { type_url: "x".into(), ..DeltaDiscoveryResponse::default() };
        assert!(matches!(session().read(response), Reading::Broken(why) if why.contains("unknown type")));
    }

    #[test]
    fn resource_without_content_is_broken_by_name() {
        let response = DeltaDiscoveryResponse {
            type_url: EnvoyType::Cluster.type_url().into(),
            resources: vec![WireResource { name: "a".into(), ..WireResource::default() }],
            ..DeltaDiscoveryResponse::default()
        };
        assert!(matches!(session().read(response), Reading::Broken(why) if why.starts_with("a: ")));
    }

    #[test]
    fn rejection_carries_the_text() {
        let request = session().answer("url", "3", Err("a: no".into()));
        assert_eq!(request.response_nonce, "3");
        assert_eq!(request.error_detail.map(|status| status.message), Some("a: no".into()));
        assert!(session().answer("url", "3", Ok(())).error_detail.is_none());
    }
}
