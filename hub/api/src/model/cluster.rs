//! [`Cluster`]: interchangeable endpoints and their load balancing.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::flaw::{self, Flaw};
use super::{EndpointSource, Socket, Tls};
use crate::plan as proto;

/// Interchangeable endpoints (message `Cluster`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster's name, unique in the Plan.
    pub name: String,
    /// The protocol spoken to the endpoints. `None`: the listener's protocol.
    pub socket: Option<Socket>,
    /// The sources of the endpoints. The cluster has the endpoints of all of them.
    pub endpoints: Vec<EndpointSource>,
    /// The load balancing policy. `None`: the proxy's default.
    pub balancer: Option<Balancer>,
    /// The health check of the endpoints. `None`: no health check.
    pub health_check: Option<HealthCheck>,
    /// TLS towards the endpoints.
    pub tls: Option<Tls>,
    /// Whether HTTP/2 is spoken to the endpoints.
    pub http: bool,
    /// Timeout for connecting to an endpoint. `None`: the translator's default.
    pub connect_timeout: Option<Duration>,
    /// Features, added after version 0.1.0, that the cluster relies on. An agent that doesn't know one of them opens no
    /// listener that leads to the cluster.
    pub needs: Vec<String>,
    /// Where the cluster is defined, if not here; API B. Of all other fields, only the name is set then, and for a cluster of
    /// another Plan the protocol and the balancer.
    pub elsewhere: Option<Elsewhere>,
}

/// The place of a cluster that its Plan does not define (the oneof `elsewhere` of message `Cluster`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Another Plan has it, by its name in the proxy.
    Plan(String),
    /// The proxy's own configuration has it.
    Proxy(String),
}

/// A load balancing policy (message `Balancer`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balancer {
    /// All sessions with this constant key reach the same endpoint.
    Key(String),
    /// Hashes the sender's address.
    SourceAddress,
    /// Hashes the value at this path of the session's metadata; an empty path means by chance. API B.
    MetadataPath(String),
    /// Round robin.
    RoundRobin,
    /// A policy that is unknown to this version.
    Unknown,
}

/// The health check of a cluster's endpoints (message `HealthCheck`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthCheck {
    /// Time between two checks. `None`: [`HealthCheck::SHORTEST_INTERVAL`].
    pub interval: Option<Duration>,
    /// Timeout of a check. `None`: [`HealthCheck::DEFAULT_TIMEOUT`].
    pub timeout: Option<Duration>,
    /// Consecutive failures that make an endpoint unhealthy. `None`: one.
    pub unhealthy_threshold: Option<NonZeroU32>,
    /// Consecutive successes that make an endpoint healthy again. `None`: one.
    pub healthy_threshold: Option<NonZeroU32>,
    /// The path of the HTTP GET. `None`: a TCP connect.
    pub http_path: Option<Arc<str>>,
}

// === impl Cluster ===

impl Cluster {
    /// Returns a cluster that is defined elsewhere.
    pub fn elsewhere(name: impl Into<String>, place: Elsewhere) -> Self {
        Self {
            name: name.into(),
            socket: None,
            endpoints: Vec::new(),
            balancer: None,
            health_check: None,
            tls: None,
            http: false,
            connect_timeout: None,
            needs: Vec::new(),
            elsewhere: Some(place),
        }
    }

    /// Returns the check of one of the cluster's sources. `None` if the source has no health port, or the cluster no health
    /// check.
    pub fn check_of(&self, source: &EndpointSource) -> Option<&HealthCheck> {
        self.health_check.as_ref().filter(|_| source.health_port.is_some())
    }

    /// Returns whether any of its endpoints is checked.
    pub fn is_checked(&self) -> bool {
        self.endpoints.iter().any(|source| self.check_of(source).is_some())
    }
}

impl TryFrom<proto::Cluster> for Cluster {
    type Error = Flaw;

    /// # Errors
    /// Returns an error that names the cluster and its first invalid field.
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
            elsewhere,
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
                elsewhere: elsewhere.map(Elsewhere::try_from).transpose()?,
            })
        };
        read().map_err(|flaw: Flaw| flaw.of(of))
    }
}

impl From<&Cluster> for proto::Cluster {
    fn from(cluster: &Cluster) -> Self {
        let Cluster {
            name,
            socket,
            endpoints,
            balancer,
            health_check,
            tls,
            http,
            connect_timeout,
            needs,
            elsewhere,
        } = cluster;
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
            elsewhere: elsewhere.as_ref().map(Into::into),
        }
    }
}

// === impl Elsewhere ===

impl TryFrom<proto::cluster::Elsewhere> for Elsewhere {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if the name is empty.
    fn try_from(message: proto::cluster::Elsewhere) -> Result<Self, Flaw> {
        use proto::cluster::Elsewhere as Message;
        match message {
            Message::OtherPlan(name) => Ok(Self::Plan(flaw::full("other_plan", name)?)),
            Message::ProxysOwn(name) => Ok(Self::Proxy(flaw::full("proxys_own", name)?)),
        }
    }
}

impl From<&Elsewhere> for proto::cluster::Elsewhere {
    fn from(place: &Elsewhere) -> Self {
        match place.clone() {
            Elsewhere::Plan(name) => Self::OtherPlan(name),
            Elsewhere::Proxy(name) => Self::ProxysOwn(name),
        }
    }
}

// === impl Balancer ===

impl TryFrom<proto::Balancer> for Balancer {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if a policy that is chosen by `true` is `false`.
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
    /// The shortest interval between two checks of an endpoint, whatever the Plan requests.
    pub const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

    /// Timeout of a check if the Plan sets none.
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
