//! Who a process is, by the kernel's word: a keeper is whoever holds its directory's lock.
//!
//! The kernel lists a lock by its file's device and inode (`/proc/locks`). Both count: an inode's number alone is one that
//! everybody with a tmpfs can have. `stat` can't tell them, because on btrfs and overlayfs it shows others than the kernel's
//! own, so they are read from an open file: its inode and mount (`fdinfo`), and the mount's device (`mountinfo`).

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;

use portreeve_keeper::dir::Dir;

/// How often a list of locks of more than a page is read until it contains the lock.
const LOOKS: usize = 5;

/// A file as `/proc/locks` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KernelFile {
    major: u32,
    minor: u32,
    inode: u64,
}

/// Whether the process `pid` holds the keeper's lock of `dir`. The number alone can be another process's by now: callers that
/// know the process by a handle check that it still lives afterwards.
pub(super) fn holds_lock(pid: u32, dir: &Dir) -> bool {
    let Ok(file) = File::open(dir.lock_file()).and_then(|file| KernelFile::of(&file)) else { return false };
    find_lock(|line| (file.holder(line) == Some(pid)).then_some(())).is_some()
}

/// Returns the process that holds the exclusive lock of this file.
pub(crate) fn holder_of(file: &File) -> Option<u32> {
    let file = KernelFile::of(file).ok()?;
    find_lock(|line| file.holder(line))
}

/// Returns the first result of `find` over the lines of `/proc/locks`. Between two reads of the file, the kernel skips
/// an entry if an earlier one vanishes. So a list that took several reads is read again before a lock counts as missing.
fn find_lock<T>(find: impl Fn(&str) -> Option<T>) -> Option<T> {
    for _ in 0..LOOKS {
        let (text, reads) = read_locks().ok()?;
        let found = text.lines().find_map(&find);
        if found.is_some() || reads <= 1 {
            return found;
        }
    }
    None
}

/// Returns the text of `/proc/locks`, and the number of reads that it took. One read returns at most a page.
/// `fs::read_to_string` would read the first entry separately.
fn read_locks() -> io::Result<(String, usize)> {
    let (mut file, mut text, mut reads) = (File::open("/proc/locks")?, Vec::new(), 0);
    let mut part = [0; 16 * 1024];
    loop {
        match file.read(&mut part)? {
            0 => return Ok((String::from_utf8_lossy(&text).into_owned(), reads)),
            len => text.extend_from_slice(&part[..len]),
        }
        reads += 1;
    }
}

// === impl KernelFile ===

impl KernelFile {
    fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
        // Kernels before 5.14 tell no inode; a mount outside of this process's root is not listed.
        let inode = field(&info, "ino:").unwrap_or_else(|| found.ino());
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let device = field(&info, "mnt_id:").and_then(|mount| device_of(&mounts, mount));
        let told = || (nix::sys::stat::major(found.dev()), nix::sys::stat::minor(found.dev()));
        let shown =
            |(major, minor): (u64, u64)| Some((u32::try_from(major).ok()?, u32::try_from(minor).ok()?));
        let (major, minor) = device.or_else(|| shown(told())).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { major, minor, inode })
    }

    /// Returns the process that holds this file's exclusive lock according to a line of `/proc/locks`:
    /// `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`.
    fn holder(&self, line: &str) -> Option<u32> {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", holder, file, ..] = fields[..] else { return None };
        holder.parse().ok().filter(|_| Self::parse(file) == Some(*self))
    }

    /// `fe:00:1234`: the device in hexadecimal digits, the inode in decimal ones.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (major, minor, inode) = (parts.next()?, parts.next()?, parts.next()?);
        let hex = |digits| u32::from_str_radix(digits, 16).ok();
        Some(Self { major: hex(major)?, minor: hex(minor)?, inode: inode.parse().ok()? })
    }
}

/// The number in the line of an `fdinfo` that begins so.
fn field(info: &str, name: &str) -> Option<u64> {
    info.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// The device of the mount with this id: `36 35 98:0 /root /at …` in `mountinfo`.
fn device_of(mountinfo: &str, mount: u64) -> Option<(u32, u32)> {
    mountinfo.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let id: u64 = fields.next()?.parse().ok()?;
        let (major, minor) = fields.nth(1)?.split_once(':')?;
        (id == mount).then_some((major.parse().ok()?, minor.parse().ok()?))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::MetadataExt as _;
    use std::path::Path;
    use std::process::{Command, id};
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use nix::mount::{MsFlags, mount};
    use portreeve_keeper::dir::Dir;
    use portreeve_keeper::predecessor::parent_of;
    use portreeve_xds::Peer;

    use super::{KernelFile, device_of, holds_lock};
    use crate::identity::{Door, Identity};
    use crate::supervisor::Supervisor;

    const LOCKS: &str = "1: FLOCK  ADVISORY  READ 19461 fe:00:10 0 EOF\n\
                         2: FLOCK  ADVISORY  WRITE 13091 fe:00:20 0 EOF\n\
                         2: -> FLOCK  ADVISORY  WRITE 19461 fe:00:20 0 EOF\n\
                         3: POSIX  ADVISORY  WRITE 7 fe:00:30 0 EOF\n\
                         4: FLOCK  ADVISORY  WRITE 666 00:31:20 0 EOF\n\
                         5: FLOCK  ADVISORY  WRITE 667 fe:01:20 0 EOF\n\
                         6: FLOCK  ADVISORY  WRITE 668 fe:00:20:1 0 EOF\n\
                         broken\n";
    /// How often the list of locks is read in the test of its changes.
    const LOOKS: usize = 1000;
    /// Where a test that needs mounts of its own runs again.
    const SANDBOX: &str = "PORTREEVE_TEST_SANDBOX";

    #[test]
    fn only_the_writer_of_that_file_holds_its_lock() {
        for (pid, inode, expected) in [
            (13091, 20, true),
            (13091, 10, false),
            (19461, 10, false), // a reader
            (19461, 20, false), // waiting
            (7, 30, false),     // another kind of lock
            (666, 20, false),   // a file of the same number on another file system
            (667, 20, false),   // the same on another device of the same kind
        ] {
            let file = KernelFile { major: 0xfe, minor: 0, inode };
            let holders: Vec<u32> = LOCKS.lines().filter_map(|line| file.holder(line)).collect();
            assert_eq!(holders.contains(&pid), expected, "{pid} {inode}");
        }
    }

    #[test]
    fn device_of_a_mount_is_found_by_its_id() {
        let mounts =
            "29 1 254:0 / / rw inner:1 - ext4 /dev/vda rw\n30 29 0:49 / /a\\040b rw - tmpfs tmpfs rw\n";
        assert_eq!((device_of(mounts, 30), device_of(mounts, 31)), (Some((0, 49)), None));
    }

    /// Files that are locked until they are dropped.
    fn locked(at: &Path, count: usize) -> Vec<File> {
        let files = (0..count).map(|i| File::create(at.join(format!("held{i}"))).unwrap());
        files.inspect(|file| file.lock().unwrap()).collect()
    }

    fn lock_and_unlock(file: File, done: &AtomicBool) {
        while !done.load(Relaxed) {
            file.lock().unwrap();
            file.unlock().unwrap();
        }
    }

    #[test]
    fn holder_is_found_while_other_locks_come_and_go() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::new(temp.path().to_owned());
        let _lock = dir.try_lock().unwrap().unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let others = [0, 1].map(|i| File::create(temp.path().join(format!("other{i}"))).unwrap());
            for file in others {
                scope.spawn(|| lock_and_unlock(file, &done));
            }
            // The second list is longer than a page.
            let missed = [0, 100].map(|others| {
                let _others = locked(temp.path(), others);
                (0..LOOKS).filter(|_| !holds_lock(id(), &dir)).count()
            });
            done.store(true, Relaxed);
            assert_eq!(missed, [0, 0], "of {LOOKS} each");
        });
    }

    #[test]
    fn this_process_holds_the_lock_that_it_took() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::new(temp.path().to_owned());
        let me = id();
        assert!(!holds_lock(me, &dir));
        let _lock = dir.try_lock().unwrap().unwrap();
        assert!(holds_lock(me, &dir));
        assert!(!holds_lock(1, &dir));
        assert_eq!(parent_of(me), Some(std::os::unix::process::parent_id()));
    }

    /// Runs a test of [`super::super`] again in a mount namespace of its own; true in there.
    pub(in crate::supervisor) fn in_sandbox(test: &str) -> bool {
        if std::env::var_os(SANDBOX).is_some() {
            return true;
        }
        let root = nix::unistd::geteuid().is_root();
        let output = Command::new("unshare")
            .args(if root { &["--mount"][..] } else { &["--mount", "--map-root-user"] })
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", &format!("supervisor::{test}")])
            .env(SANDBOX, "1")
            .output()
            .unwrap();
        let text =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        false
    }

    pub(in crate::supervisor) fn mount_at(kind: &str, at: &Path, options: Option<&str>) {
        fs::create_dir_all(at).unwrap();
        mount(Some(kind), at, Some(kind), MsFlags::empty(), options).unwrap();
    }

    /// A keeper's directory on a tmpfs with its lock file, and a locked file of the same number on another tmpfs.
    fn stranger(at: &Path) -> (Dir, File) {
        let (ours, theirs) = (at.join("run"), at.join("theirs"));
        [&ours, &theirs].iter().for_each(|path| mount_at("tmpfs", path, None));
        let dir = Dir::new(ours.join("keepers/gateway"));
        dir.create().unwrap();
        drop(dir.try_lock().unwrap().unwrap());
        let wanted = fs::metadata(dir.lock_file()).unwrap().ino();
        let mut files = (0..).map(|i| File::create(theirs.join(format!("f{i}"))).unwrap());
        let same = files.find(|file| file.metadata().unwrap().ino() >= wanted).unwrap();
        assert_eq!(same.metadata().unwrap().ino(), wanted);
        same.lock().unwrap();
        (dir, same)
    }

    #[test]
    fn lock_of_a_file_of_the_same_number_elsewhere_makes_no_keeper() {
        if !in_sandbox("attest::tests::lock_of_a_file_of_the_same_number_elsewhere_makes_no_keeper") {
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let (dir, _held) = stranger(temp.path());
        assert!(!holds_lock(id(), &dir));
        // Nor does a child of the stranger's get what the gateway is to have.
        let run_dir = temp.path().join("run");
        let socket = run_dir.join("agent.sock");
        let supervisor = Supervisor::new(run_dir, vec!["false".into()], socket, false).unwrap();
        let door = Door::new(Identity::Kernel, "n1", supervisor);
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let peer = Peer { pid: i32::try_from(child.id()).ok(), ..Peer::default() };
        let refused = door.proxy(&peer, "nodeproxy/gateway");
        let lock = dir.try_lock().unwrap().unwrap();
        let served = door.proxy(&peer, "");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(refused.unwrap_err().code(), tonic::Code::PermissionDenied);
        assert_eq!(served.unwrap().to_string(), "nodeproxy/gateway", "the keeper's child is the gateway");
        drop(lock);
    }

    /// On an overlay `stat` and the kernel's list of locks may tell different devices and inodes.
    #[test]
    fn lock_on_an_overlay_is_its_holders() {
        if !in_sandbox("attest::tests::lock_on_an_overlay_is_its_holders") {
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        mount_at("tmpfs", temp.path(), None);
        let [lower, upper, work, merged] =
            ["lower", "upper", "work", "merged"].map(|name| temp.path().join(name));
        [&lower, &upper, &work].iter().for_each(|path| fs::create_dir(path).unwrap());
        let [l, u, w] = [&lower, &upper, &work].map(|path| path.display());
        mount_at("overlay", &merged, Some(&format!("lowerdir={l},upperdir={u},workdir={w}")));
        let dir = Dir::new(merged.join("keepers/gateway"));
        dir.create().unwrap();
        let _lock = dir.try_lock().unwrap().unwrap();
        assert!(holds_lock(id(), &dir));
        assert!(!holds_lock(parent_of(id()).unwrap(), &dir));
    }
}
