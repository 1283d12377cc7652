//! The web service by which customers' clusters order load balancers, `/api/epic` (C.5): [`Web`]. Its protocol is in
//! `portreeve-epic`; here are its server, its users, and the requests for the API server.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method, StatusCode};
use kube::Client;
use portreeve_api::refs::ObjectRef;
use portreeve_epic::answer::{self, Answer};
use portreeve_epic::path::{ROOT, Target};
use portreeve_epic::request::MAX_BODY;
use portreeve_runtime::Readiness;
use tokio::sync::{Mutex, MutexGuard};
use xxhash_rust::xxh3::xxh3_64;

use super::allocator::Allocator;
use super::failure::Failure;
use crate::feed::Feed;
use gate::Gate;

mod clusters;
mod endpoints;
mod found;
mod gate;
mod server;
mod services;
mod users;

pub use server::spawn;

/// How long a client may take to send a body.
const BODY: Duration = Duration::from_secs(10);

/// How long a request waits for a starting hub.
const START: Duration = Duration::from_secs(10);

/// Number of locks for orders. Orders of the same name share one.
const LOCKS: usize = 64;

/// Flags of the web service.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Address and port of the web service by which customers' clusters order load balancers of epic.acnodal.io. Default:
    /// none is opened.
    #[arg(long, value_name = "ADDRESS")]
    pub epic_listen: Option<SocketAddr>,
    /// Path of the web service's certificate chain in PEM. It is read again when it changes. Default: the hub's certificate.
    #[arg(long, value_name = "FILE", requires = "epic_tls_key", requires = "epic_listen")]
    pub epic_tls_cert: Option<PathBuf>,
    /// Path of that certificate's private key in PEM.
    #[arg(long, value_name = "FILE", requires = "epic_tls_cert")]
    pub epic_tls_key: Option<PathBuf>,
}

/// The web service.
pub struct Web {
    client: Client,
    feed: Arc<Feed>,
    allocator: Arc<Allocator>,
    readiness: Readiness,
    gate: Gate,
    /// Orders of a name are handled one after another, so that a name which is ordered twice at once costs one id.
    orders: Vec<Mutex<()>>,
}

/// What a handler returns: an answer, or why there is none.
type Outcome = Result<Answer, Failure>;

// === impl Web ===

impl Web {
    /// Creates the service. It answers 503 before `readiness` is reached.
    ///
    /// # Errors
    /// Returns an error if the machine's source of random bytes is broken.
    pub fn new(
        client: Client,
        feed: Arc<Feed>,
        allocator: Arc<Allocator>,
        readiness: Readiness,
    ) -> anyhow::Result<Self> {
        let gate = Gate::new(client.clone())?;
        let orders = (0..LOCKS).map(|_| Mutex::default()).collect();
        Ok(Self { client, feed, allocator, readiness, gate, orders })
    }

    /// Answers a request of a peer.
    async fn answer(
        &self,
        (method, path): (&Method, &str),
        headers: &HeaderMap,
        body: Body,
        peer: IpAddr,
    ) -> Answer {
        let Some(target) = Target::parse(path) else {
            return answer::not_found(format!("{path}: there is no such path below {ROOT}"));
        };
        if tokio::time::timeout(START, self.readiness.ready()).await.is_err() {
            return answer::error(StatusCode::SERVICE_UNAVAILABLE, "the hub is starting: try again");
        }
        if target == Target::Health {
            return answer::message("the hub serves");
        }
        let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if let Err(refusal) = self.gate.admit(&self.feed, &target, authorization, peer).await {
            return refusal;
        }
        let body = match tokio::time::timeout(BODY, to_bytes(body, MAX_BODY)).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => {
                return answer::error(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("the body is longer than {MAX_BODY} bytes"),
                );
            }
            Err(_) => return answer::error(StatusCode::REQUEST_TIMEOUT, "the body was not sent in time"),
        };
        self.handle(method, &target, &body).await.unwrap_or_else(|failure| {
            tracing::warn!(%method, path, error = %failure, "a request of the web service failed");
            answer::internal(failure)
        })
    }

    /// Waits until no other order of this name is being handled.
    async fn order_of(&self, key: &ObjectRef) -> MutexGuard<'_, ()> {
        let hash = xxh3_64(key.to_string().as_bytes());
        let index = usize::try_from(hash % LOCKS as u64).unwrap_or_default();
        self.orders[index].lock().await
    }

    async fn handle(&self, method: &Method, target: &Target, body: &[u8]) -> Outcome {
        match (method, target) {
            (&Method::GET, Target::Account { account }) => self.account(target, account).await,
            (&Method::GET, Target::Group { account, group }) => self.group(target, (account, group)).await,
            (&Method::POST, Target::Services { account, group }) => {
                self.create_service((account, group), body).await
            }
            (&Method::GET, Target::Service { account, service }) => {
                self.service(target, (account, service)).await
            }
            (&Method::DELETE, Target::Service { account, service }) => {
                self.delete_service((account, service)).await
            }
            (&Method::POST, Target::Clusters { account, service }) => {
                self.create_cluster((account, service), body).await
            }
            (&Method::GET, Target::Cluster { account, service, cluster }) => {
                self.cluster(target, (account, service), cluster).await
            }
            (&Method::DELETE, Target::Cluster { account, service, cluster }) => {
                self.delete_cluster((account, service), cluster).await
            }
            (&Method::POST, Target::Endpoints { account, service }) => {
                self.create_endpoint((account, service), body).await
            }
            (&Method::GET, Target::Endpoint { account, service, endpoint }) => {
                self.endpoint(target, (account, service), endpoint).await
            }
            (&Method::DELETE, Target::Endpoint { account, service, endpoint }) => {
                self.delete_endpoint((account, service), endpoint).await
            }
            _ => {
                let text = format!("{method} is not possible here: {target}");
                Ok(answer::error(StatusCode::METHOD_NOT_ALLOWED, text))
            }
        }
    }
}
