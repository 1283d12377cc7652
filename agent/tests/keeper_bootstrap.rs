//! The bootstrap against a real Envoy. (Its golden file is the keeper's.)
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::Command;

use portreeve_agent::envoy::locate;
use portreeve_keeper::dir::Dir;
use portreeve_keeper::envoy::{Bootstrap, Family};
use portreeve_keeper::{Program, Spec};

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
        program: Program::Envoy,
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
