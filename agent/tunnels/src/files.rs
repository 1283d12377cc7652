//! The two files between a node's agent and the role: the agent's [`Wanted`] and the role's [`State`]. Both are in a directory
//! of their own, and readable for root only, because the first has keys.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use portreeve_gue::gateway;
use portreeve_gue::ipv4::Transport;
use portreeve_gue::wire::Ids;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The name of the agent's file.
pub const WANTED: &str = "wanted.json";

/// The name of the role's file.
pub const STATE: &str = "state.json";

/// The load balancers of a node's gateways that have tunnels, by their Plans' names.
pub type Wanted = BTreeMap<String, LoadBalancer>;

/// What the role knows of each tunnel, by its number.
pub type State = BTreeMap<u32, Known>;

/// A load balancer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// Its account's number, and its own.
    pub ids: (u16, u16),
    /// The key of its tunnels, in base64.
    pub key: String,
    /// Its public address.
    pub address: Ipv4Addr,
    /// Its TCP and UDP ports.
    pub tcp: Vec<u16>,
    /// See `tcp`.
    pub udp: Vec<u16>,
    /// Its tunnels by their numbers.
    pub tunnels: BTreeMap<u32, Tunnel>,
    /// Its TCP endpoints, each with its tunnel.
    pub tcp_endpoints: Vec<(SocketAddrV4, u32)>,
    /// Its UDP endpoints, each with its tunnel.
    pub udp_endpoints: Vec<(SocketAddrV4, u32)>,
}

/// A tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// EPIC's end.
    pub epic: SocketAddrV4,
    /// The other end, as a gateway learned it last.
    pub peer: Option<Peer>,
}

/// The customer's end of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Where its pings come from.
    pub at: SocketAddrV4,
    /// The numbers in its pings.
    pub ids: (u16, u16),
    /// When the first of these pings came, in milliseconds since the Unix epoch.
    pub since_ms: i64,
}

/// What the role knows of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The other end.
    pub peer: Peer,
    /// Pings come to this node: the last one was less than three periods ago.
    pub heard: bool,
}

/// A file that is read when it was replaced.
#[derive(Debug)]
pub struct Followed {
    path: PathBuf,
    /// The inode and the times of the version that was read last.
    read: Option<(u64, i64, i64)>,
}

// === impl LoadBalancer ===

impl LoadBalancer {
    /// Returns the load balancer as the gateway knows it. `None` if the key can't be read.
    pub fn of_gateway(&self) -> Option<gateway::LoadBalancer> {
        let of = |transport: Transport, all: &[(SocketAddrV4, u32)]| {
            all.iter().map(move |(at, tunnel)| ((transport, *at), *tunnel)).collect::<Vec<_>>()
        };
        let tcp = of(Transport::Tcp, &self.tcp_endpoints).into_iter();
        Some(gateway::LoadBalancer {
            ids: ids(self.ids),
            key: self.key.parse().ok()?,
            address: self.address,
            tunnels: self.tunnels.iter().map(|(id, tunnel)| (*id, tunnel.epic)).collect(),
            endpoints: tcp.chain(of(Transport::Udp, &self.udp_endpoints)).collect(),
        })
    }

    /// Returns its ports.
    pub fn ports(&self) -> Vec<(Transport, u16)> {
        let tcp = self.tcp.iter().map(|port| (Transport::Tcp, *port));
        tcp.chain(self.udp.iter().map(|port| (Transport::Udp, *port))).collect()
    }
}

// === impl Peer ===

impl From<gateway::Peer> for Peer {
    fn from(peer: gateway::Peer) -> Self {
        let gateway::Peer { at, ids: Ids { group, service }, since_ms } = peer;
        Self { at, ids: (group, service), since_ms }
    }
}

impl From<Peer> for gateway::Peer {
    fn from(peer: Peer) -> Self {
        let Peer { at, ids: of, since_ms } = peer;
        Self { at, ids: ids(of), since_ms }
    }
}

// === impl Followed ===

impl Followed {
    /// Follows a file of a directory.
    pub fn new(directory: &Path, name: &str) -> Self {
        Self { path: directory.join(name), read: None }
    }

    /// Returns the file's content if it was replaced since the last call. A file that is missing or can't be read is `Ok(None)`
    /// or an error once, until it changes.
    ///
    /// # Errors
    /// Returns an error if the file can't be read, or has another content.
    pub fn read<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let version = match fs::metadata(&self.path) {
            Ok(meta) => Some((meta.ino(), meta.mtime(), meta.mtime_nsec())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if version == self.read {
            return Ok(None);
        }
        self.read = version;
        match version {
            None => Ok(None),
            Some(_) => Ok(Some(serde_json::from_slice(&fs::read(&self.path)?)?)),
        }
    }
}

/// Replaces a file of a directory in one step, so that no reader sees a part of it. Only its owner can read it.
///
/// # Errors
/// Returns the system's error. The file then has what was written last.
pub fn write(directory: &Path, name: &str, content: &impl Serialize) -> io::Result<()> {
    let new = directory.join(format!("{name}.new"));
    let text = serde_json::to_vec(content)?;
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?.write_all(&text)?;
    fs::rename(new, directory.join(name))
}

fn ids((group, service): (u16, u16)) -> Ids {
    Ids { group, service }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mk_wanted() -> Wanted {
        let at: SocketAddrV4 = "10.244.1.5:8080".parse().unwrap();
        let peer = Peer { at: "198.51.100.9:1024".parse().unwrap(), ids: (1, 3), since_ms: 5 };
        let load_balancer = LoadBalancer {
            ids: (1, 3),
            key: "AAECAwQFBgcICQoLDA0ODw==".to_owned(),
            address: Ipv4Addr::new(203, 0, 113, 7),
            tcp: vec![80],
            udp: vec![5060],
            tunnels: [(4, Tunnel { epic: "203.0.113.7:6080".parse().unwrap(), peer: Some(peer) })].into(),
            tcp_endpoints: vec![(at, 4)],
            udp_endpoints: vec![(at, 4)],
        };
        [("C/epic-a/web".to_owned(), load_balancer)].into()
    }

    #[test]
    fn file_is_read_once_for_each_version_and_only_by_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let mut followed = Followed::new(directory.path(), WANTED);
        assert!(followed.read::<Wanted>().unwrap().is_none());
        let wanted = mk_wanted();
        for _ in 0..2 {
            write(directory.path(), WANTED, &wanted).unwrap();
            assert!(followed.read::<Wanted>().unwrap().is_some_and(|read| read == wanted));
            assert!(followed.read::<Wanted>().unwrap().is_none());
        }
        let mode = fs::metadata(directory.path().join(WANTED)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(directory.path().join(WANTED), "{").unwrap();
        assert!(followed.read::<Wanted>().is_err());
        assert!(followed.read::<Wanted>().unwrap().is_none(), "the same fault is told once");
        // What was read last counts while the file is missing.
        fs::remove_file(directory.path().join(WANTED)).unwrap();
        assert!(followed.read::<Wanted>().unwrap().is_none());
    }

    #[test]
    fn load_balancer_is_the_gateways_and_its_key_must_be_one() {
        let wanted = mk_wanted();
        let of = wanted["C/epic-a/web"].of_gateway().unwrap();
        assert_eq!((of.ids, of.endpoints.len(), of.tunnels.len()), (Ids { group: 1, service: 3 }, 2, 1));
        assert_eq!(wanted["C/epic-a/web"].ports(), [(Transport::Tcp, 80), (Transport::Udp, 5060)]);
        let unread = LoadBalancer { key: "no key".to_owned(), ..wanted["C/epic-a/web"].clone() };
        assert!(unread.of_gateway().is_none());
    }
}
