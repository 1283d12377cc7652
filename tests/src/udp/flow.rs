//! The asking side.

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

/// How long answers are waited for after the last datagram.
const LINGER: Duration = Duration::from_millis(500);

/// A flow to be: where to, from how many sockets, how fast, how long.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Where the datagrams go.
    target: SocketAddr,
    /// How many sockets send in turn; each is a session of its own for a proxy.
    sockets: u32,
    /// Datagrams per second, over all sockets.
    rate: f64,
    /// Bytes of a datagram.
    size: usize,
    /// How long to send.
    duration: Duration,
}

/// A flow under way. Dropped, it ends without a report.
pub struct Running {
    /// Tells it to stop sending.
    stop: Arc<AtomicBool>,
    /// The thread.
    thread: Option<JoinHandle<Result<Report>>>,
}

// === impl Flow ===

impl Flow {
    /// A flow to `target`: one socket, 100 datagrams of 64 bytes per second, for 1 s.
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

    /// Sends datagrams of `size` bytes; the number of a datagram always fits in.
    #[must_use]
    pub fn size(self, size: usize) -> Self {
        Self { size, ..self }
    }

    /// Sends for `duration` at most; see [`Running::stop`].
    #[must_use]
    pub fn lasting(self, duration: Duration) -> Self {
        Self { duration, ..self }
    }

    /// Starts sending from inside `namespace`.
    ///
    /// # Errors
    /// The sockets can't be made: the namespace has no route to the target.
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
    /// A socket broke.
    pub fn finish(mut self) -> Result<Report> {
        let thread = self.thread.take().context("a flow is finished once")?;
        thread.join().map_err(|_| anyhow::anyhow!("the flow's thread panicked"))?
    }

    /// Stops sending, and waits for the last answers.
    ///
    /// # Errors
    /// A socket broke.
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

/// One socket and what became of its datagrams.
struct End {
    /// Connected and non-blocking.
    socket: UdpSocket,
    /// The account.
    line: Line,
}

/// The thread's state.
struct Sender {
    /// What to do.
    flow: Flow,
    /// With what.
    ends: Vec<End>,
    /// Time zero.
    started: Instant,
    /// The longest that a datagram was sent after it was due.
    late: Duration,
}

// === impl Sender ===

impl Sender {
    /// Sends until the time is over or it is told to stop, then waits for the last answers.
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

    /// Sends what is due by now, and returns how many were sent so far.
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
                    // The word of an earlier datagram's end: this one was not sent, so it is sent again.
                    end.line.refused += 1;
                    let _ = end.socket.send(bytes);
                }
                // A cut link or a full queue: a loss like any other.
                Err(_) | Ok(_) => {}
            }
            sent += 1;
        }
        Ok(sent)
    }

    /// Takes answers until `time`, or until there was one.
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

    /// Whether an answer may still come.
    fn unanswered(&self) -> bool {
        self.ends.iter().any(|end| end.line.lost().next().is_some())
    }
}

// === impl End ===

impl End {
    /// Takes every answer that is there.
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

/// The kernel's drops at these sockets, from inside their namespace.
fn drops_of(lines: &[Line]) -> std::io::Result<u64> {
    let ports: Vec<_> = lines.iter().map(|line| line.source.port()).collect();
    let sockets = own_udp_sockets().map_err(std::io::Error::other)?;
    Ok(sockets.iter().filter(|socket| ports.contains(&socket.port)).map(|socket| socket.drops).sum())
}
