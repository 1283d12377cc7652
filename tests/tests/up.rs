//! `portreeve up` and its offline companions, on a copy of the quickstart in a network of its own.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use portreeve_agent::envoy::locate;
use portreeve_tests::envoy::Admin;
use portreeve_tests::family::Family;
use portreeve_tests::netns::Netns;
use portreeve_tests::process::Process;
use portreeve_tests::town::BOUND;
use portreeve_tests::{spawner, udp, under_test, wait};
use serde::Deserialize as _;
use tempfile::TempDir;

/// A copy of the quickstart, and a network for its fixed ports.
struct Quickstart {
    netns: Netns,
    /// Holds `folder` and `run`; the directory for temporary files of what is started.
    dir: TempDir,
    /// All that is started, and what that starts.
    family: Family,
}

// === impl Quickstart ===

impl Quickstart {
    fn new() -> Result<Self> {
        // Short: Unix sockets live in it.
        let dir = tempfile::Builder::new().prefix("up-").tempdir()?;
        let copy = Self { netns: Netns::new("up")?, dir, family: Family::new()? };
        fs::create_dir(copy.folder())?;
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/quickstart");
        for entry in fs::read_dir(original)? {
            let entry = entry?;
            fs::copy(entry.path(), copy.folder().join(entry.file_name()))?;
        }
        Ok(copy)
    }

    fn folder(&self) -> std::path::PathBuf {
        self.dir.path().join("folder")
    }

    /// Changes a file of the folder as an editor does.
    fn edit(&self, file: &str, from: &str, to: &str) -> Result<()> {
        let path = self.folder().join(file);
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains(from), "{file} has no {from:?}");
        Ok(fs::write(path, text.replacen(from, to, 1))?)
    }

    fn add(&self, file: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.folder().join(file), text)?)
    }

    /// `portreeve <words>` with the folder's path for every `DIR`.
    fn portreeve(&self, words: &str) -> Result<Process> {
        Process::spawn("portreeve", &self.command(words)?)
    }

    /// The same, to be started otherwise.
    fn command(&self, words: &str) -> Result<Command> {
        let mut command = under_test::command_in(&self.netns, "portreeve")?;
        let folder = self.folder().display().to_string();
        command.args(words.split_whitespace().map(|word| word.replace("DIR", &folder)));
        let temporary = self.dir.path().join("tmp");
        fs::create_dir_all(&temporary)?;
        command.env("TMPDIR", temporary).env("NO_COLOR", "1");
        command.env("PORTREEVE_ENVOY", locate(None, &mut |step| eprintln!("{step}"))?);
        self.family.mark(&mut command);
        Ok(command)
    }

    /// Runs it to its end.
    fn finish(&self, words: &str) -> Result<(ExitStatus, String)> {
        let mut process = self.portreeve(words)?;
        let status = process.wait_exit(BOUND * 2)?;
        Ok((status, process.log()))
    }

    /// `portreeve up` in a run directory of the test's choice, once both listeners are there.
    async fn up(&self) -> Result<Process> {
        let run = self.run_dir().display().to_string();
        let process = self.portreeve(&format!("up DIR --run-dir {run}"))?;
        self.ports(&[17_000, 17_001]).await?;
        Ok(process)
    }

    fn run_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("run")
    }

    /// Waits until Envoy listens on exactly these ports.
    async fn ports(&self, wanted: &[u16]) -> Result<()> {
        let admin = Admin::new(self.run_dir().join("keepers/gateway/admin.sock"));
        wait::until(&format!("the ports {wanted:?}"), BOUND, || async {
            let Ok(found) = admin.listeners().await else { return false };
            let port = |address: &str| address.rsplit(':').next()?.parse().ok();
            let mut ports: Vec<u16> = found.iter().filter_map(|(_, address)| port(address)).collect();
            ports.sort_unstable();
            ports == wanted
        })
        .await
    }

    /// Who answers behind a port.
    fn asked(&self, port: u16) -> Result<String> {
        let socket = udp::socket(&self.netns, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.send(b"who")?;
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).with_context(|| format!("port {port} answers nothing"))?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Waits until none of what was started, and of what that started, is left.
    fn all_gone(&self) -> Result<()> {
        let gone = wait::wait_until("the end of all", BOUND, || self.family.members().is_empty());
        gone.with_context(|| {
            format!("left: {:?}", self.family.members().into_iter().map(title).collect::<Vec<_>>())
        })
    }
}

fn title(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    format!("{pid} {}", String::from_utf8_lossy(&line).replace('\0', " "))
}

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
    // A change elsewhere has been read since, and the broken file's listeners are there.
    quickstart.add("node2.yaml", "apiVersion: v1\nkind: Gadget\nmetadata: {name: g}\n")?;
    up.wait_log("Gadget g: ", BOUND)?;
    quickstart.ports(&[17_000, 17_001]).await?;
    println!("still: {}", quickstart.asked(17_000)?);
    // Mended, it counts again.
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
    // Both readers are gone before the first line.
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

/// Nodes, gateways and pods for the examples that come without.
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
        ("sidecar", Some(world.clone()), &["pod/default/caller-1"]),
        // Its controllers write the objects of the example before.
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
    let (status, text) = quickstart.finish(&format!("up DIR --check --envoy {}", envoy.display()))?;
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
    ensure!(names.len() == 3, "{names:?}");
    Ok(())
}
