//! A day's churn of tunnels in fast forward: 10,000 are made, used and removed, and nothing of them is left in the role `gue`. The
//! figures are printed.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portreeve_gue::wire::{Ids, Ping};
use portreeve_tests::netns::Netns;
use portreeve_tests::process::Process;
use portreeve_tests::{tunnels, under_test, wait};
use portreeve_tunnels::files::{self, LoadBalancer, STATE, State, Tunnel, WANTED, Wanted};

/// How often tunnels are made and removed, and how many at a time.
const ROUNDS: u32 = 100;
const EACH: u32 = 100;
/// Rounds until the role's memory is what it needs.
const WARM: usize = 20;
/// How long a round's tunnels may take.
const BOUND: Duration = Duration::from_secs(20);
/// The most bytes that a tunnel may leave. The allocator's own noise is about half of it.
const LEFT: f64 = 100.0;

/// What a process uses: resident bytes and open files.
#[derive(Clone, Copy, Debug)]
struct Use {
    resident: f64,
    files: usize,
}

/// The role in a network namespace, with the agent's file.
struct Rig {
    netns: Netns,
    directory: tempfile::TempDir,
    role: Process,
    /// Sends the customers' pings.
    customer: UdpSocket,
}

// === impl Rig ===

impl Rig {
    fn start() -> Result<Self> {
        let (netns, directory) = (Netns::new("churn")?, tempfile::tempdir()?);
        let mut command = under_test::command_in(&netns, "agent")?;
        command.args(["gue", "--dir"]).arg(directory.path()).env("NO_COLOR", "1");
        let mut role = Process::spawn("gue", &command)?;
        role.wait_log("carrying packets", BOUND)?;
        let customer = netns.enter(|| UdpSocket::bind("127.0.0.1:0"))??;
        Ok(Self { netns, directory, role, customer })
    }

    fn write(&self, wanted: &Wanted) -> Result<()> {
        Ok(files::write(self.directory.path(), WANTED, wanted)?)
    }

    /// Pings each tunnel of a round.
    fn ping(&self, round: u32) -> Result<()> {
        for number in 0..EACH {
            let (ids, key) = (ids(round, number), key(round, number));
            let ping = Ping { ids, key: key.into(), tunnel: round * EACH + number + 1 };
            self.customer.send_to(&ping.write(), SocketAddr::from(([127, 0, 0, 1], tunnels::PORT)))?;
        }
        Ok(())
    }

    /// The rules and routes of the role.
    fn led(&self) -> Result<usize> {
        Ok(tunnels::dump(&self.netns)?.iter().filter(|line| line.contains("proto 83")).count())
    }

    fn heard(&self) -> usize {
        let read = fs::read(self.directory.path().join(STATE)).unwrap_or_default();
        let state: State = serde_json::from_slice(&read).unwrap_or_default();
        state.values().filter(|known| known.heard).count()
    }

    fn used(&self) -> Result<Use> {
        let pid = self.role.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
        let kilobytes: f64 = line.split_whitespace().nth(1).context("kB")?.parse()?;
        Ok(Use { resident: kilobytes * 1024.0, files: fs::read_dir(format!("/proc/{pid}/fd"))?.count() })
    }
}

fn ids(round: u32, number: u32) -> Ids {
    Ids { group: round as u16 + 1, service: number as u16 + 1 }
}

fn key(round: u32, number: u32) -> [u8; 16] {
    u128::from(round * EACH + number + 1).to_be_bytes()
}

/// The load balancers of a round, each with a tunnel and a UDP endpoint.
fn wanted(round: u32) -> Wanted {
    let of = |number: u32| {
        let (tunnel, ids) = (round * EACH + number + 1, ids(round, number));
        let address = Ipv4Addr::from(0xcb00_7100 + number);
        let epic = SocketAddrV4::new(address, tunnels::PORT);
        let load_balancer = LoadBalancer {
            ids: (ids.group, ids.service),
            key: portreeve_api::c::tunnel_key::TunnelKey::from(key(round, number)).to_string(),
            address,
            tcp: Vec::new(),
            udp: vec![5060],
            tunnels: BTreeMap::from([(tunnel, Tunnel { epic, peer: None })]),
            tcp_endpoints: Vec::new(),
            udp_endpoints: vec![(SocketAddrV4::new(Ipv4Addr::new(10, 244, 1, 5), 6000), tunnel)],
        };
        (format!("C/epic-{}/web-{number}", ids.group), load_balancer)
    };
    (0..EACH).map(of).collect()
}

/// The slope of a line through the values, by least squares.
fn slope(values: &[f64]) -> f64 {
    let mean = |values: &mut dyn Iterator<Item = f64>, count: usize| values.sum::<f64>() / count as f64;
    let middle = mean(&mut (0..values.len()).map(|at| at as f64), values.len());
    let height = mean(&mut values.iter().copied(), values.len());
    let pairs = || values.iter().enumerate().map(|(at, value)| (at as f64 - middle, value - height));
    pairs().map(|(x, y)| x * y).sum::<f64>() / pairs().map(|(x, _)| x * x).sum::<f64>()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_tunnels_leave_nothing() -> Result<()> {
    let rig = Rig::start()?;
    let (before, begun) = (tunnels::dump(&rig.netns)?, Instant::now());
    let mut used = Vec::new();
    for round in 0..ROUNDS {
        rig.write(&wanted(round))?;
        // Of each load balancer: a rule for its address, one for its port, and two routes.
        let led = || async { rig.led().is_ok_and(|led| led == 4 * EACH as usize) };
        wait::until("rules and routes of all tunnels", BOUND, led).await?;
        rig.ping(round)?;
        wait::until("pings through all tunnels", BOUND, || async { rig.heard() == EACH as usize }).await?;
        rig.write(&Wanted::new())?;
        wait::until("no rule and route", BOUND, || async { rig.led().is_ok_and(|led| led == 0) }).await?;
        used.push(rig.used()?);
    }
    tunnels::left_nothing(&rig.netns, &before).await?;
    let resident: Vec<f64> = used[WARM..].iter().map(|one| one.resident).collect();
    let each = slope(&resident) / f64::from(EACH);
    let (first, last) = (used[WARM], used[used.len() - 1]);
    println!("{} tunnels in {:.1?}: {each:.1} bytes each are left", ROUNDS * EACH, begun.elapsed());
    println!("after {WARM} rounds {first:?}, at the end {last:?}");
    ensure!(each < LEFT, "{each:.1} bytes of each tunnel are left: {resident:?}");
    ensure!(first.files == last.files, "{first:?} became {last:?}");
    Ok(())
}
