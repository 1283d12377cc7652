//! Runs a driver for each l7mp proxy of this node: [`run`]. A driver is to its proxy what the xDS server is to an Envoy:
//! it is given the proxy's view, and its answers are those of a stream.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use portreeve_agent_core::translate::l7mp::L7mp;
use portreeve_agent_core::world::World;
use portreeve_api::refs::ProxyId;
use portreeve_l7mp::{Desired, Target, Timing};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::local::Local;

mod answers;
mod wanted;

use answers::Answers;

/// The driver of one proxy, which ends when this is dropped.
struct Driver {
    address: SocketAddr,
    /// The view's revision that `desired` was made from, and whether the view was complete.
    made_of: Option<(u64, bool)>,
    desired: watch::Sender<Arc<Desired>>,
    _task: JoinSet<()>,
}

/// Keeps one driver per l7mp proxy, and gives each what its proxy is to have. Never returns.
///
/// # Errors
/// Returns none; the signature is that of the agent's other tasks.
pub async fn run(local: Arc<Local>) -> anyhow::Result<()> {
    let (mut changes, streams) = (local.changes(), Arc::new(AtomicU64::new(0)));
    let mut drivers: BTreeMap<ProxyId, Driver> = BTreeMap::new();
    loop {
        // Nothing is served before the hub, or the last known good state, has told everything.
        if let Some(wanted) = local.read(|world| world.complete().then(|| world.l7mp_proxies())) {
            follow(&local, &mut drivers, wanted, &streams);
        }
        // The sender lives as long as the agent.
        if changes.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// Starts and ends drivers, and gives each the news of its proxy's view. `streams` is the last number of a stream.
fn follow(
    local: &Arc<Local>,
    drivers: &mut BTreeMap<ProxyId, Driver>,
    wanted: BTreeMap<ProxyId, SocketAddr>,
    streams: &Arc<AtomicU64>,
) {
    drivers.retain(|id, driver| wanted.get(id) == Some(&driver.address));
    for (id, address) in wanted {
        let start = || Driver::start(address, Answers::new(local.clone(), id.clone(), streams.clone()));
        let driver = drivers.entry(id.clone()).or_insert_with(start);
        if let Some(desired) = local.read(|world| driver.news(world, &id)) {
            driver.desired.send_replace(Arc::new(desired));
        }
    }
}

// === impl Driver ===

impl Driver {
    fn start(address: SocketAddr, answers: Answers) -> Self {
        let (desired, wanted) = watch::channel(Arc::new(Desired { keep_all: true, ..Desired::default() }));
        let target = Target { address, timing: Timing::default() };
        let mut task = JoinSet::new();
        task.spawn(portreeve_l7mp::run(target, wanted, move |answer| answers.take(answer)));
        Self { address, made_of: None, desired, _task: task }
    }

    /// Returns what the proxy is to have now, if that has changed.
    fn news(&mut self, world: &World, id: &ProxyId) -> Option<Desired> {
        let proxy = world.fleet::<L7mp>()?.proxies().get(id)?;
        let now = Some((proxy.view.revision(), proxy.sure));
        if std::mem::replace(&mut self.made_of, now) == now {
            return None;
        }
        let before = self.desired.borrow().clone();
        Some(proxy.view.snapshot(|snapshot| wanted::of(snapshot, &before, proxy.sure)))
    }
}
