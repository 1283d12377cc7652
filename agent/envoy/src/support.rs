//! Fields of a Plan that the translation to Envoy does not support, message by message. Entry points:
//! [`listener`], [`cluster`].

use portreeve_agent_core::translate::lacks::Lacks;
use portreeve_api::model::{
    Address, Balancer, Cluster, Elsewhere, EndpointSource, HealthCheck, Listener, Options, Plan, Protocol,
    Retry, Route, Rule, Scope, Socket, Source, SourcePolicy, Tls,
};

use super::retries::CONNECT_FAILURE;
use super::{hash, predicate};

/// The setting of a UDP listener's socket that keeps it from connecting to its peer, and its value.
const SERVER_MODE: (&str, &str) = ("mode", "server");

/// Returns the names of the rule lists that a Plan defines beside its listeners.
pub fn rule_lists(plan: &Plan) -> impl Iterator<Item = &str> {
    let Plan {
        origin: _,
        workload: _,
        listeners: _,
        clusters: _,
        rule_lists,
        dns_namespace: _,
        needs: _,
        envoy: _,
        pod_bridge: _,
        tunnels: _,
    } = plan;
    rule_lists.iter().map(|list| list.list.as_str())
}

/// Returns the unsupported fields of a listener, and of the Plan for all its listeners.
pub fn listener(plan: &Plan, listener: &Listener) -> Lacks {
    let mut lacks = Lacks::default();
    let Listener { name: _, socket, rules, tls, sources, http, options, needs } = listener;
    lacks.needs(&plan.needs);
    lacks.needs(needs);
    lacks.when(plan.envoy.iter().any(|one| one.body.is_none()), "a resource of its template");
    let tcp = of_tcp(socket.as_ref());
    lacks.when(!tcp && tls.is_some(), "tls");
    lacks.when(!tcp && sources.is_some(), "sources");
    lacks.when(!tcp && *http, "http");
    if let Some(tls) = tls.as_ref().filter(|_| tcp) {
        add_server(&mut lacks, tls);
    }
    if let Some(SourcePolicy { groups: _, cidrs: _, principals, restricted: _ }) = sources {
        let proved = tls.as_ref().is_some_and(|tls| tls.authority.is_some());
        lacks.when(!principals.is_empty() && !proved, "sources.principals without tls.authority");
    }
    if let Some(socket) = socket {
        lacks.when(socket.port.is_none(), "socket.port 0");
        add_socket(&mut lacks, socket);
        add_scope(&mut lacks, socket);
        add_peer(&mut lacks, socket);
    }
    let asked = Asked { plan, listener };
    rules.iter().enumerate().for_each(|(at, one)| asked.add_rule(&mut lacks, at, one));
    if let Some(options) = options {
        // The sessions of an Envoy's listener always end with it.
        let Options { idle_timeout: _, remove_orphan_sessions: _, track } = options;
        lacks.some("options.track_ms", track);
    }
    lacks
}

/// The listener whose rules are checked.
struct Asked<'a> {
    plan: &'a Plan,
    listener: &'a Listener,
}

/// Returns the unsupported fields of a cluster.
pub fn cluster(cluster: &Cluster) -> Lacks {
    let mut lacks = Lacks::default();
    let Cluster {
        name: _,
        socket,
        endpoints,
        balancer,
        health_check,
        tls,
        http,
        connect_timeout: _,
        needs,
        elsewhere,
    } = cluster;
    lacks.needs(needs);
    match elsewhere {
        Some(Elsewhere::Proxy(name)) => lacks.when(true, format!("the proxy's own cluster {name}")),
        // Only with its protocol the hub says that it is one that the listener can forward to.
        Some(Elsewhere::Plan(name)) => lacks.when(socket.is_none(), format!("cluster {name}")),
        None => {}
    }
    let tcp = of_tcp(socket.as_ref());
    lacks.when(!tcp && tls.is_some(), "tls");
    lacks.when(!tcp && *http, "http");
    if let Some(tls) = tls.as_ref().filter(|_| tcp) {
        add_client(&mut lacks, tls);
    }
    if let Some(socket) = socket {
        // The endpoints have ports of their own.
        let same = |port| endpoints.iter().all(|one| one.port == Some(port));
        lacks.when(socket.port.is_some_and(|port| !same(port)), "socket.port");
        add_socket(&mut lacks, socket);
        lacks.when(!socket.settings.is_empty(), "socket.settings");
        lacks.some("socket.connect", &socket.connect);
        let is_source = socket.scope == Scope::Floating;
        lacks.when(socket.scope != Scope::Wildcard && !is_source, "socket.scope");
        let bind = socket.bind.filter(|bind| !is_source || bind.ip.is_none() || bind.port.is_some());
        lacks.some("socket.bind", &bind);
    }
    if let Some(balancer) = balancer {
        add_balancer(&mut lacks, balancer);
    }
    if let Some(check) = health_check {
        let HealthCheck {
            interval: _,
            timeout: _,
            unhealthy_threshold: _,
            healthy_threshold: _,
            http_path: _,
        } = check;
    }
    endpoints.iter().for_each(|source| add_source(&mut lacks, source));
    lacks
}

fn of_tcp(socket: Option<&Socket>) -> bool {
    socket.is_some_and(|socket| socket.protocol == Protocol::Tcp)
}

/// Adds the fields that neither listeners nor clusters support.
fn add_socket(lacks: &mut Lacks, socket: &Socket) {
    let Socket {
        protocol,
        // The caller checks these.
        port: _,
        scope: _,
        bind: _,
        connect: _,
        settings: _,
        path,
        filename,
        transport,
        header,
        tunnel,
    } = socket;
    let known = matches!(protocol, Protocol::Udp | Protocol::Tcp | Protocol::Websocket);
    lacks.when(!known, format!("socket.protocol {}", protocol.name()));
    lacks.some("socket.path", path);
    lacks.some("socket.filename", filename);
    lacks.some("socket.transport", transport);
    lacks.when(!header.is_empty(), "socket.header");
    lacks.some("socket.tunnel", tunnel);
}

/// Adds the peer of a listener's socket that it can't connect to, and other settings. A UDP listener can admit one peer only.
fn add_peer(lacks: &mut Lacks, socket: &Socket) {
    let (mode, server) = SERVER_MODE;
    let mut unknown =
        socket.settings.iter().filter(|(key, value)| (key.as_str(), value.as_str()) != SERVER_MODE);
    lacks.when(unknown.next().is_some(), "socket.settings");
    let Some(Address { ip, port }) = socket.connect else { return };
    let waits = socket.settings.get(mode).is_some_and(|value| value == server);
    let connects = ip.is_some() == port.is_some() && !waits;
    lacks.when(connects || socket.protocol != Protocol::Udp, "socket.connect");
}

/// Adds TLS settings of a listener that it can't have, or with which clients would connect without the proof that is
/// asked for.
fn add_server(lacks: &mut Lacks, tls: &Tls) {
    let Tls { certificate, authority, require_peer_certificate, alpn: _, server_name, peer_names } = tls;
    lacks.when(certificate.is_none(), "tls without tls.certificate");
    let unproved = *require_peer_certificate && authority.is_none();
    lacks.when(unproved, "tls.require_peer_certificate without tls.authority");
    lacks.some("tls.server_name", server_name);
    lacks.when(!peer_names.is_empty(), "tls.peer_names");
}

/// Adds TLS settings of a cluster with which its servers would not be verified.
fn add_client(lacks: &mut Lacks, tls: &Tls) {
    let Tls {
        certificate: _,
        authority,
        require_peer_certificate: _,
        alpn: _,
        server_name: _,
        peer_names: _,
    } = tls;
    lacks.when(authority.is_none(), "tls without tls.authority");
}

/// Adds an unsupported scope of a listener's socket.
fn add_scope(lacks: &mut Lacks, socket: &Socket) {
    if let Scope::Unknown(number) = socket.scope {
        lacks.when(true, format!("socket.scope {number}"));
    }
    let Some(Address { ip: _, port }) = socket.bind else { return };
    lacks.when(!matches!(socket.scope, Scope::Address | Scope::Floating), "socket.bind");
    if let Some(port) = port {
        lacks.when(Some(port) != socket.port, format!("socket.bind.port {port}"));
    }
}

// === impl Asked ===

impl Asked<'_> {
    fn add_rule(&self, lacks: &mut Lacks, at: usize, rule: &Rule) {
        let Rule { name: _, match_json, rewrites, route, apply } = rule;
        let protocol = self.listener.socket.as_ref().map_or(Protocol::Udp, |socket| socket.protocol);
        let fails = match_json.as_ref().and_then(|text| predicate::read(text, protocol).err());
        if let Some(part) = fails {
            lacks.when(true, format!("rules[{at}].match_json {part}"));
        }
        let chosen = match_json.is_some() || self.listener.rules.len() > 1;
        let apart = self.listener.sources.is_some() || self.listener.tls.is_some();
        lacks.when(chosen && apart, format!("rules[{at}].match_json beside sources or tls"));
        let idle = |one: &&_| !hash::is_key(one, rule, self.plan, protocol);
        for rewrite in rewrites.iter().filter(idle) {
            lacks.when(true, format!("rules[{at}].rewrites of {}", rewrite.path));
        }
        lacks.some(&format!("rules[{at}].apply"), apply);
        let last = at + 1 == self.listener.rules.len();
        lacks.when(route.is_none() && !last, format!("rules[{at}] without a route before other rules"));
        let Some(Route { destination, ingress, egress, retry }) = route else { return };
        lacks.when(!ingress.is_empty(), format!("rules[{at}].route.ingress"));
        lacks.when(!egress.is_empty(), format!("rules[{at}].route.egress"));
        let elsewhere = self.plan.cluster(destination).is_some_and(|cluster| cluster.elsewhere.is_some());
        if let Some(Retry { on, attempts: _, timeout: _ }) = retry {
            let text = format!("rules[{at}].route.retry");
            match on.as_deref() {
                Some("never") => {}
                Some(CONNECT_FAILURE) if protocol == Protocol::Websocket => {
                    lacks.when(elsewhere, format!("{text} to a cluster of another object"));
                }
                Some(on) => lacks.when(true, format!("{text} on {on}")),
                None => lacks.when(true, text),
            }
        }
    }
}

fn add_balancer(lacks: &mut Lacks, balancer: &Balancer) {
    match balancer {
        // Round robin is Envoy's default. The listener's rules tell whether it has the value at a path.
        Balancer::Key(_) | Balancer::SourceAddress | Balancer::RoundRobin | Balancer::MetadataPath(_) => {}
        Balancer::Unknown => lacks.when(true, "balancer"),
    }
}

fn add_source(lacks: &mut Lacks, source: &EndpointSource) {
    let EndpointSource { name, from, port, health_port: _, weight: _, source } = source;
    let at = |field: &str| format!("endpoints[{name}].{field}");
    match from {
        Source::Group(_) | Source::Host(_) | Source::Address(_) | Source::Loopback(_) => {}
        Source::File(_) => lacks.when(true, at("filename")),
        Source::Unknown => lacks.when(true, at("from")),
    }
    lacks.when(port.is_none(), at("port 0"));
    lacks.some(&at("source"), source);
}
