//! The tunnels of load balancers to customers' nodes ([`Tunnels`]): each gets an id, which is stored in the load balancer's
//! status with EPIC's end of the tunnel (C5). Endpoints keep copies of the ids for the clean-up (C13).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use kube::Client;
use portreeve_allocate::ids::TunnelId;
use portreeve_api::c::epic::Epic;
use portreeve_api::c::load_balancer::{self, LoadBalancer};
use portreeve_api::c::port::EndpointPort;
use portreeve_api::c::tunnel::TunnelEndpoint;
use portreeve_api::refs::ObjectRef;
use serde_json::{Value, json};

use super::allocator::{Allocator, epic_key};
use super::failure::Failure;
use super::objects::{ATTEMPTS, api, limited, patch_status};
use crate::feed::Feed;
use crate::lookup::Lookup;
use crate::resolve::c::{account as accounts, endpoint as endpoints};

/// The tunnels that are known to be stored.
#[derive(Default)]
pub struct Tunnels {
    /// The ids by load balancer, with its uid, and node.
    stored: BTreeMap<ObjectRef, (String, BTreeMap<IpAddr, u32>)>,
    /// The copies that endpoints have.
    copies: BTreeMap<ObjectRef, Value>,
}

/// What tunnels are made with.
pub struct Tools<'a> {
    /// A client for the API server.
    pub client: &'a Client,
    /// What the hub knows.
    pub feed: &'a Feed,
    /// Where ids are from.
    pub allocator: &'a Allocator,
}

/// An endpoint behind a tunnel.
struct Remote {
    load_balancer: ObjectRef,
    uid: String,
    node: IpAddr,
    /// EPIC's end of the tunnel, as objects have it, without the id.
    end: TunnelEndpoint,
    group_id: Option<u16>,
    service_id: Option<u16>,
}

// === impl Tunnels ===

impl Tunnels {
    /// Makes sure that an endpoint's load balancer has a tunnel to the endpoint's node, and that the endpoint has copies of the
    /// ids. Does nothing for endpoints without a tunnel.
    ///
    /// # Errors
    /// Returns an error if no id could be drawn, or a status could not be written.
    pub async fn connect(&mut self, tools: &Tools<'_>, key: &ObjectRef) -> Result<(), Failure> {
        let Some(remote) = tools.feed.look(|lookup| Remote::find(lookup, key)) else {
            self.copies.remove(key);
            return Ok(());
        };
        let known = self.stored.get(&remote.load_balancer).filter(|(uid, _)| *uid == remote.uid);
        let id = match known.and_then(|(_, nodes)| nodes.get(&remote.node)) {
            Some(id) => *id,
            None => match remote.store(tools).await? {
                Some(id) => id,
                None => return Ok(()),
            },
        };
        self.note(&remote, id);
        let copies = json!({"group-id": remote.group_id, "service-id": remote.service_id, "tunnel-id": id});
        if self.copies.get(key) != Some(&copies) {
            patch_status(tools.client, key, &json!({"status": copies})).await?;
            self.copies.insert(key.clone(), copies);
        }
        Ok(())
    }

    /// Forgets the tunnels of a load balancer that is gone.
    pub fn forget(&mut self, load_balancer: &ObjectRef) {
        self.stored.remove(load_balancer);
    }

    fn note(&mut self, remote: &Remote, id: u32) {
        let stored = self.stored.entry(remote.load_balancer.clone()).or_default();
        if stored.0 != remote.uid {
            *stored = (remote.uid.clone(), BTreeMap::new());
        }
        stored.1.insert(remote.node, id);
    }
}

// === impl Remote ===

impl Remote {
    /// Finds an endpoint, its load balancer and EPIC's end of their tunnel. `None` if there is no tunnel, no EPIC, or no IPv4
    /// address yet.
    ///
    /// EPIC's end is the address that EPIC names, or else the load balancer's own, which moves to another gateway with the load
    /// balancer: clients read a tunnel once.
    fn find(lookup: &mut Lookup<'_>, key: &ObjectRef) -> Option<Self> {
        let form = endpoints::find(lookup, key)?;
        let name = form.load_balancer.ok()??;
        let load_balancer = ObjectRef::namespaced(&load_balancer::KIND, &*key.namespace, name.as_str());
        let found = lookup.object::<LoadBalancer>(&load_balancer)?;
        let of = found.form().ok().filter(|of| of.true_ingress)?;
        let epic = lookup.object::<Epic>(&epic_key())?.form().ok()?;
        let public = of.public_address.filter(IpAddr::is_ipv4)?;
        let end = TunnelEndpoint {
            epic_address: Some(epic.epic_address.unwrap_or(public).to_string()),
            epic_port: Some(EndpointPort { port: Some(epic.epic_port.get().into()), ..EndpointPort::gue() }),
            tunnel_id: None,
        };
        Some(Self {
            uid: found.metadata.uid.clone()?,
            node: form.node_address?,
            end,
            group_id: accounts::of_namespace(lookup, &key.namespace)
                .and_then(|(_, one)| Some(one.form().ok()?.group_id?.get())),
            service_id: of.service_id.map(NonZeroU16::get),
            load_balancer,
        })
    }

    /// Stores the tunnel in the load balancer's status, unless it is there. Returns its id; `None` if the load balancer is gone.
    async fn store(&self, tools: &Tools<'_>) -> Result<Option<u32>, Failure> {
        let mut drawn: Option<TunnelId> = None;
        for _ in 0..ATTEMPTS {
            let api = api(tools.client, &self.load_balancer)?;
            let found = limited(api.get_opt(&self.load_balancer.name)).await?;
            let Some(found) = found.filter(|found| found.metadata.uid.as_deref() == Some(&self.uid)) else {
                return Ok(None);
            };
            let stored = found.data.pointer("/status/gue-tunnel-endpoints").and_then(Value::as_object);
            if let Some(id) = stored.into_iter().flatten().find_map(|(node, end)| self.id_in(node, end)) {
                return Ok(Some(id));
            }
            let id = match drawn {
                Some(id) => id,
                None => *drawn.insert(tools.allocator.tunnel_id().await?),
            };
            let end = TunnelEndpoint { tunnel_id: Some(id.get().into()), ..self.end.clone() };
            let status = json!({"gue-tunnel-endpoints": {self.node.to_string(): end}});
            let meta = json!({"resourceVersion": found.metadata.resource_version});
            if patch_status(tools.client, &self.load_balancer, &json!({"metadata": meta, "status": status}))
                .await?
            {
                return Ok(Some(id.get()));
            }
        }
        Err(Failure::Contended { object: self.load_balancer.title(), attempts: ATTEMPTS })
    }

    /// Returns the id of a stored tunnel if it leads to this endpoint's node.
    fn id_in(&self, node: &str, end: &Value) -> Option<u32> {
        let same = node.parse::<IpAddr>().is_ok_and(|node| node.to_canonical() == self.node);
        let id = end.get("tunnel-id")?.as_u64().filter(|id| same && *id > 0)?;
        u32::try_from(id).ok()
    }
}
