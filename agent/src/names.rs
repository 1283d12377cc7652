//! Host names of endpoints, resolved by the agent for all its proxies.
//!
//! A name that does not exist empties its endpoints; a server that fails or is silent leaves the last addresses in
//! force, for each address family by itself. Answers are asked for again when their time to live is over. The library
//! (hickory) follows CNAMEs, /etc/hosts and /etc/resolv.conf; the search list is ours: it belongs to the resource, not
//! to the agent's pod.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::task::JoinSet;

use crate::local::Local;
use crate::world::Host;

/// Bounds of the time between two look-ups of a name.
const EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How soon a look-up that failed is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// How long the answer for one form of a name may take.
const PATIENCE: Duration = Duration::from_millis(2500);

/// How long a server is waited for before it is asked again, or the next one is.
const SILENCE: Duration = Duration::from_secs(1);

/// Forms of a name at most; see [`search_list`].
const FORMS: u32 = 4;

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
pub type Given = Arc<Mutex<BTreeMap<String, Vec<IpAddr>>>>;

/// What was said of a name in one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Addresses, good until then.
    Found(Vec<IpAddr>, Instant),
    /// The name exists, without any.
    Empty,
    /// The name does not exist, in whatever family.
    Absent,
    /// Nobody could say.
    Failed(String),
}

/// What was said of a name: of its IPv4 addresses, and of its IPv6 addresses.
type Answer = [Part; 2];

/// A resolver for each address family: a failure in one must not pass for the absence of the name in both.
struct Resolvers([TokioResolver; 2]);

/// Keeps all wanted names resolved, for ever.
///
/// # Errors
/// The system's resolver configuration can't be read.
pub async fn run(local: Arc<Local>, settings: Settings) -> anyhow::Result<()> {
    let resolvers = Arc::new(Resolvers::new(settings.server)?);
    let mut changes = local.host_changes();
    let mut due: BTreeMap<Host, Instant> = BTreeMap::new();
    let mut running: JoinSet<(Host, Answer)> = JoinSet::new();
    loop {
        let wanted = local.read(|w| w.wanted_hosts());
        due.retain(|host, _| wanted.contains(host));
        let now = Instant::now();
        for host in wanted {
            let next = due.entry(host.clone()).or_insert(now);
            if *next <= now {
                // Not again before this one has answered.
                *next = now + PATIENCE * FORMS + EVERY.1;
                running.spawn(resolved(resolvers.clone(), settings.clone(), host));
            }
        }
        let soonest = due.values().min().copied().unwrap_or(now + EVERY.1);
        tokio::select! {
            Ok(()) = changes.changed() => {}
            Some(Ok((host, answer))) = running.join_next() => settle(&local, &mut due, host, answer),
            () = tokio::time::sleep_until(soonest.into()) => {}
        }
    }
}

/// A name, and what was said of it.
async fn resolved(resolvers: Arc<Resolvers>, settings: Settings, host: Host) -> (Host, Answer) {
    let answer = match given(&settings, &host) {
        Some(answer) => answer,
        None => resolvers.look_up(&host, &settings.domain).await,
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

/// What is given for a name in any of its forms.
fn given(settings: &Settings, (namespace, host): &Host) -> Option<Answer> {
    let given = settings.given.lock().unwrap_or_else(PoisonError::into_inner);
    let mut forms = search_list(namespace, host, &settings.domain).into_iter();
    let addresses = forms.find_map(|form| given.get(form.trim_end_matches('.')))?;
    let family = |v4: bool| {
        let found: Vec<IpAddr> = addresses.iter().copied().filter(|ip| ip.is_ipv4() == v4).collect();
        if found.is_empty() { Part::Absent } else { Part::Found(found, Instant::now()) }
    };
    Some([family(true), family(false)])
}

/// The addresses in force after an answer: a family that nobody could speak for keeps the ones that it had.
fn merged(answer: &Answer, last: &[IpAddr]) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for (part, is_v4) in answer.iter().zip([true, false]) {
        match part {
            Part::Found(addresses, _) => all.extend(addresses),
            Part::Empty | Part::Absent => {}
            Part::Failed(_) => all.extend(last.iter().filter(|ip| ip.is_ipv4() == is_v4)),
        }
    }
    all
}

/// When the first of the found addresses is to be asked for again; none: nothing was found.
fn expiry(answer: &Answer) -> Option<Instant> {
    let until = |part: &Part| match part {
        Part::Found(_, until) => Some(*until),
        Part::Empty | Part::Absent | Part::Failed(_) => None,
    };
    answer.iter().filter_map(until).min()
}

// === impl Part ===

impl Part {
    fn error(&self) -> Option<&str> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Found(..) | Self::Empty | Self::Absent => None,
        }
    }
}

// === impl Resolvers ===

impl Resolvers {
    fn new(server: Option<SocketAddr>) -> anyhow::Result<Self> {
        let of = |strategy| {
            let mut builder = match server {
                Some(server) => {
                    TokioResolver::builder_with_config(only(server), TokioRuntimeProvider::default())
                }
                None => TokioResolver::builder_tokio().context("/etc/resolv.conf")?,
            };
            let options: &mut ResolverOpts = builder.options_mut();
            options.ip_strategy = strategy;
            options.timeout = options.timeout.min(SILENCE);
            builder.build().context("the resolver can't be built")
        };
        Ok(Self([of(LookupIpStrategy::Ipv4Only)?, of(LookupIpStrategy::Ipv6Only)?]))
    }

    /// Asks for the forms of a name one after the other, until one has addresses, or until nobody can say: a later
    /// form might be another host.
    async fn look_up(&self, (namespace, host): &Host, domain: &str) -> Answer {
        for name in search_list(namespace, host, domain) {
            let (v4, v6) = tokio::join!(part(&self.0[0], &name), part(&self.0[1], &name));
            let answer = [v4, v6];
            if settles(&answer) {
                return answer;
            }
        }
        [Part::Absent, Part::Absent]
    }
}

/// Whether what was said of one form of a name is what is to be known of the name.
fn settles(answer: &Answer) -> bool {
    let failed = answer.iter().any(|part| part.error().is_some());
    expiry(answer).is_some() || (failed && !answer.contains(&Part::Absent))
}

async fn part(resolver: &TokioResolver, name: &str) -> Part {
    match tokio::time::timeout(PATIENCE, resolver.lookup_ip(name)).await {
        Ok(Ok(found)) => Part::Found(found.iter().collect(), found.valid_until()),
        Ok(Err(error)) if error.is_nx_domain() => Part::Absent,
        Ok(Err(error)) if error.is_no_records_found() => Part::Empty,
        Ok(Err(error)) => Part::Failed(format!("{name}: {error}")),
        Err(_) => Part::Failed(format!("{name}: no answer within {} ms", PATIENCE.as_millis())),
    }
}

/// The configuration with one server, asked by UDP, and by TCP when an answer is too long for that.
fn only(server: SocketAddr) -> ResolverConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    let mut config = NameServerConfig::udp(server.ip());
    config.connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
    ResolverConfig::from_name_servers(vec![config])
}

/// The forms of a name, in the order in which they are tried. A trailing dot says that it is complete.
fn search_list(namespace: &str, host: &str, domain: &str) -> Vec<String> {
    if host.ends_with('.') {
        return vec![host.to_string()];
    }
    let suffixes = [format!("{namespace}.svc.{domain}."), format!("svc.{domain}."), format!("{domain}.")];
    let mut all: Vec<String> = suffixes.iter().map(|suffix| format!("{host}.{suffix}")).collect();
    // Names with many dots are nearly always complete: ask for them as they are first.
    let at = if host.split('.').count() > 4 { 0 } else { all.len() };
    all.insert(at, format!("{host}."));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_list_is_that_of_the_resources_namespace() {
        assert_eq!(
            search_list("calls", "worker", "cluster.local"),
            [
                "worker.calls.svc.cluster.local.",
                "worker.svc.cluster.local.",
                "worker.cluster.local.",
                "worker."
            ]
        );
        assert_eq!(search_list("calls", "worker.example.", "cluster.local"), ["worker.example."]);
        assert_eq!(
            search_list("calls", "a.b.svc.cluster.local", "cluster.local")[0],
            "a.b.svc.cluster.local."
        );
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn family_that_nobody_speaks_for_keeps_its_addresses() {
        let last = [ip("10.0.0.1"), ip("fd00::1")];
        let found = Part::Found(vec![ip("10.0.0.2")], Instant::now());
        let failed = Part::Failed("SERVFAIL".into());
        assert_eq!(merged(&[found.clone(), failed.clone()], &last), [ip("10.0.0.2"), ip("fd00::1")]);
        assert_eq!(merged(&[failed.clone(), Part::Absent], &last), [ip("10.0.0.1")]);
        assert_eq!(merged(&[failed.clone(), failed], &last), last);
        assert_eq!(merged(&[found, Part::Absent], &last), [ip("10.0.0.2")]);
        assert!(merged(&[Part::Absent, Part::Absent], &last).is_empty());
    }

    #[test]
    fn form_without_addresses_is_passed_over_only_if_that_is_certain() {
        let found = || Part::Found(vec![ip("10.0.0.1")], Instant::now());
        let failed = || Part::Failed("SERVFAIL".into());
        assert!(settles(&[found(), failed()]) && settles(&[Part::Empty, found()]));
        assert!(settles(&[failed(), Part::Empty]) && settles(&[failed(), failed()]));
        assert!(!settles(&[Part::Absent, failed()]), "the name exists in no family");
        assert!(!settles(&[Part::Absent, Part::Absent]) && !settles(&[Part::Empty, Part::Empty]));
    }

    #[test]
    fn answer_is_good_until_the_first_of_its_parts_expires() {
        let now = Instant::now();
        let found = |seconds| Part::Found(vec![ip("10.0.0.1")], now + Duration::from_secs(seconds));
        assert_eq!(expiry(&[found(9), found(3)]), Some(now + Duration::from_secs(3)));
        assert_eq!(expiry(&[found(9), Part::Absent]), Some(now + Duration::from_secs(9)));
        assert_eq!(expiry(&[Part::Absent, Part::Failed(String::new())]), None);
    }
}
