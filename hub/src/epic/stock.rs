//! Which load balancers have which addresses and keys ([`Stock`]).
//!
//! The feed brings changes with a delay. As long as this hub is the only one that allocates, that doesn't matter: an address
//! stays reserved in the EPIC object until this hub has seen it in its load balancer. When another hub has written the EPIC
//! object, the stock is made anew from a complete list ([`Stock::restart`]), and later news that is older than the list is
//! ignored.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use portreeve_allocate::Owner;
use portreeve_allocate::addresses::{
    AddressBook, AddressDraw, Claim, DEFAULT_POOL, Parent, Pool, Request, Reservations,
};
use portreeve_allocate::keys::Keys;
use portreeve_api::c::load_balancer::LoadBalancer;
use portreeve_api::c::service_prefix::ServicePrefix;
use portreeve_api::c::tunnel_key::TunnelKey;
use portreeve_api::refs::ObjectRef;

use super::failure::Failure;

/// How long an address stays reserved for a load balancer that doesn't exist. Longer than a hub may take to create it.
pub const ABANDONED: Duration = Duration::from_secs(60);

/// The numbers of a pool: its name, its size, and how many of its addresses are in use.
pub type Usage = (String, u128, u64);

/// Which load balancers have which addresses and keys.
#[derive(Default)]
pub struct Stock {
    book: AddressBook,
    keys: Keys,
    /// Why pools are refused.
    refused: BTreeMap<String, String>,
    /// The revision of the last complete list.
    listed_at: u64,
    /// When a reservation for a load balancer that doesn't exist was first seen.
    waiting: HashMap<(Owner, IpAddr), Instant>,
}

// === impl Stock ===

impl Stock {
    /// Takes in all pools. They replace those that are known.
    pub fn set_pools<'a>(&mut self, prefixes: impl Iterator<Item = &'a ServicePrefix>) {
        let known: Vec<String> = self.book.usage().map(|usage| usage.pool.to_owned()).collect();
        for name in known {
            self.book.remove_pool(&name);
            self.book.release(&gateway_of(&name));
        }
        self.refused.clear();
        for prefix in prefixes {
            let name = prefix.metadata.name.as_deref().unwrap_or_default();
            let Ok(form) = prefix.form() else { continue };
            let pool = Pool::new(name, [form.pool]).map_err(Failure::from);
            let gateway = form.gateway;
            if let Err(error) = pool.and_then(|pool| Ok(self.book.set_pool(pool)?)) {
                self.refused.insert(name.to_owned(), error.to_string());
            } else if let Some(address) = gateway {
                self.book.claim(Claim { owner: gateway_of(name), address, created: Some(i64::MIN) });
            }
        }
    }

    /// Returns why a pool is refused; `None` if it isn't.
    pub fn refusal(&self, pool: &str) -> Option<&str> {
        self.refused.get(pool).map(String::as_str)
    }

    /// Takes in a load balancer as the feed has it; `None` if it is gone. Returns whether an address may have become free.
    pub fn follow(&mut self, key: &ObjectRef, revision: u64, now: Option<&LoadBalancer>) -> bool {
        let owner = owner_of(key);
        match now {
            _ if revision <= self.listed_at => false,
            Some(object) => self.claim(owner, object),
            None => {
                self.keys.release(&owner);
                self.book.release(&owner).is_some()
            }
        }
    }

    /// Takes in the complete list of load balancers at a revision.
    pub fn restart<'a>(
        &mut self,
        revision: u64,
        prefixes: impl Iterator<Item = &'a ServicePrefix>,
        objects: impl Iterator<Item = (&'a ObjectRef, &'a LoadBalancer)>,
    ) {
        let waiting = std::mem::take(&mut self.waiting);
        *self = Self { waiting, listed_at: revision, ..Self::default() };
        self.set_pools(prefixes);
        for (key, object) in objects {
            self.claim(owner_of(key), object);
        }
    }

    /// Chooses an address beside those that are reserved.
    ///
    /// # Errors
    /// Returns an error if there is none, or if the pool is refused.
    pub fn reserve(
        &mut self,
        request: &Request,
        (version, reserved): (&str, Reservations),
        now: Instant,
    ) -> Result<AddressDraw, Failure> {
        let reserved = self.without_abandoned(reserved, now);
        let parent = Parent { name: "EPIC epic/epic", version, reserved: &reserved };
        self.book.reserve(request, &parent).map_err(|error| {
            match request.pool.as_deref().map(|name| self.refused.get(name)) {
                Some(Some(why)) => Failure::Missing(why.clone()),
                _ => error.into(),
            }
        })
    }

    /// Returns whether an address is in the pool of this name; `None`: the default pool.
    pub fn offers(&self, pool: Option<&str>, address: IpAddr) -> bool {
        self.book.pool_of(address) == Some(pool.unwrap_or(DEFAULT_POOL))
    }

    /// Makes a key of random bytes.
    ///
    /// # Errors
    /// Returns an error if the bytes are another load balancer's key, or zeros.
    pub fn key(&mut self, owner: &Owner, random: [u8; 16]) -> Result<TunnelKey, Failure> {
        Ok(self.keys.allocate(owner, random)?)
    }

    /// Returns the pools' numbers, by name.
    pub fn usage(&self) -> Vec<Usage> {
        self.book.usage().map(|usage| (usage.pool.to_owned(), usage.size, usage.in_use)).collect()
    }

    fn claim(&mut self, owner: Owner, object: &LoadBalancer) -> bool {
        let Ok(form) = object.form() else { return false };
        if let Some(shared) = form.tunnel_key.and_then(|key| self.keys.claim(&owner, key).err()) {
            tracing::warn!("{shared}");
        }
        let before = self.book.address_of(&owner);
        if let Some(address) = form.public_address {
            let created = object.metadata.creation_timestamp.as_ref().map(|at| at.0.as_second());
            // The objects' conditions name the contests.
            self.book.claim(Claim { owner, address, created });
        }
        before.is_some() && before != form.public_address
    }

    /// Returns the reservations without those of load balancers that don't exist and were not created in time.
    fn without_abandoned(&mut self, reserved: Reservations, now: Instant) -> Reservations {
        let missing = |(owner, address): &(&Owner, &IpAddr)| self.book.owner_of(**address) != Some(*owner);
        let missing: Vec<(Owner, IpAddr)> =
            reserved.iter().filter(missing).map(|(owner, address)| (owner.clone(), *address)).collect();
        self.waiting.retain(|one, _| missing.contains(one));
        for one in missing {
            self.waiting.entry(one).or_insert(now);
        }
        let is_old = |owner: &Owner, address: &IpAddr| {
            let since = self.waiting.get(&(owner.clone(), *address));
            since.is_some_and(|since| now.saturating_duration_since(*since) > ABANDONED)
        };
        reserved.into_iter().filter(|(owner, address)| !is_old(owner, address)).collect()
    }
}

/// Returns a pool's gateway as an owner.
fn gateway_of(prefix: &str) -> Owner {
    Owner::from(format!("the gateway of ServicePrefix {prefix}").as_str())
}

/// Returns a load balancer as the owner of what is allocated for it.
pub fn owner_of(key: &ObjectRef) -> Owner {
    Owner::new(key.kind.name, &key.namespace, &key.name)
}

#[cfg(test)]
mod tests {
    use portreeve_api::c::load_balancer;
    use serde_json::json;

    use super::*;

    fn prefix(name: &str, pool: &str) -> ServicePrefix {
        let value = json!({
            "apiVersion": "epic.acnodal.io/v1", "kind": "ServicePrefix", "metadata": {"name": name, "namespace": "epic"},
            "spec": {"subnet": "192.0.2.0/24", "pool": pool, "gateway": "192.0.2.1"},
        });
        ServicePrefix::parse(value).unwrap().0
    }

    fn load_balancer(name: &str, address: &str) -> (ObjectRef, LoadBalancer) {
        let value = json!({
            "apiVersion": "epic.acnodal.io/v1", "kind": "LoadBalancer",
            "metadata": {"name": name, "namespace": "epic-a", "labels": {"owning-servicegroup": "gold"}},
            "spec": {"public-address": address, "public-ports": []},
        });
        (ObjectRef::namespaced(&load_balancer::KIND, "epic-a", name), LoadBalancer::parse(value).unwrap().0)
    }

    fn request(name: &str, pool: Option<&str>) -> Request {
        let owner = Owner::new("LoadBalancer", "epic-a", name);
        Request { owner, pool: pool.map(str::to_owned), wanted: None }
    }

    fn mk_stock() -> Stock {
        let mut stock = Stock::default();
        stock.set_pools([prefix("default", "192.0.2.1-192.0.2.4")].iter());
        stock
    }

    /// Reserves an address beside these reservations. Returns it with all reservations to store.
    fn reserve(
        stock: &mut Stock,
        name: &str,
        reserved: Reservations,
        now: Instant,
    ) -> (String, Reservations) {
        let draw = stock.reserve(&request(name, None), ("1", reserved), now).unwrap();
        let all = draw.reserved().clone();
        (all[&request(name, None).owner].to_string(), all)
    }

    #[test]
    fn address_is_reserved_until_it_is_seen_and_free_again_when_its_load_balancer_is_gone() {
        let (mut stock, now) = (mk_stock(), Instant::now());
        let (first, reserved) = reserve(&mut stock, "one", Reservations::new(), now);
        assert_eq!(first, "192.0.2.2", "the gateway's is no one's");
        let (second, reserved) = reserve(&mut stock, "two", reserved, now);
        assert_eq!((second.as_str(), reserved.len()), ("192.0.2.3", 2));
        let (key, object) = load_balancer("one", "192.0.2.2");
        assert!(!stock.follow(&key, 5, Some(&object)), "nothing became free");
        let (again, reserved) = reserve(&mut stock, "two", reserved, now);
        assert_eq!((again.as_str(), reserved.len()), ("192.0.2.3", 1), "the first one is in its object");
        assert!(stock.follow(&key, 6, None));
        assert_eq!(reserve(&mut stock, "three", reserved, now).0, "192.0.2.2");
    }

    #[test]
    fn reservation_of_a_load_balancer_that_never_came_ends_after_a_minute() {
        let (mut stock, now) = (mk_stock(), Instant::now());
        let (lost, reserved) = reserve(&mut stock, "lost", Reservations::new(), now);
        let (other, reserved) = reserve(&mut stock, "two", reserved, now + ABANDONED);
        assert_ne!(lost, other);
        let later = now + ABANDONED * 2 + Duration::from_millis(1);
        assert_eq!(reserve(&mut stock, "three", reserved, later).0, lost);
    }

    #[test]
    fn news_that_is_older_than_a_complete_list_is_ignored() {
        let (mut stock, now) = (mk_stock(), Instant::now());
        let (key, object) = load_balancer("one", "192.0.2.2");
        let prefixes = [prefix("default", "192.0.2.1-192.0.2.4")];
        stock.restart(9, prefixes.iter(), [(&key, &object)].into_iter());
        assert!(
            !stock.follow(&key, 9, None),
            "the list was made after this deletion, of an object of this name"
        );
        assert_eq!(reserve(&mut stock, "two", Reservations::new(), now).0, "192.0.2.3");
        assert!(stock.follow(&key, 10, None));
        assert_eq!(reserve(&mut stock, "two", Reservations::new(), now).0, "192.0.2.2");
    }

    #[test]
    fn pool_that_overlaps_another_one_says_so_to_those_who_want_its_addresses() {
        let mut stock = Stock::default();
        let prefixes = [prefix("default", "192.0.2.0/28"), prefix("wide", "192.0.2.0/24")];
        stock.set_pools(prefixes.iter());
        let reserved = ("1", Reservations::new());
        let refused =
            stock.reserve(&request("one", Some("wide")), reserved.clone(), Instant::now()).unwrap_err();
        assert!(refused.to_string().contains("overlaps"), "{refused}");
        let unknown = stock.reserve(&request("one", Some("other")), reserved, Instant::now()).unwrap_err();
        assert!(unknown.to_string().contains("no address pool other"), "{unknown}");
        assert_eq!(stock.usage(), [("default".to_owned(), 16, 1)]);
        let address = |last| IpAddr::from([192, 0, 2, last]);
        assert!(stock.offers(None, address(15)) && !stock.offers(None, address(16)));
        assert!(!stock.offers(Some("wide"), address(16)));
    }
}
