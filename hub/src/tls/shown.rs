//! The certificate that the hub presents ([`Shown`]): it is parsed from PEM and used for each handshake.

use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, anyhow, ensure};
use rustls::ServerConfig;
use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The certificate in use. Open connections keep the certificate that they started with.
#[derive(Debug, Default)]
pub struct Shown {
    current: RwLock<Option<Arc<CertifiedKey>>>,
}

// === impl Shown ===

impl Shown {
    /// Uses a certificate chain and its key, in PEM, for all new connections.
    ///
    /// # Errors
    /// Returns an error if they can't be parsed or don't belong together. The previous certificate stays in use.
    pub fn set(&self, chain: &str, key: &str) -> anyhow::Result<()> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| anyhow!("the certificate: {error}"))?;
        ensure!(!chain.is_empty(), "the file holds no certificate");
        // The error is not included: it might quote the key.
        let key =
            PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| anyhow!("the key can't be read"))?;
        let key = any_supported_type(&key).map_err(|_| anyhow!("the key has an unsupported type"))?;
        let pair = CertifiedKey::new(chain, key);
        pair.keys_match().context("the key doesn't belong to the certificate")?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(pair));
        Ok(())
    }

    /// Returns the server's configuration: these protocols of ALPN over TLS 1.2 or 1.3, without client certificates.
    ///
    /// # Errors
    /// No error is expected, because ring supports both versions.
    pub fn config(self: Arc<Self>, protocols: &[&[u8]]) -> anyhow::Result<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(self);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
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
