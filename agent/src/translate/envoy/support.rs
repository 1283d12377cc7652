//! What a Plan asks for that the translation to Envoy does not know, message by message. Entry points: [`listener`],
//! [`cluster`].

use std::net::IpAddr;

use portreeve_api::plan;

use crate::translate::lacks::Lacks;

/// What a Plan asks beside its listeners: rules for lists that its proxies own, by the list's name.
pub fn rule_lists(plan: &plan::Plan) -> impl Iterator<Item = &str> {
    let plan::Plan {
        origin: _,
        workload: _,
        listeners: _,
        clusters: _,
        rule_lists,
        dns_namespace: _,
        needs: _,
    } = plan;
    rule_lists.iter().map(|list| list.list.as_str())
}

/// What a listener asks for, or the Plan for all of its listeners.
pub fn listener(plan: &plan::Plan, listener: &plan::Listener) -> Lacks {
    let mut lacks = Lacks::default();
    let plan::Listener { name: _, socket, rules, tls, sources, http, options, needs } = listener;
    lacks.needs(&plan.needs);
    lacks.needs(needs);
    // The fields of these messages need no look: none of them is translated.
    lacks.when(tls.is_some(), "tls");
    lacks.when(sources.is_some(), "sources");
    lacks.when(*http, "http");
    if let Some(socket) = socket {
        lacks.when(!is_port(socket.port), format!("socket.port {}", socket.port));
        lacks.socket(socket);
        lacks.scope(socket);
    }
    rules.iter().enumerate().for_each(|(at, one)| lacks.rule(at, one));
    if let Some(options) = options {
        let plan::Options { idle_timeout_ms: _, remove_orphan_sessions, track_ms } = options;
        lacks.when(*remove_orphan_sessions, "options.remove_orphan_sessions");
        lacks.when(*track_ms != 0, "options.track_ms");
    }
    lacks
}

/// What a cluster asks for.
pub fn cluster(cluster: &plan::Cluster) -> Lacks {
    let mut lacks = Lacks::default();
    let plan::Cluster {
        name: _,
        socket,
        endpoints,
        balancer,
        health_check,
        tls,
        http,
        connect_timeout_ms: _,
        needs,
    } = cluster;
    lacks.needs(needs);
    lacks.when(tls.is_some(), "tls");
    lacks.when(*http, "http");
    if let Some(socket) = socket {
        lacks.when(socket.port != 0, "socket.port");
        lacks.socket(socket);
        lacks.when(socket.scope != i32::from(plan::Scope::Wildcard), "socket.scope");
        lacks.when(socket.bind.is_some(), "socket.bind");
    }
    if let Some(plan::Balancer { policy }) = balancer {
        lacks.balancer(policy.as_ref());
    }
    if let Some(check) = health_check {
        let plan::HealthCheck {
            interval_ms: _,
            timeout_ms: _,
            unhealthy_threshold: _,
            healthy_threshold: _,
            http_path: _,
        } = check;
    }
    endpoints.iter().for_each(|source| lacks.source(source));
    lacks
}

// === impl Lacks ===

impl Lacks {
    /// What listeners and clusters do not support alike.
    fn socket(&mut self, socket: &plan::Socket) {
        let plan::Socket {
            protocol,
            // These are judged by the caller.
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
        let known =
            matches!(plan::Protocol::try_from(*protocol), Ok(plan::Protocol::Udp | plan::Protocol::Tcp));
        let name = plan::Protocol::try_from(*protocol).map(|one| one.as_str_name().to_owned());
        self.when(!known, format!("socket.protocol {}", name.unwrap_or_else(|_| protocol.to_string())));
        self.when(connect.is_some(), "socket.connect");
        self.text("socket.path", path);
        self.text("socket.filename", filename);
        self.when(transport.is_some(), "socket.transport");
        self.when(!header.is_empty(), "socket.header");
        self.when(!settings.is_empty(), "socket.settings");
        self.text("socket.tunnel", tunnel);
    }

    /// Where a listener's socket is opened.
    fn scope(&mut self, socket: &plan::Socket) {
        let scope = plan::Scope::try_from(socket.scope);
        self.when(scope.is_err(), format!("socket.scope {}", socket.scope));
        let Some(plan::Address { ip: _, port }) = &socket.bind else { return };
        self.when(scope != Ok(plan::Scope::Address), "socket.bind");
        self.when(*port != 0 && *port != socket.port, format!("socket.bind.port {port}"));
    }

    fn rule(&mut self, at: usize, rule: &plan::Rule) {
        let plan::Rule { name: _, match_json, rewrites, route, apply } = rule;
        self.text(&format!("rules[{at}].match_json"), match_json);
        self.when(!rewrites.is_empty(), format!("rules[{at}].rewrites"));
        self.text(&format!("rules[{at}].apply"), apply);
        let Some(plan::Route { destination: _, ingress, egress, retry }) = route else { return };
        self.when(!ingress.is_empty(), format!("rules[{at}].route.ingress"));
        self.when(!egress.is_empty(), format!("rules[{at}].route.egress"));
        self.when(retry.is_some(), format!("rules[{at}].route.retry"));
    }

    /// No policy at all is one that only a newer hub knows.
    fn balancer(&mut self, policy: Option<&plan::balancer::Policy>) {
        use plan::balancer::Policy;
        match policy {
            // Envoy's default is to go round.
            Some(Policy::Key(_) | Policy::SourceAddress(_) | Policy::RoundRobin(_)) => {}
            Some(Policy::MetadataPath(_)) => self.when(true, "balancer.metadata_path"),
            None => self.when(true, "balancer"),
        }
    }

    fn source(&mut self, source: &plan::EndpointSource) {
        use plan::endpoint_source::From;
        let plan::EndpointSource { name, from, port, health_port, weight, source } = source;
        let at = |field: &str| format!("endpoints[{name}].{field}");
        match from {
            Some(From::Group(_) | From::Host(_)) => {}
            Some(From::Ip(ip)) => self.when(ip.parse::<IpAddr>().is_err(), at(&format!("ip {ip}"))),
            Some(From::Filename(_)) => self.when(true, at("filename")),
            // A kind that only a newer hub knows.
            None => self.when(true, at("from")),
        }
        self.when(!is_port(*port), at(&format!("port {port}")));
        self.when(*health_port != 0 && !is_port(*health_port), at(&format!("health_port {health_port}")));
        self.when(*weight != 0, at("weight"));
        self.text(&at("source"), source);
    }
}

/// Whether a number can be a port of a listener or an endpoint.
fn is_port(number: u32) -> bool {
    (1..=u32::from(u16::MAX)).contains(&number)
}
