//! A client of EPIC's web service: [`Web`].
//!
//! It is the client of the API server with another base address: HTTPS, HTTP Basic, timeouts for every call, no redirects.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use kube::{Client, Config};
use portreeve_runtime::client::limited;
use serde_json::{Value, json};

/// The longest answer, in bytes.
const LONGEST: usize = 1 << 20;

/// Timeout of a call.
const PATIENCE: Duration = Duration::from_secs(10);

/// The web service, and who the customer is there.
#[derive(Clone, Debug, clap::Args)]
pub struct WebArgs {
    /// Base URL of EPIC's web service. The node then announces its ready pods behind Services that PureLB has ordered load
    /// balancers for. The kubeconfig is that of the customer's own cluster.
    #[arg(long, value_name = "URL", conflicts_with = "namespace")]
    pub epic_url: Option<Uri>,
    /// User of the web service.
    #[arg(long, value_name = "NAME", requires = "epic_url")]
    pub epic_user: Option<String>,
    /// File with the user's password.
    #[arg(long, value_name = "FILE", requires = "epic_user")]
    pub epic_password: Option<PathBuf>,
    /// File with the authorities (PEM) of the web service's certificate. Default: those of the system.
    #[arg(long, value_name = "FILE", requires = "epic_url")]
    pub epic_ca: Option<PathBuf>,
}

/// A client of the web service.
pub struct Web(Client);

/// An answer.
struct Answer {
    status: u16,
    location: Option<String>,
    body: Value,
}

// === impl Web ===

impl Web {
    /// Creates a client.
    ///
    /// # Errors
    /// Returns an error if the URL has no host, or a file can't be read.
    pub fn new(url: &Uri, args: &WebArgs) -> Result<Self> {
        let (scheme, host) = (url.scheme_str(), url.authority());
        let (Some(scheme), Some(host)) = (scheme, host) else {
            bail!("--epic-url {url}: give scheme and host, as in https://epic.example.com")
        };
        let mut config = Config::new(format!("{scheme}://{host}").parse()?);
        config.auth_info.username.clone_from(&args.epic_user);
        if let Some(path) = &args.epic_password {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            config.auth_info.password = Some(text.trim_end_matches(['\r', '\n']).to_owned().into());
        }
        if let Some(path) = &args.epic_ca {
            let pem = std::fs::read(path).with_context(|| path.display().to_string())?;
            config.root_cert = Some(certificates(&pem).with_context(|| path.display().to_string())?);
        }
        Ok(Self(limited(&config)?))
    }

    /// Reads an object.
    ///
    /// # Errors
    /// Returns an error if the service doesn't answer, or has no such object.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.ask(Method::GET, path, None).await?;
        ensure!(answer.status == 200, "GET {path}: {}", answer.text());
        Ok(answer.body)
    }

    /// Creates an object below a path. Returns its own path, also if it exists already.
    ///
    /// # Errors
    /// Returns an error if the service doesn't answer, or refuses.
    pub async fn create(&self, path: &str, body: &Value) -> Result<String> {
        let answer = self.ask(Method::POST, path, Some(body)).await?;
        match (answer.status, &answer.location) {
            (302 | 409, Some(location)) => path_of(location),
            _ => bail!("POST {path}: {}", answer.text()),
        }
    }

    /// Deletes an object. One that is gone already is no error.
    ///
    /// # Errors
    /// Returns an error if the service doesn't answer, or refuses.
    pub async fn delete(&self, path: &str) -> Result<()> {
        let answer = self.ask(Method::DELETE, path, None).await?;
        ensure!(matches!(answer.status, 200 | 404), "DELETE {path}: {}", answer.text());
        Ok(())
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let text = body.map(ToString::to_string).unwrap_or_default();
        let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json");
        let request = request.body(Body::from(text.into_bytes()))?;
        let asked = async {
            let (parts, body) = self.0.send(request).await?.into_parts();
            let body = Limited::new(body, LONGEST).collect().await.map_err(anyhow::Error::from_boxed)?;
            anyhow::Ok((parts, body.to_bytes()))
        };
        let asked = tokio::time::timeout(PATIENCE, asked).await;
        let (parts, body) =
            asked.context("EPIC's web service doesn't answer")?.with_context(|| path.to_owned())?;
        let location = parts.headers.get(LOCATION).and_then(|one| one.to_str().ok()).map(str::to_owned);
        let body = serde_json::from_slice(&body).unwrap_or(json!(null));
        Ok(Answer { status: parts.status.as_u16(), location, body })
    }
}

// === impl Answer ===

impl Answer {
    fn text(&self) -> String {
        let said = ["error", "message"].iter().find_map(|key| self.body[key].as_str());
        format!("{} {}", self.status, said.unwrap_or_default())
    }
}

/// Returns the path of a URL, which may have a scheme and a host before it.
///
/// # Errors
/// Returns an error if the text is no URL.
pub fn path_of(url: &str) -> Result<String> {
    let uri: Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
    Ok(uri.path().to_owned())
}

/// Returns the certificates of a PEM file.
fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let all: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pem).map(|one| one.map(|one| one.to_vec())).collect();
    let all = all?;
    ensure!(!all.is_empty(), "it has no certificate");
    Ok(all)
}
