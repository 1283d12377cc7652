//! Keeps one keeper per NodeProxy of this node: starts those that the hub wants, and drains those that it no longer
//! wants.

use std::collections::BTreeSet;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portreeve_agent_core::translate::Families;
use portreeve_agent_core::world::World;
use portreeve_api::model::{EnvoySettings, L7mpSettings, NodeProxy, ProxyKind, Settings};
use portreeve_api::refs::ProxyId;
use portreeve_keeper::envoy::Family;
use portreeve_keeper::{Program, Spec, l7mp};
use portreeve_xds::Name;

use crate::local::Local;
use crate::programs::Programs;
use crate::supervisor::Supervisor;

/// Settings shared by all NodeProxies of this node.
#[derive(Clone, Debug)]
pub struct Common {
    /// The programs that they can run.
    pub programs: Programs,
    /// The xDS socket of the agent.
    pub ads_socket: PathBuf,
    /// How long listeners drain before an Envoy ends. l7mp's can't drain.
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
    let (mut wanted_before, mut news) = (None, local.changes());
    loop {
        let heard = local.read(World::heard_node_proxies);
        let wanted = local.node_proxies();
        kept.borrow_and_update();
        if let Some(wanted) = &wanted {
            let names: BTreeSet<String> = wanted.keys().map(ToString::to_string).collect();
            let differs = wanted_before.as_ref() != Some(wanted);
            // An invalid NodeProxy keeps running with its last settings.
            let readable = wanted.iter().filter_map(|(name, proxy)| Some((name, proxy.as_ref()?)));
            for (name, proxy) in readable.filter(|_| differs) {
                ensure(&local, &supervisor, name, proxy, &common);
            }
            // Includes unwanted keepers that an earlier agent started, and those in pods. The store may lack one that is new.
            if heard {
                let found = supervisor.found()?.into_iter().chain(supervisor.status().into_keys());
                let unwanted = found.filter(|name| !names.contains(name));
                unwanted.for_each(|name| supervisor.stop(&name, common.drain));
            }
            wanted_before = Some(wanted.clone());
        }
        // The senders live as long as the agent.
        tokio::select! {
            _ = changes.changed() => {}
            _ = kept.changed() => {}
            _ = news.changed(), if wanted.is_none() => {}
        }
    }
}

/// Makes a keeper run this NodeProxy.
fn ensure(local: &Local, supervisor: &Supervisor, name: &Name, proxy: &NodeProxy, common: &Common) {
    let Some(spec) = spec(local.node(), name, proxy, common) else {
        if proxy.kind() == ProxyKind::L7mp {
            // It may have been an Envoy, and must not go on as one.
            supervisor.stop(name, common.drain);
        }
        let kind = proxy.kind().word();
        return tracing::error!(
            nodeproxy = &**name,
            kind,
            "can't run the proxy: this agent has no program for it"
        );
    };
    if let Err(error) = supervisor.ensure(spec) {
        tracing::error!(nodeproxy = &**name, %error, "can't run the proxy");
    }
}

/// Returns what a keeper runs for a NodeProxy; `None` if this agent has no program for its kind.
fn spec(node: &str, name: &str, proxy: &NodeProxy, common: &Common) -> Option<Spec> {
    match &proxy.settings {
        None => envoy(node, name, EnvoySettings::default(), common),
        Some(Settings::Envoy(settings)) => envoy(node, name, settings.clone(), common),
        Some(Settings::L7mp(settings)) => l7mp(node, name, settings, common),
    }
}

fn envoy(node: &str, name: &str, settings: EnvoySettings, common: &Common) -> Option<Spec> {
    Some(Spec {
        name: name.to_string(),
        envoy: common.programs.envoy.clone()?,
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
        program: Program::Envoy,
    })
}

fn l7mp(node: &str, name: &str, settings: &L7mpSettings, common: &Common) -> Option<Spec> {
    let l7mp::Programs { node: binary, script } = common.programs.l7mp.clone()?;
    let L7mpSettings { extra_args, api_port, strict } = settings.clone();
    let program = l7mp::Settings { script, port: api_port.unwrap_or(l7mp::PORT), strict };
    Some(Spec {
        name: name.to_string(),
        envoy: binary,
        node_id: ProxyId::Node(name.into()).to_string(),
        node_cluster: node.to_string(),
        ads_socket: common.ads_socket.clone(),
        concurrency: 1,
        extra_args,
        health_listener: None,
        drain_s: 0,
        wildcard: Family::V4,
        memory_limit: None,
        extra_bootstrap: None,
        program: Program::L7mp(program),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portreeve_agent_core::translate::Families;
    use portreeve_api::model::{L7mpSettings, Namespaces, NodeProxy, Settings};
    use portreeve_keeper::{Program, l7mp};

    use super::{Common, spec};
    use crate::programs::Programs;

    fn mk_common(l7mp: Option<l7mp::Programs>) -> Common {
        Common {
            programs: Programs { envoy: Some("/envoy".into()), l7mp },
            ads_socket: "/x/agent.sock".into(),
            drain: Duration::from_secs(5),
            families: Families::V4,
        }
    }

    fn mk_proxy(settings: Option<Settings>) -> NodeProxy {
        let (labels, allowed) = (Default::default(), Namespaces::All);
        NodeProxy { uid: "u".into(), labels, allowed, settings, created_ms: None, proxy_name: None }
    }

    #[test]
    fn l7mp_runs_the_agents_node_and_script() {
        let programs = l7mp::Programs { node: "/node".into(), script: "/p/l7mp-proxy.js".into() };
        let settings = L7mpSettings { extra_args: vec!["-l".into()], api_port: None, strict: true };
        let proxy = mk_proxy(Some(Settings::L7mp(settings)));
        let spec_of = |common: &Common| spec("n", "mesh", &proxy, common);
        let made = spec_of(&mk_common(Some(programs.clone()))).unwrap();
        assert_eq!((made.envoy, made.extra_args), (programs.node, vec!["-l".to_owned()]));
        let expected = l7mp::Settings { script: programs.script, port: l7mp::PORT, strict: true };
        assert_eq!(made.program, Program::L7mp(expected));
        assert_eq!(spec_of(&mk_common(None)), None, "this agent has no l7mp");
    }

    #[test]
    fn proxy_without_settings_is_an_envoy() {
        let made = spec("n", "gw", &mk_proxy(None), &mk_common(None)).unwrap();
        assert_eq!((made.envoy, made.program), ("/envoy".into(), Program::Envoy));
    }
}
