//! How the nodes of a cluster get to each other's pods, and how they are all started at once.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;

use super::cgroups::View;
use super::disk;
use super::node::{Node, Place};
use crate::assets::NodeAssets;
use crate::netns::{Bed, HUB_V4};

/// Begins to start the nodes of these names and views, each with the image that every pod needs.
pub(super) fn start(
    bed: &Bed,
    nodes: &[(String, View)],
    (programs, pause): (&NodeAssets, &Path),
) -> Result<Vec<JoinHandle<Result<Node>>>> {
    let programs = programs.kubelet.parent().context("a program is in a directory")?;
    let routes: Vec<_> = (1..).take(nodes.len()).map(|number: u8| (number, route(number))).collect();
    // The API server calls webhooks that are pods, and answers them. Nodes that are not there yet are routed to as well.
    bed.root().ip(&routes.iter().map(|(_, line)| line.clone()).collect::<Vec<_>>())?;
    let place = |((name, view), number): (&(String, View), u8)| {
        let others = routes.iter().filter(|(other, _)| *other != number).map(|(_, line)| line.clone());
        // Services' addresses have no route of their own: without this one nothing is sent that could be translated.
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

/// The way to a node's pods.
fn route(number: u8) -> String {
    format!("route add {} via {}", disk::pods(number), Ipv4Addr::new(10, 77, number, 1))
}
