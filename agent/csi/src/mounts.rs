//! Mounts: the agent's directory as all volumes show it ([`View`]), and the volumes, which are copies of that mount.
//!
//! A copy in another mount namespace, such as the host's, gets the flags that the original has at that moment; later
//! changes don't propagate. So the original is already read-only: it is mounted once in the driver's own directory.

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

/// Nothing can be written through a volume, and no program in it can be executed.
const RESTRICTED: MsFlags =
    MsFlags::MS_RDONLY.union(MsFlags::MS_NOSUID).union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);
/// Maximum number of mounts on top of each other at a volume's path.
const LAYERS: usize = 16;

/// The content of all volumes.
#[derive(Debug)]
pub struct View {
    /// The mount point in this process's mount namespace.
    at: PathBuf,
    /// Device and inode of the directory.
    id: (u64, u64),
    /// Serializes requests, because the kernel can't check and mount atomically.
    turn: Mutex<()>,
}

/// The reason why a volume can't be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The path holds something that isn't the driver's.
    #[error("{}: {what}", path.display())]
    Foreign {
        /// The path.
        path: PathBuf,
        /// What it is, and what to do.
        what: &'static str,
    },
    /// A system call failed.
    #[error("{doing} {}: {errno}", path.display())]
    System {
        /// The operation.
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// The error.
        errno: Errno,
    },
}

// === impl View ===

impl View {
    /// Mounts `source`, restricted, in the driver's own directory, and removes the mount of an earlier driver.
    ///
    /// # Errors
    /// Returns an error if the directory doesn't exist or can't be mounted.
    pub fn open(source: &Path, at: &Path) -> anyhow::Result<Self> {
        anyhow::ensure!(source.is_dir(), "{} is not a directory", source.display());
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

    /// Mounts a volume, unless it is already mounted.
    ///
    /// # Errors
    /// Returns an error if the path is in use by something else, or the system call fails.
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

    /// Unmounts a volume and removes its directory. A missing volume is no error.
    ///
    /// # Errors
    /// Returns an error if the directory contains files, or a system call fails.
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
                // It is no mount point, or no longer one.
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

/// Opens the parent directory of a target, without following symbolic links.
fn parent(target: &Target) -> Result<OwnedFd, Fault> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    // The kubelet's own directory may be a link, which is the node owner's decision.
    let pods = openat(AT_FDCWD, &target.pods, flags, Mode::empty());
    let pods = pods.map_err(|errno| Fault::System { doing: "opening", path: target.pods.clone(), errno })?;
    open_below(&pods, &target.parent).map_err(|errno| fault(errno, &target.pods.join(&target.parent)))
}

/// Opens a directory below another one, without following symbolic links.
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

/// Returns a path of an open directory that stays valid even if the directory is renamed.
fn by_number(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}
