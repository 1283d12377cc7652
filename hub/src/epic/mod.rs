//! What API C (EPIC) needs beyond Plans: the allocation of ids, keys and addresses ([`Allocator`]), load balancers' own pods
//! ([`pods`]), and the web service that customers' clusters use ([`web`]). Entry point: [`spawn`].

use std::sync::Arc;

use kube::Client;
use portreeve_runtime::{Readiness, Shutdown, Tasks};
use tokio::sync::watch;

use crate::feed::Feed;
use crate::namespaces::Namespaces;
use crate::tls::Shown;
use filler::Filler;
use pods::Pods;
use web::Web;

mod allocator;
mod failure;
mod filler;
mod objects;
mod parent;
pub mod pods;
mod stock;
mod tunnels;
pub mod web;

pub use allocator::Allocator;
pub use failure::Failure;
pub use stock::Usage;

/// Flags of API C.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Flags of the web service.
    #[command(flatten)]
    pub web: web::Args,
    /// Flags of load balancers' own pods.
    #[command(flatten)]
    pub pods: pods::Args,
}

/// What API C needs of the hub.
pub struct Hub {
    /// A client for the API server.
    pub client: Client,
    /// What the hub knows.
    pub feed: Arc<Feed>,
    /// Whether this hub leads.
    pub leads: watch::Receiver<bool>,
    /// The namespaces that the hub serves.
    pub namespaces: Namespaces,
    /// The certificate that agents are shown.
    pub certificate: Option<Arc<Shown>>,
}

/// Starts the allocations and, if the flags ask for it, the web service.
///
/// # Errors
/// Returns an error if the web service can't be opened.
pub async fn spawn(
    tasks: &mut Tasks,
    hub: Hub,
    args: Args,
    (readiness, shutdown): (&Readiness, &Shutdown),
) -> anyhow::Result<Arc<Allocator>> {
    let Hub { client, feed, leads, namespaces, certificate } = hub;
    let allocator = Allocator::new(client.clone(), feed.clone(), &namespaces);
    let pods = Pods::spawn(tasks, &client, args.pods, &namespaces);
    let filler = Filler::new(client.clone(), feed.clone(), allocator.clone(), leads, pods);
    tasks.spawn_graceful("allocations", filler.run(readiness.clone(), shutdown.clone()));
    let web = Web::new(client, feed, allocator.clone(), readiness.clone())?;
    web::spawn(tasks, args.web, web, certificate, shutdown).await?;
    Ok(allocator)
}
