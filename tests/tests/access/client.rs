//! Clients of the listener.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use portreeve_tests::banner::{Client, connect_from};
use portreeve_tests::certs::{Authority, Signed};

use crate::rig::PORT;

fn listener() -> SocketAddr {
    ([127, 0, 0, 1], PORT).into()
}

/// Connects from an address. Returns `None` if the connection is closed before the application's first byte.
pub async fn plain(from: IpAddr) -> Result<Option<Client>> {
    Client::plain(connect_from(from, listener()).await?).await
}

/// Connects by TLS with a certificate. Returns `None` if the connection is closed before the application's first byte.
/// With `speaks`, the client sends a line first.
pub async fn tls(authority: &Authority, own: Option<&Signed>, speaks: bool) -> Result<Option<Client>> {
    let stream = connect_from([127, 0, 0, 1].into(), listener()).await?;
    Client::tls(stream, authority, own, speaks).await
}
