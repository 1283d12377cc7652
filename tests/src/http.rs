//! Minimal HTTP requests over one connection, made inside a namespace. Entry points: [`get`] and [`post`].

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::netns::Netns;

/// Timeout of a read.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests `http://<address><path>` from inside `netns`. Returns status and body.
///
/// # Errors
/// Returns an error if the server doesn't answer, or not with HTTP.
pub fn get(netns: &Netns, address: SocketAddr, path: &str) -> Result<(u16, String)> {
    // In HTTP/1.0 the body is not chunked and ends with the connection.
    ask(netns, address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"))
}

/// Sends a JSON text to `http://<address><path>` from inside `netns`. Returns status and body.
///
/// # Errors
/// See [`get`].
pub fn post(netns: &Netns, address: SocketAddr, (path, json): (&str, &str)) -> Result<(u16, String)> {
    let head = format!("POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n");
    ask(netns, address, &format!("{head}Content-Length: {}\r\n\r\n{json}", json.len()))
}

fn ask(netns: &Netns, address: SocketAddr, request: &str) -> Result<(u16, String)> {
    let mut stream = netns.enter(|| TcpStream::connect_timeout(&address, PATIENCE))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("no HTTP")?;
    let status = head.split_whitespace().nth(1).context("no status")?;
    Ok((status.parse()?, body.to_owned()))
}
