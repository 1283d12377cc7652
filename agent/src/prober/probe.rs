//! A single probe: a TCP connection from the host's network, and an HTTP request on it if a path is given. Entry point:
//! [`probe`].

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use nix::errno::Errno;
use portreeve_api::http_path::HttpPath;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use portreeve_agent_core::health::{Job, Outcome};

/// Maximum size of an HTTP response's head, in bytes. The body isn't read.
const LONGEST_HEAD: usize = 8 << 10;

/// Maximum number of kept sockets per address family. It exceeds the probes that start together on a node with a
/// thousand targets.
const IDLE: usize = 64;

/// Sockets that are reused by later probes, by address family. Reusing one costs the kernel a fifth less than creating
/// one: 25 us instead of 31 us per probe.
#[derive(Clone, Default)]
pub struct Sockets {
    idle: Arc<Mutex<[Vec<Socket>; 2]>>,
}

/// Makes one probe. Its connection is aborted, not closed, so that no state stays on either side, whatever the peer
/// does.
pub async fn probe(job: Job, sockets: Sockets) -> (Job, Outcome) {
    let (address, timeout) = (job.aim.address, job.aim.pace.timeout);
    let attempt = attempt(address, &job.target.path, &sockets);
    let outcome = match tokio::time::timeout(timeout, attempt).await {
        Ok(Ok(())) => Outcome::Up,
        Ok(Err(outcome)) => outcome,
        Err(_) => Outcome::Down(format!("{address} has not answered within {} ms", millis(timeout))),
    };
    (job, outcome)
}

// === impl Sockets ===

impl Sockets {
    /// Returns an unconnected socket.
    fn take(&self, address: SocketAddr) -> io::Result<Socket> {
        let idle = self.lock()[usize::from(address.is_ipv6())].pop();
        idle.map_or_else(|| socket(address), Ok)
    }

    /// Aborts a socket's connection, and keeps the socket.
    fn put(&self, address: SocketAddr, socket: Socket) {
        let aborted = rustix::net::connect_unspec(&socket).is_ok();
        let idle = &mut self.lock()[usize::from(address.is_ipv6())];
        if aborted && idle.len() < IDLE {
            idle.push(socket);
        }
    }

    fn lock(&self) -> MutexGuard<'_, [Vec<Socket>; 2]> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn attempt(address: SocketAddr, path: &str, sockets: &Sockets) -> Result<(), Outcome> {
    let socket = dial(address, sockets).await.map_err(|error| judge(address, &error))?;
    // If the port is closed and local, the kernel may choose it as the source port: then the socket connects to itself.
    if socket.local_addr().is_ok_and(|near| near.as_socket() == Some(address)) {
        return Err(Outcome::Down(refused(address)));
    }
    if path.is_empty() {
        sockets.put(address, socket);
        return Ok(());
    }
    let stream = TcpStream::from_std(socket.into()).map_err(|error| judge(address, &error))?;
    get(stream, address, path).await
}

/// Connects. A target on this node has answered before the first call returns, although that call can't report it yet.
/// Checking again immediately is cheaper than an event.
async fn dial(address: SocketAddr, sockets: &Sockets) -> io::Result<Socket> {
    let (socket, far) = (sockets.take(address)?, address.into());
    for pending in [Errno::EINPROGRESS, Errno::EALREADY] {
        match socket.connect(&far) {
            Err(error) if error.raw_os_error() == Some(pending as i32) => {}
            answer => return answer.map(|()| socket),
        }
    }
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    match stream.take_error()? {
        Some(error) => Err(error),
        None => stream.into_std().map(Socket::from),
    }
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Without this option, every probe would leave a connection in TIME_WAIT, and 28,000 of them use up all ports.
    socket.set_linger(Some(Duration::ZERO))?;
    Ok(socket)
}

async fn get(stream: TcpStream, address: SocketAddr, path: &str) -> Result<(), Outcome> {
    let unasked = |error: String| Outcome::Hampered(format!("{path:?} can't be asked for: {error}"));
    let path = HttpPath::parse(path).map_err(|bad| unasked(bad.to_string()))?.request_target();
    let down = |error: hyper::Error| Outcome::Down(format!("{address}{path}: {error}"));
    let request = Request::get(&*path)
        .header(header::HOST, address.to_string())
        .header(header::USER_AGENT, "portreeve")
        .body(Empty::<Bytes>::new())
        .map_err(|error| unasked(error.to_string()))?;
    let handshake = http1::Builder::new().max_buf_size(LONGEST_HEAD).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(down)?;
    let answer = sender.send_request(request);
    tokio::pin!(answer, connection);
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The response may have arrived together with the end of the connection.
        _ = &mut connection => answer.await,
    };
    let status = answer.map_err(down)?.status();
    if status.is_success() || status.is_redirection() {
        return Ok(());
    }
    Err(Outcome::Down(format!("{address}{path} answers {status}")))
}

/// Decides whether an error is the endpoint's or this host's.
fn judge(address: SocketAddr, error: &io::Error) -> Outcome {
    let errno = error.raw_os_error().map(Errno::from_raw);
    match errno {
        Some(Errno::ECONNREFUSED) => Outcome::Down(refused(address)),
        Some(Errno::ECONNRESET) => Outcome::Down(format!("{address} resets the connection")),
        Some(Errno::ETIMEDOUT) => Outcome::Down(format!("{address} has not answered")),
        Some(Errno::EHOSTUNREACH | Errno::ENETUNREACH) => {
            Outcome::Down(format!("{address} can't be reached from this node: {error}"))
        }
        Some(Errno::EACCES | Errno::EPERM) => {
            Outcome::Down(format!("this node's firewall forbids connections to {address}"))
        }
        Some(Errno::EMFILE | Errno::ENFILE) => {
            hampered(error, "raise the limit of open files of the agent, or find what holds them")
        }
        Some(Errno::EADDRNOTAVAIL | Errno::EAGAIN) => {
            hampered(error, "widen net.ipv4.ip_local_port_range, or find what uses up the ports")
        }
        Some(Errno::ENOBUFS | Errno::ENOMEM) => hampered(error, "this node is short of memory"),
        _ => Outcome::Down(format!("{address}: {error}")),
    }
}

fn refused(address: SocketAddr) -> String {
    format!("{address} refuses connections: nothing listens there")
}

fn hampered(error: &io::Error, remedy: &str) -> Outcome {
    Outcome::Hampered(format!("{error}: {remedy}"))
}

fn millis(time: Duration) -> u128 {
    time.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_agent_core::health::{Aim, Host, Pace, Schedule, Target};
    use std::collections::BTreeMap;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;
    use std::time::Instant;
    use tokio::net::TcpSocket;

    /// Returns the only job of a schedule for this address.
    fn job(address: SocketAddr, path: &str) -> Job {
        let pace = Pace {
            interval: Duration::from_millis(500),
            timeout: Duration::from_millis(300),
            fall: 1,
            rise: 1,
        };
        let target = Target { host: Host::Address(address.ip()), port: address.port(), path: path.into() };
        let (mut schedule, now) = (Schedule::new(1), Instant::now());
        schedule.set(&BTreeMap::from([(target, Aim { address, pace })]), now);
        let due = schedule.next().unwrap();
        schedule.take(due).unwrap()
    }

    async fn outcome(address: SocketAddr, path: &str) -> Outcome {
        probe(job(address, path), Sockets::default()).await.1
    }

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Answers one connection with this text.
    fn answering(text: &'static str) -> SocketAddr {
        let (listener, address) = listener();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 512];
            let length = stream.read(&mut asked).unwrap();
            assert!(asked[..length].starts_with(b"GET /healthcheck HTTP/1.1\r\n"));
            let _ = stream.write_all(text.as_bytes());
        });
        address
    }

    /// Answers one request, and returns it.
    fn serve_one(listener: TcpListener) -> thread::JoinHandle<String> {
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 512];
            let length = stream.read(&mut asked).unwrap();
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            String::from_utf8(asked[..length].to_vec()).unwrap()
        })
    }

    /// Returns whether an object with this check is valid.
    fn crd_takes(path: &str) -> bool {
        let check = serde_json::json!({"interval": 1000, "protocol": "TCP", "http": {"path": path}});
        let endpoint = serde_json::json!({"name": "e", "host": {"address": "10.0.0.1"}, "port": 1, "health_check_port": 2});
        let cluster = serde_json::json!({"name": "c", "service_discovery": "eds", "health_check": check,
            "endpoints": [endpoint]});
        let (service, _) = portreeve_api::a::virtual_service::VirtualService::parse(serde_json::json!({
            "apiVersion": "servicemesh.l7mp.io/v1", "kind": "VirtualService",
            "metadata": {"name": "o", "namespace": "ns"},
            "spec": {"selector": {"a": "b"}, "listeners": [{"name": "l", "udp": {"port": 5, "cluster": cluster}}]},
        }))
        .unwrap();
        service.validate().is_empty()
    }

    #[tokio::test]
    async fn every_path_that_the_crd_takes_is_asked_for_as_it_is_written() {
        let (listener, address) = listener();
        let whole = |c: char| [format!("/{c}"), format!("/a{c}b?c={c}")];
        let all = (0..=255).chain([0x20ac, 0x1_f600]).filter_map(char::from_u32).flat_map(whole);
        for path in all.filter(|path| crd_takes(path)) {
            let target = HttpPath::parse(&path).unwrap().request_target().into_owned();
            let served = serve_one(listener.try_clone().unwrap());
            assert_eq!(outcome(address, &path).await, Outcome::Up, "{path:?}");
            let asked = served.join().unwrap();
            assert!(asked.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{path:?}: {asked}");
        }
    }

    #[tokio::test]
    async fn port_that_accepts_and_says_nothing_is_healthy_and_leaves_nothing_behind() {
        let (_listener, address) = listener();
        for _ in 0..100 {
            assert_eq!(outcome(address, "").await, Outcome::Up);
        }
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let (port, time_wait) = (format!("0100007F:{:04X}", address.port()), " 06 ");
        let left = table.lines().filter(|line| line.contains(&port) && line.contains(time_wait)).count();
        assert_eq!(left, 0, "connections in TIME_WAIT");
    }

    #[tokio::test]
    async fn socket_is_used_again_and_its_connection_is_gone_by_then() {
        let (listener, address) = listener();
        let sockets = Sockets::default();
        for _ in 0..3 {
            assert_eq!(probe(job(address, ""), sockets.clone()).await.1, Outcome::Up);
            let (mut stream, _) = listener.accept().unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
            assert_eq!(sockets.lock().each_ref().map(Vec::len), [1, 0]);
        }
        drop(listener);
        assert_eq!(probe(job(address, ""), sockets.clone()).await.1, Outcome::Down(refused(address)));
        assert!(sockets.lock()[0].is_empty(), "one that failed is not kept");
    }

    #[tokio::test]
    async fn closed_port_is_told_from_one_that_does_not_answer() {
        let (listener, address) = listener();
        drop(listener);
        assert_eq!(outcome(address, "").await, Outcome::Down(refused(address)));
        // A listener with a full queue drops every further SYN.
        let (full, address) = self::listener();
        nix::sys::socket::listen(&full, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let mut held = Vec::new();
        let mut last = Outcome::Up;
        for _ in 0..4 {
            let socket = TcpSocket::new_v4().unwrap();
            held.push(tokio::time::timeout(Duration::from_millis(50), socket.connect(address)).await);
            last = outcome(address, "").await;
        }
        assert_eq!(last, Outcome::Down(format!("{address} has not answered within 300 ms")));
    }

    #[tokio::test]
    async fn http_answers_of_200_and_300_are_healthy_and_all_others_are_not() {
        let path = "/healthcheck";
        for (text, good) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", true),
            ("HTTP/1.0 204 No Content\r\n\r\n", true),
            ("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n", true),
            ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", false),
            ("HTTP/1.1 404 Not Found\r\n\r\n", false),
            ("garbage\r\n\r\n", false),
            ("", false),
        ] {
            let outcome = outcome(answering(text), path).await;
            assert_eq!(outcome == Outcome::Up, good, "{text:?}: {outcome:?}");
        }
    }

    #[tokio::test]
    async fn http_answer_that_never_ends_or_comes_is_not_waited_for() {
        let (listener, address) = listener();
        let held = thread::spawn(move || listener.accept());
        let began = Instant::now();
        let silent = outcome(address, "/healthcheck").await;
        assert_eq!(silent, Outcome::Down(format!("{address} has not answered within 300 ms")));
        assert!(began.elapsed() < Duration::from_secs(5));
        drop(held);
        let (listener, address) = self::listener();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
            while stream.write_all(b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n").is_ok() {}
        });
        assert!(matches!(outcome(address, "/healthcheck").await, Outcome::Down(_)));
    }

    #[test]
    fn exhaustion_of_this_host_is_not_the_endpoints_fault() {
        let address: SocketAddr = "10.0.0.1:1".parse().unwrap();
        let judged = |errno: Errno| judge(address, &io::Error::from_raw_os_error(errno as i32));
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::EADDRNOTAVAIL, Errno::ENOBUFS] {
            assert!(matches!(judged(errno), Outcome::Hampered(_)), "{errno}");
        }
        for errno in [Errno::ECONNRESET, Errno::EHOSTUNREACH, Errno::ENETUNREACH, Errno::EPERM, Errno::EIO] {
            let Outcome::Down(text) = judged(errno) else { panic!("{errno}") };
            assert!(text.contains("10.0.0.1:1"), "{text}");
        }
    }
}
