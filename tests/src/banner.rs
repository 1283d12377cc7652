//! Clients ([`Client`]) of an application that speaks first: whoever is rejected before it must not even get its banner.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::certs::{Authority, Signed};
use crate::greeter::Greeter;
use crate::netns::Netns;

/// The application's first words.
pub const BANNER: &str = "220 ready\n";
/// The name that clients verify in the server's certificate.
pub const SERVER: &str = "web.example";

/// Long, because the machine may be busy.
const BOUND: Duration = Duration::from_secs(30);

/// A connection that reached the application.
pub struct Client {
    stream: Box<dyn Stream>,
    /// The server's certificate in DER, empty without TLS.
    pub server: Vec<u8>,
}

/// A connection over TCP or TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Starts an application at a loopback port inside `netns`, which greets with the banner.
///
/// # Errors
/// Returns an error if the port is taken.
pub fn application(netns: &Netns, port: u16) -> Result<Greeter> {
    Greeter::start(netns, BANNER.trim_end(), SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))
}

/// Connects inside `netns`.
///
/// # Errors
/// Returns an error if nobody listens.
pub fn connect(netns: &Netns, to: SocketAddr) -> Result<tokio::net::TcpStream> {
    let stream = netns.enter(|| TcpStream::connect_timeout(&to, BOUND))?;
    let stream = stream.with_context(|| format!("connecting to {to}"))?;
    stream.set_nonblocking(true)?;
    Ok(tokio::net::TcpStream::from_std(stream)?)
}

/// Connects in the present network from an address.
///
/// # Errors
/// Returns an error if nobody listens.
pub async fn connect_from(from: IpAddr, to: SocketAddr) -> Result<tokio::net::TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await.context("connect")
}

fn config(authority: &Authority, own: Option<&Signed>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().into())?;
    let config = ClientConfig::builder().with_root_certificates(roots);
    let Some(own) = own else { return Ok(config.with_no_client_auth()) };
    let chain = vec![CertificateDer::from_pem_slice(own.certificate.as_bytes())?];
    Ok(config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(own.key.as_bytes())?)?)
}

// === impl Client ===

impl Client {
    /// Waits for the banner. Returns `None` if the connection is closed before its first byte.
    ///
    /// # Errors
    /// Returns an error if something else comes, or nothing in time.
    pub async fn plain(stream: tokio::net::TcpStream) -> Result<Option<Self>> {
        Self::of(Box::new(stream), Vec::new(), false).await
    }

    /// Begins TLS with a certificate and waits for the banner. Returns `None` if the connection is closed before its first
    /// byte. With `speaks`, the client sends a line first.
    ///
    /// # Errors
    /// Returns an error if something else comes, or nothing in time.
    pub async fn tls(
        stream: tokio::net::TcpStream,
        authority: &Authority,
        own: Option<&Signed>,
        speaks: bool,
    ) -> Result<Option<Self>> {
        let connector = TlsConnector::from(Arc::new(config(authority, own)?));
        let Ok(stream) = connector.connect(ServerName::try_from(SERVER)?, stream).await else {
            return Ok(None);
        };
        let server = stream.get_ref().1.peer_certificates().and_then(|all| all.first());
        let server = server.map(|one| one.to_vec()).unwrap_or_default();
        Self::of(Box::new(stream), server, speaks).await
    }

    async fn of(stream: Box<dyn Stream>, server: Vec<u8>, speaks: bool) -> Result<Option<Self>> {
        let mut client = Self { stream, server };
        if speaks && client.stream.write_all(b"hello\n").await.is_err() {
            return Ok(None);
        }
        let Some(greeting) = client.read(BANNER.len()).await? else { return Ok(None) };
        ensure!(greeting == BANNER, "{greeting:?} is not the banner");
        if speaks {
            ensure!(client.read(6).await?.as_deref() == Some("hello\n"), "the first line is lost");
        }
        Ok(Some(client))
    }

    /// Sends a line, and returns whether it came back.
    pub async fn lives(&mut self) -> bool {
        let sent = self.stream.write_all(b"ping\n").await;
        sent.is_ok() && self.read(5).await.ok().flatten().as_deref() == Some("ping\n")
    }

    /// Reads this number of bytes. Returns `None` if the connection ends before the first.
    async fn read(&mut self, bytes: usize) -> Result<Option<String>> {
        let mut text = vec![0; bytes];
        match timeout(BOUND, self.stream.read_exact(&mut text)).await.context("neither a byte nor an end")? {
            Ok(_) => Ok(Some(String::from_utf8(text)?)),
            Err(_) if text[0] == 0 => Ok(None),
            Err(error) => Err(error).context("the end of the connection after some bytes"),
        }
    }
}
