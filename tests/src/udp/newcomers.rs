//! New senders at a constant rate: each datagram comes from its own socket, so each is a new session for a proxy. Entry
//! point: [`Newcomers`].

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::netns::Netns;

/// Timeout of an answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// The fate of one newcomer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newcomer {
    /// Time at which its datagram was sent.
    pub sent: Instant,
    /// Name of the echo that answered; `None` if there was no answer.
    pub by: Option<String>,
}

/// A stream of newcomers until [`Newcomers::finish`]. On drop it ends without a report.
pub struct Newcomers {
    /// Tells the thread to end.
    stop: Arc<AtomicBool>,
    /// Newcomers with an answer or a timeout.
    done: Arc<Mutex<Vec<Newcomer>>>,
    /// The thread.
    thread: Option<JoinHandle<Result<()>>>,
}

/// The thread's state.
struct Crowd {
    /// Destination.
    target: SocketAddr,
    /// Interval between two newcomers.
    pause: Duration,
    /// Newcomers without an answer yet, the oldest first.
    waiting: VecDeque<(Instant, UdpSocket)>,
    /// All other newcomers.
    done: Arc<Mutex<Vec<Newcomer>>>,
}

// === impl Newcomers ===

impl Newcomers {
    /// Starts sending to `target` from inside `namespace`, one datagram every `pause`.
    ///
    /// # Errors
    /// Returns an error if the thread can't be started.
    pub fn start(namespace: &Netns, target: SocketAddr, pause: Duration) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let done = Arc::<Mutex<Vec<Newcomer>>>::default();
        let crowd = Crowd { target, pause, waiting: VecDeque::new(), done: done.clone() };
        let thread = namespace.spawn(move || crowd.run(&told))?;
        Ok(Self { stop, done, thread: Some(thread) })
    }

    /// Returns the newcomers with an answer or a timeout so far, in the order of sending.
    pub fn so_far(&self) -> Vec<Newcomer> {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner).clone();
        done.sort_by_key(|newcomer| newcomer.sent);
        done
    }

    /// Stops sending, waits for the last answers, and returns the fate of all newcomers in the order of sending.
    ///
    /// # Errors
    /// Returns an error if a socket couldn't be opened.
    pub fn finish(mut self) -> Result<Vec<Newcomer>> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("newcomers finish once")?;
        thread.join().map_err(|_| anyhow::anyhow!("the newcomers' thread panicked"))??;
        Ok(self.so_far())
    }
}

impl Drop for Newcomers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

// === impl Crowd ===

impl Crowd {
    fn run(mut self, stop: &AtomicBool) -> std::io::Result<()> {
        let mut due = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            self.send()?;
            due += self.pause;
            while Instant::now() < due {
                self.receive(due)?;
            }
        }
        while let Some((sent, _)) = self.waiting.front() {
            self.receive(*sent + PATIENCE)?;
        }
        Ok(())
    }

    fn send(&mut self) -> std::io::Result<()> {
        let any: SocketAddr = if self.target.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
        let socket = UdpSocket::bind(any)?;
        socket.connect(self.target)?;
        socket.set_nonblocking(true)?;
        let sent = Instant::now();
        // A datagram that can't be sent counts as lost.
        let _ = socket.send(b"0:0:x");
        self.waiting.push_back((sent, socket));
        Ok(())
    }

    /// Receives the answers that have arrived, gives up on late ones, then waits a little, at most until `time`.
    fn receive(&mut self, time: Instant) -> std::io::Result<()> {
        let mut buffer = [0; 512];
        let now = Instant::now();
        for (sent, socket) in std::mem::take(&mut self.waiting) {
            match socket.recv(&mut buffer) {
                Ok(length) => self.settle(sent, name(&buffer[..length])),
                Err(_) if now >= sent + PATIENCE => self.settle(sent, None),
                Err(_) => self.waiting.push_back((sent, socket)),
            }
        }
        let left = time.saturating_duration_since(Instant::now());
        nix::poll::ppoll(&mut [], Some(nix::sys::time::TimeSpec::from_duration(left.min(TICK))), None)?;
        Ok(())
    }

    fn settle(&self, sent: Instant, by: Option<String>) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(Newcomer { sent, by });
    }
}

/// How often to look for answers.
const TICK: Duration = Duration::from_millis(2);

/// Returns the echo's name in an answer.
fn name(answer: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(answer).ok()?;
    text.split('|').nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::Echo;

    #[test]
    fn every_newcomer_is_told_of_with_who_answered() {
        let netns = Netns::new("alone").unwrap();
        let echo = Echo::start(&netns, "e", SocketAddr::new(netns.v4(), 0)).unwrap();
        let newcomers = Newcomers::start(&netns, echo.address(), Duration::from_millis(5)).unwrap();
        crate::wait::wait_until("twenty datagrams", Duration::from_secs(20), || echo.seen().received >= 20)
            .unwrap();
        let told = newcomers.finish().unwrap();
        assert!(told.len() >= 20 && told.iter().all(|one| one.by.as_deref() == Some("e")), "{told:?}");
        assert_eq!(echo.seen().sources.len(), told.len(), "a socket was used twice");
    }
}
