//! `portreeve.dev/v1alpha1` NodeReport: what one node's agent has to say about its proxies, written by that agent alone.
//! Exceptions only, and bounded: [`NodeReportStatus::bounded`] cuts what the schema would refuse.
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::door::{self, ParseError};

/// Proxies of one report at most.
pub const MAX_PROXIES: usize = 128;
/// Conflicts of one report at most.
pub const MAX_CONFLICTS: usize = 128;
/// Characters of a name at most.
pub const MAX_NAME: usize = 512;
/// Characters of a proxy's own words at most.
pub const MAX_TEXT: usize = 1024;

/// A report has nothing to ask for.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "portreeve.dev",
    version = "v1alpha1",
    kind = "NodeReport",
    plural = "nodereports",
    shortname = "nr",
    status = "NodeReportStatus",
    derive = "PartialEq",
    derive = "Default",
    no_spec,
    doc = "What a node's agent has to say about the proxies of its node. The name is the node's.",
    printcolumn(name = "Agent", type_ = "string", json_path = ".status.agentVersion"),
    printcolumn(name = "Observed", type_ = "date", json_path = ".status.observedAt"),
    printcolumn(name = "Programmed", type_ = "string", json_path = r#".status.conditions[?(@.type=="Programmed")].status"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct NodeReportSpec {}

/// What the agent says. At most 64 kB, at most one write in 5 s except for phase changes.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeReportStatus {
    /// When the agent wrote this; at least once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Time>,
    /// The agent's version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = MAX_NAME))]
    pub agent_version: String,
    /// The proxies under a keeper of this agent, and others with something to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_PROXIES))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub proxies: Vec<ProxyReport>,
    /// Listeners that could not be opened because another object has their port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_CONFLICTS))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub conflicts: Vec<Conflict>,
    /// The agent's own conditions, see [`crate::conditions`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// One proxy of the node.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ProxyReport {
    /// The NodeProxy's name, or `namespace/name` of the pod that the proxy runs in.
    #[schemars(length(min = 1, max = MAX_NAME))]
    pub name: String,
    /// What it is doing.
    #[serde(default)]
    pub phase: Phase,
    /// Its process, in the node's process namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Its hot-restart epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i32>,
    /// How often it was started again after it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<i32>,
    /// Listeners that it confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listeners: Option<i32>,
    /// Clusters that it confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<i32>,
    /// How it ended last, for example `exit code 1` or `signal 9`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_TEXT))]
    pub last_exit: Option<String>,
    /// Why it refused what it was last sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_TEXT))]
    pub nack: Option<String>,
}

/// What a proxy is doing. A phase that this version doesn't know reads as [`Phase::Unknown`].
#[derive(Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// It has not been started yet.
    Pending,
    /// It was started and has not fetched its configuration yet.
    Starting,
    /// It serves.
    Running,
    /// It takes no new sessions and is about to end.
    Draining,
    /// It ended by itself and is started again after a delay.
    BackOff,
    /// It ended because it was told to.
    Stopped,
    /// It can't be told.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A listener that could not be opened because another object has its port.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct Conflict {
    /// The object that asked for the port, as `<api letter>/<namespace>/<name>`.
    #[schemars(length(max = MAX_NAME))]
    pub object: String,
    /// Its listener.
    #[schemars(length(max = MAX_NAME))]
    pub listener: String,
    /// The port.
    pub port: i32,
    /// `UDP` or `TCP`.
    #[schemars(length(max = 16))]
    pub protocol: String,
    /// The object that has the port, in the same form as `object`.
    #[schemars(length(max = MAX_NAME))]
    pub winner: String,
}

// The schema says `string` without an enumeration: an agent may be newer than the CRD.
impl schemars::JsonSchema for Phase {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Phase".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "maxLength": 32 })
    }
}

// === impl NodeReport ===

impl NodeReport {
    /// Reads an object and returns it with a warning for each unknown field.
    ///
    /// # Errors
    /// As [`door::parse`]: the field that can't be read.
    pub fn parse(value: Value) -> Result<(Self, Vec<String>), ParseError> {
        door::parse(value)
    }
}

// === impl NodeReportStatus ===

impl NodeReportStatus {
    /// The same report within the bounds of the schema: lists are cut at their end, texts at their limit.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.proxies.truncate(MAX_PROXIES);
        self.conflicts.truncate(MAX_CONFLICTS);
        self.conditions.truncate(16);
        cut(&mut self.agent_version, MAX_NAME);
        for proxy in &mut self.proxies {
            cut(&mut proxy.name, MAX_NAME);
            proxy.last_exit.iter_mut().chain(&mut proxy.nack).for_each(|text| cut(text, MAX_TEXT));
        }
        for conflict in &mut self.conflicts {
            cut(&mut conflict.object, MAX_NAME);
            cut(&mut conflict.listener, MAX_NAME);
            cut(&mut conflict.winner, MAX_NAME);
            cut(&mut conflict.protocol, 16);
        }
        self
    }
}

fn cut(text: &mut String, limit: usize) {
    if let Some((end, _)) = text.char_indices().nth(limit) {
        text.truncate(end);
    }
}
