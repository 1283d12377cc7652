//! Finds processes that share ports with this node's proxies, and reports them to the world. Entry point: [`Watch`].
//!
//! It inspects the agent's own network namespace, which is the host's, for the ports that NodeProxies' listeners want
//! or may want next. A proxy is a process that a keeper of this agent runs, or one in a pod that has a proxy.
//!
//! Reading which sockets a process holds requires the same user or CAP_SYS_PTRACE. If gateways run in pods, the agent
//! has neither, and asks their keepers about the sockets of their users. A socket that no keeper claims belongs to a
//! stranger if every gateway pod has a keeper, all keepers answered, and no other proxy on the host's network has that
//! user. Otherwise the agent reports nothing and asks again at the next check. It also reports nothing if Envoy itself
//! will report that the port is in use.
//! port is in use.

mod beside;
mod holder;
mod sockets;
mod unread;
mod whose;

pub(crate) use holder::title;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use portreeve_agent_core::claims::Transport;
use portreeve_agent_core::claims::strangers::{Stranger, Strangers};
use portreeve_agent_core::translate::Families;
use portreeve_agent_core::translate::bind::Bind;
use portreeve_agent_core::world::{ProxyId, World};
use portreeve_xds::Name;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::identity::Identity;
use crate::identity::cgroup::{Membership, membership};
use crate::local::Local;
use crate::supervisor::Supervisor;
use sockets::Bound;
use unread::{Round, Suspects};
use whose::Whose;

/// How often the sockets are checked.
const PERIOD: Duration = Duration::from_secs(1);
/// How soon they are checked again for a listener that is held back on a guess.
const SOON: Duration = Duration::from_millis(50);

/// What is known about the sockets of this network namespace.
pub struct Watch {
    local: Arc<Local>,
    supervisor: Supervisor,
    families: Families,
    /// Known owners, by inode.
    known: HashMap<u32, Whose>,
    /// Users of sockets whose holders can't be read, by inode.
    unread: HashMap<u32, u32>,
    /// Sockets to ask the keepers about, with their users.
    open: Vec<(u32, u32)>,
    /// The keepers' answers since the last check.
    round: Round,
    /// Whether the first check was made.
    begun: bool,
    failing: bool,
}

// === impl Watch ===

impl Watch {
    /// Creates the watch and makes the first check.
    pub fn begin(local: Arc<Local>, supervisor: Supervisor, families: Families) -> Self {
        let (known, unread, open, round) = Default::default();
        let mut watch =
            Self { local, supervisor, families, known, unread, open, round, begun: false, failing: false };
        watch.look();
        watch
    }

    /// Checks repeatedly.
    ///
    /// # Errors
    /// Returns an error if a check panicked.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let mut changes = self.local.changes();
        loop {
            let local = self.local.clone();
            // The period has ended, or a listener waits.
            let _ = timeout(PERIOD, guesses(&local, &mut changes)).await;
            self = spawn_blocking(move || {
                self.look();
                self
            })
            .await?;
            let gateways = self.local.read(World::gateways_on_host);
            self.round = Round::ask(&self.supervisor, &gateways, &self.open).await;
        }
    }

    /// Makes one check. The first check identifies the owners of all sockets: proxies of an earlier agent may have
    /// ports of listeners that this agent doesn't know yet, and must not lose them until a later check.
    fn look(&mut self) {
        if !self.can_tell() {
            return;
        }
        match sockets::bound() {
            Ok(bound) => {
                self.failing = false;
                // Read after the sockets: a proxy's socket exists only for a listener that was wanted before.
                let wanted = self.local.read(World::wanted_ports);
                let first = !self.begun;
                let strangers = self.strangers(&bound, |port| first || wanted.contains(port));
                self.begun = true;
                self.local.set_strangers(strangers);
            }
            Err(error) => self.complain(&error),
        }
    }

    /// Returns whether proxies in pods can be distinguished from other processes.
    fn can_tell(&self) -> bool {
        let claimed = self.local.door().identity() == Identity::Claimed;
        !claimed || !self.local.read(World::has_pods_on_host)
    }

    fn complain(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(%error, "can't see who else has ports of this host (sock_diag); trying again");
        }
    }

    /// Returns the ports with a socket that doesn't belong to a proxy.
    fn strangers(&mut self, bound: &[Bound], concerns: impl Fn(&(Transport, u32)) -> bool) -> Strangers {
        let any = Bind::wildcard(self.families);
        let mut ports: BTreeMap<_, Vec<&Bound>> = BTreeMap::new();
        for one in bound.iter().filter(|one| one.bind().overlaps(&any)) {
            ports.entry((one.transport, u32::from(one.port))).or_default().push(one);
        }
        let concerning = ports.iter().filter(|(port, _)| concerns(port)).flat_map(|(_, all)| all);
        self.resolve(bound, concerning.map(|one| one.inode));
        ports.into_iter().filter_map(|(port, all)| Some((port, self.stranger(&all)?))).collect()
    }

    /// Determines the owners of these sockets, and forgets closed ones.
    fn resolve(&mut self, bound: &[Bound], inodes: impl Iterator<Item = u32>) {
        let sockets: HashMap<u32, &Bound> = bound.iter().map(|one| (one.inode, one)).collect();
        self.known.retain(|inode, _| sockets.contains_key(inode));
        self.unread.retain(|inode, _| sockets.contains_key(inode));
        let wanted: HashSet<u32> = inodes.filter(|inode| !self.is_settled(*inode)).collect();
        let (unread, new): (HashSet<u32>, HashSet<u32>) =
            wanted.iter().copied().partition(|inode| self.unread.contains_key(inode));
        self.hear(&unread);
        self.read(new, &sockets);
        let open = wanted.iter().filter(|inode| !self.is_settled(**inode));
        self.open = open.filter_map(|inode| Some((*inode, *self.unread.get(inode)?))).collect();
    }

    fn is_settled(&self, inode: u32) -> bool {
        self.known.get(&inode).is_some_and(Whose::is_settled)
    }

    /// Determines the owners of sockets from the processes' files.
    fn read(&mut self, asked: HashSet<u32>, sockets: &HashMap<u32, &Bound>) {
        if asked.is_empty() {
            return;
        }
        let found = holder::holders(asked.clone(), &self.supervisor.envoys());
        let users = self.supervisor.users_in_pods();
        for (inode, one) in asked.iter().filter_map(|inode| sockets.get_key_value(inode)) {
            let again = matches!(self.known.get(inode), Some(Whose::Stranger { .. }));
            let whose = match found.get(inode) {
                None if self.supervisor.are_in_pods() => {
                    self.unread.insert(*inode, one.user);
                    Whose::Unread { guess: self.begun }
                }
                None => Whose::Unknown,
                Some(pid) if self.is_ours(*pid) => Whose::Ours,
                Some(_) if !users.contains(&one.user) && !beside::is_possible(one) => Whose::Unknown,
                Some(pid) => Whose::Stranger { who: holder::title(*pid), certain: again },
            };
            self.known.insert(*inode, whose);
        }
    }

    /// Applies the keepers' answers about sockets whose holders can't be read.
    fn hear(&mut self, unread: &HashSet<u32>) {
        let mut suspects: HashMap<u32, Suspects> = HashMap::new();
        for inode in unread.iter().filter(|inode| self.round.is_about(**inode)) {
            let Some(user) = self.unread.get(inode) else { continue };
            let again = matches!(self.known.get(inode), Some(Whose::Stranger { .. }));
            let of_user = || suspects.entry(*user).or_insert_with(|| self.suspects(*user)).clone();
            let whose = unread::judge(self.round.held(*inode), *user, of_user, again);
            self.known.insert(*inode, whose);
        }
    }

    fn suspects(&self, user: u32) -> Suspects {
        unread::suspects(user, |uid| self.local.read(|world| world.tenant(uid)))
    }

    fn is_ours(&self, pid: u32) -> bool {
        if self.supervisor.proxy_of(pid).is_some() {
            return true;
        }
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let Membership::Pod(uid) = membership(&text) else { return false };
        self.local.read(|world| {
            let uid = world.mirror_of(&uid).unwrap_or_else(|| Name::from(uid.as_str()));
            world.embodied_by(&uid).is_some()
                || world.fleets().all().any(|fleet| fleet.facts(&ProxyId::Pod(uid.clone())).is_some())
        })
    }

    /// Returns what to report for a port with these sockets.
    fn stranger(&self, sockets: &[&Bound]) -> Option<Stranger> {
        let known = || sockets.iter().map(|one| self.known.get(&one.inode));
        let may_be = |whose: Option<&Whose>| {
            matches!(whose, None | Some(Whose::Stranger { .. } | Whose::Unread { guess: true }))
        };
        let beside = known().any(|whose| whose == Some(&Whose::Ours));
        let told = known().find_map(|whose| match whose {
            Some(Whose::Stranger { who, certain }) => Some((who.clone(), !certain)),
            _ => None,
        });
        let (who, unsure) = match told {
            Some(told) => told,
            // Determined when a listener wants the port.
            None if known().any(may_be) => ("another process".into(), true),
            None => return None,
        };
        let theirs = sockets.iter().filter(|one| may_be(self.known.get(&one.inode)));
        let mut at: Vec<Bind> = theirs.map(|one| one.bind()).collect();
        at.sort();
        at.dedup();
        Some(Stranger { who, at, beside, unsure })
    }
}

/// Waits until a listener is held back on a guess.
async fn guesses(local: &Local, changes: &mut watch::Receiver<u64>) {
    while !local.read(World::guesses_strangers) {
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
    sleep(SOON).await;
}
