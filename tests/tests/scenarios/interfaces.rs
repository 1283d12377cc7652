//! Which interfaces of a node lead to a process.

use std::sync::mpsc;

use anyhow::{Result, ensure};
use nix::unistd::gettid;
use portreeve_agent::interfaces::leading_to;
use portreeve_agent_core::world::Interface;
use portreeve_tests::netns::Netns;

/// Returns an interface as the kernel describes it to a program in its namespace.
fn found(node: &Netns, name: &str, bridge: Option<&str>) -> Result<Interface> {
    let output = node.command("ip").args(["-o", "link", "show", name]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let index = text.split(':').next().unwrap_or_default().parse()?;
    Ok(Interface { index, name: name.into(), bridge: bridge.map(str::to_owned) })
}

/// Asks on a thread in `node` for the interfaces that lead to a thread in `target`.
fn leading(node: &Netns, target: &Netns) -> Result<Vec<Interface>> {
    let (tell, told) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let thread = target.spawn(move || {
        let _ = tell.send(gettid());
        let _ = ended.recv();
        Ok(())
    })?;
    let pid = u32::try_from(told.recv()?.as_raw())?;
    let answer = node.block_on(leading_to(pid))?;
    drop(end);
    let _ = thread.join();
    let mut answer = answer?;
    answer.sort_by_key(|one| one.index);
    Ok(answer)
}

#[test]
fn interfaces_that_lead_to_a_process_are_those_that_the_kernel_connects_with_it() -> Result<()> {
    let (node, pod, other) = (Netns::new("node")?, Netns::new("pod")?, Netns::new("other")?);
    ensure!(leading(&node, &pod)?.is_empty(), "nothing leads to it yet");
    node.ip(&[
        "link add br0 type bridge".to_owned(),
        "link add br1 type bridge".to_owned(),
        format!("link add va type veth peer name eth0 netns {}", pod.path()),
        format!("link add vb type veth peer name net1 netns {}", pod.path()),
        format!("link add vc type veth peer name eth0 netns {}", other.path()),
        "link set vb master br1 up".to_owned(),
        "link set vc master br0 up".to_owned(),
    ])?;
    ensure!(leading(&node, &pod)? == [found(&node, "va", None)?, found(&node, "vb", Some("br1"))?]);
    ensure!(leading(&node, &other)? == [found(&node, "vc", Some("br0"))?]);
    ensure!(leading(&node, &node)?.is_empty(), "it has the node's own network");
    node.ip(&["link delete va".to_owned()])?;
    ensure!(leading(&node, &pod)? == [found(&node, "vb", Some("br1"))?]);
    Ok(())
}

#[test]
fn process_that_has_ended_is_an_error() -> Result<()> {
    let node = Netns::new("node")?;
    // No process has the highest number that a pid can have.
    let error = node.block_on(leading_to(i32::MAX.unsigned_abs()))?.err();
    ensure!(error.is_some_and(|error| error.to_string() == "asking for a network namespace"));
    Ok(())
}
