//! A DNS server whose records and behaviour a test controls. Entry point: [`Dns`].

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

use crate::netns::Netns;
use crate::udp;

/// How often the thread checks whether it should end.
const LOOK: Duration = Duration::from_millis(20);
/// Time to live of every record, in seconds.
const TTL: u32 = 1;
/// Size of a message's header in bytes.
const HEADER: usize = 12;

/// How the server answers queries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mood {
    /// From its records. A name without records doesn't exist.
    #[default]
    Fine,
    /// With SERVFAIL.
    Failing,
    /// With SERVFAIL for IPv4 addresses, from its records for IPv6.
    FailingV4,
    /// Not at all.
    Silent,
}

/// A DNS server on UDP, which ends on drop.
pub struct Dns {
    /// The server's address.
    address: SocketAddr,
    /// The records and settings.
    state: Arc<Mutex<State>>,
    /// Tells the thread to end.
    stop: Arc<AtomicBool>,
    /// The thread, while it runs.
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Default)]
struct State {
    mood: Mood,
    /// Names with this suffix are answered with this code, in every mood except [`Mood::Silent`].
    refused: Option<(String, u8)>,
    records: BTreeMap<String, Vec<IpAddr>>,
    /// Number of queries by name, of all types and with any answer.
    asked: BTreeMap<String, u64>,
}

/// A query: its name in lower case, its type, and its end offset in the message.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    name: String,
    kind: u16,
    end: usize,
}

// === impl Dns ===

impl Dns {
    /// Starts a server without records, on a free port.
    ///
    /// # Errors
    /// Returns an error if the namespace can't be entered.
    pub fn start(namespace: &Netns) -> Result<Self> {
        Self::start_at(namespace, 0)
    }

    /// Starts a server without records on this port.
    ///
    /// # Errors
    /// Returns an error if the namespace can't be entered or the port is taken.
    pub fn start_at(namespace: &Netns, port: u16) -> Result<Self> {
        let socket = udp::socket(namespace, SocketAddr::new(namespace.v4(), port))?;
        socket.set_read_timeout(Some(LOOK))?;
        let (state, stop) = (Arc::<Mutex<State>>::default(), Arc::new(AtomicBool::new(false)));
        let address = socket.local_addr()?;
        let (known, told) = (state.clone(), stop.clone());
        let thread = namespace.spawn(move || {
            serve(&socket, &known, &told);
            Ok(())
        })?;
        Ok(Self { address, state, stop, thread: Some(thread) })
    }

    /// Returns the server's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the addresses of a name. An empty list means that the name exists without addresses.
    pub fn set(&self, name: &str, addresses: &[IpAddr]) {
        self.change(|state| state.records.insert(name.into(), addresses.to_vec()));
    }

    /// Removes a name.
    pub fn forget(&self, name: &str) {
        self.change(|state| state.records.remove(name));
    }

    /// Sets the mood.
    pub fn be(&self, mood: Mood) {
        self.change(|state| state.mood = mood);
    }

    /// From now on, answers names with this suffix with this code (2 is SERVFAIL, 5 REFUSED).
    pub fn refuse(&self, ending: &str, code: u8) {
        self.change(|state| state.refused = Some((ending.into(), code)));
    }

    /// Returns how often a name was queried, with any answer.
    pub fn asked(&self, name: &str) -> u64 {
        self.change(|state| state.asked.get(name).copied().unwrap_or_default())
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, state: &Mutex<State>, stop: &AtomicBool) {
    let mut buffer = [0; 1500];
    while !stop.load(Ordering::Relaxed) {
        // Either nothing arrived, or an earlier client is gone.
        let Ok((length, asker)) = socket.recv_from(&mut buffer) else { continue };
        let answer = state.lock().unwrap_or_else(PoisonError::into_inner).answer(&buffer[..length]);
        if let Some(answer) = answer {
            let _ = socket.send_to(&answer, asker);
        }
    }
}

// === impl State ===

impl State {
    /// Returns the answer to a message, or `None` for silence.
    fn answer(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let question = Question::read(message)?;
        *self.asked.entry(question.name.clone()).or_default() += 1;
        let (no_error, failure, unknown) = (0, 2, 3);
        let v4 = question.kind == 1;
        let refused = self.refused.as_ref().filter(|(ending, _)| question.name.ends_with(ending));
        let code = match (self.mood, refused) {
            (Mood::Silent, _) => return None,
            (_, Some((_, code))) => *code,
            (Mood::Failing, None) => failure,
            (Mood::FailingV4, None) if v4 => failure,
            (Mood::Fine | Mood::FailingV4, None) if !self.records.contains_key(&question.name) => unknown,
            (Mood::Fine | Mood::FailingV4, None) => no_error,
        };
        let known = self.records.get(&question.name).filter(|_| code == no_error);
        let wanted = |ip: &&IpAddr| (v4 && ip.is_ipv4()) || (question.kind == 28 && ip.is_ipv6());
        let addresses: Vec<&IpAddr> = known.into_iter().flatten().filter(wanted).collect();
        let mut answer = message[..2].to_vec();
        // The header of a response, with the bits for recursion desired and available.
        answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(addresses.len()).ok()?, 0, 0, 0, 0]);
        answer.extend(&message[HEADER..question.end]);
        for address in addresses {
            let bytes = match address {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            // The name as a pointer to the query's name; then type, class IN, time to live and length.
            answer.extend([0xc0, u8::try_from(HEADER).ok()?]);
            answer.extend(question.kind.to_be_bytes());
            answer.extend([0, 1]);
            answer.extend(TTL.to_be_bytes());
            answer.extend(u16::try_from(bytes.len()).ok()?.to_be_bytes());
            answer.extend(bytes);
        }
        Some(answer)
    }
}

// === impl Question ===

impl Question {
    /// Reads the first query of a message. Returns `None` if the message has none or is truncated.
    fn read(message: &[u8]) -> Option<Self> {
        let (mut at, mut labels) = (HEADER, Vec::new());
        loop {
            let length = usize::from(*message.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(message.get(at..at + length)?).to_lowercase());
            at += length;
        }
        let kind = u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]);
        (message.len() >= at + 4).then(|| Self { name: labels.join("."), kind, end: at + 4 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a query for `Ab.c` as resolvers write it.
    fn mk_question(kind: u8) -> Vec<u8> {
        let mut message = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(b"\x02Ab\x01c\0\0");
        message.extend([kind, 0, 1]);
        message
    }

    #[test]
    fn question_is_read_in_lower_case() {
        let question = Question::read(&mk_question(28)).unwrap();
        assert_eq!((question.name.as_str(), question.kind, question.end), ("ab.c", 28, 22));
        assert_eq!(Question::read(&mk_question(1)[..20]), None);
    }

    #[test]
    fn moods_show_in_the_answers_code() {
        let mut state = State::default();
        let code = |state: &mut State, kind| state.answer(&mk_question(kind)).map(|answer| answer[3] & 15);
        assert_eq!(code(&mut state, 1), Some(3));
        state.records.insert("ab.c".into(), vec!["10.0.0.1".parse().unwrap()]);
        assert_eq!(code(&mut state, 1), Some(0));
        state.mood = Mood::FailingV4;
        assert_eq!((code(&mut state, 1), code(&mut state, 28)), (Some(2), Some(0)));
        state.mood = Mood::Silent;
        assert_eq!(code(&mut state, 1), None);
        assert_eq!(state.asked["ab.c"], 5);
        state.mood = Mood::Fine;
        state.refused = Some((".c".into(), 5));
        assert_eq!(code(&mut state, 1), Some(5));
    }

    #[test]
    fn only_addresses_of_the_asked_family_are_told() {
        let mut state = State::default();
        state.records.insert("ab.c".into(), vec!["10.0.0.1".parse().unwrap(), "fd77::1".parse().unwrap()]);
        let v4 = state.answer(&mk_question(1)).unwrap();
        assert_eq!((v4[7], &v4[v4.len() - 4..]), (1, &[10, 0, 0, 1][..]));
        let v6 = state.answer(&mk_question(28)).unwrap();
        assert_eq!((v6[7], v6[v6.len() - 1]), (1, 1));
    }
}
