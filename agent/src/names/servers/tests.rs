//! Look-ups over real sockets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::*;

/// A server's answer for a name: an address, or a code.
type Record4 = Result<[u8; 4], ResponseCode>;

/// A server on loopback that answers from `records`; other names don't exist. When silent, it doesn't answer.
struct Stub {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    /// Ends with the stub.
    _task: JoinSet<()>,
}

impl Stub {
    async fn start(records: &[(&str, Record4)], silent: bool) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (socket.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let records: BTreeMap<String, Record4> =
            records.iter().map(|(name, record)| (name.to_string(), *record)).collect();
        let seen = asked.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let message = Message::from_vec(&buffer[..length]).unwrap();
                seen.lock().unwrap().push(message.queries[0].name().to_string());
                if !silent {
                    socket.send_to(&answer(message, &records), from).await.unwrap();
                }
            }
        });
        Self { address, asked, _task: task }
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn answer(question: Message, records: &BTreeMap<String, Record4>) -> Vec<u8> {
    let query = question.queries[0].clone();
    let mut answer = question.into_response();
    match records.get(&query.name().to_string()) {
        None => answer.metadata.response_code = ResponseCode::NXDomain,
        Some(Err(code)) => answer.metadata.response_code = *code,
        Some(Ok(ip)) if query.query_type() == RecordType::A => {
            let ip: std::net::Ipv4Addr = (*ip).into();
            answer.add_answer(Record::from_rdata(query.name().clone(), 9, RData::A(ip.into())));
        }
        Some(Ok(_)) => {}
    }
    answer.to_vec().unwrap()
}

const FORMS: [&str; 2] = ["a.calls.svc.cluster.local.", "a."];

fn mk_forms() -> Vec<String> {
    FORMS.map(str::to_string).to_vec()
}

fn mk_servers(stubs: &[&Stub]) -> Servers {
    let addresses: Vec<SocketAddr> = stubs.iter().map(|stub| stub.address).collect();
    Servers::at(&addresses, &ResolvConf::default(), "")
}

fn v4(answer: &Answer) -> Option<&[IpAddr]> {
    match &answer[0] {
        Part::Found(found, _) => Some(found),
        Part::Empty | Part::Absent | Part::Failed(_) => None,
    }
}

#[tokio::test]
async fn name_itself_is_asked_for_when_the_clusters_form_is_an_error() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NotImp, ResponseCode::FormErr] {
        let stub = Stub::start(&[(FORMS[0], Err(code)), (FORMS[1], Ok([10, 0, 0, 1]))], false).await;
        let answer = mk_servers(&[&stub]).look_up(&mk_forms()).await;
        assert_eq!(v4(&answer), Some(&["10.0.0.1".parse().unwrap()][..]), "{code}: {answer:?}");
    }
}

#[tokio::test]
async fn error_of_one_form_leaves_a_name_unknown_that_no_other_form_has() {
    let stub = Stub::start(&[(FORMS[0], Err(ResponseCode::ServFail))], false).await;
    let answer = mk_servers(&[&stub]).look_up(&mk_forms()).await;
    assert!(answer.iter().all(|part| part.error().is_some_and(|e| e.contains(FORMS[0]))), "{answer:?}");
    let stub = Stub::start(&[], false).await;
    assert_eq!(mk_servers(&[&stub]).look_up(&mk_forms()).await, [Part::Absent, Part::Absent]);
}

#[tokio::test]
async fn next_server_is_asked_after_an_error_and_a_silence_but_not_after_an_absence() {
    let good = Stub::start(&[(FORMS[1], Ok([10, 0, 0, 1]))], false).await;
    let errors = FORMS.map(|form| (form, Err(ResponseCode::ServFail)));
    let (failing, silent) = (Stub::start(&errors, false).await, Stub::start(&[], true).await);
    for first in [&failing, &silent] {
        let answer = mk_servers(&[first, &good]).look_up(&mk_forms()).await;
        assert_eq!(v4(&answer), Some(&["10.0.0.1".parse().unwrap()][..]), "{answer:?}");
        assert!(first.asked() > 0);
    }
    let (asked, empty) = (good.asked(), Stub::start(&[], false).await);
    let answer = mk_servers(&[&empty, &good]).look_up(&mk_forms()).await;
    assert_eq!((answer, good.asked()), ([Part::Absent, Part::Absent], asked));
}

#[tokio::test]
async fn silent_server_is_passed_over_until_the_others_are_silent_too() {
    let (silent, good) = (Stub::start(&[], true).await, Stub::start(&[], false).await);
    let servers = mk_servers(&[&silent, &good]);
    servers.look_up(&mk_forms()).await;
    assert!(silent.asked() > 0);
    let before = silent.asked();
    servers.look_up(&["b.".to_string()]).await;
    assert_eq!(silent.asked(), before);
    servers.pass_over(1);
    assert_eq!(servers.in_order(), [0, 1]);
}

#[tokio::test]
async fn silence_for_one_form_does_not_keep_the_next_from_being_asked() {
    let silent = Stub::start(&[], true).await;
    let answer = mk_servers(&[&silent]).look_up(&mk_forms()).await;
    assert!(answer.iter().all(|part| part.error().is_some()), "{answer:?}");
    let asked = silent.asked.lock().unwrap().clone();
    assert!(FORMS.iter().all(|form| asked.iter().any(|name| name == form)), "{asked:?}");
}

#[tokio::test]
async fn failure_without_a_configured_server_says_that_there_is_none() {
    let closed = Stub::start(&[], false).await;
    let address = closed.address;
    drop(closed);
    let conf = ResolvConf::parse(b"");
    let servers = Servers::at(&[address], &conf, "resolv.conf names no server: ");
    let answer = servers.look_up(&mk_forms()).await;
    assert!(answer[0].error().is_some_and(|e| e.contains("names no server")), "{answer:?}");
    let noted = |text: &[u8], only| !Servers::new(&ResolvConf::parse(text), only).note.is_empty();
    assert!(noted(b"", None));
    assert!(!noted(b"nameserver 10.0.0.1", None) && !noted(b"", Some(address)));
}

#[tokio::test]
async fn form_that_is_too_long_for_dns_does_not_exist() {
    let stub = Stub::start(&[("a.", Ok([10, 0, 0, 1]))], false).await;
    let forms = [format!("{}.", "a".repeat(64)), format!("{}a.", "a.".repeat(200)), "a.".to_string()];
    let answer = mk_servers(&[&stub]).look_up(&forms).await;
    assert!(v4(&answer).is_some(), "{answer:?}");
    let answer = mk_servers(&[&stub]).look_up(&forms[..2]).await;
    assert_eq!(answer, [Part::Absent, Part::Absent]);
}
