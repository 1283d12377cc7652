//! TLS for agents ([`serve`]): which certificate the hub presents, its source, and its renewal.

use std::path::PathBuf;
use std::sync::Arc;

use kube::Client;
use portreeve_runtime::{Readiness, Tasks};

mod accept;
mod files;
pub mod own;
mod secret;
mod shown;

pub use accept::{Accepting, serve};
pub use shown::Shown;

/// Flags of the hub's certificate.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Path of a certificate chain in PEM for the name portreeve-hub. It is read again when it changes. Default: the
    /// hubs of a namespace create their own certificate in the Secret portreeve-hub-tls, and publish its CA for agents
    /// in the ConfigMap portreeve-hub-ca.
    #[arg(long, value_name = "FILE", requires = "tls_key", conflicts_with = "insecure")]
    pub tls_cert: Option<PathBuf>,
    /// Path of the certificate's private key in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Additional name or address for the hubs' own certificate.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["tls_cert", "insecure"])]
    pub tls_name: Vec<String>,
    /// Serve agents without TLS and without authentication. Only for tests on a machine without other users.
    #[arg(long)]
    pub insecure: bool,
}

/// Starts the tasks that maintain the certificate, either that of the hubs of `namespace` or the one in files. A
/// certificate from files is in use immediately; for the hubs' own certificate, `readiness` waits for the API server.
///
/// # Errors
/// Returns an error if the files are unusable.
pub async fn spawn(
    tasks: &mut Tasks,
    client: &Client,
    args: Args,
    namespace: &str,
    readiness: &Readiness,
) -> anyhow::Result<Arc<Shown>> {
    if let (Some(certificate), Some(key)) = (args.tls_cert, args.tls_key) {
        return spawn_files(tasks, "certificate files", certificate, key).await;
    }
    let shown = Arc::new(Shown::default());
    let keeper = secret::Keeper::new(client.clone(), namespace, &args.tls_name);
    tasks.spawn("certificate", keeper.run(shown.clone(), readiness.guard("certificate")));
    Ok(shown)
}

/// Starts the task `name` that follows a certificate in files. It is in use immediately.
///
/// # Errors
/// Returns an error if the files are unusable.
pub async fn spawn_files(
    tasks: &mut Tasks,
    name: &'static str,
    certificate: PathBuf,
    key: PathBuf,
) -> anyhow::Result<Arc<Shown>> {
    let (files, shown) = (files::Files { certificate, key }, Arc::new(Shown::default()));
    let seen = files.show(&shown).await?;
    tasks.spawn(name, files::follow(files, seen, shown.clone()));
    Ok(shown)
}
