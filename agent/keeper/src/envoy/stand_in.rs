//! Answers an Envoy for the one that it hot-restarted from, if that one has died: [`StandIn`].
//!
//! An Envoy that took over asks the old one for statistics every five seconds, until it tells the old one to end. Its main
//! thread waits for the answer without end if the old one dies while it is asked: calls go on, but no configuration is
//! accepted, the admin interface is silent, and no later Envoy can take over. If the old one is dead already, the new one
//! tries for ten seconds and aborts (both seen with Envoy 1.40).
//!
//! A message is a datagram: the length of the rest in eight bytes, and a `HotRestartMessage` (Envoy's
//! `source/server/hot_restart.proto`).

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::args::Place;
use super::base_id::{self, NAME_LENGTH};

/// Number of bytes of a message's length.
const HEAD: usize = 8;
/// Longer messages are cut; only the first bytes of a message are read.
const LONGEST: usize = 64;
/// The reply that the old Envoy has no statistics: field 2 (reply) with an empty field 3 (stats).
const NO_STATISTICS: [u8; 4] = [0x12, 2, 0x1a, 0];
/// Field 1 of a message: a request.
const REQUEST: u8 = 0x0a;
/// Field 3 of a request: statistics are wanted.
const STATISTICS: u8 = 0x1a;
/// Field 5 of a request: the old Envoy shall end.
const END: u8 = 0x2a;

/// A task that answers, until the new Envoy tells it to end or its time is over. Ends with this value.
#[derive(Debug)]
pub(crate) struct StandIn(JoinSet<()>);

/// What the new Envoy asks of the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Statistics,
    End,
    /// Something that needs no answer, such as a drain.
    Other,
}

// === impl StandIn ===

impl StandIn {
    /// Answers the live Envoy at `place` for at most `lasting`. Its first answer is for a question that the dead Envoy took
    /// along; an answer too many is kept for the next question.
    ///
    /// # Errors
    /// Returns an error if the old Envoy's socket can't be bound, for example because the old Envoy lives.
    pub(crate) fn begin(place: Place, lasting: Duration) -> io::Result<Self> {
        let old = address("parent", place.base_id, place.epoch.saturating_sub(1))?;
        let new = address("child", place.base_id, place.epoch)?;
        let socket = UnixDatagram::bind_addr(&old)?;
        socket.set_nonblocking(true)?;
        let asked = tokio::net::UnixDatagram::from_std(socket.try_clone()?)?;
        socket.send_to_addr(&reply(), &new)?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            let outcome = timeout(lasting, serve(&asked, || socket.send_to_addr(&reply(), &new))).await;
            tracing::debug!(?outcome, "no more answers for the old Envoy");
        });
        Ok(Self(task))
    }

    /// Returns whether it no longer answers.
    pub(crate) fn is_over(&mut self) -> bool {
        self.0.try_join_next().is_some() || self.0.is_empty()
    }
}

/// Answers until the end is asked for.
async fn serve(socket: &tokio::net::UnixDatagram, answer: impl Fn() -> io::Result<usize>) -> io::Result<()> {
    let mut message = [0; LONGEST];
    loop {
        let length = socket.recv(&mut message).await?;
        match asked(&message[..length]) {
            Asked::Statistics => answer()?,
            Asked::End => return Ok(()),
            Asked::Other => 0,
        };
    }
}

fn asked(message: &[u8]) -> Asked {
    match message.get(HEAD..) {
        Some([REQUEST, _, STATISTICS, ..]) => Asked::Statistics,
        Some([REQUEST, _, END, ..]) => Asked::End,
        _ => Asked::Other,
    }
}

fn reply() -> [u8; HEAD + NO_STATISTICS.len()] {
    let mut reply = [0; HEAD + NO_STATISTICS.len()];
    reply[HEAD - 1] = NO_STATISTICS.len() as u8;
    reply[HEAD..].copy_from_slice(&NO_STATISTICS);
    reply
}

/// Returns the address of an Envoy's socket, whose name is padded with zeros.
fn address(kind: &str, base_id: u32, epoch: u32) -> io::Result<SocketAddr> {
    let mut name = base_id::socket(kind, base_id, epoch).into_bytes();
    name.resize(NAME_LENGTH, 0);
    SocketAddr::from_abstract_name(name)
}

#[cfg(test)]
mod tests {
    use super::{Asked, asked, reply};

    #[test]
    fn questions_are_told_apart_by_their_field() {
        for (message, expected) in [
            (&[0, 0, 0, 0, 0, 0, 0, 4, 0x0a, 2, 0x1a, 0][..], Asked::Statistics),
            (&[0, 0, 0, 0, 0, 0, 0, 4, 0x0a, 2, 0x2a, 0], Asked::End),
            (&[0, 0, 0, 0, 0, 0, 0, 4, 0x0a, 2, 0x22, 0], Asked::Other),
            (&[0, 0, 0, 0, 0, 0, 0, 4, 0x12, 2, 0x1a, 0], Asked::Other),
            (&[0, 0, 0], Asked::Other),
            (&[], Asked::Other),
        ] {
            assert_eq!(asked(message), expected, "{message:?}");
        }
    }

    #[test]
    fn reply_begins_with_its_length() {
        assert_eq!(reply(), [0, 0, 0, 0, 0, 0, 0, 4, 0x12, 2, 0x1a, 0]);
    }
}
