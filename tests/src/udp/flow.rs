//! The sending side of UDP traffic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::{Datagram, LARGEST, Line, Report};
use crate::netns::{Netns, own_udp_sockets};

/// How long to wait for answers after the last datagram.
const LINGER: Duration = Duration::from_millis(500);

/// Settings of a flow: destination, number of sockets, rate and duration.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Destination of the datagrams.
    target: SocketAddr,
    /// Number of sockets that send in turn. Each is a separate session for a proxy.
    sockets: u32,
    /// Datagrams per second, over all sockets.
    rate: f64,
    /// Size of a datagram in bytes.
    size: usize,
    /// Duration.
    duration: Duration,
}

/// A running flow. On drop it ends without a report.
pub struct Running {
    /// Tells it to stop sending.
    stop: Arc<AtomicBool>,
    /// The thread.
    thread: Option<JoinHandle<Result<Report>>>,
}

// === impl Flow ===

impl Flow {
    /// Creates a flow to `target`: one socket, 100 datagrams of 64 bytes per second, for 1 s.
    pub fn to(target: SocketAddr) -> Self {
        Self { target, sockets: 1, rate: 100.0, size: 64, duration: Duration::from_secs(1) }
    }

    /// Sends from `number` sockets in turn.
    #[must_use]
    pub fn sockets(self, number: u32) -> Self {
        Self { sockets: number.max(1), ..self }
    }

    /// Sends `rate` datagrams per second over all sockets. A delayed sender catches up.
    #[must_use]
    pub fn rate(self, rate: u32) -> Self {
        Self { rate: f64::from(rate.max(1)), ..self }
    }

    /// Sends datagrams of `size` bytes, or larger if the number needs more.
    #[must_use]
    pub fn size(self, size: usize) -> Self {
        Self { size, ..self }
    }

    /// Sends for at most `duration`; see [`Running::stop`].
    #[must_use]
    pub fn lasting(self, duration: Duration) -> Self {
        Self { duration, ..self }
    }

    /// Starts sending from inside `namespace`.
    ///
    /// # Errors
    /// Returns an error if the namespace has no route to the target.
    pub fn start(self, namespace: &Netns) -> Result<Running> {
        let local: IpAddr = match self.target {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let mut ends = Vec::new();
        for _ in 0..self.sockets {
            let socket = super::socket(namespace, SocketAddr::new(local, 0))?;
            socket.connect(self.target).with_context(|| format!("no way to {}", self.target))?;
            socket.set_nonblocking(true)?;
            let line = Line { source: socket.local_addr()?, datagrams: Vec::new(), refused: 0, stray: 0 };
            ends.push(End { socket, line });
        }
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = namespace.spawn(move || {
            Sender { flow: self, ends, started: Instant::now(), late: Duration::ZERO }.run(&told)
        })?;
        Ok(Running { stop, thread: Some(thread) })
    }
}

// === impl Running ===

impl Running {
    /// Waits for the end of the flow and its last answers.
    ///
    /// # Errors
    /// Returns an error if a socket fails.
    pub fn finish(mut self) -> Result<Report> {
        let thread = self.thread.take().context("a flow is finished once")?;
        thread.join().map_err(|_| anyhow::anyhow!("the flow's thread panicked"))?
    }

    /// Stops sending, and waits for the last answers.
    ///
    /// # Errors
    /// Returns an error if a socket fails.
    pub fn stop(self) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A socket and the fate of its datagrams.
struct End {
    /// A connected, non-blocking socket.
    socket: UdpSocket,
    /// The fate of its datagrams.
    line: Line,
}

/// The thread's state.
struct Sender {
    /// The settings.
    flow: Flow,
    /// The sockets.
    ends: Vec<End>,
    /// The start time.
    started: Instant,
    /// The longest delay between a datagram's due time and its sending.
    late: Duration,
}

// === impl Sender ===

impl Sender {
    /// Sends until the duration is over or the flow is stopped, then waits for the last answers.
    fn run(mut self, stop: &AtomicBool) -> std::io::Result<Report> {
        let mut sent = 0;
        while self.started.elapsed() < self.flow.duration && !stop.load(Ordering::Relaxed) {
            sent = self.send_due(sent)?;
            let next = Duration::from_secs_f64(f64::from(sent) / self.flow.rate);
            self.receive_until(next)?;
        }
        let end = self.started.elapsed() + LINGER;
        while self.unanswered() && self.started.elapsed() < end {
            self.receive_until(end)?;
        }
        let lines: Vec<_> = self.ends.iter().map(|end| end.line.clone()).collect();
        Ok(Report { drops: drops_of(&lines)?, lines, late: self.late })
    }

    /// Sends all datagrams that are due, and returns the number sent so far.
    fn send_due(&mut self, mut sent: u32) -> std::io::Result<u32> {
        let count = self.flow.sockets;
        let due = Duration::from_secs_f64(f64::from(sent) / self.flow.rate);
        self.late = self.late.max(self.started.elapsed().saturating_sub(due));
        while f64::from(sent) / self.flow.rate <= self.started.elapsed().as_secs_f64() {
            let (turn, number) = (sent % count, sent / count);
            let text = format!("{turn}:{number}:{:x<1$}", "", self.flow.size);
            let bytes = &text.as_bytes()[..self.flow.size.max(text.len() - self.flow.size)];
            let end = &mut self.ends[turn as usize];
            end.line.datagrams.push(Datagram { sent: self.started.elapsed(), answer: None });
            match end.socket.send(bytes) {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    // The error belongs to an earlier datagram. This one wasn't sent, so it is sent again.
                    end.line.refused += 1;
                    let _ = end.socket.send(bytes);
                }
                // A cut link or a full queue: the datagram counts as lost.
                Err(_) | Ok(_) => {}
            }
            sent += 1;
        }
        Ok(sent)
    }

    /// Receives answers until `time`, or until one arrives.
    fn receive_until(&mut self, time: Duration) -> std::io::Result<()> {
        let left = time.saturating_sub(self.started.elapsed());
        let mut polled: Vec<_> =
            self.ends.iter().map(|end| PollFd::new(end.socket.as_fd(), PollFlags::POLLIN)).collect();
        match ppoll(&mut polled, Some(TimeSpec::from_duration(left)), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<_> = polled.iter().map(|fd| fd.any().unwrap_or_default()).collect();
        for (end, _) in self.ends.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            end.drain(self.started);
        }
        Ok(())
    }

    /// Returns whether answers are still missing.
    fn unanswered(&self) -> bool {
        self.ends.iter().any(|end| end.line.lost().next().is_some())
    }
}

// === impl End ===

impl End {
    /// Receives all answers that have arrived.
    fn drain(&mut self, started: Instant) {
        let mut buffer = [0; LARGEST];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => self.line.note(&buffer[..length], started.elapsed()),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => self.line.refused += 1,
                Err(_) => return,
            }
        }
    }
}

/// Returns the kernel's drops at these sockets, from inside their namespace.
fn drops_of(lines: &[Line]) -> std::io::Result<u64> {
    let ports: Vec<_> = lines.iter().map(|line| line.source.port()).collect();
    let sockets = own_udp_sockets().map_err(std::io::Error::other)?;
    Ok(sockets.iter().filter(|socket| ports.contains(&socket.port)).map(|socket| socket.drops).sum())
}
