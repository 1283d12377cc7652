//! The shared memory of the Envoys with one base id: `/dev/shm/envoy_shared_memory_<base id * 10>`. Epoch 0 creates it,
//! later epochs attach to it, and no Envoy removes it. It begins with its size and layout version, and ends with its
//! flags.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// Size of a word in bytes.
const WORD: usize = 8;

fn path(base_id: u32) -> PathBuf {
    format!("/dev/shm/envoy_shared_memory_{}", u64::from(base_id) * 10).into()
}

/// Removes the shared memory. A missing one is no error.
pub(crate) fn remove(base_id: u32) -> io::Result<()> {
    match fs::remove_file(path(base_id)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Returns the output of `envoy --hot-restart-version` for Envoys that can share it.
pub(crate) fn version(base_id: u32) -> io::Result<String> {
    let bytes = fs::read(path(base_id))?;
    parse(&bytes).ok_or_else(|| io::Error::other("Envoy's shared memory is shorter than its head"))
}

fn parse(bytes: &[u8]) -> Option<String> {
    let word = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + WORD)?.try_into().ok()?));
    Some(format!("{}.{}", word(WORD)?, word(0)?))
}

/// Clears the flag "still initializing" that an Envoy set which died before it served. With the flag set, no further
/// Envoy can start ("previous envoy process is still initializing"; tested with 1.40).
pub(crate) fn forget_start(base_id: u32) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path(base_id))?;
    let length = file.metadata()?.len();
    let flags = length.checked_sub(WORD as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
    file.write_all_at(&[0; WORD], flags)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn version_is_that_which_envoy_prints() {
        let mut memory = vec![0; 104];
        (memory[0], memory[8]) = (104, 11);
        assert_eq!(parse(&memory).as_deref(), Some("11.104"));
        assert_eq!(parse(&memory[..12]), None);
    }
}
