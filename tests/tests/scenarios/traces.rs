//! The trace of one change in an OpenTelemetry collector: from the API server through hub and agents to real Envoys.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use portreeve_tests::collector::{Collector, Received};
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::virtual_service::{Host, Service};
use portreeve_tests::wait;

/// Tolerance: hub and agents share a clock here, but times are converted between clocks.
const TOLERANCE: u64 = 2_000_000;

fn mk_service(port: u16) -> String {
    Service::new("one", "app: envoy-ingress").udp("l", port, &[Host::Pods("app: worker")], 6000).yaml()
}

/// Returns the spans of each trace, by its id.
fn by_trace(collector: &Collector) -> BTreeMap<Vec<u8>, Vec<Received>> {
    let mut traces: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for one in collector.spans() {
        traces.entry(one.span.trace_id.clone()).or_default().push(one);
    }
    traces
}

/// Returns whether a trace is complete, including each proxy's acknowledgement of its listener.
fn is_whole(spans: &[Received], proxies: usize) -> bool {
    let listeners = spans
        .iter()
        .filter(|one| one.span.name == "acknowledge" && one.attribute("type") == Some("Listener"));
    listeners.count() == proxies && spans.iter().any(|one| one.span.name == "change")
}

async fn whole(collector: &Collector, count: usize, proxies: usize) -> Result<()> {
    let complete = || {
        let traces = by_trace(collector);
        traces.len() == count && traces.values().all(|spans| is_whole(spans, proxies))
    };
    let waited = wait::until("whole traces", BOUND, || async { complete() }).await;
    waited.with_context(|| format!("{count} of them, there is {}", shown(&by_trace(collector))))
}

/// Returns all spans as readable text.
fn shown(traces: &BTreeMap<Vec<u8>, Vec<Received>>) -> String {
    let mut lines = Vec::new();
    for spans in traces.values() {
        let mut spans: Vec<_> = spans.iter().collect();
        spans.sort_by_key(|one| one.span.start_time_unix_nano);
        let first = spans.first().map_or(0, |one| one.span.start_time_unix_nano);
        lines.push(String::from("trace"));
        for Received { service, span } in spans {
            let [from, to] =
                [span.start_time_unix_nano, span.end_time_unix_nano].map(|at| (at - first) as f64 / 1e6);
            let said: Vec<_> = span.attributes.iter().map(|pair| format!("{:?}", pair.value)).collect();
            let said = said.join(" ").replace("Some(AnyValue { value: Some(StringValue(", "");
            let said = said.replace(")) })", "");
            lines.push(format!("  {from:7.2} to {to:7.2} ms  {service:16} {:12} {said}", span.name));
        }
    }
    lines.join("\n")
}

/// Checks that parents exist and begin before their children, and that each step follows the previous one.
fn is_in_order(spans: &[Received]) -> Result<()> {
    let ids: BTreeSet<_> = spans.iter().map(|one| &one.span.span_id).collect();
    ensure!(ids.len() == spans.len(), "two spans of one id");
    for one in spans {
        ensure!(one.span.trace_id.len() == 16 && one.span.span_id.len() == 8, "{one:?}");
        let parent = spans.iter().find(|other| other.span.span_id == one.span.parent_span_id);
        if one.span.name == "change" {
            ensure!(one.span.parent_span_id.is_empty(), "the whole is no part: {one:?}");
            continue;
        }
        let parent = &parent.with_context(|| format!("no parent of {one:?}"))?.span;
        ensure!(
            parent.start_time_unix_nano <= one.span.start_time_unix_nano + TOLERANCE,
            "{parent:?} {one:?}"
        );
        ensure!(one.span.end_time_unix_nano >= one.span.start_time_unix_nano, "{one:?}");
    }
    let ends = |name: &str, service: &str| {
        let named = spans.iter().filter(move |one| one.span.name == name && one.service == service);
        named.map(|one| (one.span.start_time_unix_nano, one.span.end_time_unix_nano)).collect::<Vec<_>>()
    };
    let (hub, agent) = ("portreeve-hub", "portreeve-agent");
    let steps = [
        ends("resolve", hub),
        ends("publish", hub),
        ends("apply", agent),
        ends("translate", agent),
        ends("acknowledge", agent),
    ];
    ensure!(steps.iter().map(Vec::len).take(4).collect::<Vec<_>>() == [1, 1, 2, 2], "{steps:?}");
    for pair in steps.windows(2) {
        let begins = |all: &[(u64, u64)]| all.iter().map(|(from, _)| *from).min().unwrap_or(u64::MAX);
        ensure!(begins(&pair[0]) <= begins(&pair[1]), "{pair:?}");
    }
    let last = steps[4].iter().map(|(_, to)| *to).max().context("no answer")?;
    let whole = ends("change", hub);
    ensure!(whole.len() == 1 && last <= whole[0].1 + TOLERANCE, "{whole:?} ends before {last}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_an_object_over_hub_and_agents_to_the_answers_of_its_proxies() -> Result<()> {
    let mut town = Town::without_portreeve(2).await?;
    let root = town.bed.root().clone();
    let collector = Collector::start(&root, root.v4())?;
    town.trust.hub_args.push(collector.flag());
    town.agent_args = vec![collector.flag()];
    town.start_hub()?;
    town.start_agent(0)?;
    town.start_agent(1)?;
    town.gateways().await?;
    ensure!(collector.spans().is_empty(), "nothing has changed yet: {:?}", collector.spans());

    town.apply(&mk_service(5000)).await?;
    whole(&collector, 1, 2).await?;
    town.apply(&mk_service(5001)).await?;
    whole(&collector, 2, 2).await?;
    let traces = by_trace(&collector);
    println!("{}", shown(&traces));
    for spans in traces.values() {
        is_in_order(spans).with_context(|| shown(&traces))?;
    }

    // An object that exists before the hub starts has no trace; its next version has.
    town.hub = None;
    town.start_hub()?;
    // It admits no agent before its lists are complete.
    town.hub.as_mut().context("a hub")?.wait_log("agent connected", BOUND)?;
    town.apply(&mk_service(5002)).await?;
    whole(&collector, 3, 2).await
}
