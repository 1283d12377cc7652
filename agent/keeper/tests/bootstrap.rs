//! The bootstrap against its golden file. (A real Envoy reads it in the agent's `keeper_bootstrap.rs`.)
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use portreeve_keeper::envoy::{Bootstrap, BootstrapError, Family};
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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn bootstrap_is_the_golden_one() {
    assert_eq!(mk_bootstrap(None).render().unwrap(), golden("bootstrap.json"));
    assert_eq!(mk_bootstrap(Some(1233)).render().unwrap(), golden("bootstrap_health.json"));
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
