//! One replica of the hub: [`Replica`].

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A hub replica, identified by its address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Replica {
    /// A Unix socket.
    Unix(PathBuf),
    /// An address and port.
    Tcp {
        /// Whether it uses TLS.
        secure: bool,
        /// The address.
        address: SocketAddr,
    },
}

// === impl Replica ===

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { secure, address } => {
                write!(f, "{}://{address}", if *secure { "https" } else { "http" })
            }
        }
    }
}
