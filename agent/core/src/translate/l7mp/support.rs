//! Fields of a Plan that l7mp does not support, message by message. Entry points: [`listener`], [`cluster`].

use portreeve_api::model::{
    Address, Balancer, Cluster, EndpointSource, Listener, Options, Plan, Protocol, Scope, Socket, Source,
};

use super::spec;
use crate::translate::lacks::Lacks;

/// The protocols whose sockets have a port.
const PROTOCOLS_WITH_PORTS: [Protocol; 4] =
    [Protocol::Udp, Protocol::Tcp, Protocol::Http, Protocol::Websocket];

/// Returns the unsupported fields of a listener, and of the Plan for all its listeners.
pub fn listener(plan: &Plan, listener: &Listener) -> Lacks {
    let mut lacks = Lacks::default();
    let Listener { name: _, socket, rules: _, tls, sources, http, options, needs } = listener;
    lacks.needs(&plan.needs);
    lacks.needs(needs);
    lacks.when(!plan.envoy.is_empty(), "a template of an Envoy");
    lacks.some("tls", tls);
    lacks.some("sources", sources);
    lacks.when(*http, "http");
    lacks.when(socket.is_none(), "socket");
    if let Some(socket) = socket {
        lacks.when(is_without_port(socket), "socket.port 0");
        add_socket(&mut lacks, socket);
        add_scope(&mut lacks, socket);
        let of_listener = matches!(
            socket.protocol,
            Protocol::Udp
                | Protocol::Tcp
                | Protocol::Http
                | Protocol::Websocket
                | Protocol::Unix
                | Protocol::JsonSocket
        );
        lacks.when(!of_listener, format!("socket.protocol {} of a listener", socket.protocol.name()));
    }
    if let Some(Options { idle_timeout, remove_orphan_sessions: _, track: _ }) = options {
        lacks.some("options.idle_timeout_ms", idle_timeout);
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
        // The agents check endpoints, and the translation leaves out those whose check failed.
        health_check,
        tls,
        http,
        // The timeout of a route without retries.
        connect_timeout: _,
        needs,
        elsewhere: _,
    } = cluster;
    lacks.needs(needs);
    lacks.some("tls", tls);
    lacks.when(*http, "http");
    lacks.when(socket.is_none(), "socket");
    if let Some(socket) = socket {
        lacks
            .when(is_without_port(socket) && spec::port(cluster).is_none(), "endpoints with different ports");
        add_socket(&mut lacks, socket);
        lacks.when(socket.scope != Scope::Wildcard, "socket.scope");
    }
    if let Some(balancer) = balancer {
        match balancer {
            Balancer::MetadataPath(_) | Balancer::Key(_) | Balancer::SourceAddress => {}
            Balancer::RoundRobin => lacks.when(true, "balancer.round_robin"),
            Balancer::Unknown => lacks.when(true, "balancer"),
        }
    }
    endpoints.iter().for_each(|source| add_source(&mut lacks, source));
    if health_check.is_some() {
        // Only the proxy itself reaches these, and it checks nothing.
        let beside =
            |one: &&EndpointSource| matches!(one.from, Source::Loopback(_)) && one.health_port.is_some();
        let beside = endpoints.iter().filter(beside);
        beside.for_each(|one| {
            lacks.when(true, format!("endpoints[{}].health_port of a loopback address", one.name))
        });
    }
    lacks
}

/// Returns whether a socket lacks the port that its protocol needs.
fn is_without_port(socket: &Socket) -> bool {
    PROTOCOLS_WITH_PORTS.contains(&socket.protocol) && socket.port.is_none()
}

fn add_socket(lacks: &mut Lacks, socket: &Socket) {
    let Socket {
        protocol,
        // The caller checks it.
        port: _,
        scope: _,
        connect: _,
        bind: _,
        path: _,
        filename: _,
        transport,
        header: _,
        settings: _,
        tunnel,
    } = socket;
    lacks.when(protocol.known_name().is_none(), format!("socket.protocol {}", protocol.name()));
    let bare = *protocol == Protocol::JsonSocket && transport.is_none();
    lacks.when(bare, "socket.protocol JSONSocket without socket.transport");
    lacks.some("socket.tunnel", tunnel);
    if let Some(transport) = transport {
        lacks.when(is_without_port(transport), "socket.transport.port 0");
        add_socket(lacks, transport);
    }
}

/// Adds an unsupported scope of a listener's socket.
fn add_scope(lacks: &mut Lacks, socket: &Socket) {
    match socket.scope {
        Scope::Wildcard => {
            if let Some(Address { ip: _, port: _ }) = socket.bind {
                lacks.when(true, "socket.bind");
            }
        }
        Scope::Loopback => lacks.when(true, "socket.scope loopback"),
        Scope::Address => lacks.when(true, "socket.scope address"),
        Scope::Floating => lacks.when(true, "socket.scope floating"),
        Scope::Unknown(number) => lacks.when(true, format!("socket.scope {number}")),
    }
}

fn add_source(lacks: &mut Lacks, source: &EndpointSource) {
    let EndpointSource { name, from, port: _, health_port: _, weight: _, source } = source;
    let at = |field: &str| format!("endpoints[{name}].{field}");
    lacks.when(*from == Source::Unknown, at("from"));
    lacks.some(&at("source"), source);
}
