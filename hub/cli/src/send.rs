//! `portreeve send ADDR TEXT`: sends one datagram, or a text over one TCP connection, and prints the answer. It
//! replaces `nc` on machines without it.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use portreeve_runtime::out::{self, print};

/// Maximum size of a printed answer, in bytes. A datagram is never longer.
const LARGEST: u16 = u16::MAX;

/// Flags of `portreeve send`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Destination: an address or name, and a port, for example 127.0.0.1:17000.
    pub addr: String,
    /// Text to send.
    pub text: String,
    /// Time to wait for the answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    pub wait: f64,
    /// Use a TCP connection instead of UDP.
    #[arg(long)]
    pub tcp: bool,
    /// Address and port to send a datagram from, for rules that look at the sender. Default: any.
    #[arg(long, value_name = "IP:PORT", conflicts_with = "tcp")]
    pub from: Option<SocketAddr>,
}

/// Sends the text and prints the answer. If the name has several addresses, they are tried in turn until one answers.
///
/// # Errors
/// Returns an error if the name can't be resolved, the text can't be sent, or no answer arrives in time.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let targets: Vec<SocketAddr> = args.addr.to_socket_addrs().with_context(|| args.addr.clone())?.collect();
    let deadline = Instant::now() + Duration::from_secs_f64(args.wait);
    let mut outcome = Err(anyhow::anyhow!("{}: the name resolves to no address", args.addr));
    for target in targets {
        outcome = ask(target, args, deadline);
        if outcome.is_ok() {
            break;
        }
    }
    show(&outcome?)
}

fn ask(target: SocketAddr, args: &Args, deadline: Instant) -> anyhow::Result<Vec<u8>> {
    let (protocol, text) = (if args.tcp { "tcp" } else { "udp" }, args.text.as_bytes());
    let answer = match args.tcp {
        true => over_tcp(target, text, deadline),
        false => over_udp((args.from, target), text, deadline),
    };
    match answer {
        Ok(answer) => Ok(answer),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            bail!("no answer from {protocol} {target} within {} s", args.wait)
        }
        Err(error) => Err(error).with_context(|| format!("{protocol} {target}")),
    }
}

fn over_udp(
    (from, target): (Option<SocketAddr>, SocketAddr),
    text: &[u8],
    deadline: Instant,
) -> io::Result<Vec<u8>> {
    let any = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(from.unwrap_or(SocketAddr::new(any, 0)))?;
    socket.connect(target)?;
    socket.send(text)?;
    socket.set_read_timeout(Some(left(deadline)?))?;
    let mut answer = vec![0; LARGEST.into()];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

/// Reads the answer until the peer closes the connection, the deadline passes, or the answer has its maximum size.
fn over_tcp(target: SocketAddr, text: &[u8], deadline: Instant) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&target, left(deadline)?)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(text)?;
    stream.shutdown(Shutdown::Write)?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while answer.len() < LARGEST.into() {
        let read = left(deadline).and_then(|left| stream.set_read_timeout(Some(left)));
        match read.and_then(|()| stream.read(&mut buffer)) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
            Err(error) if answer.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(answer)
}

/// Returns the time until the deadline.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Prints control characters escaped on a terminal, and the unchanged bytes elsewhere.
fn show(answer: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout();
    if stdout.is_terminal() {
        let text = String::from_utf8_lossy(answer);
        return print(out::plain_lines(text.trim_end_matches('\n')));
    }
    let ended = answer.ends_with(b"\n");
    out::checked(stdout.write_all(answer))?;
    if ended { out::checked(stdout.flush()) } else { print("") }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?;
    let range = 0.001..=3600.0;
    range.contains(&seconds).then_some(seconds).ok_or_else(|| "0.001 to 3600 seconds".to_owned())
}
