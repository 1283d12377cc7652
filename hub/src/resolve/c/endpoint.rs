//! RemoteEndpoint, and Endpoint of the document form: a port of a customer's pod. Entry point: [`of`].

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::c::endpoint::{self, Endpoint};
use portreeve_api::c::endpoint_form::EndpointForm;
use portreeve_api::c::endpoint_name::remote_endpoint_name;
use portreeve_api::c::finalizers::Finalized;
use portreeve_api::c::labels::Reference;
use portreeve_api::c::remote_endpoint::{self, RemoteEndpoint};
use portreeve_api::kind::Kind;
use portreeve_api::refs::ObjectRef;
use portreeve_api::violation::Violation;
use portreeve_xds::Name;

use super::age::age;
use crate::lookup::{FoundBy, Lookup};
use crate::object::{self, Custom, Role};
use crate::row::Row;

/// The field by which a load balancer finds its endpoints: its namespace and name.
const OWNER: &str = "load-balancer";

/// The field by which endpoints with the same spec are found.
const SPEC: &str = "spec";

/// How the hub treats RemoteEndpoints.
pub const ROW: Row = Row {
    kind: &remote_endpoint::KIND,
    letters: "cr",
    label: "epic-remoteendpoint",
    plural: "remoteendpoints",
    watch: "watch of remoteendpoints",
    resource: remote_endpoint::DEFINITION.resource,
    read: object::read::<RemoteEndpoint>,
    removes: |finalizer| Finalized::Endpoint.knows(finalizer),
    annotations: |_| Vec::new(),
    fields: &[],
    services: false,
    announces: false,
    interface: false,
    allocates: true,
};

/// How the hub treats Endpoints of the document form.
pub const DOCUMENT_ROW: Row = Row {
    kind: &endpoint::KIND,
    letters: "cd",
    label: "epic-endpoint",
    plural: "endpoints of epic.acnodal.io",
    watch: "watch of endpoints of epic.acnodal.io",
    resource: endpoint::DEFINITION.resource,
    read: object::read::<Endpoint>,
    removes: |finalizer| Finalized::Endpoint.knows(finalizer),
    annotations: |_| Vec::new(),
    fields: &[],
    services: false,
    announces: false,
    interface: false,
    allocates: true,
};

impl Custom for RemoteEndpoint {
    const KIND: &'static Kind = &remote_endpoint::KIND;

    fn rules(&self) -> Vec<Violation> {
        self.validate()
    }

    fn what_for(&self) -> Role<'_> {
        Role::Part
    }

    fn fields(&self) -> Option<Vec<FoundBy>> {
        Some(found_by(self.metadata.namespace.as_deref(), self.load_balancer(), self.form().ok().as_ref()))
    }
}

impl Custom for Endpoint {
    const KIND: &'static Kind = &endpoint::KIND;

    fn rules(&self) -> Vec<Violation> {
        self.validate()
    }

    fn what_for(&self) -> Role<'_> {
        Role::Part
    }

    fn fields(&self) -> Option<Vec<FoundBy>> {
        Some(found_by(self.metadata.namespace.as_deref(), self.load_balancer(), self.form().ok().as_ref()))
    }
}

/// Returns the endpoints of a load balancer, ordered by kind and name. Those that break a rule are left out: they are
/// refused themselves.
pub fn of(lookup: &mut Lookup<'_>, namespace: &str, load_balancer: &str) -> Vec<EndpointForm> {
    keyed(lookup, namespace, load_balancer).into_iter().map(|(_, form)| form).collect()
}

/// Returns the references to the endpoints of a load balancer, as [`of`] does.
pub fn keys(lookup: &mut Lookup<'_>, namespace: &str, load_balancer: &str) -> Vec<ObjectRef> {
    keyed(lookup, namespace, load_balancer).into_iter().map(|(key, _)| key).collect()
}

/// Returns an endpoint, of either kind. `None` if it is no endpoint, or is gone, or breaks a rule.
pub fn find(lookup: &mut Lookup<'_>, key: &ObjectRef) -> Option<EndpointForm> {
    if key.kind == &remote_endpoint::KIND {
        return lookup.object::<RemoteEndpoint>(key)?.form().ok();
    }
    if key.kind == &endpoint::KIND {
        return lookup.object::<Endpoint>(key)?.form().ok();
    }
    None
}

/// Returns the name of an older endpoint of the same load balancer with the same spec; `None` if there is none (C14).
pub fn duplicate(lookup: &mut Lookup<'_>, of: &ObjectRef) -> Option<String> {
    let own = find(lookup, of)?;
    let load_balancer = own.load_balancer.as_ref().ok()?.clone()?;
    let since = age(of, meta(lookup, of)?);
    let oldest = oldest(lookup, (&of.namespace, &load_balancer), &own)?;
    (oldest < since).then(|| oldest.1.name.to_string())
}

/// Returns the name of the oldest endpoint of a load balancer with this spec; `None` if there is none.
pub fn oldest_name(lookup: &mut Lookup<'_>, of: (&str, &str), form: &EndpointForm) -> Option<String> {
    oldest(lookup, of, form).map(|(_, key)| key.name.to_string())
}

fn oldest(
    lookup: &mut Lookup<'_>,
    (namespace, load_balancer): (&str, &str),
    form: &EndpointForm,
) -> Option<(Option<i64>, ObjectRef)> {
    let spec = spec(&key(namespace, load_balancer), form);
    let remote = lookup.listed::<RemoteEndpoint>(&remote_endpoint::KIND, SPEC, spec.clone());
    let document = lookup.listed::<Endpoint>(&endpoint::KIND, SPEC, spec);
    let remote = remote.into_iter().map(|(key, one)| age(key, &one.metadata));
    remote.chain(document.into_iter().map(|(key, one)| age(key, &one.metadata))).min()
}

fn meta<'a>(lookup: &mut Lookup<'a>, key: &ObjectRef) -> Option<&'a ObjectMeta> {
    match key.kind == &remote_endpoint::KIND {
        true => lookup.object::<RemoteEndpoint>(key).map(|one| &one.metadata),
        false => lookup.object::<Endpoint>(key).map(|one| &one.metadata),
    }
}

/// Returns whether an endpoint, of either kind, has none of EPIC's finalizers.
pub fn lacks_finalizer(lookup: &mut Lookup<'_>, key: &ObjectRef) -> bool {
    let finalizers = meta(lookup, key).map(|meta| meta.finalizers.as_deref().unwrap_or_default());
    finalizers.is_some_and(|finalizers| Finalized::Endpoint.with_ours(finalizers).is_some())
}

/// Returns the endpoints of a load balancer, as [`of`] does, with their references.
pub fn keyed(
    lookup: &mut Lookup<'_>,
    namespace: &str,
    load_balancer: &str,
) -> Vec<(ObjectRef, EndpointForm)> {
    let owner = key(namespace, load_balancer);
    let remote = lookup.listed::<RemoteEndpoint>(&remote_endpoint::KIND, OWNER, owner.clone());
    let document = lookup.listed::<Endpoint>(&endpoint::KIND, OWNER, owner);
    let remote = remote.into_iter().map(|(key, one)| (key, one.form()));
    let all = remote.chain(document.into_iter().map(|(key, one)| (key, one.form())));
    all.filter_map(|(key, form)| Some((key.clone(), form.ok()?))).collect()
}

fn found_by(namespace: Option<&str>, load_balancer: Reference, form: Option<&EndpointForm>) -> Vec<FoundBy> {
    let Some(name) = load_balancer.ok().flatten() else { return Vec::new() };
    let owner = key(namespace.unwrap_or("default"), &name);
    let spec = form.map(|form| (SPEC, spec(&owner, form)));
    [(OWNER, owner)].into_iter().chain(spec).collect()
}

/// Returns the text that endpoints of a load balancer with the same spec have in common.
fn spec(owner: &Name, form: &EndpointForm) -> Name {
    remote_endpoint_name(owner, form).into()
}

fn key(namespace: &str, name: &str) -> Name {
    format!("{namespace}/{name}").into()
}
