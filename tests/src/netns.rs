//! Network namespaces of one test: a [`Bed`] is a bridge with nodes and pods on it and no way out.
//!
//! A namespace is anonymous: it is made by a thread that leaves a file descriptor behind, and is gone with the last
//! descriptor and process that use it, so nothing is left over even by a killed test. Only root may make them; other
//! users' tests restart themselves as root of a user namespace of their own (`unshare --map-root-user`).

use std::ffi::OsStr;
use std::fs::File;
use std::future::Future;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns, unshare};

use crate::wait::wait_until;

mod clear;

/// The bridge's address, and the one that servers in the bed's root namespace are reached at.
pub const HUB_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The same for IPv6.
pub const HUB_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);

/// Generous: the machine may be busy.
const CARRIER: Duration = Duration::from_secs(20);

/// One network namespace. Clones are the same namespace.
#[derive(Debug, Clone)]
pub struct Netns {
    /// What it is called in messages, and its port on the bridge.
    name: Arc<str>,
    /// Keeps it alive.
    handle: Arc<File>,
    /// The addresses of its `eth0`; loopback's for a namespace without one.
    v4: Ipv4Addr,
    /// See `v4`.
    v6: Ipv6Addr,
}

/// A bridge in a namespace of its own (`root`), to which nodes and pods are attached: 10.77.0.0/16 and fd77::/64,
/// one link, MTU 1500, no routing and no way out. Numbers are 1 to 99. Clones are the same bed.
#[derive(Debug, Clone)]
pub struct Bed {
    /// The namespace of the bridge, 10.77.0.1 and fd77::1.
    root: Netns,
}

/// A UDP socket as the kernel lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpSocket {
    /// The local port.
    pub port: u16,
    /// Datagrams that the kernel dropped at this socket, mostly for a full receive buffer.
    pub drops: u64,
}

// === impl Netns ===

impl Netns {
    /// An empty namespace with its loopback up.
    ///
    /// # Errors
    /// Not root, and not able to become it in a user namespace.
    pub fn new(name: &str) -> Result<Self> {
        become_root()?;
        let handle = std::thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
            Ok(File::open("/proc/thread-self/ns/net")?)
        });
        let handle = handle.join().map_err(|_| anyhow::anyhow!("the thread for {name} panicked"))??;
        let made = Self {
            name: name.into(),
            handle: Arc::new(handle),
            v4: Ipv4Addr::LOCALHOST,
            v6: Ipv6Addr::LOCALHOST,
        };
        made.ip(&["link set lo up".to_owned()])?;
        Ok(made)
    }

    /// The namespace that a process of this machine is in; `v4` is its address there.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: u32, name: &str, v4: Ipv4Addr) -> Result<Self> {
        let path = format!("/proc/{pid}/ns/net");
        let handle = File::open(&path).with_context(|| format!("the network of {name}: {path}"))?;
        Ok(Self { name: name.into(), handle: Arc::new(handle), v4, v6: Ipv6Addr::LOCALHOST })
    }

    /// Its name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its IPv4 address (loopback's, when it is on no bridge).
    pub fn v4(&self) -> IpAddr {
        self.v4.into()
    }

    /// Its IPv6 address (loopback's, when it is on no bridge).
    pub fn v6(&self) -> IpAddr {
        self.v6.into()
    }

    /// A path that names the namespace for other programs, valid while this process holds it.
    pub fn path(&self) -> String {
        use std::os::fd::AsRawFd;
        format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd())
    }

    /// A command that will run inside; `nsenter` execs it, so the child's pid is the program's.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg("--").arg(program);
        command
    }

    /// Runs `work` on a fresh thread inside. Sockets made there stay in the namespace wherever they are used later.
    ///
    /// # Errors
    /// The namespace can't be entered. A panic of `work` goes on in the caller.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| self.join().map(|()| work()));
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a thread inside that goes on by itself; what it returns is for whoever joins it.
    ///
    /// # Errors
    /// The thread can't be started. That it can't enter is the thread's own result.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<std::thread::JoinHandle<Result<T>>> {
        let namespace = self.clone();
        let named = std::thread::Builder::new().name(self.name.to_string());
        Ok(named.spawn(move || {
            namespace.join()?;
            Ok(work()?)
        })?)
    }

    /// Runs `future` inside, on a runtime of one thread, blocking the caller.
    ///
    /// # Errors
    /// The namespace can't be entered, or the runtime not be made.
    pub fn block_on<F: Future + Send>(&self, future: F) -> Result<F::Output>
    where
        F::Output: Send,
    {
        self.enter(|| -> Result<F::Output> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(future))
        })?
    }

    /// Gives `eth0` (or `lo`, when it is on no bridge) another address.
    ///
    /// # Errors
    /// `ip` refuses: the address is there already.
    pub fn add_address(&self, address: IpAddr) -> Result<()> {
        let device = if self.v4.is_loopback() { "lo" } else { "eth0" };
        let prefix = if address.is_ipv4() { "16" } else { "64" };
        let settled = if address.is_ipv4() { "" } else { "nodad" };
        self.ip(&[format!("addr add {address}/{prefix} dev {device} {settled}")])
    }

    /// The UDP sockets of both families inside, with their drops.
    ///
    /// # Errors
    /// The namespace can't be entered.
    pub fn udp_sockets(&self) -> Result<Vec<UdpSocket>> {
        self.enter(own_udp_sockets)?
    }

    /// Datagrams that the kernel dropped at all of them: mostly whoever has the socket had no processor for so long that its
    /// buffer was full.
    ///
    /// # Errors
    /// The namespace can't be entered.
    pub fn udp_drops(&self) -> Result<u64> {
        Ok(self.udp_sockets()?.iter().map(|socket| socket.drops).sum())
    }

    /// Runs `ip` inside with one command per line.
    ///
    /// # Errors
    /// `ip` is missing or refuses; its words are in the error.
    pub fn ip(&self, lines: &[String]) -> Result<()> {
        let mut child = self
            .command("ip")
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("running nsenter (util-linux) and ip (iproute2)")?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(lines.join("\n").as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip in {}: {words} for {lines:?}", self.name);
        Ok(())
    }

    /// Moves the calling thread inside, for good.
    fn join(&self) -> Result<()> {
        setns(&*self.handle, CloneFlags::CLONE_NEWNET).with_context(|| format!("entering {}", self.name))
    }
}

// === impl Bed ===

impl Bed {
    /// A bridge with nothing on it.
    ///
    /// # Errors
    /// As for [`Netns::new`]; `ip` is missing.
    pub fn new() -> Result<Self> {
        let mut root = Netns::new("bed")?;
        // A bridge without an address of its own takes its lowest port's, and so changes it under its neighbours.
        root.ip(&[
            "link add br0 type bridge mcast_snooping 0".to_owned(),
            "link set br0 address 02:77:00:00:00:00".to_owned(),
            format!("addr add {HUB_V4}/16 dev br0"),
            format!("addr add {HUB_V6}/64 dev br0 nodad"),
            "link set br0 up".to_owned(),
        ])?;
        (root.v4, root.v6) = (HUB_V4, HUB_V6);
        Ok(Self { root })
    }

    /// The bridge's namespace: where servers of the whole bed belong.
    pub fn root(&self) -> &Netns {
        &self.root
    }

    /// Attaches node `i`: 10.77.i.1 and fd77::i:1.
    ///
    /// # Errors
    /// The node is there already; the number is not within 1 to 99.
    pub fn node(&self, i: u8) -> Result<Netns> {
        self.attach(&format!("n{i}"), i, 1)
    }

    /// Attaches pod `j` of node `i`: 10.77.i.(10+j) and fd77::i:(10+j, in decimal digits).
    ///
    /// # Errors
    /// The pod is there already; a number is not within 1 to 99.
    pub fn pod(&self, i: u8, j: u8) -> Result<Netns> {
        ensure!((1..100).contains(&j), "pods are numbered 1 to 99");
        self.attach(&format!("p{i}-{j}"), i, 10 + j)
    }

    /// Cuts a node or pod off, as a pulled cable does at the far side: its link stays up, nothing passes.
    ///
    /// # Errors
    /// It is not of this bed.
    pub fn cut(&self, namespace: &Netns) -> Result<()> {
        self.root.ip(&[format!("link set {} nomaster", namespace.name)])
    }

    /// Ends [`Bed::cut`].
    ///
    /// # Errors
    /// It is not of this bed.
    pub fn mend(&self, namespace: &Netns) -> Result<()> {
        self.root.ip(&[format!("link set {} master br0", namespace.name)])
    }

    /// Takes a node or pod off, for good: its `eth0` is gone, and its place is free.
    ///
    /// # Errors
    /// It is not of this bed, or was taken off before.
    pub fn detach(&self, namespace: &Netns) -> Result<()> {
        self.root.ip(&[format!("link delete {}", namespace.name)])
    }

    /// Makes a namespace with an `eth0` on the bridge.
    fn attach(&self, name: &str, i: u8, host: u8) -> Result<Netns> {
        ensure!((1..100).contains(&i), "nodes are numbered 1 to 99");
        let mut made = Netns::new(name)?;
        (made.v4, made.v6) = (Ipv4Addr::new(10, 77, i, host), v6(i, host)?);
        self.root.ip(&[
            format!("link add {name} type veth peer name eth0 netns {}", made.path()),
            format!("link set {name} master br0 up"),
        ])?;
        made.ip(&[
            // Its neighbours remember it when it is taken off and attached again.
            format!("link set eth0 address 02:77:00:00:{i:02x}:{host:02x}"),
            format!("addr add {}/16 dev eth0", made.v4),
            format!("addr add {}/64 dev eth0 nodad", made.v6),
            "link set eth0 up".to_owned(),
        ])?;
        // The kernel looks at a new carrier at most once a second; until it has, the port drops what it is given.
        wait_until(&format!("port {name} to forward"), CARRIER, || self.forwards(name))?;
        Ok(made)
    }

    fn forwards(&self, name: &str) -> bool {
        let shown = self.root.command("ip").args(["-d", "-o", "link", "show", "dev", name]).output();
        shown.is_ok_and(|shown| String::from_utf8_lossy(&shown.stdout).contains("state forwarding"))
    }
}

/// fd77::i:host, the numbers written in decimal digits as one reads them in the IPv4 address.
fn v6(i: u8, host: u8) -> Result<Ipv6Addr> {
    Ok(format!("fd77::{i}:{host}").parse()?)
}

/// The UDP sockets of the calling thread's namespace.
pub(crate) fn own_udp_sockets() -> Result<Vec<UdpSocket>> {
    let mut found = Vec::new();
    for family in ["udp", "udp6"] {
        // Without IPv6 in the kernel there is no udp6.
        let table = std::fs::read_to_string(format!("/proc/thread-self/net/{family}")).unwrap_or_default();
        found.extend(table.lines().skip(1).filter_map(parse_udp_socket));
    }
    Ok(found)
}

/// A line of `/proc/net/udp`: the local address is the second field, the drops are the last.
fn parse_udp_socket(line: &str) -> Option<UdpSocket> {
    let local = line.split_whitespace().nth(1)?;
    let (_, port) = local.rsplit_once(':')?;
    let drops = line.split_whitespace().nth(12)?;
    Some(UdpSocket { port: u16::from_str_radix(port, 16).ok()?, drops: drops.parse().ok()? })
}

/// Makes sure that namespaces can be made: as root at once, otherwise by starting this very program again as the root
/// of a user namespace, with the same arguments. Its tests begin anew there.
fn become_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let this = std::env::current_exe()?;
    eprintln!("network namespaces need root: starting {} again under unshare", this.display());
    let error = Command::new("unshare")
        .args(["--map-root-user", "--"])
        .arg(this)
        .args(std::env::args_os().skip(1))
        .exec();
    bail!("network namespaces need root, and a user namespace was refused: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_drops_are_read_from_the_kernels_table() {
        let line = "  301: 0100007F:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 \
                    29105 2 00000000a7c9b1a1 17";
        assert_eq!(parse_udp_socket(line), Some(UdpSocket { port: 0x44, drops: 17 }));
        assert_eq!(parse_udp_socket("sl local_address"), None);
    }

    #[test]
    fn ipv6_addresses_read_like_the_ipv4_ones() {
        assert_eq!(v6(12, 11).unwrap().to_string(), "fd77::12:11");
    }
}
