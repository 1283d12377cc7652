//! `portreeve up` and its offline companions, with a copy of the quickstart in its own network.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use portreeve_agent::envoy::locate;
use portreeve_tests::town::BOUND;
use portreeve_tests::{spawner, under_test, wait};
use quickstart::{Quickstart, title};
use serde::Deserialize as _;
use tempfile::TempDir;

mod epic;
mod folder;
mod mesh;
mod quickstart;

#[test]
fn the_check_of_the_quickstart_counts_the_answers_of_both_listeners() -> Result<()> {
    let quickstart = Quickstart::new()?;
    let (status, text) = quickstart.finish("up DIR --check")?;
    println!("{text}");
    ensure!(status.code() == Some(0), "{status}");
    for listener in
        ["call/keyed on udp 17000: 64 of 64 answered", "call/spread on udp 17001: 64 of 64 answered"]
    {
        ensure!(text.contains(listener), "no {listener:?}");
    }
    let answering: Vec<&str> = text.lines().filter(|line| line.starts_with("  127.0.11.")).collect();
    ensure!(answering.len() == 4, "one worker for the key, three for the rest: {answering:?}");
    quickstart.all_gone()
}

#[test]
fn the_check_names_the_one_pod_that_is_described_but_does_not_run() -> Result<()> {
    let quickstart = Quickstart::new()?;
    // The second of the three.
    let path = quickstart.folder().join("workers.yaml");
    let text = fs::read_to_string(&path)?;
    let parts: Vec<&str> = text.split("---\n").collect();
    let second = parts[1].replacen("  annotations: {portreeve.dev/run: local}\n", "", 1);
    ensure!(second != parts[1], "the second worker is not run as expected");
    fs::write(&path, [parts[0], &second, parts[2]].join("---\n"))?;
    let (status, text) = quickstart.finish("up DIR --check")?;
    println!("{text}");
    ensure!(status.code() == Some(1), "{status}");
    let named: Vec<&str> = text.lines().filter(|line| line.contains("answered nothing")).collect();
    let spread = named.iter().filter(|line| line.contains("call/spread: ")).count();
    ensure!(spread == 1 && named.len() <= 2, "{named:?}");
    ensure!(named.iter().all(|line| line.contains("endpoint 127.0.11.2:19000 ")), "{named:?}");
    quickstart.all_gone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_end_ends_everything_and_leaves_nothing() -> Result<()> {
    let quickstart = Quickstart::new()?;
    let mut up = quickstart.portreeve("up DIR")?;
    up.wait_log("active", BOUND)?;
    let members = quickstart.family.members();
    println!("started: {:?}", members.iter().map(|pid| title(*pid)).collect::<Vec<_>>());
    // The command, a keeper, an Envoy and three workers.
    ensure!(members.len() == 6, "{members:?}");
    up.terminate()?;
    let status = up.wait_exit(BOUND)?;
    ensure!(status.success(), "{status}: {}", up.log());
    quickstart.all_gone()?;
    let left: Vec<_> = fs::read_dir(quickstart.dir.path().join("tmp"))?.flatten().map(|e| e.path()).collect();
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn command_whose_output_nobody_reads_goes_on_serving() -> Result<()> {
    let quickstart = Quickstart::new()?;
    let run = quickstart.run_dir().display().to_string();
    let command = quickstart.command(&format!("up DIR --log-level debug --run-dir {run}"))?;
    // Both readers are gone before the first line is written.
    let (output, errors) = (io::pipe()?.1, io::pipe()?.1);
    let mut up = spawner::spawn(&command, |child| {
        child.stdin(Stdio::null()).stdout(output).stderr(errors);
    })?;
    quickstart.ports(&[17_000, 17_001]).await?;
    quickstart.edit("call.yaml", "port: 17001", "port: 17002")?;
    quickstart.add("gadget.yaml", "apiVersion: v1\nkind: Gadget\nmetadata: {name: g}\n")?;
    quickstart.ports(&[17_000, 17_002]).await?;
    println!("still: {}", quickstart.asked(17_000)?);
    ensure!(up.try_wait()?.is_none(), "up ended");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(up.id())?), Signal::SIGTERM)?;
    let status = wait::wait_for("the end", BOUND, || up.try_wait().ok().flatten())?;
    ensure!(status.success(), "{status}");
    quickstart.all_gone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_command_leaves_no_process_behind() -> Result<()> {
    let quickstart = Quickstart::new()?;
    let mut up = quickstart.up().await?;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(up.pid())?);
    nix::sys::signal::kill(pid, Signal::SIGKILL)?;
    up.wait_exit(BOUND)?;
    quickstart.all_gone()
}

#[test]
fn mistakes_are_said_with_what_to_do() -> Result<()> {
    let quickstart = Quickstart::new()?;
    let refused = |words: &str, wanted: &[&str]| -> Result<()> {
        let (status, text) = quickstart.finish(words)?;
        println!("portreeve {words}\n  {}", text.trim_end());
        ensure!(status.code() == Some(1), "{status}");
        let missing: Vec<_> = wanted.iter().filter(|word| !text.contains(**word)).collect();
        ensure!(missing.is_empty(), "{missing:?} not said: {text}");
        quickstart.all_gone()
    };
    refused("up DIR --check --envoy /nonexistent", &["/nonexistent"])?;
    refused(&format!("up DIR --check --run-dir /tmp/{}", "x".repeat(120)), &["--run-dir", "shorter"])?;
    refused("up DIR --check --node elsewhere", &["elsewhere", "here"])?;
    refused("up /nonexistent --check", &["/nonexistent", "no such folder"])?;
    quickstart.add("second.yaml", "apiVersion: v1\nkind: Node\nmetadata: {name: there}\n")?;
    refused("up DIR --check", &["--node", "here, there"])?;
    fs::remove_file(quickstart.folder().join("second.yaml"))?;
    fs::remove_file(quickstart.folder().join("node.yaml"))?;
    refused("up DIR --check", &["no Node"])?;
    quickstart.add("node.yaml", "kind: [")?;
    refused("up DIR --check", &["node.yaml", " line ", "no Node"])
}

#[test]
fn control_characters_are_escaped_in_log_lines() -> Result<()> {
    let quickstart = Quickstart::new()?;
    let (_, text) = quickstart.finish("up DIR --check --run-dir /proc/\u{1b}[2J/run")?;
    println!("{text}");
    let logged = text.lines().find(|line| line.contains("would not be kept out of it")).unwrap_or_default();
    ensure!(logged.contains("path=/proc/\\u{1b}[2J/run"), "{text}");
    ensure!(!text.contains('\u{1b}'), "{text:?}");
    quickstart.all_gone()
}

#[test]
fn unknown_fields_and_kinds_are_spoken_of_and_passed_over() -> Result<()> {
    let quickstart = Quickstart::new()?;
    quickstart.edit("call.yaml", "        port: 17001", "        port: 17001\n        prot: 1")?;
    quickstart.add("gadget.yaml", "apiVersion: v1\nkind: Gadget\nmetadata: {name: g}\n")?;
    let (status, text) = quickstart.finish("up DIR --check")?;
    println!("{text}");
    ensure!(status.code() == Some(0), "{status}");
    ensure!(
        text.contains("call.yaml") && text.contains("spec.listeners[1].udp.prot: unknown field"),
        "{text}"
    );
    ensure!(text.contains("gadget.yaml") && text.contains("Gadget g"), "{text}");
    Ok(())
}

#[test]
fn translation_prints_the_listeners_and_names_what_it_refuses() -> Result<()> {
    let quickstart = Quickstart::new()?;
    for output in ["yaml", "json"] {
        let (status, text) = quickstart.finish(&format!("translate DIR -o {output}"))?;
        ensure!(status.code() == Some(0), "{status}: {text}");
        let document: serde_json::Value = serde_yaml::from_str(&text)?;
        let resources = document["resources"].as_array().context("no resources")?;
        let listener = |name: &str| {
            let named = |one: &&serde_json::Value| {
                one["name"] == name && one["@type"].as_str().is_some_and(is_listener)
            };
            resources.iter().find(named).with_context(|| format!("no listener {name} in {text}"))
        };
        listener("A/default/call/spread")?;
        let config = &listener("A/default/call/keyed")?["listener_filters"][0]["typed_config"];
        ensure!(
            config["@type"].as_str().is_some_and(|ty| ty.ends_with(".UdpProxyConfig")),
            "folded: {config}"
        );
        let action = config.to_string();
        ensure!(action.contains("udp_proxy.v3.Route") && action.contains("call/keyed"), "folded: {action}");
    }
    quickstart.edit("call.yaml", "port: 17001", "port: 0")?;
    let (status, text) = quickstart.finish("translate DIR")?;
    println!("{text}");
    ensure!(status.code() == Some(1), "{status}");
    for word in ["call.yaml", "VirtualService call", "spec.listeners[1].udp.port"] {
        ensure!(text.contains(word), "{word} is not named");
    }
    Ok(())
}

fn is_listener(type_url: &str) -> bool {
    type_url == "type.googleapis.com/envoy.config.listener.v3.Listener"
}

/// Nodes, gateways and pods for the examples without them.
const WORLD: &str = "
{apiVersion: v1, kind: Node, metadata: {name: here}}
---
{apiVersion: portreeve.dev/v1alpha1, kind: NodeProxy, metadata: {name: gateway}, spec: {labels: {app: envoy-ingress}}}
---
apiVersion: v1
kind: Pod
metadata: {name: worker-1, namespace: default, uid: w1, labels: {app: worker}}
spec: {nodeName: here, containers: [{name: c}]}
status: {podIP: 10.0.0.1, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: caller-1, namespace: default, uid: c1, labels: {app: caller}}
spec: {nodeName: here, containers: [{name: c}]}
status: {podIP: 10.0.0.2}
";

#[test]
fn envoy_takes_the_static_configuration_of_every_example() -> Result<()> {
    let (dir, examples) = (TempDir::new()?, Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples"));
    let (world, envoy) = (dir.path().join("world.yaml"), locate(None, &mut |step| eprintln!("{step}"))?);
    fs::write(&world, WORLD)?;
    for (example, more, proxies) in [
        ("quickstart", None, &["nodeproxy/gateway"][..]),
        ("seed-a", Some(world.clone()), &["nodeproxy/gateway", "pod/default/worker-1"]),
        ("seed-c-1", None, &["nodeproxy/gateway"]),
        ("sidecar", Some(world.clone()), &["pod/default/caller-1"]),
        // The example's controllers write the objects of the previous example.
        ("migration", Some(examples.join("seed-a")), &["nodeproxy/gateway", "pod/default/worker-1"]),
    ] {
        let nodes = (example == "migration").then(|| {
            let others = WORLD.split("---\n").filter(|one| !one.contains("NodeProxy"));
            let path = dir.path().join("nodes.yaml");
            fs::write(&path, others.collect::<Vec<_>>().join("---\n")).map(|()| path)
        });
        let files = [Some(examples.join(example)), more, nodes.transpose()?];
        for (proxy, output) in proxies.iter().flat_map(|proxy| [(proxy, "yaml"), (proxy, "json")]) {
            let mut command = under_test::command("portreeve")?;
            command.arg("translate").args(files.iter().flatten());
            let written = command.args(["--bootstrap", "-o", output, "--proxy", proxy]).output()?;
            let errors = String::from_utf8_lossy(&written.stderr);
            ensure!(written.status.success() && !written.stdout.is_empty(), "{example} {proxy}: {errors}");
            let file = dir.path().join(format!("bootstrap.{output}"));
            fs::write(&file, &written.stdout)?;
            let judged = Command::new(&envoy).args(["--mode", "validate", "-c"]).arg(&file).output()?;
            let text = String::from_utf8_lossy(&judged.stderr);
            ensure!(judged.status.success(), "{example} {proxy} as {output}: {text}");
        }
    }
    Ok(())
}

#[test]
fn envoy_that_ends_at_once_fails_the_check_with_what_it_said() -> Result<()> {
    let quickstart = Quickstart::new()?;
    let envoy = quickstart.dir.path().join("envoy");
    fs::write(&envoy, "#!/bin/sh\necho 'no such option: --base-id' >&2\nexit 3\n")?;
    fs::set_permissions(&envoy, fs::Permissions::from_mode(0o755))?;
    let (status, text) =
        quickstart.finish(&format!("up DIR --check --check-timeout 5 --envoy {}", envoy.display()))?;
    println!("{text}");
    ensure!(status.code() == Some(1), "{status}");
    let said = text.split_whitespace().collect::<Vec<_>>().join(" ");
    ensure!(said.contains(
        "nodeproxy/gateway: Envoy ends by itself: exit code 3; its log says: no such option: --base-id"
    ));
    quickstart.all_gone()
}

#[test]
fn the_definitions_are_printed_as_they_are_deployed() -> Result<()> {
    let output = under_test::command("portreeve")?.arg("crds").output()?;
    ensure!(output.status.success(), "{}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let mut names = Vec::new();
    for document in serde_yaml::Deserializer::from_str(&text) {
        let crd = serde_yaml::Value::deserialize(document)?;
        ensure!(crd["kind"].as_str() == Some("CustomResourceDefinition"), "{crd:?}");
        let name = crd["metadata"]["name"].as_str().context("no name")?.to_owned();
        let deployed = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../deploy/crds/{name}.yaml"));
        let deployed: serde_yaml::Value = serde_yaml::from_str(&fs::read_to_string(deployed)?)?;
        ensure!(deployed == crd, "{name} is deployed otherwise");
        names.push(name);
    }
    println!("{names:?}");
    let deployed = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds"))?.count();
    ensure!(names.len() == deployed, "{deployed} are deployed, and these are printed: {names:?}");
    Ok(())
}
