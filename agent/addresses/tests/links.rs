//! [`Links`] against the kernel, in network namespaces. Needs root, iproute2 and util-linux.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bed;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use portreeve_addresses::{Interface, Links};

use bed::Namespace;

const V4: &str = "192.0.2.7";
const V6: &str = "2001:db8:2::7";
const NEIGHBOURS_MAC: &str = "02:77:00:00:00:02";
const OLD_MAC: &str = "02:77:00:00:00:99";
const OWN_MAC: [u8; 6] = [0x02, 0x77, 0, 0, 0, 1];

/// Long, because the machine may be busy.
const BOUND: Duration = Duration::from_secs(20);

/// Waits until the output of `ip` contains `wanted`.
async fn wait_for(namespace: &Namespace, arguments: &str, wanted: &str) -> Result<()> {
    let mut shown = String::new();
    let waited = tokio::time::timeout(BOUND, async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while !shown.contains(wanted) {
            ticks.tick().await;
            shown = namespace.ip(arguments)?;
        }
        anyhow::Ok(())
    });
    match waited.await {
        Ok(result) => result,
        Err(_) => anyhow::bail!("ip {arguments}: waited {BOUND:?} in vain for {wanted:?} in {shown:?}"),
    }
}

/// Creates a node with `eth0` in 192.0.2.0/24 and 2001:db8:2::/64 whose cable ends at `eth0` of a neighbour, and `eth1`
/// in 198.51.100.0/24 and 2001:db8:3::/64.
fn mk_node() -> Result<(Namespace, Namespace)> {
    let (node, neighbour) = (Namespace::new()?, Namespace::new()?);
    node.ip("link set lo up")?;
    node.ip(&format!("link add eth0 type veth peer name eth0 netns {}", neighbour.path()))?;
    node.ip("link add eth1 type veth peer name far")?;
    node.ip("link set eth0 address 02:77:00:00:00:01")?;
    neighbour.ip(&format!("link set eth0 address {NEIGHBOURS_MAC}"))?;
    let addresses = [
        (&node, "192.0.2.1/24 dev eth0"),
        (&node, "2001:db8:2::1/64 dev eth0 nodad"),
        (&node, "198.51.100.1/24 dev eth1"),
        (&node, "2001:db8:3::1/64 dev eth1 nodad"),
        (&neighbour, "192.0.2.2/24 dev eth0"),
        (&neighbour, "2001:db8:2::2/64 dev eth0 nodad"),
    ];
    for (namespace, address) in addresses {
        namespace.ip(&format!("addr add {address}"))?;
    }
    for (namespace, link) in [(&node, "eth0"), (&node, "eth1"), (&node, "far"), (&neighbour, "eth0")] {
        namespace.ip(&format!("link set {link} up"))?;
    }
    Ok((node, neighbour))
}

fn parse(address: &str) -> IpAddr {
    address.parse().unwrap()
}

/// Returns the name of the interface for an address.
async fn name_for(links: &Links, address: &str) -> Result<String> {
    Ok(links.interface_for(parse(address)).await?.name)
}

#[test]
fn address_is_added_found_and_removed() -> Result<()> {
    let (node, _neighbour) = mk_node()?;
    node.block_on(async || {
        let links = Links::open()?;
        for (address, shown) in [(V4, "inet 192.0.2.7/32 "), (V6, "inet6 2001:db8:2::7/128 ")] {
            let interface = links.interface_for(parse(address)).await?;
            assert_eq!(links.holding().await?.get(&parse(address)), None);
            links.add(&interface, parse(address)).await?;
            assert_eq!(links.holding().await?.get(&parse(address)), Some(&interface.index));
            let shows = node.ip(&format!("-o addr show dev eth0 to {address}"))?;
            assert!(shows.contains(shown) && !shows.contains("tentative"), "{shows}");
            links.remove(parse(address)).await?;
            assert_eq!(links.holding().await?.get(&parse(address)), None);
        }
        Ok(())
    })
}

#[test]
fn adding_and_removing_twice_is_fine() -> Result<()> {
    let (node, _neighbour) = mk_node()?;
    node.block_on(async || {
        let links = Links::open()?;
        for address in [V4, V6].map(parse) {
            let interface = links.interface_for(address).await?;
            links.add(&interface, address).await?;
            links.add(&interface, address).await?;
            links.remove(address).await?;
            links.remove(address).await?;
        }
        Ok(())
    })
}

#[test]
fn address_that_an_earlier_process_added_is_removed_and_one_that_the_node_has_otherwise_stays() -> Result<()>
{
    let (node, _neighbour) = mk_node()?;
    node.block_on(async || {
        for address in [V4, V6].map(parse) {
            let earlier = Links::open()?;
            let interface = earlier.interface_for(address).await?;
            earlier.add(&interface, address).await?;
            drop(earlier);
            let links = Links::open()?;
            node.ip(&format!("addr add {address} dev eth1"))?;
            links.remove(address).await?;
            let own = node.ip("-o addr show dev eth1")?;
            assert!(own.contains(&address.to_string()), "{own}");
            let added = node.ip(&format!("-o addr show dev {}", interface.name))?;
            assert!(interface.name == "eth1" || !added.contains(&address.to_string()), "{added}");
        }
        Ok(())
    })
}

#[test]
fn address_with_its_subnet_is_not_removed() -> Result<()> {
    let (node, _neighbour) = mk_node()?;
    node.block_on(async || {
        let links = Links::open()?;
        for address in ["192.0.2.1", "2001:db8:2::1"].map(parse) {
            links.remove(address).await?;
            assert!(links.holding().await?.contains_key(&address), "{address}");
        }
        Ok(())
    })
}

#[test]
fn interface_is_the_one_with_the_subnet() -> Result<()> {
    let (node, _neighbour) = mk_node()?;
    node.block_on(async || {
        let links = Links::open()?;
        for (address, name) in
            [(V4, "eth0"), (V6, "eth0"), ("198.51.100.9", "eth1"), ("2001:db8:3::9", "eth1")]
        {
            assert_eq!(name_for(&links, address).await?, name, "{address}");
        }
        let Interface { mac, .. } = links.interface_for(parse(V4)).await?;
        assert_eq!(mac, OWN_MAC);
        Ok(())
    })
}

#[test]
fn held_address_keeps_its_interface() -> Result<()> {
    let (node, _neighbour) = mk_node()?;
    node.block_on(async || {
        let links = Links::open()?;
        for address in [V4, V6] {
            node.ip(&format!("addr add {address} dev eth1"))?;
            assert_eq!(name_for(&links, address).await?, "eth0", "the address alone is no subnet");
        }
        Ok(())
    })
}

#[test]
fn interface_without_a_subnet_is_the_default_routes() -> Result<()> {
    let (node, _neighbour) = mk_node()?;
    node.block_on(async || {
        let links = Links::open()?;
        let error = links.interface_for(parse("203.0.113.1")).await.unwrap_err().to_string();
        assert!(error.contains("no IPv4 default route") && error.contains("203.0.113.1"), "{error}");
        node.ip("route add default via 192.0.2.2 metric 200")?;
        assert_eq!(name_for(&links, "203.0.113.1").await?, "eth0");
        node.ip("route add default via 198.51.100.2 metric 100")?;
        assert_eq!(name_for(&links, "203.0.113.1").await?, "eth1");
        let error = links.interface_for(parse("2001:db8:ff::1")).await.unwrap_err().to_string();
        assert!(error.contains("no IPv6 default route"), "{error}");
        node.ip("-6 route add default via 2001:db8:3::2 metric 100")?;
        assert_eq!(name_for(&links, "2001:db8:ff::1").await?, "eth1");
        Ok(())
    })
}

#[test]
fn first_next_hop_of_a_multipath_default_route_counts() -> Result<()> {
    let (node, _neighbour) = mk_node()?;
    node.block_on(async || {
        node.ip("route add default nexthop via 198.51.100.2 nexthop via 192.0.2.2")?;
        assert_eq!(name_for(&Links::open()?, "203.0.113.1").await?, "eth1");
        Ok(())
    })
}

#[test]
fn loopback_is_no_interface_for_addresses() -> Result<()> {
    let (node, _neighbour) = mk_node()?;
    node.block_on(async || {
        let error = Links::open()?.interface_for(parse("127.0.0.9")).await.unwrap_err().to_string();
        assert!(error.contains("no Ethernet interface"), "{error}");
        Ok(())
    })
}

#[test]
fn nodes_own_traffic_does_not_start_from_an_added_address() -> Result<()> {
    let (node, _neighbour) = mk_node()?;
    node.block_on(async || {
        let links = Links::open()?;
        for (address, target, own) in
            [(V4, "192.0.2.6", "src 192.0.2.1 "), (V6, "2001:db8:2::6", "src 2001:db8:2::1 ")]
        {
            let interface = links.interface_for(parse(address)).await?;
            links.add(&interface, parse(address)).await?;
            let route = node.ip(&format!("route get {target}"))?;
            assert!(route.contains(own), "{route}");
        }
        Ok(())
    })
}

#[test]
fn neighbours_learn_the_mac_from_one_announcement() -> Result<()> {
    let (node, neighbour) = mk_node()?;
    node.block_on(async || {
        let links = Links::open()?;
        wait_for(&node, "-o link show dev eth0", "LOWER_UP").await?;
        wait_for(&neighbour, "-o link show dev eth0", "LOWER_UP").await?;
        for address in [V4, V6] {
            neighbour.ip(&format!("neigh replace {address} lladdr {OLD_MAC} dev eth0 nud reachable"))?;
            let shown = neighbour.ip(&format!("neigh show {address}"))?;
            assert!(shown.contains(OLD_MAC), "{shown}");
            let interface = links.interface_for(parse(address)).await?;
            links.add(&interface, parse(address)).await?;
            links.announce(&interface, parse(address)).await?;
            wait_for(&neighbour, &format!("neigh show {address}"), "lladdr 02:77:00:00:00:01 ").await?;
        }
        Ok(())
    })
}

#[test]
fn address_that_another_machine_has_answers_and_others_do_not() -> Result<()> {
    let (node, neighbour) = mk_node()?;
    node.block_on(async || {
        let links = Links::open()?;
        wait_for(&node, "-o link show dev eth0", "LOWER_UP").await?;
        wait_for(&neighbour, "-o link show dev eth0", "LOWER_UP").await?;
        let interface = links.interface_for(parse("192.0.2.1")).await?;
        let all = ["192.0.2.1", "192.0.2.2", "192.0.2.9", "2001:db8:2::1", "2001:db8:2::2", "2001:db8:2::9"];
        let found = links.answering(&interface, &all.map(parse).into()).await?;
        let mac = [0x02, 0x77, 0, 0, 0, 2];
        assert_eq!(found, ["192.0.2.2", "2001:db8:2::2"].map(|address| (parse(address), mac)).into());
        Ok(())
    })
}

#[test]
fn nodes_that_probe_the_same_address_do_not_take_each_other_for_its_owner() -> Result<()> {
    let (node, neighbour) = mk_node()?;
    let probe = async || {
        let links = Links::open()?;
        let interface = links.interface_for(parse("192.0.2.1")).await?;
        for _ in 0..3 {
            let found = links.answering(&interface, &[V4, V6].map(parse).into()).await?;
            assert!(found.is_empty(), "{found:?}");
        }
        anyhow::Ok(())
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| neighbour.block_on(probe));
        node.block_on(probe)?;
        other.join().unwrap()
    })
}

#[test]
fn interfaces_of_many_addresses_are_found_at_once() -> Result<()> {
    let (node, _neighbour) = mk_node()?;
    node.block_on(async || {
        let links = Links::open()?;
        let all = (1..=200).map(|last| links.interface_for([192, 0, 2, last].into()));
        let found = futures::future::try_join_all(all).await?;
        assert!(found.iter().all(|interface| interface.name == "eth0"), "{found:?}");
        Ok(())
    })
}

#[test]
fn announcement_on_a_missing_or_stopped_interface_is_an_error() -> Result<()> {
    let (node, _neighbour) = mk_node()?;
    node.block_on(async || {
        let links = Links::open()?;
        let interface = links.interface_for(parse(V4)).await?;
        node.ip("link set eth0 down")?;
        let error = format!("{:#}", links.announce(&interface, parse(V4)).await.unwrap_err());
        assert!(error.starts_with("announcing 192.0.2.7 on eth0: ENETDOWN"), "{error}");
        node.ip("link delete eth0")?;
        let error = format!("{:#}", links.announce(&interface, parse(V4)).await.unwrap_err());
        assert!(error.contains("it was removed"), "{error}");
        Ok(())
    })
}
