//! Runs a driver for each l7mp proxy of this node: [`run`]. A driver is to its proxy what the xDS server is to an Envoy:
//! it is given the proxy's view, and its answers are those of a stream. The programs of NodeProxies are found by [`locate`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use portreeve_agent_core::translate::l7mp::L7mp;
use portreeve_agent_core::world::World;
use portreeve_api::refs::ProxyId;
use portreeve_l7mp::{Changes, Sender, Target, Timing, channel};
use portreeve_xds::Follower;
use tokio::task::JoinSet;

use crate::local::Local;
use crate::supervisor::{Status, Supervisor};

mod answers;
pub mod locate;
mod wanted;

use answers::Answers;

/// The driver of one proxy, which ends when this is dropped.
struct Driver {
    address: SocketAddr,
    /// The view that `desired` was told of, and whether it was complete.
    followed: Option<(Follower<L7mp>, bool)>,
    desired: Sender,
    _task: JoinSet<()>,
}

/// Keeps one driver per l7mp proxy, and gives each what its proxy is to have. Never returns. A NodeProxy has a driver
/// while its keeper reports that the proxy answers, because something else may have its port before that.
///
/// # Errors
/// Returns none; the signature is that of the agent's other tasks.
pub async fn run(local: Arc<Local>, supervisor: Supervisor) -> anyhow::Result<()> {
    let (mut changes, mut kept) = (local.changes(), supervisor.watch());
    let streams = Arc::new(AtomicU64::new(0));
    let mut drivers: BTreeMap<ProxyId, Driver> = BTreeMap::new();
    loop {
        // Nothing is served before the hub, or the last known good state, has told everything. l7mp's API doesn't tell whether what
        // the proxy runs is newer.
        let statuses = kept.borrow_and_update().clone();
        if let Some(mut wanted) = local.read_newest(World::l7mp_proxies) {
            wanted.retain(|id, _| answers(id, &statuses));
            follow(&local, &mut drivers, wanted, &streams);
        }
        // The senders live as long as the agent.
        let changed = tokio::select! {
            changed = changes.changed() => changed,
            changed = kept.changed() => changed,
        };
        if changed.is_err() {
            return Ok(());
        }
    }
}

/// Returns whether a proxy answers, as far as its keeper tells. Proxies of pods have no keeper.
fn answers(id: &ProxyId, statuses: &BTreeMap<String, Status>) -> bool {
    match id {
        ProxyId::Pod(_) => true,
        ProxyId::Node(name) => {
            let state = statuses.get(&**name).filter(|status| status.current);
            state.and_then(|status| status.state.as_ref()).is_some_and(|state| state.serves)
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
        local.read(|world| driver.follow(world, &id));
    }
}

// === impl Driver ===

impl Driver {
    fn start(address: SocketAddr, answers: Answers) -> Self {
        let (desired, wanted) = channel();
        let target = Target { address, timing: Timing::default() };
        let mut task = JoinSet::new();
        task.spawn(portreeve_l7mp::run(target, wanted, move |answer| answers.take(answer)));
        Self { address, followed: None, desired, _task: task }
    }

    /// Passes on what has changed in what the proxy is to have.
    fn follow(&mut self, world: &World, id: &ProxyId) {
        let Some(proxy) = world.fleet::<L7mp>().and_then(|fleet| fleet.proxies().get(id)) else { return };
        match &mut self.followed {
            Some((follower, sure)) if Arc::ptr_eq(follower.view(), &proxy.view) => {
                let changed = follower.take();
                let keep_all = (*sure != proxy.sure).then_some(!proxy.sure);
                *sure = proxy.sure;
                let changes = proxy.view.snapshot(|snapshot| wanted::changes(snapshot, changed));
                self.desired.change(Changes { keep_all, ..changes });
            }
            _ => {
                self.followed = Some((Follower::new(proxy.view.clone()), proxy.sure));
                let whole = proxy.view.snapshot(|snapshot| wanted::whole(snapshot, proxy.sure));
                self.desired.replace(whole);
            }
        }
    }
}
