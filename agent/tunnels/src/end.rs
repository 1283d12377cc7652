//! One end of the tunnels, as the data path uses it: [`End`].

use std::net::SocketAddrV4;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use portreeve_gue::client::Client;
use portreeve_gue::dropped::{Counts, Dropped};
use portreeve_gue::gateway::{Gateway, Outer, Received};

/// Decides on packets.
pub trait End: Send {
    /// Decides on a datagram from the other end. Returns the packet in it; `None` if it has none. At one time, it decides alike on
    /// all datagrams from an address that have the same bytes before packets of one flow.
    ///
    /// # Errors
    /// Returns why it is dropped.
    fn receive<'a>(&mut self, from: SocketAddrV4, payload: &'a [u8]) -> Result<Option<&'a [u8]>, Dropped>;

    /// Decides on a packet from the device. At one time, it decides alike on all packets of a flow that are no longer.
    ///
    /// # Errors
    /// Returns why it is dropped.
    fn send(&mut self, packet: &[u8]) -> Result<Outer, Dropped>;
}

/// An end that both directions and its owner use.
#[derive(Debug, Default)]
pub struct Shared<E>(Mutex<Counted<E>>);

/// An end with what it has counted.
#[derive(Debug, Default)]
pub(crate) struct Counted<E> {
    pub(crate) end: E,
    pub(crate) passed: Passed,
    pub(crate) dropped: Counts,
}

/// The packets that passed tunnels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// From the device to the other ends.
    pub outward: Volume,
    /// From the other ends to the device.
    pub inward: Volume,
}

/// A number of packets, and their bytes without the tunnel's headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// The packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

// === impl End ===

impl End for Gateway {
    fn receive<'a>(&mut self, from: SocketAddrV4, payload: &'a [u8]) -> Result<Option<&'a [u8]>, Dropped> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        match Self::receive(self, from, payload, i64::try_from(now.as_millis()).unwrap_or(i64::MAX))? {
            Received::Inner { packet, .. } => Ok(Some(packet)),
            Received::Ping { .. } => Ok(None),
        }
    }

    fn send(&mut self, packet: &[u8]) -> Result<Outer, Dropped> {
        Self::send(self, packet)
    }
}

impl End for Client {
    fn receive<'a>(&mut self, from: SocketAddrV4, payload: &'a [u8]) -> Result<Option<&'a [u8]>, Dropped> {
        Self::receive(self, from, payload, Instant::now()).map(Some)
    }

    fn send(&mut self, packet: &[u8]) -> Result<Outer, Dropped> {
        Self::send(self, packet, Instant::now())?.ok_or(Dropped::Destination)
    }
}

// === impl Shared ===

impl<E> Shared<E> {
    /// Shares an end.
    pub fn new(end: E) -> Self {
        Self(Mutex::new(Counted { end, passed: Passed::default(), dropped: Counts::default() }))
    }

    /// Uses the end.
    pub fn with<R>(&self, work: impl FnOnce(&mut E) -> R) -> R {
        work(&mut self.lock().end)
    }

    /// Returns how many packets were dropped.
    pub fn dropped(&self) -> Counts {
        self.lock().dropped.clone()
    }

    /// Returns how many packets passed and were dropped.
    pub fn counted(&self) -> (Passed, Counts) {
        let counted = self.lock();
        (counted.passed, counted.dropped.clone())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Counted<E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Volume ===

impl Volume {
    pub(crate) fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}
