//! One end of the tunnels, as the data path uses it: [`End`].

use std::net::SocketAddrV4;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use portreeve_gue::client::Client;
use portreeve_gue::dropped::{Counts, Dropped};
use portreeve_gue::gateway::{Gateway, Outer, Received};

/// Decides on packets.
pub trait End: Send {
    /// Decides on a datagram from the other end. Returns the packet in it; `None` if it has none.
    ///
    /// # Errors
    /// Returns why it is dropped.
    fn receive<'a>(&mut self, from: SocketAddrV4, payload: &'a [u8]) -> Result<Option<&'a [u8]>, Dropped>;

    /// Decides on a packet from the device.
    ///
    /// # Errors
    /// Returns why it is dropped.
    fn send(&mut self, packet: &[u8]) -> Result<Outer, Dropped>;
}

/// An end that both directions and its owner use.
#[derive(Debug, Default)]
pub struct Shared<E>(Mutex<(E, Counts)>);

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
        Self(Mutex::new((end, Counts::default())))
    }

    /// Uses the end.
    pub fn with<R>(&self, work: impl FnOnce(&mut E) -> R) -> R {
        work(&mut self.lock().0)
    }

    /// Returns how many packets were dropped.
    pub fn dropped(&self) -> Counts {
        self.lock().1.clone()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, (E, Counts)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
