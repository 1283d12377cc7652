//! The shipped monitoring: alert rules that are tested one by one, the same rules for the Prometheus operator, and a
//! dashboard. All of them use only metrics that real processes have.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use portreeve_tests::assets;
use portreeve_tests::exporter::{Observed, names};
use portreeve_tests::kustomize::{self, deploy};
use portreeve_tests::process::run;
use portreeve_tests::town::BOUND;
use portreeve_tests::wait;
use serde_json::{Value, json};

/// Grafana's value of its variable.
const RATE_INTERVAL: &str = "$__rate_interval";

fn yaml(path: &str) -> Result<Value> {
    Ok(serde_yaml::from_str(&fs::read_to_string(deploy().join(path))?)?)
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn rules() -> Result<Vec<Value>> {
    let all = yaml("monitoring/alerts.yaml")?;
    Ok(list(&all, "/groups").iter().flat_map(|group| list(group, "/rules")).cloned().collect())
}

fn dashboard() -> Result<Value> {
    Ok(serde_json::from_str(&fs::read_to_string(deploy().join("monitoring/dashboard.json"))?)?)
}

/// Returns the dashboard's expressions, each with its panel.
fn asked(dashboard: &Value) -> Vec<(&str, &str)> {
    let panels = list(dashboard, "/panels").iter();
    let of =
        |panel| list(panel, "/targets").iter().map(move |one| (text(panel, "/title"), text(one, "/expr")));
    panels.flat_map(of).collect()
}

/// Returns the metric names in an expression: every word with the prefix of the product's, Envoy's or a process's
/// metrics.
fn metrics_in(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| ["portreeve_", "envoy_", "process_"].iter().any(|ours| word.starts_with(ours)))
}

fn promtool(words: &[&str], file: &Path) -> Result<String> {
    run(Command::new(assets::promtool()?).args(words).arg(file))
}

#[test]
fn each_alert_is_tested_and_says_what_to_do() -> Result<()> {
    let file = |name: &str| deploy().join("monitoring").join(name);
    println!("{}", promtool(&["check", "rules", "--lint=all", "--lint-fatal"], &file("alerts.yaml"))?);
    println!("{}", promtool(&["test", "rules"], &file("alerts_test.yaml"))?);
    let tests = yaml("monitoring/alerts_test.yaml")?;
    let steps: Vec<_> = list(&tests, "/tests").iter().flat_map(|one| list(one, "/alert_rule_test")).collect();
    let rules = rules()?;
    let mut seen = BTreeSet::new();
    for rule in &rules {
        let name = text(rule, "/alert");
        ensure!(name.starts_with("Portreeve") && seen.insert(name), "{name}: once, and ours");
        let severity = text(rule, "/labels/severity");
        ensure!(["critical", "warning", "info"].contains(&severity), "{name}: severity {severity:?}");
        let (summary, description) =
            (text(rule, "/annotations/summary"), text(rule, "/annotations/description"));
        ensure!(summary.len() > 10 && description.len() > 80, "{name}: {summary:?}, {description:?}");
        let expected = |fires: bool| {
            steps
                .iter()
                .any(|step| text(step, "/alertname") == name && list(step, "/exp_alerts").is_empty() != fires)
        };
        ensure!(expected(true) && expected(false), "{name}: no test has it fire, or none has it rest");
    }
    ensure!(seen.len() >= 15, "{seen:?}");
    Ok(())
}

#[test]
fn dashboard_has_a_row_for_each_part_and_expressions_that_can_be_read() -> Result<()> {
    let dashboard = dashboard()?;
    let panels = list(&dashboard, "/panels");
    let ids: BTreeSet<i64> = panels.iter().filter_map(|panel| panel["id"].as_i64()).collect();
    ensure!(ids.len() == panels.len(), "{} ids for {} panels", ids.len(), panels.len());
    let rows = panels.iter().filter(|panel| panel["type"] == "row").map(|panel| text(panel, "/title"));
    ensure!(rows.collect::<Vec<_>>() == ["Convergence", "Hub", "Agents", "Proxies"]);
    let mut taken = BTreeSet::new();
    for panel in panels {
        let place = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap_or(99));
        let [x, y, width, height] = place;
        let cells = (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y)));
        let free = cells.filter(|cell| !taken.insert(*cell)).count() == 0;
        let title = text(panel, "/title");
        ensure!(free && x + width <= 24, "{title} is on top of another panel, or beside the page: {place:?}");
        ensure!(!title.is_empty(), "a panel without a title: {panel}");
        let asks = list(panel, "/targets").iter().all(|target| !text(target, "/expr").is_empty());
        ensure!(asks && (panel["type"] == "row") == list(panel, "/targets").is_empty(), "{title}: {panel}");
    }
    // promtool reads only rules.
    let record = |(place, (_, expression)): (usize, (&str, &str))| json!({"record": format!("panel:{place}"), "expr": expression.replace(RATE_INTERVAL, "5m")});
    let rules: Vec<_> = asked(&dashboard).into_iter().enumerate().map(record).collect();
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("panels.yaml");
    fs::write(&file, serde_yaml::to_string(&json!({"groups": [{"name": "panels", "rules": rules}]}))?)?;
    promtool(&["check", "rules"], &file)?;
    Ok(())
}

#[test]
fn operators_rules_are_the_same_and_what_it_scrapes_is_open() -> Result<()> {
    let objects = kustomize::built(&["prometheus"])?;
    let get = |kind: &str, name: &str| {
        let mut found =
            objects.iter().filter(|one| text(one, "/kind") == kind && text(one, "/metadata/name") == name);
        found.next().with_context(|| format!("no {kind} {name}"))
    };
    ensure!(get("PrometheusRule", "portreeve")?["spec"] == yaml("monitoring/alerts.yaml")?, "other rules");
    for (kind, name) in [("Deployment", "portreeve-hub"), ("DaemonSet", "portreeve-agent")] {
        let (pods, monitor) = (get(kind, name)?, get("PodMonitor", name)?);
        let labels = &pods["spec"]["template"]["metadata"]["labels"];
        let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().context("a selector")?;
        ensure!(wanted.iter().all(|(label, value)| labels[label] == *value), "{name}: {wanted:?}");
        let [endpoint] = list(monitor, "/spec/podMetricsEndpoints") else { anyhow::bail!("one endpoint") };
        let ports = list(pods, "/spec/template/spec/containers/0/ports");
        let port = match kind {
            "Deployment" => {
                let port = ports.iter().find(|port| port["name"] == endpoint["port"]);
                port.context("no such port")?["containerPort"].to_string()
            }
            // The pod declares no port, or a second pod would not fit on its node.
            _ => {
                ensure!(ports.is_empty() && endpoint["port"].is_null(), "{endpoint}");
                let address = text(endpoint, "/relabelings/0/replacement");
                address.trim_start_matches("$1:").to_owned()
            }
        };
        let admin = format!("--admin=[::]:{port}");
        let args = list(pods, "/spec/template/spec/containers/0/args");
        ensure!(args.iter().any(|arg| *arg == json!(admin)), "{name}: not {admin}: {args:?}");
        ensure!(args.iter().filter(|arg| arg.to_string().contains("--admin")).count() == 1, "{args:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_that_alerts_and_dashboard_ask_for_is_told_by_real_processes() -> Result<()> {
    let Observed { town, hub, agent } = Observed::start(&["--envoy-metrics=udp."]).await?;
    let root = town.bed.root();
    let (rules, dashboard) = (rules()?, dashboard()?);
    let of_rules = rules.iter().map(|rule| (text(rule, "/alert"), text(rule, "/expr")));
    let expressions: Vec<_> = of_rules.chain(asked(&dashboard)).collect();
    let missing = || {
        let mut told = names(root, hub).unwrap_or_default();
        told.extend(names(root, agent).unwrap_or_default());
        let untold = |(title, expression): &(&str, &str)| {
            let unknown: Vec<_> = metrics_in(expression).filter(|name| !told.contains(*name)).collect();
            let asks = metrics_in(expression).next().is_some();
            (!asks || !unknown.is_empty()).then(|| format!("{title}: {unknown:?} in {expression}"))
        };
        expressions.iter().filter_map(untold).collect::<Vec<_>>()
    };
    wait::until("all metrics that are asked for", BOUND, || async { missing().is_empty() })
        .await
        .with_context(|| format!("{:#?}", missing()))?;
    println!("{} expressions ask for nothing else", expressions.len());
    Ok(())
}
