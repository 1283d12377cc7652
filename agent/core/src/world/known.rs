//! The lookups that translation needs, answered from the world: [`Known`].

use std::net::IpAddr;
use std::num::NonZeroU16;

use portreeve_api::model::{Endpoint, Secret};

use super::World;
use super::feed::Feed;
use super::hosts::Hosts;
use crate::health::{EndpointHealth, Point};
use crate::translate::{Families, Lookup};

/// The lookups that translation needs.
pub struct Known<'a> {
    /// The hub's resources.
    pub feed: &'a Feed,
    /// Addresses of host names.
    pub hosts: &'a Hosts,
    /// Health of endpoints.
    pub health: &'a EndpointHealth,
    /// The host's address families.
    pub host: Families,
    /// This node's name while the hub's data is stale: pods of all other nodes are stale then. Otherwise
    /// `None`.
    pub stale_but: Option<&'a str>,
}

// === impl World ===

impl World {
    pub(super) fn known(&self) -> Known<'_> {
        let stale_but = self.stale.then_some(&*self.node);
        let Self { feed, hosts, health, host_families: host, .. } = self;
        Known { feed, hosts, health, host: *host, stale_but }
    }
}

// === impl Known ===

impl Lookup for Known<'_> {
    fn group(&self, name: &str) -> Option<Vec<&Endpoint>> {
        self.feed.group(name)
    }

    fn host(&self, namespace: &str, name: &str) -> Option<Vec<IpAddr>> {
        self.hosts.addresses(namespace, name)
    }

    fn secret(&self, name: &str) -> Option<&Secret> {
        self.feed.secrets.get(name)
    }

    fn pod_failed(&self, endpoint: &Endpoint, port: NonZeroU16, path: Option<&str>) -> bool {
        Point::of_pod(endpoint, port, path, self.host).is_some_and(|point| self.health.failed(&point))
    }

    fn address_failed(&self, ip: IpAddr, port: NonZeroU16, path: Option<&str>) -> bool {
        Point::of_address(ip, port, path).is_some_and(|point| self.health.failed(&point))
    }

    fn stale(&self, endpoint: &Endpoint) -> bool {
        self.stale_but.is_some_and(|own| *endpoint.node != *own)
    }
}
