//! The asking side.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::LARGEST;
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

/// What became of a flow.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Each socket's part.
    pub lines: Vec<Line>,
    /// Answers that the kernel dropped at the flow's own sockets: lost by the test, not by what is tested.
    pub drops: u64,
}

/// What became of one socket's datagrams.
#[derive(Debug, Clone)]
pub struct Line {
    /// The socket's own address.
    pub source: SocketAddr,
    /// Every datagram, in the order of sending.
    pub datagrams: Vec<Datagram>,
    /// "Port unreachable" answers.
    pub refused: u64,
    /// Answers to nothing that was sent, or to something answered already.
    pub stray: u64,
}

/// One datagram. Times are since the flow's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// When it was sent.
    pub sent: Duration,
    /// Its answer; none: it was lost.
    pub answer: Option<Answer>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// When it came.
    pub at: Duration,
    /// The echo's name.
    pub by: String,
    /// Whom the echo took for the sender: behind a proxy, its upstream socket.
    pub upstream: SocketAddr,
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
        let thread =
            namespace.spawn(move || Sender { flow: self, ends, started: Instant::now() }.run(&told))?;
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

// === impl Report ===

impl Report {
    /// Datagrams sent.
    pub fn sent(&self) -> usize {
        self.lines.iter().map(|line| line.datagrams.len()).sum()
    }

    /// Datagrams answered.
    pub fn received(&self) -> usize {
        self.lines.iter().map(Line::received).sum()
    }

    /// Datagrams never answered; [`Report::drops`] of them are the test's own fault.
    pub fn lost(&self) -> usize {
        self.sent() - self.received()
    }

    /// Answers by echo.
    pub fn answered_by(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for answer in self.lines.iter().flat_map(Line::answers) {
            *counts.entry(answer.by.clone()).or_default() += 1;
        }
        counts
    }

    /// The longest that any socket went without an answer; see [`Line::longest_gap`].
    pub fn longest_gap(&self) -> Duration {
        self.lines.iter().map(Line::longest_gap).max().unwrap_or_default()
    }

    /// Nothing lost, or says what was.
    ///
    /// # Errors
    /// Datagrams were lost, or nothing was sent.
    pub fn lossless(&self) -> Result<()> {
        ensure!(self.sent() > 0, "nothing was sent");
        ensure!(self.lost() == 0, "{self}");
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused: u64 = self.lines.iter().map(|line| line.refused).sum();
        let (sent, lost, by) = (self.sent(), self.lost(), self.answered_by());
        write!(f, "{lost} of {sent} lost ({} at the test's own sockets), {refused} refused, ", self.drops)?;
        write!(f, "answered by {by:?}, longest gap {:.1?}", self.longest_gap())?;
        let unanswered = |line: &Line| line.lost().map(|datagram| datagram.sent).collect::<Vec<_>>();
        let mut times: Vec<_> = self.lines.iter().flat_map(unanswered).collect();
        times.sort_unstable();
        match (times.first(), times.last()) {
            (Some(first), Some(last)) => write!(f, ", lost from {first:.3?} to {last:.3?}"),
            _ => Ok(()),
        }
    }
}

// === impl Line ===

impl Line {
    /// The answers, in the order of sending.
    pub fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.datagrams.iter().filter_map(|datagram| datagram.answer.as_ref())
    }

    /// The datagrams that got none.
    pub fn lost(&self) -> impl Iterator<Item = &Datagram> {
        self.datagrams.iter().filter(|datagram| datagram.answer.is_none())
    }

    /// Datagrams answered.
    pub fn received(&self) -> usize {
        self.answers().count()
    }

    /// The echoes that answered, in the order of their first answer, without repetition: `[a, b, a]` is `[a, b]`.
    pub fn echoes(&self) -> Vec<&str> {
        let mut found = Vec::new();
        for answer in self.answers() {
            if !found.contains(&answer.by.as_str()) {
                found.push(answer.by.as_str());
            }
        }
        found
    }

    /// The upstream sockets, likewise: more than one means that the proxy's session was made anew.
    pub fn upstreams(&self) -> Vec<SocketAddr> {
        let mut found = Vec::new();
        for answer in self.answers() {
            if !found.contains(&answer.upstream) {
                found.push(answer.upstream);
            }
        }
        found
    }

    /// The longest time between two answers, the first datagram and the first answer, or the last answer and the last
    /// datagram.
    pub fn longest_gap(&self) -> Duration {
        let sent = |datagram: Option<&Datagram>| datagram.map(|datagram| datagram.sent).unwrap_or_default();
        let (first, last) = (sent(self.datagrams.first()), sent(self.datagrams.last()));
        let mut times: Vec<_> = self.answers().map(|answer| answer.at).chain([first, last]).collect();
        times.sort_unstable();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
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
        Ok(Report { drops: drops_of(&lines)?, lines })
    }

    /// Sends what is due by now, and returns how many were sent so far.
    fn send_due(&mut self, mut sent: u32) -> std::io::Result<u32> {
        let count = self.flow.sockets;
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

impl Line {
    /// Books an answer.
    fn note(&mut self, bytes: &[u8], at: Duration) {
        let parsed = parse_answer(bytes);
        let open = parsed.as_ref().and_then(|(number, ..)| self.datagrams.get_mut(*number));
        match (parsed, open) {
            (Some((_, by, upstream)), Some(datagram @ Datagram { answer: None, .. })) => {
                datagram.answer = Some(Answer { at, by, upstream });
            }
            _ => self.stray += 1,
        }
    }
}

/// A datagram's number, the echo's name and the source that it saw.
fn parse_answer(bytes: &[u8]) -> Option<(usize, String, SocketAddr)> {
    let mut parts = std::str::from_utf8(bytes).ok()?.split('|');
    let number = parts.next()?.split(':').nth(1)?.parse().ok()?;
    let by = parts.next()?.to_owned();
    Some((number, by, parts.next()?.parse().ok()?))
}

/// The kernel's drops at these sockets, from inside their namespace.
fn drops_of(lines: &[Line]) -> std::io::Result<u64> {
    let ports: Vec<_> = lines.iter().map(|line| line.source.port()).collect();
    let sockets = own_udp_sockets().map_err(std::io::Error::other)?;
    Ok(sockets.iter().filter(|socket| ports.contains(&socket.port)).map(|socket| socket.drops).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn mk_line(answers: &[(u64, Option<(u64, &str, u16)>)]) -> Line {
        let mk = |(by, upstream): (&str, u16), at| Answer {
            at: ms(at),
            by: by.to_owned(),
            upstream: SocketAddr::from(([10, 0, 0, 1], upstream)),
        };
        let datagrams = answers.iter().map(|(sent, answer)| Datagram {
            sent: ms(*sent),
            answer: answer.map(|(at, by, upstream)| mk((by, upstream), at)),
        });
        let source = SocketAddr::from(([10, 0, 0, 2], 1));
        Line { source, datagrams: datagrams.collect(), refused: 0, stray: 0 }
    }

    #[test]
    fn a_lost_datagram_is_counted_and_makes_a_gap() {
        let line = mk_line(&[
            (0, Some((1, "a", 7))),
            (10, None),
            (20, Some((21, "b", 8))),
            (30, Some((31, "a", 7))),
        ]);
        let report = Report { lines: vec![line], drops: 0 };
        assert_eq!((report.sent(), report.received(), report.lost()), (4, 3, 1));
        assert_eq!(report.longest_gap(), ms(20));
        assert_eq!(report.answered_by(), BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 1)]));
        assert_eq!(report.lines[0].echoes(), ["a", "b"]);
        assert_eq!(report.lines[0].upstreams().len(), 2);
        assert!(report.lossless().unwrap_err().to_string().contains("lost from 10.000ms to 10.000ms"));
    }

    #[test]
    fn an_end_without_answers_is_a_gap() {
        assert_eq!(mk_line(&[(0, Some((1, "a", 7))), (10, None), (90, None)]).longest_gap(), ms(89));
        assert_eq!(mk_line(&[(5, None), (50, None)]).longest_gap(), ms(45));
    }

    #[test]
    fn a_second_answer_is_stray() {
        let mut line = mk_line(&[(0, None)]);
        line.note(b"0:0:xx|a|10.0.0.1:7", ms(1));
        line.note(b"0:0:xx|b|10.0.0.1:8", ms(2));
        line.note(b"0:9:xx|b|10.0.0.1:8", ms(2));
        line.note(b"garbage", ms(2));
        assert_eq!((line.received(), line.stray, line.echoes()), (1, 3, vec!["a"]));
    }

    #[test]
    fn no_datagram_is_no_success() {
        assert!(Report::default().lossless().is_err());
    }
}
