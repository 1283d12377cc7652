//! Network namespaces for one test: a [`Bed`] is a bridge with nodes and pods, without a connection to the outside.
//!
//! A namespace is anonymous: a thread creates it and keeps a file descriptor. It vanishes with the last descriptor and
//! the last process in it, so even a killed test leaves nothing. Only root may create namespaces; without root, a test
//! restarts itself as root of its own user namespace (`unshare --map-root-user`).

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

/// The bridge's IPv4 address, which servers in the bed's root namespace listen on.
pub const HUB_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The bridge's IPv6 address.
pub const HUB_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);

/// Long, because the machine may be busy.
const CARRIER: Duration = Duration::from_secs(20);

/// A network namespace. Clones refer to the same namespace.
#[derive(Debug, Clone)]
pub struct Netns {
    /// Name for messages, and the name of its port on the bridge.
    name: Arc<str>,
    /// Keeps the namespace alive.
    handle: Arc<File>,
    /// IPv4 address of its `eth0`, or of the loopback if it has none.
    v4: Ipv4Addr,
    /// IPv6 address, like `v4`.
    v6: Ipv6Addr,
}

/// A bridge in its own namespace (`root`), to which nodes and pods are attached: 10.77.0.0/16 and fd77::/64, one link,
/// MTU 1500, without routing or a connection to the outside. Numbers are 1 to 99. Clones refer to the same bed.
#[derive(Debug, Clone)]
pub struct Bed {
    /// The bridge's namespace, 10.77.0.1 and fd77::1.
    root: Netns,
}

/// A UDP socket in the kernel's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpSocket {
    /// The local port.
    pub port: u16,
    /// Number of datagrams that the kernel dropped at this socket, mostly because its receive buffer was full.
    pub drops: u64,
}

// === impl Netns ===

impl Netns {
    /// Creates an empty namespace with a running loopback.
    ///
    /// # Errors
    /// Returns an error if this process isn't root and can't become root in a user namespace.
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

    /// Returns the namespace of a process. `v4` is its address there.
    ///
    /// # Errors
    /// Returns an error if there is no such process.
    pub fn of(pid: u32, name: &str, v4: Ipv4Addr) -> Result<Self> {
        let path = format!("/proc/{pid}/ns/net");
        let handle = File::open(&path).with_context(|| format!("the network of {name}: {path}"))?;
        Ok(Self { name: name.into(), handle: Arc::new(handle), v4, v6: Ipv6Addr::LOCALHOST })
    }

    /// Returns the name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the IPv4 address (the loopback's if it isn't on a bridge).
    pub fn v4(&self) -> IpAddr {
        self.v4.into()
    }

    /// Returns the IPv6 address (the loopback's if it isn't on a bridge).
    pub fn v6(&self) -> IpAddr {
        self.v6.into()
    }

    /// Returns a path of the namespace for other programs. It is valid while this process holds the namespace.
    pub fn path(&self) -> String {
        use std::os::fd::AsRawFd;
        format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd())
    }

    /// Returns a command that runs inside. `nsenter` executes the program, so the child's pid is the program's.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg("--").arg(program);
        command
    }

    /// Runs `work` on a new thread inside. Sockets created there stay in the namespace, wherever they are used later.
    ///
    /// # Errors
    /// Returns an error if the namespace can't be entered. A panic of `work` continues in the caller.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| self.join().map(|()| work()));
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts an independent thread inside, and returns its handle.
    ///
    /// # Errors
    /// Returns an error if the thread can't be started. If the thread can't enter the namespace, its own result is an
    /// error.
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

    /// Runs `future` inside, on a runtime with one thread, and blocks the caller.
    ///
    /// # Errors
    /// Returns an error if the namespace can't be entered or the runtime can't be created.
    pub fn block_on<F: Future + Send>(&self, future: F) -> Result<F::Output>
    where
        F::Output: Send,
    {
        self.enter(|| -> Result<F::Output> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(future))
        })?
    }

    /// Adds an address to `eth0` (or to `lo` if the namespace isn't on a bridge).
    ///
    /// # Errors
    /// Returns an error if the address exists already.
    pub fn add_address(&self, address: IpAddr) -> Result<()> {
        let device = if self.v4.is_loopback() { "lo" } else { "eth0" };
        let prefix = if address.is_ipv4() { "16" } else { "64" };
        let settled = if address.is_ipv4() { "" } else { "nodad" };
        self.ip(&[format!("addr add {address}/{prefix} dev {device} {settled}")])
    }

    /// Returns the UDP sockets of both families inside, with their drops.
    ///
    /// # Errors
    /// Returns an error if the namespace can't be entered.
    pub fn udp_sockets(&self) -> Result<Vec<UdpSocket>> {
        self.enter(own_udp_sockets)?
    }

    /// Returns the number of datagrams that the kernel dropped at all of these sockets. Drops mostly mean that the
    /// socket's process got no processor time until the buffer was full.
    ///
    /// # Errors
    /// Returns an error if the namespace can't be entered.
    pub fn udp_drops(&self) -> Result<u64> {
        Ok(self.udp_sockets()?.iter().map(|socket| socket.drops).sum())
    }

    /// Runs `ip` inside with one command per line.
    ///
    /// # Errors
    /// Returns an error with the output of `ip` if it fails or is missing.
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

    /// Moves the calling thread permanently inside.
    fn join(&self) -> Result<()> {
        setns(&*self.handle, CloneFlags::CLONE_NEWNET).with_context(|| format!("entering {}", self.name))
    }
}

// === impl Bed ===

impl Bed {
    /// Creates a bridge without ports.
    ///
    /// # Errors
    /// See [`Netns::new`]; also returns an error if `ip` is missing.
    pub fn new() -> Result<Self> {
        let mut root = Netns::new("bed")?;
        // A bridge without a fixed address takes the lowest address of its ports, and so would change it when ports
        // change.
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

    /// Returns the bridge's namespace, for servers of the whole bed.
    pub fn root(&self) -> &Netns {
        &self.root
    }

    /// Attaches node `i`: 10.77.i.1 and fd77::i:1.
    ///
    /// # Errors
    /// Returns an error if the node exists already or the number is not within 1 to 99.
    pub fn node(&self, i: u8) -> Result<Netns> {
        self.attach(&format!("n{i}"), i, 1)
    }

    /// Attaches pod `j` of node `i`: 10.77.i.(10+j) and fd77::i:(10+j, in decimal digits).
    ///
    /// # Errors
    /// Returns an error if the pod exists already or a number is not within 1 to 99.
    pub fn pod(&self, i: u8, j: u8) -> Result<Netns> {
        ensure!((1..100).contains(&j), "pods are numbered 1 to 99");
        self.attach(&format!("p{i}-{j}"), i, 10 + j)
    }

    /// Disconnects a node or pod as if a cable were pulled at the far side: its link stays up, but no packet passes.
    ///
    /// # Errors
    /// Returns an error if the namespace doesn't belong to this bed.
    pub fn cut(&self, namespace: &Netns) -> Result<()> {
        self.root.ip(&[format!("link set {} nomaster", namespace.name)])
    }

    /// Reconnects a node or pod after [`Bed::cut`].
    ///
    /// # Errors
    /// Returns an error if the namespace doesn't belong to this bed.
    pub fn mend(&self, namespace: &Netns) -> Result<()> {
        self.root.ip(&[format!("link set {} master br0", namespace.name)])
    }

    /// Detaches a node or pod permanently: its `eth0` is deleted and its number is free.
    ///
    /// # Errors
    /// Returns an error if the namespace doesn't belong to this bed or was detached before.
    pub fn detach(&self, namespace: &Netns) -> Result<()> {
        self.root.ip(&[format!("link delete {}", namespace.name)])
    }

    /// Creates a namespace with an `eth0` on the bridge.
    fn attach(&self, name: &str, i: u8, host: u8) -> Result<Netns> {
        ensure!((1..100).contains(&i), "nodes are numbered 1 to 99");
        let mut made = Netns::new(name)?;
        (made.v4, made.v6) = (Ipv4Addr::new(10, 77, i, host), v6(i, host)?);
        self.root.ip(&[
            format!("link add {name} type veth peer name eth0 netns {}", made.path()),
            format!("link set {name} master br0 up"),
        ])?;
        made.ip(&[
            // The address is fixed, because neighbours remember it when the namespace is detached and attached again.
            format!("link set eth0 address 02:77:00:00:{i:02x}:{host:02x}"),
            format!("addr add {}/16 dev eth0", made.v4),
            format!("addr add {}/64 dev eth0 nodad", made.v6),
            "link set eth0 up".to_owned(),
        ])?;
        // The kernel checks a new carrier at most once a second; until then, the port drops all packets.
        wait_until(&format!("port {name} to forward"), CARRIER, || self.forwards(name))?;
        Ok(made)
    }

    fn forwards(&self, name: &str) -> bool {
        let shown = self.root.command("ip").args(["-d", "-o", "link", "show", "dev", name]).output();
        shown.is_ok_and(|shown| String::from_utf8_lossy(&shown.stdout).contains("state forwarding"))
    }
}

/// Returns fd77::i:host, with the decimal digits of the IPv4 address.
fn v6(i: u8, host: u8) -> Result<Ipv6Addr> {
    Ok(format!("fd77::{i}:{host}").parse()?)
}

/// Returns the UDP sockets of the calling thread's namespace.
pub(crate) fn own_udp_sockets() -> Result<Vec<UdpSocket>> {
    let mut found = Vec::new();
    for family in ["udp", "udp6"] {
        // Without IPv6 in the kernel, there is no udp6.
        let table = std::fs::read_to_string(format!("/proc/thread-self/net/{family}")).unwrap_or_default();
        found.extend(table.lines().skip(1).filter_map(parse_udp_socket));
    }
    Ok(found)
}

/// Parses a line of `/proc/net/udp`: the local address is the second field, the drops are the last.
fn parse_udp_socket(line: &str) -> Option<UdpSocket> {
    let local = line.split_whitespace().nth(1)?;
    let (_, port) = local.rsplit_once(':')?;
    let drops = line.split_whitespace().nth(12)?;
    Some(UdpSocket { port: u16::from_str_radix(port, 16).ok()?, drops: drops.parse().ok()? })
}

/// Makes sure that this process can create namespaces. If it isn't root, it restarts this program with the same
/// arguments as root of a user namespace. All tests start again there.
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
