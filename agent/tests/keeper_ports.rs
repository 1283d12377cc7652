//! Ports below 1024 for an Envoy that doesn't run as root.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod keeper_rig;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keeper_rig::{AGENT, BOUND, Part, Rig, send, wait_for};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

/// "nobody" on every system.
const NOBODY: u32 = 65534;
/// 127.0.0.153:53 as `/proc/net/udp` writes it, on a little-endian machine.
const BOUND_53: &str = " 9900007F:0035 ";
const LISTENER: &str = r#"{static_resources: {listeners: [{name: dns, udp_listener_config: {},
 address: {socket_address: {protocol: UDP, address: 127.0.0.153, port_value: 53}},
 listener_filters: [{name: u, typed_config: {
  "@type": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig, stat_prefix: dns,
  matcher: {on_no_match: {action: {name: route, typed_config: {
   "@type": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.Route, cluster: xds}}}}}}]}]}}"#;

/// Copies `program` so that every user may run it, with a capability in its file if `capable`.
fn copy(program: &Path, directory: &Path, capable: bool) -> PathBuf {
    let copied = directory.join(program.file_name().unwrap());
    fs::copy(program, &copied).unwrap();
    fs::set_permissions(&copied, fs::Permissions::from_mode(0o755)).unwrap();
    if capable {
        let given = Command::new("setcap").arg("cap_net_bind_service+ep").arg(&copied).status();
        let given = given.expect("setcap: apt-get install --no-install-recommends libcap2-bin");
        assert!(given.success(), "{}: its file system keeps no capabilities", copied.display());
    }
    copied
}

#[test]
fn envoy_that_is_not_roots_binds_udp_port_53() {
    assert!(geteuid().is_root(), "only root can give a file a capability: run this test as root");
    let rig = Rig::new();
    let home = rig.socket().parent().unwrap().to_path_buf();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
    let keeper = copy(Path::new(AGENT), &home, true);
    let mut spec = rig.spec("gateway");
    spec.envoy = copy(&spec.envoy, &home, false);
    spec.extra_args = vec!["--config-yaml".into(), LISTENER.into()];
    let agent = rig.agent_that(Part::Nothing, false);
    agent.supervisor.ensure(spec).unwrap();
    let dir = rig.dir("gateway");
    for path in [home.join("keepers"), dir.path().to_path_buf(), dir.spec()] {
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let nobody = NOBODY.to_string();
    let mut running = Command::new("setpriv")
        .args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups", "--"])
        .arg(&keeper)
        .args(["keep", "--dir"])
        .arg(dir.path())
        .arg("--agent-socket")
        .arg(rig.socket())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let bound = || fs::read_to_string("/proc/net/udp").unwrap().contains(BOUND_53).then_some(());
    wait_for("UDP port 53", BOUND, bound);
    let envoy = rig.state("gateway").and_then(|state| state.envoy_pid).unwrap();
    let status = fs::read_to_string(format!("/proc/{envoy}/status")).unwrap();
    let only = format!("CapEff:\t{:016x}", 1 << 10);
    assert!(status.contains(&only) && status.contains(&format!("Uid:\t{nobody}")), "{status}");
    send(running.id(), Signal::SIGTERM);
    running.wait().unwrap();
}
