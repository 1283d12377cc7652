//! Compares the arguments in tests with those in the shipped manifests: each difference has a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args as _, Command, CommandFactory};
use portreeve_agent::roles::GatewayArgs;
use portreeve_agent::run::RunArgs;
use portreeve_hub::run::Args as HubArgs;
use serde_json::Value;

/// Every flag and variable of hub, agent and gateway that a test or a manifest sets, and the reason for a difference.
const DIFFERENCES: [(&str, &str); 38] = [
    (
        "--admin",
        "A port of the kernel's choice, and only where a test asks for metrics: many parts are on one machine.",
    ),
    (
        "--agent-service-account",
        "The chart's test of another namespace. Hubs of towns run with the default, which is the shipped account.",
    ),
    ("--agent-socket", "Each test has a directory of its own; the default is where the shipped volume is."),
    ("--dir", "Each test has a directory of its own; the default is where the shipped volume is."),
    ("--dns-server", "Tests of names have a server of their own; the shipped agent asks the node's."),
    (
        "--drain",
        "0: a drain of 5 s at each end of a gateway, of hundreds. `install` runs with the shipped 5 s.",
    ),
    ("--envoy", "Tests have no image: they give the Envoy that the images are built with."),
    ("--envoy-metrics", "Tests of metrics ask for some of Envoy's statistics; none are shipped."),
    (
        "--gateways",
        "Only for towns whose gateways are in pods; the others' agents start Envoy, as on a plain host.",
    ),
    (
        "--grace",
        "2: what a node keeps for the shipped 30 s after its last workload would be waited for. `install` has 30 s.",
    ),
    ("--hub", "Each test's hub has an address of its own; the shipped name is a Service's."),
    ("--hub-ca", "Each test has an authority of its own; the shipped file is a ConfigMap's."),
    ("--hub-token", "The API server's token, written to a file: no kubelet mounts it."),
    (
        "--identity",
        "hub: a name that the test chose. agent: `claimed`, only where cgroups can't be made, and CI makes them.",
    ),
    ("--insecure", "Tests of parts in the clear. All other hubs have a certificate, as the shipped one."),
    (
        "--kubeconfig",
        "The API server of the test, under the rights of `deploy/rbac`; a pod has its ServiceAccount.",
    ),
    ("--listen", "Each test's hub has an address of its own."),
    ("--log-format", "Tests read logs as people do; `install` runs with the shipped JSON."),
    ("--log-level", "`up` and the chart's test; hubs and agents run with the shipped `info`."),
    ("--max-stale", "Seconds instead of the shipped hour."),
    (
        "--namespace",
        "helm and ctr are given one, and the hub of a tenant. The default is the shipped one, which POD_NAMESPACE repeats.",
    ),
    ("--namespaces", "Only the test of a hub that is restricted to some; the shipped one serves all."),
    ("--node", "What the kubelet puts into NODE_NAME."),
    ("--otlp-endpoint", "Tests of traces have a collector; none is shipped."),
    ("--probe-socket", "Each test has a directory of its own, and only tests of probes ask."),
    ("--proxy", "What the kubelet puts into NODE_PROXY."),
    ("--run-dir", "Each test has a directory of its own; the shipped one is the host's."),
    ("--selector-scope", "Tests look for it in a message; hubs run with the shipped scope."),
    (
        "--state-dir",
        "Each test has a directory of its own, within that of --run-dir; the shipped one is the host's.",
    ),
    (
        "--tls-cert",
        "A certificate that is made once. The shipped hub makes its own: `security` and `install` run so.",
    ),
    ("--tls-key", "As for --tls-cert."),
    ("--tls-name", "A test of one more name; the shipped certificate has the Service's."),
    ("NODE_NAME", "Tests say --node."),
    ("NODE_PROXY", "Tests say --proxy."),
    ("POD_NAME", "It becomes --identity."),
    ("POD_NAMESPACE", "The hub's default is the shipped namespace."),
    (
        "PORTREEVE_ENVOY",
        "As for --envoy. It is the file that an agent on a plain host and `portreeve up` fetch by themselves.",
    ),
    ("NO_COLOR", "Logs are read; without a terminal the shipped programs use no colour either."),
];

/// Variables without a flag.
const VARIABLES: [&str; 3] = ["POD_NAME", "PORTREEVE_ENVOY", "NO_COLOR"];

/// Manifests that are applied unchanged.
const MANIFESTS: [&str; 3] = ["hub.yaml", "agent.yaml", "gateway.yaml"];

/// Returns all flags of the programs, and the variables that they read.
fn known() -> BTreeSet<String> {
    let commands = [
        HubArgs::command(),
        RunArgs::augment_args(Command::new("run")),
        GatewayArgs::augment_args(Command::new("gateway")),
    ];
    let arguments = commands.iter().flat_map(Command::get_arguments);
    let names = arguments.flat_map(|argument| {
        let flag = argument.get_long().map(|long| format!("--{long}"));
        flag.into_iter().chain(argument.get_env().map(|variable| variable.to_string_lossy().into_owned()))
    });
    names.chain(VARIABLES.map(str::to_owned)).collect()
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Returns the flags and variables of the shipped containers, with the flags' values.
fn shipped() -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for file in MANIFESTS {
        let text = fs::read_to_string(repository("deploy").join(file))?;
        for object in text.split("\n---\n").map(serde_yaml::from_str::<Value>) {
            let Some(containers) = object?.pointer("/spec/template/spec/containers").cloned() else {
                continue;
            };
            let [container] = containers.as_array().map(Vec::as_slice).unwrap_or_default() else {
                anyhow::bail!("one container in {file}")
            };
            let words = container["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let flags = words.filter(|word| word.starts_with('-'));
            found.extend(flags.map(|flag| flag.split_once('=').unwrap_or((flag, ""))).map(owned));
            let variables = container["env"].as_array().into_iter().flatten();
            found.extend(variables.filter_map(|one| one["name"].as_str()).map(|name| owned((name, ""))));
        }
    }
    ensure!(found.len() > MANIFESTS.len(), "{found:?}");
    Ok(found)
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Returns the known flags and variables with which strings in the tests' sources begin, except in this file.
fn given(known: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut open = vec![repository("tests/src"), repository("tests/tests"), repository("tests/benches")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("shipped.rs")
        {
            let text = fs::read_to_string(&path)?;
            let word = |rest: &str| -> String {
                rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect()
            };
            found.extend(text.split(['"', ' ']).map(word).filter(|word| known.contains(word)));
        }
    }
    Ok(found)
}

#[test]
fn what_tests_give_a_program_and_what_ships_differ_only_where_a_reason_is_written() -> Result<()> {
    let (known, shipped) = (known(), shipped()?);
    let unknown: Vec<_> = shipped.keys().filter(|name| !known.contains(*name)).collect();
    ensure!(unknown.is_empty(), "no program reads {unknown:?}");
    let mut set = given(&known)?;
    set.extend(shipped.into_keys());
    let excused: BTreeSet<String> = DIFFERENCES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let without_reason: Vec<_> = set.difference(&excused).collect();
    let without_use: Vec<_> = excused.difference(&set).collect();
    ensure!(
        without_reason.is_empty(),
        "say in this file why tests and manifests differ in {without_reason:?}"
    );
    ensure!(without_use.is_empty(), "neither a test nor a manifest sets {without_use:?}");
    Ok(())
}

#[test]
fn what_is_waited_for_in_tests_is_shipped_with_the_values_that_the_reasons_name() -> Result<()> {
    let default = |command: Command, name: &str| {
        let argument = command.get_arguments().find(|argument| argument.get_long() == Some(name)).cloned();
        let values = argument.map(|argument| argument.get_default_values().to_vec());
        values.and_then(|values| values.first()?.to_str().map(str::to_owned)).context("a default")
    };
    let run = || RunArgs::augment_args(Command::new("run"));
    let shipped = shipped()?;
    for (name, value, wanted) in [
        ("grace", default(HubArgs::command(), "grace")?, "30"),
        ("drain", default(run(), "drain")?, "5"),
        ("max-stale", default(run(), "max-stale")?, "3600"),
        ("identity", default(run(), "identity")?, "kernel"),
        ("selector-scope", default(HubArgs::command(), "selector-scope")?, "namespace"),
    ] {
        ensure!(value == wanted, "--{name} is {value} where nobody gives it");
        let of_hub =
            name == "identity" && shipped.get("--identity").is_some_and(|name| name == "$(POD_NAME)");
        ensure!(of_hub || !shipped.contains_key(&format!("--{name}")), "a manifest gives --{name}");
    }
    Ok(())
}
