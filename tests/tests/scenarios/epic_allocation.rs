//! What the leading hub gives to objects of API C: ids, keys and public addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use portreeve_api::c::account::Account;
use portreeve_api::c::epic::Epic;
use portreeve_api::c::load_balancer::LoadBalancer;
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::{epic, wait};
use serde_json::json;

/// The default pool, of these addresses.
fn pool(addresses: &str) -> String {
    epic::pool("192.0.2.0/24", addresses, "192.0.2.1")
}

/// An account whose Account is in the namespace `at`, with the groups `gold` and `tin`.
fn account(name: &str, at: &str) -> String {
    epic::account(name, at) + &epic::group(name, "gold", true) + &epic::group(name, "tin", true)
}

/// A load balancer of a group. An empty address is one of the pool.
fn load_balancer(account: &str, name: &str, group: &str, address: &str) -> String {
    format!(
        "
---
apiVersion: epic.acnodal.io/v1
kind: LoadBalancer
metadata: {{name: {name}, namespace: epic-{account}, labels: {{owning-servicegroup: {group}}}}}
spec: {{public-address: '{address}', public-ports: [{{port: 80}}]}}
"
    )
}

/// Waits until a load balancer has an id, a key and an address.
async fn complete(town: &Town, account: &str, name: &str) -> Result<LoadBalancer> {
    let api = Api::<LoadBalancer>::namespaced(town.client.clone(), &format!("epic-{account}"));
    let what = format!("the id, the key and the address of {account}/{name}");
    wait::eventually(&what, BOUND, || async {
        let form = |one: &LoadBalancer| one.form().ok();
        let whole = |one: &LoadBalancer| {
            form(one).is_some_and(|form| {
                form.service_id.is_some() && form.tunnel_key.is_some() && form.public_address.is_some()
            })
        };
        api.get(name).await.ok().filter(whole)
    })
    .await
}

fn address(of: &LoadBalancer) -> Result<IpAddr> {
    of.form().ok().and_then(|form| form.public_address).context("no address")
}

fn id(of: &LoadBalancer) -> Result<u16> {
    of.form().ok().and_then(|form| Some(form.service_id?.get())).context("no id")
}

async fn group_id(town: &Town, name: &str, at: &str) -> Result<u16> {
    let api = Api::<Account>::namespaced(town.client.clone(), at);
    wait::eventually(&format!("the group id of {at}/{name}"), BOUND, || async {
        api.get(name).await.ok()?.form().ok()?.group_id.map(u16::from)
    })
    .await
}

/// Waits for a load balancer's condition ResolvedRefs to be false, and returns its message.
async fn refused(town: &Town, account: &str, name: &str, with: &str) -> Result<String> {
    let api = Api::<LoadBalancer>::namespaced(town.client.clone(), &format!("epic-{account}"));
    wait::eventually(&format!("{account}/{name} to be refused with {with:?}"), BOUND, || async {
        let conditions = api.get(name).await.ok()?.status?.conditions;
        let found =
            conditions.into_iter().find(|one| one.type_ == "ResolvedRefs" && one.status == "False")?;
        found.message.contains(with).then_some(found.message)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_and_load_balancers_get_ids_keys_and_addresses_that_nothing_else_has() -> Result<()> {
    let town = Town::start(1).await?;
    town.apply(&pool("192.0.2.1-192.0.2.6")).await?;
    town.apply(&(account("a", "epic-a") + &load_balancer("a", "one", "gold", ""))).await?;
    town.apply(&(account("b", "epic") + &load_balancer("b", "one", "gold", ""))).await?;
    town.apply(&load_balancer("a", "two", "tin", "")).await?;
    let groups = [group_id(&town, "a", "epic-a").await?, group_id(&town, "b", "epic").await?];
    ensure!(BTreeSet::from(groups) == BTreeSet::from([1, 2]), "{groups:?}");

    let (one, two) = (complete(&town, "a", "one").await?, complete(&town, "a", "two").await?);
    let other = complete(&town, "b", "one").await?;
    ensure!(BTreeSet::from([id(&one)?, id(&two)?]) == BTreeSet::from([1, 2]), "two groups count together");
    ensure!(id(&other)? == 1, "each account counts for itself, not {}", id(&other)?);
    let keys = [&one, &two, &other].map(|one| one.spec.tunnel_key.clone());
    ensure!(keys.iter().collect::<BTreeSet<_>>().len() == 3, "keys are not shared");
    let addresses: BTreeSet<IpAddr> = [&one, &two, &other].into_iter().map(address).collect::<Result<_>>()?;
    let lowest: BTreeSet<IpAddr> = (2..=4).map(|last| IpAddr::from([192, 0, 2, last])).collect();
    ensure!(addresses == lowest, "the lowest free ones but the gateway's, not {addresses:?}");

    let counters = Api::<Epic>::namespaced(town.client.clone(), "epic").get("epic").await?;
    let status = counters.status.context("the counters")?;
    ensure!(status.current_group_id == Some(2), "{status:?}");
    let api = Api::<LoadBalancer>::namespaced(town.client.clone(), "epic-a");
    let change = Patch::Merge(json!({"spec": {"service-id": 9}}));
    let error =
        api.patch("one", &PatchParams::default(), &change).await.err().context("the id was changed")?;
    ensure!(error.to_string().contains("service-id can't change once it is set"), "{error}");

    let freed = address(&one)?;
    api.delete("one", &DeleteParams::default()).await?;
    let gone = || async { api.get_opt("one").await.is_ok_and(|found| found.is_none()) };
    wait::until("the load balancer to be gone", BOUND, gone).await?;
    town.apply(&load_balancer("a", "three", "gold", "")).await?;
    let three = complete(&town, "a", "three").await?;
    ensure!(address(&three)? == freed, "a released address is used again: {freed}, not {}", address(&three)?);
    ensure!(id(&three)? == 3, "an id is not: {}", id(&three)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn address_of_an_older_object_is_refused_and_a_full_pool_says_what_to_do_until_one_is_free()
-> Result<()> {
    let town = Town::start(1).await?;
    town.apply(&pool("192.0.2.8-192.0.2.9")).await?;
    town.apply(&(account("a", "epic-a") + &load_balancer("a", "given", "gold", "192.0.2.8"))).await?;
    complete(&town, "a", "given").await?;
    // Objects of the same second are ordered by their names.
    town.apply(&load_balancer("a", "thief", "gold", "192.0.2.8")).await?;
    let told = refused(&town, "a", "thief", "192.0.2.8").await?;
    ensure!(told.contains("epic-a/given"), "{told}");

    town.apply(&load_balancer("a", "last", "gold", "")).await?;
    ensure!(address(&complete(&town, "a", "last").await?)? == IpAddr::from([192, 0, 2, 9]));
    town.apply(&load_balancer("a", "more", "gold", "")).await?;
    let told = refused(&town, "a", "more", "no free address").await?;
    ensure!(told.contains("widen spec.pool of ServicePrefix default"), "{told}");
    println!("{told}");
    town.apply(&pool("192.0.2.8-192.0.2.10")).await?;
    let more = complete(&town, "a", "more").await?;
    ensure!(address(&more)? == IpAddr::from([192, 0, 2, 10]), "{:?}", more.spec.public_address);
    // Nothing was lost while there was no address.
    let ids = [id(&complete(&town, "a", "thief").await?)?, id(&more)?];
    ensure!(ids.iter().max() == Some(&4), "{ids:?}");

    town.apply(&load_balancer("c", "lost", "gold", "").replace("epic-c", "default")).await?;
    let api = Api::<LoadBalancer>::namespaced(town.client.clone(), "default");
    let told = wait::eventually("a load balancer outside of accounts to be refused", BOUND, || async {
        let found = api.get("lost").await.ok()?;
        let conditions = found.status.as_ref()?.conditions.clone();
        conditions.into_iter().find(|one| one.type_ == "ResolvedRefs" && one.status == "False")
    })
    .await?;
    println!("{} {}", api.get("lost").await?.name_any(), told.message);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_go_on_behind_those_of_objects_that_are_taken_over() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    let taken = load_balancer("a", "old", "gold", "192.0.2.77")
        .replace("public-ports", "service-id: 41, public-ports");
    town.apply(&(pool("192.0.2.0/24") + &account("a", "epic-a") + &taken)).await?;
    let accounts = Api::<Account>::namespaced(town.client.clone(), "epic-a");
    let change = Patch::Merge(json!({"spec": {"group-id": 7}}));
    accounts.patch("a", &PatchParams::default(), &change).await?;
    let groups =
        Api::<portreeve_api::c::service_group::ServiceGroup>::namespaced(town.client.clone(), "epic-a");
    let counted = Patch::Merge(json!({"status": {"current-service-id": 50}}));
    groups.patch_status("tin", &PatchParams::default(), &counted).await?;
    town.start_hub()?;
    town.apply(&(account("b", "epic-b") + &load_balancer("a", "new", "gold", ""))).await?;
    let new = complete(&town, "a", "new").await?;
    ensure!(id(&new)? == 51, "one more than the group counted, not {}", id(&new)?);
    ensure!(group_id(&town, "b", "epic-b").await? == 8, "one more than an account has");
    let old = complete(&town, "a", "old").await?;
    ensure!(id(&old)? == 41 && address(&old)? == IpAddr::from([192, 0, 2, 77]), "{:?}", old.spec);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hubs_that_are_killed_while_they_allocate_give_nothing_twice() -> Result<()> {
    const COUNT: usize = 120;
    let town = Town::without_portreeve(1).await?;
    town.apply(&(pool("192.0.2.0/24") + &account("a", "epic-a"))).await?;
    let mut hubs = [town.spawn_hub("h1", None)?, town.spawn_hub("h2", None)?];
    let api = Api::<LoadBalancer>::namespaced(town.client.clone(), "epic-a");
    let complete = async || {
        let listed = api.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
        listed.into_iter().filter(|one| address(one).is_ok() && id(one).is_ok()).collect::<Vec<_>>()
    };
    for round in 0..4 {
        let each = COUNT / 4;
        let objects = (0..each).map(|one| load_balancer("a", &format!("lb-{round}-{one}"), "gold", ""));
        town.apply(&objects.collect::<String>()).await?;
        let some = round * each + each / 3;
        let begun = || async { complete().await.len() > some };
        wait::until("some load balancers to be complete", BOUND * 2, begun).await?;
        // Whichever leads: the other one takes over.
        let name = if round % 2 == 0 { "h1" } else { "h2" };
        hubs[round % 2].kill();
        hubs[round % 2] = town.spawn_hub(name, None)?;
    }
    wait::until("all load balancers to be complete", BOUND * 2, || async { complete().await.len() == COUNT })
        .await?;
    let all = complete().await;
    let ids: BTreeSet<u16> = all.iter().map(id).collect::<Result<_>>()?;
    let addresses: BTreeSet<IpAddr> = all.iter().map(address).collect::<Result<_>>()?;
    let keys: BTreeSet<_> = all.iter().map(|one| one.spec.tunnel_key.clone()).collect();
    ensure!(
        [ids.len(), addresses.len(), keys.len()] == [COUNT; 3],
        "{} {} {}",
        ids.len(),
        addresses.len(),
        keys.len()
    );
    let lost = usize::from(ids.last().copied().unwrap_or_default()) - COUNT;
    println!("4 kills, {COUNT} load balancers, {lost} ids lost");
    ensure!(lost <= 4, "a kill costs an id at most, not {lost}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnel_ends_at_the_public_address_if_epic_names_no_other() -> Result<()> {
    let town = Town::start(0).await?;
    town.apply(&pool("192.0.2.8-192.0.2.9")).await?;
    town.apply(&(account("a", "epic-a") + &epic::load_balancer("a", [192, 0, 2, 8].into(), [80, 5060])))
        .await?;
    let endpoints = epic::endpoints("a", [10, 244, 0, 9].into(), [7000, 6000]);
    town.apply(&endpoints.replace("node-address: ''", "node-address: 192.0.2.77")).await?;
    let api = Api::<LoadBalancer>::namespaced(town.client.clone(), "epic-a");
    let end = wait::eventually("the tunnel", BOUND, || async {
        let status = serde_json::to_value(api.get("web").await.ok()?.status?).ok()?;
        status["gue-tunnel-endpoints"].get("192.0.2.77").cloned()
    })
    .await?;
    ensure!(end["epic-address"] == "192.0.2.8" && end["tunnel-id"] == 1, "{end}");
    Ok(())
}
