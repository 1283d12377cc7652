//! The answering side of UDP traffic.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::LARGEST;
use crate::netns::Netns;

/// How often the thread checks whether it should end.
const LOOK: Duration = Duration::from_millis(20);

/// A UDP server that answers every datagram, and ends on drop.
pub struct Echo {
    /// Name in its answers.
    name: String,
    /// Listening address.
    address: SocketAddr,
    /// Its namespace.
    namespace: Netns,
    /// The datagrams so far.
    seen: Arc<Mutex<Seen>>,
    /// The thread, while it runs.
    running: Option<Worker>,
}

/// The datagrams that an [`Echo`] has received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Number of datagrams.
    pub received: u64,
    /// Number of datagrams by source. Behind a proxy, each source is one of its sessions.
    pub sources: BTreeMap<SocketAddr, u64>,
}

/// The thread that answers.
struct Worker {
    /// Tells it to end.
    stop: Arc<AtomicBool>,
    /// The thread; it closes the socket.
    thread: JoinHandle<Result<()>>,
}

// === impl Echo ===

impl Echo {
    /// Listens on `address` inside `namespace` (port 0: a free port), with `name` in its answers.
    ///
    /// # Errors
    /// Returns an error if the address is taken or doesn't belong to the namespace.
    pub fn start(namespace: &Netns, name: &str, address: SocketAddr) -> Result<Self> {
        ensure!(!name.contains('|'), "an echo's name must not hold a |");
        let socket = super::socket(namespace, address)?;
        let mut echo = Self {
            name: name.to_owned(),
            address: socket.local_addr()?,
            namespace: namespace.clone(),
            seen: Arc::default(),
            running: None,
        };
        echo.run(socket)?;
        Ok(echo)
    }

    /// Returns the listening address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the datagrams so far, including those before restarts.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Resets the counts.
    pub fn forget(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen::default();
    }

    /// Returns the number of datagrams that the kernel dropped at its socket. They were lost by the test, not by the
    /// product.
    ///
    /// # Errors
    /// Returns an error if the namespace can't be entered.
    pub fn drops(&self) -> Result<u64> {
        let sockets = self.namespace.udp_sockets()?;
        Ok(sockets
            .iter()
            .filter(|socket| socket.port == self.address.port())
            .map(|socket| socket.drops)
            .sum())
    }

    /// Closes the socket, so that senders get "port unreachable". Does nothing if it is already closed.
    pub fn stop(&mut self) {
        if let Some(worker) = self.running.take() {
            worker.stop.store(true, Ordering::Relaxed);
            let _ = worker.thread.join();
        }
    }

    /// Listens again on the same address.
    ///
    /// # Errors
    /// Returns an error if another process took the address.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        let socket = super::socket(&self.namespace, self.address)?;
        self.run(socket)
    }

    /// Starts the thread.
    fn run(&mut self, socket: UdpSocket) -> Result<()> {
        socket.set_read_timeout(Some(LOOK))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (told, name, seen) = (stop.clone(), self.name.clone(), self.seen.clone());
        let thread = self.namespace.spawn(move || answer_all(&socket, &name, &seen, &told))?;
        self.running = Some(Worker { stop, thread });
        Ok(())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Answers datagrams until it is told to stop.
fn answer_all(socket: &UdpSocket, name: &str, seen: &Mutex<Seen>, stop: &AtomicBool) -> std::io::Result<()> {
    let mut buffer = vec![0; LARGEST];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((length, source)) => {
                note(seen, source);
                let mut answer = buffer[..length].to_vec();
                answer.extend_from_slice(format!("|{name}|{source}").as_bytes());
                // If the sender is gone or the queue is full, the sender counts the loss.
                let _ = socket.send_to(&answer, source);
            }
            // Nothing arrived, or the receiver of an earlier answer is gone.
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Counts a datagram.
fn note(seen: &Mutex<Seen>, source: SocketAddr) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.received += 1;
    *seen.sources.entry(source).or_default() += 1;
}

/// Returns whether the socket still works after this error.
fn is_passing(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted | ErrorKind::ConnectionRefused
    )
}
