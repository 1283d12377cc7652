//! NodeProxy of `portreeve.dev/v1alpha1`: a proxy on each selected node, supervised by that node's agent. Other
//! resources select it by its labels, as they select a pod. Entry points: [`NodeProxy::parse`] and
//! [`NodeProxy::validate`].
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside of a function")]
#![allow(clippy::duplicated_attributes, reason = "print columns share their keys")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::core::ApiResource;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::door::{self, ParseError};
use crate::kind::{Api, Definition, Kind, Purpose};
use crate::quantity;
use crate::schema::bound_name;
use crate::selector;
use crate::violation::{Checks, Violation};

/// The kind NodeProxy.
pub const KIND: Kind = Kind {
    api: Api::Own,
    name: "NodeProxy",
    namespaced: false,
    prefix: "nodeproxy",
    purpose: Purpose::Proxy,
};

/// The kind's definition in the API server.
pub const DEFINITION: Definition = Definition {
    kind: &KIND,
    resource: || ApiResource::erase::<NodeProxy>(&()),
    // The schema limits the length of the object's name.
    crd: || bound_name(NodeProxy::crd(), MAX_NAME),
};

/// Maximum number of key-value pairs in one map of labels.
pub const MAX_LABELS: usize = 64;
/// Maximum number of namespaces listed by name.
pub const MAX_NAMESPACES: usize = 1024;
/// Maximum number of extra arguments of a proxy.
pub const MAX_ARGS: usize = 64;
/// Maximum length of an extra argument of an l7mp, in characters.
pub const MAX_ARG: usize = 256;
/// Maximum length of a NodeProxy's name, in characters. The name is that of a directory on each node, and the paths of
/// the sockets in it must be short.
pub const MAX_NAME: usize = 63;

/// Maximum length of a proxy's name in `proxyName`, in characters.
pub const MAX_PROXY_NAME: usize = 253;

/// The port of an l7mp's REST API if none is given.
pub const API_PORT: i32 = 1234;

/// Maximum number of worker threads of a proxy.
pub const MAX_CONCURRENCY: i32 = 1024;

/// Bootstrap fields that only the agent may set, in both spellings that Envoy's JSON accepts.
pub const AGENTS_OWN: [&str; 4] = ["node", "admin", "dynamic_resources", "dynamicResources"];

const LIST_RULE: &str = "names must be given for from: List, and only then";
const BOOTSTRAP_RULE: &str = "node, admin and dynamic_resources are the agent's and cannot be given";
const KIND_RULE: &str = "envoy and l7mp cannot be given together: with l7mp, the proxy is no Envoy";
const PROXY_NAME_RULE: &str =
    "proxyName cannot be given with l7mp: IngressListeners and EgressListeners are for Envoys";
const ARGS_RULE: &str =
    "extraArgs cannot have -c and -s: the configuration is the agent's, and strict sets -s";
const SELECTOR_RULE: &str = "selector must be given for from: Selector, and only then";

/// Where the proxy runs, whom it serves, and how it is started.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[x_kube(
    validation = Rule::new(
        "!has(self.l7mp) || (self.envoy.concurrency == 1 && (!has(self.envoy.extraArgs) || size(self.envoy.extraArgs) == 0) && \
         !has(self.envoy.healthListener) && !has(self.envoy.memoryLimit) && !has(self.envoy.extraBootstrap))"
    ).message(KIND_RULE),
    validation = Rule::new("!has(self.l7mp) || !has(self.proxyName)").message(PROXY_NAME_RULE)
)]
#[kube(
    group = "portreeve.dev",
    version = "v1alpha1",
    kind = "NodeProxy",
    plural = "nodeproxies",
    shortname = "npx",
    status = "NodeProxyStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A proxy on each selected node, supervised by the node's agent.",
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".status.nodes"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.ready"),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Accepted")].status"#
    ),
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
#[serde(rename_all = "camelCase")]
pub struct NodeProxySpec {
    /// Labels of the nodes that run the proxy; a node must carry all of them. Empty: every node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = MAX_LABELS))]
    pub node_selector: BTreeMap<String, String>,
    /// Namespaces whose resources may select this proxy.
    #[serde(default)]
    pub allowed_namespaces: AllowedNamespaces,
    /// Labels of the proxy, matched by the selectors of other resources as a pod's labels are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = MAX_LABELS))]
    pub labels: BTreeMap<String, String>,
    /// Name by which IngressListeners and EgressListeners select this proxy as their `nodename`. Without it none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_PROXY_NAME))]
    pub proxy_name: Option<String>,
    /// How Envoy is started.
    #[serde(default)]
    pub envoy: Envoy,
    /// Makes the proxy an l7mp instead of an Envoy, and tells how it is started. Its REST API answers on this host only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l7mp: Option<L7mp>,
}

/// Namespaces whose resources may select a proxy.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("(self.from == 'List') == (has(self.names) && size(self.names) > 0)").message(LIST_RULE),
    validation = Rule::new("(self.from == 'Selector') == has(self.selector)").message(SELECTOR_RULE)
)]
pub struct AllowedNamespaces {
    /// How they are named.
    #[serde(default)]
    pub from: From,
    /// With `List`: the namespaces' names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_NAMESPACES))]
    pub names: Vec<String>,
    /// With `Selector`: the namespaces' labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// How allowed namespaces are named.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum From {
    /// All namespaces.
    #[default]
    All,
    /// Those in `names`.
    List,
    /// Those that `selector` matches.
    Selector,
}

/// How Envoy is started.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Envoy {
    /// Worker threads.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = MAX_CONCURRENCY))]
    pub concurrency: i32,
    /// Arguments after those that the agent gives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_ARGS))]
    pub extra_args: Vec<String>,
    /// TCP port on which the proxy answers health checks: connections, and `GET /healthcheck`. Without it none is opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub health_listener: Option<i32>,
    /// Heap of the proxy at most, in bytes or as `512Mi`, `2G`. Near it the proxy gives memory back, and takes no new TCP
    /// connections and HTTP requests; UDP sessions go on. The hard limit is that of the cgroup it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = quantity::PATTERN), length(max = quantity::MAX_LENGTH))]
    pub memory_limit: Option<String>,
    /// What is merged into the proxy's bootstrap: Envoy's own fields. Objects are merged, lists joined, other values replaced;
    /// `node`, `admin` and `dynamic_resources` are the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "extra_bootstrap")]
    pub extra_bootstrap: Option<Map<String, Value>>,
}

/// How l7mp is started. It has no hot restart: a change ends its sessions.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(self.extraArgs) || self.extraArgs.all(one, !one.matches('^--?[cs]'))"
    ).message(ARGS_RULE)
)]
pub struct L7mp {
    /// TCP port of its REST API, which only answers to this host. Two proxies of a node need different ones.
    #[serde(default = "api_port")]
    #[schemars(range(min = 1, max = 65_535))]
    pub api_port: i32,
    /// Check requests and answers against the schema of the API. It then takes about two seconds more to start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// Arguments after those that the agent gives, for example `-l`, `info`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_ARGS), inner(length(max = MAX_ARG)))]
    pub extra_args: Vec<String>,
}

/// What the hub says about the object.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
pub struct NodeProxyStatus {
    /// Nodes that the proxy is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<i32>,
    /// Nodes on which it runs and serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<i32>,
    /// `Accepted` and `Programmed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

fn one() -> i32 {
    1
}

fn api_port() -> i32 {
    API_PORT
}

/// The schema doesn't list Envoy's own fields. It lists the rejected ones, because a rule can only see listed fields.
fn extra_bootstrap(_: &mut SchemaGenerator) -> Schema {
    let refused = |name: &&str| {
        let schema = json!({
            "type": "object",
            "description": "Not to be given: it is the agent's.",
            "x-kubernetes-preserve-unknown-fields": true,
        });
        ((*name).to_owned(), schema)
    };
    let rule = AGENTS_OWN.map(|name| format!("!has(self.{name})")).join(" && ");
    json_schema!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": AGENTS_OWN.iter().map(refused).collect::<Map<_, _>>(),
        "x-kubernetes-validations": [{"rule": rule, "message": BOOTSTRAP_RULE}],
    })
}

// === impl Envoy ===

impl Default for Envoy {
    fn default() -> Self {
        Self {
            concurrency: one(),
            extra_args: Vec::new(),
            health_listener: None,
            memory_limit: None,
            extra_bootstrap: None,
        }
    }
}

impl Envoy {
    fn check(&self, path: &str, checks: &mut Checks) {
        checks.range(self.concurrency, (1, MAX_CONCURRENCY), &format!("{path}.concurrency"));
        checks.count(self.extra_args.len(), (0, MAX_ARGS), &format!("{path}.extraArgs"));
        if let Some(port) = self.health_listener {
            checks.port(port, &format!("{path}.healthListener"));
        }
        if let Some(limit) = &self.memory_limit {
            let message = format!("must be a number of bytes such as 512Mi, is {limit:?}");
            checks.must(quantity::bytes(limit).is_some(), format!("{path}.memoryLimit"), message);
        }
        if let Some(extra) = &self.extra_bootstrap {
            let free = !AGENTS_OWN.iter().any(|name| extra.contains_key(*name));
            checks.must(free, format!("{path}.extraBootstrap"), BOOTSTRAP_RULE);
        }
    }
}

// === impl L7mp ===

impl Default for L7mp {
    fn default() -> Self {
        Self { api_port: api_port(), strict: false, extra_args: Vec::new() }
    }
}

impl L7mp {
    fn check(&self, path: &str, checks: &mut Checks) {
        checks.port(self.api_port, &format!("{path}.apiPort"));
        let (args, list) = (&self.extra_args, format!("{path}.extraArgs"));
        checks.count(args.len(), (0, MAX_ARGS), &list);
        args.iter().for_each(|one| checks.length(one, (0, MAX_ARG), &list));
        let own = |one: &String| {
            let letters = one.strip_prefix('-').map(|rest| rest.strip_prefix('-').unwrap_or(rest));
            letters.is_some_and(|letters| letters.starts_with(['c', 's']))
        };
        checks.must(!args.iter().any(own), path, ARGS_RULE);
    }
}

// === impl AllowedNamespaces ===

impl AllowedNamespaces {
    /// Returns whether resources of the namespace `name` with these labels may select the proxy.
    pub fn allows(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        match (self.from, &self.selector) {
            (From::All, _) => true,
            (From::List, _) => self.names.iter().any(|listed| listed == name),
            (From::Selector, Some(wanted)) => {
                selector::from_label_selector(wanted).is_ok_and(|s| s.matches(labels))
            }
            (From::Selector, None) => false,
        }
    }

    fn check(&self, path: &str, checks: &mut Checks) {
        checks.must((self.from == From::List) != self.names.is_empty(), path, LIST_RULE);
        checks.must((self.from == From::Selector) == self.selector.is_some(), path, SELECTOR_RULE);
        if let Some(Err(error)) = self.selector.as_ref().map(selector::from_label_selector) {
            checks.must(false, format!("{path}.selector"), error.to_string());
        }
        checks.count(self.names.len(), (0, MAX_NAMESPACES), &format!("{path}.names"));
    }
}

// === impl NodeProxy ===

impl NodeProxy {
    /// Reads an object. Returns it with a warning for each unknown field.
    ///
    /// # Errors
    /// Returns an error that names the field which can't be read, see [`door::parse`].
    pub fn parse(value: Value) -> Result<(Self, Vec<String>), ParseError> {
        door::parse(value)
    }

    /// Checks the rules of the CRD's schema, for objects that didn't pass through an API server. Returns an empty list
    /// for a valid object.
    pub fn validate(&self) -> Vec<Violation> {
        let mut checks = Checks::default();
        if let Some(name) = &self.metadata.name {
            checks.length(name, (1, MAX_NAME), "metadata.name");
        }
        checks.count(self.spec.node_selector.len(), (0, MAX_LABELS), "spec.nodeSelector");
        self.spec.allowed_namespaces.check("spec.allowedNamespaces", &mut checks);
        checks.count(self.spec.labels.len(), (0, MAX_LABELS), "spec.labels");
        if let Some(name) = &self.spec.proxy_name {
            checks.length(name, (1, MAX_PROXY_NAME), "spec.proxyName");
        }
        self.spec.envoy.check("spec.envoy", &mut checks);
        if let Some(l7mp) = &self.spec.l7mp {
            l7mp.check("spec.l7mp", &mut checks);
            checks.must(self.spec.envoy == Envoy::default(), "spec", KIND_RULE);
            checks.must(self.spec.proxy_name.is_none(), "spec", PROXY_NAME_RULE);
        }
        checks.done()
    }
}
