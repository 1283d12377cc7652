//! Asks the machines of a link which of them have addresses: [`answering`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::packets::{PacketSocket, Port, ProbeSocket};
use crate::{frames, neighbours};

/// How long a machine may take to answer.
pub const ANSWER: Duration = Duration::from_millis(160);

/// How often each address is asked about: frames may be lost.
const TIMES: u32 = 2;

/// Returns which of these addresses other machines of a link have, with their MACs: those that answer within [`ANSWER`].
///
/// # Errors
/// Returns an error if the interface is down or gone.
pub(crate) async fn answering(
    packets: &PacketSocket,
    port: &Port,
    addresses: &BTreeSet<IpAddr>,
) -> Result<BTreeMap<IpAddr, [u8; 6]>> {
    let _groups = join(port, addresses)?;
    let (socket, mut found) = (ProbeSocket::open(port)?, BTreeMap::new());
    let listen = async {
        let mut frame = [0; 2048];
        loop {
            let length = socket.receive(&mut frame).await?;
            let owner = owner(&frame[..length]);
            found.extend(owner.filter(|(address, mac)| addresses.contains(address) && *mac != port.mac));
        }
    };
    let ask = async {
        for _ in 0..TIMES {
            addresses.iter().try_for_each(|address| packets.send(port, &question(port.mac, *address)))?;
            tokio::time::sleep(ANSWER / TIMES).await;
        }
        anyhow::Ok(())
    };
    let asked = tokio::select! {
        failed = listen => failed,
        asked = ask => asked,
    };
    asked.map(|()| found)
}

/// Joins the groups in which other machines ask about the IPv6 addresses, until the socket is dropped. The interface, and
/// switches that follow memberships, would otherwise filter their solicitations.
fn join(port: &Port, addresses: &BTreeSet<IpAddr>) -> Result<Option<UdpSocket>> {
    let v6 = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(neighbours::group(*address)),
    });
    let groups: BTreeSet<Ipv6Addr> = v6.collect();
    if groups.is_empty() {
        return Ok(None);
    }
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).context("opening an IPv6 socket")?;
    for group in &groups {
        socket
            .join_multicast_v6(group, port.index())
            .with_context(|| format!("joining the group {group}"))?;
    }
    Ok(Some(socket))
}

/// Returns the frame that asks who has an address.
fn question(mac: [u8; 6], address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => frames::arp_probe(mac, address).to_vec(),
        IpAddr::V6(address) => neighbours::solicitation(mac, address),
    }
}

/// Returns the address that the sender of a frame has, and the sender's MAC.
fn owner(frame: &[u8]) -> Option<(IpAddr, [u8; 6])> {
    let v4 = frames::arp_sender(frame).map(|(address, mac)| (address.into(), mac));
    v4.or_else(|| neighbours::owner(frame).map(|(address, mac)| (address.into(), mac)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x02, 0xab, 0xcd, 0x01, 0x02, 0x03];

    #[test]
    fn questions_tell_no_owner_and_announcements_of_both_families_do() {
        let (v4, v6) = ([192, 0, 2, 7].into(), "2001:db8::7".parse().unwrap());
        for address in [IpAddr::V4(v4), IpAddr::V6(v6)] {
            assert_eq!(owner(&question(MAC, address)), None, "{address}");
        }
        assert_eq!(owner(&frames::arp(MAC, v4)[1]), Some((v4.into(), MAC)));
        assert_eq!(owner(&frames::neighbour_advertisement(MAC, v6)), Some((v6.into(), MAC)));
        assert_eq!(owner(&[]), None);
    }
}
