//! IngressListeners, EgressListeners and the pods of clusters, as scenarios use them.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use portreeve_api::d::CLUSTER_NAME_ANNOTATION;

use crate::greeter::{Greeter, greeting};
use crate::town::{BOUND, Town, Worker};
use crate::wait;

/// The port of every application, on 127.0.0.1.
pub const APPLICATION: u16 = 6000;
/// The port of every IngressListener.
pub const INGRESS: u16 = 8080;
/// The port of every EgressListener, on 127.0.0.1.
pub const EGRESS: u16 = 9090;

/// The object of the replaced control plane's example: `to` serves the pods of cluster `from`.
pub fn ingress(to: &str, from: &str) -> String {
    format!(
        "apiVersion: ingresslistener.envoy.uw.systems/v1alpha1\nkind: IngressListener\n\
         metadata: {{name: {to}, namespace: default}}\n\
         spec: {{nodename: {to}, listenport: {INGRESS}, targetport: {APPLICATION}, rbac: {{cluster: {from}}}}}\n"
    )
}

/// The object by which `from` reaches the pods of cluster `to`.
pub fn egress(from: &str, to: &str) -> String {
    format!(
        "apiVersion: egresslistener.envoy.uw.systems/v1alpha1\nkind: EgressListener\n\
         metadata: {{name: {from}, namespace: default}}\n\
         spec: {{nodename: {from}, listenport: {EGRESS}, target: {{cluster: {to}, port: {INGRESS}}}}}\n"
    )
}

/// Returns a port of 127.0.0.1.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

/// Returns the name of the application that answers at an address; empty if the connection is refused.
///
/// # Errors
/// Returns an error if the connection stays open without a byte.
pub fn answer(worker: &Worker, to: SocketAddr) -> Result<String> {
    Ok(greeting(&worker.netns, to)?.map(|(name, _)| name).unwrap_or_default())
}

/// Waits until the application with this name answers a pod at an address; an empty name: until it is refused.
///
/// # Errors
/// Returns an error after a timeout.
pub fn answers(worker: &Worker, to: SocketAddr, name: &str) -> Result<()> {
    let what = format!("{name:?} at {to} for {}", worker.name);
    wait::wait_until(&what, BOUND, || answer(worker, to).is_ok_and(|found| found == name))
}

/// Waits until one application answers every one of 20 connections to a port of a pod's Envoy, on 127.0.0.1.
///
/// # Errors
/// Returns an error after a timeout.
pub fn only(client: &Worker, port: u16, server: &Worker) -> Result<()> {
    let all = || (0..20).all(|_| answer(client, loopback(port)).is_ok_and(|name| name == server.name));
    wait::wait_until(&format!("{} alone", server.name), BOUND, all)
}

/// Creates pod `j` of node `i` in a cluster, without an Envoy.
///
/// # Errors
/// Returns an error if the server rejects it.
pub async fn pod(town: &Town, (i, j): (u8, u8), cluster: &str) -> Result<Worker> {
    let worker = town.worker(i, j, "", false).await?;
    worker.annotate(CLUSTER_NAME_ANNOTATION, Some(cluster)).await?;
    Ok(worker)
}

/// Creates pod `j` of node `i` in a cluster, with an Envoy that announces the cluster's name.
///
/// # Errors
/// Returns an error if the server rejects it, or the Envoy can't be started.
pub async fn member(town: &Town, (i, j): (u8, u8), cluster: &str) -> Result<Worker> {
    let mut worker = pod(town, (i, j), cluster).await?;
    let node = town.nodes.iter().position(|node| node.number == i).context("no such node")?;
    town.start_sidecar_as(&mut worker, node, cluster)?;
    Ok(worker)
}

/// Starts a pod's application, which answers with the pod's name.
///
/// # Errors
/// Returns an error if the port is taken.
pub fn application(worker: &Worker) -> Result<Greeter> {
    Greeter::start(&worker.netns, &worker.name, loopback(APPLICATION))
}
