//! Starts kube-controller-manager and kube-scheduler for an API server.

use anyhow::Result;

use crate::assets::NodeAssets;
use crate::controlplane::ControlPlane;
use crate::process::Process;

/// Starts both without waiting for them. Tests wait for their results.
pub(super) fn start(plane: &ControlPlane, programs: &NodeAssets) -> Result<[Process; 2]> {
    Ok([controller_manager(plane, programs)?, scheduler(plane, programs)?])
}

/// Nodes are checked often, so that a dead node is noticed within seconds.
fn controller_manager(plane: &ControlPlane, programs: &NodeAssets) -> Result<Process> {
    let kubeconfig = format!("--kubeconfig={}", plane.kubeconfig("controller-manager")?.display());
    let command = plane.companion(
        &programs.controller_manager,
        &[
            &kubeconfig,
            "--use-service-account-credentials",
            "--service-account-private-key-file={directory}sa.key",
            "--root-ca-file={directory}ca.pem",
            "--leader-elect=false",
            "--secure-port=0",
            // Each controller requests a token first, which takes seconds at the default of 20 requests per second.
            "--kube-api-qps=500",
            "--kube-api-burst=500",
            "--node-monitor-period=1s",
            "--node-monitor-grace-period=8s",
        ],
    );
    Process::spawn("controller-manager", &command)
}

fn scheduler(plane: &ControlPlane, programs: &NodeAssets) -> Result<Process> {
    let kubeconfig = format!("--kubeconfig={}", plane.kubeconfig("scheduler")?.display());
    let command =
        plane.companion(&programs.scheduler, &[&kubeconfig, "--leader-elect=false", "--secure-port=0"]);
    Process::spawn("scheduler", &command)
}
