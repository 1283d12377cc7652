//! Random values of the own types ([`Random`]), the same for the same seed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::time::Duration;

use super::*;

/// A source of values: xorshift.
pub struct Random(u64);

// === impl Random ===

impl Random {
    pub fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    fn yes(&mut self) -> bool {
        self.below(2) == 1
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.yes().then(|| make(self))
    }

    fn some<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.below(3)).map(|_| make(self)).collect()
    }

    fn text(&mut self) -> String {
        const TEXTS: [&str; 5] = ["a", "rtp-l", "é/%", "10.0.0", "{\"a\": 1}"];
        TEXTS[self.below(5) as usize].to_owned()
    }

    fn texts(&mut self) -> Vec<String> {
        self.some(Self::text)
    }

    fn port(&mut self) -> Option<NonZeroU16> {
        NonZeroU16::new([0, 1, 2_000, 65_535][self.below(4) as usize])
    }

    fn number(&mut self) -> Option<NonZeroU32> {
        NonZeroU32::new([0, 1, u32::MAX][self.below(3) as usize])
    }

    fn duration(&mut self) -> Option<Duration> {
        let ms = [0, 1, 1_500, 86_400_000][self.below(4) as usize];
        (ms != 0).then(|| Duration::from_millis(ms))
    }

    fn time(&mut self) -> Option<i64> {
        [None, Some(1), Some(1_700_000_000_000)][self.below(3) as usize]
    }

    fn ip(&mut self) -> IpAddr {
        match self.below(4) {
            0 => Ipv4Addr::LOCALHOST.into(),
            1 => Ipv6Addr::LOCALHOST.into(),
            2 => Ipv4Addr::from(self.next() as u32).into(),
            _ => Ipv6Addr::from(u128::from(self.next()) << 64 | u128::from(self.next())).into(),
        }
    }

    fn requirement(&mut self) -> Requirement {
        let values = |random: &mut Self| [random.text(), random.text()];
        let key = self.text();
        match self.below(4) {
            0 => Requirement::is_in(key, values(self)),
            1 => Requirement::is_not_in(key, values(self)),
            2 => Requirement { key, test: Test::Exists },
            _ => Requirement { key, test: Test::DoesNotExist },
        }
    }

    fn selector(&mut self) -> Selector {
        Selector { labels: self.some(Self::requirement), fields: self.some(Self::requirement) }
    }

    fn workload(&mut self) -> Workload {
        Workload {
            namespace: self.maybe(Self::text),
            selector: self.selector(),
            proxy_name: self.maybe(Self::text),
            node_name: self.maybe(Self::text),
            proxy_kind: [None, Some(ProxyKind::Envoy), Some(ProxyKind::L7mp)][self.below(3) as usize],
            other_kinds: self.below(2) == 0,
            service_group: self.maybe(Self::text),
        }
    }

    fn address(&mut self) -> Address {
        Address { ip: self.maybe(Self::ip), port: self.port() }
    }

    fn header_field(&mut self) -> HeaderField {
        HeaderField {
            from: self.maybe(Self::text),
            to: self.maybe(Self::text),
            key: self.maybe(Self::text),
            value: self.maybe(Self::text),
        }
    }

    fn socket(&mut self) -> Socket {
        let scopes = [Scope::Wildcard, Scope::Loopback, Scope::Address, Scope::Floating, Scope::Unknown(99)];
        Socket {
            protocol: Protocol::from(self.below(20) as i32),
            port: self.port(),
            scope: scopes[self.below(4) as usize],
            connect: self.maybe(Self::address),
            bind: self.maybe(Self::address),
            path: self.maybe(Self::text),
            filename: self.maybe(Self::text),
            transport: self.maybe(|random| Box::new(Socket::new(Protocol::Udp, random.port()))),
            header: self.some(Self::header_field),
            settings: self.texts().into_iter().map(|text| (text.clone(), text)).collect(),
            tunnel: self.maybe(Self::text),
        }
    }

    fn end(&mut self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from(self.next() as u32), self.below(65_535) as u16 + 1)
    }

    fn ids(&mut self) -> (u16, u16) {
        (self.next() as u16, self.next() as u16)
    }

    fn peer(&mut self) -> TunnelPeer {
        let (at, ids) = (self.end(), self.ids());
        TunnelPeer { at, ids, since_ms: self.time().unwrap_or_default() }
    }

    fn tunnels(&mut self) -> Tunnels {
        let id = NonZeroU32::new(self.below(1000) as u32 + 1).unwrap();
        let tunnel = Tunnel { id, epic: self.end(), peer: self.maybe(Self::peer) };
        let protocol = if self.yes() { Protocol::Udp } else { Protocol::Tcp };
        Tunnels {
            ids: self.ids(),
            key: [self.below(256) as u8; 16].into(),
            public_address: *self.end().ip(),
            tunnels: vec![tunnel],
            endpoints: self.some(|random| TunnelledEndpoint { protocol, at: random.end(), tunnel: id }),
        }
    }

    fn retry(&mut self) -> Retry {
        Retry { on: self.maybe(Self::text), attempts: self.number(), timeout: self.duration() }
    }

    fn route(&mut self) -> Route {
        let (ingress, egress) = (self.texts(), self.texts());
        Route { destination: self.text(), ingress, egress, retry: self.maybe(Self::retry) }
    }

    fn rewrite(&mut self) -> Rewrite {
        Rewrite { path: self.text(), value_json: self.text() }
    }

    fn rule(&mut self) -> Rule {
        Rule {
            name: self.text(),
            match_json: self.maybe(Self::text),
            rewrites: self.some(Self::rewrite),
            route: self.maybe(Self::route),
            apply: self.maybe(Self::text),
        }
    }

    fn rule_list(&mut self) -> RuleList {
        RuleList { list: self.text(), position: self.next() as u32, rule: self.maybe(Self::rule) }
    }

    fn tls(&mut self) -> Tls {
        Tls {
            certificate: self.maybe(Self::text).map(Into::into),
            authority: self.maybe(Self::text).map(Into::into),
            require_peer_certificate: self.yes(),
            alpn: self.texts(),
            server_name: self.maybe(Self::text),
            peer_names: self.texts(),
        }
    }

    fn cidr(&mut self) -> Cidr {
        let ip = self.ip();
        format!("{ip}/{}", self.below(33)).parse().unwrap()
    }

    fn policy(&mut self) -> SourcePolicy {
        SourcePolicy {
            groups: self.texts().into_iter().map(Into::into).collect(),
            cidrs: self.some(Self::cidr),
            principals: self.texts(),
            restricted: self.yes(),
        }
    }

    fn options(&mut self) -> Options {
        Options { idle_timeout: self.duration(), remove_orphan_sessions: self.yes(), track: self.duration() }
    }

    fn listener(&mut self) -> Listener {
        Listener {
            name: self.text(),
            socket: self.maybe(Self::socket),
            rules: self.some(Self::rule),
            tls: self.maybe(Self::tls),
            sources: self.maybe(Self::policy),
            http: self.yes(),
            options: self.maybe(Self::options),
            needs: self.texts(),
        }
    }

    fn source(&mut self) -> EndpointSource {
        let from = match self.below(5) {
            0 => Source::Group(self.text().into()),
            1 => Source::of_ip(self.ip()),
            2 => Source::Host(self.text()),
            3 => Source::File(self.text()),
            _ => Source::Unknown,
        };
        EndpointSource {
            name: self.text(),
            from,
            port: self.port(),
            health_port: self.port(),
            weight: self.number(),
            source: self.maybe(Self::text),
        }
    }

    fn balancer(&mut self) -> Balancer {
        match self.below(5) {
            0 => Balancer::Key(self.text()),
            1 => Balancer::SourceAddress,
            2 => Balancer::MetadataPath(self.text()),
            3 => Balancer::RoundRobin,
            _ => Balancer::Unknown,
        }
    }

    fn health_check(&mut self) -> HealthCheck {
        HealthCheck {
            interval: self.duration(),
            timeout: self.duration(),
            unhealthy_threshold: self.number(),
            healthy_threshold: self.number(),
            http_path: self.maybe(Self::text).map(Into::into),
        }
    }

    fn elsewhere(&mut self) -> Elsewhere {
        match self.yes() {
            true => Elsewhere::Plan(self.text()),
            false => Elsewhere::Proxy(self.text()),
        }
    }

    fn cluster(&mut self) -> Cluster {
        Cluster {
            name: self.text(),
            socket: self.maybe(Self::socket),
            endpoints: self.some(Self::source),
            balancer: self.maybe(Self::balancer),
            health_check: self.maybe(Self::health_check),
            tls: self.maybe(Self::tls),
            http: self.yes(),
            connect_timeout: self.duration(),
            needs: self.texts(),
            elsewhere: self.maybe(Self::elsewhere),
        }
    }

    pub fn plan(&mut self) -> Plan {
        let origin = Origin {
            api: self.text(),
            kind: self.text(),
            namespace: self.text(),
            name: self.text(),
            uid: self.text(),
            created_ms: self.time(),
        };
        Plan {
            origin,
            workload: self.workload(),
            listeners: self.some(Self::listener),
            clusters: self.some(Self::cluster),
            rule_lists: self.some(Self::rule_list),
            dns_namespace: self.text(),
            needs: self.texts(),
            envoy: self.some(Self::envoy_resource),
            pod_bridge: self.maybe(Self::text),
            tunnels: self.maybe(Self::tunnels),
        }
    }

    fn envoy_resource(&mut self) -> EnvoyResource {
        let bytes = self.text().into_bytes().into();
        let body = match self.below(4) {
            0 => Some(EnvoyBody::Listener(bytes)),
            1 => Some(EnvoyBody::Cluster(bytes)),
            2 => Some(EnvoyBody::Assignment(bytes)),
            _ => None,
        };
        EnvoyResource { name: self.text(), body }
    }

    pub fn node_proxy(&mut self) -> NodeProxy {
        let labels: BTreeMap<_, _> = self.texts().into_iter().map(|text| (text.clone(), text)).collect();
        let allowed = match self.below(3) {
            0 => Namespaces::All,
            1 => Namespaces::Listed(self.texts()),
            _ => Namespaces::Matching(self.selector()),
        };
        let settings = self.maybe(|random| match random.yes() {
            true => Settings::Envoy(random.envoy_settings()),
            false => Settings::L7mp(L7mpSettings {
                extra_args: random.texts(),
                api_port: random.port(),
                strict: random.yes(),
            }),
        });
        let (created_ms, proxy_name) = (self.time(), self.maybe(Self::text));
        NodeProxy { uid: self.text(), labels, allowed, settings, created_ms, proxy_name }
    }

    fn envoy_settings(&mut self) -> EnvoySettings {
        EnvoySettings {
            concurrency: self.number(),
            extra_args: self.texts(),
            health_listener: self.port(),
            memory_limit: NonZeroU64::new(self.below(2)),
            extra_bootstrap: self.maybe(Self::text),
        }
    }

    pub fn endpoint(&mut self) -> Endpoint {
        Endpoint {
            uid: self.text().into(),
            namespace: self.text(),
            name: self.text(),
            node: self.text().into(),
            ips: self.some(Self::ip),
            created_ms: self.time(),
            terminating_ms: self.time(),
            ready: self.yes(),
            source: self.text().into(),
        }
    }
}
