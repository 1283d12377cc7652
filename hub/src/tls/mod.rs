//! TLS towards agents ([`serve`]): which certificate the hub shows, where it comes from, and when it changes.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, anyhow, ensure};
use kube::Client;
use portreeve_runtime::{Readiness, Tasks};
use rustls::ServerConfig;
use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

mod accept;
mod files;
pub mod own;
mod secret;

pub use accept::serve;

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

/// The certificate of this moment. Connections that are open keep theirs.
#[derive(Debug, Default)]
pub struct Shown {
    current: RwLock<Option<Arc<CertifiedKey>>>,
}

/// Starts what keeps the certificate. Of files it is shown at once; of the hubs' own making it may wait for the API
/// server, and `readiness` with it.
///
/// # Errors
/// The files are unusable.
pub async fn spawn(
    tasks: &mut Tasks,
    client: &Client,
    (args, namespace): (Args, &str),
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

// === impl Shown ===

impl Shown {
    /// Shows a chain and its key, in PEM, from the next connection on.
    ///
    /// # Errors
    /// They can't be read, or don't belong together; the one before stays.
    pub fn set(&self, chain: &str, key: &str) -> anyhow::Result<()> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| anyhow!("the certificate: {error}"))?;
        ensure!(!chain.is_empty(), "the certificate: there is none in it");
        // The reason is not told: it might quote the key.
        let key =
            PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| anyhow!("the key can't be read"))?;
        let key = any_supported_type(&key).map_err(|_| anyhow!("the key is of no kind that can be used"))?;
        let pair = CertifiedKey::new(chain, key);
        pair.keys_match().context("the key is not the certificate's")?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(pair));
        Ok(())
    }

    /// The server's configuration: HTTP/2 over TLS 1.2 or 1.3, no client certificates.
    ///
    /// # Errors
    /// None is expected: the versions are ring's own.
    pub fn config(self: Arc<Self>) -> anyhow::Result<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(self);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["portreeve-hub".to_string()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn pair_that_does_not_fit_leaves_the_one_before() {
        let shown = Shown::default();
        let (certificate, key) = pair();
        shown.set(&certificate, &key).unwrap();
        let before = shown.current.read().unwrap().clone().unwrap();
        let (_, other) = pair();
        for (certificate, key) in
            [(&*certificate, &*other), ("", &*key), (&*certificate, ""), (&*key, &*certificate)]
        {
            let error = format!("{:#}", shown.set(certificate, key).unwrap_err());
            assert!(!error.contains("BEGIN"), "{error}");
        }
        assert!(Arc::ptr_eq(&before, shown.current.read().unwrap().as_ref().unwrap()));
    }
}
