//! A connection that a token closes ([`Cut`]). xDS streams never end by themselves, so a shutdown has to close them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// An I/O object that fails when its token is cancelled, with the connection's info.
pub(crate) struct Cut<IO, I> {
    io: IO,
    info: I,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

// === impl Cut ===

impl<IO, I> Cut<IO, I> {
    pub(crate) fn new(io: IO, info: I, token: &CancellationToken) -> Self {
        Self { io, info, cut: Box::pin(token.clone().cancelled_owned()) }
    }
}

impl<IO: AsyncRead + Unpin, I: Unpin> AsyncRead for Cut<IO, I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_ready() {
            return read;
        }
        self.cut.as_mut().poll(cx).map(|()| Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

impl<IO: AsyncWrite + Unpin, I: Unpin> AsyncWrite for Cut<IO, I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl<IO, I: Clone + Send + Sync + 'static> Connected for Cut<IO, I> {
    type ConnectInfo = I;

    fn connect_info(&self) -> I {
        self.info.clone()
    }
}
