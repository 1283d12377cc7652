//! Binds Unix sockets that a later process takes over. Entry points: [`bind`] and [`bind_with`].
//!
//! A socket is bound under a temporary name and renamed over the old one, so that its path always leads to a socket. It is
//! not unlinked at exit, because the next process may have bound its own there.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::net::UnixListener;

/// The longest path of a Unix socket, in bytes without the terminating zero (unix(7)).
pub const PATH_LIMIT: usize = 107;

/// Binds a socket that every user may connect to. Missing directories of its path are created.
///
/// # Errors
/// The path is longer than [`PATH_LIMIT`] (the text names `flag`, the flag that the path comes from), or the system refuses.
pub fn bind(path: &Path, flag: &str) -> anyhow::Result<UnixListener> {
    bind_with(path, flag, 0o666)
}

/// Binds like [`bind`] a socket with the file permissions `mode`.
///
/// # Errors
/// As for [`bind`].
pub fn bind_with(path: &Path, flag: &str, mode: u32) -> anyhow::Result<UnixListener> {
    let length = path.as_os_str().len();
    anyhow::ensure!(
        length <= PATH_LIMIT,
        "{}: {length} bytes are too long for a Unix socket (at most {PATH_LIMIT}); choose a shorter {flag}",
        path.display()
    );
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    let temporary = temporary(path, length);
    // A leftover of an agent that was killed between bind and rename.
    let _ = fs::remove_file(&temporary);
    let listener = UnixListener::bind(&temporary).with_context(|| temporary.display().to_string())?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(mode))?;
    fs::rename(&temporary, path).with_context(|| path.display().to_string())?;
    Ok(listener)
}

/// Returns a path in the same directory that isn't longer than the original, which may be at the limit. The name begins
/// with a dot, because a kubelet treats every other socket in its directory as a plugin's.
fn temporary(path: &Path, length: usize) -> PathBuf {
    let pid = std::process::id().to_string();
    let room = PATH_LIMIT - length;
    let name = path.file_name().unwrap_or_default();
    if pid.len() + 1 < room {
        let mut longer = OsString::from(".");
        longer.push(name);
        longer.push(format!(".{pid}"));
        return path.with_file_name(longer);
    }
    let keep = name.len();
    path.with_file_name(format!(".{pid:.keep$}", keep = keep.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_socket_takes_the_place_of_the_old_without_a_gap() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sock");
        let _old = bind(&path, "--socket").unwrap();
        let new = bind(&path, "--socket").unwrap();
        let (client, served) = tokio::join!(tokio::net::UnixStream::connect(&path), new.accept());
        assert!(client.is_ok() && served.is_ok());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_path_that_is_too_long_is_named_with_the_flag_to_change() {
        let path = PathBuf::from(format!("/tmp/{}", "x".repeat(120)));
        let error = bind(&path, "--run-dir").unwrap_err().to_string();
        assert!(error.contains("125 bytes") && error.contains("--run-dir"), "{error}");
    }
}
