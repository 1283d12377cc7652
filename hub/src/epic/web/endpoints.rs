//! Endpoints of a load balancer, which are RemoteEndpoints.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::DynamicObject;
use portreeve_api::c::endpoint_form::EndpointForm;
use portreeve_api::c::endpoint_name::remote_endpoint_name;
use portreeve_api::c::finalizers::Finalized;
use portreeve_api::c::labels::{OWNING_CLUSTER, OWNING_LOAD_BALANCER};
use portreeve_api::c::load_balancer;
use portreeve_api::c::names::namespace_of_account;
use portreeve_api::c::remote_endpoint::{self, RemoteEndpoint};
use portreeve_api::identifiers::is_label_value;
use portreeve_api::refs::ObjectRef;
use portreeve_epic::answer;
use portreeve_epic::path::Target;
use portreeve_epic::request::NewEndpoint;
use serde_json::json;

use super::found::value;
use super::services::no_service;
use super::{Outcome, Web};
use crate::epic::failure::Failure;
use crate::epic::objects::{api, limited};
use crate::resolve::c::endpoint as endpoints;

// === impl Web ===

impl Web {
    /// Creates an endpoint. The name is made of a hash of its spec, so that the API server refuses a second one, however many
    /// requests come at once.
    pub(super) async fn create_endpoint(&self, of: (&str, &str), body: &[u8]) -> Outcome {
        let new = match NewEndpoint::parse(body) {
            Ok(new) => new,
            Err(why) => return Ok(answer::bad_request(&why)),
        };
        let Some(owner) = self.load_balancer(of).await? else { return Ok(no_service(of)) };
        let namespace = namespace_of_account(of.0);
        let same = self.feed.look(|lookup| endpoints::oldest_name(lookup, (&namespace, of.1), &new.form));
        if let Some(name) = same
            && let Some(found) = self.get(&endpoint_key(of.0, &name)).await?
        {
            return Ok(answer::duplicate_endpoint(&target(of, &name), value(&found)?));
        }
        let name = remote_endpoint_name(owner.metadata.uid.as_deref().unwrap_or_default(), &new.form);
        let key = endpoint_key(of.0, &name);
        let object = ordered(&key, &owner, &new);
        match limited(api(&self.client, &key)?.create(&PostParams::default(), &object)).await {
            Ok(_) => Ok(answer::created(&target(of, &name))),
            Err(Failure::Api(kube::Error::Api(status))) if status.code == 409 => {
                let found = self.get(&key).await?;
                let lost = || {
                    Failure::Missing(format!("endpoint {name} is being deleted: try again when it is gone"))
                };
                Ok(answer::duplicate_endpoint(&target(of, &name), value(&found.ok_or_else(lost)?)?))
            }
            Err(error) => Err(error),
        }
    }

    /// Answers with an endpoint.
    pub(super) async fn endpoint(&self, target: &Target, of: (&str, &str), endpoint: &str) -> Outcome {
        let found = self.get_again(&endpoint_key(of.0, endpoint)).await?.filter(|found| belongs(found, of.1));
        Ok(match found {
            Some(found) => answer::endpoint(target, value(&found)?),
            None => answer::not_found(format!("service {} has no endpoint {endpoint}", of.1)),
        })
    }

    /// Deletes an endpoint.
    pub(super) async fn delete_endpoint(&self, of: (&str, &str), endpoint: &str) -> Outcome {
        let key = endpoint_key(of.0, endpoint);
        if self.get(&key).await?.is_some_and(|found| belongs(&found, of.1)) {
            self.delete_object(&key).await?;
        }
        Ok(answer::message(&format!("endpoint {endpoint} is deleted")))
    }

    /// Deletes the endpoints of a load balancer that `which` is true of. RemoteEndpoints are listed, because the hub's watch may
    /// not know those that were created a moment ago.
    pub(super) async fn delete_endpoints(
        &self,
        of: (&str, &str),
        which: impl Fn(&EndpointForm) -> bool,
    ) -> Result<(), Failure> {
        let namespace = namespace_of_account(of.0);
        let known = self.feed.look(|lookup| endpoints::keyed(lookup, &namespace, of.1));
        let known = known.into_iter().filter(|(_, form)| which(form)).map(|(key, _)| key);
        let listing = api(&self.client, &endpoint_key(of.0, ""))?;
        let listed = limited(listing.list(&ListParams::default())).await?;
        let of_cluster =
            |one: &&DynamicObject| belongs(one, of.1) && form(one).is_some_and(|form| which(&form));
        let listed = listed.items.iter().filter(of_cluster).map(|one| endpoint_key(of.0, &one.name_any()));
        for key in known.chain(listed).collect::<BTreeSet<_>>() {
            self.delete_object(&key).await?;
        }
        Ok(())
    }

    async fn delete_object(&self, key: &ObjectRef) -> Result<(), Failure> {
        match limited(api(&self.client, key)?.delete(&key.name, &DeleteParams::default())).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

/// Makes the object of an endpoint.
fn ordered(key: &ObjectRef, owner: &DynamicObject, new: &NewEndpoint) -> DynamicObject {
    let (resource, of) = ((remote_endpoint::DEFINITION.resource)(), (load_balancer::DEFINITION.resource)());
    let name = owner.metadata.name.clone().unwrap_or_default();
    let mut labels = BTreeMap::from([(OWNING_LOAD_BALANCER.to_owned(), name.clone())]);
    // A cluster's name may be longer than a label's value.
    let cluster = new.spec.cluster.clone().filter(|cluster| is_label_value(cluster));
    labels.extend(cluster.map(|cluster| (OWNING_CLUSTER.to_owned(), cluster)));
    let mut object = DynamicObject::new(&key.name, &resource).within(&key.namespace);
    object.metadata.labels = Some(labels);
    object.metadata.finalizers = Some(vec![Finalized::Endpoint.ours().to_owned()]);
    object.metadata.owner_references = Some(vec![OwnerReference {
        api_version: of.api_version,
        kind: of.kind,
        name,
        uid: owner.metadata.uid.clone().unwrap_or_default(),
        block_owner_deletion: Some(true),
        controller: None,
    }]);
    object.data = json!({"spec": new.spec});
    object
}

/// Returns whether an endpoint is one of this load balancer.
fn belongs(endpoint: &DynamicObject, load_balancer: &str) -> bool {
    let owner = parsed(endpoint).and_then(|endpoint| endpoint.load_balancer().ok().flatten());
    owner.as_deref() == Some(load_balancer)
}

fn form(endpoint: &DynamicObject) -> Option<EndpointForm> {
    parsed(endpoint)?.form().ok()
}

/// Parses an endpoint; `None` if it can't be read.
fn parsed(endpoint: &DynamicObject) -> Option<RemoteEndpoint> {
    Some(RemoteEndpoint::parse(value(endpoint).ok()?).ok()?.0)
}

fn endpoint_key(account: &str, name: &str) -> ObjectRef {
    ObjectRef::namespaced(&remote_endpoint::KIND, namespace_of_account(account), name)
}

fn target((account, service): (&str, &str), endpoint: &str) -> Target {
    Target::Endpoint {
        account: account.to_owned(),
        service: service.to_owned(),
        endpoint: endpoint.to_owned(),
    }
}
