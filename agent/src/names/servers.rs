//! Asks DNS servers. Entry point: [`Servers::look_up`].
//!
//! The library (hickory) speaks the protocol with one server and follows CNAMEs. The order of servers is decided here:
//! the library takes a server's SERVFAIL for the last word and asks no other one.

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

use super::questions::{self, Answer, Part};
use super::resolv_conf::ResolvConf;

/// How long a server is waited for at most before the next one is asked.
const SILENCE: Duration = Duration::from_secs(1);

/// How long all forms of a name may take together.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The port of DNS.
const PORT: u16 = 53;

/// The servers, and how they are asked.
pub struct Servers {
    servers: Vec<Server>,
    /// The server that is asked first: the next one after a silence.
    first: AtomicUsize,
    silence: Duration,
    attempts: usize,
    /// Put before errors.
    note: &'static str,
}

/// One server.
struct Server {
    address: SocketAddr,
    /// One for each family: a failure in one must not pass for the absence of the name in both. Or why there is none.
    resolvers: Result<[TokioResolver; 2], String>,
}

/// What one server said in one family.
enum Said {
    Part(Part),
    /// It answered with an error.
    Error(String),
    /// It did not answer.
    Silence(String),
}

// === impl Servers ===

impl Servers {
    /// The servers of `resolv.conf`, or this one instead.
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

    /// Asks for the forms of a name one after the other, until one has addresses. An error or a silence ends nothing:
    /// the next server and the next form are asked.
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
            // A form that is too long for DNS does not exist.
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
            // When all are silent for one form, waiting as long for the others helps nobody.
            if v4.1 && v6.1 {
                attempts = 1;
            }
        }
    }

    /// The answer for one form in one family, and whether all servers were silent.
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

    /// Begins with the next server from now on, if this silent one was the first.
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

#[cfg(test)]
mod tests;
