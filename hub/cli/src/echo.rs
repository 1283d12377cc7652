//! `portreeve echo`: a test worker that answers every datagram with its content and the worker's own address.

use std::net::{SocketAddr, UdpSocket};

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
}

/// Answers datagrams until the process ends.
///
/// # Errors
/// Returns an error if the address can't be bound or the socket fails.
pub fn run(args: &Args) -> anyhow::Result<()> {
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
