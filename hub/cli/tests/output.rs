//! The commands when nobody reads their output.
#![allow(clippy::unwrap_used, reason = "a test ends where it can't start what it tests")]

use std::fs::File;
use std::io::{self, PipeWriter};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The exit code that a shell reports for a process killed by SIGPIPE.
const BROKEN_PIPE: i32 = 141;

fn portreeve(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command.args(words).stdin(Stdio::null());
    command
}

/// Returns a pipe without a reader.
fn unread() -> PipeWriter {
    io::pipe().unwrap().1
}

fn quickstart() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples/quickstart");
    path.display().to_string()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn commands_end_quietly_when_their_reader_goes() {
    let quickstart = quickstart();
    for words in [&["crds"][..], &["translate", &quickstart]] {
        let output = portreeve(words).stdout(unread()).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), said(&output)), (Some(BROKEN_PIPE), String::new()), "{words:?}");
    }
}

#[test]
fn help_ends_quietly_when_its_reader_goes() {
    for words in [&["--help"][..], &["--version"], &["up", "--help"], &["translate", "--help"]] {
        let output = portreeve(words).stdout(unread()).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), said(&output)), (Some(0), String::new()), "{words:?}");
    }
}

#[test]
fn complaints_that_nobody_reads_do_not_change_the_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("broken.yaml");
    std::fs::write(&file, "kind: [").unwrap();
    let file = file.display().to_string();
    for words in [&["translate", &file][..], &["up", &file], &["crds", "--out", "/nonexistent"]] {
        let output = portreeve(words).stdout(Stdio::null()).stderr(unread()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}");
    }
}

#[test]
fn full_disk_under_the_output_is_an_error_with_its_reason() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = portreeve(&["crds"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(said(&output), "error: standard output: No space left on device (os error 28)\n");
}
