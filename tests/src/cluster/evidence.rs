//! The output of a failed test: the ends of logs, with a limited length.

use std::fs;
use std::path::{Path, PathBuf};

/// Maximum number of lines per log.
const LINES: usize = 15;
/// Maximum length of a line.
const WIDTH: usize = 400;
/// Maximum number of logs per pod.
const LOGS: usize = 6;

/// Returns the last lines of a list of events, without events that every pod has.
pub(super) fn warnings(events: &str) -> String {
    let lines = events.lines().filter(|line| !line.contains("MissingClusterDNS"));
    let lines: Vec<String> = lines.map(|line| line.chars().take(WIDTH).collect()).collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(|line| format!("{line}\n")).collect()
}

/// Returns the end of a log with a title, or nothing for an empty log.
pub(super) fn tail(title: &str, path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<String> = text.lines().map(|line| line.chars().take(WIDTH).collect()).collect();
    if lines.is_empty() {
        return String::new();
    }
    format!("--- {title}\n{}\n", lines[lines.len().saturating_sub(LINES)..].join("\n"))
}

/// Returns the ends of the logs of the pod with this uid.
pub(super) fn pod(directory: &Path, uid: &str) -> String {
    let mut found = Vec::new();
    for pod in below(directory).filter(|path| path.to_string_lossy().ends_with(&format!("_{uid}"))) {
        found.extend(below(&pod).flat_map(|container| below(&container).collect::<Vec<_>>()));
    }
    found.sort();
    found.iter().rev().take(LOGS).map(|path| tail(&named(path, directory), path)).collect()
}

/// `<namespace>_<name>_<uid>/<container>/<restarts>.log`.
fn named(path: &Path, directory: &Path) -> String {
    path.strip_prefix(directory).unwrap_or(path).display().to_string()
}

fn below(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_warnings_are_shown() {
        let events: String = (1..=20).map(|number| format!("event {number}\n")).collect();
        let shown = warnings(&(events + "1s MissingClusterDNS pod/x\n"));
        assert!(shown.starts_with("event 6\n") && shown.ends_with("event 20\n"), "{shown}");
    }

    #[test]
    fn the_last_lines_of_each_container_are_shown() {
        let directory = tempfile::tempdir().unwrap();
        let container = directory.path().join("default_echo_uid-1/main");
        fs::create_dir_all(&container).unwrap();
        let lines: Vec<_> = (1..=20).map(|number| format!("line {number}")).collect();
        fs::write(container.join("0.log"), lines.join("\n")).unwrap();
        let shown = pod(directory.path(), "uid-1");
        assert!(shown.starts_with("--- default_echo_uid-1/main/0.log\nline 6\n"), "{shown}");
        assert!(shown.ends_with("line 20\n") && pod(directory.path(), "uid-2").is_empty(), "{shown}");
    }
}
