//! The probe targets of a Plan's endpoints: [`uses`] collects them from a Plan; a [`Point`] is one endpoint as the Plan
//! uses it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use portreeve_api::plan;
use portreeve_xds::Name;

use super::{Host, Pace, Target, port_of};
use crate::translate::{Families, Lookup, check, pick};

/// One endpoint as a Plan uses it, with its health check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    /// Its place.
    pub place: Place,
    /// The TCP port of the check.
    pub port: u16,
    /// The path of the HTTP request. Empty: a TCP connection is enough.
    pub path: Arc<str>,
}

/// The place of a point.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A pod.
    Pod {
        /// Its node.
        node: Name,
        /// Its uid.
        uid: Name,
        /// Its address, in a family that this host can reach.
        ip: IpAddr,
    },
    /// An address that belongs to no pod or isn't used as a pod's.
    Address(IpAddr),
}

/// The endpoints that a Plan uses, by the component that checks them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Endpoints with a verdict.
    pub points: HashMap<Point, Pace>,
    /// Number of endpoints that the proxies check themselves.
    pub by_proxy: u32,
    /// Number of endpoints without a health check.
    pub unchecked: u32,
}

// === impl Point ===

impl Point {
    /// Returns the point of a pod; `None` without a port, or without an address in a family of this host.
    pub fn of_pod(endpoint: &plan::Endpoint, port: u32, path: &str, host: Families) -> Option<Self> {
        let ip = pick(host, &endpoint.ips)?;
        let place = Place::Pod { node: endpoint.node.as_str().into(), uid: endpoint.uid.as_str().into(), ip };
        Some(Self { place, port: port_of(port)?, path: path.into() })
    }

    /// Returns the point of an address; `None` without a port, and for loopback, which is the proxy's own and not this
    /// host's.
    pub fn of_address(ip: IpAddr, port: u32, path: &str) -> Option<Self> {
        let port = port_of(port).filter(|_| !ip.is_loopback())?;
        Some(Self { place: Place::Address(ip), port, path: path.into() })
    }

    /// Returns the pod's node.
    pub fn node(&self) -> Option<&Name> {
        match &self.place {
            Place::Pod { node, .. } => Some(node),
            Place::Address(_) => None,
        }
    }

    /// Returns the pod's node if it isn't this one.
    pub fn remote(&self, own: &str) -> Option<&Name> {
        self.node().filter(|node| ***node != *own)
    }

    /// Returns the target that this agent probes: a pod of its own node once for all users, an address directly.
    pub fn target(&self, own: &str) -> Target {
        let host = match &self.place {
            Place::Pod { node, uid, .. } if **node == *own => Host::Pod(uid.clone()),
            Place::Pod { ip, .. } | Place::Address(ip) => Host::Address(*ip),
        };
        Target { host, port: self.port, path: self.path.clone() }
    }

    /// Returns the address.
    pub fn ip(&self) -> IpAddr {
        match &self.place {
            Place::Pod { ip, .. } | Place::Address(ip) => *ip,
        }
    }
}

// === impl Uses ===

impl Uses {
    fn add(&mut self, point: Option<Point>, pace: Pace) {
        let Some(point) = point else {
            self.unchecked += 1;
            return;
        };
        self.points.entry(point).and_modify(|known| *known = known.stricter(pace)).or_insert(pace);
    }
}

/// Returns the endpoints that a Plan uses, on a host with these address families. Returns `None` while a group or host
/// name isn't known yet.
pub fn uses(plan: &plan::Plan, lookup: &impl Lookup, host: Families) -> Option<Uses> {
    let mut found = Uses::default();
    for cluster in &plan.clusters {
        for source in &cluster.endpoints {
            let check = cluster.health_check.as_ref().filter(|_| source.health_port != 0);
            let places = places(plan, source, lookup)?;
            match check {
                Some(_) if check::is_by_proxy(source) => found.by_proxy += 1,
                Some(check) => places.points(source.health_port, check, host, &mut found),
                None => found.unchecked += places.count(),
            }
        }
    }
    Some(found)
}

enum Places<'a> {
    Pods(Vec<&'a plan::Endpoint>),
    Addresses(Vec<IpAddr>),
}

// === impl Places ===

impl Places<'_> {
    fn count(&self) -> u32 {
        let count = match self {
            Self::Pods(pods) => pods.len(),
            Self::Addresses(ips) => ips.len(),
        };
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn points(&self, port: u32, check: &plan::HealthCheck, host: Families, found: &mut Uses) {
        let (path, pace) = (&check.http_path, Pace::of_check(check));
        match self {
            Self::Pods(pods) => {
                pods.iter().for_each(|pod| found.add(Point::of_pod(pod, port, path, host), pace));
            }
            Self::Addresses(ips) => {
                ips.iter().for_each(|ip| found.add(Point::of_address(*ip, port, path), pace));
            }
        }
    }
}

fn places<'a>(
    plan: &plan::Plan,
    source: &plan::EndpointSource,
    lookup: &'a impl Lookup,
) -> Option<Places<'a>> {
    use plan::endpoint_source::From;
    Some(match &source.from {
        Some(From::Group(group)) => Places::Pods(lookup.group(group)?),
        Some(From::Host(host)) => Places::Addresses(lookup.host(&plan.dns_namespace, host)?),
        Some(From::Ip(ip)) => Places::Addresses(ip.parse().ok().into_iter().collect()),
        Some(From::Filename(_)) | None => Places::Addresses(Vec::new()),
    })
}
