//! The bootstrap against its golden file and against a real Envoy.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use portreeve_agent::envoy::{Bootstrap, BootstrapError, Family, locate};
use portreeve_agent::keeper::Spec;
use portreeve_agent::keeper::dir::Dir;
use serde_json::Value;

fn mk_bootstrap(health_listener: Option<u16>) -> Bootstrap {
    Bootstrap {
        node_id: "node-1/gateway".into(),
        node_cluster: "gateway".into(),
        ads_socket: "/run/portreeve/agent.sock".into(),
        admin_socket: "/run/portreeve/keepers/gateway/admin.sock".into(),
        health_listener,
        wildcard: Family::Dual,
    }
}

fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keeper_golden").join(name);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn bootstrap_is_the_golden_one() {
    assert_eq!(mk_bootstrap(None).render().unwrap(), golden("bootstrap.json"));
    assert_eq!(mk_bootstrap(Some(1233)).render().unwrap(), golden("bootstrap_health.json"));
}

#[test]
fn envoy_accepts_the_bootstrap() {
    let envoy = locate(None, &mut |step| eprintln!("{step:?}")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (health_listener, wildcard) in
        [(None, Family::V4), (Some(1233), Family::V4), (Some(1233), Family::Dual)]
    {
        let bootstrap = Bootstrap { wildcard, ..mk_bootstrap(health_listener) };
        let path = dir.path().join("bootstrap.json");
        fs::write(&path, bootstrap.render().unwrap().to_string()).unwrap();
        let mut command = Command::new(&envoy);
        command.args(["--mode", "validate", "--disable-hot-restart", "-c"]).arg(&path);
        let output = command.output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{health_listener:?} {wildcard:?}: {log}");
        assert!(!log.to_lowercase().contains("deprecated"), "{log}");
    }
}

#[test]
fn envoy_accepts_a_memory_limit_and_what_is_merged_into_its_bootstrap() {
    let envoy = locate(None, &mut |step| eprintln!("{step:?}")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let extra = r#"{"stats_flush_interval": "10s", "staticResources": {"clusters": [
        {"name": "metrics", "type": "STATIC", "connect_timeout": "1s"}]}}"#;
    let spec = Spec {
        name: "gateway".into(),
        envoy: envoy.clone(),
        node_id: "n".into(),
        node_cluster: "c".into(),
        ads_socket: "/run/portreeve/agent.sock".into(),
        concurrency: 1,
        extra_args: vec![],
        health_listener: Some(1233),
        drain_s: 5,
        wildcard: Family::V4,
        memory_limit: Some(512 << 20),
        extra_bootstrap: Some(extra.into()),
    };
    let bootstrap = spec.bootstrap(&Dir::new("/run/portreeve/keepers/gateway".into())).unwrap();
    assert_eq!(bootstrap["static_resources"]["clusters"].as_array().unwrap().len(), 2);
    let path = dir.path().join("bootstrap.json");
    fs::write(&path, bootstrap.to_string()).unwrap();
    let mut command = Command::new(&envoy);
    let output = command.args(["--mode", "validate", "--disable-hot-restart", "-c"]).arg(&path).output();
    let output = output.unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !log.to_lowercase().contains("deprecated"), "{log}");
}

#[test]
fn too_long_socket_path_is_refused_with_its_length_and_flag() {
    let fits = PathBuf::from(format!("/{}", "a".repeat(106)));
    let admin_socket = PathBuf::from(format!("/{}", "a".repeat(107)));
    let ok = Bootstrap { ads_socket: fits.clone(), admin_socket: fits.clone(), ..mk_bootstrap(None) };
    assert!(ok.render().is_ok());
    let error = Bootstrap { admin_socket: admin_socket.clone(), ..ok.clone() }.render().unwrap_err();
    assert!(matches!(error, BootstrapError::PathTooLong { length: 108, flag: "--run-dir", .. }), "{error:?}");
    let text = Bootstrap { ads_socket: admin_socket.clone(), ..ok }.render().unwrap_err().to_string();
    let expected = format!(
        "the path of the ADS socket, {}, has 108 bytes; a Unix socket's path has 107 at most: choose a shorter --agent-socket",
        admin_socket.display()
    );
    assert_eq!(text, expected);
}
