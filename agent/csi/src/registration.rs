//! How the kubelet gets to know the driver: by a socket in its `plugins_registry`, at which it asks what is there and says what
//! became of it ([`Registrar`]).

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

/// Of the Container Storage Interface; a kubelet takes any 1.x.
const VERSION: &str = "1.0.0";

/// Answers a kubelet that asks what the driver is.
#[derive(Debug, Clone)]
pub struct Registrar {
    endpoint: String,
    registered: Arc<watch::Sender<bool>>,
}

/// Where a kubelet looks. A kubelet (1.29 and newer) makes the authority of its requests of this path, percent-encoded: HTTP
/// allows that before an `@` alone, and a server that keeps to it refuses the requests to a socket of another name.
pub fn socket(kubelet: &Path) -> PathBuf {
    kubelet.join("plugins_registry").join(format!("registration@{NAME}"))
}

// === impl Registrar ===

impl Registrar {
    /// Tells of a driver that answers at `endpoint`.
    pub fn new(endpoint: &Path) -> Self {
        let registered = Arc::new(watch::Sender::new(false));
        Self { endpoint: endpoint.display().to_string(), registered }
    }

    /// Whether the kubelet uses the driver.
    pub fn registered(&self) -> watch::Receiver<bool> {
        self.registered.subscribe()
    }

    /// Answers until `shutdown` is ready, and takes the socket away: a kubelet would ask there for ever.
    pub(crate) async fn serve(
        self,
        listener: UnixListener,
        path: PathBuf,
        shutdown: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let number = |path: &Path| fs::symlink_metadata(path).ok().map(|found| found.ino());
        let ours = number(&path);
        let served = serve_unix(listener, Routes::new(RegistrationServer::new(self)), shutdown).await;
        // The next driver's may be there already.
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
            // It tries again by itself.
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
