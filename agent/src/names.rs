//! Host names of endpoints, resolved by the agent for all its proxies. Entry point: [`run`].
//!
//! Names that are given come first, then the hosts file, then the servers of `resolv.conf`; both files are read again
//! when they change. A name that does not exist empties its endpoints; a server that fails or is silent leaves the last
//! addresses in force, for each address family by itself. Answers are asked for again when their time to live is over.
//! The search list is ours: it belongs to the resource, not to the agent's pod.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::local::Local;
use crate::world::Host;

mod files;
mod hosts_file;
mod questions;
mod resolv_conf;
mod servers;

use files::{QUIET, Watched};
use hosts_file::Table;
use questions::{Answer, Part, expiry, forms, in_table, merged};
use resolv_conf::ResolvConf;
use servers::{PATIENCE, Servers};

/// Bounds of the time between two look-ups of a name.
const EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How soon a look-up that failed is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// How often the files are looked at while names are wanted.
const LOOK: Duration = Duration::from_secs(1);

/// The cluster's DNS domain when nothing else is said.
pub const DEFAULT_DOMAIN: &str = "cluster.local";

/// Whom to ask, and for what.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's DNS domain.
    pub domain: String,
    /// The only server to ask; none: those of /etc/resolv.conf.
    pub server: Option<SocketAddr>,
    /// Names that are given instead of asked for.
    pub given: Given,
}

/// Names that are given: complete, without a trailing dot, in lower case. They come before any server's word, and a
/// change is seen within a second.
pub type Given = Arc<Mutex<Table>>;

/// The machine's configuration, as it was last read.
struct Sources {
    resolv_conf: Watched,
    hosts_file: Watched,
    /// The only server to ask.
    only: Option<SocketAddr>,
    conf: ResolvConf,
    known: Known,
}

/// What look-ups need of the configuration.
#[derive(Clone)]
struct Known {
    hosts: Arc<Table>,
    servers: Arc<Servers>,
}

/// Keeps all wanted names resolved, for ever. Nothing is read before a name is wanted.
///
/// # Errors
/// None: what can't be read or asked is told when a name needs it.
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
            // Answers by the earlier configuration are of no use any more.
            running = JoinSet::new();
            due.clear();
        }
        let next_look = if wanted.is_empty() { EVERY.1 } else { sources.pause() };
        for host in wanted {
            let next = due.entry(host.clone()).or_insert(now);
            if *next <= now {
                // Not again before this one has answered.
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

/// A name, and what was said of it.
async fn resolved(known: Known, settings: Settings, host: Host) -> (Host, Answer) {
    let forms = forms(&host, &settings.domain);
    let given = in_table(&settings.given.lock().unwrap_or_else(PoisonError::into_inner), &forms);
    let answer = match given.or_else(|| in_table(&known.hosts, &forms)) {
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
    // The first time nothing is known: better without this endpoint than without the whole cluster.
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

    /// Looks at the files and returns whether names are asked for otherwise now.
    fn look(&mut self, now: Instant) -> bool {
        let mut changed = false;
        if self.only.is_none() && self.resolv_conf.look(now) {
            let conf = ResolvConf::parse(self.resolv_conf.content());
            if conf != self.conf {
                tracing::info!(path = %self.resolv_conf.path().display(), servers = ?conf.servers, "the DNS servers are read");
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

    /// When to look again.
    fn pause(&self) -> Duration {
        if self.resolv_conf.is_changing() || self.hosts_file.is_changing() { QUIET } else { LOOK }
    }
}
