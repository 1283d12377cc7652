//! Registers the driver with the kubelet, through a socket in its `plugins_registry`: the kubelet requests the driver's
//! information and reports the result ([`Registrar`]).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portreeve_xds::serve_unix;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::proto::registration::registration_server::{Registration, RegistrationServer};
use crate::proto::registration::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};

/// The driver's name, in pods' volumes and in the CSIDriver object.
pub const NAME: &str = "csi.portreeve.dev";

/// Version of the Container Storage Interface. A kubelet accepts any 1.x.
const VERSION: &str = "1.0.0";

/// Answers the kubelet's registration requests.
#[derive(Debug, Clone)]
pub struct Registrar {
    endpoint: String,
    registered: Arc<watch::Sender<bool>>,
}

/// Returns the path of the registration socket. A kubelet (1.29 and newer) uses the percent-encoded path as the
/// authority of its requests. HTTP allows such an authority only before an `@`, so a strict server would reject the
/// requests to a socket with another name.
pub fn socket(kubelet: &Path) -> PathBuf {
    kubelet.join("plugins_registry").join(format!("registration@{NAME}"))
}

// === impl Registrar ===

impl Registrar {
    /// Creates a registrar for a driver with its socket at `endpoint`.
    pub fn new(endpoint: &Path) -> Self {
        let registered = Arc::new(watch::Sender::new(false));
        Self { endpoint: endpoint.display().to_string(), registered }
    }

    /// Returns a receiver that tells whether the kubelet has registered the driver.
    pub fn registered(&self) -> watch::Receiver<bool> {
        self.registered.subscribe()
    }

    /// Answers until `shutdown` is ready, then removes the socket, because a kubelet would retry a dead one endlessly.
    pub(crate) async fn serve(
        self,
        listener: UnixListener,
        path: PathBuf,
        shutdown: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let number = |path: &Path| fs::symlink_metadata(path).ok().map(|found| found.ino());
        let ours = number(&path);
        let served = serve_unix(listener, Routes::new(RegistrationServer::new(self)), shutdown).await;
        // The next driver may already have replaced it.
        if ours.is_some() && number(&path) == ours {
            fs::remove_file(&path)?;
        }
        Ok(served?)
    }
}

#[tonic::async_trait]
impl Registration for Registrar {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: NAME.to_owned(),
            endpoint: self.endpoint.clone(),
            supported_versions: vec![VERSION.to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let RegistrationStatus { plugin_registered, error } = request.into_inner();
        match plugin_registered {
            true => tracing::info!("the kubelet uses the driver"),
            // The kubelet retries.
            false => tracing::warn!(error, "the kubelet does not use the driver"),
        }
        self.registered.send_replace(plugin_registered);
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelets_authority_is_one() {
        let encoded = |path: &Path| {
            path.display().to_string().replace('%', "%25").replace('/', "%2F").replace(' ', "%20")
        };
        for kubelet in ["/var/lib/kubelet", "/var/snap/microk8s/common/var/lib/kubelet", "/a b/100%"] {
            let authority = encoded(&socket(Path::new(kubelet)));
            let read = authority.parse::<http::uri::Authority>();
            assert_eq!(read.unwrap().host(), NAME, "{authority}");
        }
        let other = encoded(&Path::new("/var/lib/kubelet/plugins_registry").join(NAME));
        assert!(other.parse::<http::uri::Authority>().is_err(), "any name would do: {other}");
    }
}
