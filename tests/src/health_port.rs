//! Open TCP ports as targets of health checks. Entry points: [`HealthPort`], and [`HealthPorts`] for many.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::socket::{Shutdown, shutdown};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::netns::Netns;

/// An open TCP port: connections are accepted, counted and closed. On drop the port closes, and connections are
/// refused.
pub struct HealthPort {
    /// The port's address.
    address: SocketAddr,
    /// Number of connections so far, by client address.
    seen: Arc<Mutex<Sources>>,
    /// Ends the thread: at the sent time, or immediately on drop.
    stop: Option<oneshot::Sender<Instant>>,
    /// The thread, which returns the time at which it closed the port.
    thread: Option<JoinHandle<Result<Instant>>>,
}

/// Number of connections by client address.
pub type Sources = BTreeMap<IpAddr, u64>;

/// Many open TCP ports of one address, served by one thread. They close soon after a drop.
pub struct HealthPorts {
    /// Number of connections so far, by port.
    accepted: Arc<[AtomicU64]>,
    /// Ends the thread.
    _stop: oneshot::Sender<()>,
}

// === impl HealthPort ===

impl HealthPort {
    /// Opens `address` inside `namespace`. Port 0 means a free port.
    ///
    /// # Errors
    /// Returns an error if the port is taken.
    pub fn open(namespace: &Netns, address: SocketAddr) -> Result<Self> {
        let listener = listen(namespace, address)?;
        let address = listener.local_addr()?;
        let seen = Arc::<Mutex<Sources>>::default();
        let (stop, stopped) = oneshot::channel();
        let sources = seen.clone();
        let thread = namespace.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(accept(listener, &sources, stopped))
        })?;
        Ok(Self { address, seen, stop: Some(stop), thread: Some(thread) })
    }

    /// Returns the port's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of connections so far.
    pub fn accepted(&self) -> u64 {
        self.sources().values().sum()
    }

    /// Returns the number of connections so far, by client address.
    pub fn sources(&self) -> Sources {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes the port at this time, and returns when it was closed.
    ///
    /// # Errors
    /// Returns an error if the thread has already ended.
    pub fn close_at(mut self, at: Instant) -> Result<Instant> {
        let _ = self.stop.take().context("a port closes once")?.send(at);
        let thread = self.thread.take().context("a port closes once")?;
        thread.join().map_err(|_| anyhow::anyhow!("the thread of {} panicked", self.address))?
    }
}

impl Drop for HealthPort {
    /// Waits until the port is closed.
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

// === impl HealthPorts ===

impl HealthPorts {
    /// Opens `ports` of `ip` inside `namespace`.
    ///
    /// # Errors
    /// Returns an error if a port is taken.
    pub fn open(namespace: &Netns, ip: IpAddr, ports: Range<u16>) -> Result<Self> {
        let open = |port| listen(namespace, SocketAddr::new(ip, port));
        let listeners: Vec<TcpListener> = ports.map(open).collect::<Result<_>>()?;
        let accepted: Arc<[AtomicU64]> = listeners.iter().map(|_| AtomicU64::new(0)).collect();
        let (stop, stopped) = oneshot::channel();
        let counters = accepted.clone();
        namespace.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(accept_all(listeners, counters, stopped))
        })?;
        Ok(Self { accepted, _stop: stop })
    }

    /// Returns the number of connections so far, by port.
    pub fn accepted(&self) -> Vec<u64> {
        self.accepted.iter().map(|counter| counter.load(Ordering::Relaxed)).collect()
    }
}

fn listen(namespace: &Netns, address: SocketAddr) -> Result<TcpListener> {
    let listener = namespace.enter(|| TcpListener::bind(address))?.with_context(|| address.to_string())?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts connections until the given time or the sender's drop. Returns when the port was closed.
async fn accept(
    listener: TcpListener,
    seen: &Mutex<Sources>,
    stopped: oneshot::Receiver<Instant>,
) -> std::io::Result<Instant> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let closing = async {
        if let Ok(at) = stopped.await {
            tokio::time::sleep_until(at.into()).await;
        }
    };
    tokio::pin!(closing);
    loop {
        tokio::select! {
            connection = listener.accept() => {
                let (_, from) = connection?;
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                *seen.entry(from.ip()).or_default() += 1;
            }
            () = &mut closing => break,
        }
    }
    let closed = Instant::now();
    // A process that another thread starts at this moment has a copy of the socket until it executes its program.
    shutdown(listener.as_raw_fd(), Shutdown::Both)?;
    Ok(closed)
}

/// Accepts connections on all ports until the sender is dropped.
async fn accept_all(
    listeners: Vec<TcpListener>,
    accepted: Arc<[AtomicU64]>,
    stopped: oneshot::Receiver<()>,
) -> std::io::Result<()> {
    let mut tasks = JoinSet::new();
    for (number, listener) in listeners.into_iter().enumerate() {
        let (listener, counters) = (tokio::net::TcpListener::from_std(listener)?, accepted.clone());
        tasks.spawn(async move {
            while listener.accept().await.is_ok() {
                counters[number].fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    // Either a message or a drop ends the thread.
    let _ = stopped.await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::wait::wait_until;

    #[test]
    fn port_is_open_until_its_time_and_says_who_came() {
        let netns = Netns::new("door").unwrap();
        let port = HealthPort::open(&netns, SocketAddr::new(netns.v4(), 0)).unwrap();
        let address = port.address();
        let knock = || netns.enter(|| TcpStream::connect(address).is_ok()).unwrap();
        assert!(knock() && knock());
        wait_until("two visits", Duration::from_secs(20), || port.accepted() == 2).unwrap();
        assert_eq!(port.sources(), Sources::from([(Ipv4Addr::LOCALHOST.into(), 2)]));
        let at = Instant::now() + Duration::from_millis(50);
        assert!(port.close_at(at).unwrap() >= at);
        assert!(!knock());
    }

    #[test]
    fn each_of_many_ports_is_open_and_counted_by_itself() {
        let netns = Netns::new("doors").unwrap();
        let ports = HealthPorts::open(&netns, netns.v4(), 7000..7020).unwrap();
        for port in (7000..7020).chain(7003..7004) {
            assert!(netns.enter(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()).unwrap());
        }
        let total = || ports.accepted().iter().sum::<u64>() == 21;
        wait_until("every visit", Duration::from_secs(20), total).unwrap();
        assert_eq!(ports.accepted()[2..5], [1, 2, 1]);
    }
}
