//! A TCP application that speaks first ([`Greeter`]), and a client that waits for its first words ([`greeting`]).

use std::io::Read;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::netns::Netns;

/// How long a client waits for the first words, and for the end of a connection that is refused.
const PATIENCE: Duration = Duration::from_secs(5);

/// An application that greets every client with its name, and then repeats the client's lines.
pub struct Greeter {
    accepted: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

// === impl Greeter ===

impl Greeter {
    /// Opens `address` inside a network namespace. Must be called in a Tokio runtime.
    ///
    /// # Errors
    /// Returns an error if the port is taken.
    pub fn start(netns: &Netns, name: &str, address: SocketAddr) -> Result<Self> {
        let listener = netns.enter(|| StdListener::bind(address))??;
        listener.set_nonblocking(true)?;
        let (listener, accepted) = (TcpListener::from_std(listener)?, Arc::new(AtomicUsize::new(0)));
        let mut task = JoinSet::new();
        task.spawn(serve(listener, format!("{name}\n"), accepted.clone()));
        Ok(Self { accepted, _task: task })
    }

    /// Returns how many connections it accepted.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, greeting: String, accepted: Arc<AtomicUsize>) {
    let mut clients = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        accepted.fetch_add(1, Ordering::Relaxed);
        clients.spawn(talk(stream, greeting.clone()));
    }
}

async fn talk(mut stream: TcpStream, greeting: String) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    write.write_all(greeting.as_bytes()).await?;
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        write.write_all(format!("{line}\n").as_bytes()).await?;
    }
    Ok(())
}

/// Connects from inside a network namespace. Returns the application's name and the connection; `None` if the
/// connection is refused, or closed before its first byte.
///
/// # Errors
/// Returns an error if the connection stays open without a byte for five seconds.
pub fn greeting(netns: &Netns, to: SocketAddr) -> Result<Option<(String, StdStream)>> {
    netns.enter(|| {
        let Ok(mut stream) = StdStream::connect_timeout(&to, PATIENCE) else { return Ok(None) };
        stream.set_read_timeout(Some(PATIENCE))?;
        let (mut name, mut byte) = (String::new(), [0]);
        loop {
            match stream.read(&mut byte) {
                Ok(1) if byte[0] == b'\n' => return Ok(Some((name, stream))),
                Ok(1) => name.push(byte[0].into()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Err(error.into()),
                Ok(_) | Err(_) => return Ok(None),
            }
        }
    })?
}
