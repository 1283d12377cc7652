//! Requests to a hub's admin port in the background ([`Probes`]).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::site::get;

/// The requested paths.
const PATHS: [&str; 3] = ["/livez", "/readyz", "/metrics"];
/// Time between two requests of the same path.
const PAUSE: Duration = Duration::from_millis(100);

/// Requests of `/livez`, `/readyz` and `/metrics` every 100 ms until the drop.
pub struct Probes {
    worst: Arc<Mutex<[Worst; PATHS.len()]>>,
    _tasks: JoinSet<()>,
}

/// The worst answers of a path.
#[derive(Clone, Copy, Debug, Default)]
struct Worst {
    longest: Duration,
    failures: u32,
}

// === impl Probes ===

impl Probes {
    /// Starts the requests.
    pub fn start(address: SocketAddr) -> Self {
        let worst = Arc::<Mutex<[Worst; PATHS.len()]>>::default();
        let mut tasks = JoinSet::new();
        for (place, path) in PATHS.into_iter().enumerate() {
            let worst = worst.clone();
            tasks.spawn(async move {
                let mut ticks = tokio::time::interval(PAUSE);
                loop {
                    ticks.tick().await;
                    let begun = Instant::now();
                    let is_good = get(address, path).await.is_ok_and(|(status, _)| status == 200);
                    let mut worst = worst.lock().unwrap_or_else(PoisonError::into_inner);
                    worst[place].longest = worst[place].longest.max(begun.elapsed());
                    worst[place].failures += u32::from(!is_good);
                }
            });
        }
        Self { worst, _tasks: tasks }
    }

    /// Describes the longest answers and the number of failures so far.
    pub fn describe(&self) -> String {
        let worst = self.worst.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |(path, worst): (&str, &Worst)| {
            format!("{path} at most {} ms, {} failures", worst.longest.as_millis(), worst.failures)
        };
        PATHS.into_iter().zip(worst.iter()).map(of).collect::<Vec<_>>().join(", ")
    }
}
