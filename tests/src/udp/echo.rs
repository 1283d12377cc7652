//! The answering side.

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

/// How often the thread looks whether it should end.
const LOOK: Duration = Duration::from_millis(20);

/// A UDP server that answers every datagram; ended when dropped.
pub struct Echo {
    /// What it signs its answers with.
    name: String,
    /// Where it listens.
    address: SocketAddr,
    /// Its namespace.
    namespace: Netns,
    /// What came so far.
    seen: Arc<Mutex<Seen>>,
    /// The thread, while it runs.
    running: Option<Worker>,
}

/// What an [`Echo`] has received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Datagrams.
    pub received: u64,
    /// Datagrams by source. Behind a proxy a source is one of its sessions.
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
    /// Listens on `address` (port 0: the kernel's choice) inside `namespace`, and signs as `name`.
    ///
    /// # Errors
    /// The address is taken or not of the namespace.
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came so far, over all restarts.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what came so far.
    pub fn forget(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen::default();
    }

    /// Datagrams that the kernel dropped at its socket: lost by the test, not by what is tested.
    ///
    /// # Errors
    /// The namespace can't be entered.
    pub fn drops(&self) -> Result<u64> {
        let sockets = self.namespace.udp_sockets()?;
        Ok(sockets
            .iter()
            .filter(|socket| socket.port == self.address.port())
            .map(|socket| socket.drops)
            .sum())
    }

    /// Closes the socket: senders get "port unreachable". Nothing happens when it is closed already.
    pub fn stop(&mut self) {
        if let Some(worker) = self.running.take() {
            worker.stop.store(true, Ordering::Relaxed);
            let _ = worker.thread.join();
        }
    }

    /// Listens again, on the same address.
    ///
    /// # Errors
    /// Somebody else took the address.
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

/// Answers until told to stop.
fn answer_all(socket: &UdpSocket, name: &str, seen: &Mutex<Seen>, stop: &AtomicBool) -> std::io::Result<()> {
    let mut buffer = vec![0; LARGEST];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((length, source)) => {
                note(seen, source);
                let mut answer = buffer[..length].to_vec();
                answer.extend_from_slice(format!("|{name}|{source}").as_bytes());
                // A sender that is gone, or a full queue: its loss shows in the sender's count.
                let _ = socket.send_to(&answer, source);
            }
            // Nothing came, or an earlier answer's sender is gone.
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

/// Whether the socket goes on working after this error.
fn is_passing(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted | ErrorKind::ConnectionRefused
    )
}
