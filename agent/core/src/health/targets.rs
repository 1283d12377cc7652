//! The probe targets of a Plan's endpoints: [`uses`] collects them from a Plan; a [`Point`] is one endpoint as the Plan
//! uses it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use portreeve_api::model::{Endpoint, HealthCheck, Plan};
use portreeve_xds::Name;

use super::{Host, Pace, Target};
use crate::translate::sources::{self, Found};
use crate::translate::{Families, Lookup, pick};

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
    /// Returns the point of a pod; `None` without an address in a family of this host.
    pub fn of_pod(endpoint: &Endpoint, port: NonZeroU16, path: Option<&str>, host: Families) -> Option<Self> {
        let ip = pick(host, &endpoint.ips)?;
        let place = Place::Pod { node: endpoint.node.clone(), uid: endpoint.uid.clone(), ip };
        Some(Self { place, port: port.get(), path: path.unwrap_or_default().into() })
    }

    /// Returns the point of an address; `None` for loopback, to which a host name may lead: that is the proxy's own and not
    /// this host's.
    pub fn of_address(ip: IpAddr, port: NonZeroU16, path: Option<&str>) -> Option<Self> {
        let path = path.unwrap_or_default().into();
        (!ip.is_loopback()).then(|| Self { place: Place::Address(ip), port: port.get(), path })
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
    fn add_checked(&mut self, found: Found<'_>, (check, port): (&HealthCheck, NonZeroU16), host: Families) {
        let (path, pace) = (check.http_path.as_deref(), Pace::of_check(check));
        match found {
            Found::Pods(pods) => {
                pods.into_iter().for_each(|pod| self.add(Point::of_pod(pod, port, path, host), pace));
            }
            Found::Host(ips) => {
                ips.into_iter().for_each(|ip| self.add(Point::of_address(ip, port, path), pace));
            }
            Found::Beside(_) => self.by_proxy += 1,
            Found::Nothing => {}
        }
    }

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
pub fn uses(plan: &Plan, lookup: &dyn Lookup, host: Families) -> Option<Uses> {
    let mut uses = Uses::default();
    for cluster in &plan.clusters {
        for source in &cluster.endpoints {
            let found = sources::found(plan, source, lookup)?;
            match cluster.check_of(source).zip(source.health_port) {
                Some(check) => uses.add_checked(found, check, host),
                None => uses.unchecked += count(&found),
            }
        }
    }
    Some(uses)
}

fn count(found: &Found<'_>) -> u32 {
    let count = match found {
        Found::Pods(pods) => pods.len(),
        Found::Host(ips) => ips.len(),
        Found::Beside(_) => 1,
        Found::Nothing => 0,
    };
    u32::try_from(count).unwrap_or(u32::MAX)
}
