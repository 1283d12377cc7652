//! Rules and routes in the kernel. Needs root, iproute2 and util-linux.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../addresses/tests/bed/mod.rs"]
mod bed;

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use portreeve_gue::ipv4::Transport;
use portreeve_tunnels::kernel::Kernel;
use portreeve_tunnels::paths::{Leads, MAIN, Paths, Route, Rule};

use bed::Namespace;

const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const TABLE: u32 = 0x0001_0003;

/// What the kernel has of rules and routes.
fn all(of: &Namespace) -> Result<String> {
    Ok([of.ip("-4 rule show")?, of.ip("-4 route show table all")?].concat())
}

fn mk_paths() -> Paths {
    let mut paths = Paths::default();
    paths.rules.insert(Rule { from: PUBLIC, port: None, table: TABLE });
    paths.rules.insert(Rule { from: PUBLIC, port: Some((Transport::Tcp, 80)), table: MAIN });
    paths.rules.insert(Rule { from: PUBLIC, port: Some((Transport::Udp, 80)), table: MAIN });
    for last in [5, 6] {
        let to = Ipv4Addr::new(10, 244, 1, last);
        paths.routes.extend([Leads::Device, Leads::Nowhere].map(|into| Route { to, table: TABLE, into }));
    }
    paths
}

#[test]
fn kernel_has_what_is_wanted_whatever_was_left_and_all_of_others() -> Result<()> {
    let node = Namespace::new()?;
    node.ip("link set lo up")?;
    node.ip("link add gue0 type veth peer name gue1")?;
    node.ip("addr add 192.0.2.1/24 dev gue0")?;
    node.ip("link set gue0 up")?;
    node.ip("link set gue1 up")?;
    // Another program's, of the same shape.
    node.ip("rule add from 203.0.113.7 lookup 100 priority 6080")?;
    node.ip("route add 10.244.1.5 dev gue0 table 65539 metric 7")?;
    let before = all(&node)?;
    node.block_on(async || {
        let kernel = Kernel::open()?;
        kernel.set("gue0", &mk_paths()).await?;
        let full = all(&node)?;
        for line in [
            "6079:\tfrom 203.0.113.7 ipproto tcp sport 80 lookup main proto 83",
            "6079:\tfrom 203.0.113.7 ipproto udp sport 80 lookup main proto 83",
            "6080:\tfrom 203.0.113.7 lookup 65539 proto 83",
            "10.244.1.5 dev gue0 table 65539 proto 83",
            "10.244.1.6 dev gue0 table 65539 proto 83",
            "unreachable 10.244.1.5 table 65539 proto 83 metric 6080",
            "unreachable 10.244.1.6 table 65539 proto 83 metric 6080",
        ] {
            ensure!(full.lines().any(|one| one.trim_end().starts_with(line)), "{line} in {full}");
        }
        // The next process finds everything, and then less of it is wanted.
        let next = Kernel::open()?;
        next.set("gue0", &mk_paths()).await?;
        ensure!(all(&node)? == full, "nothing was to be done");
        let mut less = mk_paths();
        less.rules.pop_last();
        less.routes.pop_first();
        next.set("gue0", &less).await?;
        let after = all(&node)?;
        ensure!(after.lines().count() + 2 == full.lines().count(), "{after}");
        next.set("gue0", &Paths::default()).await?;
        ensure!(all(&node)? == before, "{} and not {before}", all(&node)?);
        let error = next.set("gue9", &mk_paths()).await.unwrap_err();
        ensure!(format!("{error:#}").contains("gue9"), "{error:#}");
        Ok(())
    })
}

#[test]
fn packets_leave_by_no_other_route_once_the_device_is_gone() -> Result<()> {
    let node = Namespace::new()?;
    for line in [
        "link set lo up",
        "link add eth0 type veth peer name far",
        "addr add 192.0.2.1/24 dev eth0",
        "link set eth0 up",
        "link set far up",
        "route add default via 192.0.2.254 dev eth0",
        &format!("addr add {PUBLIC}/32 dev lo"),
        "link add gue0 type veth peer name gue1",
        "link set gue0 up",
        "link set gue1 up",
    ] {
        node.ip(line)?;
    }
    let way = format!("route get 10.244.1.5 from {PUBLIC}");
    node.block_on(async || Kernel::open()?.set("gue0", &mk_paths()).await)?;
    ensure!(node.ip(&way)?.contains("dev gue0"), "{}", node.ip(&way)?);
    // As after the end of the role, however it ended.
    node.ip("link delete gue0")?;
    let refused = node.ip(&way);
    ensure!(refused.as_ref().is_err(), "{refused:?}");
    ensure!(node.ip("route get 10.244.1.5")?.contains("dev eth0"), "other packets have their routes");
    Ok(())
}
