//! `portreeve echo`: a worker that answers every datagram with itself and the address it was answered from.

use std::net::{SocketAddr, UdpSocket};

use anyhow::Context;

/// Between a datagram and the address that it was answered from.
pub const MARK: &str = " answered by ";

/// Largest datagram that is answered, in bytes.
const LARGEST: usize = 65_507;

/// Flags of `portreeve echo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address and port to answer on.
    #[arg(long)]
    pub listen: SocketAddr,
}

/// Answers until the process is ended.
///
/// # Errors
/// The address can't be bound, or the socket fails.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let socket = UdpSocket::bind(args.listen).with_context(|| format!("--listen {}", args.listen))?;
    let mark = format!("{MARK}{}", socket.local_addr()?);
    let mut buffer = vec![0; LARGEST];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer)?;
        let mut answer = buffer[..length].to_vec();
        answer.extend_from_slice(mark.as_bytes());
        answer.truncate(LARGEST);
        // A peer that has gone is its own affair.
        let _ = socket.send_to(&answer, peer);
    }
}
