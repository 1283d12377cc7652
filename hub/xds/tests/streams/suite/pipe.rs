//! A stream of either variant, with one form of request ([`Ask`]) and of response ([`Heard`]).

use std::path::Path;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use portreeve_xds::wire::{ClientCodec, MessageCodec};
use portreeve_xds::{EnvoyType, ResourceType, Variant};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::target::name_in;
use crate::stand::{ADS_DELTA, call, node};

const ADS_SOTW: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// One request.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub type_url: String,
    /// Incremental: names to subscribe to. State of the world: all names.
    pub names: Vec<String>,
    /// Incremental.
    pub unsubscribe: Vec<String>,
    /// State of the world.
    pub version: String,
    pub nonce: String,
    /// Whether it carries the node.
    pub with_node: bool,
}

/// One response.
#[derive(Clone, Debug)]
pub struct Heard {
    pub type_url: String,
    /// `version_info`, or `system_version_info`.
    pub version: String,
    pub nonce: String,
    pub names: Vec<String>,
    pub removed: Vec<String>,
}

pub enum Pipe {
    Delta(mpsc::Sender<DeltaDiscoveryRequest>, Streaming<DeltaDiscoveryResponse>),
    Sotw(mpsc::Sender<DiscoveryRequest>, Streaming<DiscoveryResponse>),
}

// === impl Pipe ===

impl Pipe {
    /// Opens a stream of the aggregated service, or of a type's own.
    pub async fn open(sock: &Path, variant: Variant, only: Option<EnvoyType>) -> Result<Self, Status> {
        let path = path(variant, only);
        match variant {
            Variant::Delta => {
                let (requests, outbound) = mpsc::channel(16);
                Ok(Self::Delta(requests, call(sock, path, outbound, ClientCodec::default()).await?))
            }
            Variant::Sotw => {
                let (requests, outbound) = mpsc::channel(16);
                Ok(Self::Sotw(requests, call(sock, path, outbound, MessageCodec::default()).await?))
            }
        }
    }

    pub async fn send(&self, ask: Ask) -> Result<(), String> {
        let node = ask.with_node.then(|| node("suite")).flatten();
        let sent = match self {
            Self::Delta(requests, _) => {
                let request = DeltaDiscoveryRequest {
                    node,
                    type_url: ask.type_url,
                    resource_names_subscribe: ask.names,
                    resource_names_unsubscribe: ask.unsubscribe,
                    response_nonce: ask.nonce,
                    ..Default::default()
                };
                requests.send(request).await.is_ok()
            }
            Self::Sotw(requests, _) => {
                let request = DiscoveryRequest {
                    node,
                    type_url: ask.type_url,
                    resource_names: ask.names,
                    version_info: ask.version,
                    response_nonce: ask.nonce,
                    ..Default::default()
                };
                requests.send(request).await.is_ok()
            }
        };
        if sent { Ok(()) } else { Err("the stream has ended".into()) }
    }

    pub async fn next(&mut self) -> Result<Heard, String> {
        match self {
            Self::Delta(_, responses) => heard_delta(one(responses.message().await)?),
            Self::Sotw(_, responses) => heard_sotw(one(responses.message().await)?),
        }
    }
}

fn one<M>(message: Result<Option<M>, Status>) -> Result<M, String> {
    message.map_err(|status| status.to_string())?.ok_or_else(|| "the stream has ended".to_string())
}

fn heard_delta(response: DeltaDiscoveryResponse) -> Result<Heard, String> {
    let mut names = Vec::new();
    for resource in &response.resources {
        let body = resource.resource.as_ref().ok_or("a resource without a body")?;
        let inside = named(&body.type_url, &body.value)?;
        if body.type_url != response.type_url || inside != resource.name {
            return Err(format!("{} holds {} {inside}", resource.name, body.type_url));
        }
        names.push(inside);
    }
    Ok(Heard {
        type_url: response.type_url,
        version: response.system_version_info,
        nonce: response.nonce,
        names,
        removed: response.removed_resources,
    })
}

fn heard_sotw(response: DiscoveryResponse) -> Result<Heard, String> {
    let names =
        response.resources.iter().map(|one| named(&one.type_url, &one.value)).collect::<Result<_, _>>();
    Ok(Heard {
        type_url: response.type_url,
        version: response.version_info,
        nonce: response.nonce,
        names: names?,
        removed: Vec::new(),
    })
}

fn named(url: &str, body: &[u8]) -> Result<String, String> {
    let ty = EnvoyType::from_type_url(url).ok_or_else(|| format!("a resource of type {url}"))?;
    name_in(ty, body).map_err(|error| format!("{url}: {error}"))
}

fn path(variant: Variant, only: Option<EnvoyType>) -> &'static str {
    match (variant, only) {
        (Variant::Delta, None) => ADS_DELTA,
        (Variant::Sotw, None) => ADS_SOTW,
        (Variant::Delta, Some(EnvoyType::Cluster)) => {
            "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters"
        }
        (Variant::Sotw, Some(EnvoyType::Cluster)) => {
            "/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters"
        }
        (Variant::Delta, Some(EnvoyType::Endpoint)) => {
            "/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints"
        }
        (Variant::Sotw, Some(EnvoyType::Endpoint)) => {
            "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints"
        }
        (Variant::Delta, Some(EnvoyType::Listener)) => {
            "/envoy.service.listener.v3.ListenerDiscoveryService/DeltaListeners"
        }
        (Variant::Sotw, Some(EnvoyType::Listener)) => {
            "/envoy.service.listener.v3.ListenerDiscoveryService/StreamListeners"
        }
        (Variant::Delta, Some(_)) => "/envoy.service.route.v3.RouteDiscoveryService/DeltaRoutes",
        (Variant::Sotw, Some(_)) => "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes",
    }
}
