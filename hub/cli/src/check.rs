//! `portreeve up --check`: real datagrams through every UDP listener, and who answered them.
//!
//! Each of the 64 sockets has an address of its own in 127.0.0.0/8, because a listener without a key chooses by the
//! sender's address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use portreeve_runtime::out::tell;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::echo::MARK;
use crate::table::{Row, State, Table};

/// Sockets, each with one datagram, for a round.
const SOCKETS: u8 = 64;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Rounds, each from other addresses, until every expected endpoint has answered: with many endpoints 64 senders
/// need not reach each.
const ROUNDS: u8 = 4;

/// What came back through one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Datagrams sent.
    pub sent: usize,
    /// Answers by endpoint.
    pub answers: BTreeMap<String, usize>,
    /// Answers that do not say whose they are.
    pub anonymous: usize,
    /// Expected endpoints that did not answer.
    pub silent: Vec<String>,
}

/// Sends datagrams through a listener.
///
/// # Errors
/// A socket can't be bound.
pub async fn through(row: &Row) -> anyhow::Result<Outcome> {
    let expected: Vec<String> =
        row.endpoints.iter().take(if row.keyed { 1 } else { usize::MAX }).cloned().collect();
    let mut outcome = Outcome { silent: expected.clone(), ..Outcome::default() };
    for round in 1..=ROUNDS {
        let answers = send(row.port, round).await?;
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

async fn send(port: u32, round: u8) -> anyhow::Result<Vec<String>> {
    let port = u16::try_from(port)?;
    let mut waiting = JoinSet::new();
    for i in 1..=SOCKETS {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 1, round, i), 0)).await?;
        socket.connect((Ipv4Addr::LOCALHOST, port)).await?;
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

/// Why proxies that serve nothing don't.
fn troubles(table: &Table) -> Vec<String> {
    let serves =
        |proxy: &String| table.rows.iter().any(|row| row.proxy == *proxy && row.state == State::Active);
    let idle = table.troubles.iter().filter(|(proxy, _)| !serves(proxy));
    let mut wrong: Vec<String> = idle.map(|(proxy, text)| format!("{proxy}: {text}")).collect();
    if table.rows.is_empty() {
        wrong.push("there is no listener on any proxy".into());
    }
    wrong
}

/// Checks every listener and prints the counts; answers with what is wrong, empty when nothing is.
///
/// # Errors
/// A socket can't be bound.
pub async fn all(table: &Table) -> anyhow::Result<Vec<String>> {
    let mut wrong = troubles(table);
    for row in &table.rows {
        if row.state != State::Active {
            wrong.push(format!("{} on {}: {}", row.listener, row.proxy, row.state));
            continue;
        }
        if !row.udp || !row.on_host {
            tell(format_args!("{} on {}: not checked from here", row.listener, row.proxy));
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
            wrong.push(format!("{}: it has no endpoint", row.listener));
        }
        let silent: BTreeSet<&String> = outcome.silent.iter().collect();
        wrong.extend(
            silent.iter().map(|e| format!("{}: expected endpoint {e} answered nothing", row.listener)),
        );
    }
    Ok(wrong)
}
