//! Public addresses on a gateway's node, beside other machines of the link, and while the API server hangs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use portreeve_tests::floating::{holders, keeper, rights, want};
use portreeve_tests::netns::Netns;
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::{process, wait};

/// How long after a machine gave up an address a node may take it.
const FREED: Duration = Duration::from_secs(15);
/// How often another address comes and goes while a machine has one.
const TIMES: usize = 10;
const NODES_MAC: &str = "02:77:00:00:01:01";
const OLD_MAC: &str = "02:77:00:00:00:99";

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 77, 200, last).into()
}

fn v6(last: u16) -> IpAddr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0x200, last).into()
}

/// Waits until node 1 has an address, or hasn't. Returns how long that took.
async fn until_held(town: &Town, address: IpAddr, held: bool) -> Result<Duration> {
    let begun = Instant::now();
    let what = format!("{address} to be {} the node", if held { "on" } else { "off" });
    wait::until(&what, BOUND, || async { holders(town, address).is_ok_and(|on| on.contains(&0) == held) })
        .await?;
    Ok(begun.elapsed())
}

/// Returns the node that the address's claim names.
async fn claimed_by(town: &Town, address: IpAddr) -> Result<Option<String>> {
    let leases = Api::<Lease>::namespaced(town.client.clone(), "portreeve");
    let lease = leases.get_opt(&format!("address.{address}")).await?;
    Ok(lease.and_then(|lease| lease.spec?.holder_identity))
}

/// Gives a machine's cache a wrong entry of an address, and waits until an announcement corrects it.
async fn announced(machine: &Netns, address: IpAddr) -> Result<Duration> {
    let begun = Instant::now();
    machine.ip(&[format!("neigh replace {address} lladdr {OLD_MAC} dev eth0 nud reachable")])?;
    wait::until(&format!("an announcement of {address}"), BOUND, || async {
        let shown = process::run(machine.command("ip").args(["neigh", "show", &address.to_string()]));
        shown.is_ok_and(|shown| shown.contains(NODES_MAC))
    })
    .await?;
    Ok(begun.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn address_of_another_machine_is_left_to_it_and_taken_once_it_is_gone() -> Result<()> {
    let town = Town::without_portreeve(1).await?;
    rights(&town).await?;
    let machine = town.bed.node(3)?;
    let (node, foreign, passing) = (&town.nodes[0], [v4(1), v6(1)], [v4(2), v6(2)]);
    foreign.iter().try_for_each(|address| machine.add_address(*address))?;
    want(node, &foreign)?;
    let mut keeper = keeper(&town, 0).await?;
    for address in foreign {
        let told = format!("{address} is not taken: the machine with the MAC 02:77:00:00:03:01 has it");
        keeper.wait_log(&told, BOUND)?;
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..TIMES {
        want(node, &[foreign, passing].concat())?;
        for address in passing {
            slowest = slowest.max(until_held(&town, address, true).await?);
        }
        want(node, &foreign)?;
        for address in passing {
            until_held(&town, address, false).await?;
        }
        for address in foreign {
            ensure!(holders(&town, address)?.is_empty(), "{address} has two owners");
        }
    }
    println!("other addresses came within {slowest:.2?}");
    let told = keeper.log().matches("is not taken").count();
    ensure!(told == foreign.len(), "each problem is logged once, not {told} times");
    machine.ip(&[
        format!("addr del {}/16 dev eth0", foreign[0]),
        format!("addr del {}/64 dev eth0", foreign[1]),
    ])?;
    let gone = Instant::now();
    for address in foreign {
        until_held(&town, address, true).await?;
        println!("{address} was taken {:.2?} after the machine gave it up", gone.elapsed());
        ensure!(gone.elapsed() < FREED, "{address} took {:.2?}", gone.elapsed());
        println!("announced after {:.2?}", announced(&machine, address).await?);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_announced_and_removed_while_the_api_server_hangs() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    rights(&town).await?;
    let machine = town.bed.node(3)?;
    let (kept, dropped, late) = ([v4(1), v6(1)], v4(2), v4(3));
    want(&town.nodes[0], &[kept[0], kept[1], dropped])?;
    let mut keeper = keeper(&town, 0).await?;
    for address in [kept[0], kept[1], dropped] {
        until_held(&town, address, true).await?;
    }
    ensure!(claimed_by(&town, dropped).await?.as_deref() == Some("n1"), "a held address is claimed");

    town.control.apiserver().context("the API server runs")?.stop()?;
    // The claim of `late` begins, if the node's news are still fresh, and hangs.
    want(&town.nodes[0], &[kept[0], kept[1], late])?;
    let removed = until_held(&town, dropped, false).await?;
    println!("{dropped} left its interface {removed:.2?} after it had left the file");
    keeper.wait_log(
        &format!("the claim of {dropped} can't be given up: the API server did not answer"),
        BOUND,
    )?;
    for address in kept {
        println!("{address} was announced after {:.2?}", announced(&machine, address).await?);
        ensure!(holders(&town, address)? == [0], "{address} stays");
    }
    ensure!(holders(&town, late)?.is_empty(), "nothing is taken meanwhile");
    want(&town.nodes[0], &kept)?;
    town.control.apiserver().context("the API server runs")?.cont()?;

    wait::until("all claims but the kept ones to be given up", BOUND, || async {
        let claims = [claimed_by(&town, dropped).await, claimed_by(&town, late).await];
        claims.iter().all(|claim| matches!(claim, Ok(None)))
    })
    .await?;
    ensure!(holders(&town, late)?.is_empty(), "{late} isn't wanted any more");
    want(&town.nodes[0], &[kept[0], kept[1], late])?;
    until_held(&town, late, true).await?;
    let told = keeper.log().matches(&format!("the claim of {dropped} can't be given up")).count();
    ensure!(told == 1, "logged {told} times");
    Ok(())
}
