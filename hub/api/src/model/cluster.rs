//! [`Cluster`]: endpoints that are interchangeable, and how one is chosen.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::flaw::{self, Flaw};
use super::{EndpointSource, Socket, Tls};
use crate::plan as proto;

/// Endpoints that are interchangeable (message `Cluster`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name, unique in the Plan.
    pub name: String,
    /// What is spoken to the endpoints. `None`: what the listener speaks.
    pub socket: Option<Socket>,
    /// What its endpoints are; all of them together.
    pub endpoints: Vec<EndpointSource>,
    /// How one is chosen. `None`: the proxy's default.
    pub balancer: Option<Balancer>,
    /// How they are checked. `None`: not at all.
    pub health_check: Option<HealthCheck>,
    /// TLS towards the endpoints.
    pub tls: Option<Tls>,
    /// HTTP is spoken to the endpoints.
    pub http: bool,
    /// How long a connection to an endpoint may take. `None`: the translator's default.
    pub connect_timeout: Option<Duration>,
    /// Features, added after version 0.1.0, that it relies on. Who does not know one opens no listener that leads here.
    pub needs: Vec<String>,
}

/// How an endpoint is chosen (message `Balancer`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balancer {
    /// All sessions with this constant key reach the same endpoint.
    Key(String),
    /// By the sender's address.
    SourceAddress,
    /// By the value at this path of the session's metadata; API B.
    MetadataPath(String),
    /// One after the other.
    RoundRobin,
    /// A policy that this version does not know.
    Unknown,
}

/// How a cluster's endpoints are checked (message `HealthCheck`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthCheck {
    /// From one check to the next. `None`: [`HealthCheck::SHORTEST_INTERVAL`].
    pub interval: Option<Duration>,
    /// How long an answer is waited for. `None`: [`HealthCheck::DEFAULT_TIMEOUT`].
    pub timeout: Option<Duration>,
    /// Failures in a row that make an endpoint unhealthy. `None`: one.
    pub unhealthy_threshold: Option<NonZeroU32>,
    /// Successes in a row that make it healthy again. `None`: one.
    pub healthy_threshold: Option<NonZeroU32>,
    /// The path that is asked for by HTTP GET. `None`: a TCP connection is enough.
    pub http_path: Option<Arc<str>>,
}

// === impl Cluster ===

impl Cluster {
    /// The check of one of its sources: `None` when the source has no port for it, or the cluster has no check.
    pub fn check_of(&self, source: &EndpointSource) -> Option<&HealthCheck> {
        self.health_check.as_ref().filter(|_| source.health_port.is_some())
    }

    /// Whether any of its endpoints is checked.
    pub fn is_checked(&self) -> bool {
        self.endpoints.iter().any(|source| self.check_of(source).is_some())
    }
}

impl TryFrom<proto::Cluster> for Cluster {
    type Error = Flaw;

    /// # Errors
    /// A field of it, by the cluster's name.
    fn try_from(message: proto::Cluster) -> Result<Self, Flaw> {
        let proto::Cluster {
            name,
            socket,
            endpoints,
            balancer,
            health_check,
            tls,
            http,
            connect_timeout_ms,
            needs,
        } = message;
        let of = format!("cluster {name}");
        let read = || {
            let socket = socket.map(Socket::try_from).transpose();
            Ok(Self {
                name: flaw::full("name", name)?,
                socket: socket.map_err(|flaw| flaw.under("socket"))?,
                endpoints: flaw::all(endpoints)?,
                balancer: balancer.map(Balancer::try_from).transpose()?,
                health_check: health_check.map(HealthCheck::from),
                tls: tls.map(Tls::from),
                http,
                connect_timeout: flaw::duration(connect_timeout_ms),
                needs,
            })
        };
        read().map_err(|flaw: Flaw| flaw.of(of))
    }
}

impl From<&Cluster> for proto::Cluster {
    fn from(cluster: &Cluster) -> Self {
        let Cluster { name, socket, endpoints, balancer, health_check, tls, http, connect_timeout, needs } =
            cluster;
        Self {
            name: name.clone(),
            socket: socket.as_ref().map(Into::into),
            endpoints: flaw::written(endpoints),
            balancer: balancer.as_ref().map(Into::into),
            health_check: health_check.as_ref().map(Into::into),
            tls: tls.as_ref().map(Into::into),
            http: *http,
            connect_timeout_ms: flaw::ms(*connect_timeout),
            needs: needs.clone(),
        }
    }
}

// === impl Balancer ===

impl TryFrom<proto::Balancer> for Balancer {
    type Error = Flaw;

    /// # Errors
    /// A policy that is chosen by `true` is `false`.
    fn try_from(message: proto::Balancer) -> Result<Self, Flaw> {
        use proto::balancer::Policy;
        let proto::Balancer { policy } = message;
        match policy {
            Some(Policy::Key(key)) => Ok(Self::Key(key)),
            Some(Policy::SourceAddress(true)) => Ok(Self::SourceAddress),
            Some(Policy::MetadataPath(path)) => Ok(Self::MetadataPath(path)),
            Some(Policy::RoundRobin(true)) => Ok(Self::RoundRobin),
            Some(Policy::SourceAddress(false)) => Err(Flaw::new("balancer.source_address", "is false")),
            Some(Policy::RoundRobin(false)) => Err(Flaw::new("balancer.round_robin", "is false")),
            None => Ok(Self::Unknown),
        }
    }
}

impl From<&Balancer> for proto::Balancer {
    fn from(balancer: &Balancer) -> Self {
        use proto::balancer::Policy;
        let policy = match balancer {
            Balancer::Key(key) => Some(Policy::Key(key.clone())),
            Balancer::SourceAddress => Some(Policy::SourceAddress(true)),
            Balancer::MetadataPath(path) => Some(Policy::MetadataPath(path.clone())),
            Balancer::RoundRobin => Some(Policy::RoundRobin(true)),
            Balancer::Unknown => None,
        };
        Self { policy }
    }
}

// === impl HealthCheck ===

impl HealthCheck {
    /// The shortest interval between two checks of an endpoint, whatever is asked for.
    pub const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

    /// How long an answer is waited for when nobody says otherwise.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(100);
}

impl From<proto::HealthCheck> for HealthCheck {
    fn from(message: proto::HealthCheck) -> Self {
        let proto::HealthCheck { interval_ms, timeout_ms, unhealthy_threshold, healthy_threshold, http_path } =
            message;
        Self {
            interval: flaw::duration(interval_ms),
            timeout: flaw::duration(timeout_ms),
            unhealthy_threshold: NonZeroU32::new(unhealthy_threshold),
            healthy_threshold: NonZeroU32::new(healthy_threshold),
            http_path: flaw::text(http_path),
        }
    }
}

impl From<&HealthCheck> for proto::HealthCheck {
    fn from(check: &HealthCheck) -> Self {
        let HealthCheck { interval, timeout, unhealthy_threshold, healthy_threshold, http_path } = check;
        Self {
            interval_ms: flaw::ms(*interval),
            timeout_ms: flaw::ms(*timeout),
            unhealthy_threshold: flaw::number(*unhealthy_threshold),
            healthy_threshold: flaw::number(*healthy_threshold),
            http_path: http_path.as_deref().unwrap_or_default().to_owned(),
        }
    }
}
