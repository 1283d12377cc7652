//! Follows the uninstall instructions of `deploy/README.md`, and checks that nothing is left.

use std::fs;

use anyhow::{Context, Result, ensure};
use portreeve_tests::cluster::Node;
use portreeve_tests::wait;

use crate::site::{BOUND, Site, call, deploy};
use crate::{addresses, tunnels};

/// Words that occur only in names of this product's objects.
const OURS: [&str; 3] = ["portreeve-hub", "portreeve-agent", "/usr/local/bin/envoy"];
/// The directories on a node.
const DIRECTORIES: [&str; 3] = ["/run/portreeve", "/run/portreeve-tunnels", "/var/lib/portreeve"];

/// The kinds of objects that go first.
const OBJECTS: [&str; 9] = [
    "virtualservices.servicemesh.l7mp.io,virtualservices.l7mp.io,targets.l7mp.io,routes.l7mp.io,rules.l7mp.io,ingresslisteners,egresslisteners",
    "loadbalancers.epic.acnodal.io",
    "remoteendpoints.epic.acnodal.io",
    "endpoints.epic.acnodal.io",
    "servicegroups.epic.acnodal.io",
    "lbservicegroups.epic.acnodal.io",
    "accounts.epic.acnodal.io",
    "serviceprefixes.epic.acnodal.io",
    "epics.epic.acnodal.io",
];

pub async fn leaves_nothing(site: &Site) -> Result<()> {
    let cluster = &site.cluster;
    // A VirtualService as the original controllers create it.
    let guarded = call("guarded", 6000)
        .replace("namespace: default", "namespace: default, finalizers: [l7mp.io/delete]");
    cluster.apply(&guarded).await?;
    site.programmed("guarded").await?;
    ensure!(
        cluster.nodes().iter().all(|node| node.path("/run/portreeve/agent.sock").exists()),
        "no socket to lose"
    );

    let policies = ["portreeve-epics", "portreeve-loadbalancers"];
    cluster.kubectl(&[&["delete", "validatingadmissionpolicybindings"], &policies[..]].concat())?;
    addresses::are_removed(site).await?;
    tunnels::are_closed(site).await?;
    for kinds in OBJECTS {
        cluster.kubectl(&["delete", kinds, "--all", "--all-namespaces", "--timeout=60s"])?;
    }
    cluster.kubectl(&["delete", "nodeproxies", "--all", "--timeout=60s"])?;
    cluster.kubectl(&["delete", "-k", &deploy(""), "--ignore-not-found", "--timeout=120s"])?;
    for node in cluster.nodes() {
        wait::until("the end of our processes", BOUND, || async { processes(node).is_empty() })
            .await
            .with_context(|| format!("{}: {:?}", node.name(), processes(node)))?;
    }
    let uninstall = deploy("uninstall");
    cluster.kubectl(&["apply", "-k", &uninstall])?;
    cluster.rolled_out("daemonset", "portreeve-uninstall", "portreeve-uninstall", BOUND).await?;
    cluster.kubectl(&["delete", "-k", &uninstall, "--timeout=120s"])?;

    let left = cluster.kubectl(&["get", LISTED, "--all-namespaces", "-o", "name"])?;
    let left: Vec<&str> =
        left.lines().filter(|name| name.contains("portreeve") || name.contains("l7mp")).collect();
    ensure!(left.is_empty(), "in the cluster: {left:?}");
    cluster.nodes().iter().try_for_each(is_clean)
}

/// Kinds whose objects may be left over.
const LISTED: &str = "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,priorityclasses,csidrivers,\
    validatingadmissionpolicies,validatingadmissionpolicybindings,pods,serviceaccounts,leases";

/// Returns the product's processes on a node.
fn processes(node: &Node) -> Vec<u32> {
    node.pids(|line| OURS.iter().any(|program| line.contains(program)))
}

fn is_clean(node: &Node) -> Result<()> {
    for directory in DIRECTORIES {
        let left: Vec<_> = fs::read_dir(node.path(directory)).into_iter().flatten().flatten().collect();
        ensure!(left.is_empty(), "{} has {left:?} in {directory}", node.name());
    }
    let left = fs::read_dir(node.path("/dev/shm"))?.flatten().map(|entry| entry.file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("envoy")).collect();
    ensure!(left.is_empty(), "{} has {left:?} in its shared memory", node.name());
    let sockets = node.netns().enter(|| fs::read_to_string("/proc/thread-self/net/unix"))??;
    let left: Vec<&str> = sockets.lines().filter(|line| line.contains("envoy_domain_socket")).collect();
    ensure!(left.is_empty(), "{}: {left:?}", node.name());
    Ok(())
}
