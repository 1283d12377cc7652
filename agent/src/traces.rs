//! The agent's spans in the trace of a change ([`Tracer`]): `apply` for the hub's response, with `translate` inside,
//! and for each proxy and resource type the first `acknowledge` (or `refuse`), which begins when the resource can be
//! sent.
//!
//! The resources of the hub's first complete response are no change and have no trace.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use portreeve_api::plan::Plan;
use portreeve_runtime::Traces;
use portreeve_runtime::traces::{Span, SpanId, Step, TraceId};
use portreeve_xds::{Event, Name, ResourceType};
use prost::Message;

use portreeve_agent_core::world::{ProxyId, Sent};
use portreeve_api::refs::ResourceName;

/// Answers later than this are ignored: they come from a proxy that connected after the change.
const LATE: Duration = Duration::from_secs(60);

/// Writes spans, and remembers the proxies that haven't answered yet.
pub struct Tracer {
    traces: Traces,
    node: String,
    /// Plans with pending answers, by name.
    sent: Mutex<HashMap<Name, Pending>>,
}

/// A Plan that not all proxies have answered.
struct Pending {
    trace: TraceId,
    /// The agent's `apply` span.
    parent: SpanId,
    since: SystemTime,
    /// The proxies that have answered, each with the resource type.
    answered: BTreeSet<(ProxyId, &'static str)>,
}

// === impl Tracer ===

impl Tracer {
    /// Creates a tracer that sends the spans of this node to `traces`.
    pub fn new(traces: Traces, node: String) -> Self {
        Self { traces, node, sent: Mutex::default() }
    }

    /// Records that these Plans were translated `during` this time.
    pub fn translated(&self, plans: &[Sent], during: Range<SystemTime>) {
        let Range { start: begun, end: ended } = during;
        for (name, version, body) in plans {
            let Some(trace) = trace_of(body, version.0) else { continue };
            let parent = SpanId::of(trace, "apply", &self.node);
            let step = Step { name: "translate", place: &self.node, begun, ended };
            self.traces.tell(Span::new(trace, Some(parent), step));
            let pending = Pending { trace, parent, since: ended, answered: BTreeSet::new() };
            self.lock(|sent| sent.insert(name.clone(), pending));
        }
    }

    /// Records that these Plans were applied `during` this time, and which Plans are gone.
    pub fn applied(&self, plans: &[Sent], gone: &[Name], during: Range<SystemTime>) {
        let step = Step { name: "apply", place: &self.node, begun: during.start, ended: during.end };
        self.lock(|sent| gone.iter().for_each(|name| drop(sent.remove(name))));
        for (name, version, body) in plans {
            let Some(trace) = trace_of(body, version.0) else { continue };
            let span = Span::new(trace, Some(trace.whole()), step);
            self.traces.tell(span.with("plan", &**name).with("node", &*self.node));
        }
    }

    /// Records a proxy's answer.
    pub fn answered<T: ResourceType>(&self, proxy: &ProxyId, event: &Event<T>) {
        let (name, ty, names, failure): (_, _, Vec<&Name>, _) = match event {
            Event::Acked { ty, resources, claimed: false, .. } => {
                ("acknowledge", *ty, resources.iter().map(|(name, _)| name).collect(), None)
            }
            Event::Nacked { ty, names, detail, .. } => ("refuse", *ty, names.iter().collect(), Some(detail)),
            _ => return,
        };
        let now = SystemTime::now();
        let plans: BTreeSet<&str> = names.into_iter().map(|name| ResourceName::plan_of(name)).collect();
        let of_plan = |sent: &mut HashMap<Name, Pending>, plan: &str| {
            let pending = sent.get_mut(plan)?;
            if now.duration_since(pending.since).unwrap_or_default() > LATE {
                sent.remove(plan);
                return None;
            }
            let first = pending.answered.insert((proxy.clone(), ty.type_url()));
            first.then_some((pending.trace, pending.parent, pending.since))
        };
        for plan in plans {
            let Some((trace, parent, since)) = self.lock(|sent| of_plan(sent, plan)) else { continue };
            let place = format!("{} {proxy} {ty:?}", self.node);
            let step = Step { name, place: &place, begun: since, ended: now };
            let span = Span::new(trace, Some(parent), step);
            let span = span.with("proxy", proxy.to_string()).with("type", format!("{ty:?}"));
            self.traces.tell(Span { failure: failure.cloned(), ..span.with("node", &*self.node) });
        }
    }

    fn lock<R>(&self, look: impl FnOnce(&mut HashMap<Name, Pending>) -> R) -> R {
        look(&mut self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns the trace of the change that a Plan belongs to.
fn trace_of(plan: &[u8], version: u64) -> Option<TraceId> {
    let origin = Plan::decode(plan).ok()?.origin?;
    Some(TraceId::of(&origin.uid, version))
}

#[cfg(test)]
mod tests {
    use portreeve_api::plan::Origin;
    use portreeve_envoy::Envoy;
    use portreeve_xds::Version;
    use tokio::sync::mpsc::Receiver;

    use super::*;

    fn mk_plan(version: u64) -> Vec<Sent> {
        let origin = Origin { uid: "u".into(), ..Origin::default() };
        let plan = Plan { origin: Some(origin), ..Plan::default() };
        vec![("A/ns/one".into(), Version(version), plan.encode_to_vec().into())]
    }

    fn mk_ack(name: &str, claimed: bool) -> Event<Envoy> {
        let resources = vec![(name.into(), Version(1))].into();
        Event::Acked { ty: Envoy::Listener, resources, removed: Vec::new(), claimed }
    }

    fn mk_nack(name: &str) -> Event<Envoy> {
        let (names, versions, detail) = (vec![name.into()], vec![Version(1)], "no".to_owned());
        Event::Nacked { ty: Envoy::Cluster, names, versions, detail, transient: false }
    }

    fn told(spans: &mut Receiver<Span>) -> Vec<(&'static str, Option<String>)> {
        std::iter::from_fn(|| spans.try_recv().ok()).map(|span| (span.name, span.failure)).collect()
    }

    #[test]
    fn first_answer_of_each_proxy_and_type_is_told_with_its_change() {
        let (traces, mut spans) = Traces::channel();
        let (tracer, now) = (Tracer::new(traces, "n1".into()), SystemTime::now());
        let proxy = |name: &str| ProxyId::Node(name.into());
        tracer.answered(&proxy("a"), &mk_ack("A/ns/one/l", false));
        assert!(told(&mut spans).is_empty(), "nothing has changed");
        let trace = TraceId::of("u", 1);
        tracer.translated(&mk_plan(1), now..now);
        tracer.applied(&mk_plan(1), &[], now..now);
        let found: Vec<_> = std::iter::from_fn(|| spans.try_recv().ok()).collect();
        let parents = [Some(SpanId::of(trace, "apply", "n1")), Some(trace.whole())];
        assert_eq!(found.iter().map(|span| span.parent).collect::<Vec<_>>(), parents);
        assert_eq!(found[0].parent, Some(found[1].id));
        for (event, name, wanted) in [
            (mk_ack("A/ns/one/l", true), "a", None),
            (mk_ack("A/ns/other/l", false), "a", None),
            (mk_ack("A/ns/one/l", false), "a", Some(("acknowledge", None))),
            (mk_ack("A/ns/one/l", false), "a", None),
            (mk_ack("A/ns/one/l", false), "b", Some(("acknowledge", None))),
            (mk_nack("A/ns/one/c"), "a", Some(("refuse", Some("no".to_owned())))),
        ] {
            tracer.answered(&proxy(name), &event);
            assert_eq!(told(&mut spans), Vec::from_iter(wanted), "{event:?}");
        }
    }

    #[test]
    fn answers_that_come_late_or_to_what_is_gone_are_not_told() {
        let (traces, mut spans) = Traces::channel();
        let (tracer, now) = (Tracer::new(traces, "n1".into()), SystemTime::now());
        let late = now - LATE - Duration::from_secs(1);
        tracer.translated(&mk_plan(1), late..late);
        tracer.answered(&ProxyId::Node("a".into()), &mk_ack("A/ns/one/l", false));
        tracer.translated(&mk_plan(2), now..now);
        tracer.applied(&[], &["A/ns/one".into()], now..now);
        tracer.answered(&ProxyId::Node("a".into()), &mk_ack("A/ns/one/l", false));
        assert_eq!(told(&mut spans), [("translate", None), ("translate", None)]);
        tracer.lock(|sent| assert!(sent.is_empty()));
    }
}
