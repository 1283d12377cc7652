//! Writes the tunnels of this node's gateways to a file for the role `gue`, and reads from another one what the role knows of
//! them: [`run`].

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portreeve_agent_core::world::{TunnelPlans, TunnelState, World};
use portreeve_api::model::{Plan, Protocol, Socket, TunnelPeer, Tunnels};
use portreeve_tunnels::files::{self, Followed, LoadBalancer, Peer, STATE, State, Tunnel, WANTED, Wanted};

use crate::local::Local;

/// What follows the run directory's name in that of the files. They aren't in it, because pods get it by the CSI driver, and root
/// in a pod could read the keys.
const SUFFIX: &str = "-tunnels";

/// How long changes are collected before the file is written, and how often the role's file is looked at while there are
/// tunnels.
const GATHER: Duration = Duration::from_millis(50);

/// How long the role may be silent. It writes its file every five seconds.
const SILENT: Duration = Duration::from_secs(15);

/// Pause after a write that failed, for example because the disk is full.
const AGAIN: Duration = Duration::from_secs(1);

/// Returns the directory of the files beside a run directory.
pub fn directory(run_dir: &Path) -> PathBuf {
    let mut name = run_dir.as_os_str().to_owned();
    name.push(SUFFIX);
    name.into()
}

/// Keeps the file up to date and follows the role's, and never returns.
///
/// # Errors
/// Never returns an error: a failed write is logged once and tried again. The file then has what was written last.
pub async fn run(local: Arc<Local>, run_dir: PathBuf) -> anyhow::Result<()> {
    let (directory, mut changes) = (directory(&run_dir), local.changes());
    let mut role = Role { file: Followed::new(&directory, STATE), heard: None, told: None };
    let (mut written, mut failing) = (None::<Arc<TunnelPlans>>, false);
    loop {
        let wanted = local.read_newest(World::tunnel_plans);
        let same = |plans| written.as_ref().is_some_and(|written| Arc::ptr_eq(written, plans));
        let unwanted = |plans: &TunnelPlans| plans.is_empty() && !directory.exists();
        let outcome = match &wanted {
            Some(plans) if !same(plans) && !unwanted(plans) => write(&directory, plans),
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            if !std::mem::replace(&mut failing, true) {
                tracing::warn!(directory = %directory.display(), %error, "can't write the tunnels, trying again");
            }
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        failing = false;
        written = wanted.or(written);
        role.follow(&local);
        if written.as_ref().is_none_or(|plans| plans.is_empty()) && changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(GATHER).await;
    }
}

/// The role, as its file shows it.
struct Role {
    file: Followed,
    /// When it wrote its file last. `None`: it is silent, and what it heard is told no more.
    heard: Option<Instant>,
    /// What it told last, unless it is silent. It tells the same again and again, which changes nothing.
    told: Option<State>,
}

// === impl Role ===

impl Role {
    /// Takes over what the role has written. If it is silent, its tunnels are unheard.
    fn follow(&mut self, local: &Local) {
        match self.file.read::<State>() {
            Ok(Some(state)) => {
                self.heard = Some(Instant::now());
                if self.told.as_ref() != Some(&state) {
                    local.change(|world| world.set_tunnel_states(states(&state)));
                    self.told = Some(state);
                }
            }
            Ok(None) if self.heard.is_some_and(|at| at.elapsed() > SILENT) => {
                (self.heard, self.told) = (None, None);
                tracing::warn!(
                    "the process with the role gue is silent: no packet passes the tunnels of this node"
                );
                local.change(World::silence_tunnels);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "can't read what is known of the tunnels"),
        }
    }
}

/// Writes the file, in a directory that only its owner can read.
fn write(directory: &Path, plans: &TunnelPlans) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let all =
        plans.iter().filter_map(|(name, plan)| Some((name.to_string(), of(plan, plan.tunnels.as_ref()?))));
    files::write(directory, WANTED, &all.collect::<Wanted>())
}

fn of(plan: &Plan, tunnels: &Tunnels) -> LoadBalancer {
    let sockets = || plan.listeners.iter().filter_map(|listener| listener.socket.as_ref());
    let ports = |protocol| {
        let own = sockets().filter(move |socket: &&Socket| socket.protocol == protocol);
        own.filter_map(|socket| Some(socket.port?.get())).collect()
    };
    let endpoints = |protocol| {
        let own = tunnels.endpoints.iter().filter(move |one| one.protocol == protocol);
        own.map(|one| (one.at, one.tunnel.get())).collect()
    };
    let tunnel = |one: &portreeve_api::model::Tunnel| {
        let peer = one.peer.map(|TunnelPeer { at, ids, since_ms }| Peer { at, ids, since_ms });
        (one.id.get(), Tunnel { epic: one.epic, peer })
    };
    LoadBalancer {
        ids: tunnels.ids,
        key: tunnels.key.to_string(),
        address: tunnels.public_address,
        tcp: ports(Protocol::Tcp),
        udp: ports(Protocol::Udp),
        tunnels: tunnels.tunnels.iter().map(tunnel).collect(),
        tcp_endpoints: endpoints(Protocol::Tcp),
        udp_endpoints: endpoints(Protocol::Udp),
    }
}

fn states(state: &State) -> BTreeMap<u32, TunnelState> {
    let of = |known: &files::Known| {
        let Peer { at, ids, since_ms } = known.peer;
        TunnelState { peer: TunnelPeer { at, ids, since_ms }, heard: known.heard }
    };
    state.iter().map(|(id, known)| (*id, of(known))).collect()
}
