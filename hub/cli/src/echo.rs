//! `portreeve echo`: a test worker that answers every datagram, or every text over TCP, with its content and the worker's own
//! address.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use anyhow::Context;

/// The text between the datagram's content and the worker's address in an answer.
pub const MARK: &str = " answered by ";

/// Maximum size of an answered datagram, in bytes.
const LARGEST: usize = 65_507;

/// Flags of `portreeve echo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address and port to listen on.
    #[arg(long)]
    pub listen: SocketAddr,
    /// Answer texts over TCP connections instead of datagrams.
    #[arg(long)]
    pub tcp: bool,
}

/// Answers datagrams or connections until the process ends.
///
/// # Errors
/// Returns an error if the address can't be bound or the socket fails.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.tcp { over_tcp(args) } else { over_udp(args) }
}

fn over_udp(args: &Args) -> anyhow::Result<()> {
    let socket = UdpSocket::bind(args.listen).with_context(|| format!("--listen {}", args.listen))?;
    let mark = format!("{MARK}{}", socket.local_addr()?);
    let mut buffer = vec![0; LARGEST];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer)?;
        let mut answer = buffer[..length].to_vec();
        answer.extend_from_slice(mark.as_bytes());
        answer.truncate(LARGEST);
        // The peer may be gone already, which is no error.
        let _ = socket.send_to(&answer, peer);
    }
}

fn over_tcp(args: &Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen).with_context(|| format!("--listen {}", args.listen))?;
    let mark = format!("{MARK}{}\n", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept()?;
        let mark = mark.clone();
        // A client that is gone is no error.
        thread::spawn(move || drop(answer(stream, &mark)));
    }
}

/// Answers each text that arrives, until the client ends its side of the connection.
fn answer(mut stream: TcpStream, mark: &str) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&[buffer[..length].trim_ascii_end(), mark.as_bytes()].concat())?;
    }
}
