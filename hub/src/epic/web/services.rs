//! Services of the web service, which are LoadBalancers: orders, reads and releases.

use axum::http::StatusCode;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::DynamicObject;
use portreeve_allocate::Owner;
use portreeve_allocate::addresses::Request;
use portreeve_api::c::finalizers::Finalized;
use portreeve_api::c::labels::{OWNING_ACCOUNT, OWNING_SERVICE_GROUP, OWNING_SERVICE_PREFIX};
use portreeve_api::c::load_balancer::{self, LoadBalancer, LoadBalancerSpec};
use portreeve_api::c::names::namespace_of_account;
use portreeve_api::c::refusal;
use portreeve_epic::answer;
use portreeve_epic::path::Target;
use portreeve_epic::request::{NewService, service_name};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Map, Value, json};

use super::found::{key, parsed, value};
use super::{Outcome, Web};
use crate::epic::failure::Failure;
use crate::epic::filler::find_group;
use crate::epic::objects::{ATTEMPTS, api, limited};
use crate::epic::stock::owner_of;

/// A part of the words by which the admission policy refuses to delete a load balancer, to which a cluster was added meanwhile.
const IN_USE: &str = "has upstream clusters";

// === impl Web ===

impl Web {
    /// Creates a load balancer with its address, its ids and its key, because clients read them right after the answer.
    pub(super) async fn create_service(&self, (account, group): (&str, &str), body: &[u8]) -> Outcome {
        let order = match NewService::parse(body) {
            Ok(order) => order,
            Err(why) => return Ok(answer::bad_request(&why)),
        };
        let namespace = namespace_of_account(account);
        let Some(form) = find_group(&self.feed, &namespace, group)? else {
            return Ok(answer::not_found(format!("account {account} has no group {group}")));
        };
        // A customer may choose among the addresses that are offered, but not take any other machine's.
        let pool = form.service_prefix.clone().map_err(|error| Failure::Missing(error.to_string()))?;
        if let Some(wanted) = order.public_address
            && !self.allocator.offers(pool.as_deref(), wanted).await
        {
            let text = format!(
                "service.spec.public-address: {wanted} is not in the pool of group {group}: leave it out to get a free address"
            );
            return Ok(answer::error(StatusCode::BAD_REQUEST, text));
        }
        let name = service_name(group, &order.name, form.can_be_shared, random()?);
        let _turn = self.order_of(&key((account, &name))).await;
        if let Some(found) = self.get(&key((account, &name))).await? {
            return existing((account, &name), group, &found);
        }
        let object = self.ordered((account, group), &name, pool, order).await?;
        let api = api(&self.client, &key((account, &name)))?;
        match limited(api.create(&PostParams::default(), &object)).await {
            Ok(_) => Ok(answer::created(&target((account, &name)))),
            Err(Failure::Api(kube::Error::Api(status))) if status.code == 409 => {
                let found = self.get(&key((account, &name))).await?;
                let lost = || {
                    Failure::Missing(format!("service {name} is being deleted: try again when it is gone"))
                };
                existing((account, &name), group, &found.ok_or_else(lost)?)
            }
            Err(error) => Err(error),
        }
    }

    /// Answers with a load balancer.
    pub(super) async fn service(&self, target: &Target, of: (&str, &str)) -> Outcome {
        let Some(found) = self.load_balancer(of).await? else { return Ok(no_service(of)) };
        let group = group_of(&parsed(&found)?);
        Ok(answer::service(target, &group, value(&found)?))
    }

    /// Deletes a load balancer that no cluster uses, with its endpoints.
    pub(super) async fn delete_service(&self, of: (&str, &str)) -> Outcome {
        let gone = || Ok(answer::message(&format!("service {} is deleted", of.1)));
        for _ in 0..ATTEMPTS {
            let Some(found) = self.get(&key(of)).await? else { return gone() };
            let clusters = parsed(&found)?.spec.upstream_clusters.unwrap_or_default();
            if !clusters.is_empty() {
                let text = refusal::has_upstream_clusters(&namespace_of_account(of.0), of.1, &clusters);
                return Ok(answer::clusters_left(&text));
            }
            let (uid, resource_version) = (found.metadata.uid, found.metadata.resource_version);
            let params = DeleteParams::background().preconditions(Preconditions { uid, resource_version });
            match limited(api(&self.client, &key(of))?.delete(of.1, &params)).await {
                Ok(_) => {
                    self.delete_endpoints(of, |_| true).await?;
                    return gone();
                }
                Err(Failure::Api(kube::Error::Api(status)))
                    if matches!(status.code, 404 | 409) || status.message.contains(IN_USE) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Failure::Contended { object: key(of).title(), attempts: ATTEMPTS })
    }

    /// Makes the object that was ordered. What fails most easily is allocated first, so that a failure costs no id.
    async fn ordered(
        &self,
        (account, group): (&str, &str),
        name: &str,
        pool: Option<String>,
        order: NewService,
    ) -> Result<DynamicObject, Failure> {
        let key = key((account, name));
        let owner: Owner = owner_of(&key);
        let request = Request { owner: owner.clone(), pool: pool.clone(), wanted: order.public_address };
        let address = self.allocator.address(&request).await?;
        let tunnel_key = self.allocator.key(&owner).await?;
        let id = self.allocator.service_id(&key.namespace).await?;
        let spec = LoadBalancerSpec {
            public_address: Some(address.to_string()),
            public_ports: Some(order.public_ports),
            service_id: Some(id.get().into()),
            tunnel_key: Some(tunnel_key.to_string()),
            upstream_clusters: Some(Vec::new()),
            display_name: Some(order.display_name.unwrap_or(order.name)),
            ..LoadBalancerSpec::default()
        };
        let mut labels = Map::from_iter([
            (OWNING_ACCOUNT.to_owned(), json!(account)),
            (OWNING_SERVICE_GROUP.to_owned(), json!(group)),
        ]);
        labels.extend(pool.map(|pool| (OWNING_SERVICE_PREFIX.to_owned(), json!(pool))));
        let mut object =
            DynamicObject::new(name, &(load_balancer::DEFINITION.resource)()).within(&key.namespace);
        object.metadata.labels = serde_json::from_value(Value::Object(labels)).ok();
        object.metadata.finalizers = Some(vec![Finalized::LoadBalancer.ours().to_owned()]);
        object.data = json!({"spec": spec});
        Ok(object)
    }
}

/// Answers that a service exists. One of another group is not the client's.
fn existing(of: (&str, &str), group: &str, found: &DynamicObject) -> Outcome {
    let owner = group_of(&parsed(found)?);
    if owner == group {
        return Ok(answer::exists(&target(of)));
    }
    let text = format!("service {} belongs to group {owner}: choose another name", of.1);
    Ok(answer::error(StatusCode::CONFLICT, text))
}

/// Returns the name of a load balancer's group. Where its labels disagree, the one that counts first.
fn group_of(of: &LoadBalancer) -> String {
    of.group().unwrap_or_else(|disagreement| Some(disagreement.first.name)).unwrap_or_default()
}

pub(super) fn target((account, service): (&str, &str)) -> Target {
    Target::Service { account: account.to_owned(), service: service.to_owned() }
}

pub(super) fn no_service((account, service): (&str, &str)) -> answer::Answer {
    answer::not_found(format!("account {account} has no service {service}"))
}

fn random() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    let broken = |_| Failure::Missing("this machine's source of random bytes is broken".into());
    SystemRandom::new().fill(&mut bytes).map_err(broken)?;
    Ok(u64::from_be_bytes(bytes))
}
