//! The pings of the customer's end: [`pings`].

use std::convert::Infallible;

use portreeve_gue::client::{Client, PERIOD};
use tokio::sync::Notify;
use tokio::time::sleep_until;

use crate::end::Shared;
use crate::socket::Socket;

/// Sends each ping when it is due, for ever. `changed` tells that tunnels were added: their first pings are due at once.
pub async fn pings(socket: &Socket, client: &Shared<Client>, changed: &Notify) -> Infallible {
    loop {
        let now = std::time::Instant::now();
        let (due, next) = client.with(|client| (client.pings(now), client.next_ping()));
        for (to, ping) in due {
            // A ping that can't be sent is lost, as others are on their way. The next one follows in 25 s.
            let _ = socket.send(to, &ping).await;
        }
        let next = next.unwrap_or(now + PERIOD);
        tokio::select! {
            () = sleep_until(next.into()) => {}
            () = changed.notified() => {}
        }
    }
}
