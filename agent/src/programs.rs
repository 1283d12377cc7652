//! The programs of proxies on this node: [`Programs`], and the flags that name them ([`Flags`]).

use std::path::PathBuf;

use clap::Args;
use portreeve_agent_core::status::Available;
use portreeve_keeper::l7mp;

use crate::envoy;
use crate::l7mp::locate::{self, Given};

/// Path of Envoy in orders to keepers in pods. Each such keeper uses its own paths instead.
const ENVOY_IN_PODS: &str = "/usr/local/bin/envoy";
/// Path of node in orders to keepers in pods.
const NODE_IN_PODS: &str = "/usr/bin/node";
/// Path of l7mp's script in orders to keepers in pods.
const L7MP_IN_PODS: &str = "/usr/lib/l7mp/node_modules/@l7mp/l7mp/l7mp-proxy.js";

/// The programs that NodeProxies can run.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// Path of the Envoy binary; `None` if NodeProxies of this kind can't run here.
    pub envoy: Option<PathBuf>,
    /// Node and l7mp; `None` if NodeProxies of this kind can't run here.
    pub l7mp: Option<l7mp::Programs>,
}

/// Flags that name the programs.
#[derive(Clone, Debug, Args)]
pub struct Flags {
    /// Path of the Envoy binary. Default: $PORTREEVE_ENVOY, envoy on $PATH, or the pinned package. Without an Envoy no
    /// NodeProxy runs one, but proxies in pods are served.
    #[arg(long)]
    pub envoy: Option<PathBuf>,
    /// Path of l7mp-proxy.js in the directory of its npm package. Default: $PORTREEVE_L7MP. Without it no NodeProxy
    /// with spec.l7mp runs. `portreeve-agent fetch-l7mp` installs the pinned package and prints the path.
    #[arg(long, value_name = "FILE")]
    pub l7mp: Option<PathBuf>,
    /// Path of the node binary for l7mp. Default: node on $PATH.
    #[arg(long, value_name = "FILE")]
    pub nodejs: Option<PathBuf>,
}

// === impl Programs ===

impl Programs {
    /// Returns the programs in orders to keepers in pods.
    pub fn in_pods() -> Self {
        let l7mp = l7mp::Programs { node: NODE_IN_PODS.into(), script: L7MP_IN_PODS.into() };
        Self { envoy: Some(ENVOY_IN_PODS.into()), l7mp: Some(l7mp) }
    }

    /// Finds the programs. A missing one is an error only if a flag names it.
    ///
    /// # Errors
    /// Returns an error that names the flag.
    pub async fn locate(flags: Flags) -> anyhow::Result<Self> {
        let given = Given { l7mp: flags.l7mp, nodejs: flags.nodejs };
        let l7mp = locate::given(&given)?;
        let named = flags.envoy.is_some();
        let found = tokio::task::spawn_blocking(move || {
            envoy::locate::locate(flags.envoy.as_deref(), &mut |step| tracing::info!("{step}"))
        });
        let envoy = match found.await? {
            Err(error) if !named => {
                tracing::warn!(%error, "no NodeProxy can run an Envoy here; proxies in pods are served");
                None
            }
            found => Some(found?),
        };
        Ok(Self { envoy, l7mp })
    }

    /// Tells which kinds of proxies can run.
    pub fn available(&self) -> Available {
        Available { envoy: self.envoy.is_some(), l7mp: self.l7mp.is_some() }
    }
}
