//! marin3r's EnvoyConfigSpec, the template of an Envoy's configuration (C16). Its resources are Go templates. They are
//! texts here, and stay as they are: the program that renders them judges them.
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::object_field;
use crate::violation::Checks;

/// The template of an Envoy's configuration.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[schemars(extend("required" = ["nodeID", "envoyResources"]))]
pub struct EnvoyConfigSpec {
    /// Name of the Envoy. It has no effect: EPIC sets the name.
    #[serde(rename = "nodeID", skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// How the resources are written. Default: `json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serialization: Option<Serialization>,
    /// Version of Envoy's API that the resources are for. Default: `v2`.
    #[serde(rename = "envoyAPI", default, skip_serializing_if = "Option::is_none")]
    pub envoy_api: Option<EnvoyApi>,
    /// Resources of the Envoy.
    #[serde(
        rename = "envoyResources",
        default,
        deserialize_with = "object_field::read",
        skip_serializing_if = "Option::is_none"
    )]
    pub envoy_resources: Option<EnvoyResources>,
}

/// How the resources are written. Default: `json`.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Serialization {
    /// JSON.
    #[default]
    Json,
    /// JSON in base64.
    B64json,
    /// YAML.
    Yaml,
}

/// Version of Envoy's API that the resources are for. Default: `v2`.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum EnvoyApi {
    /// Version 2, which today's Envoys don't speak: it is rewritten (C.6).
    #[default]
    V2,
    /// Version 3.
    V3,
}

/// Resources of an Envoy, by their types.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
pub struct EnvoyResources {
    /// Templates of ClusterLoadAssignments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<EnvoyResource>>,
    /// Templates of Clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<Vec<EnvoyResource>>,
    /// Templates of RouteConfigurations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<EnvoyResource>>,
    /// Templates of Listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listeners: Option<Vec<EnvoyResource>>,
    /// Templates of Runtimes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Vec<EnvoyResource>>,
    /// Kubernetes Secrets with certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Vec<EnvoySecret>>,
}

/// A resource of an Envoy.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
pub struct EnvoyResource {
    /// Name of the resource.
    pub name: String,
    /// Template of the resource.
    pub value: String,
}

/// A certificate of an Envoy.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
pub struct EnvoySecret {
    /// Name of the Envoy's secret.
    pub name: String,
    /// Kubernetes Secret that holds it.
    #[serde(
        rename = "ref",
        default,
        deserialize_with = "object_field::read",
        skip_serializing_if = "Option::is_none"
    )]
    pub reference: Option<SecretReference>,
}

/// The name of a Kubernetes Secret.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
pub struct SecretReference {
    /// Name of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Namespace of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

// === impl EnvoyConfigSpec ===

impl EnvoyConfigSpec {
    /// Returns how the resources are written.
    pub fn serialization(&self) -> Serialization {
        self.serialization.unwrap_or_default()
    }

    /// Returns the version of Envoy's API that the resources are for.
    pub fn envoy_api(&self) -> EnvoyApi {
        self.envoy_api.unwrap_or_default()
    }

    pub(super) fn check(&self, checks: &mut Checks) {
        let path = "spec.envoy-template";
        checks.must(self.node_id.is_some(), format!("{path}.nodeID"), "is required");
        checks.must(self.envoy_resources.is_some(), format!("{path}.envoyResources"), "is required");
    }
}
