//! The other end of a connection, as the kernel identifies it ([`Peer`]).

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tonic::transport::server::{TcpConnectInfo, UdsConnectInfo};

/// What a gate knows about a connection it let pass. It is kept until the connection ends.
pub type Pass = Arc<dyn Any + Send + Sync>;

/// The other end of a connection, as the kernel identifies it.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Process id, over a Unix socket. 0 if the process is in another pid namespace, `None` if it is gone.
    pub pid: Option<i32>,
    /// Handle of the same process, taken when the connection was accepted. A pid may be reused; a handle never is.
    /// `None` on kernels without SO_PEERPIDFD (before 6.5).
    pub pidfd: Option<Arc<OwnedFd>>,
    /// User id, over a Unix socket.
    pub uid: Option<u32>,
    /// Group id, over a Unix socket.
    pub gid: Option<u32>,
    /// Address, over TCP.
    pub remote: Option<SocketAddr>,
    /// What the socket's gate returned, if it has one.
    pub pass: Option<Pass>,
}

// === impl Peer ===

impl Peer {
    /// The peer of the connection that carries a request, from the request's extensions.
    pub fn of(extensions: &http::Extensions) -> Self {
        if let Some(peer) = extensions.get::<Self>() {
            return peer.clone();
        }
        let unix = extensions.get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
        Self {
            pid: unix.and_then(|cred| cred.pid()),
            uid: unix.map(|cred| cred.uid()),
            gid: unix.map(|cred| cred.gid()),
            remote: extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr),
            ..Self::default()
        }
    }
}

impl fmt::Display for Peer {
    /// For log lines: `10.0.0.7:41234` over TCP, `pid:123` over a Unix socket, `uid:0` if the process is not visible there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.remote, self.pid.filter(|pid| *pid != 0), self.uid) {
            (Some(address), ..) => write!(f, "{address}"),
            (None, Some(pid), _) => write!(f, "pid:{pid}"),
            (None, None, Some(uid)) => write!(f, "uid:{uid}"),
            (None, None, None) => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_text_is_the_address_the_pid_or_the_uid() {
        let address = "10.0.0.7:41234".parse().ok();
        for (remote, pid, uid, text) in [
            (address, None, None, "10.0.0.7:41234"),
            (None, Some(123), Some(0), "pid:123"),
            (None, Some(0), Some(7), "uid:7"),
            (None, None, Some(7), "uid:7"),
            (None, None, None, "unknown"),
        ] {
            assert_eq!(Peer { remote, pid, uid, ..Peer::default() }.to_string(), text);
        }
    }
}
