//! The access control of the agent's socket: who may connect, who may open a stream, and which proxy it is. [`Door`].

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use portreeve_agent_core::world::ProxyId;
use portreeve_xds::{Budget, Load, Name, Pass, Peer, StreamGuard};
use tonic::Status;

use super::Identity;
use super::cgroup::{self, Membership};
use super::refusals::{Refusals, Refused};
use super::seats::{Seat, Seats};
use crate::supervisor::Supervisor;
use crate::witness::{Unseen, witnessed};

/// Maximum number of connections of one pod, one NodeProxy or one keeper. An Envoy has one, or two during a hot
/// restart.
const CONNECTIONS: usize = 16;

/// Maximum number of connections of all strangers together: enough to send them the reason, too few to use up file
/// descriptors.
const STRANGERS: usize = 32;

/// Maximum number of streams of one proxy. An Envoy without aggregated discovery has one for each cluster and secret.
const STREAMS: usize = 256;

/// Maximum of names that all streams of one proxy may subscribe to: enough for two Envoys, as in a hot restart, each at
/// its own limit.
const NAMES: Load = Load { names: 200_000, bytes: 16 << 20 };

/// Maximum length of a cgroup's path in messages, in characters.
const TOLD: usize = 160;

/// The identity of a peer, according to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A process of this pod.
    Pod(Name),
    /// The Envoy of this NodeProxy, under its keeper.
    Proxy(Name),
    /// The keeper of this NodeProxy.
    Keeper(Name),
    /// A process that isn't served, with its description.
    Stranger(String),
}

/// Peers that share a limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Guest {
    Pod(Name),
    Proxy(Name),
    Keeper(Name),
    Stranger,
}

/// The peer of an open connection.
struct Caller {
    who: Who,
    _seat: Option<Seat<Guest>>,
}

/// The access control of the socket.
pub struct Door {
    identity: Identity,
    node: String,
    supervisor: Supervisor,
    /// The agent's own pod. A process in it is not the pod's Envoy: only a keeper's child is a proxy.
    own: Option<String>,
    connections: Seats<Guest>,
    streams: Seats<Guest>,
    /// Budgets of peers with a stream. Others' budgets are removed when the next peer opens a stream.
    budgets: Mutex<HashMap<Guest, Weak<Budget>>>,
    refusals: Mutex<Refusals>,
}

// === impl Door ===

impl Door {
    /// Creates the access control for the agent of `node`, whose NodeProxies run under `supervisor`.
    pub fn new(identity: Identity, node: &str, supervisor: Supervisor) -> Self {
        if identity == Identity::Claimed {
            tracing::warn!(
                "--identity=claimed: every process that reaches the socket may pose as any proxy of this node"
            );
        }
        let own = match fs::read_to_string("/proc/self/cgroup").map(|text| cgroup::membership(&text)) {
            Ok(Membership::Pod(uid)) => Some(uid),
            _ => None,
        };
        let refusals = Mutex::default();
        let (connections, streams, budgets) = (Seats::default(), Seats::default(), Mutex::default());
        Self { identity, node: node.to_string(), supervisor, own, connections, streams, budgets, refusals }
    }

    /// Returns how proxies are identified.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Returns the number of refusals.
    pub fn refused(&self) -> Refused {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).counted()
    }

    /// Admits a connection. Returns `None` if its kind of peer has too many connections.
    pub fn connect(&self, peer: &Peer) -> Option<Pass> {
        if self.identity == Identity::Claimed {
            return Some(Arc::new(()));
        }
        let who = self.who(peer);
        let guest = who.guest();
        let limit = if guest == Guest::Stranger { STRANGERS } else { CONNECTIONS };
        let Some(seat) = self.connections.take(&guest, limit) else {
            let text = format!("{}: more than {limit} connections", who.title());
            self.tell(|refused| refused.unanswered += 1, &text);
            return None;
        };
        Some(Arc::new(Caller { who, _seat: Some(seat) }))
    }

    /// Admits a stream. Returns the guard that counts it.
    ///
    /// # Errors
    /// Returns PERMISSION_DENIED for strangers, and RESOURCE_EXHAUSTED for a proxy with too many streams.
    pub fn begin(&self, peer: &Peer) -> Result<StreamGuard, Status> {
        if self.identity == Identity::Claimed {
            return Ok(Box::new(()));
        }
        let caller = self.caller(peer);
        if let Err(text) = caller.who.proxy() {
            return Err(self.deny(&text));
        }
        match self.streams.take(&caller.who.guest(), STREAMS) {
            Some(seat) => Ok(Box::new(seat)),
            None => {
                let text = format!("{} has {STREAMS} streams already", caller.who.title());
                self.tell(|refused| refused.crowded += 1, &text);
                Err(Status::resource_exhausted(text))
            }
        }
    }

    /// Returns the shared subscription limit of all streams of a peer's pod or NodeProxy; `None` if the kernel's
    /// identity isn't used.
    pub fn budget(&self, peer: &Peer) -> Option<Arc<Budget>> {
        if self.identity == Identity::Claimed {
            return None;
        }
        let guest = self.caller(peer).who.guest();
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(budget) = budgets.get(&guest).and_then(Weak::upgrade) {
            return Some(budget);
        }
        budgets.retain(|_, budget| budget.strong_count() > 0);
        let budget = Budget::new(NAMES);
        budgets.insert(guest, Arc::downgrade(&budget));
        Some(budget)
    }

    /// Counts and logs a stream that ended because it subscribed to too many names.
    pub fn exhausted(&self, peer: &Peer, text: &str) {
        let text = format!("{}: {text}", self.caller(peer).who.title());
        self.tell(|refused| refused.exhausted += 1, &text);
    }

    /// Returns the proxy at the other end of a stream. `claimed` is the proxy's own `node.id`, which is used only with
    /// [`Identity::Claimed`].
    ///
    /// # Errors
    /// Returns PERMISSION_DENIED for strangers.
    pub fn proxy(&self, peer: &Peer, claimed: &str) -> Result<ProxyId, Status> {
        match self.identity {
            Identity::Kernel => self.caller(peer).who.proxy().map_err(|text| self.deny(&text)),
            Identity::Claimed => Ok(ProxyId::of_node_id(claimed)),
        }
    }

    /// Returns the uid of the pod that a peer's process belongs to, according to the kernel.
    pub fn pod(&self, peer: &Peer) -> Option<Name> {
        match &self.caller(peer).who {
            Who::Pod(uid) => Some(uid.clone()),
            Who::Proxy(_) | Who::Keeper(_) | Who::Stranger(_) => None,
        }
    }

    /// Refuses a peer; `text` describes it.
    pub fn deny(&self, text: &str) -> Status {
        let text = format!(
            "{text}: neither a pod of node {} nor a proxy under a keeper of its agent, so it gets no configuration",
            self.node
        );
        self.tell(|refused| refused.strangers += 1, &text);
        Status::permission_denied(text)
    }

    fn tell(&self, count: impl FnOnce(&mut Refused), text: &str) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let told = refusals.tell(count, Instant::now());
        drop(refusals);
        if let Some(suppressed) = told {
            tracing::warn!(error = text, suppressed, "a peer of the socket is refused");
        }
    }

    fn caller(&self, peer: &Peer) -> Arc<Caller> {
        let known = peer.pass.clone().and_then(|pass| pass.downcast::<Caller>().ok());
        known.unwrap_or_else(|| Arc::new(Caller { who: self.who(peer), _seat: None }))
    }

    fn who(&self, peer: &Peer) -> Who {
        let described = |what: &dyn std::fmt::Display| {
            let user = peer.uid.map(|uid| format!(", user {uid}")).unwrap_or_default();
            Who::Stranger(format!("{what}{user}"))
        };
        match witnessed(peer, |pid| self.look(pid)) {
            Ok(Ok(who)) => who,
            Ok(Err(text)) => described(&text),
            Err(unseen @ (Unseen::Elsewhere | Unseen::Ended)) => described(&unseen),
        }
    }

    /// Identifies a process. Returns its description if it is a stranger.
    fn look(&self, pid: u32) -> Result<Who, String> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))
            .map_err(|error| format!("process {pid}, whose cgroup can't be read ({error})"))?;
        match cgroup::membership(&text) {
            Membership::Pod(uid) if self.own.as_ref() != Some(&uid) => return Ok(Who::Pod(uid.into())),
            Membership::Torn(one, other) => {
                return Err(format!(
                    "process {pid}, which its cgroups place in pod {one} and in pod {other}"
                ));
            }
            Membership::Pod(_) | Membership::Outside => {}
        }
        if let Some(name) = self.supervisor.proxy_of(pid) {
            return Ok(Who::Proxy(name.into()));
        }
        if let Some(name) = self.supervisor.keeper_of(pid) {
            return Ok(Who::Keeper(name.into()));
        }
        // The last line belongs to the unified hierarchy, if there is one.
        let last: String = text.lines().last().unwrap_or_default().escape_debug().take(TOLD).collect();
        Err(format!("process {pid} in cgroup {last}"))
    }
}

// === impl Who ===

impl Who {
    /// Returns the proxy, or a description of the peer if it isn't one.
    fn proxy(&self) -> Result<ProxyId, String> {
        match self {
            Self::Pod(uid) => Ok(ProxyId::Pod(uid.clone())),
            Self::Proxy(name) => Ok(ProxyId::Node(name.clone())),
            Self::Keeper(_) => Err(self.title()),
            Self::Stranger(text) => Err(text.clone()),
        }
    }

    fn guest(&self) -> Guest {
        match self {
            Self::Pod(uid) => Guest::Pod(uid.clone()),
            Self::Proxy(name) => Guest::Proxy(name.clone()),
            Self::Keeper(name) => Guest::Keeper(name.clone()),
            Self::Stranger(_) => Guest::Stranger,
        }
    }

    fn title(&self) -> String {
        match self {
            Self::Pod(uid) => format!("pod {uid}"),
            Self::Proxy(name) => format!("NodeProxy {name}"),
            Self::Keeper(name) => format!("the keeper of NodeProxy {name}"),
            Self::Stranger(text) => text.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portreeve_agent_core::world::ProxyId;
    use portreeve_xds::{Pass, Peer};
    use tonic::Code;

    use super::{CONNECTIONS, Caller, Door, Refused, STRANGERS, STREAMS, Who};
    use crate::identity::Identity;
    use crate::supervisor::Supervisor;

    fn mk_door(dir: &tempfile::TempDir, identity: Identity) -> Door {
        let run_dir = dir.path().to_path_buf();
        let socket = run_dir.join("agent.sock");
        Door::new(identity, "n1", Supervisor::new(run_dir, vec!["false".into()], socket, false).unwrap())
    }

    /// Returns a peer that is already identified.
    fn mk_peer(who: Who) -> Peer {
        Peer { pass: Some(Arc::new(Caller { who, _seat: None })), ..Peer::default() }
    }

    fn own_process() -> Peer {
        Peer { pid: i32::try_from(std::process::id()).ok(), uid: Some(7), ..Peer::default() }
    }

    #[test]
    fn stranger_is_told_who_he_is_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let door = mk_door(&dir, Identity::Kernel);
        let status = door.begin(&own_process()).err().unwrap();
        assert_eq!(status.code(), Code::PermissionDenied);
        let words = format!("process {} in cgroup ", std::process::id());
        assert!(status.message().starts_with(&words), "{status}");
        assert!(status.message().contains("user 7: neither a pod of node n1 nor a proxy under"), "{status}");
        assert!(door.proxy(&own_process(), "nodeproxy/gateway").is_err(), "his own word does not count");
        assert_eq!(door.refused(), Refused { strangers: 2, ..Refused::default() });
    }

    #[test]
    fn a_proxy_is_who_the_kernel_says_whatever_it_claims() {
        let dir = tempfile::tempdir().unwrap();
        let door = mk_door(&dir, Identity::Kernel);
        let claimed = |who, claim| door.proxy(&mk_peer(who), claim).ok();
        assert_eq!(claimed(Who::Pod("a".into()), "b"), Some(ProxyId::Pod("a".into())));
        assert_eq!(claimed(Who::Pod("a".into()), "nodeproxy/x"), Some(ProxyId::Pod("a".into())));
        assert_eq!(claimed(Who::Proxy("x".into()), "b"), Some(ProxyId::Node("x".into())));
        assert_eq!(claimed(Who::Keeper("x".into()), "nodeproxy/x"), None);
    }

    #[test]
    fn claims_are_believed_only_where_that_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let door = mk_door(&dir, Identity::Claimed);
        assert!(door.begin(&own_process()).is_ok() && door.connect(&own_process()).is_some());
        let claimed = |claim| door.proxy(&own_process(), claim).ok();
        assert_eq!(claimed("nodeproxy/x"), Some(ProxyId::Node("x".into())));
        assert_eq!(claimed("b"), Some(ProxyId::Pod("b".into())));
        assert_eq!(door.identity(), Identity::Claimed);
    }

    #[test]
    fn a_pod_with_all_its_streams_gets_no_other_until_one_ends() {
        let dir = tempfile::tempdir().unwrap();
        let door = mk_door(&dir, Identity::Kernel);
        let pod = mk_peer(Who::Pod("a".into()));
        let mut held: Vec<_> = (0..STREAMS).map(|_| door.begin(&pod).unwrap()).collect();
        let status = door.begin(&pod).err().unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), format!("pod a has {STREAMS} streams already"));
        assert!(door.begin(&mk_peer(Who::Pod("b".into()))).is_ok());
        held.pop();
        assert!(door.begin(&pod).is_ok());
        assert_eq!(door.refused(), Refused { crowded: 1, ..Refused::default() });
    }

    #[test]
    fn streams_of_one_pod_share_a_budget_that_goes_with_the_last_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let door = mk_door(&dir, Identity::Kernel);
        let of = |uid: &str| door.budget(&mk_peer(Who::Pod(uid.into()))).unwrap();
        let (first, second, other) = (of("a"), of("a"), of("b"));
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &other));
        drop((first, second, other));
        let _third = of("c");
        assert_eq!(door.budgets.lock().unwrap().len(), 1);
        door.exhausted(&mk_peer(Who::Pod("a".into())), "too many names");
        assert_eq!(door.refused(), Refused { exhausted: 1, ..Refused::default() });
    }

    #[test]
    fn strangers_share_their_connections_and_take_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let door = mk_door(&dir, Identity::Kernel);
        let held: Vec<Pass> = (0..STRANGERS).map(|_| door.connect(&own_process()).unwrap()).collect();
        for _ in 0..1000 {
            assert!(door.connect(&own_process()).is_none());
        }
        assert_eq!(door.refused(), Refused { unanswered: 1000, ..Refused::default() });
        let pod = Who::Pod("a".into()).guest();
        assert!(door.connections.take(&pod, CONNECTIONS).is_some());
        drop(held);
        assert!(door.connect(&own_process()).is_some());
    }
}
