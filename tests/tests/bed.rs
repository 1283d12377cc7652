//! The harness's network: packets arrive, and lost datagrams are counted.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use portreeve_tests::health_port::HealthPort;
use portreeve_tests::netns::{Bed, Netns};
use portreeve_tests::process::Process;
use portreeve_tests::udp::{Echo, Flow, Report};

/// Long, because the machine may be busy.
const BOUND: Duration = Duration::from_secs(10);

/// Starts an echo on a free port of an address.
fn echo(namespace: &Netns, name: &str, address: IpAddr) -> Result<Echo> {
    Echo::start(namespace, name, SocketAddr::new(address, 0))
}

/// A short flow.
fn exchange(from: &Netns, to: SocketAddr) -> Result<Report> {
    Flow::to(to).sockets(3).rate(300).lasting(Duration::from_millis(200)).start(from)?.finish()
}

#[test]
fn nodes_and_pods_exchange_udp_over_both_families() -> Result<()> {
    let bed = Bed::new()?;
    let (one, two, pod) = (bed.node(1)?, bed.node(2)?, bed.pod(1, 1)?);
    assert_eq!(
        (two.v4().to_string(), pod.v6().to_string()),
        ("10.77.2.1".to_owned(), "fd77::1:11".to_owned())
    );
    for (from, to) in [(&one, &two), (&two, &one), (&pod, &two), (&two, &pod), (bed.root(), &pod)] {
        for address in [to.v4(), to.v6()] {
            let echo = echo(to, to.name(), address)?;
            let report = exchange(from, echo.address())?;
            report.lossless()?;
            assert_eq!(report.answered_by().keys().collect::<Vec<_>>(), [to.name()]);
            assert_eq!(echo.seen().received, report.sent() as u64);
            let ports: Vec<_> = report.lines.iter().flat_map(|line| line.upstreams()).collect();
            assert_eq!(ports.len(), 3, "a socket's own port is not what the echo saw: {report}");
            assert!(ports.iter().all(|port| echo.seen().sources.contains_key(port)));
        }
    }
    Ok(())
}

#[test]
fn large_datagrams_arrive_whole() -> Result<()> {
    let bed = Bed::new()?;
    let (node, pod) = (bed.node(1)?, bed.pod(2, 1)?);
    let echo = echo(&pod, "pod", pod.v4())?;
    let flow = Flow::to(echo.address()).size(9000).rate(200).lasting(Duration::from_millis(200));
    flow.start(&node)?.finish()?.lossless()
}

#[test]
fn a_closed_port_refuses_and_a_cut_link_is_silent() -> Result<()> {
    let bed = Bed::new()?;
    let (one, two) = (bed.node(1)?, bed.node(2)?);
    let mut echo = echo(&two, "two", two.v4())?;
    exchange(&one, echo.address())?.lossless()?;

    echo.stop();
    let report = exchange(&one, echo.address())?;
    assert!(report.received() == 0 && report.lines.iter().all(|line| line.refused > 0), "{report}");

    echo.restart()?;
    bed.cut(&two)?;
    let report = exchange(&one, echo.address())?;
    assert!(report.received() == 0 && report.lines.iter().all(|line| line.refused == 0), "{report}");

    bed.mend(&two)?;
    exchange(&one, echo.address())?.lossless()
}

#[test]
fn an_outage_is_measured() -> Result<()> {
    let bed = Bed::new()?;
    let (one, two) = (bed.node(1)?, bed.node(2)?);
    let mut echo = echo(&two, "two", two.v4())?;
    let flow = Flow::to(echo.address()).rate(500).lasting(BOUND).start(&one)?;
    portreeve_tests::wait::wait_until("the first answers", BOUND, || echo.seen().received > 50)?;
    echo.stop();
    // The outage lasts as long as this wait for an event that doesn't happen.
    let outage = Duration::from_millis(200);
    assert!(portreeve_tests::wait::wait_until("nothing", outage, || false).is_err());
    echo.restart()?;
    let before = echo.seen().received;
    portreeve_tests::wait::wait_until("more answers", BOUND, || echo.seen().received > before + 50)?;
    let report = flow.stop()?;
    assert!(report.lost() > 50, "{report}");
    assert!(report.longest_gap() >= outage && report.longest_gap() < BOUND / 2, "{report}");
    Ok(())
}

#[test]
fn namespaces_are_apart() -> Result<()> {
    let bed = Bed::new()?;
    let other = Bed::new()?;
    let (here, there) = (bed.node(1)?, other.node(1)?);
    let _echo = Echo::start(&here, "here", SocketAddr::new(here.v4(), 5000))?;
    let _same = Echo::start(&there, "there", SocketAddr::new(there.v4(), 5000))?;
    let ports =
        |sockets: Vec<portreeve_tests::netns::UdpSocket>| sockets.iter().map(|s| s.port).collect::<Vec<_>>();
    assert_eq!(ports(here.udp_sockets()?), [5000]);
    let mut process = Process::spawn("addresses", there.command("ip").args(["-brief", "address"]))?;
    assert!(process.wait_exit(BOUND)?.success(), "{}", process.log());
    assert!(process.log().contains("10.77.1.1/16"), "{}", process.log());
    Ok(())
}

#[test]
fn further_addresses_answer_too() -> Result<()> {
    let bed = Bed::new()?;
    let (node, pod) = (bed.node(1)?, bed.pod(1, 1)?);
    let address: IpAddr = "10.77.200.1".parse()?;
    pod.add_address(address)?;
    exchange(&node, echo(&pod, "further", address)?.address())?.lossless()
}

#[test]
fn a_health_port_is_open_until_it_is_dropped() -> Result<()> {
    let bed = Bed::new()?;
    let (node, pod) = (bed.node(1)?, bed.pod(1, 1)?);
    let port = HealthPort::open(&pod, SocketAddr::new(pod.v4(), 0))?;
    let address = port.address();
    let connect = || node.enter(|| std::net::TcpStream::connect_timeout(&address, BOUND));
    connect()??;
    portreeve_tests::wait::wait_until("the connection's count", BOUND, || port.accepted() == 1)?;
    drop(port);
    assert_eq!(connect()?.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    Ok(())
}
