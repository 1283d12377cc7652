//! The pipe from a keeper's parent, for keepers that end together with their parent.

use std::future::pending;
use std::io;

use tokio::net::unix::pipe;

/// Returns when the other end of the pipe is closed; never without a pipe.
pub(super) async fn closed(parent: Option<pipe::Receiver>) {
    let Some(parent) = parent else { return pending().await };
    let mut byte = [0; 1];
    while parent.readable().await.is_ok() {
        match parent.try_read(&mut byte) {
            Ok(1) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => return,
        }
    }
}
