//! Envoys that don't start, broken files, and the ports of a proxy.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod keeper_rig;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use keeper_rig::{AGENT, BOUND, Part, Rig, send, wait_for};
use nix::sys::signal::Signal;
use portreeve_keeper::{Exit, Phase, State};

#[test]
fn crash_loop_keeps_to_the_backoff_says_why_and_ends_with_a_better_spec() {
    let rig = Rig::new();
    let agent = rig.agent();
    let mut spec = rig.spec("gateway");
    spec.extra_args = vec!["--no-such-flag".into()];
    let begun = Instant::now();
    agent.supervisor.ensure(spec).unwrap();
    let state = agent.until("gateway", |_, state| state.restarts == 4 && state.phase == Phase::Backoff);
    let least = Duration::from_millis(100 + 200 + 400 + 800);
    assert!(begun.elapsed() >= least, "4 restarts after {:?}", begun.elapsed());
    assert_eq!(state.last_exit, Some(Exit::Code(1)));
    assert_eq!((state.envoy_pid, state.started_ms), (None, None));
    assert!(state.backoff_until_ms.is_some());
    let log = fs::read_to_string(rig.dir("gateway").envoy_log()).unwrap();
    assert!(log.contains("--no-such-flag"), "{log}");
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let state = agent.running("gateway");
    assert_eq!((state.restarts, state.backoff_until_ms), (5, None));
}

#[test]
fn state_that_cannot_be_written_is_written_when_it_can_be() {
    let rig = Rig::new();
    let agent = rig.agent();
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let before = agent.running("gateway");
    // A directory in the place of the temporary file: a failure that also affects root, and that can be undone.
    let in_the_way = rig.dir("gateway").state().with_extension(format!("tmp{}", before.keeper_pid));
    fs::create_dir(&in_the_way).unwrap();
    send(before.envoy_pid.unwrap(), Signal::SIGKILL);
    let after = agent.until("gateway", |_, state| state.restarts == 1 && state.phase == Phase::Running);
    assert_eq!(rig.state("gateway").unwrap().restarts, 0, "it is in the way");
    fs::remove_dir(in_the_way).unwrap();
    let written = |state: &State| (state.restarts, state.envoy_pid) == (1, after.envoy_pid);
    wait_for("the state in its file", BOUND, || rig.state("gateway").filter(written));
}

#[test]
fn envoy_that_cannot_be_executed_is_named_in_the_state_or_the_log() {
    let rig = Rig::new();
    let agent = rig.agent();
    let mut spec = rig.spec("gateway");
    spec.envoy = "/nonexistent/envoy".into();
    agent.supervisor.ensure(spec.clone()).unwrap();
    let state = agent.until("gateway", |_, state| state.restarts > 0);
    let reason = "/nonexistent/envoy: No such file or directory (os error 2)";
    assert_eq!(state.last_exit, Some(Exit::Error(reason.into())));
    spec.envoy = rig.dir("gateway").path().join("garbage");
    fs::write(&spec.envoy, "#!/nonexistent/interpreter\n").unwrap();
    fs::set_permissions(&spec.envoy, fs::Permissions::from_mode(0o755)).unwrap();
    agent.supervisor.ensure(spec).unwrap();
    agent.until("gateway", |_, state| state.last_exit == Some(Exit::Code(1)));
    let log = fs::read_to_string(rig.dir("gateway").envoy_log()).unwrap();
    assert!(log.contains("garbage: No such file or directory"), "{log}");
}

#[test]
fn broken_spec_is_an_error_that_names_the_file_and_the_agent_mends_it() {
    let rig = Rig::new();
    let dir = rig.dir("gateway");
    dir.create().unwrap();
    let cases = [("", "EOF while parsing"), ("{\"hash\":\"x\"}", "missing field `spec`"), ("[1]", "invalid")];
    for (text, expected) in cases {
        fs::write(dir.spec(), text).unwrap();
        let keeper = Command::new(AGENT)
            .args(["keep", "--dir"])
            .arg(dir.path())
            .arg("--agent-socket")
            .arg(rig.socket())
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&keeper.stderr);
        assert_eq!(keeper.status.code(), Some(1), "{log}");
        let named = log.contains(&dir.spec().display().to_string());
        assert!(named && log.contains(expected) && !log.contains("panicked"), "{log}");
    }
    fs::write(dir.state(), "{").unwrap();
    let agent = rig.agent();
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    assert_eq!(agent.running("gateway").restarts, 0);
}

#[test]
fn keeper_that_cannot_be_started_is_a_fault_and_not_a_spin() {
    let rig = Rig::new();
    fs::create_dir_all(rig.dir("gateway").keeper_log()).unwrap();
    let agent = rig.agent_that(Part::Run, false);
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let fault = wait_for("a fault", BOUND, || agent.supervisor.status().get("gateway")?.fault.clone());
    assert!(fault.contains("Is a directory"), "{fault}");
}

#[test]
fn health_listener_answers_and_nothing_else_listens() {
    let rig = Rig::new();
    let agent = rig.agent();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut spec = rig.spec("edge");
    spec.health_listener = Some(port);
    agent.supervisor.ensure(spec).unwrap();
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let [edge, gateway] = ["edge", "gateway"].map(|name| agent.running(name).envoy_pid.unwrap());
    let get = |path: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(BOUND)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    let answer = wait_for("an answer", BOUND, || get("/healthcheck"));
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let other = get("/").unwrap();
    assert!(other.starts_with("HTTP/1.1 404"), "{other}");
    assert_eq!(listening(edge), BTreeSet::from([port]));
    assert_eq!(listening(gateway), BTreeSet::new());
}

/// Returns the TCP ports that the process `pid` listens on.
fn listening(pid: u32) -> BTreeSet<u16> {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let links = fds.filter_map(|fd| fs::read_link(fd.path()).ok()?.into_os_string().into_string().ok());
    let inodes: BTreeSet<String> =
        links.filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect();
    assert!(!inodes.is_empty(), "an Envoy has sockets");
    let port = |line: &str| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let listens = fields.get(3) == Some(&"0A") && inodes.contains(*fields.get(9)?);
        let (_, port) = fields.get(1)?.rsplit_once(':')?;
        u16::from_str_radix(port, 16).ok().filter(|_| listens)
    };
    let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap());
    tables.iter().flat_map(|table| table.lines().filter_map(port)).collect()
}
