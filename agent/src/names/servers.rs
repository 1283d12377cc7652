//! Queries DNS servers. Entry point: [`Servers::look_up`].
//!
//! The library (hickory) handles the protocol with one server and follows CNAMEs. The order of servers is determined
//! here, because the library stops at the first server's SERVFAIL.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;

use portreeve_agent_core::names::questions::{self, Answer, Part};
use portreeve_agent_core::names::resolv_conf::ResolvConf;

/// Maximum time to wait for a server before the next one is queried.
const SILENCE: Duration = Duration::from_secs(1);

/// Timeout for all forms of a name together.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The port of DNS servers.
const PORT: u16 = 53;

/// The servers, and how to query them.
pub struct Servers {
    servers: Vec<Server>,
    /// The server that is queried first. After a silence it is the next one.
    first: AtomicUsize,
    silence: Duration,
    attempts: usize,
    /// Prefix of errors.
    note: &'static str,
}

/// One server.
struct Server {
    address: SocketAddr,
    /// One resolver per family, because a failure in one family must not count as absence of the name in both. `Err`:
    /// why there are none.
    resolvers: Result<[TokioResolver; 2], String>,
}

/// The result of a query to one server in one family.
enum Said {
    Part(Part),
    /// An error answer.
    Error(String),
    /// No answer.
    Silence(String),
}

// === impl Servers ===

impl Servers {
    /// Creates the resolver for the servers of `resolv.conf`, or for `only` instead.
    pub fn new(conf: &ResolvConf, only: Option<SocketAddr>) -> Self {
        let addresses = match only {
            Some(server) => vec![server],
            None => conf.servers.iter().map(|ip| SocketAddr::new(*ip, PORT)).collect(),
        };
        let note = if only.is_none() && conf.is_default { "resolv.conf names no server: " } else { "" };
        Self::at(&addresses, conf, note)
    }

    fn at(addresses: &[SocketAddr], conf: &ResolvConf, note: &'static str) -> Self {
        Self {
            servers: addresses.iter().map(|address| Server::new(*address, conf)).collect(),
            first: AtomicUsize::new(0),
            silence: conf.timeout.min(SILENCE),
            attempts: conf.attempts,
            note,
        }
    }

    /// Queries the forms of a name in order, until one has addresses. After an error or a silence, the next server and
    /// the next form are tried.
    pub async fn look_up(&self, forms: &[String]) -> Answer {
        let mut answers = Vec::new();
        let asked = tokio::time::timeout(PATIENCE, self.ask_all(forms, &mut answers)).await;
        if asked.is_err() {
            let late = Part::Failed(format!("no answer within {} s", PATIENCE.as_secs()));
            answers.push([late.clone(), late]);
        }
        questions::together(&answers)
    }

    async fn ask_all(&self, forms: &[String], answers: &mut Vec<Answer>) {
        let mut attempts = self.attempts;
        for form in forms {
            // A form that is too long for DNS doesn't exist.
            if Name::from_utf8(form).is_err() {
                continue;
            }
            let (v4, v6) = tokio::join!(self.ask(form, 0, attempts), self.ask(form, 1, attempts));
            let answer = [v4.0, v6.0];
            let settled = questions::settles(&answer);
            answers.push(answer);
            if settled {
                return;
            }
            // If all servers are silent for one form, waiting for the other forms is pointless.
            if v4.1 && v6.1 {
                attempts = 1;
            }
        }
    }

    /// Returns the answer for one form in one family, and whether all servers were silent.
    async fn ask(&self, form: &str, family: usize, attempts: usize) -> (Part, bool) {
        let mut errors: Vec<String> = Vec::new();
        let mut silent = self.in_order();
        let mut all_silent = true;
        for _ in 0..attempts {
            for i in std::mem::take(&mut silent) {
                match self.servers[i].ask(form, family, self.silence).await {
                    Said::Part(part) => return (part, false),
                    Said::Error(error) => {
                        errors.push(error);
                        all_silent = false;
                    }
                    Said::Silence(error) => {
                        errors.push(error);
                        silent.push(i);
                        self.pass_over(i);
                    }
                }
            }
        }
        errors.dedup();
        (Part::Failed(format!("{form}: {}{}", self.note, errors.join(", "))), all_silent)
    }

    fn in_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        order.rotate_left(self.first.load(Ordering::Relaxed));
        order
    }

    /// Makes the next server the first one, if this silent server was the first.
    fn pass_over(&self, silent: usize) {
        let next = (silent + 1) % self.servers.len();
        let _ = self.first.compare_exchange(silent, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

// === impl Server ===

impl Server {
    fn new(address: SocketAddr, conf: &ResolvConf) -> Self {
        let of = |strategy| {
            let mut builder =
                TokioResolver::builder_with_config(only(address), TokioRuntimeProvider::default());
            let options = builder.options_mut();
            options.ip_strategy = strategy;
            options.timeout = conf.timeout.min(SILENCE);
            options.attempts = 0;
            options.edns0 = conf.edns0;
            options.use_hosts_file = ResolveHosts::Never;
            builder.build().map_err(|error| error.to_string())
        };
        let both = of(LookupIpStrategy::Ipv4Only).and_then(|v4| Ok([v4, of(LookupIpStrategy::Ipv6Only)?]));
        Self { address, resolvers: both }
    }

    async fn ask(&self, form: &str, family: usize, silence: Duration) -> Said {
        let resolver = match &self.resolvers {
            Ok(both) => &both[family],
            Err(error) => return Said::Error(format!("{}: {error}", self.address.ip())),
        };
        match tokio::time::timeout(silence, resolver.lookup_ip(form)).await {
            Ok(Ok(found)) => Said::Part(found_part(found.iter().collect(), found.valid_until())),
            Ok(Err(error)) if error.is_nx_domain() => Said::Part(Part::Absent),
            Ok(Err(error)) if error.is_no_records_found() => Said::Part(Part::Empty),
            Ok(Err(NetError::Timeout)) | Err(_) => {
                Said::Silence(format!("{}: no answer within {} ms", self.address.ip(), silence.as_millis()))
            }
            Ok(Err(error)) => Said::Error(format!("{}: {error}", self.address.ip())),
        }
    }
}

fn found_part(addresses: Vec<IpAddr>, until: Instant) -> Part {
    if addresses.is_empty() { Part::Empty } else { Part::Found(addresses, until) }
}

/// Returns the configuration with one server. Queries use UDP, and TCP for longer answers.
fn only(server: SocketAddr) -> ResolverConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    let mut config = NameServerConfig::udp(server.ip());
    config.connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
    ResolverConfig::from_name_servers(vec![config])
}

#[cfg(test)]
mod tests;
