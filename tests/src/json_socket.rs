//! A transcoder that speaks JSONSocket over UDP ([`Transcoder`]). Source: the protocol's version 1, as l7mp 0.5.7 speaks it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::netns::Netns;

/// The longest datagram.
const LONGEST: usize = 9000;

/// An application that accepts JSONSocket sessions, and sends each datagram back after a mark.
pub struct Transcoder {
    headers: Arc<Mutex<BTreeMap<SocketAddr, Value>>>,
    _task: JoinSet<()>,
}

// === impl Transcoder ===

impl Transcoder {
    /// Opens `address` inside a network namespace. Must be called in a Tokio runtime.
    ///
    /// # Errors
    /// Returns an error if the port is taken.
    pub fn start(netns: &Netns, address: SocketAddr, mark: &str) -> Result<Self> {
        let socket = netns.enter(|| std::net::UdpSocket::bind(address))??;
        socket.set_nonblocking(true)?;
        let (socket, headers) = (UdpSocket::from_std(socket)?, Arc::<Mutex<_>>::default());
        let mut task = JoinSet::new();
        task.spawn(serve(socket, mark.to_owned(), headers.clone()));
        Ok(Self { headers, _task: task })
    }

    /// Returns the headers of the sessions so far.
    pub fn headers(&self) -> Vec<Value> {
        self.headers.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

async fn serve(socket: UdpSocket, mark: String, headers: Arc<Mutex<BTreeMap<SocketAddr, Value>>>) {
    let mut buffer = vec![0; LONGEST];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let header = serde_json::from_slice::<Value>(&buffer[..length]).ok();
        let header = header.filter(|header| header.get("JSONSocketVersion").is_some());
        let answer = match header {
            Some(header) => {
                headers.lock().unwrap_or_else(PoisonError::into_inner).insert(from, header);
                let answer =
                    json!({"JSONSocketVersion": 1, "JSONSocketStatus": 200, "JSONSocketMessage": "OK"});
                answer.to_string().into_bytes()
            }
            None => [mark.as_bytes(), &buffer[..length]].concat(),
        };
        // A client that is gone refuses datagrams.
        let _ = socket.send_to(&answer, from).await;
    }
}
