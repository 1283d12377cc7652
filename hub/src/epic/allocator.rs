//! Allocates group, service and tunnel ids, tunnel keys and public addresses ([`Allocator`]).
//!
//! All allocations of a hub happen one after another. Several hubs may allocate at once: each value is stored under a
//! resourceVersion before it is used.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Instant;

use kube::api::{ListParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client, ResourceExt as _};
use portreeve_allocate::Owner;
use portreeve_allocate::addresses::{Request, Reservations};
use portreeve_allocate::ids::{GroupId, ServiceId, TunnelId};
use portreeve_api::c::account::{self, Account};
use portreeve_api::c::epic;
use portreeve_api::c::load_balancer::{self, LoadBalancer};
use portreeve_api::c::names::{EPIC, account_of_namespace};
use portreeve_api::c::service_prefix;
use portreeve_api::c::tunnel_key::TunnelKey;
use portreeve_api::c::{lb_service_group, service_group};
use portreeve_api::refs::ObjectRef;
use portreeve_xds::Name;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use super::failure::Failure;
use super::objects::{ATTEMPTS, limited};
use super::parent::{Parents, counter, set_status};
use super::stock::{Stock, Usage};
use crate::feed::Feed;
use crate::namespaces::Namespaces;
use crate::resolve::c::{account as accounts, load_balancer as load_balancers, prefix};

/// The field with the reservations in the EPIC object's status.
const RESERVED: &str = "reserved-addresses";

/// Allocates ids, keys and addresses.
pub struct Allocator {
    client: Client,
    feed: Arc<Feed>,
    /// The namespaces that this hub serves; `None` for all.
    namespaces: Vec<Option<Name>>,
    state: Mutex<State>,
    usage: Lock<Vec<Usage>>,
}

/// What a hub knows for its allocations.
struct State {
    parents: Parents,
    stock: Stock,
    /// The highest id of a tunnel, and its load balancer.
    tunnel: Option<(u32, String)>,
    /// Objects that changed and that the leader must look at.
    changed: BTreeSet<ObjectRef>,
    /// Whether an address may have become free since the leader looked.
    freed: bool,
}

// === impl Allocator ===

impl Allocator {
    /// Creates an allocator. It knows nothing before the feed is complete.
    pub fn new(client: Client, feed: Arc<Feed>, served: &Namespaces) -> Arc<Self> {
        let state = State {
            parents: Parents::new(client.clone()),
            stock: Stock::default(),
            tunnel: None,
            changed: BTreeSet::new(),
            freed: false,
        };
        let namespaces = served.watched();
        Arc::new(Self { client, feed, namespaces, state: Mutex::new(state), usage: Lock::default() })
    }

    /// Takes the objects that changed since the last call, and whether an address may have become free.
    pub async fn take_changed(&self) -> (BTreeSet<ObjectRef>, bool) {
        let mut state = self.follow().await;
        (std::mem::take(&mut state.changed), std::mem::take(&mut state.freed))
    }

    /// Returns the pools' numbers, by name.
    pub fn usage(&self) -> Vec<Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Draws the next id of an account.
    ///
    /// # Errors
    /// Returns an error if there is no EPIC object to count in, or no id is left, or the counter could not be stored.
    pub async fn group_id(&self) -> Result<GroupId, Failure> {
        let mut state = self.follow().await;
        self.epic(&mut state).await?;
        let existing = self.feed.look(|lookup| {
            let accounts = lookup.listed::<Account>(&account::KIND, accounts::EVERY, "");
            let id = |(key, one): (&ObjectRef, &Account)| {
                Some((one.form().ok()?.group_id?.get().into(), key.title()))
            };
            accounts.into_iter().filter_map(id).collect::<Vec<_>>()
        });
        state.parents.next_id(&epic_key(), &existing).await
    }

    /// Draws the next id of a load balancer in an account's namespace.
    ///
    /// # Errors
    /// Returns an error if the namespace has no Account, or no id is left, or the counter could not be stored.
    pub async fn service_id(&self, namespace: &str) -> Result<ServiceId, Failure> {
        let mut state = self.follow().await;
        let account = self.account_of(namespace)?;
        let mut existing = self.feed.look(|lookup| {
            let all =
                lookup.listed::<LoadBalancer>(&load_balancer::KIND, load_balancers::NAMESPACE, namespace);
            let id = |(key, one): (&ObjectRef, &LoadBalancer)| {
                Some((one.form().ok()?.service_id?.get().into(), key.title()))
            };
            all.into_iter().filter_map(id).collect::<Vec<_>>()
        });
        let parent = state.parents.get(&account).await?;
        if counter(&parent.object, "current-service-id").unwrap_or_default() == 0 {
            existing.extend(self.counters_of_groups(namespace).await?);
        }
        state.parents.next_id(&account, &existing).await
    }

    /// Draws the next id of a tunnel.
    ///
    /// # Errors
    /// As [`Self::group_id`].
    pub async fn tunnel_id(&self) -> Result<TunnelId, Failure> {
        let mut state = self.follow().await;
        self.epic(&mut state).await?;
        let existing: Vec<_> = state.tunnel.clone().into_iter().collect();
        let id: TunnelId = state.parents.next_id(&epic_key(), &existing).await?;
        state.tunnel = Some((id.get(), "an earlier tunnel".to_owned()));
        Ok(id)
    }

    /// Makes a tunnel key for a load balancer.
    ///
    /// # Errors
    /// Returns an error if the machine's source of random bytes is broken.
    pub async fn key(&self, owner: &Owner) -> Result<TunnelKey, Failure> {
        let mut random = [0; 16];
        let broken = |_| Failure::Missing("this machine's source of random bytes is broken".into());
        SystemRandom::new().fill(&mut random).map_err(broken)?;
        self.follow().await.stock.key(owner, random)
    }

    /// Reserves an address: the one that is wanted, or a free one of the pool. It stays reserved until this hub sees it in the
    /// load balancer.
    ///
    /// # Errors
    /// Returns an error if there is none, or if the reservation could not be stored.
    pub async fn address(&self, request: &Request) -> Result<IpAddr, Failure> {
        let mut state = self.follow().await;
        for _ in 0..ATTEMPTS {
            let mut object = self.epic(&mut state).await?;
            let version = object.resource_version().unwrap_or_default();
            let draw = state.stock.reserve(request, (&version, reservations(&object)), Instant::now())?;
            let text = |(owner, address): (&Owner, &IpAddr)| (owner.to_string(), address.to_string());
            let stored: BTreeMap<String, String> = draw.reserved().iter().map(text).collect();
            set_status(&mut object, RESERVED, json!(stored));
            if let Some(answer) = state.parents.replace_status(&epic_key(), &object).await? {
                return Ok(draw.confirm(&reservations(&answer))?.into_parts().1);
            }
        }
        Err(Failure::Contended { object: epic_key().title(), attempts: ATTEMPTS })
    }

    /// Returns whether an address is in the pool of this name; `None`: the default pool.
    pub async fn offers(&self, pool: Option<&str>, address: IpAddr) -> bool {
        self.follow().await.stock.offers(pool, address)
    }

    /// Returns the Account that a namespace belongs to: the one in the namespace, or else the one in `epic`.
    ///
    /// # Errors
    /// Returns an error if there is none.
    pub fn account_of(&self, namespace: &str) -> Result<ObjectRef, Failure> {
        let found = self.feed.look(|lookup| accounts::of_namespace(lookup, namespace).map(|(key, _)| key));
        found.ok_or_else(|| {
            let what = match account_of_namespace(namespace) {
                Some(name) => {
                    format!("there is no Account {name} in namespace {namespace} or epic: create it")
                }
                None => format!(
                    "namespace {namespace} belongs to no account: create the load balancer in epic-<account>"
                ),
            };
            Failure::Missing(what)
        })
    }

    /// Creates the EPIC object if it doesn't exist.
    ///
    /// # Errors
    /// Returns an error if it can't be created, for example because there is no namespace `epic`.
    pub async fn ensure_epic(&self) -> Result<(), Failure> {
        let mut state = self.follow().await;
        self.epic(&mut state).await.map(drop)
    }

    /// Checks that a ServicePrefix's pool is in use.
    ///
    /// # Errors
    /// Returns an error if the pool is invalid, or overlaps that of an older ServicePrefix.
    pub async fn check_pool(&self, name: &str) -> Result<(), Failure> {
        let state = self.follow().await;
        state.stock.refusal(name).map_or(Ok(()), |why| Err(Failure::Missing(why.to_owned())))
    }

    /// Takes in what the feed has changed, and keeps others from allocating.
    async fn follow(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().await;
        let changed = self.feed.take_allocating();
        if changed.is_empty() {
            return state;
        }
        if changed.keys().any(|key| key.kind == &service_prefix::KIND) {
            self.feed.look(|lookup| {
                state.stock.set_pools(prefix::by_age(lookup).into_iter());
            });
            state.freed = true;
        }
        for (key, revision) in &changed {
            if key.kind == &load_balancer::KIND {
                let freed = self.feed.look(|lookup| state.stock.follow(key, *revision, lookup.object(key)));
                state.freed |= freed;
            } else if key.kind == &epic::KIND
                && self.feed.look(|lookup| lookup.object::<epic::Epic>(key).is_none())
            {
                state.parents.forget(key);
            }
        }
        state.changed.extend(changed.into_keys());
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = state.stock.usage();
        state
    }

    /// Returns the EPIC object. Creates it if it doesn't exist. If another program may have changed it since this hub's last
    /// write, the stock is made anew.
    async fn epic(&self, state: &mut State) -> Result<DynamicObject, Failure> {
        let key = epic_key();
        let parent = match state.parents.get(&key).await {
            Err(error) if error.is_not_found() => {
                self.create_epic().await?;
                state.parents.get(&key).await?
            }
            other => other?,
        };
        if parent.is_fresh {
            let (revision, all) = self.load_balancers().await?;
            let ids = all
                .iter()
                .flat_map(|(key, one)| one.tunnel_ids().into_iter().map(|id| (id.get(), key.title())));
            state.tunnel = ids.chain(state.tunnel.take()).max();
            self.feed.look(|lookup| {
                let prefixes = prefix::by_age(lookup).into_iter();
                state.stock.restart(revision, prefixes, all.iter().map(|(key, one)| (key, one)));
            });
        }
        Ok(parent.object)
    }

    async fn create_epic(&self) -> Result<(), Failure> {
        let resource = (epic::DEFINITION.resource)();
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), EPIC, &resource);
        let object = DynamicObject::new(EPIC, &resource).data(json!({"spec": {}}));
        match limited(api.create(&PostParams::default(), &object)).await {
            Err(Failure::Api(kube::Error::Api(status))) if status.code == 409 => Ok(()),
            Err(Failure::Api(kube::Error::Api(status))) if status.code == 404 => Err(Failure::Missing(
                "the ids are counted in EPIC epic/epic, and there is no namespace epic: create it".into(),
            )),
            created => created.map(drop),
        }
    }

    /// Lists all load balancers, with the revision of the list.
    async fn load_balancers(&self) -> Result<(u64, Vec<(ObjectRef, LoadBalancer)>), Failure> {
        let resource = (load_balancer::DEFINITION.resource)();
        let (mut revisions, mut all) = (Vec::new(), Vec::new());
        for namespace in &self.namespaces {
            let api: Api<DynamicObject> = match namespace {
                Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
                None => Api::all_with(self.client.clone(), &resource),
            };
            let listed = limited(api.list(&ListParams::default())).await?;
            let revision = listed.metadata.resource_version.as_deref().unwrap_or_default();
            revisions.push(revision.parse().unwrap_or_default());
            let parse = |one: DynamicObject| {
                let key = ObjectRef::of(&load_balancer::KIND, &one.metadata);
                Some((key, LoadBalancer::parse(serde_json::to_value(one).ok()?).ok()?.0))
            };
            all.extend(listed.items.into_iter().filter_map(parse));
        }
        Ok((revisions.into_iter().min().unwrap_or_default(), all))
    }

    /// Lists the counters of a namespace's groups, in which E1 counted the ids of load balancers (C34).
    async fn counters_of_groups(&self, namespace: &str) -> Result<Vec<(u32, String)>, Failure> {
        let mut counters = Vec::new();
        for of in [&service_group::DEFINITION, &lb_service_group::DEFINITION] {
            let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &(of.resource)());
            let listed = limited(api.list(&ListParams::default())).await?;
            counters.extend(listed.items.iter().filter_map(|one| {
                let title = ObjectRef::of(of.kind, &one.metadata).title();
                Some((counter(one, "current-service-id")?, title))
            }));
        }
        Ok(counters)
    }
}

/// Returns the reference to the EPIC object.
pub fn epic_key() -> ObjectRef {
    ObjectRef::namespaced(&epic::KIND, EPIC, EPIC)
}

/// Returns the reservations in the EPIC object's status.
fn reservations(object: &DynamicObject) -> Reservations {
    let stored = object.data.pointer("/status").and_then(|status| status.get(RESERVED)?.as_object());
    let parse = |(owner, address): (&String, &Value)| {
        Some((Owner::from(owner.as_str()), address.as_str()?.parse().ok()?))
    };
    stored.into_iter().flatten().filter_map(parse).collect()
}
