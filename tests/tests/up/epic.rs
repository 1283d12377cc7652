//! The EPIC document's example under `portreeve up`, on a real Envoy.

use anyhow::{Result, ensure};
use portreeve_tests::path;
use portreeve_tests::process::Process;
use portreeve_tests::town::BOUND;

use crate::mesh::active;
use crate::quickstart::Quickstart;

/// The commands of the example's README after `up`, and the endpoint that answers.
const COMMANDS: [(&str, &str); 3] = [
    ("send --tcp 127.0.77.2:8888 hello --wait 10", "127.0.11.4:8080"),
    ("send 127.0.77.3:5060 hello --wait 10", "127.0.11.5:6000"),
    ("send --tcp 127.0.77.3:8888 hello --wait 10", "127.0.11.5:8080"),
];

/// Sends with one of the README's commands, and returns the answer.
fn answer(example: &Quickstart, command: &str) -> Result<String> {
    let (status, said) = example.finish(command)?;
    ensure!(status.success(), "{command}: {status}: {said}");
    Ok(said)
}

fn end(example: &Quickstart, mut up: Process) -> Result<()> {
    up.terminate()?;
    ensure!(up.wait_exit(BOUND)?.success(), "{}", up.log());
    example.all_gone()
}

#[test]
fn both_load_balancers_lead_to_their_own_endpoints_over_tcp_and_udp() -> Result<()> {
    let example = Quickstart::of("seed-c-1")?;
    let mut up = example.portreeve("up DIR")?;
    active(&up, 3)?;
    for (command, by) in COMMANDS {
        let said = answer(&example, command)?;
        ensure!(said.trim_end() == format!("hello answered by {by}"), "{command}: {said}");
    }
    let log = up.log();
    println!("{log}");
    // Nothing in the folder is refused, ignored or unknown: `can-be-shared: yes` is true.
    ensure!(!log.contains(".yaml: ") && !log.contains("spec."), "{log}");

    let public = "127.0.77.3:5060".parse()?;
    example.edit("sample2-acnodal.yaml", "name: first\n    port: 6000", "name: other\n    port: 6000")?;
    path::closes(example.netns(), public, BOUND)?;
    let said = answer(&example, COMMANDS[2].0)?;
    ensure!(said.contains(COMMANDS[2].1), "the other port is served on: {said}");
    example.edit("account.yaml", "can-be-shared: yes", "can-be-shared: perhaps")?;
    up.wait_log("account.yaml: ServiceGroup sample: spec.can-be-shared", BOUND)?;
    end(&example, up)
}

#[test]
fn check_sends_its_datagrams_to_the_public_address() -> Result<()> {
    let example = Quickstart::of("seed-c-1")?;
    let (status, text) = example.finish("up DIR --check")?;
    println!("{text}");
    ensure!(status.code() == Some(0), "{status}");
    ensure!(text.contains("/sample2-acnodal/udp-5060 on udp 5060: 64 of 64 answered"), "{text}");
    ensure!(text.contains("127.0.11.5:6000  64"), "{text}");
    example.all_gone()
}
