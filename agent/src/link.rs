//! The connection to a hub replica and the agent's credentials ([`Link`]): TLS with the hub's CA, and the token of the
//! agent's own pod.
//!
//! Both files are read again for each connection, because the kubelet rotates the token and the hub rotates its CA.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Uri};
use portreeve_api::names::HUB_NAME;
use portreeve_xds::connect::patient_endpoint;
use portreeve_xds::{Connect, Connection};
use tonic::transport::{Certificate, ClientTlsConfig};

/// Timeout of a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(1);

/// How to connect to every hub replica.
#[derive(Clone, Debug)]
pub enum Link {
    /// Without TLS and token. Only a hub with `--insecure` accepts such an agent.
    Plain,
    /// With TLS. The replica must prove that it is [`HUB_NAME`], whatever its address, and gets the token.
    Secure(Files),
}

/// The files of a secure link.
#[derive(Clone, Debug)]
pub struct Files {
    /// The hub's CA: one or more certificates in PEM.
    pub authority: PathBuf,
    /// The ServiceAccount token that is bound to the agent's pod, with the hub's audience.
    pub token: PathBuf,
}

/// The reason why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A file can't be read.
    #[error("{flag} {}: {error}", path.display())]
    File {
        /// The flag that names the file.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// The error.
        error: std::io::Error,
    },
    /// The replicas' addresses mix schemes, or don't match the link.
    #[error("--hub {0}: the replicas must be all https://host:port, or all http://host:port")]
    Scheme(Uri),
    /// The replica can't be reached, or isn't a hub.
    #[error("hub {replica}: {why}")]
    Connect {
        /// The replica's address.
        replica: Uri,
        /// The error with all its causes.
        why: String,
    },
}

// === impl Link ===

impl Link {
    /// Returns the link for the replicas' addresses: all `https://`, or all `http://`.
    ///
    /// # Errors
    /// Returns an error for mixed or other schemes.
    pub fn of<'u>(replicas: impl IntoIterator<Item = &'u Uri>, files: Files) -> Result<Self, LinkError> {
        let mut link = None;
        for replica in replicas {
            let secure = match replica.scheme_str() {
                Some("https") => true,
                Some("http") => false,
                _ => return Err(LinkError::Scheme(replica.clone())),
            };
            if *link.get_or_insert(secure) != secure {
                return Err(LinkError::Scheme(replica.clone()));
            }
        }
        Ok(if link == Some(true) { Self::Secure(files) } else { Self::Plain })
    }

    /// Connects to a replica.
    ///
    /// # Errors
    /// Returns an error if the replica can't be reached, doesn't prove that it is the hub, or if the CA file can't be
    /// read.
    pub async fn connection(&self, replica: &Uri) -> Result<Connection, LinkError> {
        self.patient_connection(replica, 1).await
    }

    /// Connects to a replica that is known to be late, with a timeout that is `patience` times as long.
    ///
    /// # Errors
    /// See [`Link::connection`].
    pub async fn patient_connection(&self, replica: &Uri, patience: u32) -> Result<Connection, LinkError> {
        let plain = patient_endpoint(replica.clone(), patience);
        let failed = |error: tonic::transport::Error| LinkError::Connect {
            replica: replica.clone(),
            why: causes(&error),
        };
        let endpoint = match (self, replica.scheme_str()) {
            (Self::Plain, Some("http")) => plain,
            (Self::Secure(files), Some("https")) => {
                let authority = Certificate::from_pem(read("--hub-ca", &files.authority)?);
                let tls = ClientTlsConfig::new().ca_certificate(authority);
                plain.tls_config(tls.domain_name(HUB_NAME).timeout(HANDSHAKE * patience)).map_err(failed)?
            }
            _ => return Err(LinkError::Scheme(replica.clone())),
        };
        Connection::open(endpoint).await.map_err(failed)
    }

    /// Returns the headers of a call: `authorization` with the current token. A plain link never sends it.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let Self::Secure(files) = self else { return headers };
        match bearer(&files.token) {
            Ok(value) => drop(headers.insert(AUTHORIZATION, value)),
            // The hub will refuse the call, but its message can't tell why the token is missing.
            Err(error) => tracing::warn!(%error, "no token for the hub"),
        }
        headers
    }

    /// Returns a function that connects the feed's client to one replica.
    pub fn connect(&self, replica: Uri) -> Connect {
        let link = self.clone();
        Connect::Custom(Arc::new(move || {
            let (link, replica) = (link.clone(), replica.clone());
            Box::pin(async move { Ok(link.connection(&replica).await?) })
        }))
    }
}

fn bearer(path: &Path) -> Result<HeaderValue, LinkError> {
    let token = read("--hub-token", path)?;
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| {
        // The original error is dropped: it might quote the file's content.
        let error = std::io::Error::new(std::io::ErrorKind::InvalidData, "it does not hold a token");
        LinkError::File { flag: "--hub-token", path: path.into(), error }
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn read(flag: &'static str, path: &Path) -> Result<String, LinkError> {
    std::fs::read_to_string(path).map_err(|error| LinkError::File { flag, path: path.into(), error })
}

/// Returns an error with its causes: "transport error" alone isn't helpful.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uris(texts: &[&str]) -> Vec<Uri> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn files(dir: &Path) -> Files {
        Files { authority: dir.join("ca.crt"), token: dir.join("token") }
    }

    #[test]
    fn addresses_decide_whether_the_link_is_secure() {
        let link = |texts: &[&str]| Link::of(&uris(texts), files(Path::new("/none")));
        assert!(matches!(link(&["https://a:1", "https://b:1"]), Ok(Link::Secure(_))));
        assert!(matches!(link(&["http://a:1"]), Ok(Link::Plain)));
        for mixed in [&["https://a:1", "http://b:1"][..], &["ftp://a:1"], &["a:1"]] {
            assert!(matches!(link(mixed), Err(LinkError::Scheme(_))), "{mixed:?}");
        }
    }

    #[test]
    fn token_is_read_anew_each_time_and_never_printed() {
        let dir = tempfile::tempdir().unwrap();
        let link = Link::Secure(files(dir.path()));
        assert!(link.headers().is_empty(), "there is no file yet");
        for token in ["first", "second"] {
            std::fs::write(dir.path().join("token"), format!("{token}\n")).unwrap();
            let headers = link.headers();
            assert_eq!(headers[AUTHORIZATION], format!("Bearer {token}"));
            assert!(!format!("{headers:?}").contains(token));
        }
        std::fs::write(dir.path().join("token"), "two\nlines").unwrap();
        assert!(link.headers().is_empty());
    }

    #[test]
    fn plain_link_shows_no_token() {
        assert!(Link::Plain.headers().is_empty());
    }

    #[tokio::test]
    async fn link_without_its_authority_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let link = Link::Secure(files(dir.path()));
        let error = link.connection(&"https://127.0.0.1:1".parse().unwrap()).await.unwrap_err().to_string();
        assert!(error.starts_with("--hub-ca ") && error.contains("ca.crt"), "{error}");
        let error = link.connection(&"http://127.0.0.1:1".parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, LinkError::Scheme(_)), "a secure link speaks to nobody in the clear");
    }
}
