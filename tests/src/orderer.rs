//! A customer's cluster that orders load balancers by the web service of API C ([`Orderer`]), step by step as C.5 tells it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// The name in the hub's certificate.
const NAME: &str = "portreeve-hub";

/// Timeout of a request.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client with a connection of its own. It must be used in the network namespace that it was connected in.
pub struct Orderer {
    address: SocketAddr,
    authorization: Option<String>,
    connector: TlsConnector,
    sender: Option<SendRequest<Full<bytes::Bytes>>>,
    connections: JoinSet<()>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Value,
}

/// A service that was ordered.
#[derive(Debug)]
pub struct Ordered {
    /// The path of the service.
    pub path: String,
    /// The answer about it: its links and the object.
    pub answer: Value,
}

// === impl Orderer ===

impl Orderer {
    /// Creates a client of the service at an address. It trusts the authority in the file, and says who it is by HTTP Basic.
    ///
    /// # Errors
    /// Returns an error if the file can't be read.
    pub fn new(address: SocketAddr, authority: &Path, user: Option<(&str, &str)>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&std::fs::read(authority)?) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        let basic = |(user, password)| format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        Ok(Self {
            address,
            authorization: user.map(basic),
            connector: TlsConnector::from(Arc::new(config)),
            sender: None,
            connections: JoinSet::new(),
        })
    }

    /// Sends a request and returns the answer, whatever its status.
    ///
    /// # Errors
    /// Returns an error if the service doesn't answer in time, or not with JSON.
    pub async fn send(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Reply> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, NAME);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let text = body.map(ToString::to_string).unwrap_or_default();
        let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(text.into()))?;
        let sent = async {
            let response = self.sender().await?.send_request(request).await?;
            let (parts, body) = response.into_parts();
            anyhow::Ok((parts, body.collect().await?.to_bytes()))
        };
        let (parts, body) = tokio::time::timeout(PATIENCE, sent).await.context(path.to_owned())??;
        let body = serde_json::from_slice(&body).with_context(|| format!("{path}: {body:?}"))?;
        Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    /// Gets an object.
    ///
    /// # Errors
    /// Returns an error if the answer isn't 200.
    pub async fn get(&mut self, path: &str) -> Result<Value> {
        let reply = self.send(Method::GET, path, None).await?;
        ensure!(reply.status == 200, "GET {path}: {reply:?}");
        Ok(reply.body)
    }

    /// Posts a body. Returns the path of what was created, or of what existed already, and whether it was created.
    ///
    /// # Errors
    /// Returns an error if the answer is neither 302 nor 409 with a Location.
    pub async fn post(&mut self, path: &str, body: &Value) -> Result<(String, bool)> {
        let reply = self.send(Method::POST, path, Some(body)).await?;
        ensure!(matches!(reply.status, 302 | 409), "POST {path}: {reply:?}");
        let location = reply.location().with_context(|| format!("no Location: {reply:?}"))?;
        Ok((location.to_owned(), reply.status == 302))
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// Returns an error if the answer isn't 200.
    pub async fn delete(&mut self, path: &str) -> Result<()> {
        let reply = self.send(Method::DELETE, path, None).await?;
        ensure!(reply.status == 200 && reply.body["message"].is_string(), "DELETE {path}: {reply:?}");
        Ok(())
    }

    /// The allocator's first step: orders a service of a group, and reads it. Its address must be in that answer.
    ///
    /// # Errors
    /// Returns an error if the service refuses, or if the answer has no address.
    pub async fn order(&mut self, group: &str, name: &str, ports: &Value) -> Result<Ordered> {
        let found = self.get(group).await?;
        let create = link(&found, "create-service")?;
        let service = json!({"service": {
            "metadata": {"name": name, "namespace": ""},
            "spec": {"public-ports": ports, "service-id": 0},
            "status": {"gue-tunnel-endpoints": null},
        }});
        let (path, _) = self.post(&create, &service).await?;
        let answer = self.get(&path).await?;
        let address = answer["service"]["spec"]["public-address"].as_str().unwrap_or_default();
        ensure!(address.parse::<std::net::IpAddr>().is_ok(), "the answer has no address: {answer}");
        Ok(Ordered { path, answer })
    }

    /// The allocator's second step: announces its cluster. Returns the cluster's path.
    ///
    /// # Errors
    /// Returns an error if the service refuses.
    pub async fn join(&mut self, ordered: &Ordered, cluster: &str) -> Result<String> {
        let create = link(&ordered.answer, "create-cluster")?;
        Ok(self.post(&create, &json!({"cluster-id": cluster})).await?.0)
    }

    /// A node agent's third step: reads the account by the group, and announces an endpoint. Returns the endpoint's path.
    ///
    /// # Errors
    /// Returns an error if the service refuses, or if the account has no id.
    pub async fn announce(&mut self, group: &str, ordered: &Ordered, endpoint: &Value) -> Result<String> {
        let account = link(&self.get(group).await?, "account")?;
        let account = self.get(&account).await?;
        let id = account["account"]["spec"]["group-id"].as_u64().unwrap_or_default();
        ensure!(id > 0, "the account has no id: {account}");
        let create = link(&ordered.answer, "create-endpoint")?;
        // The agent writes these keys in this case.
        let spec = json!({
            "cluster": endpoint["cluster"],
            "address": endpoint["address"],
            "Port": endpoint["port"],
            "node-address": endpoint["node-address"],
        });
        Ok(self.post(&create, &json!({"Endpoint": {"spec": spec}})).await?.0)
    }

    /// The last step: leaves the service, and deletes it unless other clusters use it. Returns whether it was deleted.
    ///
    /// # Errors
    /// Returns an error if the service refuses for another reason.
    pub async fn release(&mut self, cluster: &str) -> Result<bool> {
        let found = self.get(cluster).await?;
        self.delete(&link(&found, "self")?).await?;
        let reply = self.send(Method::DELETE, &link(&found, "service")?, None).await?;
        match reply.status {
            200 => Ok(true),
            409 => Ok(false),
            _ => bail!("{reply:?}"),
        }
    }

    async fn sender(&mut self) -> Result<&mut SendRequest<Full<bytes::Bytes>>> {
        if self.sender.as_ref().is_none_or(SendRequest::is_closed) {
            let stream = TcpStream::connect(self.address).await?;
            let stream = self.connector.connect(ServerName::try_from(NAME)?, stream).await?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // A connection that breaks is known by its sender.
            self.connections.spawn(async move { drop(connection.await) });
            self.sender = Some(sender);
        }
        let sender = self.sender.as_mut().context("just connected")?;
        sender.ready().await?;
        Ok(sender)
    }
}

// === impl Reply ===

impl Reply {
    /// Returns the Location.
    pub fn location(&self) -> Option<&str> {
        self.headers.get(LOCATION)?.to_str().ok()
    }
}

/// Returns a link of an answer.
///
/// # Errors
/// Returns an error if there is no such link.
pub fn link(answer: &Value, name: &str) -> Result<String> {
    let link = answer["link"][name].as_str();
    Ok(link.with_context(|| format!("no link {name}: {answer}"))?.to_owned())
}
