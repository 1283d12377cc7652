//! How `portreeve up` handles edits, broken files, and a folder that vanishes and comes back.

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use portreeve_tests::town::BOUND;
use portreeve_tests::wait;

use crate::quickstart::Quickstart;

#[tokio::test(flavor = "multi_thread")]
async fn files_take_effect_as_they_are_edited_added_and_removed() -> Result<()> {
    let quickstart = Quickstart::new()?;
    let mut up = quickstart.up().await?;
    let keyed = quickstart.asked(17_000)?;
    quickstart.edit("call.yaml", "port: 17001", "port: 17002")?;
    quickstart.ports(&[17_000, 17_002]).await?;
    ensure!(quickstart.asked(17_000)? == keyed, "the key's worker changed");
    let other = "apiVersion: servicemesh.l7mp.io/v1\nkind: VirtualService\nmetadata: {name: other}\nspec:\n  selector: {app: gateway}\n  \
         listeners:\n  - name: more\n    udp:\n      port: 17003\n      cluster: {name: c, service_discovery: eds, \
         endpoints: [{name: w, host: {selector: {app: worker}}, port: 19000}]}\n";
    quickstart.add("other.yaml", other)?;
    quickstart.ports(&[17_000, 17_002, 17_003]).await?;
    println!("an added file: {}", quickstart.asked(17_003)?);
    fs::remove_file(quickstart.folder().join("other.yaml"))?;
    quickstart.ports(&[17_000, 17_002]).await?;
    ensure!(up.is_running(), "up ended");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_keeps_its_last_good_content_and_its_line_is_named() -> Result<()> {
    let quickstart = Quickstart::new()?;
    let mut up = quickstart.up().await?;
    quickstart.edit("call.yaml", "  selector: {app: gateway}", "  selector: {app: gateway")?;
    up.wait_log("call.yaml: ", BOUND)?;
    let line = up.log().lines().find(|line| line.contains("call.yaml: ")).unwrap_or_default().to_owned();
    println!("{line}");
    ensure!(line.contains(" line ") && line.contains("last good content"), "{line}");
    // A change in another file has been read since, and the broken file's listeners are still there.
    quickstart.add("node2.yaml", "apiVersion: v1\nkind: Gadget\nmetadata: {name: g}\n")?;
    up.wait_log("Gadget g: ", BOUND)?;
    quickstart.ports(&[17_000, 17_001]).await?;
    println!("still: {}", quickstart.asked(17_000)?);
    // Once repaired, the file is used again.
    quickstart.edit("call.yaml", "  selector: {app: gateway", "  selector: {app: gateway}")?;
    quickstart.edit("call.yaml", "port: 17001", "port: 17004")?;
    quickstart.ports(&[17_000, 17_004]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_out_of_range_keeps_the_object_s_last_good_version_and_names_the_field() -> Result<()> {
    let quickstart = Quickstart::new()?;
    let mut up = quickstart.up().await?;
    quickstart.edit("call.yaml", "port: 17001", "port: 70001")?;
    up.wait_log("spec.listeners[1].udp.port", BOUND)?;
    quickstart.add("node2.yaml", "apiVersion: v1\nkind: Gadget\nmetadata: {name: g}\n")?;
    up.wait_log("Gadget g: ", BOUND)?;
    quickstart.ports(&[17_000, 17_001]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_edits_leave_proxy_pods_and_listeners_as_they_are() -> Result<()> {
    let quickstart = Quickstart::new()?;
    let mut up = quickstart.up().await?;
    let (keyed, members) = (quickstart.asked(17_000)?, quickstart.family.members());
    quickstart.edit("node.yaml", "concurrency: 1", "concurrency: 0")?;
    up.wait_log("NodeProxy gateway: spec.envoy.concurrency", BOUND)?;
    quickstart.edit("call.yaml", "  name: call", "  name: call\n  labels: {app: 1}")?;
    up.wait_log("VirtualService call: metadata.labels.app", BOUND)?;
    quickstart.edit("workers.yaml", "labels: {app: worker}", "labels: {app: on}")?;
    up.wait_log("Pod worker-1: metadata.labels.app", BOUND)?;
    // A valid edit next to a broken one is used: each object is handled separately.
    quickstart.edit(
        "workers.yaml",
        "name: worker-2\n  labels: {app: worker}",
        "name: worker-2\n  labels: {app: other}",
    )?;
    quickstart.edit("call.yaml", "labels: {app: 1}", "labels: {app: \"1\"}")?;
    quickstart.edit("call.yaml", "port: 17001", "port: 17005")?;
    quickstart.ports(&[17_000, 17_005]).await?;
    ensure!(quickstart.asked(17_000)? == keyed, "the key's worker changed");
    ensure!(quickstart.family.members() == members, "something was started or ended");
    ensure!(up.log().contains("stays in force"), "{}", up.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn command_that_is_slow_to_write_a_file_closes_nothing() -> Result<()> {
    let quickstart = Quickstart::new()?;
    let mut up = quickstart.up().await?;
    let path = quickstart.folder().join("call.yaml");
    let text = fs::read_to_string(&path)?.replace("17001", "17006");
    // The shell truncates the file before the command writes anything.
    let mut file = fs::File::create(&path)?;
    up.wait_log("call.yaml: it is empty", BOUND)?;
    quickstart.ports(&[17_000, 17_001]).await?;
    println!("still: {}", quickstart.asked(17_000)?);
    file.write_all(text.as_bytes())?;
    drop(file);
    quickstart.ports(&[17_000, 17_006]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_that_is_gone_for_a_while_withdraws_nothing() -> Result<()> {
    let quickstart = Quickstart::new()?;
    let mut up = quickstart.up().await?;
    let (folder, away) = (quickstart.folder(), quickstart.dir.path().join("away"));
    let members = quickstart.family.members();
    fs::rename(&folder, &away)?;
    up.wait_log("stays in force", BOUND)?;
    quickstart.ports(&[17_000, 17_001]).await?;
    // The folder is back, and empty for a while.
    fs::create_dir(&folder)?;
    let (begun, mut silent) = (Instant::now(), 0);
    wait::wait_until("three seconds of answers", BOUND, || {
        silent += usize::from(quickstart.asked(17_000).is_err());
        begun.elapsed() > Duration::from_secs(3)
    })?;
    ensure!(silent == 0, "{silent} questions were not answered");
    for entry in fs::read_dir(&away)? {
        let entry = entry?;
        fs::copy(entry.path(), folder.join(entry.file_name()))?;
    }
    quickstart.edit("call.yaml", "port: 17001", "port: 17007")?;
    quickstart.ports(&[17_000, 17_007]).await?;
    ensure!(quickstart.family.members() == members, "something was started or ended");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoint_that_names_a_service_reaches_the_target_port_of_its_pods() -> Result<()> {
    let quickstart = Quickstart::new()?;
    let mut up = quickstart.up().await?;
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: workers}\nspec:\n  selector: {app: worker}\n  \
         clusterIP: 10.96.0.9\n  ports: [{port: 53, protocol: UDP, targetPort: 19000}]\n";
    let named = "apiVersion: servicemesh.l7mp.io/v1\nkind: VirtualService\nmetadata: {name: named}\nspec:\n  selector: {app: gateway}\n  \
         listeners:\n  - name: named\n    udp:\n      port: 17008\n      cluster: {name: c, service_discovery: strictdns, \
         endpoints: [{name: w, host: {address: workers}, port: 53}]}\n";
    quickstart.add("service.yaml", service)?;
    quickstart.add("named.yaml", named)?;
    quickstart.ports(&[17_000, 17_001, 17_008]).await?;
    let worker = wait::wait_for("an answer through the Service", BOUND, || quickstart.asked(17_008).ok())?;
    println!("through the Service: {worker}");
    quickstart.edit("service.yaml", "port: 53", "port: 54")?;
    up.wait_log("spec.listeners[0].udp.cluster.endpoints[0].port: Service workers has no UDP port 53", BOUND)
}
