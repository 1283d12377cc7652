//! Every container runs with the rights that `deploy/README.md` claims, as reported by the kernel.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::site::Site;

/// A component and its user.
const PARTS: [(&str, u32); 7] = [
    ("hub", 65532),
    ("agent", 0),
    ("gateway", 101),
    ("sidecar", 101),
    ("csi", 0),
    ("addresses", 0),
    ("tunnels", 0),
];

/// The CSI driver mounts: it has CAP_SYS_ADMIN and no other capability.
const DRIVER: [(&str, &str); 3] =
    [("CapEff", "0000000000200000"), ("CapPrm", "0000000000200000"), ("NoNewPrivs", "1")];

/// The component `addresses` has CAP_NET_ADMIN and CAP_NET_RAW.
const ADDRESSES: [(&str, &str); 4] =
    [("CapEff", "0000000000003000"), ("CapPrm", "0000000000003000"), ("NoNewPrivs", "1"), ("Seccomp", "2")];

/// The component `tunnels` has CAP_NET_ADMIN and can't get another one.
const TUNNELS: [(&str, &str); 5] = [
    ("CapEff", "0000000000001000"),
    ("CapPrm", "0000000000001000"),
    ("CapBnd", "0000000000001000"),
    ("NoNewPrivs", "1"),
    ("Seccomp", "2"),
];

/// A gateway's keeper may bind ports below 1024, and passes that right on to its Envoy, which uses it. It can't get
/// other capabilities.
const KEEPER: [(&str, &str); 5] = [
    ("CapEff", "0000000000000000"),
    ("CapPrm", "0000000000000400"),
    ("CapBnd", "0000000000000400"),
    ("NoNewPrivs", "1"),
    ("Seccomp", "2"),
];

const ENVOY: [(&str, &str); 5] = [
    ("CapEff", "0000000000000400"),
    ("CapPrm", "0000000000000400"),
    ("CapBnd", "0000000000000400"),
    ("NoNewPrivs", "1"),
    ("Seccomp", "2"),
];

/// The lines of `/proc/<pid>/status` for a process without rights: no capability in any set, and filtered system calls.
const NOTHING: [(&str, &str); 5] = [
    ("CapEff", "0000000000000000"),
    ("CapPrm", "0000000000000000"),
    ("CapBnd", "0000000000000000"),
    ("NoNewPrivs", "1"),
    ("Seccomp", "2"),
];

/// The beginnings of probes' command lines.
const PROBES: [&str; 3] = ["portreeve-agent probe ", "portreeve-agent ready ", "portreeve-agent csi-probe "];

pub async fn all_parts(site: &Site) -> Result<()> {
    for (part, user) in PARTS {
        let pods = match part {
            "sidecar" => site.workers.clone(),
            _ => site.cluster.pods("portreeve", &format!("app.kubernetes.io/component={part}")).await?,
        };
        let wanted = if part == "hub" { 2 } else { site.cluster.nodes().len() };
        ensure!(pods.len() == wanted, "{part}: {pods:?}");
        let rights = |pid| match part {
            "csi" => &DRIVER[..],
            "addresses" => &ADDRESSES,
            "tunnels" => &TUNNELS,
            "gateway" if command(pid).starts_with("portreeve-agent") => &KEEPER,
            "gateway" => &ENVOY,
            _ => &NOTHING,
        };
        for pod in pods {
            let node = site.cluster.node_named(&pod.node)?;
            let pids: Vec<u32> = node.pids_of_pod(&pod.uid).into_iter().filter(is_ours).collect();
            ensure!(pids.len() == if part == "gateway" { 2 } else { 1 }, "{}: {pids:?}", pod.name);
            for pid in pids {
                is_confined(pid, user, rights(pid))
                    .with_context(|| format!("{}: {}", pod.name, command(pid)))?;
            }
        }
    }
    Ok(())
}

/// Returns whether a process is one of the components. The kubelet's probes are short-lived and not counted.
fn is_ours(pid: &u32) -> bool {
    let command = command(*pid);
    let passing = PROBES.iter().any(|probe| command.starts_with(probe));
    !passing && (command.contains("portreeve-") || command.contains("envoy"))
}

fn command(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

fn is_confined(pid: u32, user: u32, rights: &[(&str, &str)]) -> Result<()> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).with_context(|| format!("no {name}"))
    };
    for (name, wanted) in rights {
        ensure!(field(name)? == *wanted, "{name} is {}", field(name)?);
    }
    let users: Vec<u32> = field("Uid")?.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(users == [user; 4], "users {users:?} instead of {user}");
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).context("no root")?;
    let options = root.split(' ').nth(5).unwrap_or_default();
    ensure!(options.split(',').any(|option| option == "ro"), "its root can be written: {root}");
    Ok(())
}
