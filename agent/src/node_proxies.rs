//! Keeps one keeper per NodeProxy of this node: starts those that the hub wants, and drains those that it no longer
//! wants.

use std::collections::BTreeSet;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portreeve_agent_core::translate::Families;
use portreeve_api::model::{EnvoySettings, NodeProxy, ProxyKind, Settings};
use portreeve_api::refs::ProxyId;
use portreeve_keeper::Spec;
use portreeve_keeper::envoy::Family;
use portreeve_xds::Name;

use crate::local::Local;
use crate::supervisor::Supervisor;

/// Settings shared by all Envoys of this node.
#[derive(Clone, Debug)]
pub struct Common {
    /// Path of the Envoy binary, if there is one.
    pub envoy: Option<PathBuf>,
    /// The xDS socket of the agent.
    pub ads_socket: PathBuf,
    /// How long listeners drain before an Envoy ends.
    pub drain: Duration,
    /// The host's address families.
    pub families: Families,
}

/// Follows the wanted NodeProxies and the existing keepers, and never returns.
///
/// # Errors
/// Returns an error if the keepers' directory can't be read.
pub async fn run(local: Arc<Local>, supervisor: Supervisor, common: Common) -> anyhow::Result<()> {
    let (mut changes, mut kept) = (local.proxy_changes(), supervisor.watch());
    let mut wanted_before = None;
    loop {
        let wanted = local.node_proxies();
        kept.borrow_and_update();
        if let Some(wanted) = &wanted {
            let is_envoy = |proxy: &Option<NodeProxy>| {
                proxy.as_ref().is_none_or(|proxy| proxy.kind() == ProxyKind::Envoy)
            };
            let envoys = wanted.iter().filter(|(_, proxy)| is_envoy(proxy));
            let names: BTreeSet<String> = envoys.map(|(name, _)| name.to_string()).collect();
            let news = wanted_before.as_ref() != Some(wanted);
            // An invalid NodeProxy keeps running with its last settings.
            let readable = wanted.iter().filter_map(|(name, proxy)| Some((name, proxy.as_ref()?)));
            for (name, proxy) in readable.filter(|_| news) {
                ensure(&local, &supervisor, name, proxy, &common);
            }
            // Includes unwanted keepers that an earlier agent started, and those in pods.
            let found = supervisor.found()?.into_iter().chain(supervisor.status().into_keys());
            found.filter(|name| !names.contains(name)).for_each(|name| supervisor.stop(&name, common.drain));
            wanted_before = Some(wanted.clone());
        }
        // The senders live as long as the agent.
        tokio::select! {
            _ = changes.changed() => {}
            _ = kept.changed() => {}
        }
    }
}

/// Makes a keeper run this NodeProxy.
fn ensure(local: &Local, supervisor: &Supervisor, name: &Name, proxy: &NodeProxy, common: &Common) {
    let settings = match &proxy.settings {
        None => EnvoySettings::default(),
        Some(Settings::Envoy(settings)) => settings.clone(),
        Some(Settings::L7mp(_)) => {
            return tracing::error!(nodeproxy = &**name, "can't run the proxy: this agent runs Envoys only");
        }
    };
    let Some(envoy) = &common.envoy else {
        return tracing::error!(nodeproxy = &**name, "can't run the proxy: this agent has no Envoy");
    };
    if let Err(error) = supervisor.ensure(spec(local.node(), name, settings, envoy, common)) {
        tracing::error!(nodeproxy = &**name, %error, "can't run the proxy");
    }
}

fn spec(node: &str, name: &str, settings: EnvoySettings, envoy: &Path, common: &Common) -> Spec {
    Spec {
        name: name.to_string(),
        envoy: envoy.to_owned(),
        node_id: ProxyId::Node(name.into()).to_string(),
        node_cluster: node.to_string(),
        ads_socket: common.ads_socket.clone(),
        concurrency: settings.concurrency.map_or(1, NonZeroU32::get),
        extra_args: settings.extra_args,
        health_listener: settings.health_listener.map(NonZeroU16::get),
        drain_s: u32::try_from(common.drain.as_secs()).unwrap_or(u32::MAX),
        wildcard: match common.families {
            Families::V4 => Family::V4,
            Families::V6 | Families::Dual | Families::DualV6First => Family::Dual,
        },
        memory_limit: settings.memory_limit.map(NonZeroU64::get),
        extra_bootstrap: settings.extra_bootstrap,
    }
}
