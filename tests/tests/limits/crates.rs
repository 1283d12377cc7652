//! What the pure crates depend on.

use std::path::Path;
use std::process::Command;

/// Pure crates, and what they must not depend on, however far: a runtime, a server, a Kubernetes client.
const PURE: [&str; 1] = ["portreeve-api"];
const IMPURE: [&str; 6] = ["tokio", "tonic", "hyper", "kube-client", "kube-runtime", "tower"];

/// The crates of a dependency tree that are impure.
fn impure(tree: &str) -> Vec<String> {
    let names = tree.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| IMPURE.contains(name)).map(str::to_owned).collect()
}

#[test]
fn pure_crates_depend_on_no_runtime_server_or_client() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for name in PURE {
        let arguments = ["tree", "--locked", "--offline", "-p", name, "-e", "normal", "--prefix", "none"];
        let listed = Command::new(env!("CARGO")).current_dir(&root).args(arguments).output().unwrap();
        let tree = String::from_utf8_lossy(&listed.stdout);
        assert!(
            listed.status.success() && tree.starts_with(name),
            "{}",
            String::from_utf8_lossy(&listed.stderr)
        );
        assert_eq!(impure(&tree), [""; 0], "{name} depends on them");
    }
}

#[test]
fn crates_that_are_impure_are_found_in_a_tree() {
    let tree = "portreeve-api v0.1.0 (/x)\nkube-core v5.0.0\ntokio v1.54.1 (*)\ntokio-util v0.7.20\n";
    assert_eq!(impure(tree), ["tokio"]);
}
