//! ServiceGroup, `epic.acnodal.io/v1`: a template for load balancers, in E1's name (C16). Entry points: [`ServiceGroup::parse`],
//! [`ServiceGroup::validate`] and [`ServiceGroup::form`].
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]

use kube::core::ApiResource;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::envoy_config::EnvoyConfigSpec;
use super::group::{ENVOY_IMAGE, GroupForm, GroupStatus, Parts};
use super::labels::Reference;
use super::schema::MAX_IMAGE;
use crate::door::{self, ParseError};
use crate::kind::{Api, Definition, Kind, Purpose};
use crate::object_field;
use crate::violation::{Checks, Violation};

/// The kind ServiceGroup.
pub const KIND: Kind = Kind {
    api: Api::C,
    name: "ServiceGroup",
    namespaced: true,
    prefix: "C/ServiceGroup",
    purpose: Purpose::Part,
};

/// The kind's definition in the API server.
pub const DEFINITION: Definition =
    Definition { kind: &KIND, resource: || ApiResource::erase::<ServiceGroup>(&()), crd: ServiceGroup::crd };

/// The defaults and the template of a group's load balancers.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "epic.acnodal.io",
    version = "v1",
    kind = "ServiceGroup",
    plural = "servicegroups",
    shortname = "sg",
    shortname = "sgs",
    namespaced,
    status = "GroupStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "The defaults and the template of the load balancers that name the group."
)]
#[serde(rename_all = "kebab-case")]
pub struct ServiceGroupSpec {
    /// Whether several Services of the customer may share a load balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub can_be_shared: Option<bool>,
    /// Image of the proxies, for load balancers in pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_IMAGE), extend("default" = ENVOY_IMAGE))]
    pub envoy_image: Option<String>,
    /// Template of the proxies' configuration. Without it there is a listener for each port.
    #[serde(default, deserialize_with = "object_field::read", skip_serializing_if = "Option::is_none")]
    pub envoy_template: Option<EnvoyConfigSpec>,
}

// === impl ServiceGroup ===

impl ServiceGroup {
    /// Reads an object. Returns it with a warning for each unknown field.
    ///
    /// # Errors
    /// Returns an error that names the field which can't be read, see [`door::parse`].
    pub fn parse(value: Value) -> Result<(Self, Vec<String>), ParseError> {
        door::parse(value)
    }

    /// Checks the rules for new objects. Returns an empty list for a valid object (C14).
    pub fn validate(&self) -> Vec<Violation> {
        let mut checks = Checks::default();
        self.parts().check(&mut checks);
        checks.done()
    }

    /// Returns the resolved form of an object that may be older than some rules.
    ///
    /// # Errors
    /// Returns the rules that it breaks.
    pub fn form(&self) -> Result<GroupForm, Vec<Violation>> {
        Checks::form_of_stored(|checks| Some(self.parts().check(checks)))
    }

    /// Returns the name of the group's account (C17).
    ///
    /// # Errors
    /// Returns the labels that disagree.
    pub fn account(&self) -> Reference {
        self.parts().account()
    }

    /// Returns the name of the ServicePrefix with the group's pool (C17).
    ///
    /// # Errors
    /// Returns the labels that disagree.
    pub fn service_prefix(&self) -> Reference {
        self.parts().service_prefix()
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            meta: &self.metadata,
            can_be_shared: self.spec.can_be_shared,
            envoy_image: self.spec.envoy_image.as_deref(),
            envoy_template: self.spec.envoy_template.as_ref(),
        }
    }
}
