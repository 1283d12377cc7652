//! The feed from one replica at a time, and when it leaves that ([`run`]).

use std::time::{Duration, Instant};

use portreeve_api::PlanType;
use portreeve_runtime::Shutdown;
use portreeve_xds::{Delta, Name, Node, Sink, Version};

use super::Replicas;
use super::choice::STABLE;

/// How often it is asked whether the feed should go elsewhere.
const ASK: Duration = Duration::from_millis(500);

/// A sink that tells the replicas how the feed is.
struct Attended<K: Sink<PlanType>> {
    sink: K,
    replicas: Replicas,
    connected: bool,
}

/// Keeps sinks supplied until the shutdown: a new one for each time that the feed goes elsewhere by itself.
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

/// Ends when a better replica has been there for long enough, or when the present one has stopped answering: reports
/// show that sooner than the feed's own keepalive does.
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
    /// A feed that goes elsewhere has ended like any other.
    fn drop(&mut self) {
        if self.connected {
            self.connected(false);
        }
    }
}
