//! Routes between the nodes' pods, and starting all nodes concurrently.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;

use super::cgroups::View;
use super::disk;
use super::node::{Node, Place};
use crate::assets::NodeAssets;
use crate::netns::{Bed, HUB_V4};

/// Begins to start nodes with these names and views, each with the image that every pod needs.
pub(super) fn start(
    bed: &Bed,
    nodes: &[(String, View)],
    (programs, pause): (&NodeAssets, &Path),
) -> Result<Vec<JoinHandle<Result<Node>>>> {
    let programs = programs.kubelet.parent().context("a program is in a directory")?;
    let routes: Vec<_> = (1..).take(nodes.len()).map(|number: u8| (number, route(number))).collect();
    // The API server calls webhooks in pods and needs routes back. Routes are also added for nodes that don't exist
    // yet.
    bed.root().ip(&routes.iter().map(|(_, line)| line.clone()).collect::<Vec<_>>())?;
    let place = |((name, view), number): (&(String, View), u8)| {
        let others = routes.iter().filter(|(other, _)| *other != number).map(|(_, line)| line.clone());
        // Cluster IPs have no route of their own. Without this one, packets to them would not be sent, and so not be
        // translated.
        let routes = others.chain([format!("route add default via {HUB_V4}")]).collect();
        Place { name: name.clone(), number, bed: bed.clone(), routes, view: *view }
    };
    let start = |place: Place| {
        let (programs, pause) = (programs.to_owned(), pause.to_owned());
        tokio::task::spawn_blocking(move || {
            let node = Node::new(place, &programs)?;
            node.import(&pause)?;
            Ok(node)
        })
    };
    Ok(nodes.iter().zip(1..).map(place).map(start).collect())
}

/// Returns the route to a node's pods.
fn route(number: u8) -> String {
    format!("route add {} via {}", disk::pods(number), Ipv4Addr::new(10, 77, number, 1))
}
