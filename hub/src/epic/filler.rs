//! Gives stored objects what they lack ([`Filler`]): Accounts their group ids; load balancers their service ids, keys and
//! addresses, a tunnel for each node of a customer, and pods of their own if they ask for them. Only the leading hub does that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use kube::core::ObjectMeta;
use kube::{Client, ResourceExt as _};
use portreeve_allocate::addresses::Request;
use portreeve_allocate::ids::{GroupId, ServiceId};
use portreeve_api::c::account::{self, Account};
use portreeve_api::c::finalizers::Finalized;
use portreeve_api::c::group::GroupForm;
use portreeve_api::c::load_balancer::{self, LoadBalancer, LoadBalancerForm};
use portreeve_api::c::names::EPIC;
use portreeve_api::c::tunnel_key::TunnelKey;
use portreeve_api::c::{epic, lb_service_group, refusal, service_group, service_prefix};
use portreeve_api::refs::ObjectRef;
use portreeve_runtime::{Readiness, Shutdown};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::allocator::Allocator;
use super::failure::Failure;
use super::objects::{ATTEMPTS, api, limited, patch};
use super::pods::Pods;
use super::stock::owner_of;
use super::tunnels::{Tools, Tunnels};
use crate::feed::Feed;
use crate::resolve::c::{endpoint as endpoints, group, load_balancer as load_balancers};

/// How long changes are collected before they are handled.
const GATHER: Duration = Duration::from_millis(10);

/// The pause before objects that got nothing are tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Gives stored objects what they lack, while this hub leads.
pub struct Filler {
    client: Client,
    feed: Arc<Feed>,
    allocator: Arc<Allocator>,
    leads: watch::Receiver<bool>,
    /// Objects to look at.
    waiting: BTreeSet<ObjectRef>,
    /// Objects that got nothing at the last attempt, and why.
    failed: BTreeMap<ObjectRef, String>,
    tunnels: Tunnels,
    pods: Pods,
}

/// What was drawn for a load balancer and isn't stored in it yet.
#[derive(Default)]
struct Drawn {
    id: Option<ServiceId>,
    key: Option<TunnelKey>,
    address: Option<IpAddr>,
}

// === impl Filler ===

impl Filler {
    /// Creates a filler that works while `leads` is true.
    pub fn new(
        client: Client,
        feed: Arc<Feed>,
        allocator: Arc<Allocator>,
        leads: watch::Receiver<bool>,
        pods: Pods,
    ) -> Self {
        let (waiting, failed, tunnels) = (BTreeSet::new(), BTreeMap::new(), Tunnels::default());
        Self { client, feed, allocator, leads, waiting, failed, tunnels, pods }
    }

    /// Runs until the shutdown.
    ///
    /// # Errors
    /// Never returns an error: failures are logged, told in conditions, and tried again.
    pub async fn run(mut self, readiness: Readiness, shutdown: Shutdown) -> anyhow::Result<()> {
        tokio::select! {
            () = async { readiness.ready().await; self.fill_for_ever().await } => {}
            () = shutdown.wait() => {}
        }
        Ok(())
    }

    async fn fill_for_ever(&mut self) {
        let (feed, mut again) = (self.feed.clone(), tokio::time::interval(AGAIN));
        let (mut leads, deployments) = (self.leads.clone(), self.pods.found());
        loop {
            tokio::select! {
                () = feed.allocating.notified() => tokio::time::sleep(GATHER).await,
                _ = leads.changed() => {}
                of = Pods::changed(&deployments) => self.waiting.extend(of),
                _ = again.tick() => self.waiting.extend(self.failed.keys().cloned()),
            }
            let (changed, freed) = self.allocator.take_changed().await;
            self.waiting.extend(changed);
            if freed {
                self.waiting.extend(self.failed.keys().cloned());
            }
            if *self.leads.borrow() {
                self.fill().await;
                // Objects that were found on the way.
                if !self.waiting.is_empty() {
                    feed.allocating.notify_one();
                }
            }
        }
    }

    /// Looks at all objects that changed. Accounts come first, because load balancers are numbered in them.
    async fn fill(&mut self) {
        let (accounts, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|key| key.kind == &account::KIND);
        for key in accounts.into_iter().chain(others) {
            if !*self.leads.borrow() {
                self.waiting.insert(key);
                continue;
            }
            let why = self.fill_one(&key).await.err().map(|failure| failure.to_string());
            if why.as_ref() != self.failed.get(&key) {
                self.feed.load(|index, _| index.set_unallocated(&key, why.clone()));
            }
            match why {
                Some(error) => self.note_failure(key, error),
                None => drop(self.failed.remove(&key)),
            }
        }
    }

    /// Remembers why an object got nothing. The same reason is logged once.
    fn note_failure(&mut self, key: ObjectRef, error: String) {
        if self.failed.get(&key) != Some(&error) {
            tracing::warn!(object = key.title(), error, "object is not complete, trying again");
        }
        self.failed.insert(key, error);
    }

    async fn fill_one(&mut self, key: &ObjectRef) -> Result<(), Failure> {
        if key.kind == &account::KIND {
            return self.fill_account(key).await;
        }
        if key.kind == &load_balancer::KIND {
            return self.fill_load_balancer(key).await;
        }
        if key.kind == &service_group::KIND || key.kind == &lb_service_group::KIND {
            self.waiting.extend(self.of_group(&key.name));
            return Ok(());
        }
        if key.kind == &service_prefix::KIND {
            // Pods with addresses of this pool.
            self.waiting.extend(self.pods.load_balancers());
        }
        if key.kind == &epic::KIND {
            return self.allocator.ensure_epic().await;
        }
        if key.kind == &service_prefix::KIND {
            self.allocator.ensure_epic().await?;
            return self.allocator.check_pool(&key.name).await;
        }
        self.fill_endpoint(key).await
    }

    async fn fill_account(&mut self, key: &ObjectRef) -> Result<(), Failure> {
        let Some(account) = self.feed.look(|lookup| lookup.object::<Account>(key).cloned()) else {
            return Ok(());
        };
        let Ok(form) = account.form() else { return Ok(()) };
        // The load balancers of a new Account can get their ids now.
        self.waiting.extend(self.numberless(&form.namespace));
        match form.group_id {
            None => self.number(key).await,
            Some(_) => Ok(()),
        }
    }

    async fn fill_load_balancer(&mut self, key: &ObjectRef) -> Result<(), Failure> {
        let found = self.feed.look(|lookup| {
            let found = lookup.object::<LoadBalancer>(key)?;
            let unbound = Finalized::LoadBalancer.with_ours(found.finalizers()).is_some();
            let lacks = unbound || lacks(&found.form().ok()?);
            Some((lacks, endpoints::keys(lookup, &key.namespace, &key.name)))
        });
        let Some((lacks, endpoints)) = found else {
            self.tunnels.forget(key);
            self.pods.forget(key);
            return Ok(());
        };
        self.waiting.extend(endpoints);
        let completed = if lacks { self.complete(key).await } else { Ok(()) };
        let embodied = self.pods.embody(&self.feed, key).await;
        completed.and(embodied)
    }

    /// Returns the load balancers that name a group.
    fn of_group(&self, name: &str) -> Vec<ObjectRef> {
        self.feed.look(|lookup| {
            let all = lookup.listed::<LoadBalancer>(&load_balancer::KIND, load_balancers::GROUP, name);
            all.into_iter().map(|(key, _)| key.clone()).collect()
        })
    }

    /// Returns the load balancers of a namespace that have no id yet.
    fn numberless(&self, namespace: &str) -> Vec<ObjectRef> {
        self.feed.look(|lookup| {
            let field = load_balancers::NAMESPACE;
            let all = lookup.listed::<LoadBalancer>(&load_balancer::KIND, field, namespace);
            let lacking =
                all.into_iter().filter(|(_, one)| one.form().is_ok_and(|form| form.service_id.is_none()));
            lacking.map(|(key, _)| key.clone()).collect()
        })
    }

    /// Gives an Account its id.
    async fn number(&self, key: &ObjectRef) -> Result<(), Failure> {
        let mut drawn: Option<GroupId> = None;
        for _ in 0..ATTEMPTS {
            let now = self.read(key).await?.and_then(|one| Account::parse(one).ok());
            let Some((account, _)) = now else { return Ok(()) };
            if account.form().is_ok_and(|form| form.group_id.is_some()) {
                return Ok(());
            }
            let id = match drawn {
                Some(id) => id,
                None => *drawn.insert(self.allocator.group_id().await?),
            };
            if self.store(key, &account.metadata, (None, json!({"group-id": id.get()}))).await? {
                return Ok(());
            }
        }
        Err(contended(key))
    }

    /// Gives a load balancer what it lacks. What is drawn once is used at each attempt, so that another program's change
    /// costs no id.
    async fn complete(&self, key: &ObjectRef) -> Result<(), Failure> {
        let mut drawn = Drawn::default();
        for _ in 0..ATTEMPTS {
            let Some(now) = self.read(key).await? else { return Ok(()) };
            let Ok((now, _)) = LoadBalancer::parse(now) else { return Ok(()) };
            let Ok(form) = now.form() else { return Ok(()) };
            self.draw(key, &form, &mut drawn).await?;
            let spec = Value::Object(drawn.lacking(&form));
            let finalizers = Finalized::LoadBalancer.with_ours(now.finalizers());
            let is_whole = spec == json!({}) && finalizers.is_none();
            if is_whole || self.store(key, &now.metadata, (finalizers, spec)).await? {
                return Ok(());
            }
        }
        Err(contended(key))
    }

    /// Draws what a load balancer lacks and what wasn't drawn yet.
    async fn draw(&self, key: &ObjectRef, form: &LoadBalancerForm, drawn: &mut Drawn) -> Result<(), Failure> {
        let owner = owner_of(key);
        // The id comes last: if anything else fails, none is lost.
        if form.public_address.is_none() && drawn.address.is_none() {
            let pool = pool_of(&self.feed, &key.namespace, form)?;
            drawn.address =
                Some(self.allocator.address(&Request { owner: owner.clone(), pool, wanted: None }).await?);
        }
        if form.tunnel_key.is_none() && drawn.key.is_none() {
            drawn.key = Some(self.allocator.key(&owner).await?);
        }
        if form.service_id.is_none() && drawn.id.is_none() {
            drawn.id = Some(self.allocator.service_id(&key.namespace).await?);
        }
        Ok(())
    }

    /// Reads an object. `None` if it is gone or being deleted.
    async fn read(&self, key: &ObjectRef) -> Result<Option<Value>, Failure> {
        let found = limited(api(&self.client, key)?.get_opt(&key.name)).await?;
        let found = found.filter(|one| one.metadata.deletion_timestamp.is_none());
        Ok(found.and_then(|one| serde_json::to_value(one).ok()))
    }

    /// Stores finalizers and fields of the spec. Returns whether they were stored: another program may have changed the object
    /// since it was read.
    async fn store(
        &self,
        key: &ObjectRef,
        read: &ObjectMeta,
        (finalizers, spec): (Option<Vec<String>>, Value),
    ) -> Result<bool, Failure> {
        let mut meta = json!({"uid": read.uid, "resourceVersion": read.resource_version});
        if let Some(finalizers) = finalizers {
            meta["finalizers"] = json!(finalizers);
        }
        patch(&self.client, key, &json!({"metadata": meta, "spec": spec})).await
    }

    /// Puts the finalizer on an endpoint that lacks it.
    async fn bind(&self, key: &ObjectRef) -> Result<(), Failure> {
        for _ in 0..ATTEMPTS {
            let Some(now) = self.read(key).await? else { return Ok(()) };
            let meta: ObjectMeta = serde_json::from_value(now["metadata"].clone()).unwrap_or_default();
            let finalizers = Finalized::Endpoint.with_ours(meta.finalizers.as_deref().unwrap_or_default());
            if finalizers.is_none() || self.store(key, &meta, (finalizers, json!({}))).await? {
                return Ok(());
            }
        }
        Err(contended(key))
    }

    /// Makes sure that an endpoint has the finalizer, and that its tunnel exists.
    async fn fill_endpoint(&mut self, key: &ObjectRef) -> Result<(), Failure> {
        if self.feed.look(|lookup| endpoints::lacks_finalizer(lookup, key)) {
            self.bind(key).await?;
        }
        if let Some(other) = self.feed.look(|lookup| endpoints::duplicate(lookup, key)) {
            return Err(Failure::Missing(refusal::duplicate_endpoint(&other)));
        }
        let tools = Tools { client: &self.client, feed: &self.feed, allocator: &self.allocator };
        self.tunnels.connect(&tools, key).await
    }
}

// === impl Drawn ===

impl Drawn {
    /// Returns the fields of the spec that a load balancer lacks.
    fn lacking(&self, form: &LoadBalancerForm) -> Map<String, Value> {
        let id = self.id.filter(|_| form.service_id.is_none()).map(|id| ("service-id", json!(id.get())));
        let key =
            self.key.filter(|_| form.tunnel_key.is_none()).map(|key| ("tunnel-key", json!(key.to_string())));
        let address = self.address.filter(|_| form.public_address.is_none());
        let address = address.map(|address| ("public-address", json!(address)));
        [id, key, address].into_iter().flatten().map(|(field, value)| (field.to_owned(), value)).collect()
    }
}

fn contended(key: &ObjectRef) -> Failure {
    Failure::Contended { object: key.title(), attempts: ATTEMPTS }
}

/// Returns whether a load balancer lacks an id, a key or an address.
fn lacks(form: &LoadBalancerForm) -> bool {
    form.service_id.is_none() || form.tunnel_key.is_none() || form.public_address.is_none()
}

/// Returns the name of the ServicePrefix that a load balancer's address is from: its own, or else its group's.
///
/// # Errors
/// Returns an error if a reference is ambiguous, or if there is no such group.
pub fn pool_of(feed: &Feed, namespace: &str, form: &LoadBalancerForm) -> Result<Option<String>, Failure> {
    let ambiguous = |error: &portreeve_api::c::labels::Disagreement| Failure::Missing(error.to_string());
    let group = match (&form.service_prefix, form.group.as_ref().map_err(ambiguous)?) {
        (Ok(None), Some(name)) => {
            let missing = || {
                let kinds = "ServiceGroup or LBServiceGroup";
                Failure::Missing(format!("there is no {kinds} {name} in namespace {namespace} or {EPIC}"))
            };
            Some(find_group(feed, namespace, name)?.ok_or_else(missing)?)
        }
        _ => None,
    };
    group::prefix(form, group.as_ref()).map_err(|error| ambiguous(&error))
}

/// Returns a group: of either kind, in the namespace or else in `epic`. `None` if there is none.
///
/// # Errors
/// Returns an error if the group breaks a rule.
pub fn find_group(feed: &Feed, namespace: &str, name: &str) -> Result<Option<GroupForm>, Failure> {
    let found = feed.look(|lookup| group::find(lookup, namespace, name));
    let broken = |_| Failure::Missing(format!("group {name} breaks a rule: see its conditions"));
    found.map(|found| found.form.map_err(broken)).transpose()
}
