//! Runs the feed from one replica at a time, and decides when it leaves that replica ([`run`]).

use std::time::{Duration, Instant};

use portreeve_api::PlanType;
use portreeve_runtime::Shutdown;
use portreeve_xds::{Delta, Name, Node, Sink, Version};

use super::Replicas;
use super::choice::STABLE;

/// How often to check whether the feed should move.
const ASK: Duration = Duration::from_millis(500);

/// A sink that reports the feed's state to the replicas.
struct Attended<K: Sink<PlanType>> {
    sink: K,
    replicas: Replicas,
    connected: bool,
}

/// Keeps the sink fed until the shutdown. Each time that the feed moves by its own decision, it gets a new sink.
pub async fn run<K: Sink<PlanType>>(replicas: Replicas, sink: impl Fn() -> K, shutdown: Shutdown) {
    while !shutdown.begun() {
        let attended = Attended { sink: sink(), replicas: replicas.clone(), connected: false };
        let until = async {
            tokio::select! {
                () = shutdown.wait() => {}
                () = leave(&replicas) => {}
            }
        };
        portreeve_xds::run(replicas.connect(), attended, until).await;
    }
}

/// Returns when a better replica has answered for long enough, or when the current one has stopped answering, which
/// reports show sooner than the feed's own keepalive.
async fn leave(replicas: &Replicas) {
    let (mut feeding, mut fed_since, mut proved) = (replicas.feeding(), None, false);
    loop {
        tokio::time::sleep(ASK).await;
        if feeding.has_changed().is_ok_and(|changed| changed) {
            (fed_since, proved) = (feeding.borrow_and_update().as_ref().map(|_| Instant::now()), false);
        }
        if replicas.way_home() {
            return tracing::info!("going back to this node's own hub");
        }
        let Some(since) = fed_since else { continue };
        if replicas.fell_silent(since) {
            return tracing::info!("leaving a hub that does not answer");
        }
        if !proved && since.elapsed() > STABLE {
            replicas.choice().proved();
            proved = true;
        }
    }
}

// === impl Attended ===

impl<K: Sink<PlanType>> Sink<PlanType> for Attended<K> {
    fn node(&self) -> Node {
        self.sink.node()
    }

    fn known(&self) -> Vec<(PlanType, Name, Version)> {
        self.sink.known()
    }

    fn apply(&mut self, delta: Delta<PlanType>) -> Result<(), String> {
        self.sink.apply(delta)
    }

    fn connected(&mut self, connected: bool) {
        self.connected = connected;
        self.replicas.fed(connected);
        self.sink.connected(connected);
    }

    fn types(&self) -> Vec<PlanType> {
        self.sink.types()
    }

    fn headers(&self) -> http::HeaderMap {
        self.sink.headers()
    }
}

impl<K: Sink<PlanType>> Drop for Attended<K> {
    /// A feed that moves elsewhere has ended like any other.
    fn drop(&mut self) {
        if self.connected {
            self.connected(false);
        }
    }
}
