//! [`NodeProxy`]: a proxy that the agent of each selected node runs.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};

use super::flaw::{self, Flaw};
use super::workload::ProxyKind;
use crate::plan as proto;
use crate::selector::Selector;

/// A proxy that the agent of each selected node runs (message `NodeProxy`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeProxy {
    /// The object's UID; empty for an object without one.
    pub uid: String,
    /// Labels that selectors are matched against.
    pub labels: BTreeMap<String, String>,
    /// The namespaces whose objects the proxy takes.
    pub allowed: Namespaces,
    /// The kind of proxy and its settings. `None`: an Envoy with default settings.
    pub settings: Option<Settings>,
    /// The object's creation, in milliseconds since the Unix epoch. `None`: not known.
    pub created_ms: Option<i64>,
    /// The name by which [`super::Workload::proxy_name`] selects it. `None`: it has no such name.
    pub proxy_name: Option<String>,
}

/// The namespaces whose objects a NodeProxy takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// All namespaces.
    All,
    /// These namespaces.
    Listed(Vec<String>),
    /// The namespaces whose labels match. Only hubs of version 0.1.0 send it, with requirements on the label
    /// `kubernetes.io/metadata.name` alone. Later hubs send the names of the matching namespaces.
    Matching(Selector),
}

/// The kind of a NodeProxy and its settings (`settings`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    /// An Envoy.
    Envoy(EnvoySettings),
    /// An l7mp proxy.
    L7mp(L7mpSettings),
}

/// Settings of an l7mp proxy (message `L7mpSettings`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct L7mpSettings {
    /// Additional command-line arguments.
    pub extra_args: Vec<String>,
    /// The TCP port of the REST API. `None`: 1234.
    pub api_port: Option<NonZeroU16>,
    /// Whether requests and answers are checked against the schema of the API.
    pub strict: bool,
}

/// Settings of an Envoy (message `EnvoySettings`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvoySettings {
    /// The number of worker threads. `None`: one.
    pub concurrency: Option<NonZeroU32>,
    /// Additional command-line arguments.
    pub extra_args: Vec<String>,
    /// The TCP port that answers health checks. `None`: no such port is opened.
    pub health_listener: Option<NonZeroU16>,
    /// The maximum heap size, in bytes. `None`: no limit.
    pub memory_limit: Option<NonZeroU64>,
    /// A JSON object that is merged into the bootstrap. `None`: the bootstrap stays as generated.
    pub extra_bootstrap: Option<String>,
}

// === impl NodeProxy ===

impl TryFrom<proto::NodeProxy> for NodeProxy {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if the namespace selector has an unreadable requirement, or if a port is invalid.
    fn try_from(message: proto::NodeProxy) -> Result<Self, Flaw> {
        let proto::NodeProxy {
            uid,
            labels,
            allowed_namespaces,
            all_namespaces,
            namespace_selector,
            settings,
            created_ms,
            proxy_name,
        } = message;
        let allowed = match namespace_selector {
            _ if all_namespaces => Namespaces::All,
            Some(selector) => {
                let selector = selector.try_into().map_err(|flaw: Flaw| flaw.under("namespace_selector"))?;
                Namespaces::Matching(selector)
            }
            None => Namespaces::Listed(allowed_namespaces),
        };
        let settings = settings.map(Settings::try_from).transpose()?;
        let created_ms = (created_ms != 0).then_some(created_ms);
        Ok(Self { uid, labels, allowed, settings, created_ms, proxy_name: flaw::text(proxy_name) })
    }
}

impl From<&NodeProxy> for proto::NodeProxy {
    fn from(proxy: &NodeProxy) -> Self {
        let NodeProxy { uid, labels, allowed, settings, created_ms, proxy_name } = proxy;
        let mut message = Self {
            uid: uid.clone(),
            labels: labels.clone(),
            settings: settings.as_ref().map(Into::into),
            created_ms: created_ms.unwrap_or_default(),
            proxy_name: proxy_name.clone().unwrap_or_default(),
            ..Self::default()
        };
        match allowed {
            Namespaces::All => message.all_namespaces = true,
            Namespaces::Listed(names) => message.allowed_namespaces = names.clone(),
            Namespaces::Matching(selector) => message.namespace_selector = Some(selector.into()),
        }
        message
    }
}

impl NodeProxy {
    /// The proxy's kind.
    pub fn kind(&self) -> ProxyKind {
        match &self.settings {
            None | Some(Settings::Envoy(_)) => ProxyKind::Envoy,
            Some(Settings::L7mp(_)) => ProxyKind::L7mp,
        }
    }
}

// === impl Settings ===

impl TryFrom<proto::node_proxy::Settings> for Settings {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if a port is invalid.
    fn try_from(message: proto::node_proxy::Settings) -> Result<Self, Flaw> {
        match message {
            proto::node_proxy::Settings::Envoy(envoy) => {
                let settings = EnvoySettings::try_from(envoy).map_err(|flaw| flaw.under("envoy"))?;
                Ok(Self::Envoy(settings))
            }
            proto::node_proxy::Settings::L7mp(l7mp) => {
                let settings = L7mpSettings::try_from(l7mp).map_err(|flaw| flaw.under("l7mp"))?;
                Ok(Self::L7mp(settings))
            }
        }
    }
}

impl From<&Settings> for proto::node_proxy::Settings {
    fn from(settings: &Settings) -> Self {
        match settings {
            Settings::Envoy(envoy) => Self::Envoy(envoy.into()),
            Settings::L7mp(l7mp) => Self::L7mp(l7mp.into()),
        }
    }
}

// === impl L7mpSettings ===

impl TryFrom<proto::L7mpSettings> for L7mpSettings {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if the port of the REST API is invalid.
    fn try_from(message: proto::L7mpSettings) -> Result<Self, Flaw> {
        let proto::L7mpSettings { extra_args, api_port, strict } = message;
        Ok(Self { extra_args, api_port: flaw::port("api_port", api_port)?, strict })
    }
}

impl From<&L7mpSettings> for proto::L7mpSettings {
    fn from(L7mpSettings { extra_args, api_port, strict }: &L7mpSettings) -> Self {
        Self { extra_args: extra_args.clone(), api_port: flaw::port_number(*api_port), strict: *strict }
    }
}

// === impl EnvoySettings ===

impl TryFrom<proto::EnvoySettings> for EnvoySettings {
    type Error = Flaw;

    /// # Errors
    /// Returns an error if the health check port is invalid.
    fn try_from(message: proto::EnvoySettings) -> Result<Self, Flaw> {
        let proto::EnvoySettings { concurrency, extra_args, health_listener, memory_limit, extra_bootstrap } =
            message;
        Ok(Self {
            concurrency: NonZeroU32::new(concurrency),
            extra_args,
            health_listener: flaw::port("health_listener", health_listener)?,
            memory_limit: NonZeroU64::new(memory_limit),
            extra_bootstrap: flaw::text(extra_bootstrap),
        })
    }
}

impl From<&EnvoySettings> for proto::EnvoySettings {
    fn from(settings: &EnvoySettings) -> Self {
        let EnvoySettings { concurrency, extra_args, health_listener, memory_limit, extra_bootstrap } =
            settings;
        Self {
            concurrency: flaw::number(*concurrency),
            extra_args: extra_args.clone(),
            health_listener: flaw::port_number(*health_listener),
            memory_limit: memory_limit.map_or(0, NonZeroU64::get),
            extra_bootstrap: extra_bootstrap.clone().unwrap_or_default(),
        }
    }
}
