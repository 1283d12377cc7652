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
const DIFFERENCES: [(&str, &str); 45] = [
    ("--admin", "A free port, and only in tests of metrics, because many processes share one machine."),
    (
        "--agent-service-account",
        "Set in the chart's test of another namespace. Hubs of towns use the default, which is the shipped account.",
    ),
    ("--agent-socket", "Each test has its own directory; the default is the path of the shipped volume."),
    (
        "--cluster-namespaces",
        "Only in tests of other clusters' pods; the shipped hub admits pods of all namespaces.",
    ),
    ("--dir", "Each test has its own directory; the default is the path of the shipped volume."),
    ("--dns-server", "Tests of names have their own server; the shipped agent uses the node's."),
    (
        "--drain",
        "0, because a drain of 5 s would delay the end of hundreds of gateways. `install` uses the shipped 5 s.",
    ),
    ("--envoy", "Tests have no image, so they set the Envoy that the images are built with."),
    ("--envoy-metrics", "Tests of metrics choose some of Envoy's statistics; the shipped agent has none."),
    (
        "--epic-listen",
        "A free port, and only in tests of orders; the shipped hub takes orders with the component.",
    ),
    (
        "--epic-pods",
        "Only in tests of load balancers' own pods; the shipped hub creates them with the component.",
    ),
    ("--gateways", "Only in towns whose gateways are in pods; other agents start Envoy, as on a plain host."),
    (
        "--grace",
        "2, so that tests needn't wait for the shipped 30 s after a node's last workload. `install` uses 30 s.",
    ),
    ("--hub", "Each test's hub has its own address; the shipped name is a Service's."),
    ("--hub-ca", "Each test has its own CA; the shipped file comes from a ConfigMap."),
    ("--hub-token", "The API server's token in a file, because no kubelet mounts it."),
    (
        "--identity",
        "hub: the test's own name. agent: `claimed`, only if cgroups can't be created; in CI they can.",
    ),
    (
        "--insecure",
        "Tests of single parts without TLS. All other hubs have a certificate, like the shipped one.",
    ),
    (
        "--kubeconfig",
        "The test's API server, with the rights in `deploy/rbac`; a pod uses its ServiceAccount.",
    ),
    ("--l7mp", "Tests have no image of l7mp, so they set the package that they fetched; none is shipped."),
    ("--listen", "Each test's hub has its own address."),
    ("--log-format", "Tests search logs in text form; `install` uses the shipped JSON."),
    ("--log-level", "Set for `up` and in the chart's test; hubs and agents use the shipped `info`."),
    ("--max-stale", "Seconds instead of the shipped hour."),
    (
        "--namespace",
        "Set for helm, ctr and the hub of a tenant. The default is the shipped namespace, which POD_NAMESPACE repeats.",
    ),
    ("--namespaces", "Only in the test of a restricted hub; the shipped one serves all."),
    ("--node", "The value that a kubelet sets in NODE_NAME."),
    ("--otlp-endpoint", "Tests of traces have a collector; none is shipped."),
    ("--probe-socket", "Each test has its own directory, and only tests of probes use it."),
    ("--proxy", "The value that a kubelet sets in NODE_PROXY."),
    ("--run-dir", "Each test has its own directory; the shipped one is on the host."),
    ("--selector-scope", "Tests search for it in a message; hubs use the shipped scope."),
    ("--source-grace", "3 s in one test, instead of the shipped hour."),
    ("--sources", "Only in tests of other clusters; the shipped hub has none."),
    ("--sources-secret", "See --sources."),
    ("--state-dir", "Each test has its own directory, within --run-dir; the shipped one is on the host."),
    (
        "--tls-cert",
        "A certificate created once. The shipped hub creates its own, which `security` and `install` test.",
    ),
    ("--tls-key", "See --tls-cert."),
    ("--tls-name", "Set in a test of an additional name; the shipped certificate has the Service's."),
    ("NODE_NAME", "Tests set --node."),
    ("NODE_PROXY", "Tests set --proxy."),
    ("POD_NAME", "It is the value of --identity."),
    ("POD_NAMESPACE", "The hub's default is the shipped namespace."),
    (
        "PORTREEVE_ENVOY",
        "See --envoy. It is the file that an agent on a plain host and `portreeve up` download by default.",
    ),
    ("NO_COLOR", "Tests search logs; without a terminal, the shipped programs use no colour either."),
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
        ("source-grace", default(HubArgs::command(), "source-grace")?, "3600"),
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
