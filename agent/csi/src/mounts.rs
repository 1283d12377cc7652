//! The mounts: the agent's directory as all volumes show it ([`View`]), and the volumes, which are mounted copies of that.
//!
//! A copy that reaches another mount namespace, the host's, has the flags of its original at that instant, and what is changed
//! later stays behind. So what is copied is read-only before: it is mounted once at a place of the driver's own.

use std::fs::{self, Metadata};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::request::Target;

/// Nothing is written through a volume, and nothing run from it.
const RESTRICTED: MsFlags =
    MsFlags::MS_RDONLY.union(MsFlags::MS_NOSUID).union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);
/// Mounts that may lie upon each other at a volume's place.
const LAYERS: usize = 16;

/// What all volumes show.
#[derive(Debug)]
pub struct View {
    /// Where it is mounted for this process.
    at: PathBuf,
    /// Which directory it is: device and number.
    id: (u64, u64),
    /// One request at a time: the kernel does not look and mount at once.
    turn: Mutex<()>,
}

/// Why a volume could not be mounted or taken away.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is something that is not the driver's.
    #[error("{}: {what}", path.display())]
    Foreign {
        /// Where.
        path: PathBuf,
        /// What it is, and what to do.
        what: &'static str,
    },
    /// The kernel refuses.
    #[error("{doing} {}: {errno}", path.display())]
    System {
        /// What was done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Its word.
        errno: Errno,
    },
}

// === impl View ===

impl View {
    /// Mounts `source`, restricted, at a directory of the driver's own. What an earlier driver mounted there goes.
    ///
    /// # Errors
    /// There is no such directory, or it can't be mounted.
    pub fn open(source: &Path, at: &Path) -> anyhow::Result<Self> {
        anyhow::ensure!(source.is_dir(), "{} is no directory", source.display());
        fs::create_dir_all(at).with_context(|| at.display().to_string())?;
        for _ in 0..LAYERS {
            if umount2(at, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).is_err() {
                break;
            }
        }
        let none = None::<&str>;
        let mounted = mount(Some(source), at, none, MsFlags::MS_BIND, none)
            .and_then(|()| mount(none, at, none, MsFlags::MS_PRIVATE, none))
            .and_then(|()| mount(none, at, none, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | RESTRICTED, none));
        mounted.with_context(|| format!("mounting {} at {}", source.display(), at.display()))?;
        let id = id(&fs::metadata(at)?);
        Ok(Self { at: at.to_owned(), id, turn: Mutex::default() })
    }

    /// Mounts a volume, unless it is there.
    ///
    /// # Errors
    /// Something else is there, or the kernel refuses.
    pub fn publish(&self, target: &Target) -> Result<(), Fault> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let path = target.path();
        let system = |doing| move |errno, path: &Path| Fault::System { doing, path: path.to_owned(), errno };
        let parent = parent(target)?;
        match mkdirat(&parent, target.name.as_str(), Mode::from_bits_truncate(0o750)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(system("making")(errno, &path)),
        }
        let place = open_below(&parent, Path::new(&target.name)).map_err(|errno| fault(errno, &path))?;
        let by_number = by_number(&place);
        let there =
            fs::metadata(&by_number).map_err(|error| system("looking at")(errno_of(&error), &path))?;
        if id(&there) == self.id {
            return Ok(());
        }
        let mut within =
            fs::read_dir(&by_number).map_err(|error| system("reading")(errno_of(&error), &path))?;
        if within.next().is_some() {
            let what = "something else is there: end the pod, and remove what is there by hand";
            return Err(Fault::Foreign { path, what });
        }
        let none = None::<&str>;
        mount(Some(&self.at), &by_number, none, MsFlags::MS_BIND, none)
            .map_err(|errno| system("mounting a volume at")(errno, &path))
    }

    /// Takes a volume away, with its directory. One that is gone is no error.
    ///
    /// # Errors
    /// There are files in the directory, or the kernel refuses.
    pub fn unpublish(&self, target: &Target) -> Result<(), Fault> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let path = target.path();
        let parent = match parent(target) {
            Ok(parent) => parent,
            Err(Fault::System { errno: Errno::ENOENT, .. }) => return Ok(()),
            Err(fault) => return Err(fault),
        };
        let place = by_number(&parent).join(&target.name);
        for _ in 0..LAYERS {
            match umount2(&place, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
                Ok(()) => {}
                Err(Errno::ENOENT) => return Ok(()),
                // It is no mount, or no longer.
                Err(Errno::EINVAL) => break,
                Err(errno) => return Err(Fault::System { doing: "unmounting", path, errno }),
            }
        }
        match unlinkat(&parent, target.name.as_str(), UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(Errno::ENOTEMPTY | Errno::ENOTDIR) => {
                let what = "there are files, which are no volume's: remove them by hand";
                Err(Fault::Foreign { path, what })
            }
            Err(errno) => Err(Fault::System { doing: "removing", path, errno }),
        }
    }
}

/// The directory that a target is in, reached through nothing but directories.
fn parent(target: &Target) -> Result<OwnedFd, Fault> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    // The kubelet's own directory may well be a link: that is for the node's owner to say.
    let pods = openat(AT_FDCWD, &target.pods, flags, Mode::empty());
    let pods = pods.map_err(|errno| Fault::System { doing: "opening", path: target.pods.clone(), errno })?;
    open_below(&pods, &target.parent).map_err(|errno| fault(errno, &target.pods.join(&target.parent)))
}

/// A directory below another one, where no link leads elsewhere.
fn open_below(directory: impl AsFd, path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(directory, path, how)
}

fn fault(errno: Errno, path: &Path) -> Fault {
    let path = path.to_owned();
    match errno {
        Errno::ELOOP => {
            Fault::Foreign { path, what: "a symbolic link is on the way: no kubelet makes one there" }
        }
        Errno::ENOTDIR => Fault::Foreign { path, what: "no directory: no kubelet makes such a file there" },
        errno => Fault::System { doing: "opening", path, errno },
    }
}

/// A path that leads to an open directory, whatever has become of its name.
fn by_number(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}
