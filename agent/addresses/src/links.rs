//! The node's interfaces, addresses and default routes, read and changed through the kernel's rtnetlink interface
//! ([`Links`]).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context, Result};
use futures::{Stream, TryStreamExt};
use nix::errno::Errno;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, CacheInfo};
use rtnetlink::packet_route::link::{LinkAttribute, LinkLayerType, LinkMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};
use rtnetlink::{Error, Handle};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::packets::{PacketSocket, Port};
use crate::subnets::{Subnet, single};
use crate::{frames, probes};

/// The label of the IPv4 addresses that this crate adds.
const LABEL: &str = "portreeve";

/// A connection to the kernel, for the network namespace of the thread that opened it. Needs the capabilities
/// `NET_ADMIN` and `NET_RAW`.
///
/// Call [`Links::announce`] only on a thread in the same namespace; it looks the interface up in the thread's own.
#[derive(Debug)]
pub struct Links {
    /// Sends requests to the connection's task.
    handle: Handle,
    /// Held while something is listed: the kernel rejects a second listing at once on the same connection (EBUSY).
    listing: Mutex<()>,
    /// Sends announcements.
    packets: PacketSocket,
    /// The connection's task. It ends with this set.
    _connection: JoinSet<()>,
}

/// An Ethernet interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's index. It stays the same until the interface is removed.
    pub index: u32,
    /// The name, such as `eth0`. It may change.
    pub name: String,
    /// The MAC at the time of the lookup.
    pub mac: [u8; 6],
}

// === impl Links ===

impl Links {
    /// Opens a connection to the kernel. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// Returns an error without the capability `NET_RAW`.
    pub fn open() -> Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection().context("opening a netlink socket")?;
        let packets = PacketSocket::open()?;
        let mut task = JoinSet::new();
        task.spawn(connection);
        Ok(Self { handle, listing: Mutex::default(), packets, _connection: task })
    }

    /// Returns all addresses of the node, with the index of their interface (the lowest, if several have an address).
    ///
    /// # Errors
    /// Returns an error if the kernel rejects the request.
    pub async fn holding(&self) -> Result<BTreeMap<IpAddr, u32>> {
        let mut subnets: Vec<Subnet> = self.addresses().await?.iter().filter_map(subnet).collect();
        subnets.sort_by_key(|subnet| Reverse(subnet.interface));
        Ok(subnets.into_iter().map(|subnet| (subnet.local, subnet.interface)).collect())
    }

    /// Returns the Ethernet interface for an address: the interface with the smallest subnet that contains it, or else
    /// the interface of its family's default route with the lowest metric.
    ///
    /// # Errors
    /// Returns an error that says what to do if there is no such interface.
    pub async fn interface_for(&self, address: IpAddr) -> Result<Interface> {
        let mut interfaces = self.interfaces().await?;
        let addresses = self.addresses().await?;
        let mut subnets: Vec<Subnet> = addresses.iter().filter_map(subnet).collect();
        subnets.retain(|subnet| interfaces.contains_key(&subnet.interface));
        let index = match Subnet::nearest(&subnets, address) {
            Some(index) => Some(index),
            None => self.default_route(address, &interfaces).await?,
        };
        index.and_then(|index| interfaces.remove(&index)).with_context(|| {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            format!(
                "no interface for {address}: no Ethernet interface of this node has a subnet that contains it, and no \
                 {family} default route leaves through one; add an address of its subnet to an interface, or add a \
                 default route to the main table"
            )
        })
    }

    /// Adds an address to an interface, as /32 or /128. Does nothing if the interface has it.
    ///
    /// An IPv6 address is usable at once (without duplicate address detection) and deprecated, so the node uses it as
    /// the source only where a program binds to it. Without that, the node's own connections could start from it.
    ///
    /// # Errors
    /// Returns an error without the capability `NET_ADMIN`, or if the interface is gone.
    pub async fn add(&self, interface: &Interface, address: IpAddr) -> Result<()> {
        let mut request = self.handle.address().add(interface.index, address, single(address));
        let message = request.message_mut();
        if address.is_ipv6() {
            message.header.flags |= AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::CacheInfo(deprecated()));
        } else {
            message.attributes.push(AddressAttribute::Label(LABEL.to_owned()));
        }
        unless(request.execute().await, &[Errno::EEXIST])
            .with_context(|| format!("adding {address} to {}", interface.name))
    }

    /// Removes an address from all interfaces that [`Links::add`] put it on, also in an earlier process. An address that the
    /// node has otherwise stays, for example its own.
    ///
    /// # Errors
    /// Returns an error without the capability `NET_ADMIN`.
    pub async fn remove(&self, address: IpAddr) -> Result<()> {
        for message in self.addresses().await? {
            let same = subnet(&message).is_some_and(|subnet| subnet.local == address && subnet.is_single());
            if same && is_marked(&message) {
                let removed = self.handle.address().del(message).execute().await;
                unless(removed, &[Errno::EADDRNOTAVAIL, Errno::ENODEV])
                    .with_context(|| format!("removing {address}"))?;
            }
        }
        Ok(())
    }

    /// Announces once to all neighbours on an interface's link that the address has the interface's current MAC (see
    /// [`frames`]). Frames may be lost, so repeat it.
    ///
    /// # Errors
    /// Returns an error if the interface is down or gone, or its queue is full.
    pub async fn announce(&self, interface: &Interface, address: IpAddr) -> Result<()> {
        let announced = Port::find(interface.index).and_then(|port| match address {
            IpAddr::V4(address) => {
                frames::arp(port.mac, address).iter().try_for_each(|frame| self.packets.send(&port, frame))
            }
            IpAddr::V6(address) => {
                self.packets.send(&port, &frames::neighbour_advertisement(port.mac, address))
            }
        });
        announced.with_context(|| format!("announcing {address} on {}", interface.name))
    }

    /// Returns which of these addresses other machines of an interface's link have, with their MACs: those that answer an ARP
    /// probe or a Neighbour Solicitation within 160 ms.
    ///
    /// # Errors
    /// Returns an error if the interface is down or gone.
    pub async fn answering(
        &self,
        interface: &Interface,
        addresses: &BTreeSet<IpAddr>,
    ) -> Result<BTreeMap<IpAddr, [u8; 6]>> {
        let answering = async {
            let port = Port::find(interface.index)?;
            probes::answering(&self.packets, &port, addresses).await
        };
        answering.await.with_context(|| format!("probing on {}", interface.name))
    }

    async fn addresses(&self) -> Result<Vec<AddressMessage>> {
        self.all(|| self.handle.address().get().execute(), "addresses").await
    }

    /// Returns the Ethernet interfaces by index.
    async fn interfaces(&self) -> Result<BTreeMap<u32, Interface>> {
        let links = self.all(|| self.handle.link().get().execute(), "interfaces").await?;
        Ok(links.iter().filter_map(ethernet).map(|interface| (interface.index, interface)).collect())
    }

    /// Returns the interface of the default route for the address's family.
    async fn default_route(
        &self,
        address: IpAddr,
        interfaces: &BTreeMap<u32, Interface>,
    ) -> Result<Option<u32>> {
        let mut wanted = RouteMessage::default();
        wanted.header.address_family =
            if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let routes = self.all(|| self.handle.route().get(wanted).execute(), "routes").await?;
        let exits = routes.iter().filter_map(default_exit);
        Ok(exits.filter(|(_, index)| interfaces.contains_key(index)).min().map(|(_, index)| index))
    }

    /// Returns all items of a dump, which `dump` requests.
    async fn all<T, S>(&self, dump: impl FnOnce() -> S, what: &str) -> Result<Vec<T>>
    where
        S: Stream<Item = Result<T, Error>>,
    {
        let _listing = self.listing.lock().await;
        dump().try_collect().await.with_context(|| format!("listing the {what} of this node"))
    }
}

/// Returns the result, with these errors of the kernel as success.
fn unless(result: Result<(), Error>, harmless: &[Errno]) -> Result<(), Error> {
    match result {
        Err(Error::NetlinkError(error)) if harmless.contains(&Errno::from_raw(-error.raw_code())) => Ok(()),
        other => other,
    }
}

/// Returns whether an address has the mark that [`Links::add`] gives: an IPv4 address has a label, and an IPv6 address, which
/// can't have one, is deprecated for ever.
fn is_marked(message: &AddressMessage) -> bool {
    message.attributes.iter().any(|attribute| match attribute {
        AddressAttribute::Label(label) => label == LABEL,
        AddressAttribute::CacheInfo(lifetimes) => {
            message.header.family == AddressFamily::Inet6
                && lifetimes.ifa_preferred == 0
                && lifetimes.ifa_valid == u32::MAX
        }
        _ => false,
    })
}

/// Returns lifetimes that never end, without a time in which the kernel prefers the address as the source.
fn deprecated() -> CacheInfo {
    let mut lifetimes = CacheInfo::default();
    lifetimes.ifa_valid = u32::MAX;
    lifetimes
}

/// Returns the address of a message with its subnet; `None` for messages without one.
fn subnet(message: &AddressMessage) -> Option<Subnet> {
    let base = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    // IPv6 addresses have it only on point-to-point links.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let (local, base) = (local.or(base)?, base.or(local)?);
    Some(Subnet { interface: message.header.index, local, base, prefix: message.header.prefix_len })
}

/// Returns an Ethernet interface; `None` for others, such as the loopback and tunnels.
fn ethernet(message: &LinkMessage) -> Option<Interface> {
    if message.header.link_layer_type != LinkLayerType::Ether {
        return None;
    }
    let name = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(mac) => mac.as_slice().try_into().ok(),
        _ => None,
    });
    Some(Interface { index: message.header.index, name: name?, mac: mac? })
}

/// Returns metric and interface of a default route in the main table; `None` for other routes. The first next hop counts.
fn default_exit(message: &RouteMessage) -> Option<(u32, u32)> {
    let header = &message.header;
    let fits = header.destination_prefix_length == 0
        && header.kind == RouteType::Unicast
        && header.table == RouteHeader::RT_TABLE_MAIN;
    let metric = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    let interface = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        RouteAttribute::MultiPath(hops) => Some(hops.first()?.interface_index),
        _ => None,
    });
    fits.then_some((metric.unwrap_or(0), interface?))
}
