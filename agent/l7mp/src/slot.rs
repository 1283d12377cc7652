//! The address that a listener occupies on its proxy ([`Slot`]).

use std::fmt;

use portreeve_agent_core::translate::l7mp::objects::Spec;
use serde_json::Value;

/// An address that only one listener can use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Slot {
    /// A UDP port.
    Udp(u64),
    /// A TCP port: also of HTTP and WebSocket.
    Tcp(u64),
    /// The path of a Unix domain socket.
    Unix(String),
}

// === impl Slot ===

impl Slot {
    /// Returns a listener's slot; `None` if its protocol is unknown or has none. A JSONSocket listener has its transport's
    /// slot.
    pub(crate) fn of(spec: &Spec) -> Option<Self> {
        let port = || spec.get("port").and_then(Value::as_u64);
        match spec.get("protocol")?.as_str()? {
            "UDP" => port().map(Self::Udp),
            "TCP" | "HTTP" | "WebSocket" => port().map(Self::Tcp),
            "UnixDomainSocket" => Some(Self::Unix(spec.get("filename")?.as_str()?.to_owned())),
            "JSONSocket" => {
                let transport = spec.get("transport").or_else(|| spec.get("transport_spec"))?;
                // The proxy has no JSONSocket over JSONSocket.
                let transport = transport.as_object().filter(|inner| !inner.contains_key("transport"))?;
                Self::of(transport)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(port) => write!(f, "UDP port {port}"),
            Self::Tcp(port) => write!(f, "TCP port {port}"),
            Self::Unix(path) => write!(f, "socket {path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn transports_share_their_port_space() {
        let table = [
            (json!({"protocol": "UDP", "port": 1}), Some(Slot::Udp(1))),
            (json!({"protocol": "TCP", "port": 1}), Some(Slot::Tcp(1))),
            (json!({"protocol": "HTTP", "port": 1}), Some(Slot::Tcp(1))),
            (json!({"protocol": "WebSocket", "port": 1}), Some(Slot::Tcp(1))),
            (
                json!({"protocol": "JSONSocket", "transport": {"protocol": "UDP", "port": 1}}),
                Some(Slot::Udp(1)),
            ),
            (
                json!({"protocol": "JSONSocket", "transport_spec": {"protocol": "WebSocket", "port": 1}}),
                Some(Slot::Tcp(1)),
            ),
            (json!({"protocol": "UnixDomainSocket", "filename": "/a"}), Some(Slot::Unix("/a".into()))),
            (json!({"protocol": "Echo"}), None),
            (json!({}), None),
        ];
        for (spec, slot) in table {
            assert_eq!(Slot::of(spec.as_object().unwrap()), slot, "{spec}");
        }
    }
}
