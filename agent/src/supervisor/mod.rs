//! The agent's side of the keepers: which proxies there are to be, and how they are. Entry point: [`Supervisor`].
//!
//! Every pass compares what is wanted with what is there (an attached keeper, a held lock, nothing) and takes one step per
//! proxy, so whatever an agent left half done when it was killed, the next one completes.

mod attach;
mod attest;
mod embodiment;
mod in_pods;
mod inner;
mod pass;
mod pod_keeper;
mod questions;
mod roster;
mod session;
mod sockets;
mod statistics;
mod step;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use portreeve_keeper::dir::Dir;
use portreeve_keeper::predecessor::parent_of;
use portreeve_keeper::proto::keepers_server::KeepersServer;
use portreeve_keeper::spec::is_name;
use portreeve_keeper::{Order, Spec};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

pub use attach::Attachments;
pub(crate) use attest::holder_of;
pub use embodiment::Embodiment;
pub use inner::EnsureError;
use inner::{Config, Inner};
pub use portreeve_agent_core::status::supervised::{Status, Wanted};
use session::Wish;

/// How long [`Supervisor::stop_all`] waits beyond the drain: a keeper that does not attach, Envoy's grace, the last report.
const STOP_MARGIN: Duration = Duration::from_secs(8);

/// How far back an Envoy's log is looked through for what it died of.
const LAST_LINES: usize = 50;

/// All keepers of one agent. Clones are the same.
#[derive(Clone)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

// === impl Supervisor ===

impl Supervisor {
    /// The keepers under `run_dir`, which is made when it is not there. `exe_command` starts a binary that has the roles `keep`
    /// and `launch`; keepers dial `agent_socket`; those `with_parent` end with this process. Nothing happens before [`Self::run`].
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new(
        run_dir: PathBuf,
        exe_command: Vec<OsString>,
        agent_socket: PathBuf,
        with_parent: bool,
    ) -> io::Result<Self> {
        let keepers = run_dir.join("keepers");
        Dir::new(keepers.clone()).create()?;
        let config = Config { keepers, exe_command, agent_socket, with_parent };
        let status = watch::Sender::new(BTreeMap::new());
        let (pods, questions, roster) = Default::default();
        let inner = Inner { config, roster, status, wake: Notify::new(), pods, questions };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Has NodeProxies run in pods: this agent starts no keeper. Once, before [`Self::run`].
    pub fn in_pods(&self, pods: Weak<dyn Embodiment>) {
        // What was said first holds.
        let _ = self.inner.pods.set(pods);
    }

    /// The gRPC service that keepers attach to, for the server on the agent's socket.
    pub fn service(&self) -> KeepersServer<Attachments> {
        KeepersServer::new(Attachments::new(self.inner.clone()))
    }

    /// Carries out what is wanted, for ever.
    pub async fn run(&self) {
        loop {
            let pause = self.inner.pass();
            // Woken or not, the next pass looks at everything.
            let _ = timeout(pause, self.inner.wake.notified()).await;
        }
    }

    /// Wants a proxy to run with `spec`. [`Self::status`] says how it goes, and what is wrong. Idempotent.
    ///
    /// # Errors
    /// [`EnsureError::Spec`]: an unusable spec; the proxy goes on as it was. [`EnsureError::Write`]: its directory can't be
    /// written, which [`Self::run`] tries again until it can.
    pub fn ensure(&self, spec: Spec) -> Result<(), EnsureError> {
        let (name, dir) = (spec.name.clone(), self.inner.dir(&spec.name));
        let mut roster = self.inner.roster();
        let outcome = match Order::new(spec, &dir) {
            Ok(order) => {
                let in_pods = self.inner.pods.get().is_some();
                let written = if in_pods { Ok(()) } else { self.inner.write(&dir, &order) };
                roster.wish(&name, Wish::Run(order));
                roster.unwritten(&name, written.as_ref().err().map(ToString::to_string));
                written
            }
            Err(error) => {
                roster.refuse(&name, error.to_string());
                Err(error.into())
            }
        };
        drop(roster);
        self.inner.wake.notify_one();
        outcome
    }

    /// Wants the proxy `name` to end after `drain`, and its directory to be gone. Idempotent; a name without a keeper is fine.
    pub fn stop(&self, name: &str, drain: Duration) {
        if is_name(name) {
            self.inner.roster().wish(name, Wish::Stop(drain));
        } else {
            // It was refused, so that there is nothing to stop.
            self.inner.roster().entries.remove(name);
        }
        self.inner.wake.notify_one();
    }

    /// Stops all proxies that this agent knows or finds, and waits until they are gone; the names of those that are not.
    /// [`Self::run`] must be running beside it.
    pub async fn stop_all(&self, drain: Duration) -> Vec<String> {
        let mut status = self.watch();
        let mut names: std::collections::BTreeSet<String> = status.borrow().keys().cloned().collect();
        names.extend(self.found().unwrap_or_default());
        names.iter().for_each(|name| self.stop(name, drain));
        let there = |name: &String| self.inner.dir(name).path().exists();
        let gone = async { while names.iter().any(there) && status.changed().await.is_ok() {} };
        // What is left afterwards is the answer.
        let _ = timeout(drain + STOP_MARGIN, gone).await;
        names.into_iter().filter(there).collect()
    }

    /// What the Envoy under the keeper `name` wrote last of an error, or else its last line.
    pub fn last_words(&self, name: &str) -> Option<String> {
        let text = fs::read(self.inner.dir(name).envoy_log()).ok()?;
        let text = String::from_utf8_lossy(&text);
        let lines = || text.lines().rev().take(LAST_LINES).filter(|line| !line.trim().is_empty());
        // l7mp's errors begin so, and its last line is always that it exits.
        let is_error = |line: &&str| {
            line.contains("[critical]") || line.contains("[error]") || line.starts_with("Error: ")
        };
        let last = || lines().find(|line| !line.contains(" Normal exit: "));
        Some(lines().find(is_error).or_else(last)?.to_owned())
    }

    /// Every proxy that is wanted, attached or on its way out, by name.
    pub fn status(&self) -> BTreeMap<String, Status> {
        self.inner.status.borrow().clone()
    }

    /// [`Self::status`] as it changes.
    pub fn watch(&self) -> watch::Receiver<BTreeMap<String, Status>> {
        self.inner.status.subscribe()
    }

    /// The names of the keepers' directories that are there, whoever made them: what an agent that starts has to want or stop.
    ///
    /// # Errors
    /// The directory of directories cannot be read. That there is none (any more, as when its agent ends) is no error.
    pub fn found(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.inner.config.keepers) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?.filter_map(Result::ok),
        };
        let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.retain(|name| is_name(name));
        names.sort();
        Ok(names)
    }

    /// The processes of the Envoys that run, as their keepers say.
    pub(crate) fn envoys(&self) -> Vec<u32> {
        let status = self.inner.status.borrow();
        status.values().filter_map(|one| one.state.as_ref()?.envoy_pid).collect()
    }

    /// The proxy that the process `pid` is: the one whose living keeper is the process's parent. The kernel's word, not the
    /// keeper's report, so it holds from the process's first moment.
    pub fn proxy_of(&self, pid: u32) -> Option<String> {
        let parent = parent_of(pid)?;
        // A parent that ended meanwhile may have left its number to a keeper.
        self.keeper_of(parent).filter(|_| parent_of(pid) == Some(parent))
    }

    /// The proxy whose living keeper the process `pid` is, by the kernel's word.
    pub fn keeper_of(&self, pid: u32) -> Option<String> {
        let names = self.found().ok()?;
        names.into_iter().find(|name| attest::holds_lock(pid, &self.inner.dir(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_spec(name: &str) -> Spec {
        Spec { name: name.into(), ..roster::tests::mk_order(None).spec }
    }

    #[test]
    fn order_that_cannot_be_written_is_shown_and_written_once_it_can_be() {
        let run_dir = tempfile::tempdir().unwrap();
        let socket = run_dir.path().join("agent.sock");
        let supervisor = Supervisor::new(run_dir.path().to_owned(), Vec::new(), socket, false).unwrap();
        // A file where the directory is to be: a failure that also root has, and that goes away.
        let dir = supervisor.inner.dir("gateway");
        fs::write(dir.path(), "in the way").unwrap();
        let error = supervisor.ensure(mk_spec("gateway")).unwrap_err();
        supervisor.inner.pass();
        assert_eq!(supervisor.status()["gateway"].fault, Some(error.to_string()));
        fs::remove_file(dir.path()).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while !dir.spec().exists() && std::time::Instant::now() < deadline {
            supervisor.inner.pass();
        }
        assert_eq!(Order::read(&dir.spec()).unwrap().spec, mk_spec("gateway"));
        assert_ne!(supervisor.status()["gateway"].fault, Some(error.to_string()));
    }

    #[test]
    fn order_that_meets_a_full_disk_is_written_when_there_is_room() {
        if !attest::tests::in_sandbox("tests::order_that_meets_a_full_disk_is_written_when_there_is_room") {
            return;
        }
        let run_dir = tempfile::tempdir().unwrap();
        attest::tests::mount_at("tmpfs", run_dir.path(), Some("size=64k"));
        let socket = run_dir.path().join("agent.sock");
        let supervisor = Supervisor::new(run_dir.path().to_owned(), Vec::new(), socket, false).unwrap();
        let filler = run_dir.path().join("filler");
        let error = fs::write(&filler, vec![0; 1 << 17]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let error = supervisor.ensure(mk_spec("gateway")).unwrap_err().to_string();
        assert!(error.contains("No space left"), "{error}");
        supervisor.inner.pass();
        assert_eq!(supervisor.status()["gateway"].fault.as_ref(), Some(&error));
        fs::remove_file(filler).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let dir = supervisor.inner.dir("gateway");
        while !Order::read(&dir.spec()).is_ok_and(|order| order.spec == mk_spec("gateway")) {
            assert!(std::time::Instant::now() < deadline, "{:?}", supervisor.status());
            supervisor.inner.pass();
        }
        supervisor.inner.pass();
        assert_ne!(supervisor.status()["gateway"].fault, Some(error));
    }

    #[test]
    fn spec_that_cannot_be_carried_out_says_why_until_it_is_mended_or_goes() {
        let run_dir = tempfile::tempdir().unwrap();
        let socket = run_dir.path().join("agent.sock");
        let supervisor = Supervisor::new(run_dir.path().to_owned(), Vec::new(), socket, false).unwrap();
        let long = "n".repeat(64);
        let broken = Spec { extra_bootstrap: Some("{".into()), ..mk_spec("gateway") };
        for spec in [mk_spec(&long), broken] {
            let (name, error) = (spec.name.clone(), supervisor.ensure(spec).unwrap_err());
            supervisor.inner.pass();
            assert_eq!(supervisor.status()[&name].fault, Some(error.to_string()));
        }
        supervisor.ensure(mk_spec("gateway")).unwrap();
        supervisor.stop(&long, Duration::ZERO);
        supervisor.inner.pass();
        let status = supervisor.status();
        assert_eq!(status.keys().collect::<Vec<_>>(), ["gateway"]);
        assert!(
            !status["gateway"].fault.as_ref().is_some_and(|text| text.contains("bootstrap")),
            "{status:?}"
        );
    }

    #[test]
    fn keepers_are_found_by_their_directories_and_none_without_any() {
        let run_dir = tempfile::tempdir().unwrap();
        let socket = run_dir.path().join("agent.sock");
        let supervisor = Supervisor::new(run_dir.path().to_owned(), Vec::new(), socket, false).unwrap();
        for name in ["b", "a", "no name"] {
            fs::create_dir(run_dir.path().join("keepers").join(name)).unwrap();
        }
        assert_eq!(supervisor.found().unwrap(), ["a", "b"]);
        fs::remove_dir_all(run_dir.path().join("keepers")).unwrap();
        assert!(supervisor.found().unwrap().is_empty());
    }
}
