//! Finds the interfaces of this node that lead to a process with a network of its own: [`leading_to`].

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use portreeve_agent_core::world::Interface;
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::{Handle, new_connection};
use tokio::task::JoinSet;

/// Returns the interfaces of the agent's network namespace whose other end is in that of this process, such as the node's end of
/// a pod's veth. Needs no capability. Empty if the process is in the agent's own network namespace.
///
/// # Errors
/// Returns an error if the kernel rejects a request, for example because the process has ended.
pub async fn leading_to(pid: u32) -> Result<Vec<Interface>> {
    let (connection, handle, _) = new_connection().context("opening a netlink socket")?;
    let mut task = JoinSet::new();
    task.spawn(connection);
    let Some(namespace) = namespace_of(&handle, pid).await? else { return Ok(Vec::new()) };
    let links: Vec<LinkMessage> =
        handle.link().get().execute().try_collect().await.context("listing interfaces")?;
    let leads = |link: &&LinkMessage| link.attributes.contains(&LinkAttribute::LinkNetNsId(namespace));
    let interface = |link: &LinkMessage| {
        let bridge = link.attributes.iter().find_map(|one| match one {
            LinkAttribute::Controller(index) => links.iter().find(|link| link.header.index == *index),
            _ => None,
        });
        Interface { index: link.header.index, name: name(link), bridge: bridge.map(name) }
    };
    Ok(links.iter().filter(leads).map(interface).collect())
}

/// Returns the id that the agent's network namespace has for a process's. `None`: no interface has ever led to it.
async fn namespace_of(handle: &Handle, pid: u32) -> Result<Option<i32>> {
    let mut asked = NsidMessage::default();
    asked.attributes.push(NsidAttribute::Pid(pid));
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetNsId(asked));
    message.header.flags = NLM_F_REQUEST;
    let mut answers = handle.clone().request(message).context("asking for a network namespace")?;
    while let Some(answer) = answers.next().await {
        match answer.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(found)) => {
                let id = found.attributes.iter().find_map(|one| match one {
                    NsidAttribute::Id(id) => Some(*id),
                    _ => None,
                });
                return Ok(id.filter(|id| *id >= 0));
            }
            NetlinkPayload::Error(error) => {
                return Err(error.to_io()).context("asking for a network namespace");
            }
            _ => {}
        }
    }
    bail!("the kernel didn't answer which network namespace process {pid} has")
}

fn name(link: &LinkMessage) -> String {
    let name = link.attributes.iter().find_map(|one| match one {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    name.unwrap_or_default()
}
