//! Resolves the host names of endpoints for all proxies of the node. Entry point: [`run`].
//!
//! Given names come first, then the hosts file, then the servers of `resolv.conf`. Both files are read again when they
//! change. A name that doesn't exist leaves its endpoints empty. If a server fails or doesn't answer, the last
//! addresses stay in use, for each address family separately. A name is resolved again when the time to live of its
//! answer ends. The search list is that of the resource, not that of the agent's pod.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portreeve_agent_core::world::Host;
use tokio::task::JoinSet;

use crate::local::Local;

mod files;
mod servers;

use files::{QUIET, Watched};
use portreeve_agent_core::names::hosts_file::{self, Table};
use portreeve_agent_core::names::questions::{Answer, Part, expiry, forms, in_table, merged};
use portreeve_agent_core::names::resolv_conf::ResolvConf;
use servers::{PATIENCE, Servers};

/// Minimum and maximum time between two look-ups of a name.
const EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Delay after a failed look-up.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// How often the files are checked while names are wanted.
const LOOK: Duration = Duration::from_secs(1);

/// The default DNS domain of a cluster.
pub const DEFAULT_DOMAIN: &str = "cluster.local";

/// The settings of the resolver.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's DNS domain.
    pub domain: String,
    /// The only server to query. `None`: those of /etc/resolv.conf.
    pub server: Option<SocketAddr>,
    /// Names that are given instead of looked up.
    pub given: Given,
}

/// Given names: fully qualified, without the final dot, in lower case. They have priority over servers. A change is
/// noticed within a second.
pub type Given = Arc<Mutex<Table>>;

/// The machine's configuration, as last read.
struct Sources {
    resolv_conf: Watched,
    hosts_file: Watched,
    /// The only server to query.
    only: Option<SocketAddr>,
    conf: ResolvConf,
    known: Known,
}

/// The part of the configuration that a look-up needs.
#[derive(Clone)]
struct Known {
    hosts: Arc<Table>,
    servers: Arc<Servers>,
}

/// Keeps all wanted names resolved and never returns. No file is read before a name is wanted.
///
/// # Errors
/// Never returns an error: problems are logged when a name needs the file or server.
pub async fn run(local: Arc<Local>, settings: Settings) -> anyhow::Result<()> {
    let mut sources = Sources::new("/etc/resolv.conf".into(), "/etc/hosts".into(), settings.server);
    let mut changes = local.host_changes();
    let mut due: BTreeMap<Host, Instant> = BTreeMap::new();
    let mut running: JoinSet<(Host, Answer)> = JoinSet::new();
    loop {
        let wanted = local.read(|w| w.wanted_hosts());
        due.retain(|host, _| wanted.contains(host));
        let now = Instant::now();
        if !wanted.is_empty() && sources.look(now) {
            // Answers with the previous configuration are no longer useful.
            running = JoinSet::new();
            due.clear();
        }
        let next_look = if wanted.is_empty() { EVERY.1 } else { sources.pause() };
        for host in wanted {
            let next = due.entry(host.clone()).or_insert(now);
            if *next <= now {
                // Not again before this look-up has ended.
                *next = now + PATIENCE + EVERY.1;
                running.spawn(resolved(sources.known.clone(), settings.clone(), host));
            }
        }
        let soonest = due.values().min().copied().unwrap_or(now + EVERY.1).min(now + next_look);
        tokio::select! {
            Ok(()) = changes.changed() => {}
            Some(Ok((host, answer))) = running.join_next() => settle(&local, &mut due, host, answer),
            () = tokio::time::sleep_until(soonest.into()) => {}
        }
    }
}

/// Resolves a name, and returns it with the answer.
async fn resolved(known: Known, settings: Settings, host: Host) -> (Host, Answer) {
    let forms = forms(&host, &settings.domain);
    let now = Instant::now();
    let given = in_table(&settings.given.lock().unwrap_or_else(PoisonError::into_inner), &forms, now);
    let answer = match given.or_else(|| in_table(&known.hosts, &forms, now)) {
        Some(answer) => answer,
        None => known.servers.look_up(&forms).await,
    };
    (host, answer)
}

fn settle(local: &Local, due: &mut BTreeMap<Host, Instant>, host: Host, answer: Answer) {
    let now = Instant::now();
    let last = local.read(|w| w.addresses_of(&host)).unwrap_or_default();
    let next = expiry(&answer).map_or(now + AFTER_FAILURE, |until| until.clamp(now + EVERY.0, now + EVERY.1));
    let errors: Vec<&str> = answer.iter().filter_map(Part::error).collect();
    if !errors.is_empty() {
        let error = errors.join("; ");
        tracing::warn!(namespace = host.0, host = host.1, error, "can't resolve, the last addresses stay");
    } else if expiry(&answer).is_none() {
        tracing::warn!(namespace = host.0, host = host.1, "no such host name: its endpoints are empty");
    }
    // Nothing is known at the first time: it is better to omit this endpoint than the whole cluster.
    local.set_host(&host, merged(&answer, &last));
    if let Some(at) = due.get_mut(&host) {
        *at = next;
    }
}

// === impl Sources ===

impl Sources {
    fn new(resolv_conf: PathBuf, hosts_file: PathBuf, only: Option<SocketAddr>) -> Self {
        let conf = ResolvConf::default();
        let known = Known { hosts: Arc::default(), servers: Servers::new(&conf, only).into() };
        let (resolv_conf, hosts_file) = (Watched::new(resolv_conf), Watched::new(hosts_file));
        Self { resolv_conf, hosts_file, only, conf, known }
    }

    /// Checks the files. Returns whether names must be looked up again.
    fn look(&mut self, now: Instant) -> bool {
        let mut changed = false;
        if self.only.is_none() && self.resolv_conf.look(now) {
            let conf = ResolvConf::parse(self.resolv_conf.content());
            if conf != self.conf {
                tracing::info!(path = %self.resolv_conf.path().display(), servers = ?conf.servers, "read the DNS servers");
                self.known.servers = Servers::new(&conf, None).into();
                self.conf = conf;
                changed = true;
            }
        }
        if self.hosts_file.look(now) {
            let hosts = hosts_file::parse(self.hosts_file.content());
            changed |= hosts != *self.known.hosts;
            self.known.hosts = hosts.into();
        }
        changed
    }

    /// Returns when to check again.
    fn pause(&self) -> Duration {
        if self.resolv_conf.is_changing() || self.hosts_file.is_changing() { QUIET } else { LOOK }
    }
}
