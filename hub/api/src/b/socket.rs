//! Protocols of listeners and clusters: [`listener`], [`cluster`].

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::field::{Field, path};
use super::form::{Address, HeaderField, Protocol, Socket};
use crate::violation::Checks;

/// A protocol: its name in the deployed spelling, its name as a block of the document, and the protocol.
type Name = (&'static str, &'static str, Protocol);

const LISTENERS: [Name; 6] = [
    ("HTTP", "http", Protocol::Http),
    ("WebSocket", "websocket", Protocol::WebSocket),
    ("UDP", "udp", Protocol::Udp),
    ("TCP", "tcp", Protocol::Tcp),
    ("UnixDomainSocket", "unixdomainsocket", Protocol::UnixDomainSocket),
    ("JSONSocket", "jsonsocket", Protocol::JsonSocket),
];

const CLUSTERS: [Name; 16] = [
    ("WebSocket", "websocket", Protocol::WebSocket),
    ("UDP", "udp", Protocol::Udp),
    ("TCP", "tcp", Protocol::Tcp),
    ("UnixDomainSocket", "unixdomainsocket", Protocol::UnixDomainSocket),
    ("JSONSocket", "jsonsocket", Protocol::JsonSocket),
    ("Sync", "sync", Protocol::Sync),
    ("Echo", "echo", Protocol::Echo),
    ("Discard", "discard", Protocol::Discard),
    ("Logger", "logger", Protocol::Logger),
    ("Stdio", "stdio", Protocol::Stdio),
    // The deployed schema has a misspelling.
    ("Sdtio", "stdio", Protocol::Stdio),
    ("JSONEncap", "jsonencap", Protocol::JsonEncap),
    ("JSONDecap", "jsondecap", Protocol::JsonDecap),
    ("Metric", "metric", Protocol::Metric),
    ("Prometheus", "prometheus", Protocol::Prometheus),
    ("L7mpController", "l7mpcontroller", Protocol::L7mpController),
];

/// The end of a connection that a proxy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It waits for connections.
    Listener,
    /// It opens them.
    Cluster,
}

/// Settings that go to the proxy as they are, by protocol.
const SETTINGS: [(Protocol, &[&str]); 3] = [
    (Protocol::Sync, &["query"]),
    (Protocol::Logger, &["log_file", "log_prefix"]),
    (Protocol::Metric, &["byteCounterName", "packetCounterName"]),
];

// === impl End ===

impl End {
    /// Returns whether a JSONSocket can be on top of the protocol.
    fn carries(self, protocol: Protocol) -> bool {
        use Protocol::{Discard, Echo, Stdio, Tcp, Udp, UnixDomainSocket, WebSocket};
        match protocol {
            Udp | Tcp | WebSocket | UnixDomainSocket => true,
            Stdio | Echo | Discard => self == Self::Cluster,
            _ => false,
        }
    }
}

/// Returns the names of all protocols in the deployed spelling.
pub(super) fn names() -> Vec<&'static str> {
    LISTENERS.iter().chain(&CLUSTERS).map(|name| name.0).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Returns the name of a protocol in the deployed spelling, and the name of its block in the document. Upper and lower case
/// are the same. `None`: there is no such protocol.
pub(super) fn named(text: &str) -> Option<(&'static str, &'static str)> {
    let is_it = |name: &&Name| name.0.eq_ignore_ascii_case(text);
    LISTENERS.iter().chain(&CLUSTERS).find(is_it).map(|name| (name.0, name.1))
}

/// Reads the protocol of a listener: `{UDP: {port: 1}}`, or with `blocks` `{udp: {port: 1}}` beside other fields.
/// Returns it, and whether it waits for its peer instead of connecting to it.
pub(super) fn listener(field: &Field<'_>, blocks: bool, checks: &mut Checks) -> Option<(Socket, bool)> {
    let (protocol, settings) = one(&LISTENERS, field, blocks, checks)?;
    checks.must(
        protocol.is_some(),
        &field.path,
        "needs a protocol: one of HTTP, WebSocket, UDP, TCP, UnixDomainSocket and JSONSocket",
    );
    let socket = socket(protocol?, &settings, End::Listener, checks)?;
    let waits = settings.get("options").is_some_and(|options| waits(&options, &socket, checks));
    Some((socket, waits))
}

/// Reads the mode of a UDP listener. Returns whether it waits for its peer.
fn waits(options: &Field<'_>, socket: &Socket, checks: &mut Checks) -> bool {
    if socket.protocol != Protocol::Udp || options.object(checks).is_none() {
        return false;
    }
    let Some((mode, text)) = options.get("mode").and_then(|mode| Some((mode.clone(), mode.text(checks)?)))
    else {
        return false;
    };
    let message = format!("must be server or singleton, is {text:?}");
    checks.must(matches!(text, "server" | "singleton"), &mode.path, message);
    let peer = socket.connect.is_some_and(|peer| peer.ip.is_some() && peer.port.is_some());
    checks.must(
        text != "singleton" || peer,
        &mode.path,
        "singleton needs connect with an address and a port",
    );
    text == "server"
}

/// Reads the protocol of a cluster in the same way. `None`: it has none.
pub(super) fn cluster(field: &Field<'_>, blocks: bool, checks: &mut Checks) -> Option<Socket> {
    let (protocol, settings) = one(&CLUSTERS, field, blocks, checks)?;
    socket(protocol?, &settings, End::Cluster, checks)
}

/// Returns whether a cluster has no protocol at all.
pub(super) fn is_missing(field: &Field<'_>, blocks: bool) -> bool {
    let key = |name: &Name| if blocks { name.1 } else { name.0 };
    field.value.as_object().is_some_and(|all| !CLUSTERS.iter().any(|name| all.contains_key(key(name))))
}

/// Returns the only protocol, with its settings.
fn one<'a>(
    names: &[Name],
    field: &Field<'a>,
    blocks: bool,
    checks: &mut Checks,
) -> Option<(Option<Protocol>, Field<'a>)> {
    field.object(checks)?;
    let found = names.iter().filter_map(|(deployed, block, protocol)| {
        let key = if blocks { block } else { deployed };
        Some((*protocol, field.member(key)?))
    });
    let mut found: Vec<_> = found.collect();
    found.dedup_by_key(|(protocol, _)| *protocol);
    checks.must(found.len() <= 1, &field.path, "has several protocols: give exactly one");
    let first = found.into_iter().next();
    Some(first.map_or_else(|| (None, field.clone()), |(protocol, settings)| (Some(protocol), settings)))
}

fn socket(protocol: Protocol, field: &Field<'_>, end: End, checks: &mut Checks) -> Option<Socket> {
    let ports = matches!(protocol, Protocol::Udp | Protocol::Tcp | Protocol::Http | Protocol::WebSocket);
    let mut socket = Socket::new(protocol, None);
    if !field.value.is_null() {
        field.object(checks)?;
    }
    if ports {
        checks.must(field.get("port").is_some(), format!("{}.port", field.path), "is required");
        socket.port = Some(field.get("port")?.port(checks)?);
    }
    let text =
        |key: &str, checks: &mut Checks| field.get(key).and_then(|one| one.text(checks)).map(str::to_owned);
    if end == End::Listener && protocol == Protocol::Udp {
        // Only the listener itself has a mode; the deployed schema also has it below a JSONSocket.
        field.pass_over(&["options"]);
    }
    socket.path = text("path", checks);
    socket.filename = text("filename", checks);
    let bare =
        end == End::Listener && protocol == Protocol::UnixDomainSocket && field.get("filename").is_none();
    checks.must(!bare, format!("{}.filename", field.path), "is required");
    let udp = protocol == Protocol::Udp;
    let binds = udp || matches!(protocol, Protocol::Tcp | Protocol::WebSocket);
    socket.connect = address(field, "connect", (udp, udp), checks);
    socket.bind = address(field, "bind", (binds, udp), checks);
    for key in SETTINGS.iter().filter(|(of, _)| *of == protocol).flat_map(|(_, keys)| *keys) {
        let value = match protocol {
            Protocol::Sync => field.get(key).and_then(|query| query.part(checks)),
            _ => text(key, checks),
        };
        socket.settings.extend(value.map(|value| ((*key).to_owned(), value)));
    }
    if protocol == Protocol::Sync {
        let given = field.get("query").is_some();
        let query = format!("{}.query", field.path);
        checks.must(given, query, "is required: the path of the value that joins sessions");
    }
    if protocol == Protocol::JsonSocket {
        json_socket(&mut socket, field, end, checks)?;
    }
    Some(socket)
}

fn json_socket(socket: &mut Socket, field: &Field<'_>, end: End, checks: &mut Checks) -> Option<()> {
    let transport = field.get("transport");
    checks.must(transport.is_some(), format!("{}.transport", field.path), "is required");
    let transport = transport?;
    let blocks = !transport.object(checks)?.keys().any(|key| CLUSTERS.iter().any(|(name, _, _)| name == key));
    let (protocol, settings) = one(&CLUSTERS, &transport, blocks, checks)?;
    let protocol = protocol.filter(|protocol| end.carries(*protocol));
    let message = "needs a protocol that can carry a JSONSocket, for example {UDP: {port: 19000}}";
    checks.must(protocol.is_some(), &transport.path, message);
    socket.transport = Some(Box::new(self::socket(protocol?, &settings, end, checks)?));
    let header = field.get("header").map(|header| header.items(checks)).unwrap_or_default();
    socket.header.extend(header.iter().filter_map(|one| header_field(one, checks)));
    Some(())
}

fn header_field(field: &Field<'_>, checks: &mut Checks) -> Option<HeaderField> {
    let text = |part: &Field<'_>, key: &str, checks: &mut Checks| {
        part.get(key).and_then(|one| one.text(checks)).map(str::to_owned)
    };
    match (field.get("path"), field.get("set")) {
        (Some(copy), None) => {
            copy.object(checks)?;
            checks.must(copy.given(&["from", "to"]) == 2, &copy.path, "needs from and to");
            let (from, to) = (text(&copy, "from", checks), text(&copy, "to", checks));
            Some(HeaderField::Path { from: path(&from?), to: path(&to?) })
        }
        (None, Some(set)) => {
            set.object(checks)?;
            checks.must(set.given(&["key", "value"]) == 2, &set.path, "needs key and value");
            let (key, value) = (text(&set, "key", checks), text(&set, "value", checks));
            Some(HeaderField::Set { key: key?, value: value? })
        }
        _ => {
            checks.must(false, &field.path, "must have exactly one of path and set");
            None
        }
    }
}

/// Reads the address and port at `key`. `has` tells whether the protocol has the field, and `ipv4` whether it knows IPv4 only.
fn address(parent: &Field<'_>, key: &str, (has, ipv4): (bool, bool), checks: &mut Checks) -> Option<Address> {
    let field = parent.get(key)?;
    field.object(checks)?;
    checks.must(has, &field.path, "has no effect with this protocol: leave it out");
    checks.must(field.given(&["address", "port"]) > 0, &field.path, "needs an address or a port");
    let ip = field.get("address").and_then(|one| {
        let text = one.text(checks)?;
        let ip: Option<IpAddr> = text.parse().ok();
        checks.must(ip.is_some(), &one.path, format!("{text:?} is not an IP address"));
        let speaks = !ipv4 || ip.is_none_or(|ip| ip.is_ipv4());
        checks.must(speaks, &one.path, format!("must be IPv4: l7mp has no UDP over IPv6, is {text}"));
        ip
    });
    Some(Address { ip, port: field.get("port").and_then(|one| one.port(checks)) })
}
