//! ServiceGroup and LBServiceGroup: what the load balancers of a group have in common. Entry point: [`find`].

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::c::group::GroupForm;
use portreeve_api::c::labels::Disagreement;
use portreeve_api::c::lb_service_group::{self, LBServiceGroup};
use portreeve_api::c::load_balancer::LoadBalancerForm;
use portreeve_api::c::names::EPIC;
use portreeve_api::c::service_group::{self, ServiceGroup};
use portreeve_api::kind::Kind;
use portreeve_api::refs::ObjectRef;
use portreeve_api::violation::Violation;

use super::embodiment::{self, Embodiment};
use crate::lookup::{FoundBy, Lookup};
use crate::object::{self, Custom, Role};
use crate::row::Row;

/// The annotation of a group with the labels of the gateways that serve it: `KEY=VALUE`, several separated by commas.
const GATEWAYS_ANNOTATION: &str = "portreeve.dev/gateways";

/// How the hub treats ServiceGroups.
pub const ROW: Row = Row {
    kind: &service_group::KIND,
    letters: "cg",
    label: "epic-servicegroup",
    plural: "servicegroups",
    watch: "watch of servicegroups",
    resource: service_group::DEFINITION.resource,
    read: object::read::<ServiceGroup>,
    removes: |_| false,
    annotations: |_| Vec::new(),
    fields: &[],
    services: false,
    announces: false,
    interface: false,
    allocates: true,
};

/// How the hub treats LBServiceGroups.
pub const LB_ROW: Row = Row {
    kind: &lb_service_group::KIND,
    letters: "cl",
    label: "epic-lbservicegroup",
    plural: "lbservicegroups",
    watch: "watch of lbservicegroups",
    resource: lb_service_group::DEFINITION.resource,
    read: object::read::<LBServiceGroup>,
    removes: |_| false,
    annotations: |_| Vec::new(),
    fields: &[],
    services: false,
    announces: false,
    interface: false,
    allocates: true,
};

impl Custom for ServiceGroup {
    const KIND: &'static Kind = &service_group::KIND;

    fn rules(&self) -> Vec<Violation> {
        self.validate()
    }

    fn what_for(&self) -> Role<'_> {
        Role::Part
    }

    fn fields(&self) -> Option<Vec<FoundBy>> {
        Some(Vec::new())
    }
}

impl Custom for LBServiceGroup {
    const KIND: &'static Kind = &lb_service_group::KIND;

    fn rules(&self) -> Vec<Violation> {
        self.validate()
    }

    fn what_for(&self) -> Role<'_> {
        Role::Part
    }

    fn fields(&self) -> Option<Vec<FoundBy>> {
        Some(Vec::new())
    }
}

/// A group that was found.
pub struct Group {
    /// Its name.
    pub name: String,
    /// The labels of the gateways that serve it, if the group names them.
    pub gateways: Option<BTreeMap<String, String>>,
    /// Where its proxies are, if the group says so, or why the annotation can't be read.
    pub embodiment: Result<Option<Embodiment>, embodiment::Unknown>,
    /// The group.
    pub form: Result<GroupForm, Vec<Violation>>,
}

/// Returns a group by its name: of either kind, in the namespace or else in `epic` (seed C.6). `None` if there is none.
pub fn find(lookup: &mut Lookup<'_>, namespace: &str, name: &str) -> Option<Group> {
    [namespace, EPIC].into_iter().find_map(|namespace| {
        let of = |kind: &'static Kind| ObjectRef::namespaced(kind, namespace, name);
        if let Some(group) = lookup.object::<ServiceGroup>(&of(&service_group::KIND)) {
            return Some(Group::of(name, &group.metadata, group.form()));
        }
        let group = lookup.object::<LBServiceGroup>(&of(&lb_service_group::KIND))?;
        Some(Group::of(name, &group.metadata, group.form()))
    })
}

/// Returns where the proxies of a load balancer are: as its own annotation says, or else its group's.
///
/// # Errors
/// Returns a text that names the annotation which can't be read.
pub fn embodiment(meta: &ObjectMeta, group: Option<&Group>) -> Result<Embodiment, String> {
    let own = embodiment::given(meta).map_err(|error| error.to_string())?;
    let (None, Some(group)) = (own, group) else { return Ok(own.unwrap_or_default()) };
    let given = group.embodiment.as_ref().map_err(|error| format!("group {}: {error}", group.name))?;
    Ok(given.unwrap_or_default())
}

/// Returns the name of the ServicePrefix with a load balancer's public address: the one that it names, or else its group.
/// `None`: neither names one, and the default counts.
///
/// # Errors
/// Returns an error if two spellings of the reference disagree.
pub fn prefix(form: &LoadBalancerForm, group: Option<&GroupForm>) -> Result<Option<String>, Disagreement> {
    match (form.service_prefix.clone()?, group) {
        (None, Some(group)) => group.service_prefix.clone(),
        (own, _) => Ok(own),
    }
}

// === impl Group ===

impl Group {
    fn of(name: &str, meta: &ObjectMeta, form: Result<GroupForm, Vec<Violation>>) -> Self {
        let (name, gateways, embodiment) = (name.to_owned(), gateways(meta), embodiment::given(meta));
        Self { name, gateways, embodiment, form }
    }
}

/// Reads the annotation with the labels of a group's gateways.
fn gateways(meta: &ObjectMeta) -> Option<BTreeMap<String, String>> {
    let text = meta.annotations.as_ref()?.get(GATEWAYS_ANNOTATION)?;
    let label = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key.trim().to_owned(), value.trim().to_owned())
    };
    Some(text.split(',').map(label).collect())
}
