//! Implements the Container Storage Interface: validates requests, mounts volumes, and returns errors with its codes
//! ([`Driver`]).

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::mounts::{Fault, View};
use crate::proto::volume::identity_server::{Identity, IdentityServer};
use crate::proto::volume::node_server::{Node, NodeServer};
use crate::proto::volume::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
    NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse,
    NodePublishVolumeRequest, NodePublishVolumeResponse, NodeUnpublishVolumeRequest,
    NodeUnpublishVolumeResponse, ProbeRequest, ProbeResponse,
};
use crate::registration::NAME;
use crate::request::{self, Refused, Target};

/// The driver of one node.
#[derive(Debug, Clone)]
pub struct Driver {
    node: String,
    kubelet: PathBuf,
    view: Arc<View>,
    registered: watch::Receiver<bool>,
}

// === impl Driver ===

impl Driver {
    /// Creates the driver of this node and this kubelet's directory. `registered` tells whether the kubelet has
    /// registered it.
    pub fn new(node: String, kubelet: PathBuf, view: Arc<View>, registered: watch::Receiver<bool>) -> Self {
        Self { node, kubelet, view, registered }
    }

    /// Returns its services.
    pub fn routes(self) -> Routes {
        Routes::new(IdentityServer::new(self.clone())).add_service(NodeServer::new(self))
    }

    /// Mounts and unmounts on a blocking thread, because the kernel may be slow.
    async fn apply(
        &self,
        work: impl FnOnce(&View) -> Result<(), Fault> + Send + 'static,
    ) -> Result<(), Status> {
        let view = self.view.clone();
        let done = spawn_blocking(move || work(&view)).await;
        done.map_err(|error| Status::internal(error.to_string()))?.map_err(Status::from)
    }
}

/// Logs a refusal, or returns the target.
fn told(asked: Result<Target, Refused>) -> Result<Target, Status> {
    asked.map_err(|error| {
        tracing::warn!(%error, "a request is refused");
        Status::invalid_argument(error.to_string())
    })
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        tracing::warn!(error = %fault, "a volume can't be mounted or taken away");
        match &fault {
            Fault::Foreign { .. } => Self::failed_precondition(fault.to_string()),
            Fault::System { .. } => Self::internal(fault.to_string()),
        }
    }
}

#[tonic::async_trait]
impl Identity for Driver {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        let vendor_version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Response::new(GetPluginInfoResponse { name: NAME.to_owned(), vendor_version }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        Ok(Response::new(GetPluginCapabilitiesResponse {}))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse { ready: Some(*self.registered.borrow()) }))
    }
}

#[tonic::async_trait]
impl Node for Driver {
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let target = told(request::publish(&request, &self.kubelet))?;
        self.apply(move |view| view.publish(&target)).await?;
        let (ns, name) = request::pod(&request);
        tracing::info!(ns, name, volume = request.volume_id, "a volume is mounted");
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let target = told(request::unpublish(&request, &self.kubelet))?;
        self.apply(move |view| view.unpublish(&target)).await?;
        tracing::info!(volume = request.volume_id, "a volume is gone");
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        Ok(Response::new(NodeGetCapabilitiesResponse {}))
    }

    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse { node_id: self.node.clone() }))
    }
}
