//! The examples of the l7mp mesh under `portreeve up`, on real l7mp proxies.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portreeve_tests::process::Process;
use portreeve_tests::town::BOUND;
use portreeve_tests::{l7mp, udp, under_test, wait};

use crate::quickstart::Quickstart;

/// How long a user waits for a datagram.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a user sends a datagram whose session is being set up. A lost handshake of JSONSocket costs two seconds.
const TRIES: usize = 20;

/// A user's socket on the examples' host.
struct User(UdpSocket);

// === impl User ===

impl User {
    fn new(example: &Quickstart, address: &str, gateway: u16) -> Result<Self> {
        let socket = udp::socket(example.netns(), address.parse()?)?;
        socket.connect(SocketAddr::from(([127, 0, 0, 1], gateway)))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// Sends a datagram. A gateway without the port refuses it, which the next one tells.
    fn send(&self, text: &str) {
        let _ = self.0.send(text.as_bytes());
    }

    /// Returns the next datagram; `None` if none comes.
    fn hear(&self) -> Option<String> {
        let mut buffer = [0; 1500];
        let length = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    fn hear_all(&self) -> Vec<String> {
        std::iter::from_fn(|| self.hear()).collect()
    }

    /// Sends until an answer comes.
    fn answered(&self, text: &str) -> Result<String> {
        let mut tries = (0..TRIES).filter_map(|_| {
            self.send(text);
            self.hear()
        });
        tries.next().with_context(|| format!("{text:?} is not answered"))
    }
}

/// Waits until the newest table has this number of active listeners.
pub fn active(up: &Process, count: usize) -> Result<()> {
    wait::wait_until(&format!("{count} active listeners"), BOUND, || {
        let log = up.log();
        log.rsplit("\nPROXY ").next().is_some_and(|table| table.matches(" active ").count() == count)
    })
}

#[test]
fn first_example_passes_the_transcoder_and_its_rule_looks_at_the_port() -> Result<()> {
    l7mp::script()?;
    let example = Quickstart::of("seed-b-1")?;
    let mut up = example.portreeve("up DIR")?;
    active(&up, 2)?;
    let user = User::new(&example, "127.0.0.1:9005", 9001)?;
    let answer = user.answered("hello")?;
    println!("{answer}\n{}", up.log());
    ensure!(answer.contains("hello") && answer.contains("answered by 127.0.11.1:9999"), "{answer}");
    for number in 0..10 {
        user.send(&format!("datagram {number}"));
        let heard = user.hear().with_context(|| format!("datagram {number} is not answered"))?;
        ensure!(heard.contains("answered by"), "{heard}");
    }
    let stranger = User::new(&example, "127.0.0.1:8005", 9001)?;
    stranger.send("not from a port of the rule");
    ensure!(stranger.hear().is_none(), "the rule admits ports 9000 to 9099 only");
    // The command of the example's README.
    let (status, said) = example.finish("send --from 127.0.0.1:9006 127.0.0.1:9001 hello --wait 10")?;
    ensure!(status.success() && said.contains("answered by 127.0.11.1:9999"), "{status}: {said}");
    up.terminate()?;
    ensure!(up.wait_exit(BOUND)?.success(), "{}", up.log());
    example.all_gone()
}

#[test]
fn users_of_the_second_example_hear_each_other_once() -> Result<()> {
    l7mp::script()?;
    let example = Quickstart::of("seed-b-2")?;
    let mut up = example.portreeve("up DIR")?;
    active(&up, 3)?;
    let a = User::new(&example, "127.0.21.1:18001", 8001)?;
    let b = User::new(&example, "127.0.21.2:18002", 8002)?;
    let joined = (0..TRIES).any(|_| {
        a.send("hello from A");
        b.send("hello from B");
        a.hear().is_some() && b.hear().is_some()
    });
    ensure!(joined, "the users don't hear each other: {}", up.log());
    a.hear_all();
    b.hear_all();
    for number in 0..20 {
        a.send(&format!("A{number}"));
        b.send(&format!("B{number}"));
    }
    let expected = |of: &str| (0..20).map(|number| format!("t:{of}{number}")).collect::<Vec<_>>();
    let (heard_a, heard_b) = (a.hear_all(), b.hear_all());
    ensure!(heard_a == expected("B"), "A heard {heard_a:?}");
    ensure!(heard_b == expected("A"), "B heard {heard_b:?}");
    up.terminate()?;
    ensure!(up.wait_exit(BOUND)?.success(), "{}", up.log());
    example.all_gone()
}

#[test]
fn missing_node_is_said_with_its_package() -> Result<()> {
    let example = Quickstart::of("seed-b-1")?;
    let mut command = example.netns().command("env");
    command.arg("PATH=/nonexistent").arg(under_test::binary()?);
    command.args(["portreeve", "up"]).arg(example.folder());
    example.family.mark(&mut command);
    let mut up = Process::spawn("portreeve", &command)?;
    let status = up.wait_exit(BOUND)?;
    let text = up.log();
    println!("{text}");
    ensure!(status.code() == Some(1), "{status}");
    ensure!(
        text.contains("l7mp needs node, which is not on $PATH: install Debian's package nodejs"),
        "{text}"
    );
    example.all_gone()
}
