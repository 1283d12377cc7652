//! `portreeve up --check`: sends real datagrams through every UDP listener and prints which endpoints answered.
//!
//! Each of the 64 sockets has its own address in 127.0.0.0/8, because a listener without a hash key chooses the
//! endpoint by the sender's address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use portreeve_runtime::out::tell;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::echo::MARK;
use crate::table::{Row, State, Table};

/// Number of sockets in a round. Each sends one datagram.
const SOCKETS: u8 = 64;

/// How long to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Maximum number of rounds. Each round sends from other addresses, until every expected endpoint has answered: with
/// many endpoints, 64 senders may not reach all of them.
const ROUNDS: u8 = 4;

/// The answers through one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Number of datagrams sent.
    pub sent: usize,
    /// Number of answers by endpoint.
    pub answers: BTreeMap<String, usize>,
    /// Number of answers that don't name their endpoint.
    pub anonymous: usize,
    /// Expected endpoints that did not answer.
    pub silent: Vec<String>,
}

/// Sends datagrams through a listener and collects the answers.
///
/// # Errors
/// Returns an error if a socket can't be bound.
pub async fn through(row: &Row) -> anyhow::Result<Outcome> {
    let expected: Vec<String> =
        row.endpoints.iter().take(if row.keyed { 1 } else { usize::MAX }).cloned().collect();
    let mut outcome = Outcome { silent: expected.clone(), ..Outcome::default() };
    let target = (row.address.unwrap_or(Ipv4Addr::LOCALHOST.into()), u16::try_from(row.port)?);
    for round in 1..=ROUNDS {
        let answers = send(target.into(), round).await?;
        outcome.sent += usize::from(SOCKETS);
        for answer in answers {
            match answer.split_once(MARK) {
                Some((_, by)) => *outcome.answers.entry(by.to_string()).or_default() += 1,
                None => outcome.anonymous += 1,
            }
        }
        outcome.silent.retain(|e| !outcome.answers.contains_key(e));
        if outcome.silent.is_empty() {
            break;
        }
    }
    Ok(outcome)
}

async fn send(target: SocketAddr, round: u8) -> anyhow::Result<Vec<String>> {
    let mut waiting = JoinSet::new();
    for i in 1..=SOCKETS {
        let socket = UdpSocket::bind((sender(target.ip(), round, i), 0)).await?;
        socket.connect(target).await?;
        waiting.spawn(async move {
            let text = format!("portreeve check {round}.{i}");
            socket.send(text.as_bytes()).await.ok()?;
            let mut buffer = [0; 256];
            let length = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.ok()?.ok()?;
            Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
        });
    }
    Ok(waiting.join_all().await.into_iter().flatten().collect())
}

/// Returns the address that a datagram to `target` is sent from. Only those to 127.0.0.0/8 have an address of their own.
fn sender(target: IpAddr, round: u8, i: u8) -> IpAddr {
    match target {
        IpAddr::V4(to) if to.is_loopback() => Ipv4Addr::new(127, 1, round, i).into(),
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Returns the reasons why proxies don't serve.
fn troubles(table: &Table) -> Vec<String> {
    let serves =
        |proxy: &String| table.rows.iter().any(|row| row.proxy == *proxy && row.state == State::Active);
    let idle = table.troubles.iter().filter(|(proxy, _)| !serves(proxy));
    let mut wrong: Vec<String> = idle.map(|(proxy, text)| format!("{proxy}: {text}")).collect();
    if table.rows.is_empty() {
        wrong.push("no proxy has a listener".into());
    }
    wrong
}

/// Checks every listener and prints the counts. Returns the failures; the list is empty if the check passed.
///
/// # Errors
/// Returns an error if a socket can't be bound.
pub async fn all(table: &Table) -> anyhow::Result<Vec<String>> {
    let mut wrong = troubles(table);
    for row in &table.rows {
        if row.state != State::Active {
            wrong.push(format!("{} on {}: {}", row.listener, row.proxy, row.state));
            continue;
        }
        if !row.udp || !row.on_host || !row.checked {
            tell(format_args!(
                "{} on {}: not checked, because only UDP listeners of Envoys on this host are",
                row.listener, row.proxy
            ));
            continue;
        }
        let outcome = through(row).await?;
        let total: usize = outcome.answers.values().sum::<usize>() + outcome.anonymous;
        tell(format_args!("{} on udp {}: {total} of {} answered", row.listener, row.port, outcome.sent));
        for (endpoint, count) in &outcome.answers {
            tell(format_args!("  {endpoint}  {count}"));
        }
        if outcome.anonymous > 0 {
            tell(format_args!("  (answers that don't name their endpoint)  {}", outcome.anonymous));
        }
        if row.endpoints.is_empty() {
            wrong.push(format!("{}: no endpoints", row.listener));
        }
        let silent: BTreeSet<&String> = outcome.silent.iter().collect();
        wrong.extend(
            silent.iter().map(|e| format!("{}: expected endpoint {e} answered nothing", row.listener)),
        );
    }
    Ok(wrong)
}
