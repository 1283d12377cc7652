//! A driver's answers on their way to the agent's state: [`Answers`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portreeve_agent_core::fleet::Announced;
use portreeve_agent_core::translate::l7mp::L7mp;
use portreeve_api::refs::ProxyId;
use portreeve_l7mp::{Answer, Kind};
use portreeve_xds::{Event, Name, Version};

use crate::local::Local;

/// The answers of one proxy's driver.
pub struct Answers {
    local: Arc<Local>,
    id: ProxyId,
    /// The number of the present stream; 0 before the first one.
    stream: AtomicU64,
    /// The last number of a stream of any l7mp proxy.
    last: Arc<AtomicU64>,
}

// === impl Answers ===

impl Answers {
    /// Creates the answers of a proxy. `last` is shared by all proxies.
    pub fn new(local: Arc<Local>, id: ProxyId, last: Arc<AtomicU64>) -> Self {
        Self { local, id, stream: AtomicU64::new(0), last }
    }

    /// Records an answer.
    pub fn take(&self, answer: Answer) {
        match answer {
            Answer::Connected => {
                let stream = self.last.fetch_add(1, Ordering::Relaxed) + 1;
                self.stream.store(stream, Ordering::Relaxed);
                self.local.begin::<L7mp>(stream, &self.id, Announced::default(), false);
                tracing::info!(proxy = %self.id, "proxy connected");
            }
            Answer::Disconnected { .. } => self.local.end::<L7mp>(self.stream.load(Ordering::Relaxed)),
            Answer::Acked { ty, name, version } => self.acked(ty, vec![(name, version)], Vec::new()),
            Answer::Removed { ty, name } => self.acked(ty, Vec::new(), vec![name]),
            Answer::Nacked { ty, name, version, text } => self.nacked((ty, name, version), text, false),
            Answer::Pending { ty, name, version, cluster } => {
                let text = format!("waits for {cluster}, which this proxy does not have");
                self.nacked((ty, name, version), text, true);
            }
        }
    }

    fn acked(&self, kind: Kind, resources: Vec<(Name, Version)>, removed: Vec<Name>) {
        self.note(Event::Acked { ty: of(kind), resources: resources.into(), removed, claimed: false });
    }

    fn nacked(&self, (kind, name, version): (Kind, Name, Version), detail: String, transient: bool) {
        let (names, versions) = (vec![name], vec![version]);
        self.note(Event::Nacked { ty: of(kind), names, versions, detail, transient });
    }

    fn note(&self, event: Event<L7mp>) {
        self.local.note(self.stream.load(Ordering::Relaxed), &event);
    }
}

fn of(kind: Kind) -> L7mp {
    match kind {
        Kind::Cluster => L7mp::Cluster,
        Kind::Endpoints => L7mp::Endpoints,
        Kind::Rule => L7mp::Rule,
        Kind::Listener => L7mp::Listener,
    }
}
