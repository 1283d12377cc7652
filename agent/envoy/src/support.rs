//! Fields of a Plan that the translation to Envoy does not support, message by message. Entry points:
//! [`listener`], [`cluster`].

use portreeve_agent_core::translate::lacks::Lacks;
use portreeve_api::model::{
    Address, Balancer, Cluster, EndpointSource, HealthCheck, Listener, Options, Plan, Protocol, Route, Rule,
    Scope, Socket, Source, SourcePolicy, Tls,
};

/// Returns the names of the rule lists that a Plan defines beside its listeners.
pub fn rule_lists(plan: &Plan) -> impl Iterator<Item = &str> {
    let Plan { origin: _, workload: _, listeners: _, clusters: _, rule_lists, dns_namespace: _, needs: _ } =
        plan;
    rule_lists.iter().map(|list| list.list.as_str())
}

/// Returns the unsupported fields of a listener, and of the Plan for all its listeners.
pub fn listener(plan: &Plan, listener: &Listener) -> Lacks {
    let mut lacks = Lacks::default();
    let Listener { name: _, socket, rules, tls, sources, http, options, needs } = listener;
    lacks.needs(&plan.needs);
    lacks.needs(needs);
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
    }
    rules.iter().enumerate().for_each(|(at, one)| add_rule(&mut lacks, at, one));
    if let Some(options) = options {
        let Options { idle_timeout: _, remove_orphan_sessions, track } = options;
        lacks.when(*remove_orphan_sessions, "options.remove_orphan_sessions");
        lacks.some("options.track_ms", track);
    }
    lacks
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
    lacks.some("elsewhere", elsewhere);
    let tcp = of_tcp(socket.as_ref());
    lacks.when(!tcp && tls.is_some(), "tls");
    lacks.when(!tcp && *http, "http");
    if let Some(tls) = tls.as_ref().filter(|_| tcp) {
        add_client(&mut lacks, tls);
    }
    if let Some(socket) = socket {
        lacks.some("socket.port", &socket.port);
        add_socket(&mut lacks, socket);
        lacks.when(socket.scope != Scope::Wildcard, "socket.scope");
        lacks.some("socket.bind", &socket.bind);
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
        connect,
        path,
        filename,
        transport,
        header,
        settings,
        tunnel,
    } = socket;
    let known = matches!(protocol, Protocol::Udp | Protocol::Tcp);
    lacks.when(!known, format!("socket.protocol {}", protocol.name()));
    lacks.some("socket.connect", connect);
    lacks.some("socket.path", path);
    lacks.some("socket.filename", filename);
    lacks.some("socket.transport", transport);
    lacks.when(!header.is_empty(), "socket.header");
    lacks.when(!settings.is_empty(), "socket.settings");
    lacks.some("socket.tunnel", tunnel);
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
    lacks.when(socket.scope != Scope::Address, "socket.bind");
    if let Some(port) = port {
        lacks.when(Some(port) != socket.port, format!("socket.bind.port {port}"));
    }
}

fn add_rule(lacks: &mut Lacks, at: usize, rule: &Rule) {
    let Rule { name: _, match_json, rewrites, route, apply } = rule;
    lacks.some(&format!("rules[{at}].match_json"), match_json);
    lacks.when(!rewrites.is_empty(), format!("rules[{at}].rewrites"));
    lacks.some(&format!("rules[{at}].apply"), apply);
    let Some(Route { destination: _, ingress, egress, retry }) = route else { return };
    lacks.when(!ingress.is_empty(), format!("rules[{at}].route.ingress"));
    lacks.when(!egress.is_empty(), format!("rules[{at}].route.egress"));
    lacks.some(&format!("rules[{at}].route.retry"), retry);
}

fn add_balancer(lacks: &mut Lacks, balancer: &Balancer) {
    match balancer {
        // Round robin is Envoy's default.
        Balancer::Key(_) | Balancer::SourceAddress | Balancer::RoundRobin => {}
        Balancer::MetadataPath(_) => lacks.when(true, "balancer.metadata_path"),
        Balancer::Unknown => lacks.when(true, "balancer"),
    }
}

fn add_source(lacks: &mut Lacks, source: &EndpointSource) {
    let EndpointSource { name, from, port, health_port: _, weight, source } = source;
    let at = |field: &str| format!("endpoints[{name}].{field}");
    match from {
        Source::Group(_) | Source::Host(_) | Source::Address(_) | Source::Loopback(_) => {}
        Source::File(_) => lacks.when(true, at("filename")),
        Source::Unknown => lacks.when(true, at("from")),
    }
    lacks.when(port.is_none(), at("port 0"));
    lacks.some(&at("weight"), weight);
    lacks.some(&at("source"), source);
}
