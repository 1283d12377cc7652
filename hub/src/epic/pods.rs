//! Load balancers whose proxies are pods of their own (C33): [`Pods`] creates, changes and deletes their Deployments. Only the
//! leading hub does that.
//!
//! A Deployment belongs to its load balancer by an owner reference, so it goes with it. It is applied when it differs from what
//! was applied last, or when somebody changed or deleted it. One that has the name and another owner is never touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use portreeve_api::c::group::ENVOY_IMAGE;
use portreeve_api::c::load_balancer::LoadBalancer;
use portreeve_api::c::names::DEFAULT_PREFIX;
use portreeve_api::refs::ObjectRef;
use portreeve_runtime::Tasks;

use super::failure::Failure;
use super::objects::limited;
use crate::feed::Feed;
use crate::lookup::Lookup;
use crate::namespaces::Namespaces;
use crate::resolve::c::embodiment::{self, Embodiment};
use crate::resolve::c::{group, prefix};
use deployment::Form;
use found::{Found, Present};

mod deployment;
mod found;

/// The owner of the fields that are applied.
const FIELD_MANAGER: &str = "portreeve-pods";

/// Flags of load balancers' own pods.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Create the Deployments of load balancers of epic.acnodal.io with the annotation portreeve.dev/embodiment: pod. The
    /// hub then needs rights for Deployments.
    #[arg(long)]
    pub epic_pods: bool,
    /// Image with the Envoy of these Deployments, unless the load balancer's group names one.
    #[arg(long, value_name = "IMAGE", default_value = "portreeve/sidecar:envoy1.40.0")]
    pub epic_pod_image: String,
}

/// The Deployments of load balancers.
pub struct Pods {
    client: Client,
    args: Args,
    found: Arc<Found>,
    /// What was applied last.
    applied: BTreeMap<ObjectRef, Applied>,
}

/// A Deployment that was applied.
struct Applied {
    form: Form,
    present: Present,
}

/// What is to be done for a load balancer.
enum Wanted {
    /// It has pods.
    Pods(Form),
    /// It has none.
    Nothing,
}

// === impl Pods ===

impl Pods {
    /// Creates it, and watches the Deployments of the `served` namespaces if the flags ask for pods.
    pub fn spawn(tasks: &mut Tasks, client: &Client, args: Args, served: &Namespaces) -> Self {
        let found = Arc::default();
        if args.epic_pods {
            found::spawn(tasks, client, &found, served);
        }
        Self { client: client.clone(), args, found, applied: BTreeMap::new() }
    }

    /// Waits until Deployments changed. Returns their load balancers.
    pub async fn changed(found: &Found) -> Vec<ObjectRef> {
        found.news.notified().await;
        found.take_changed().into_iter().collect()
    }

    /// Returns the Deployments that exist.
    pub fn found(&self) -> Arc<Found> {
        self.found.clone()
    }

    /// Forgets a load balancer that is gone. Its Deployment goes with it.
    pub fn forget(&mut self, load_balancer: &ObjectRef) {
        self.applied.remove(load_balancer);
    }

    /// Returns the load balancers that have pods.
    pub fn load_balancers(&self) -> impl Iterator<Item = ObjectRef> {
        self.applied.keys().cloned()
    }

    /// Makes sure that a load balancer has its Deployment if it is to have pods, and none otherwise.
    ///
    /// # Errors
    /// Returns an error if the name belongs to another Deployment, if the flags don't ask for pods, or if the API server refuses
    /// the request.
    pub async fn embody(&mut self, feed: &Feed, key: &ObjectRef) -> Result<(), Failure> {
        // Only one that is accepted and waits for nothing gets pods, or loses them.
        let verdict = feed.subject(key).map(|subject| subject.verdict);
        if !verdict.is_some_and(|verdict| verdict.rejection.is_none() && verdict.missing.is_empty()) {
            return Ok(());
        }
        let wanted = feed.look(|lookup| Wanted::of(lookup, key, &self.args.epic_pod_image));
        match wanted {
            None => Ok(()),
            Some(Wanted::Nothing) => self.remove(key).await,
            Some(Wanted::Pods(_)) if !self.args.epic_pods => Err(Failure::Missing(format!(
                "no pods are created: the hub runs without --epic-pods, which the component deploy/components/epic sets. Set \
                 the annotation {} to node for gateways",
                embodiment::ANNOTATION
            ))),
            Some(Wanted::Pods(form)) => self.apply(key, form).await,
        }
    }

    async fn apply(&mut self, key: &ObjectRef, form: Form) -> Result<(), Failure> {
        let present = self.found.of(key);
        if self
            .applied
            .get(key)
            .is_some_and(|last| last.form == form && Some(&last.present) == present.as_ref())
        {
            return Ok(());
        }
        let deployments = self.deployments(key);
        let name = embodiment::name(&key.name);
        let stranger = |one: &Deployment| one.owner_references().iter().all(|owner| owner.uid != form.uid);
        if limited(deployments.get_opt(&name)).await?.as_ref().is_some_and(stranger) {
            return Err(Failure::Missing(format!(
                "no pods are created: Deployment {}/{name} exists and doesn't belong to this object: delete or rename it",
                key.namespace
            )));
        }
        let unwritable = |error| Failure::Missing(format!("Deployment {name} can't be written: {error}"));
        let wanted = form.deployment().map_err(unwritable)?;
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let stored = limited(deployments.patch(&name, &params, &Patch::Apply(&wanted))).await?;
        let present = Present { name, uid: stored.uid(), generation: stored.metadata.generation };
        tracing::info!(ns = &*key.namespace, name = present.name, "Deployment applied");
        self.applied.insert(key.clone(), Applied { form, present });
        Ok(())
    }

    /// Deletes a load balancer's Deployment, if it has one.
    async fn remove(&mut self, key: &ObjectRef) -> Result<(), Failure> {
        self.applied.remove(key);
        let Some(present) = self.found.of(key) else { return Ok(()) };
        let only = Preconditions { uid: present.uid, resource_version: None };
        let params = DeleteParams { preconditions: Some(only), ..DeleteParams::background() };
        match limited(self.deployments(key).delete(&present.name, &params)).await {
            // It is gone, or is another one by now.
            Err(Failure::Api(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Ok(()),
            answer => {
                answer?;
                tracing::info!(ns = &*key.namespace, name = present.name, "Deployment deleted");
                Ok(())
            }
        }
    }

    fn deployments(&self, key: &ObjectRef) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }
}

// === impl Wanted ===

impl Wanted {
    /// Returns what is to be done for a load balancer that is accepted, whose pods get this image by default. `None`: the
    /// answer is not known.
    fn of(lookup: &mut Lookup<'_>, key: &ObjectRef, image: &str) -> Option<Self> {
        let found = lookup.object::<LoadBalancer>(key)?;
        let form = found.form().ok()?;
        let group = group::find(lookup, &key.namespace, form.group.as_ref().ok()?.as_deref()?)?;
        if group::embodiment(&found.metadata, Some(&group)).ok()? == Embodiment::Node {
            return Some(Self::Nothing);
        }
        let group = group.form.ok()?;
        let address = form.public_address?;
        let prefix = group::prefix(&form, Some(&group)).ok()?.unwrap_or_else(|| DEFAULT_PREFIX.to_owned());
        let is_of_prefix = prefix::find(lookup, &prefix).is_some_and(|found| found.subnet.contains(address));
        Some(Self::Pods(Form {
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            uid: found.metadata.uid.clone()?,
            address,
            ports: form.ports,
            replicas: form.replicas,
            // Objects of the replaced control plane name its image by default: that Envoy asks for a server that is gone.
            image: if group.envoy_image == ENVOY_IMAGE { image.to_owned() } else { group.envoy_image },
            prefix: is_of_prefix.then_some(prefix),
        }))
    }
}
