//! A TCP port that answers HTTP requests with a status chosen by the test: [`HttpPort`].

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::netns::Netns;

/// Maximum length of a request's head in bytes.
const HEAD: usize = 8192;

/// An open port, which closes soon after a drop.
pub struct HttpPort {
    state: Arc<State>,
    /// Ends the thread.
    _stop: oneshot::Sender<()>,
}

struct State {
    status: AtomicU16,
    /// The request lines so far.
    asked: Mutex<BTreeSet<String>>,
}

// === impl HttpPort ===

impl HttpPort {
    /// Opens `address` inside `namespace`. The first status is 200.
    ///
    /// # Errors
    /// Returns an error if the port is taken.
    pub fn open(namespace: &Netns, address: SocketAddr) -> Result<Self> {
        let listener =
            namespace.enter(|| TcpListener::bind(address))?.with_context(|| address.to_string())?;
        listener.set_nonblocking(true)?;
        let state = Arc::new(State { status: AtomicU16::new(200), asked: Mutex::default() });
        let (stop, stopped) = oneshot::channel();
        let shared = state.clone();
        namespace.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                tokio::select! {
                    failed = serve(listener, shared) => failed,
                    // The sender was dropped.
                    _ = stopped => Ok(()),
                }
            })
        })?;
        Ok(Self { state, _stop: stop })
    }

    /// Sets the status of all further answers.
    pub fn answer(&self, status: u16) {
        self.state.status.store(status, Ordering::Relaxed);
    }

    /// Returns the different request lines so far.
    pub fn asked(&self) -> BTreeSet<String> {
        self.state.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        connections.spawn(answer(stream, state.clone()));
    }
}

/// Answers the requests on one connection until it ends. A client that closes it is no error.
async fn answer(mut stream: TcpStream, state: Arc<State>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while head.len() < HEAD && stream.read_buf(&mut head).await? > 0 {
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let line = text.lines().next().unwrap_or_default().to_owned();
        state.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(line);
        let status = state.status.load(Ordering::Relaxed);
        let answer = format!("HTTP/1.1 {status} Chosen\r\nlocation: /\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await?;
        head.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};

    use super::*;

    #[test]
    fn status_is_the_one_that_was_chosen_last() {
        let netns = Netns::new("http").unwrap();
        let address = SocketAddr::new(netns.v4(), 7070);
        let port = HttpPort::open(&netns, address).unwrap();
        let ask = |path: &str| {
            let mut stream = netns.enter(|| std::net::TcpStream::connect(address)).unwrap().unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            line
        };
        assert_eq!(ask("/a"), "HTTP/1.1 200 Chosen\r\n");
        port.answer(503);
        assert_eq!(ask("/b"), "HTTP/1.1 503 Chosen\r\n");
        assert_eq!(port.asked(), BTreeSet::from(["/a", "/b"].map(|path| format!("GET {path} HTTP/1.1"))));
    }
}
