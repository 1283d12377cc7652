//! `portreeve send` against `portreeve echo` and the test's own sockets.
#![allow(clippy::unwrap_used, reason = "a test ends where it can't start what it tests")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

fn send(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portreeve")).arg("send").args(words).output().unwrap()
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn answer_of_a_datagram_is_printed_as_one_line() {
    let worker = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = worker.local_addr().unwrap().to_string();
    let answering = thread::spawn(move || {
        let mut buffer = [0; 64];
        let (length, peer) = worker.recv_from(&mut buffer).unwrap();
        worker.send_to(&[&buffer[..length], b" back"].concat(), peer).unwrap();
    });
    assert_eq!(texts(&send(&[&addr, "hello"])), (Some(0), "hello back\n".into(), String::new()));
    answering.join().unwrap();
}

#[test]
fn silence_ends_within_the_bound_with_its_reason() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = silent.local_addr().unwrap().to_string();
    let begun = Instant::now();
    let output = send(&[&addr, "hello", "--wait", "0.3"]);
    let reason = format!("error: no answer from udp {addr} within 0.3 s\n");
    assert_eq!(texts(&output), (Some(1), String::new(), reason));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn port_that_nobody_listens_on_is_named() {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (code, _, errors) = texts(&send(&[&free, "hello"]));
    assert_eq!(code, Some(1));
    assert!(errors.starts_with(&format!("error: udp {free}: ")) && errors.contains("refused"), "{errors}");
}

#[test]
fn answer_over_tcp_is_all_that_comes_until_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        stream.write_all(format!("{text}\nback\n").as_bytes()).unwrap();
    });
    assert_eq!(texts(&send(&["--tcp", &addr, "hello"])), (Some(0), "hello\nback\n".into(), String::new()));
    answering.join().unwrap();
}

#[test]
fn address_that_is_none_is_named() {
    for addr in ["127.0.0.1", "127.0.0.1:x", ":::"] {
        let (code, _, errors) = texts(&send(&[addr, "hello"]));
        assert_eq!(code, Some(1), "{addr}");
        assert!(errors.starts_with(&format!("error: {addr}: ")), "{errors}");
    }
}
