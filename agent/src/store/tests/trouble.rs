//! Real directories with faulty files or environments.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portreeve_agent_core::claims::Owner;
use portreeve_agent_core::fleet::Accepted;
use portreeve_agent_core::translate::ProxyKind;
use portreeve_agent_core::world::ProxyId;
use portreeve_api::pod::Pod;
use portreeve_envoy::Envoy;

use super::super::disk::Disk;
use super::*;
use crate::turn;

/// A store with the Plans `a` and `b`.
fn mk_store() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (saver, _) = open(directory.path()).unwrap();
    saver.put(plan("a"), resource(b"one"));
    saver.put(plan("b"), resource(b"two"));
    saver.flush(BOUND).unwrap();
    directory
}

fn file(directory: &Path, key: &Key) -> PathBuf {
    directory.join(key.file())
}

/// Opens a store whose file of Plan `a` is broken, checks that `b` is there, and returns the only problem.
fn only_b(directory: &Path) -> String {
    let (plans, mut problems) = look(directory);
    assert_eq!(plans, [("b".to_owned(), "two".to_owned())]);
    assert_eq!(problems.len(), 1, "{problems:?}");
    let problem = problems.remove(0);
    assert!(problem.contains(&plan("a").file()), "{problem}");
    problem
}

#[test]
fn everything_is_read_back_as_it_was_saved() {
    let directory = tempfile::tempdir().unwrap();
    let (saver, empty) = open(directory.path()).unwrap();
    assert!(plans(&empty).is_empty() && !empty.complete && saver.problems().is_empty());
    let pod = Pod {
        uid: "uid".into(),
        namespace: "ns".into(),
        name: "p".into(),
        labels: BTreeMap::from([("app".to_owned(), "gw".to_owned())]),
        node: Some("n".into()),
        ips: vec![[10, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()],
        ready: true,
        host_network: true,
        created_ms: 10,
        terminating_ms: 20,
        finished: false,
        node_proxy: Some("gw".into()),
        service_account: "sa".into(),
        static_uid: Some("0123456789abcdef0123456789abcdef".into()),
        l7mp: std::num::NonZeroU16::new(1234),
        extra: [("annotation:a".to_owned(), "b".to_owned())].into(),
    };
    let owner = Owner { kind: ProxyKind::Envoy, proxy: ProxyId::Pod("uid".into()), plan: "a".into() };
    let accepted = [Envoy::Cluster, Envoy::Endpoint, Envoy::Listener]
        .map(|ty| Accepted::new(ty, "a/x".into(), 7, b"bytes").kept().unwrap());
    let host = ("ns".to_owned(), "worker".to_owned());
    saver.put(plan("a"), resource(b"one"));
    saver.put(Key::Watermark, Content::Watermark("vs=7".into()));
    saver.put(Key::Complete, Content::Complete);
    saver.put(Key::Epoch, Content::Number(1 << 40));
    saver.put(Key::Heard, Content::Number(3));
    saver.put(Key::Pod(pod.uid.clone()), Content::Pod(pod.clone(), "web".into()));
    saver.put(Key::Host(host.clone()), Content::Host(pod.ips.clone()));
    saver.put(Key::Accepted(owner.clone()), Content::Accepted(accepted.to_vec()));
    saver.flush(BOUND).unwrap();
    let (saver, restored) = open(directory.path()).unwrap();
    assert_eq!(plans(&restored), [("a".to_owned(), "one".to_owned())]);
    assert_eq!((restored.watermark.as_deref(), restored.complete), (Some("vs=7"), true));
    assert_eq!((restored.epoch, restored.heard_ms), (Some(1 << 40), Some(3)));
    assert_eq!((&restored.pods, &restored.hosts), (&vec![pod.clone()], &vec![(host, pod.ips)]));
    assert_eq!(restored.accepted, [(owner, accepted.to_vec())]);
    let cluster = Accepted::<Envoy>::of_kept(&restored.accepted[0].1[0]).unwrap().resource;
    assert_eq!(cluster.companion().map(|name| &**name), Some("a/x"));
    assert!(saver.problems().is_empty());
}

#[test]
fn newest_content_wins_and_what_was_removed_is_gone() {
    let directory = mk_store();
    let (saver, _) = open(directory.path()).unwrap();
    for body in [b"1", b"2", b"3"] {
        saver.put(plan("a"), resource(body));
    }
    saver.remove(plan("b"));
    saver.flush(BOUND).unwrap();
    assert_eq!(look(directory.path()).0, [("a".to_owned(), "3".to_owned())]);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing temporary is left");
}

#[test]
fn what_waits_is_written_when_nobody_saves_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let (saver, _) = open(directory.path()).unwrap();
    saver.put(plan("a"), resource(b"one"));
    drop(saver);
    // The saver is dropped, so only the directory shows the result.
    let written = || file(directory.path(), &plan("a")).exists();
    let end = std::time::Instant::now() + BOUND;
    while !written() && std::time::Instant::now() < end {
        std::thread::yield_now();
    }
    assert!(written());
}

#[test]
fn content_that_is_there_already_is_not_written_again() {
    use std::os::unix::fs::MetadataExt;
    let directory = mk_store();
    let path = file(directory.path(), &plan("a"));
    let before = fs::metadata(&path).unwrap().ino();
    let (saver, _) = open(directory.path()).unwrap();
    saver.put(plan("a"), resource(b"one"));
    saver.flush(BOUND).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().ino(), before);
}

#[test]
fn files_are_for_the_agents_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("state");
    let (saver, _) = open(&directory).unwrap();
    saver.put(plan("a"), resource(b"one"));
    saver.flush(BOUND).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&directory), mode(&file(&directory, &plan("a")))), (0o700, 0o600));
}

#[test]
fn corrupt_file_is_put_aside_and_named() {
    let directory = mk_store();
    let path = file(directory.path(), &plan("a"));
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(only_b(directory.path()).contains("is corrupt"));
    assert!(!path.exists() && directory.path().join(format!("{}.bad", plan("a").file())).exists());
    assert!(look(directory.path()).1.is_empty(), "what was put aside is told once");
}

#[test]
fn torn_empty_and_zeroed_files_are_put_aside() {
    for (length, zeroed, said) in
        [(40, false, "is torn: 40 of"), (0, false, "is torn: 0 of"), (40, true, "is corrupt")]
    {
        let directory = mk_store();
        let path = file(directory.path(), &plan("a"));
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(length);
        if zeroed {
            bytes.fill(0);
        }
        fs::write(&path, bytes).unwrap();
        let problem = only_b(directory.path());
        assert!(problem.contains(said), "{problem}");
    }
}

#[test]
fn files_of_newer_and_older_formats_are_put_aside() {
    for (format, whose) in [(2, "a newer agent"), (0, "an older agent")] {
        let directory = mk_store();
        let path = file(directory.path(), &plan("a"));
        let mut bytes = fs::read(&path).unwrap();
        bytes[8] = format;
        fs::write(&path, bytes).unwrap();
        let problem = only_b(directory.path());
        assert!(problem.contains(whose) && problem.contains("format 1"), "{problem}");
    }
}

#[test]
fn foreign_file_is_named_and_left_alone() {
    let directory = mk_store();
    let path = directory.path().join("notes.txt");
    fs::write(&path, "remember the milk").unwrap();
    let (plans, problems) = look(directory.path());
    assert_eq!(plans.len(), 2);
    assert!(problems.len() == 1 && problems[0].contains("notes.txt"), "{problems:?}");
    assert_eq!(fs::read_to_string(path).unwrap(), "remember the milk");
}

#[test]
fn copy_of_a_file_under_another_name_is_not_believed() {
    let directory = mk_store();
    let (from, to) = (file(directory.path(), &plan("b")), file(directory.path(), &plan("a")));
    fs::copy(from, to).unwrap();
    only_b(directory.path());
}

#[test]
fn unreadable_file_is_passed_over() {
    let directory = mk_store();
    let path = file(directory.path(), &plan("a"));
    fs::remove_file(&path).unwrap();
    // A directory can't be read as a file by any user.
    fs::create_dir(&path).unwrap();
    assert!(only_b(directory.path()).contains("can't be read"));
}

#[test]
fn directory_that_is_none_is_told_and_the_store_recovers_when_it_is_one() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("state");
    fs::write(&directory, "a file").unwrap();
    let (saver, restored) = open(&directory).unwrap();
    assert!(plans(&restored).is_empty());
    assert!(saver.problems()[0].to_string().contains("the store can't be read"), "{:?}", saver.problems());
    saver.put(plan("a"), resource(b"one"));
    let problem = saver.flush(BOUND).unwrap_err().to_string();
    assert!(problem.contains("can't be written") && problem.contains("tried again"), "{problem}");
    assert_eq!(saver.problems().len(), 2);
    fs::remove_file(&directory).unwrap();
    saver.flush(BOUND).unwrap();
    assert_eq!(saver.problems().len(), 1, "only what was found at the start is left");
    assert_eq!(look(&directory).0.len(), 1);
}

/// A disk that is full while the flag is set.
struct Full {
    inner: disk::Directory,
    full: Arc<AtomicBool>,
}

impl Disk for Full {
    fn list(&mut self) -> std::io::Result<Vec<String>> {
        self.inner.list()
    }

    fn read(&mut self, name: &str) -> std::io::Result<Vec<u8>> {
        self.inner.read(name)
    }

    fn create(&mut self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        // A full disk creates the file and then writes no bytes.
        if self.full.load(Ordering::Relaxed) {
            self.inner.create(name, &bytes[..bytes.len() / 2])?;
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.inner.create(name, bytes)
    }

    fn sync(&mut self, names: &[String]) -> std::io::Result<()> {
        self.inner.sync(names)
    }

    fn rename(&mut self, from: &str, to: &str) -> std::io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&mut self, name: &str) -> std::io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_names(&mut self) -> std::io::Result<()> {
        self.inner.sync_names()
    }
}

#[test]
fn full_disk_keeps_what_was_there_and_takes_the_newest_once_it_has_room() {
    let directory = mk_store();
    let full = Arc::new(AtomicBool::new(true));
    let disk = Full { inner: disk::Directory::new(directory.path()), full: full.clone() };
    let (saver, _) = open_on(disk, directory.path()).unwrap();
    saver.put(plan("a"), resource(b"three"));
    let problem = saver.flush(BOUND).unwrap_err().to_string();
    assert!(problem.contains(&plan("a").file()) && problem.contains("make room"), "{problem}");
    assert_eq!(look(directory.path()).0[0].1, "one");
    saver.put(plan("a"), resource(b"four"));
    saver.flush(BOUND).unwrap_err();
    full.store(false, Ordering::Relaxed);
    saver.flush(BOUND).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "no half file is left");
    assert!(saver.problems().is_empty());
    assert_eq!(look(directory.path()).0[0].1, "four");
}

#[test]
fn agent_that_was_stopped_while_another_took_its_turn_writes_nothing_over_what_that_has_kept() {
    let directory = mk_store();
    let socket = directory.path().join(turn::SOCKET);
    let _asked = UnixListener::bind(&socket).unwrap();
    let (elder, _) = open(directory.path()).unwrap();
    fs::remove_file(&socket).unwrap();
    let _asks = UnixListener::bind(&socket).unwrap();
    let (heir, _) = open(directory.path()).unwrap();
    heir.put(plan("a"), resource(b"new"));
    heir.flush(BOUND).unwrap();
    for (key, content) in [(plan("a"), Some(resource(b"old"))), (plan("b"), None)] {
        match content {
            Some(content) => elder.put(key, content),
            None => elder.remove(key),
        }
        let problem = elder.flush(BOUND).unwrap_err().to_string();
        assert!(problem.contains("another agent of this node"), "{problem}");
    }
    let kept = [("a".to_string(), "new".to_string()), ("b".to_string(), "two".to_string())];
    assert_eq!(look(directory.path()).0, kept);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3, "nothing half is left");
}
