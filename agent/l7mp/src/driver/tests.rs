//! The driver on a proxy that plays a few requests of the API.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::inbox::{Sender, channel};
use crate::samples::*;

/// Long, because the machine may be busy.
const BOUND: Duration = Duration::from_secs(20);

/// What a played proxy has, and what it does next.
#[derive(Default)]
struct Played {
    /// Clusters' names.
    clusters: BTreeSet<String>,
    /// Request lines so far.
    asked: Vec<String>,
    /// Numbers of answers after which the next connections are closed.
    closes: Vec<usize>,
    /// Whether it loses its objects with a connection, as a restart would.
    forgets: bool,
}

type Shared = Arc<Mutex<Played>>;

fn with<T>(played: &Shared, work: impl FnOnce(&mut Played) -> T) -> T {
    work(&mut played.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Serves one connection after the other.
async fn play(listener: TcpListener, played: Shared) {
    while let Ok((stream, _)) = listener.accept().await {
        let closes = with(&played, |played| (!played.closes.is_empty()).then(|| played.closes.remove(0)));
        converse(stream, &played, closes).await;
        with(&played, |played| {
            if played.forgets {
                played.clusters.clear();
            }
        });
    }
}

/// Answers requests until the client hangs up, or until this number of answers.
async fn converse(mut stream: TcpStream, played: &Shared, answers: Option<usize>) {
    let mut left = answers;
    while left != Some(0) {
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap_or_default();
        if length == 0 {
            return;
        }
        left = left.map(|left| left - 1);
        let request = String::from_utf8_lossy(&request[..length]).into_owned();
        let (status, body) = with(played, |played| played.answer(&request));
        let body = body.to_string();
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

impl Played {
    fn answer(&mut self, request: &str) -> (u16, Value) {
        let line = request.lines().next().unwrap_or_default().to_owned();
        let words: Vec<&str> = line.split([' ', '?']).collect();
        let (method, path) = (words[0], words[1].trim_start_matches("/api/v1/").to_owned());
        self.asked.push(format!("{method} {path}"));
        match (method, path.as_str()) {
            ("GET", "admin") => (200, json!({"version": "0.5.7"})),
            ("GET", "clusters") => {
                let shown = |name: &String| json!({"name": name, "spec": {}, "endpoints": []});
                (200, self.clusters.iter().map(shown).collect())
            }
            ("GET", "listeners" | "rulelists" | "rules" | "routes" | "sessions") => (200, json!([])),
            ("GET", path) => {
                let name = path.trim_start_matches("clusters/").replace("%2F", "/").replace("%40", "@");
                match self.clusters.contains(&name) {
                    true => (200, json!({})),
                    false => (400, json!({"status": 400, "content": "Not Found"})),
                }
            }
            ("POST", "clusters") => {
                let body = request.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
                let body: Value = serde_json::from_str(body).unwrap_or_default();
                self.clusters.insert(body["cluster"]["name"].as_str().unwrap_or_default().to_owned());
                (200, json!({"status": 200}))
            }
            (method, path) => (404, json!(format!("{method} {path}"))),
        }
    }
}

/// A driver with its played proxy, and the answers so far. Both end with it.
struct Rig {
    played: Shared,
    answers: Arc<Mutex<Vec<Answer>>>,
    desired: Sender,
    tasks: JoinSet<()>,
}

async fn mk_rig(closes: &[usize], forgets: bool) -> Rig {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let played: Shared = Arc::default();
    with(&played, |played| (played.closes, played.forgets) = (closes.to_vec(), forgets));
    let mut wanted = Desired::default();
    put_cluster(&mut wanted, "c", 9, &[]);
    let (desired, receiver) = channel();
    desired.replace(wanted);
    let answers: Arc<Mutex<Vec<Answer>>> = Arc::default();
    let told = answers.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(play(listener, played.clone()));
    tasks.spawn(run(Target { address, timing: Timing::default() }, receiver, move |answer| {
        told.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
    }));
    Rig { played, answers, desired, tasks }
}

impl Rig {
    fn answers(&self) -> Vec<Answer> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Number of connects, of losses and of acknowledgements.
    fn counts(&self) -> (usize, usize, usize) {
        let answers = self.answers();
        let count = |wanted: fn(&Answer) -> bool| answers.iter().filter(|answer| wanted(answer)).count();
        (
            count(|answer| *answer == Answer::Connected),
            count(|answer| matches!(answer, Answer::Disconnected { .. })),
            count(|answer| matches!(answer, Answer::Acked { .. })),
        )
    }

    /// Number of requests that begin with this text, or are it.
    fn asked(&self, request: &str) -> usize {
        let same = |line: &&String| *line == request || request.ends_with("%40") && line.starts_with(request);
        with(&self.played, |played| played.asked.iter().filter(same).count())
    }

    /// Waits for a state of the rig.
    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(BOUND, waiting).await;
        assert!(
            waited.is_ok(),
            "{:?} {:?}",
            self.answers(),
            with(&self.played, |played| played.asked.clone())
        );
    }
}

/// Number of requests that read everything back, with the look at the proxy itself.
const READ_BACK: usize = 6;
/// Number of requests of a first pass: a cluster, and a look at sessions.
const PASS: usize = 2;

#[tokio::test]
async fn connection_that_leads_to_the_same_proxy_again_is_no_loss() {
    let rig = mk_rig(&[READ_BACK + PASS], false).await;
    let looked = |rig: &Rig| rig.asked("GET clusters/portreeve%2Fc%40") == 1;
    rig.until(looked).await;
    assert_eq!((rig.counts(), rig.asked("GET listeners")), ((1, 0, 2), 1));
}

#[tokio::test]
async fn proxy_that_lost_its_objects_between_two_connections_gets_them_again() {
    let rig = mk_rig(&[READ_BACK + PASS], true).await;
    rig.until(|rig| rig.counts() == (2, 1, 4)).await;
    assert_eq!(rig.asked("POST clusters"), 2);
}

#[tokio::test]
async fn request_that_meets_a_closed_connection_is_no_loss() {
    let rig = mk_rig(&[READ_BACK], false).await;
    rig.until(|rig| rig.counts().2 == 2).await;
    assert_eq!((rig.counts(), rig.asked("POST clusters"), rig.asked("GET listeners")), ((1, 0, 2), 1, 2));
}

#[tokio::test]
async fn second_failure_in_a_row_is_a_loss() {
    let rig = mk_rig(&[READ_BACK, 0], false).await;
    rig.until(|rig| rig.counts() == (2, 1, 2)).await;
}

#[tokio::test]
async fn driver_ends_with_the_sender_of_the_desired_state() {
    let Rig { mut tasks, desired, .. } = mk_rig(&[], false).await;
    drop(desired);
    let ended = tokio::time::timeout(BOUND, tasks.join_next()).await;
    assert!(ended.unwrap().unwrap().is_ok());
}
