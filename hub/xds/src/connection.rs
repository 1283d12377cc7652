//! A client's connection that ends when it is dropped ([`Connection`]).

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint, Error};
use tower::Service;

/// A connection to a server. Dropping it closes the connection, whatever is still being sent.
///
/// A [`Channel`] alone doesn't: a request that the server doesn't read keeps the connection and its stream, and the server
/// may not read it because it waits for this client to read responses.
#[derive(Debug)]
pub struct Connection {
    channel: Channel,
    tasks: Tasks,
}

/// The tasks of a connection.
#[derive(Clone, Debug, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

// === impl Connection ===

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// The server can't be reached, or its certificate is not accepted.
    pub async fn open(endpoint: Endpoint) -> Result<Self, Error> {
        let tasks = Tasks::default();
        let channel = endpoint.executor(tasks.clone()).connect().await?;
        Ok(Self { channel, tasks })
    }

    /// Connects by a function that opens a byte stream.
    ///
    /// # Errors
    /// The function's error.
    pub(crate) async fn open_by<C, IO>(endpoint: Endpoint, connector: C) -> Result<Self, Error>
    where
        C: Service<http::Uri, Response = TokioIo<IO>, Error = std::io::Error> + Send + 'static,
        C::Future: Send,
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let tasks = Tasks::default();
        let channel = endpoint.executor(tasks.clone()).connect_with_connector(connector).await?;
        Ok(Self { channel, tasks })
    }

    /// Returns what calls are made by. It fails once the connection is dropped.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.lock().abort_all();
    }
}

// === impl Tasks ===

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let mut tasks = self.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}
