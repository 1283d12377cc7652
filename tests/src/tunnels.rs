//! EPIC's tunnels in a town: gateways with the role `gue` ([`carrier`]), customers' nodes with the role `gue-client`
//! ([`CustomerNode`]), and the packets between them ([`Capture`]).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use portreeve_gue::ipv4::{Packet, checksum};
use portreeve_gue::wire::{Data, Message, Ping, read};

use crate::greeter::Greeter;
use crate::netns::Netns;
use crate::process::Process;
use crate::town::trust::API_AUDIENCE;
use crate::town::{BOUND, Town};
use crate::udp::Echo;
use crate::{http, under_test, wait};

/// The UDP port of the tunnels.
pub const PORT: u16 = 6080;

/// The address by which a node is the next hop of its pods.
const HOP: &str = "169.254.1.1";

/// Starts the role `gue` on a node. It reads the files of the node's agent.
///
/// # Errors
/// Returns an error if it can't be started.
pub fn carrier(town: &Town, index: usize) -> Result<Process> {
    let node = &town.nodes[index];
    let mut command = under_test::command_in(&node.netns, "agent")?;
    command
        .args(["gue", "--admin", "127.0.0.1:0", "--dir"])
        .arg(portreeve_agent::tunnels::directory(&node.run_dir));
    Process::spawn(&format!("gue-{}", node.name), command.env("NO_COLOR", "1"))
}

/// Returns a metric of a role on a node: of the samples whose line begins with `sample`, the sum.
///
/// # Errors
/// Returns an error if the role doesn't serve metrics.
pub fn metric(netns: &Netns, role: &mut Process, sample: &str) -> Result<f64> {
    role.wait_log("serving metrics", BOUND)?;
    let log = role.log();
    let line = log.lines().find(|line| line.contains("serving metrics")).context("no line")?;
    let address: SocketAddr = line.split("address=").nth(1).context("no address")?.trim().parse()?;
    let text = http::get(netns, address, "/metrics")?.1;
    let values = text.lines().filter(|line| line.starts_with(sample));
    values.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<f64>()?)).sum()
}

/// A customer's node with the role `gue-client`. On drop it ends.
pub struct CustomerNode {
    /// Its network.
    pub netns: Netns,
    /// The role. `None` after it was killed.
    pub client: Option<Process>,
    account: String,
}

/// A pod of a customer's node, with an application for TCP and one for UDP.
pub struct Pod {
    _netns: Netns,
    /// The application for UDP.
    pub echo: Echo,
    /// The application for TCP.
    pub greeter: Greeter,
}

// === impl CustomerNode ===

impl CustomerNode {
    /// Attaches a customer's node, by its number, to the town's network, and starts the role for an account.
    ///
    /// # Errors
    /// Returns an error if the number is taken, or the role can't be started.
    pub async fn start(town: &Town, number: u8, account: &str) -> Result<Self> {
        let mut node = Self::attach(town, number, account)?;
        node.restart(town).await?;
        Ok(node)
    }

    /// Attaches a customer's node without the role.
    ///
    /// # Errors
    /// Returns an error if the number is taken.
    pub fn attach(town: &Town, number: u8, account: &str) -> Result<Self> {
        let netns = town.bed.node(number)?;
        netns.enter(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1")).context("forwarding")??;
        netns.ip(&["link set lo up".to_owned()])?;
        Ok(Self { netns, client: None, account: account.to_owned() })
    }

    /// Starts the role again.
    ///
    /// # Errors
    /// Returns an error if it can't be started.
    pub async fn restart(&mut self, town: &Town) -> Result<()> {
        let (account, name) = (&self.account, self.netns.name().to_owned());
        let namespace = format!("epic-{account}");
        let token = town.control.unbound_token((&namespace, "gue-client"), API_AUDIENCE).await?;
        let kubeconfig = town.control.kubeconfig_with(&format!("gue-client-{account}"), &token)?;
        let mut command = under_test::command_in(&self.netns, "agent")?;
        command.args(["gue-client", "--namespace", &namespace, "--kubeconfig"]).arg(kubeconfig);
        command.args(["--node-address", &self.address().to_string()]).env("NO_COLOR", "1");
        self.client = Some(Process::spawn(&format!("gue-client-{name}"), &command)?);
        Ok(())
    }

    /// Returns the node's address.
    pub fn address(&self) -> IpAddr {
        self.netns.v4()
    }

    /// Adds a pod with this address. Its applications have this name.
    ///
    /// # Errors
    /// Returns an error if its network can't be made.
    pub fn pod(&self, name: &str, address: Ipv4Addr, [tcp, udp]: [u16; 2]) -> Result<Pod> {
        let netns = Netns::new(name)?;
        let cable = format!("v{}", u32::from(address) & 0xff_ffff);
        self.netns.ip(&[
            format!("link add {cable} type veth peer name eth0 netns {}", netns.path()),
            format!("link set {cable} up"),
            format!("addr add {HOP}/32 dev {cable}"),
            format!("route add {address}/32 dev {cable}"),
        ])?;
        netns.ip(&[
            "link set lo up".to_owned(),
            "link set eth0 up".to_owned(),
            format!("addr add {address}/32 dev eth0"),
            format!("route add {HOP} dev eth0"),
            format!("route add default via {HOP} dev eth0"),
        ])?;
        let at = |port| SocketAddr::new(address.into(), port);
        let (echo, greeter) = (Echo::start(&netns, name, at(udp))?, Greeter::start(&netns, name, at(tcp))?);
        Ok(Pod { _netns: netns, echo, greeter })
    }
}

/// Returns what a customer's nodes may read, as the example's manifests have it.
pub fn rights(account: &str) -> String {
    let example = include_str!("../../deploy/examples/epic-customer/rights.yaml");
    format!("\n---\n{}", example.replace("epic-sample", &format!("epic-{account}")))
}

/// Returns the endpoints of a load balancer `web`: a TCP and a UDP port of a pod on a customer's node.
pub fn endpoints(account: &str, (name, pod): (&str, Ipv4Addr), node: IpAddr, [tcp, udp]: [u16; 2]) -> String {
    let one = |of: &str, protocol: &str, port: u16| {
        format!(
            "
---
apiVersion: epic.acnodal.io/v1
kind: RemoteEndpoint
metadata: {{name: {name}-{of}, namespace: epic-{account}, labels: {{epic.acnodal.io/owning-loadbalancer: web}}}}
spec: {{cluster: one, address: {pod}, node-address: {node}, port: {{name: {of}, port: {port}, protocol: {protocol}}}}}
"
        )
    };
    one("http", "TCP", tcp) + &one("sip", "UDP", udp)
}

/// A machine that translates the addresses of datagrams between customers' nodes and a gateway, as NATs do: the gateway sees its
/// address with a port for each node. On drop it ends.
pub struct Nat {
    /// Told to take other ports.
    renew: mpsc::Sender<()>,
    _thread: JoinHandle<Result<()>>,
}

// === impl Nat ===

impl Nat {
    /// Starts at an address of a namespace, in front of a gateway.
    ///
    /// # Errors
    /// Returns an error if the port is taken.
    pub fn start(netns: &Netns, at: SocketAddr, gateway: SocketAddr) -> Result<Self> {
        let front = netns.enter(|| UdpSocket::bind(at))??;
        front.set_read_timeout(Some(Duration::from_millis(10)))?;
        let (renew, renewed) = mpsc::channel();
        let thread = netns.spawn(move || translate(&front, gateway, &renewed))?;
        Ok(Self { renew, _thread: thread })
    }

    /// Lets it take other ports, as NATs do after some time of silence.
    ///
    /// # Errors
    /// Returns an error if it has ended.
    pub fn renew(&self) -> Result<()> {
        Ok(self.renew.send(())?)
    }
}

/// Translates until the other side of the channel is gone.
fn translate(front: &UdpSocket, gateway: SocketAddr, renewed: &mpsc::Receiver<()>) -> io::Result<()> {
    let (mut ports, mut datagram): (HashMap<SocketAddr, UdpSocket>, _) = (HashMap::new(), vec![0; 65_535]);
    loop {
        match renewed.try_recv() {
            Ok(()) => ports.clear(),
            Err(mpsc::TryRecvError::Empty) => {}
            Err(mpsc::TryRecvError::Disconnected) => return Ok(()),
        }
        if let Ok((length, from)) = front.recv_from(&mut datagram) {
            let port = match ports.entry(from) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let port = UdpSocket::bind("0.0.0.0:0")?;
                    port.connect(gateway)?;
                    port.set_nonblocking(true)?;
                    new.insert(port)
                }
            };
            let _ = port.send(&datagram[..length]);
        }
        for (node, port) in &ports {
            while let Ok(length) = port.recv(&mut datagram) {
                front.send_to(&datagram[..length], node)?;
            }
        }
    }
}

/// The tunnels' packets that pass a network namespace.
pub struct Capture(UdpSocket);

/// A packet of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Its outer addresses.
    pub outer: (SocketAddrV4, SocketAddrV4),
    /// What it carries.
    pub carries: Carried,
}

/// What a packet of a tunnel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// A packet, with what precedes it.
    Inner(Data, Packet),
    /// A ping.
    Ping(Ping),
}

// === impl Capture ===

impl Capture {
    /// Begins to capture.
    ///
    /// # Errors
    /// Returns an error without the capability `NET_RAW`.
    pub fn start(netns: &Netns) -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let open = || socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll);
        let socket: OwnedFd = netns.enter(open)?.context("opening a packet socket")?;
        // Only its type is that of a UDP socket: the standard library has no safe type for others.
        Ok(Self(socket.into()))
    }

    /// Returns what was captured since the last call.
    ///
    /// # Errors
    /// Returns an error if a packet for the tunnels' port is none of C.4.
    pub fn take(&self) -> Result<Vec<Captured>> {
        let (mut all, mut frame) = (Vec::new(), vec![0; 70_000]);
        loop {
            match self.0.recv(&mut frame) {
                Ok(length) => all.extend(parse(&frame[..length])?),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(all),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Parses a frame. `None`: it is no datagram for the tunnels' port.
fn parse(frame: &[u8]) -> Result<Option<Captured>> {
    const IPV4: [u8; 2] = [8, 0];
    let Some(ip) = frame.get(14..).filter(|_| frame[12..14] == IPV4) else { return Ok(None) };
    let Ok(outer) = Packet::read(ip) else { return Ok(None) };
    let is_udp = outer.transport == portreeve_gue::ipv4::Transport::Udp;
    if !is_udp || ![outer.source.port(), outer.destination.port()].contains(&PORT) {
        return Ok(None);
    }
    let payload = &ip[outer.header + 8..outer.length];
    let carries = match read(payload).map_err(|why| anyhow::anyhow!("{why:?}: {payload:02x?}"))? {
        Message::Data(data, inner) => {
            let inner = Packet::read(inner).map_err(|why| anyhow::anyhow!("{why:?}: {inner:02x?}"))?;
            Carried::Inner(data, inner)
        }
        Message::Ping(ping) => Carried::Ping(ping),
    };
    Ok(Some(Captured { outer: (outer.source, outer.destination), carries }))
}

/// Returns an IPv4 packet with a datagram. Its checksums are right.
pub fn udp_packet(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), content: &[u8]) -> Vec<u8> {
    let (udp, whole) = (8 + content.len() as u16, 28 + content.len() as u16);
    let mut header = [&[0x45, 0][..], &whole.to_be_bytes(), &[0, 0, 0, 0, 64, 17, 0, 0]].concat();
    header.extend(from.0.octets().into_iter().chain(to.0.octets()));
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    // Without a checksum of its own, as IPv4 allows.
    header.extend([from.1, to.1, udp, 0].into_iter().flat_map(u16::to_be_bytes));
    [&header, content].concat()
}

/// Returns the IPv4 rules, routes and addresses and the links of a namespace, as the kernel lists them.
///
/// # Errors
/// Returns an error if they can't be listed.
pub fn dump(netns: &Netns) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for what in ["-4 rule show", "-4 route show table all", "-o link show", "-4 -o addr show"] {
        let output = netns.command("ip").args(what.split(' ')).output()?;
        ensure!(output.status.success(), "ip {what}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        all.extend(text.lines().map(|line| line.trim().to_owned()));
    }
    Ok(all)
}

/// Waits until a namespace's rules, routes and links are those of an earlier dump.
///
/// # Errors
/// Returns an error with the difference if it takes too long.
pub async fn left_nothing(netns: &Netns, before: &[String]) -> Result<()> {
    let differs = || -> Result<Vec<String>> {
        let now = dump(netns)?;
        let new = now.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"));
        let gone = before.iter().filter(|line| !now.contains(line)).map(|line| format!("- {line}"));
        Ok(new.chain(gone).collect())
    };
    let same =
        wait::until("nothing to be left", BOUND, || async { differs().is_ok_and(|all| all.is_empty()) });
    same.await.with_context(|| format!("{:?}", differs()))
}

/// Returns whether pings come through the tunnels of a load balancer, as its condition `Healthy` says it.
pub fn told(conditions: &serde_json::Value) -> Option<(bool, String)> {
    let all = conditions.as_array()?;
    let healthy = all.iter().find(|one| one["type"] == "Healthy")?;
    Some((healthy["status"] == "True", healthy["message"].as_str()?.to_owned()))
}
