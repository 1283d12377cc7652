//! TLS towards agents ([`serve`]): which certificate the hub shows, where it comes from, and when it changes.

use std::path::PathBuf;
use std::sync::Arc;

use kube::Client;
use portreeve_runtime::{Readiness, Tasks};

mod accept;
mod files;
pub mod own;
mod secret;
mod shown;

pub use accept::serve;
pub use shown::Shown;

/// Flags of the hub's certificate.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Certificate chain in PEM, good for the name portreeve-hub; read again when it changes. Without it the hubs of a
    /// namespace make one of their own, kept in the Secret portreeve-hub-tls; agents find its authority in the
    /// ConfigMap portreeve-hub-ca.
    #[arg(long, value_name = "FILE", requires = "tls_key", conflicts_with = "insecure")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// One more name or address that the hub's own certificate is to be good for.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["tls_cert", "insecure"])]
    pub tls_name: Vec<String>,
    /// Serve agents in the clear and believe what they say: for a machine of one's own.
    #[arg(long)]
    pub insecure: bool,
}

/// Starts what keeps the certificate, made by the hubs of `namespace` or read from files. One from files is shown at once; the
/// hubs' own may wait for the API server, and `readiness` with it.
///
/// # Errors
/// The files are unusable.
pub async fn spawn(
    tasks: &mut Tasks,
    client: &Client,
    args: Args,
    namespace: &str,
    readiness: &Readiness,
) -> anyhow::Result<Arc<Shown>> {
    let shown = Arc::new(Shown::default());
    if let (Some(certificate), Some(key)) = (args.tls_cert, args.tls_key) {
        let files = files::Files { certificate, key };
        let seen = files.show(&shown).await?;
        tasks.spawn("certificate files", files::follow(files, seen, shown.clone()));
    } else {
        let keeper = secret::Keeper::new(client.clone(), namespace, &args.tls_name);
        tasks.spawn("certificate", keeper.run(shown.clone(), readiness.guard("certificate")));
    }
    Ok(shown)
}
