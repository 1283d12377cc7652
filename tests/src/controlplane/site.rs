//! How the servers are started: data directory, keys, ports, command lines. It outlives the servers.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tempfile::{NamedTempFile, TempDir};

use crate::assets::{self, Assets};
use crate::certs::{self, Authority, Pair};
use crate::leftovers::Leftovers;
use crate::netns::Netns;
use crate::process::Process;

/// The names in the server's certificate.
const NAMES: [&str; 6] =
    ["localhost", "127.0.0.1", "10.77.0.1", "fd77::1", "10.96.0.1", "kubernetes.default.svc"];
/// Users with a fixed token, their names and groups. By default only `admin` has rights; Kubernetes' own components
/// have the rights that every cluster grants them.
const USERS: [(&str, &str, &str); 6] = [
    ("admin", "admin", "system:masters"),
    (
        "hub",
        "system:serviceaccount:portreeve:portreeve-hub",
        "system:serviceaccounts,system:serviceaccounts:portreeve",
    ),
    (
        "agent",
        "system:serviceaccount:portreeve:portreeve-agent",
        "system:serviceaccounts,system:serviceaccounts:portreeve",
    ),
    ("controller-manager", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
    ("proxy", "system:kube-proxy", ""),
];

/// The parent of all data directories of this process. Those of shared control planes still exist when the process
/// ends.
static DIRECTORIES: Mutex<Option<Leftovers>> = Mutex::new(None);

/// The environment of an API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// No nodes and no controllers. The test creates the objects that they would create.
    Alone,
    /// With controllers, and with nodes of these names, which may only access their own objects.
    Cluster(Vec<String>),
}

/// Everything that stays while the API server is down.
pub(super) struct Site {
    /// Data, keys and kubeconfigs.
    directory: TempDir,
    /// The programs.
    assets: Assets,
    /// The environment.
    kind: Kind,
    /// The servers' namespace. `None`: the test's own.
    pub(super) namespace: Option<Netns>,
    /// The CA of the serving certificate.
    pub(super) authority: Authority,
    /// The serving certificate.
    serving: Pair,
    /// etcd's client port, on the loopback of the servers' namespace.
    pub(super) etcd: u16,
    /// etcd's peer port, which is unused.
    peer: u16,
    /// The API server's address.
    pub(super) address: SocketAddr,
}

// === impl Site ===

impl Site {
    /// Creates a data directory, and chooses free ports.
    pub(super) fn new(namespace: Option<Netns>, kind: Kind) -> Result<Self> {
        let assets = assets::control_plane()?;
        let directory = directory()?;
        let authority = Authority::new("control plane of a test")?;
        let serving = authority.serving(directory.path(), &NAMES)?;
        fs::write(directory.path().join("ca.pem"), authority.pem())?;
        certs::signing_key(directory.path())?;
        fs::write(directory.path().join("tokens.csv"), kind.tokens())?;
        let ip = namespace.as_ref().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), Netns::v4);
        let [etcd, peer, port] = match &namespace {
            Some(namespace) => namespace.enter(|| free_ports(ip))??,
            None => free_ports(ip)?,
        };
        let address = SocketAddr::new(ip, port);
        Ok(Self { directory, assets, kind, namespace, authority, serving, etcd, peer, address })
    }

    /// Writes a kubeconfig for a user (file name and token) of the server at `address`.
    pub(super) fn kubeconfig(&self, (name, token): (&str, &str), address: SocketAddr) -> Result<PathBuf> {
        let authority = BASE64_STANDARD.encode(self.authority.pem());
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{name: test, cluster: {{server: 'https://{address}', certificate-authority-data: '{authority}'}}}}]\n\
             users: [{{name: test, user: {{token: '{token}'}}}}]\n\
             contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n"
        );
        let path = self.directory.path().join(format!("{name}.kubeconfig"));
        // Renamed into place, because a process may be reading the old file.
        let whole = NamedTempFile::new_in(self.directory.path())?;
        fs::write(whole.path(), text)?;
        whole.persist(&path)?;
        Ok(path)
    }

    /// Returns the key that signs tokens.
    pub(super) fn signing_key(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.path().join("sa.key"))?)
    }

    /// Returns the token of a fixed user or a node. It is no secret, because only this test reaches the server.
    pub(super) fn token<'a>(&self, user: &'a str) -> Result<&'a str> {
        let known =
            USERS.iter().any(|(name, ..)| *name == user) || self.kind.nodes().iter().any(|node| node == user);
        ensure!(known, "no user {user}: there are admin, hub, agent and Kubernetes' own");
        Ok(user)
    }

    /// Returns the path of a file in the data directory, for a command line.
    pub(super) fn path(&self, file: &str) -> String {
        self.directory.path().join(file).display().to_string()
    }

    /// Returns a command in the servers' namespace.
    pub(super) fn command(&self, program: &Path) -> Command {
        match &self.namespace {
            Some(namespace) => namespace.command(program),
            None => Command::new(program),
        }
    }

    /// Starts one of the servers, with its output in the data directory.
    pub(super) fn spawn(&self, name: &str, command: &Command) -> Result<Process> {
        Process::spawn_in(name, command, self.directory.path())
    }

    /// Returns etcd's command line. It has no fsync, because the data needn't survive a crash of the machine.
    pub(super) fn etcd_command(&self) -> Command {
        let (client, peer) =
            (format!("http://127.0.0.1:{}", self.etcd), format!("http://127.0.0.1:{}", self.peer));
        let mut command = self.command(&self.assets.etcd);
        command
            .arg(format!("--data-dir={}", self.path("etcd")))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=default={peer}"))
            .args(["--unsafe-no-fsync=true", "--log-level=warn"]);
        command
    }

    /// Returns the API server's command line.
    pub(super) fn apiserver_command(&self) -> Command {
        let mut command = self.command(&self.assets.apiserver);
        command
            .arg(format!("--etcd-servers=http://127.0.0.1:{}", self.etcd))
            .arg(format!("--bind-address={}", self.address.ip()))
            .arg(format!("--advertise-address={}", self.address.ip()))
            .arg(format!("--secure-port={}", self.address.port()))
            .arg(format!("--tls-cert-file={}", self.serving.certificate.display()))
            .arg(format!("--tls-private-key-file={}", self.serving.key.display()))
            .arg(format!("--token-auth-file={}", self.path("tokens.csv")))
            .arg(format!("--service-account-key-file={}", self.path("sa.pub")))
            .arg(format!("--service-account-signing-key-file={}", self.path("sa.key")))
            .arg(format!("--cert-dir={}", self.path("certs")))
            .args(self.kind.apiserver_flags())
            .args([
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--enable-priority-and-fairness=false",
                "--allow-privileged=true",
                "--profiling=false",
            ]);
        command
    }
}

/// Creates a data directory.
fn directory() -> Result<TempDir> {
    let mut all = DIRECTORIES.lock().unwrap_or_else(PoisonError::into_inner);
    let all = match &mut *all {
        Some(all) => all,
        none => none.insert(Leftovers::new()?),
    };
    Ok(TempDir::with_prefix_in("controlplane-", all.path())?)
}

/// Returns three free ports of `ip`.
fn free_ports(ip: IpAddr) -> Result<[u16; 3]> {
    let held = [TcpListener::bind((ip, 0))?, TcpListener::bind((ip, 0))?, TcpListener::bind((ip, 0))?];
    let [etcd, peer, port] = &held;
    Ok([etcd.local_addr()?.port(), peer.local_addr()?.port(), port.local_addr()?.port()])
}

// === impl Kind ===

impl Kind {
    /// Returns the nodes' names.
    fn nodes(&self) -> &[String] {
        match self {
            Self::Alone => &[],
            Self::Cluster(nodes) => nodes,
        }
    }

    /// Returns the content of the API server's token file.
    fn tokens(&self) -> String {
        let fixed =
            USERS.iter().map(|(token, user, groups)| format!("{token},{user},{token},\"{groups}\"\n"));
        let nodes =
            self.nodes().iter().map(|node| format!("{node},system:node:{node},{node},\"system:nodes\"\n"));
        fixed.chain(nodes).collect()
    }

    fn apiserver_flags(&self) -> &'static [&'static str] {
        match self {
            Self::Alone => &[
                "--authorization-mode=RBAC",
                // Nothing creates the default ServiceAccounts that this plugin requires.
                "--disable-admission-plugins=ServiceAccount",
                "--endpoint-reconciler-type=none",
            ],
            Self::Cluster(_) => &[
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--kubelet-preferred-address-types=InternalIP",
            ],
        }
    }
}
