//! NodeReport of `portreeve.dev/v1alpha1`: one node's agent reports on its proxies. Only that agent writes it. The
//! report is bounded: [`NodeReportStatus::bounded`] cuts what the schema would reject.
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]
#![allow(clippy::duplicated_attributes, reason = "print columns share their keys")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::door::{self, ParseError};

/// Maximum number of proxies in one report.
pub const MAX_PROXIES: usize = 128;
/// Maximum number of conflicts in one report.
pub const MAX_CONFLICTS: usize = 128;
/// Maximum number of terminating endpoints in one report.
pub const MAX_LEAVING: usize = 64;
/// Maximum size of a report's JSON, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// Maximum number of conditions in one report.
pub const MAX_CONDITIONS: usize = 16;
/// Maximum length of a name, in characters.
pub const MAX_NAME: usize = 512;
/// Maximum number of types in a proxy's [`ProxyReport::acked_versions`].
pub const MAX_TYPES: usize = 8;
/// Maximum length of a text that a proxy or its process wrote, in characters.
pub const MAX_TEXT: usize = 1024;

/// A NodeReport has an empty spec.
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
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Programmed")].reason"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        priority = "1",
        json_path = r#".status.conditions[?(@.type=="Programmed")].message"#
    )
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
    /// Endpoints that terminate and that proxies on the host's network still have UDP sessions to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_LEAVING))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["pod".into()]))]
    pub leaving: Vec<Leaving>,
    /// The agent's own conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_CONDITIONS))]
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
    /// When the running process was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// When it is started again; in phase `BackOff` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_until: Option<Time>,
    /// Resident memory of the running process in bytes, at most 5 s before `observedAt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<i64>,
    /// Processor time of the running process in seconds, at most 5 s before `observedAt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<i64>,
    /// Its UDP sessions at `observedAt`, over all listeners; absent when it did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_sessions: Option<i64>,
    /// What it confirmed, by type (`Cluster`, `Endpoint`, `Listener`): one version for the names and versions of all resources
    /// of the type, as a state-of-the-world response has it. Equal versions mean equal configurations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = MAX_TYPES))]
    pub acked_versions: BTreeMap<String, String>,
    /// How it ended last, for example `exit code 1`, `signal 11` or `killed for lack of memory (OOM), limit 512 MiB`.
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

/// A terminating endpoint that is still in use.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct Leaving {
    /// The pod, as `namespace/name`.
    #[schemars(length(min = 1, max = MAX_NAME))]
    pub pod: String,
    /// UDP sessions to it.
    pub sessions: i32,
}

// The schema has the type `string` without an enumeration, because an agent may be newer than the CRD.
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
    /// Reads an object. Returns it with a warning for each unknown field.
    ///
    /// # Errors
    /// Returns an error that names the field which can't be read, see [`door::parse`].
    pub fn parse(value: Value) -> Result<(Self, Vec<String>), ParseError> {
        door::parse(value)
    }
}

// === impl NodeReportStatus ===

impl NodeReportStatus {
    /// Returns the report within the limits of the schema and of [`MAX_BYTES`]. Texts are cut at their limit first,
    /// then lists at their end. Conditions get the bytes first, then proxies, conflicts and terminating endpoints.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        cut(&mut self.agent_version, MAX_NAME);
        self.proxies.iter_mut().for_each(ProxyReport::bound);
        self.conflicts.iter_mut().for_each(Conflict::bound);
        // The rest of the report needs less than 4 kB: the longest version and the names of the lists.
        let mut left = MAX_BYTES - 4096;
        fit(&mut self.conditions, MAX_CONDITIONS, &mut left);
        fit(&mut self.proxies, MAX_PROXIES, &mut left);
        fit(&mut self.conflicts, MAX_CONFLICTS, &mut left);
        self.leaving.iter_mut().for_each(|one| cut(&mut one.pod, MAX_NAME));
        fit(&mut self.leaving, MAX_LEAVING, &mut left);
        self
    }
}

// === impl ProxyReport ===

impl ProxyReport {
    fn bound(&mut self) {
        cut(&mut self.name, MAX_NAME);
        let types = std::mem::take(&mut self.acked_versions).into_iter().take(MAX_TYPES);
        self.acked_versions = types
            .map(|(mut ty, mut version)| {
                cut(&mut ty, MAX_NAME);
                cut(&mut version, MAX_NAME);
                (ty, version)
            })
            .collect();
        self.last_exit.iter_mut().chain(&mut self.nack).for_each(|text| cut(text, MAX_TEXT));
    }
}

// === impl Conflict ===

impl Conflict {
    fn bound(&mut self) {
        cut(&mut self.object, MAX_NAME);
        cut(&mut self.listener, MAX_NAME);
        cut(&mut self.winner, MAX_NAME);
        cut(&mut self.protocol, 16);
    }
}

/// Keeps entries from the front: at most `most`, and as many as fit in `left` bytes of JSON. Subtracts their size from
/// `left`.
fn fit<T: Serialize>(list: &mut Vec<T>, most: usize, left: &mut usize) {
    let mut kept = 0;
    for entry in list.iter().take(most) {
        let size = serde_json::to_vec(entry).map_or(usize::MAX, |json| json.len().saturating_add(1));
        let Some(rest) = left.checked_sub(size) else { break };
        *left = rest;
        kept += 1;
    }
    list.truncate(kept);
}

fn cut(text: &mut String, limit: usize) {
    if let Some((end, _)) = text.char_indices().nth(limit) {
        text.truncate(end);
    }
}
