//! Clients of the listener: [`Client`].

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use portreeve_tests::certs::{Authority, Signed};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::rig::{BANNER, BOUND, PORT};

/// A connection over TCP or TLS.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection that reached the application.
pub struct Client {
    stream: Box<dyn Stream>,
    /// The server's certificate, empty without TLS.
    pub server: Vec<u8>,
}

/// Connects from an address. Returns `None` if the connection is closed before the application's first byte.
pub async fn plain(from: IpAddr) -> Result<Option<Client>> {
    Client::of(Box::new(tcp(from).await?), Vec::new(), false).await
}

/// Connects by TLS with a certificate. Returns `None` if the connection is closed before the application's first byte.
/// With `speaks`, the client sends a line first.
pub async fn tls(authority: &Authority, own: Option<&Signed>, speaks: bool) -> Result<Option<Client>> {
    let stream = tcp([127, 0, 0, 1].into()).await?;
    let connector = TlsConnector::from(Arc::new(config(authority, own)?));
    let Ok(stream) = connector.connect(ServerName::try_from("web.example")?, stream).await else {
        return Ok(None);
    };
    let server = stream.get_ref().1.peer_certificates().and_then(|all| all.first()).map(|one| one.to_vec());
    Client::of(Box::new(stream), server.unwrap_or_default(), speaks).await
}

async fn tcp(from: IpAddr) -> Result<tokio::net::TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(([127, 0, 0, 1], PORT).into()).await.context("connect")
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
