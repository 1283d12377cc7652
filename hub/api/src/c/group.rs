//! Groups of load balancers, of both kinds: [`GroupForm`] (C16, C17).
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use kube::core::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::envoy_config::EnvoyConfigSpec;
use super::labels::{OWNING_ACCOUNT, OWNING_SERVICE_PREFIX, Reference, reference};
use super::schema::{MAX_ID, MAX_IMAGE};
use crate::violation::Checks;

/// The image of a group's proxies if none is given.
pub const ENVOY_IMAGE: &str = "registry.gitlab.com/acnodal/epic/envoy:latest";

/// The defaults and the template of a group's load balancers.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupForm {
    /// Whether several Services of the customer may share a load balancer.
    pub can_be_shared: bool,
    /// The image of the proxies.
    pub envoy_image: String,
    /// The template of the proxies' configuration. `None`: a listener for each port.
    pub envoy_template: Option<EnvoyConfigSpec>,
    /// The account's name.
    pub account: Reference,
    /// The name of the ServicePrefix with the pool. `Ok(None)`: `default` (C.6).
    pub service_prefix: Reference,
}

/// The counters of a group, and what the hub says about the object.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub struct GroupStatus {
    /// Versions of the endpoints that each load balancer's proxies have, by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_snapshot_versions: Option<BTreeMap<String, i64>>,
    /// The last `service-id` that a load balancer of the account got. The Account's counter counts (C4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_ID))]
    pub current_service_id: Option<i32>,
    /// `Accepted` and `ResolvedRefs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The fields of a group, of either kind.
pub(super) struct Parts<'a> {
    /// The object's metadata.
    pub(super) meta: &'a ObjectMeta,
    /// `spec.can-be-shared`.
    pub(super) can_be_shared: Option<bool>,
    /// `spec.envoy-image`.
    pub(super) envoy_image: Option<&'a str>,
    /// `spec.envoy-template`.
    pub(super) envoy_template: Option<&'a EnvoyConfigSpec>,
}

// === impl Parts ===

impl Parts<'_> {
    pub(super) fn account(&self) -> Reference {
        reference(None, self.meta, &[OWNING_ACCOUNT])
    }

    pub(super) fn service_prefix(&self) -> Reference {
        reference(None, self.meta, &[OWNING_SERVICE_PREFIX])
    }

    pub(super) fn check(&self, checks: &mut Checks) -> GroupForm {
        let image = self.envoy_image.unwrap_or_default();
        checks.length(image, (0, MAX_IMAGE), "spec.envoy-image");
        if let Some(template) = self.envoy_template {
            template.check(checks);
        }
        GroupForm {
            can_be_shared: self.can_be_shared.unwrap_or_default(),
            envoy_image: if image.is_empty() { ENVOY_IMAGE } else { image }.to_owned(),
            envoy_template: self.envoy_template.cloned(),
            account: self.account(),
            service_prefix: self.service_prefix(),
        }
    }
}
