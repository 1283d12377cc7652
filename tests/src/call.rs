//! Calls as users of the API write them: VirtualServices with four keyed UDP pipes. Entry points: [`Side`] writes one;
//! [`Pipe`] is a caller's socket.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use portreeve_api::a::virtual_service::VirtualService;

use crate::netns::Netns;

/// Number of pipes in a call: RTP and RTCP of two parties.
pub const PIPES: u16 = 4;

/// Timeout of an answer. Nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(5);

/// One side of a call: a VirtualService with four listeners, each with its own cluster.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// First part of the object's names: "ingress" or "worker".
    pub name: &'a str,
    /// The call's name: the last part of the object's names, and the hash key.
    pub call: &'a str,
    /// The label `app` of the proxies that serve the call.
    pub app: &'a str,
    /// The endpoints: `selector: {app: worker}` or `address: 127.0.0.1`.
    pub host: &'a str,
    /// The first of the four listener ports.
    pub listen: u16,
    /// The first of the four endpoint ports.
    pub forward: u16,
    /// The endpoints' TCP port for health checks, if any.
    pub health_port: Option<u16>,
}

/// A socket that asks which endpoint answers. All proxies on the way see one session.
pub struct Pipe {
    /// A connected socket.
    socket: UdpSocket,
    /// The destination.
    target: SocketAddr,
    /// The number of datagrams sent. An answer contains the number of its question.
    asked: Cell<u64>,
}

// === impl Side ===

impl Side<'_> {
    /// The manifest.
    pub fn yaml(&self) -> String {
        let Self { name, call, app, host, .. } = self;
        let mut text = format!(
            "apiVersion: servicemesh.l7mp.io/v1\nkind: VirtualService\n\
             metadata: {{name: {name}-{call}, namespace: default}}\n\
             spec:\n  selector: {{app: {app}}}\n  listeners:\n"
        );
        for i in 0..PIPES {
            let (listen, forward) = (self.listen + i, self.forward + i);
            // Writing to a String can't fail.
            let _ = write!(
                text,
                "  - name: listener-{name}-{call}-{i}\n    udp:\n      port: {listen}\n      cluster:\n        \
                 name: cluster-{name}-{call}-{i}\n        service_discovery: strictdns\n        hash_key: {call}\n        \
                 endpoints:\n        - name: endpoint-{name}-{call}-{i}\n          host: {{{host}}}\n          \
                 port: {forward}\n"
            );
            if let Some(port) = self.health_port {
                let _ = write!(
                    text,
                    "          health_check_port: {port}\n        health_check: {{interval: 500, protocol: TCP}}\n"
                );
            }
        }
        text
    }

    /// Returns the object.
    ///
    /// # Errors
    /// Returns an error if `host` is not valid YAML.
    pub fn object(&self) -> Result<VirtualService> {
        Ok(VirtualService::parse(serde_yaml::from_str(&self.yaml())?)?.0)
    }

    /// Returns the names of the listeners.
    pub fn listeners(&self) -> Vec<String> {
        (0..PIPES).map(|i| format!("listener-{}-{}-{i}", self.name, self.call)).collect()
    }
}

// === impl Pipe ===

impl Pipe {
    /// Opens a socket in `namespace` on its own port.
    ///
    /// # Errors
    /// Returns an error if the namespace has no route to the target.
    pub fn open(namespace: &Netns, target: SocketAddr) -> Result<Self> {
        let socket = super::udp::socket(namespace, SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0))?;
        socket.connect(target).with_context(|| format!("no way to {target}"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, target, asked: Cell::new(0) })
    }

    /// Sends one datagram, and returns the name of the echo that answered.
    ///
    /// # Errors
    /// Returns an error if there is no answer. The datagram isn't sent again.
    pub fn ask(&self) -> Result<String> {
        let number = self.asked.replace(self.asked.get() + 1);
        let question = format!("{number}:");
        self.socket.send(question.as_bytes())?;
        let mut buffer = [0; 512];
        loop {
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    bail!("{}: datagram {number} was not answered", self.target)
                }
                Err(error) => return Err(error).with_context(|| self.target.to_string()),
            };
            let mut parts = std::str::from_utf8(&buffer[..length])?.split('|');
            if parts.next() == Some(&question) {
                return Ok(parts.next().context("an answer without a name")?.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::Echo;

    #[test]
    fn a_side_is_a_valid_object_with_four_keyed_listeners() {
        let side = Side {
            name: "ingress",
            call: "c7",
            app: "gw",
            host: "selector: {app: worker}",
            listen: 20_000,
            forward: 10_000,
            health_port: Some(1233),
        };
        let object = side.object().unwrap();
        assert!(object.validate().is_empty());
        let names: Vec<_> = object.spec.listeners.iter().map(|l| l.name.clone()).collect();
        assert_eq!(names, side.listeners());
        let last = object.spec.listeners[3].udp.as_ref().unwrap();
        assert_eq!((last.port, last.cluster.key()), (20_003, Some("c7")));
        assert_eq!(last.cluster.endpoints[0].port, 10_003);
    }

    #[test]
    fn a_pipe_names_who_answers_each_time() {
        let namespace = Netns::new("pipe").unwrap();
        let echo = Echo::start(&namespace, "a", "127.0.0.1:0".parse().unwrap()).unwrap();
        let pipe = Pipe::open(&namespace, echo.address()).unwrap();
        assert_eq!((pipe.ask().unwrap(), pipe.ask().unwrap()), ("a".to_owned(), "a".to_owned()));
        assert_eq!(echo.seen().sources.len(), 1, "one session");
    }
}
